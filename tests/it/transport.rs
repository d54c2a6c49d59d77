//! What strangers send to the port: it is refused, bounded or answered, and a good caller never notices.

use std::collections::BTreeSet;
use std::time::Duration;

use claviger::domain::limits;
use claviger::proto::v1;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1 as reflection, v1alpha};

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::rig::eventually;
use crate::wire::{self, Frame, HEADERS, RST_STREAM, Wire};

const CREATE_TENANT: &str = "/claviger.v1.TenantService/CreateTenant";
const GRPC: &str = "application/grpc";

async fn sqlite() -> TestApp {
    TestApp::start(Engine::Sqlite).await.expect("SQLite is always there")
}

async fn tenants(app: &TestApp) -> Vec<String> {
    let listed = app.root().await.tenants.list_tenants(v1::ListTenantsRequest::default()).await.expect("a list");
    listed.into_inner().tenants.into_iter().map(|tenant| tenant.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_grpc_post_reaches_no_handler() {
    let app = sqlite().await;
    let cases = [
        ("GET", Some(GRPC), 405),
        ("PUT", Some(GRPC), 405),
        ("DELETE", Some(GRPC), 405),
        ("OPTIONS", Some(GRPC), 405),
        ("POST", None, 415),
        ("POST", Some(""), 415),
        ("POST", Some("application/json"), 415),
        ("POST", Some("application/grpc-web"), 415),
        ("POST", Some("application/grpc-web+proto"), 415),
        ("POST", Some("application/grpcx"), 415),
        ("POST", Some("Application/grpc "), 415),
        ("POST", Some("text/plain, application/grpc"), 415),
    ];
    let mut caller = wire::Http2::connect(app.address()).await;
    for (method, content_type, status) in cases {
        let mut request = wire::create_tenant(method, CREATE_TENANT, &app.root_secret, "odd");
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request.headers_mut().insert("content-type", content_type.parse().expect("a value"));
        }
        let response = caller.send(request).await;
        assert_eq!(response.status().as_u16(), status, "{method} {content_type:?}");
    }
    assert_eq!(tenants(&app).await, ["tenants/system"]);
    for (number, content_type) in [GRPC, "application/grpc+proto", "application/grpc;x=y"].into_iter().enumerate() {
        let mut request = wire::create_tenant("POST", CREATE_TENANT, &app.root_secret, &format!("t-{number}"));
        request.headers_mut().insert("content-type", content_type.parse().expect("a value"));
        assert_eq!(wire::grpc_status(caller.send(request).await).await, Some(Code::Ok), "{content_type}");
    }
    assert_eq!(tenants(&app).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_reach_no_handler() {
    let app = sqlite().await;
    let mut caller = wire::Http2::connect(app.address()).await;
    for path in [
        "/",
        "/claviger.v1.TenantService",
        "/claviger.v1.TenantService/",
        "//claviger.v1.TenantService/CreateTenant",
        "/claviger.v1.TenantService//CreateTenant",
        "/claviger.v1.TenantService/CreateTenant/",
        "/claviger.v1.TenantService/createTenant",
        "/claviger.v1.tenantService/CreateTenant",
        "/claviger.v1.TenantService/%43reateTenant",
        "/x/../claviger.v1.TenantService/CreateTenant",
        "/./claviger.v1.TenantService/CreateTenant",
        "/claviger.v1.KeyService/CreateTenant",
        "/claviger.v1.TenantService/CreateTenant;x",
    ] {
        let request = wire::create_tenant("POST", path, &app.root_secret, "odd");
        let status = wire::grpc_status(caller.send(request).await).await;
        assert_eq!(status, Some(Code::Unimplemented), "{path}");
    }
    for path in ["claviger.v1.TenantService/CreateTenant", "", "*", "http://x/claviger.v1.TenantService/CreateTenant"] {
        let mut wire = Wire::open(app.address()).await;
        let headers = [("authorization", format!("Bearer {}", app.root_secret))];
        wire.headers(1, path, &headers, false).await;
        wire.data(1, &wire::create_tenant_message("odd")).await;
        match wire.next_of_stream(1, Duration::from_secs(5)).await {
            Some(Frame { kind: RST_STREAM, .. }) | None => {}
            Some(Frame { kind: HEADERS, flags, .. }) => {
                assert_ne!(flags & wire::END_STREAM, 0, "{path:?} was answered with a message");
            }
            Some(other) => panic!("{path:?}: {other:?}"),
        }
    }
    assert_eq!(tenants(&app).await, ["tenants/system"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_told_what_speaks_here() {
    let app = sqlite().await;
    for hello in
        ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /claviger.v1.KeyService/GetKey HTTP/1.1\r\nhost: x\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(app.address()).await.expect("connected");
        stream.write_all(hello.as_bytes()).await.expect("written");
        let answer = String::from_utf8(wire::read_to_end(&mut stream).await).expect("ASCII");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP/1.1 answer");
        assert!(head.starts_with("HTTP/1.1 426 ") && head.contains("upgrade: h2c"), "{answer}");
        assert!(body.contains("gRPC"), "{answer}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_dribbling_sockets_are_dropped_while_a_good_caller_is_served() {
    let app = sqlite().await;
    let bound = limits::HANDSHAKE + Duration::from_secs(2);
    let mut strangers = JoinSet::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(app.address()).await.expect("connected");
        strangers.spawn(async move {
            let (mut read, mut write) = stream.split();
            let dribble = async {
                let mut second = interval(Duration::from_secs(1));
                for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
                    second.tick().await;
                    if number % 2 == 0 || write.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = dribble => {}
                _ = wire::read_to_end(&mut read) => {}
            }
        });
    }
    let begun = Instant::now();
    let mut root = app.root().await;
    while !strangers.is_empty() {
        assert!(begun.elapsed() < bound, "{} of 400 are still connected", strangers.len());
        let verifying = timeout(Duration::from_secs(1), root.verdict("x")).await;
        assert_eq!(verifying.expect("a good caller is served"), v1::Verdict::Malformed);
        while strangers.try_join_next().is_some() {}
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > limits::HANDSHAKE - Duration::from_secs(1), "they had their time");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_too_many_is_refused_as_announced() {
    let app = sqlite().await;
    let mut wire = Wire::open(app.address()).await;
    assert_eq!(wire.max_concurrent_streams, Some(limits::STREAMS_PER_CONNECTION));
    let headers = [("authorization", format!("Bearer {}", app.root_secret))];
    for number in 0..=limits::STREAMS_PER_CONNECTION {
        wire.headers(number * 2 + 1, "/claviger.v1.KeyService/GetKey", &headers, false).await;
    }
    let last = limits::STREAMS_PER_CONNECTION * 2 + 1;
    let frame = wire.next_of(|frame| frame.stream > 0, Duration::from_secs(5)).await.expect("a refusal");
    assert_eq!((frame.kind, frame.stream), (RST_STREAM, last), "{frame:?}");
    assert_eq!(frame.payload, wire::REFUSED_STREAM.to_be_bytes());
    app.root().await.create_tenant("others-are-served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_above_the_bound_is_refused() {
    let app = sqlite().await;
    let mut caller = wire::Http2::connect(app.address()).await;
    let bound = usize::try_from(limits::HEADER_BYTES).expect("a number");
    for (bytes, fits) in [(bound / 2, true), (bound, false), (bound * 3, false)] {
        let id = format!("t-{bytes}");
        let mut request = wire::create_tenant("POST", CREATE_TENANT, &app.root_secret, &id);
        request.headers_mut().insert("x-much", "m".repeat(bytes).parse().expect("a value"));
        let made = caller.try_send(request).await.is_some_and(|response| response.status() == 200);
        assert_eq!(made, fits, "{bytes} bytes");
        assert_eq!(tenants(&app).await.contains(&format!("tenants/{id}")), fits, "{bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_deadline_holds_and_an_odd_one_does_no_harm() {
    let app = sqlite().await;
    let mut caller = wire::Http2::connect(app.address()).await;
    // The message never comes, so the server waits until the deadline.
    for (path, given, least, most) in [
        ("/claviger.v1.KeyService/GetKey", Some("1u"), 0, 2_000),
        ("/claviger.v1.KeyService/GetKey", Some("0n"), 0, 2_000),
        ("/claviger.v1.KeyService/GetKey", Some("300m"), 300, 2_000),
        ("/claviger.v1.VerificationService/Verify", None, 250, 2_000),
        ("/claviger.v1.VerificationService/Verify", Some("1M"), 250, 2_000),
        ("/claviger.v1.VerificationService/BatchVerify", None, 250, 2_000),
        ("/claviger.v1.KeyService/GetKey", None, 9_500, 12_000),
    ] {
        let begun = Instant::now();
        let response = caller.send(wire::never_ending(path, &app.root_secret, given)).await;
        let passed = begun.elapsed();
        assert_eq!(wire::grpc_status(response).await, Some(Code::DeadlineExceeded), "{path} {given:?}");
        let bounds = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(bounds.contains(&passed), "{path} {given:?}: after {passed:?}");
    }
    for odd in ["", "S", "5", "-1S", "+1S", "1 S", "1s", "999999999S", "99999999H", "0x1S", "1S1S", "NaNS"] {
        let mut request =
            wire::create_tenant("POST", "/claviger.v1.TenantService/GetTenant", &app.root_secret, "system");
        *request.body_mut() = wire::body(wire::text_message("tenants/system"));
        request.headers_mut().insert("grpc-timeout", odd.parse().expect("a value"));
        assert_eq!(wire::grpc_status(caller.send(request).await).await, Some(Code::Ok), "{odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_its_bound_is_refused() {
    let app = sqlite().await;
    let mut root = app.root().await;
    let text = |bytes: usize| "x".repeat(bytes);
    let (large, small) = (limits::LARGE_MESSAGE_BYTES, limits::SMALL_MESSAGE_BYTES);
    let verify = |secret| v1::VerifyRequest { secret, ..Default::default() };
    assert_eq!(root.verdict(&text(small - 16)).await, v1::Verdict::Malformed);
    let too_long = root.verification.verify(verify(text(small))).await.expect_err("a single Verify above 64 KiB");
    assert_eq!(reason(&too_long), "FIELD_INVALID");
    let requests = (0..100).map(|_| verify(text(small / 8))).collect();
    root.verification.batch_verify(v1::BatchVerifyRequest { requests }).await.expect("a batch of 800 KiB");
    let tenant = |name| v1::GetTenantRequest { name };
    let service_user = |name| v1::GetServiceUserRequest { name };
    let list = |parent| v1::ListAuditEventsRequest { parent, ..Default::default() };
    let key = |name| v1::GetKeyRequest { name };
    let refusals = [
        root.verification.verify(verify(text(large))).await.expect_err("above 1 MiB"),
        root.keys.get_key(key(text(large))).await.expect_err("above 1 MiB"),
        root.tenants.get_tenant(tenant(text(small))).await.expect_err("above 64 KiB"),
        root.service_users.get_service_user(service_user(text(small))).await.expect_err("above 64 KiB"),
        root.audit.list_audit_events(list(text(small))).await.expect_err("above 64 KiB"),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code(), &*reason(&refusal)), (Code::InvalidArgument, "MESSAGE_INVALID"));
    }
    let below = root.keys.get_key(key(text(small))).await.expect_err("no name");
    assert_eq!(below.code(), Code::InvalidArgument, "KeyService reads up to 1 MiB: {below:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_bounded_number_of_connections_and_gets_them_back() {
    let app = sqlite().await;
    let mut own = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_PEER {
        own.push(Wire::open_from("127.0.0.2", app.address()).await.expect("a place"));
    }
    assert!(Wire::open_from("127.0.0.2", app.address()).await.is_none(), "one too many");
    app.root().await.create_tenant("another-address").await;
    own.truncate(limits::CONNECTIONS_PER_PEER - 3);
    eventually(Duration::from_secs(5), "three places are free again", async || {
        while own.len() < limits::CONNECTIONS_PER_PEER {
            let Some(wire) = Wire::open_from("127.0.0.2", app.address()).await else { return false };
            own.push(wire);
        }
        true
    })
    .await;
    assert!(Wire::open_from("127.0.0.2", app.address()).await.is_none(), "one too many again");
}

const OURS: [&str; 5] = ["KeyService", "VerificationService", "TenantService", "ServiceUserService", "AuditService"];

fn our_services() -> BTreeSet<String> {
    OURS.iter().map(|name| format!("claviger.v1.{name}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_reflections_list_every_service() {
    let app = sqlite().await;
    let channel = app.caller(None).await.channel;
    let mut current = reflection::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let answer =
        current.server_reflection_info(tokio_stream::once(ask)).await.expect("a stream").into_inner().message().await;
    let Some(reflection::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.expect("an answer").expect("an answer").message_response
    else {
        panic!("no list")
    };
    let mut listed = vec![list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()];
    let mut alpha = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let answer =
        alpha.server_reflection_info(tokio_stream::once(ask)).await.expect("a stream").into_inner().message().await;
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.expect("an answer").expect("an answer").message_response
    else {
        panic!("no list")
    };
    listed.push(list.service.into_iter().map(|service| service.name).collect());
    for list in listed {
        let missing: Vec<_> = our_services().difference(&list).cloned().collect();
        assert!(missing.is_empty() && list.contains("grpc.health.v1.Health"), "{missing:?} not in {list:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_per_service_to_anybody() {
    let app = sqlite().await;
    let mut health = HealthClient::new(app.caller(None).await.channel);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in our_services().iter().map(String::as_str).chain([""]) {
        let answer = health.check(ask(service)).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        let mut watch = health.watch(ask(service)).await.expect("known").into_inner();
        let first = watch.message().await.expect("a state").expect("a state");
        assert_eq!(first.status(), ServingStatus::Serving, "{service}");
    }
    for service in ["claviger.v1.NoService", "KeyService", "claviger.v1"] {
        assert_eq!(health.check(ask(service)).await.expect_err("unknown").code(), Code::NotFound, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_when_harmless_and_replaced_when_not() {
    let app = sqlite().await;
    let mut root = app.root().await;
    let longest = "x".repeat(limits::REQUEST_ID_CHARACTERS);
    let too_long = "x".repeat(limits::REQUEST_ID_CHARACTERS + 1);
    let secret = app.root_secret.clone();
    let cases = [
        ("req-1_a.B", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("two words", false),
        ("a\tb", false),
        ("{\"json\":1}", false),
        ("../../etc/passwd", false),
        (secret.as_str(), false),
        ("x-cvg_1", false),
    ];
    for (given, echoed) in cases {
        let answered = answered_request_id(&mut root, Some(given)).await;
        assert_eq!(answered == given, echoed, "{given:?} became {answered:?}");
        assert!(echoed || answered.len() == 36, "{given:?} became {answered:?}");
        let verified = verified_request_id(&mut root, Some(given)).await;
        assert_eq!(verified.as_deref(), echoed.then_some(given), "Verify makes no id of its own");
    }
    let one = answered_request_id(&mut root, None).await;
    assert_ne!(one, answered_request_id(&mut root, None).await);
    assert_eq!(verified_request_id(&mut root, None).await, None);
}

fn with_request_id<T>(message: T, given: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(given) = given {
        request.metadata_mut().insert("x-request-id", given.parse().expect("a value"));
    }
    request
}

async fn verified_request_id(root: &mut Client, given: Option<&str>) -> Option<String> {
    let id = |metadata: &tonic::metadata::MetadataMap| {
        metadata.get("x-request-id").map(|id| id.to_str().expect("ASCII").to_owned())
    };
    let request = with_request_id(v1::VerifyRequest::default(), given);
    let verified = id(root.verification.verify(request).await.expect("a verdict").metadata());
    let request = with_request_id(v1::BatchVerifyRequest { requests: vec![v1::VerifyRequest::default()] }, given);
    let batch = id(root.verification.batch_verify(request).await.expect("a verdict").metadata());
    assert_eq!(verified, batch, "both have the same road");
    verified
}

async fn answered_request_id(root: &mut Client, given: Option<&str>) -> String {
    let request = with_request_id(v1::GetTenantRequest { name: "tenants/system".to_owned() }, given);
    let answer = root.tenants.get_tenant(request).await.expect("a tenant");
    answer.metadata().get("x-request-id").expect("an id").to_str().expect("ASCII").to_owned()
}
