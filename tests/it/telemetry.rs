//! What leaves the real binary for those who operate it: spans and metrics by OTLP, and log lines.

mod away;
mod checks;
mod metrics;
mod verifies;

use std::net::SocketAddr;
use std::time::Duration;

use claviger::proto::v1;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tonic::Request;

use crate::harness::{
    Client, Collector, Engine, Place, Process, collector,
    process::{command, root_secret},
};

const LONGEST: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn attribute(span: &Span, key: &str) -> String {
    collector::attribute(&span.attributes, key).unwrap_or_else(|| panic!("no {key} in {span:?}"))
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

/// A service that traces this share of the calls that say nothing.
async fn traced(ratio: &str) -> (Collector, Process, Place) {
    let (collector, place) = (Collector::start().await, place().await);
    let mut command = exporting(&place, collector.address);
    command.env("CLAVIGER_TRACE_RATIO", ratio);
    let service = Process::start_command(command).await;
    (collector, service, place)
}

/// Spans of these methods up to now: a later span has arrived too.
async fn spans_by_now(collector: &mut Collector, client: &mut Client, methods: &[&str]) -> Vec<Span> {
    client.create_tenant("later").await;
    let mut spans = Vec::new();
    let arrived = async {
        while !spans.iter().any(|span: &Span| span.name.ends_with("/CreateTenant")) {
            spans.extend(collector.spans_by_now());
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONGEST, arrived).await.expect("a later span");
    spans.retain(|span| methods.contains(&&*span.name));
    spans
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
    assert_eq!((attribute(&span, "server.address"), attribute(&span, "server.port")), ("127.0.0.1".into(), "0".into()));
    assert_eq!(collector::attribute(&span.attributes, "error.type"), None);
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
    assert_eq!(collector::attribute(&span.attributes, "error.type"), None);
    assert!(!error_of(&span), "{span:?}");

    // Of the server's faults, the one that anybody can have at will: a method that doesn't exist.
    call_unknown(&root, "/claviger.v1.KeyService/NoSuchMethod").await;
    let (_, span) = collector.span("unknown").await;
    assert_eq!(attribute(&span, "rpc.response.status_code"), "UNIMPLEMENTED");
    assert_eq!(attribute(&span, "error.type"), "UNIMPLEMENTED");
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

/// Runs the service with these settings through a few calls; answers its log.
async fn log_of(settings: &[(&str, &str)]) -> String {
    log_and_secret_of(settings).await.0
}

/// The same, and the root key's secret.
async fn log_and_secret_of(settings: &[(&str, &str)]) -> (String, String) {
    let place = place().await;
    let file = place.folder.path().join("log");
    let mut command = command(&place);
    command.envs(settings.iter().copied());
    let log = std::fs::File::create(&file).expect("a file");
    let service = Process::start_logging(command, log.into()).await;
    let mut root = root(&service, &place).await;
    let mut request = Request::new(v1::CreateTenantRequest {
        tenant_id: "acme".to_owned(),
        tenant: Some(v1::Tenant { display_name: "Acme".to_owned(), ..Default::default() }),
    });
    request.metadata_mut().insert("x-request-id", "my-request-17".parse().expect("ASCII"));
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().expect("ASCII"));
    let answer = root.tenants.create_tenant(request).await.expect("a tenant");
    assert_eq!(answer.metadata().get("x-request-id").and_then(|id| id.to_str().ok()), Some("my-request-17"));
    root.keys.create_key(create_key("tenants/acme/serviceUsers/nobody")).await.expect_err("no such service user");
    let secret = root_secret(place.folder.path());
    root.verdict(&secret).await;
    // A connection that breaks in the middle is told of, at debug.
    let mut broken = tokio::net::TcpStream::connect(service.address).await.expect("connected");
    tokio::io::AsyncWriteExt::write_all(&mut broken, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all")
        .await
        .expect("written");
    tokio::io::AsyncReadExt::read_to_end(&mut broken, &mut Vec::new()).await.ok();
    assert_eq!(timeout(LONGEST, service.terminate()).await.expect("it ends"), Some(0));
    (std::fs::read_to_string(file).expect("a log"), secret)
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
async fn json_logs_carry_the_ids_of_the_trace_and_neither_a_secret_nor_an_address() {
    let mut collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let settings = [
        ("CLAVIGER_LOG_FORMAT", "json"),
        ("CLAVIGER_LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let (log, secret) = log_and_secret_of(&settings).await;
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let (_, span) = collector.span("claviger.v1.TenantService/CreateTenant").await;
    let call = lines.iter().find(|line| line["span"]["request_id"] == "my-request-17").expect("a line of the call");
    assert_eq!((&call["trace_id"], &call["span_id"]), (&TRACE.into(), &hex(&span.span_id).into()), "{call}");
    let beside = lines.iter().find(|line| line["message"] == "the mirror is loaded").expect("a line of no call");
    assert_eq!((beside.get("trace_id"), beside.get("span_id")), (None, None), "{beside}");
    // Calls come from 127.0.0.1, which is also where everything else is; the collector is the operator's own.
    let own = collector.address.to_string();
    for line in log.lines().filter(|line| !line.contains(&own)) {
        assert!(!line.contains("127.0.0.1"), "an address: {line}");
    }
    assert!(!log.contains(&secret) && !log.contains(&secret[27..]), "a secret");
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
