//! Logs, and traces and metrics by OTLP when an endpoint is set. Never a secret nor a client's address: calls are logged by
//! method, request id and outcome, and the crates below us that could print a frame are kept quiet whatever the filter says.

mod export;
mod lines;

use std::cell::Cell;
use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::MeterProviderBuilder;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, debug_span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{CollectorTls, Exports, LogFormat, Settings};
use crate::domain::limits;

pub use export::show;

use lines::WithTrace;

/// The header with the trace that a call belongs to (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";
/// Spans and events of calls.
const CALLS: &str = "claviger::call";
/// The calls that are too many to trace each: these, and Envoy's.
const VERIFICATION: &str = "claviger.v1.VerificationService/";
const ENVOY: &str = "envoy.service.auth.v3.";
/// Where callers reach this service: host and port.
static SERVER: OnceLock<(String, i64)> = OnceLock::new();
/// Which of them are traced. None, as long as telemetry wasn't started.
static DRAWING: OnceLock<Drawing> = OnceLock::new();

#[derive(Debug, Clone, Copy)]
enum Drawing {
    /// Somebody debugs.
    All,
    /// Those whose caller traces them; of the others one in so many, or none.
    Exported { every: Option<NonZeroU32> },
}

/// Crates that print frames, statements, headers or mails at TRACE, or chatter: kept quiet whatever the filter says.
const QUIET: [&str; 11] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "rustls",
    "sqlx",
    "sea_orm",
    "tokio_cron_scheduler",
    "opentelemetry",
    "lettre",
];

/// Flushes what is still to be exported when it is dropped.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Telemetry couldn't be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter couldn't be built.
    #[error("the OTLP exporter can't be built: {0}; check OTEL_EXPORTER_OTLP_ENDPOINT")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Something else in this process logs already.
    #[error("logging can't be started: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error, and exporting when an endpoint is set. Must run inside a tokio runtime.
pub fn start(settings: &Settings) -> Result<Telemetry, TelemetryError> {
    let quiet = Targets::new().with_default(LevelFilter::TRACE);
    let quiet = quiet.with_targets(QUIET.map(|name| (name, LevelFilter::WARN)));
    // It warns of each attempt that fails; `export` says it once.
    let quiet = quiet.with_target("opentelemetry_otlp", LevelFilter::ERROR);
    let filter = EnvFilter::new(&settings.log);
    let debugs_calls = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
    let filter = filter.and(quiet);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.log_format {
        LogFormat::Human => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .map_event_format(WithTrace)
            .with_filter(filter)
            .boxed(),
    };
    let exports = settings.exports;
    let exporting = || export::tracer_provider(exports, settings.trace_collector.as_ref());
    let provider = exports.traces.then(exporting).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("claviger"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(CALLS, LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(lines).with(spans).try_init()?;
    SERVER.get_or_init(|| server(settings));
    if debugs_calls {
        DRAWING.get_or_init(|| Drawing::All);
    } else if exports.traces {
        DRAWING.get_or_init(|| Drawing::Exported { every: settings.trace_every });
    }
    if exports.is_other_protocol && (exports.traces || exports.metrics) {
        tracing::warn!(
            "OTLP is spoken over gRPC only, whatever OTEL_EXPORTER_OTLP_PROTOCOL says; give the port for gRPC"
        );
    }
    std::panic::set_hook(Box::new(|panic| {
        // The payload may quote user input; where it happened is enough to find it.
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        tracing::error!(place, "panic");
    }));
    Ok(Telemetry { provider })
}

fn server(settings: &Settings) -> (String, i64) {
    let told = settings.public_endpoint.as_deref().and_then(|endpoint| {
        let (host, port) = endpoint.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    });
    told.unwrap_or_else(|| (settings.listen.ip().to_string(), i64::from(settings.listen.port())))
}

/// What keeps the meters; exports them too, when that is wanted. Must be called inside a tokio runtime.
pub fn meters(exports: Exports, collector: Option<&CollectorTls>) -> Result<MeterProviderBuilder, TelemetryError> {
    Ok(export::meter_provider(exports, collector)?)
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // A collector that is away must not keep the process from leaving.
            let _ = provider.shutdown_with_timeout(limits::LAST_EXPORT);
        }
    }
}

