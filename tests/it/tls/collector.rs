//! Traces to a collector whose authority is private, by OpenTelemetry's own variables.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
struct Collector(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
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
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

/// Runs the service through one call with these variables; answers how often something was exported.
async fn exported(demanding: bool, variables: impl FnOnce(&Scene) -> Vec<(&'static str, String)>) -> usize {
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
    // The last spans are exported at the end.
    let ended = timeout(LONGEST, service.terminate()).await.expect("it ends");
    assert_eq!(ended, Some(0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    collector.0.load(Ordering::Relaxed)
}

fn path(scene: &Scene, name: &str) -> String {
    scene.file(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_trusted_by_the_standard_variables() {
    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    let trusting = exported(false, |scene| vec![(CA, path(scene, "ca.crt"))]).await;
    assert!(trusting > 0);
    let another = exported(false, |scene| vec![(CA, path(scene, "other.crt"))]).await;
    assert_eq!(another, 0, "whoever it is, it isn't the collector");
    let of_traces = exported(false, |scene| {
        vec![(CA, path(scene, "other.crt")), ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", path(scene, "ca.crt"))]
    });
    assert!(of_traces.await > 0, "the variable of the signal wins");
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
    assert!(exported(true, given).await > 0);
    assert_eq!(exported(true, |scene| given(scene)[..1].to_vec()).await, 0, "without it, it takes nothing");
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
