//! Traces and metrics to a collector whose authority is private, by OpenTelemetry's own variables.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_server::{MetricsService, MetricsServiceServer},
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::{LONGEST, Scene};
use crate::harness::certificates::{Authority, Wanted};
use crate::harness::{Process, process};

/// Counts what is exported.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<AtomicUsize>,
    metrics: Arc<AtomicUsize>,
}

/// Whether each was exported.
#[derive(Debug, PartialEq, Eq)]
struct Exported {
    traces: bool,
    metrics: bool,
}

const BOTH: Exported = Exported { traces: true, metrics: true };
const NEITHER: Exported = Exported { traces: false, metrics: false };

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Starts it with a certificate of the scene's authority; with `demanding`, clients need one too.
    async fn start(&self, scene: &Scene, demanding: bool) -> SocketAddr {
        let own = scene.authority.sign(&Wanted::server(&["localhost"]));
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(&own.certificate, &own.key));
        if demanding {
            tls = tls.client_ca_root(Certificate::from_pem(&scene.authority.pem));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut server = Server::builder().tls_config(tls).expect("a configuration");
        let server = server.add_service(TraceServiceServer::new(self.clone()));
        let server = server.add_service(MetricsServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

/// Runs the service through one call with these variables; answers what was exported.
async fn exported(demanding: bool, variables: impl FnOnce(&Scene) -> Vec<(&'static str, String)>) -> Exported {
    let scene = Scene::new();
    let collector = Collector::default();
    let address = collector.start(&scene, demanding).await;
    let client = scene.authority.sign(&Wanted::client(&["spiffe://claviger.test/claviger"], &[]));
    client.write(scene.folder(), "client");
    std::fs::write(scene.file("other.crt"), &Authority::new("another").pem).expect("written");
    let mut command = process::command(&scene.place);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{}", address.port()));
    command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000").envs(variables(&scene));
    let service = Process::start_command(command).await;
    let mut root = service.caller(Some(&process::root_secret(scene.folder()))).await;
    root.create_tenant("acme").await;
    // The last of both are exported at the end.
    let ended = timeout(LONGEST, service.terminate()).await.expect("it ends");
    assert_eq!(ended, Some(0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let [traces, metrics] = [collector.traces, collector.metrics].map(|count| count.load(Ordering::Relaxed) > 0);
    Exported { traces, metrics }
}

fn path(scene: &Scene, name: &str) -> String {
    scene.file(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_trusted_by_the_standard_variables() {
    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    let trusting = exported(false, |scene| vec![(CA, path(scene, "ca.crt"))]).await;
    assert_eq!(trusting, BOTH);
    let another = exported(false, |scene| vec![(CA, path(scene, "other.crt"))]).await;
    assert_eq!(another, NEITHER, "whoever it is, it isn't the collector");
    for (variable, expected) in [
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", Exported { traces: true, metrics: false }),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", Exported { traces: false, metrics: true }),
    ] {
        let own = exported(false, |scene| vec![(CA, path(scene, "other.crt")), (variable, path(scene, "ca.crt"))]);
        assert_eq!(own.await, expected, "the variable of the signal wins");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_wants_a_certificate_gets_it() {
    let given = |scene: &Scene| {
        vec![
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path(scene, "ca.crt")),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path(scene, "client.crt")),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", path(scene, "client.key")),
        ]
    };
    assert_eq!(exported(true, given).await, BOTH);
    assert_eq!(exported(true, |scene| given(scene)[..1].to_vec()).await, NEITHER, "without it, it takes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cant_be_read_is_named_by_its_variable() {
    let scene = Scene::new();
    let mut command = process::command(&scene.place);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4317");
    command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file").env("CLAVIGER_LOG_FORMAT", "odd");
    let (code, _, said) = timeout(LONGEST, process::run(command)).await.expect("it ends");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE: /no/such/file: ") && said.contains("log_format: "),
        "{said}"
    );
}
