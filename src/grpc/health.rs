//! grpc.health.v1: what load balancers and people ask.
//!
//! `""` and `VerificationService` serve while Verify can answer. The database's own state shows only in `KeyService` and the
//! other services that need it, so an outage doesn't empty the load balancer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response, health_client::HealthClient, health_server::HealthServer,
};
use tonic_health::server::HealthReporter;

use crate::domain::limits;
use crate::tls::{TlsFiles, own_service::Way};
use crate::verify::{Verifier, refresh::Refresher};

/// The health service, ready to be routed.
pub type Service = HealthServer<HealthImpl>;
type HealthImpl = tonic_health::server::HealthService;

const VERIFYING: [&str; 2] = ["", "claviger.v1.VerificationService"];
const STORING: [&str; 4] = [
    "claviger.v1.KeyService",
    "claviger.v1.TenantService",
    "claviger.v1.ServiceUserService",
    "claviger.v1.AuditService",
];

/// Makes the health service and a reporter; nothing serves yet.
#[must_use]
pub fn service() -> (HealthReporter, Service) {
    let reporter = HealthReporter::new();
    let service = HealthServer::new(HealthImpl::from_health_reporter(reporter.clone()));
    (reporter, service)
}

/// Reports what is, after each look at the store and each second, for ever.
pub async fn report(reporter: HealthReporter, verifier: Arc<Verifier>, mut refresher: Refresher) {
    let mut reported = None;
    loop {
        let state = (verifier.is_ready(), verifier.is_ready() && !refresher.is_failing());
        if reported != Some(state) {
            set(&reporter, &VERIFYING, state.0).await;
            set(&reporter, &STORING, state.1).await;
            reported = Some(state);
        }
        // Looks that don't happen change something too: the mirror gets older.
        let _ = timeout(limits::POLL_INTERVAL, refresher.looked()).await;
    }
}

/// Reports that nothing serves any more.
pub async fn report_leaving(reporter: &HealthReporter) {
    set(reporter, &VERIFYING, false).await;
    set(reporter, &STORING, false).await;
}

async fn set(reporter: &HealthReporter, services: &[&str], serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in services {
        reporter.set_service_status(*service, status).await;
    }
}

/// Asks the service at `address`, on this machine if it listens on all, whether it serves; the error says what it said. Over
/// TLS when there are files for it. Answers a warning, if one is due.
pub async fn check(mut address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Option<String>, String> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.connect_timeout(limits::CONNECT_TIMEOUT).timeout(limits::CONNECT_TIMEOUT);
    let way = tls.map(|files| Way::to(&files.certificate));
    let connecting = connect(endpoint, address, way.clone()).await;
    let mut client = HealthClient::new(connecting.map_err(|_| nobody(address, tls.is_some()))?);
    let answer = client.check(HealthCheckRequest { service: String::new() }).await;
    // Only a service that speaks TLS, or something else than gRPC, makes no sense in the clear.
    let hint =
        if tls.is_some() { "" } else { "; if it speaks TLS, give tls_certificate_file and tls_key_file here too" };
    let garbled =
        |status: &Status| matches!(status.code(), Code::Unknown | Code::Internal | Code::Unavailable | Code::Cancelled);
    let answer = answer.map_err(|status| {
        format!("{address} answers {}{}", status.message(), if garbled(&status) { hint } else { "" })
    })?;
    let status = answer.get_ref().status();
    if status == health_check_response::ServingStatus::Serving {
        let other = way.is_some_and(|way| way.is_other());
        let warning = "it serves, but with another certificate than tls_certificate_file has; its log says why";
        return Ok(other.then(|| warning.to_owned()));
    }
    Err(format!("{address} answers {}", status.as_str_name()))
}

fn nobody(address: SocketAddr, tls: bool) -> String {
    format!("nobody answers {}on {address}", if tls { "with TLS " } else { "" })
}

async fn connect(endpoint: Endpoint, address: SocketAddr, way: Option<Way>) -> Result<Channel, Error> {
    let Some(way) = way else { return endpoint.connect().await };
    let connector = tower::service_fn(move |_: http::Uri| {
        let way = way.clone();
        async move { way.connect(address).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}
