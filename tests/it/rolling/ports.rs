//! A port opens when its service can answer, and whoever had connected before it was closed is answered.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use claviger::proto::v1::ListTenantsRequest;
use claviger::random;
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::harness::{Engine, TestApp, process::command};
use crate::rig::eventually;
use crate::wire::{HEADERS, Wire, create_tenant_message};

const SOON: Duration = Duration::from_secs(20);

/// Whether somebody has this port, open or not.
fn is_taken(address: SocketAddr) -> bool {
    TcpSocket::new_v4().expect("a socket").bind(address).is_err()
}

/// Calls that came too early would wait until the keys are loaded, or for ever if they can't be.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_closed_until_its_service_can_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let database = silent.local_addr().expect("an address");
    let [one, two]: [u8; 2] = random::bytes().expect("randomness");
    let address: SocketAddr = format!("127.80.{one}.{two}:50051").parse().expect("an address");
    let place = Engine::Sqlite.place().await.expect("SQLite is always there");
    let mut serve = command(&place);
    serve.env("CLAVIGER_DATABASE_URL", format!("postgres://u@{database}/d?sslmode=disable"));
    serve.env("CLAVIGER_LISTEN", address.to_string());
    let mut service = serve.spawn().expect("it starts");
    let (_waits, _) = silent.accept().await.expect("it asks its database");
    assert!(is_taken(address), "a port that another service has is found out at once");
    let refused = TcpStream::connect(address).await.expect_err("nobody can answer yet");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    service.kill().await.expect("killed");
}

/// A client that doesn't wait for the server's first words could never know whether its call was heard.
#[tokio::test(flavor = "multi_thread")]
async fn who_had_connected_before_the_end_is_answered() {
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let (address, secret) = (app.address(), app.root_secret.clone());
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(TcpStream::connect(address).await.expect("connected"));
    }
    let begun = Instant::now();
    let stopping = tokio::spawn(app.running.stop());
    eventually(SOON, "the port is closed", async || TcpStream::connect(address).await.is_err()).await;
    let authorised = [("authorization", format!("Bearer {secret}"))];
    let calls = streams.into_iter().enumerate().map(async |(number, stream)| {
        let mut caller = Wire::over(stream).await;
        caller.headers(1, "/claviger.v1.TenantService/CreateTenant", &authorised, false).await;
        caller.data(1, &create_tenant_message(&format!("late-{number}"))).await;
        let answered = caller.next_of(|frame| frame.stream == 1 && frame.kind == HEADERS, SOON).await;
        assert!(answered.is_some(), "caller {number}");
    });
    join_all(calls).await;
    stopping.await.expect("it ends");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let app = TestApp::start_at(app.place, app.clock).await;
    let request = ListTenantsRequest { page_size: 10, ..Default::default() };
    let listed = app.root().await.tenants.list_tenants(request).await.expect("a page").into_inner().tenants;
    assert_eq!(listed.iter().filter(|tenant| tenant.name.starts_with("tenants/late-")).count(), 4);
}
