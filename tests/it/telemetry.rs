//! What leaves the real binary for those who operate it: spans by OTLP, and log lines.

use std::net::SocketAddr;
use std::time::Duration;

use claviger::proto::v1;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::harness::{
    Client, Engine, Place, Process,
    process::{bare_command, command, root_secret},
};

const LONGEST: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that hands on every span with the name of the service it came from.
struct Collector {
    address: SocketAddr,
    spans: mpsc::UnboundedReceiver<(String, Span)>,
}

struct Receiver(mpsc::UnboundedSender<(String, Span)>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let name = attributes.iter().find(|attribute| attribute.key == "service.name");
            let name = text(name.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                // Fails only when the test is over.
                let _ = self.0.send((name.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, spans) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Receiver(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, spans }
    }

    /// The next span of this name.
    async fn span(&mut self, name: &str) -> (String, Span) {
        let wanted = async {
            loop {
                let (service, span) = self.spans.recv().await.expect("the collector runs");
                if span.name == name {
                    return (service, span);
                }
            }
        };
        timeout(LONGEST, wanted).await.unwrap_or_else(|_| panic!("no span {name}"))
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    text(found.unwrap_or_else(|| panic!("no {key} in {span:?}")).value.as_ref().and_then(|value| value.value.as_ref()))
}

fn error_of(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn place() -> Place {
    Engine::Sqlite.place().await.expect("SQLite is always there")
}

/// The binary, exporting to `address` without delay.
fn exporting(place: &Place, address: SocketAddr) -> Command {
    let mut command = command(place);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

async fn root(service: &Process, place: &Place) -> Client {
    service.caller(Some(&root_secret(place.folder.path()))).await
}

fn create_key(parent: &str) -> v1::CreateKeyRequest {
    let key = v1::Key { display_name: "a key".to_owned(), ..Default::default() };
    v1::CreateKeyRequest { parent: parent.to_owned(), key: Some(key), ..Default::default() }
}

#[tokio::test]
async fn a_call_with_a_trace_context_is_a_server_span_below_the_callers() {
    let mut collector = Collector::start().await;
    let place = place().await;
    let service = Process::start_command(exporting(&place, collector.address)).await;
    let mut root = root(&service, &place).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let mut request = Request::new(create_key(&owner));
    let context = format!("00-{TRACE}-{PARENT}-01").parse().expect("ASCII");
    request.metadata_mut().insert("traceparent", context);
    root.keys.create_key(request).await.expect("a key");

    let (service_name, span) = collector.span("claviger.v1.KeyService/CreateKey").await;
    assert_eq!(service_name, "claviger");
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(attribute(&span, "rpc.system.name"), "grpc");
    assert_eq!(attribute(&span, "rpc.method"), "claviger.v1.KeyService/CreateKey");
    assert_eq!(attribute(&span, "rpc.response.status_code"), "OK");
    assert!(!error_of(&span), "{span:?}");
}

#[tokio::test]
async fn verify_is_traced_too_without_the_secret() {
    let mut collector = Collector::start().await;
    let place = place().await;
    let service = Process::start_command(exporting(&place, collector.address)).await;
    let mut root = root(&service, &place).await;
    let secret = root_secret(place.folder.path());
    root.verdict(&secret).await;
    let (_, span) = collector.span("claviger.v1.VerificationService/Verify").await;
    assert!(!format!("{span:?}").contains(&secret));
}

#[tokio::test]
async fn only_a_fault_of_the_server_is_an_error_span() {
    let mut collector = Collector::start().await;
    let place = place().await;
    let service = Process::start_command(exporting(&place, collector.address)).await;
    let mut root = root(&service, &place).await;
    root.keys.create_key(create_key("tenants/acme/serviceUsers/nobody")).await.expect_err("no such service user");
    let (_, span) = collector.span("claviger.v1.KeyService/CreateKey").await;
    assert_eq!(attribute(&span, "rpc.response.status_code"), "NOT_FOUND");
    assert!(!error_of(&span), "{span:?}");

    // Of the server's faults, the one that anybody can have at will: a method that doesn't exist.
    call_unknown(&root, "/claviger.v1.KeyService/NoSuchMethod").await;
    let (_, span) = collector.span("unknown").await;
    assert_eq!(attribute(&span, "rpc.response.status_code"), "UNIMPLEMENTED");
    assert!(error_of(&span), "{span:?}");
}

async fn call_unknown(caller: &Client, path: &str) {
    let mut client = tonic::client::Grpc::new(caller.channel.clone());
    client.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<v1::GetKeyRequest, v1::GetKeyResponse>::default();
    let path = path.parse().expect("a path");
    client.unary(Request::new(v1::GetKeyRequest::default()), path, codec).await.expect_err("no such method");
}

/// Whoever chooses the path would choose the names of our spans, and could put a secret there.
#[tokio::test]
async fn a_path_that_is_no_method_is_not_repeated() {
    let mut collector = Collector::start().await;
    let place = place().await;
    let service = Process::start_command(exporting(&place, collector.address)).await;
    let root = root(&service, &place).await;
    let secret = root_secret(place.folder.path());
    for path in [format!("/claviger.v1.KeyService/{secret}"), format!("/{secret}/Verify")] {
        call_unknown(&root, &path).await;
        let (_, span) = collector.span("unknown").await;
        assert!(!format!("{span:?}").contains(&secret), "{span:?}");
    }
}

#[tokio::test]
async fn the_last_spans_are_exported_before_the_process_leaves() {
    let mut collector = Collector::start().await;
    let place = place().await;
    let mut command = exporting(&place, collector.address);
    command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let service = Process::start_command(command).await;
    root(&service, &place).await.create_tenant("acme").await;
    assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
    collector.span("claviger.v1.TenantService/CreateTenant").await;
}

/// One collector that refuses connections, one that takes them and never answers.
#[tokio::test]
async fn a_dead_collector_delays_neither_calls_nor_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let refusing = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        gone.local_addr().expect("an address")
    };
    for address in [silent.local_addr().expect("an address"), refusing] {
        let place = place().await;
        let service = Process::start_command(exporting(&place, address)).await;
        let mut root = root(&service, &place).await;
        let calls = async {
            for number in 0..50 {
                root.create_tenant(&format!("tenant-{number}")).await;
            }
        };
        timeout(Duration::from_secs(10), calls).await.expect("50 calls don't wait for the collector");
        // 2 s are for what is still to be exported.
        let code = timeout(Duration::from_secs(6), service.terminate()).await.expect("nor does the end");
        assert_eq!(code, Some(0));
    }
}

/// Runs the service with these settings through a few calls; answers its log.
async fn log_of(settings: &[(&str, &str)]) -> String {
    let place = place().await;
    let file = place.folder.path().join("log");
    let mut command = Command::new("sh");
    let binary = bare_command().as_std().get_program().to_owned();
    command.args(["-c", "exec \"$0\" 2>\"$1\""]).arg(binary).arg(&file).env_clear();
    command.env("CLAVIGER_DATA", place.folder.path()).env("CLAVIGER_LISTEN", "127.0.0.1:0");
    command.env("CLAVIGER_HTTP_LISTEN", "127.0.0.1:0");
    command.envs(settings.iter().copied()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let service = Process::start_command(command).await;
    let mut root = root(&service, &place).await;
    let mut request = Request::new(v1::CreateTenantRequest {
        tenant_id: "acme".to_owned(),
        tenant: Some(v1::Tenant { display_name: "Acme".to_owned(), ..Default::default() }),
    });
    request.metadata_mut().insert("x-request-id", "my-request-17".parse().expect("ASCII"));
    let answer = root.tenants.create_tenant(request).await.expect("a tenant");
    assert_eq!(answer.metadata().get("x-request-id").and_then(|id| id.to_str().ok()), Some("my-request-17"));
    root.keys.create_key(create_key("tenants/acme/serviceUsers/nobody")).await.expect_err("no such service user");
    assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
    std::fs::read_to_string(file).expect("a log")
}

#[tokio::test]
async fn json_logs_parse_line_by_line_and_carry_the_request_id() {
    let log = log_of(&[("CLAVIGER_LOG_FORMAT", "json")]).await;
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let call = lines.iter().find(|line| line["span"]["request_id"] == "my-request-17");
    let call = call.unwrap_or_else(|| panic!("no line with the request id in\n{log}"));
    assert_eq!(call["code"], "OK", "{call}");
    assert!(call["span"].to_string().contains("claviger.v1.TenantService/CreateTenant"), "{call}");
    assert!(lines.iter().any(|line| line["code"] == "NOT_FOUND"), "{log}");
}

#[tokio::test]
async fn human_logs_have_no_escape_codes_when_nobody_looks() {
    let log = log_of(&[]).await;
    assert!(log.contains("my-request-17") && log.contains("NOT_FOUND"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_exported() {
    // The default endpoint's port would be tried, and its failure logged.
    let log = log_of(&[("CLAVIGER_LOG", "debug")]).await;
    assert!(!log.to_lowercase().contains("otlp") && !log.contains("BatchSpanProcessor"), "{log}");
}
