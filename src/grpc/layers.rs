//! What surrounds every call: only POST with `application/grpc`, a request id, a span with the caller's trace context, a
//! deadline, and a catcher of panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use tracing::Instrument;

use crate::domain::limits;
use crate::random;
use crate::telemetry;

use super::{
    caller::RequestId,
    durations::Durations,
    fast_lane::{CHECK, FastLane},
    methods, status,
};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIMEOUT: &str = "grpc-timeout";
const RUN_WARNINGS: &str = "/claviger.v1.NotificationService/RunWarnings";
const VERIFY_STREAM: &str = "/claviger.v1.VerificationService/VerifyStream";
const VERIFICATION: &str = "/claviger.v1.VerificationService/";

/// Everything that can be called. One for each core.
#[derive(Clone)]
pub struct Services<S> {
    routes: Routes,
    /// What has a road of its own.
    pub(super) fast_lane: S,
    /// Where calls go on that reach the database: whatever they do there, they don't keep a core from its connections.
    control_plane: Handle,
    pub(super) durations: Arc<Durations>,
}

impl<S: FastLane> Services<S> {
    /// Calls that reach the database go on in the runtime that this is called in. `durations`: where calls are counted.
    #[must_use]
    pub fn new(routes: Routes, fast_lane: S, durations: Arc<Durations>) -> Self {
        Self { routes: routes.prepare(), fast_lane, control_plane: Handle::current(), durations }
    }
}

/// Answers any other call: by tonic's router.
pub(super) async fn route<S: FastLane>(services: Arc<Services<S>>, mut request: Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = refuse_other_than_grpc(request.method(), request.headers()) {
        return refusal;
    }
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let path = request.uri().path();
    let (method, data_plane) = (methods::known(path), path.starts_with(VERIFICATION));
    let span = telemetry::call_span(method, &id, request.headers());
    let started = tokio::time::Instant::now();
    let deadline = deadline(path, request.headers());
    let (control_plane, durations) = (services.control_plane.clone(), Arc::clone(&services.durations));
    let answering = async move {
        if request.uri().path() == VERIFY_STREAM {
            return services.fast_lane.verify_stream(request).await;
        }
        services.routes.clone().call(request).await.unwrap_or_else(|never| match never {})
    };
    let answering = AssertUnwindSafe(answering).catch_unwind().instrument(span.clone());
    let answered = if data_plane {
        tokio::time::timeout(deadline, answering).await
    } else {
        let answering = AbortOnDropHandle::new(control_plane.spawn(answering));
        tokio::time::timeout(deadline, answering.map(|ended| ended.unwrap_or_else(|error| Err(Box::new(error))))).await
    };
    let mut response = match answered {
        Ok(Ok(response)) => explained(method, response),
        Ok(Err(_panic)) => span.in_scope(|| status::panicked().into_http()),
        Err(_elapsed) => status::deadline_exceeded().into_http(),
    };
    let (code, elapsed) = (code_of(response.headers()), started.elapsed());
    durations.record(method, code, elapsed);
    telemetry::call_ended(&span, method, code, elapsed);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// How a call ended, if it has: what answers without a code goes on, or will tell it at its end.
fn code_of(headers: &HeaderMap) -> tonic::Code {
    headers.get("grpc-status").map_or(tonic::Code::Ok, |code| tonic::Code::from_bytes(code.as_bytes()))
}

/// tonic refuses what it can't read or route before a handler sees it, and without a reason; what comes from the caller it
/// may call OUT_OF_RANGE or INTERNAL.
fn explained(method: &str, response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let code = headers.get("grpc-status").map(|code| tonic::Code::from_bytes(code.as_bytes()));
    if headers.contains_key("grpc-status-details-bin") || method.starts_with("grpc.") {
        return response;
    }
    match code {
        Some(tonic::Code::OutOfRange | tonic::Code::Internal) => status::message_invalid().into_http(),
        Some(tonic::Code::Unimplemented) => status::method_unknown().into_http(),
        Some(_) | None => response,
    }
}

/// tonic routes any method and any content type (measured: reliability.md R16); we don't.
pub(super) fn refuse_other_than_grpc(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let plain = |code| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = code;
        Some(response)
    };
    if method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let rest = content_type.and_then(|text| text.strip_prefix("application/grpc"));
    // `application/grpc-web` is another protocol.
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with(['+', ';']) => None,
        Some(_) | None => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// The caller's request id when it is one short word of harmless characters.
pub(super) fn given_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let harmless = |value: &&HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        (1..=limits::REQUEST_ID_CHARACTERS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            && !text.contains(crate::domain::secret_text::PREFIX)
    };
    headers.get(REQUEST_ID).filter(harmless)
}

/// The caller's request id, else a new one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    match given_request_id(headers).and_then(|value| value.to_str().ok()) {
        Some(given) => given.into(),
        None => {
            let bytes: [u8; 16] = random::bytes().unwrap_or_default();
            uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into()
        }
    }
}

/// The server's deadline until an answer begins, or the caller's when that is shorter (reliability.md R32).
pub(super) fn deadline(path: &str, headers: &HeaderMap) -> Duration {
    let own = match path {
        RUN_WARNINGS => limits::RUN_WARNINGS_DEADLINE,
        path if path.starts_with(VERIFICATION) || path.strip_prefix('/') == Some(CHECK) => limits::VERIFY_DEADLINE,
        _ => limits::CALL_DEADLINE,
    };
    callers_deadline(headers).map_or(own, |callers| callers.min(own))
}

/// How long the caller wants to wait, if it says so.
pub(super) fn callers_deadline(headers: &HeaderMap) -> Option<Duration> {
    headers.get(TIMEOUT).and_then(|value| value.to_str().ok()).and_then(parse_timeout)
}

/// `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Requests").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_only_shortens() {
        let with = |timeout: &'static str, path| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(timeout));
            deadline(path, &headers)
        };
        assert_eq!(with("50m", "/claviger.v1.VerificationService/Verify"), Duration::from_millis(50));
        assert_eq!(with("5S", "/claviger.v1.VerificationService/Verify"), limits::VERIFY_DEADLINE);
        assert_eq!(with("99999999H", "/claviger.v1.KeyService/GetKey"), limits::CALL_DEADLINE);
        assert_eq!(with("1H", RUN_WARNINGS), Duration::from_secs(600));
        for odd in ["", "S", "5", "-1S", "1 S", "999999999S", "5é"] {
            assert_eq!(parse_timeout(odd), None, "{odd}");
        }
    }
}
