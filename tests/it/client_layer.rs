//! The tower layer before an axum router and before a service of a tonic server: who gets in, and what the others are told.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension};
use axum::{Router, routing::get};
use claviger::client::{Identity, Options, RequireKeyLayer, Verifier};
use claviger::proto::v1;
use http::HeaderMap;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server, server::TcpConnectInfo};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::Layer;

use crate::harness::{Client, Engine, TestApp, http::send};

struct Scene {
    /// Kept running.
    _app: TestApp,
    /// The layer that asks the running service.
    layer: RequireKeyLayer,
    good: String,
    without_scope: String,
    revoked: String,
    from_elsewhere: String,
    from_here: String,
}

fn layer(address: SocketAddr, own_secret: &str) -> RequireKeyLayer {
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy();
    let verifier = Verifier::new(channel, own_secret, &Options::default()).expect("good options");
    RequireKeyLayer::new(verifier, ["pay"])
}

/// Nobody listens there.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address")
}

async fn bound_key(root: &mut Client, owner: &str, network: &str) -> String {
    let (scopes, allowed_networks) = (vec!["pay".to_owned()], vec![network.to_owned()]);
    let key = v1::Key { display_name: "bound".to_owned(), scopes, allowed_networks, ..Default::default() };
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ..Default::default() };
    root.keys.create_key(request).await.expect("a key").into_inner().secret
}

impl Scene {
    async fn set() -> Self {
        let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (_, own_secret) = root.create_key("tenants/system/serviceUsers/root", &["claviger:verify"]).await;
        let (_, good) = root.create_key(&owner, &["pay"]).await;
        let (_, without_scope) = root.create_key(&owner, &["read"]).await;
        let (key, revoked) = root.create_key(&owner, &["pay"]).await;
        let request = v1::RevokeKeyRequest { name: key.name, ..Default::default() };
        root.keys.revoke_key(request).await.expect("revoked");
        let from_elsewhere = bound_key(&mut root, &owner, "192.0.2.0/24").await;
        let from_here = bound_key(&mut root, &owner, "127.0.0.0/8").await;
        let layer = layer(app.address(), &own_secret);
        Self { _app: app, layer, good, without_scope, revoked, from_elsewhere, from_here }
    }
}

/// Says who got in, and whether the secret came along.
async fn greet(Extension(identity): Extension<Arc<Identity>>, headers: HeaderMap) -> String {
    format!("{} {}", identity.service_user, headers.contains_key("authorization"))
}

async fn serve_axum(layer: RequireKeyLayer) -> SocketAddr {
    let layer = layer.client_ip(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
    let router = Router::new().route("/", get(greet)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// Status, body, and the headers that say what to do next.
async fn get_with(address: SocketAddr, headers: &str) -> (u16, String, Option<String>) {
    let answer = send(address, &format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")).await;
    let next = answer.header("www-authenticate").or(answer.header("retry-after")).map(str::to_owned);
    (answer.status, answer.body, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_axum_service_lets_only_good_keys_with_the_scope_in() {
    let scene = Scene::set().await;
    let address = serve_axum(scene.layer.clone()).await;
    let bearer = |secret: &str| format!("authorization: Bearer {secret}\r\n");
    for headers in [bearer(&scene.good), bearer(&scene.good), bearer(&scene.from_here), {
        bearer(&scene.good).replace("Bearer", "bEARER")
    }] {
        let (status, body, _) = get_with(address, &headers).await;
        assert_eq!((status, &*body), (200, "tenants/acme/serviceUsers/billing false"));
    }
    let two = format!("{}{}", bearer(&scene.good), bearer(&scene.good));
    let basic = bearer(&scene.good).replace("Bearer", "Basic");
    let refused = [
        (String::new(), 401, "Bearer"),
        (two, 401, "Bearer"),
        (basic, 401, "Bearer"),
        (bearer(""), 401, "Bearer"),
        (bearer("hello"), 401, "Bearer error=\"invalid_token\""),
        (bearer(&scene.revoked), 401, "Bearer error=\"invalid_token\""),
        (bearer(&scene.without_scope), 403, "Bearer error=\"insufficient_scope\""),
        (bearer(&scene.from_elsewhere), 403, "Bearer error=\"insufficient_scope\""),
    ];
    for (headers, status, next) in refused {
        assert_eq!(get_with(address, &headers).await, (status, String::new(), Some(next.to_owned())), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_while_the_authority_cannot_be_asked() {
    let address = serve_axum(layer(nowhere().await, "cvg_x")).await;
    let answer = get_with(address, "authorization: Bearer cvg_y\r\n").await;
    assert_eq!(answer, (503, String::new(), Some("1".to_owned())));
    // Nor while our own key isn't good for asking.
    let scene = Scene::set().await;
    let address = serve_axum(layer(scene._app.address(), &scene.good)).await;
    let answer = get_with(address, &format!("authorization: Bearer {}\r\n", scene.good)).await;
    assert_eq!(answer, (503, String::new(), Some("1".to_owned())));
}

async fn serve_tonic(layer: RequireKeyLayer) -> HealthClient<tonic::transport::Channel> {
    let layer = layer.client_ip(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = Server::builder().add_service(layer.layer(health));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    HealthClient::new(Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy())
}

async fn check(client: &mut HealthClient<tonic::transport::Channel>, secret: Option<&str>) -> Code {
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(secret) = secret {
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().expect("ASCII"));
    }
    client.check(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tonic_service_lets_only_good_keys_with_the_scope_in() {
    let scene = Scene::set().await;
    let mut client = serve_tonic(scene.layer.clone()).await;
    let expected = [
        (Some(&*scene.good), Code::Ok),
        (Some(&*scene.from_here), Code::Ok),
        (None, Code::Unauthenticated),
        (Some("hello"), Code::Unauthenticated),
        (Some(&*scene.revoked), Code::Unauthenticated),
        (Some(&*scene.without_scope), Code::PermissionDenied),
        (Some(&*scene.from_elsewhere), Code::PermissionDenied),
    ];
    for (secret, code) in expected {
        assert_eq!(check(&mut client, secret).await, code, "{secret:?}");
    }
    let mut client = serve_tonic(layer(nowhere().await, "cvg_x")).await;
    assert_eq!(check(&mut client, Some(&scene.good)).await, Code::Unavailable);
}
