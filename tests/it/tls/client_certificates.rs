//! Client certificates: who is refused in the handshake, and what calls know of who isn't.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::grpc::caller::Opening;
use claviger::grpc::fast_lane::{FastLane, framed};
use claviger::grpc::{layers::Services, server};
use claviger::proto::envoy::service::auth::v3::CheckRequest;
use claviger::proto::v1::verification_service_client::VerificationServiceClient;
use claviger::proto::v1::{BatchVerifyRequest, Verdict, VerifyRequest, VerifyResponse};
use claviger::tls::{Tls, TlsFiles};
use http::{Request, Response};
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::{Routes, interceptor::InterceptedService};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::Scene;
use crate::harness::app::start_of_time;
use crate::harness::certificates::{Authority, Certified, Wanted};
use crate::harness::{Client, Process, process};

const BILLING: &str = "spiffe://claviger.test/billing";

/// Whether a client with this certificate gets through the handshake: with TLS 1.3 it hears a refusal only when it reads on.
async fn is_let_in(scene: &Scene, address: SocketAddr, own: &Certified) -> Result<(), String> {
    let mut stream = scene.shake_hands(address, "h2", Some(own)).await.map_err(|error| error.to_string())?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .map_err(|error| error.to_string())?;
    // The server's SETTINGS.
    let mut first = [0; 9];
    stream.read_exact(&mut first).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_certificates_are_refused_in_the_handshake_without_harm_to_others() {
    let scene = Scene::new();
    let service = Process::start_command(scene.command(true)).await;
    let address = service.address;
    let mut root = scene.root(address).await;
    let secret = process::root_secret(scene.folder());
    let sign = |wanted: Wanted| scene.authority.sign(&wanted);
    let good = Wanted::client(&[BILLING], &["billing.claviger.test"]);
    let stranger = Authority::new("another").sign(&good);
    let namesake = Authority::new("the authority").sign(&good);
    let many: Vec<String> = (0..17).map(|number| format!("host-{number}.claviger.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (what, own, alert) in [
        ("expired", sign(good.clone().expired()), "CertificateExpired"),
        ("not yet valid", sign(good.clone().not_yet_valid()), "CertificateExpired"),
        ("another authority", stranger, "UnknownCA"),
        ("an authority of the same name", namesake, "DecryptError"),
        ("for servers alone", sign(Wanted::server(&["billing.claviger.test"])), "UnsupportedCertificate"),
        ("17 names", sign(Wanted::client(&[], &many)), "CertificateUnknown"),
        ("two URIs", sign(Wanted::client(&[BILLING, "https://claviger.test/x"], &[])), "CertificateUnknown"),
        ("a trust domain", sign(Wanted::client(&["spiffe://claviger.test"], &[])), "CertificateUnknown"),
        ("a path that is none", sign(Wanted::client(&["spiffe://claviger.test/a/../b"], &[])), "CertificateUnknown"),
    ] {
        let refused = is_let_in(&scene, address, &own).await.expect_err(what);
        assert!(refused.contains(alert), "{what}: {refused}");
        assert_eq!(root.verdict(&secret).await, Verdict::Valid, "{what}");
    }
    for (what, own) in [
        ("all is well", sign(good)),
        ("nobody's name", sign(Wanted::client(&["https://claviger.test/x"], &["*.claviger.test"]))),
    ] {
        is_let_in(&scene, address, &own).await.unwrap_or_else(|why| panic!("{what}: {why}"));
        // A certificate alone opens nothing, and a key goes on to.
        let channel = scene.channel(address, Some(&own)).await.expect("connected");
        assert_eq!(Client::over(channel, Some(&secret)).verdict(&secret).await, Verdict::Valid);
    }
    assert_eq!(service.terminate().await, Some(0));
}

/// Without authorities no certificate is asked for, so none is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn without_authorities_no_certificate_is_asked_for() {
    let scene = Scene::new();
    let service = scene.start().await;
    let expired = scene.authority.sign(&Wanted::client(&[BILLING], &[]).expired());
    is_let_in(&scene, service.address, &expired).await.expect("nobody asks");
    assert_eq!(service.terminate().await, Some(0));
}

/// Answers Verify with the names of who asks, instead of a verdict.
#[derive(Clone)]
struct Echo(Clock);

impl Echo {
    fn names(&self, opening: Opening<'_>) -> String {
        let names = opening.names.map(|names| names.at(self.0.now())).unwrap_or_default();
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl FastLane for Echo {
    fn announce(&self, _: &[u8]) {}

    async fn verify(&self, opening: Opening<'_>, _: &VerifyRequest) -> Result<Bytes, Status> {
        let answer = VerifyResponse { key: self.names(opening), ..Default::default() };
        Ok(framed(100, |bytes| answer.encode(bytes).expect("room")))
    }

    async fn batch_verify(&self, _: Opening<'_>, _: &BatchVerifyRequest) -> Result<Bytes, Status> {
        Err(Status::unimplemented("it isn't asked"))
    }

    async fn check(&self, _: Opening<'_>, _: &CheckRequest) -> Result<Bytes, Status> {
        Err(Status::unimplemented("it isn't asked"))
    }

    async fn verify_stream(&self, _: Request<Incoming>) -> Response<Body> {
        Response::new(Body::empty())
    }
}

/// The server with [`Echo`] on its fast lane, and with health on tonic's road, which notes what it was told.
async fn echo(scene: &Scene, clock: &Clock, told: &Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let files = TlsFiles {
        certificate: scene.file("tls.crt"),
        key: scene.file("tls.key"),
        client_ca: Some(scene.file("ca.crt")),
    };
    let tls = Tls::load(files, clock.clone()).expect("good files");
    let (echo, told) = (Echo(clock.clone()), Arc::clone(told));
    let (_, health) = tonic_health::server::health_reporter();
    let listening = {
        let echo = echo.clone();
        InterceptedService::new(health, move |request: tonic::Request<()>| {
            told.lock().push(echo.names(Opening::of(&request)));
            Ok(request)
        })
    };
    let services = Services::new(Routes::new(listening), echo, Arc::default());
    tokio::spawn(server::serve(listener, services, Some(Arc::new(tls)), CancellationToken::new()));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_know_the_names_on_both_roads_until_the_certificate_ends() {
    let scene = Scene::new();
    let clock = Clock::manual(start_of_time());
    let told = Arc::default();
    let address = echo(&scene, &clock, &told).await;
    let start = u64::try_from(start_of_time().timestamp()).expect("after 1970");
    let both = Wanted::client(&["spiffe://Claviger.TEST/Billing"], &["B.claviger.test", "*.claviger.test"]);
    let both = Wanted { until: start + 3_600, ..both };
    for (own, names) in [
        (None, ""),
        (Some(Wanted::client(&["https://claviger.test/x"], &[])), ""),
        (Some(Wanted::client(&[], &["a.claviger.test", "b.claviger.test"])), "dns:a.claviger.test dns:b.claviger.test"),
        (Some(both.clone()), "spiffe://claviger.test/Billing dns:b.claviger.test"),
    ] {
        let own = own.map(|wanted| scene.authority.sign(&wanted));
        let channel = scene.channel(address, own.as_ref()).await.expect("connected");
        let answer = VerificationServiceClient::new(channel.clone()).verify(VerifyRequest::default()).await;
        assert_eq!(answer.expect("an answer").into_inner().key, names);
        let service = String::new();
        HealthClient::new(channel).check(HealthCheckRequest { service }).await.expect("an answer");
        assert_eq!(told.lock().pop().as_deref(), Some(names));
    }
    let own = scene.authority.sign(&both);
    let channel = scene.channel(address, Some(&own)).await.expect("connected");
    let mut asking = VerificationServiceClient::new(channel);
    let mut names = async || asking.verify(VerifyRequest::default()).await.expect("an answer").into_inner().key;
    clock.advance(TimeDelta::seconds(3_599));
    assert_ne!(names().await, "", "it isn't over yet");
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(names().await, "", "the connection lives on, its names don't");
    // RFC 5280 counts the last second as a whole.
    clock.advance(TimeDelta::seconds(1));
    let refused = is_let_in(&scene, address, &own).await.expect_err("it has expired");
    assert!(refused.contains("CertificateExpired"), "{refused}");
}