/// The span of a call, with the caller's W3C trace context as parent. Only control-plane calls are at INFO: Verify, health
/// and reflection cost no line unless somebody debugs. Whether a call of VerificationService has one is decided before
/// anything is built, because a span that is thrown away afterwards costs a fifth of the call (reference/performance.md
/// 3b): when the caller traces it, and else by ratio.
#[must_use]
pub fn call_span(method: &str, request_id: &str, headers: &HeaderMap) -> Span {
    let span = if is_control_plane(method) {
        info_span!(target: CALLS, "call", otel.name = method, otel.kind = "server", request_id)
    } else if (method.starts_with(VERIFICATION) || method.starts_with(ENVOY)) && !is_drawn(headers) {
        Span::none()
    } else {
        debug_span!(target: CALLS, "call", otel.name = method, otel.kind = "server", request_id)
    };
    if !span.is_disabled() {
        // Both fail only when no OpenTelemetry layer is there; then there is nobody to tell.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
        for (key, value) in [("rpc.system.name", "grpc"), ("rpc.method", method)] {
            span.set_attribute(key, value.to_owned());
        }
        if let Some((address, port)) = SERVER.get() {
            span.set_attribute("server.address", address.as_str());
            span.set_attribute("server.port", *port);
        }
    }
    span
}

fn is_control_plane(method: &str) -> bool {
    method.starts_with("claviger.v1.") && !method.starts_with(VERIFICATION)
}

/// Whether this call of VerificationService is traced.
fn is_drawn(headers: &HeaderMap) -> bool {
    match DRAWING.get() {
        None => false,
        Some(Drawing::All) => true,
        Some(Drawing::Exported { every }) => match headers.get(TRACEPARENT).map(|value| value.as_bytes()) {
            Some(context) => is_recorded(context),
            None => every.is_some_and(next_is_drawn),
        },
    }
}

/// Whether the trace of this `traceparent` is recorded: the last bit of the flags says so (W3C Trace Context, 3.2.2.5).
#[must_use]
pub fn is_recorded(traceparent: &[u8]) -> bool {
    traceparent.last().is_some_and(|flags| matches!(flags, b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'))
}

/// Whether any call is traced: else none need be asked what trace it belongs to.
#[must_use]
pub fn draws() -> bool {
    DRAWING.get().is_some()
}

/// Whether every call is traced, whatever its caller says.
#[must_use]
pub fn draws_all() -> bool {
    matches!(DRAWING.get(), Some(Drawing::All))
}

/// Every so many calls of a thread one is drawn, the first one too: no randomness is needed to pick calls evenly.
fn next_is_drawn(every: NonZeroU32) -> bool {
    thread_local! {
        static CALLS_TO_GO: Cell<u32> = const { Cell::new(0) };
    }
    CALLS_TO_GO.with(|to_go| {
        let left = to_go.get();
        to_go.set(left.checked_sub(1).unwrap_or(every.get() - 1));
        left == 0
    })
}

/// Notes how a call ended: one line, at DEBUG unless it is of the control plane.
pub fn call_ended(span: &Span, method: &str, code: tonic::Code, elapsed: Duration) {
    if span.is_disabled() {
        return;
    }
    let name = code_name(code);
    span.set_attribute("rpc.response.status_code", name);
    if is_server_fault(code) {
        span.set_attribute("error.type", name);
        span.set_status(opentelemetry::trace::Status::error(name));
    }
    let microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        if is_control_plane(method) {
            tracing::info!(target: CALLS, code = name, microseconds, "call ended");
        } else {
            tracing::debug!(target: CALLS, code = name, microseconds, "call ended");
        }
    });
}

/// The server faults of OpenTelemetry's semantic conventions for gRPC servers.
fn is_server_fault(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A code as gRPC spells it.
#[must_use]
pub fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
