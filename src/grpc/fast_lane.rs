//! Verify, BatchVerify and Envoy's Check on a road of their own. Their messages are read from the connection and written to
//! it as they are: tonic's buffers, boxes and router cost several times what the verdict costs.
//!
//! hyper moves the future of a call from hand to hand before it runs, so `connection` puts this one behind a pointer, and
//! here it is kept small: what seldom happens is behind another. (Measured: while it held everything, moving it took a
//! fifth of a core; at 1.6 KB, about a twentieth of a call.)

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{FutureExt, poll};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE, request::Parts};
use http_body::Body as _;
use hyper::body::{Bytes, Frame, Incoming};
use prost::Message;
use tokio::time::{Instant, error::Elapsed, timeout};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{Instrument, Span};

use crate::domain::{limits, network::fold_address};
use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::proto::v1::{BatchVerifyRequest, VerifyRequest};
use crate::telemetry;

use super::{
    caller::{Opening, Peer},
    convert::trace_context::{self, Told},
    layers::{self, Services},
    status,
};

/// What goes before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
const UNCOMPRESSED: u8 = 0;
/// The method that Envoy calls.
pub const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Answers these calls; everything else is tonic's.
pub trait FastLane: Clone + Send + Sync + 'static {
    /// Hears that a Verify with this message will be asked soon: as it arrived, and perhaps no message at all.
    fn announce(&self, message: &[u8]);

    /// Answers Verify with a message that was [framed].
    fn verify(
        &self,
        opening: Opening<'_>,
        request: &VerifyRequest,
    ) -> impl Future<Output = Result<Bytes, Status>> + Send;

    /// Answers BatchVerify with a message that was [framed].
    fn batch_verify(
        &self,
        opening: Opening<'_>,
        request: &BatchVerifyRequest,
    ) -> impl Future<Output = Result<Bytes, Status>> + Send;

    /// Answers Envoy's Check with a message that was [framed].
    fn check(&self, opening: Opening<'_>, request: &CheckRequest)
    -> impl Future<Output = Result<Bytes, Status>> + Send;

    /// Answers VerifyStream: by tonic, but for how messages are written.
    fn verify_stream(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// A call that has this road.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FastCall {
    Verify,
    BatchVerify,
    Check,
}

impl FastCall {
    /// All of them, in the order of their declaration.
    pub(super) const ALL: [Self; 3] = [Self::Verify, Self::BatchVerify, Self::Check];

    /// The call of this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        let method = path.strip_prefix('/')?;
        Self::ALL.into_iter().find(|call| call.method() == method)
    }

    /// Its full name.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Verify => "claviger.v1.VerificationService/Verify",
            Self::BatchVerify => "claviger.v1.VerificationService/BatchVerify",
            Self::Check => CHECK,
        }
    }
}

/// A message in its frame. `expected`: about how many bytes it has.
pub fn framed(expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = Vec::with_capacity(PREFIX + expected);
    bytes.extend([UNCOMPRESSED; PREFIX]);
    write(&mut bytes);
    // A batch of the most and longest answers is far shorter than this number can tell.
    let length = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
    bytes[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

/// Answers a call.
pub(super) fn answer<S: FastLane>(
    services: Arc<Services<S>>,
    call: FastCall,
    peer: Peer,
    request: Request<Incoming>,
) -> impl Future<Output = Response<Answer>> + Send {
    // Taken apart out here: whatever an async function moves, its future holds twice.
    let (head, mut body) = request.into_parts();
    let mut first = arrived(&mut body);
    if call == FastCall::Verify {
        services.fast_lane.announce(first.get(PREFIX..).unwrap_or_default());
    }
    async move {
        if let Some(refusal) = layers::refuse_other_than_grpc(&head.method, &head.headers) {
            return refusal.map(Answer::Other);
        }
        let started = Instant::now();
        let says_its_trace = says_its_trace_itself(call, &head.headers);
        if says_its_trace && unframed(first.clone()).is_err() {
            // Seldom: else it came with the head.
            let Ok(all) = Box::pin(timeout(deadline(&head), gather(first, &mut body))).await else {
                services.durations.count(call, Code::DeadlineExceeded, started.elapsed());
                return refused(status::deadline_exceeded());
            };
            first = all;
        }
        let id = layers::given_request_id(&head.headers);
        let request_id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let message = says_its_trace.then(|| first.get(PREFIX..).unwrap_or_default());
        let span = span(call, request_id, &head.headers, message);
        let address = Some(fold_address(peer.address.0.ip()));
        let opening = Opening { headers: &head.headers, address, names: peer.names.as_ref(), request_id };
        let judging = pin!(
            AssertUnwindSafe(judge(&services.fast_lane, call, opening, first, &mut body).instrument(span.clone()))
                .catch_unwind()
        );
        let answered = match in_time(deadline(&head), judging).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_panic)) => Err(span.in_scope(status::panicked)),
            Err(_elapsed) => Err(status::deadline_exceeded()),
        };
        let (code, elapsed) = (answered.as_ref().map_or_else(Status::code, |_| Code::Ok), started.elapsed());
        services.durations.count(call, code, elapsed);
        telemetry::call_ended(&span, call.method(), code, elapsed);
        let mut response = answered.map_or_else(refused, whole);
        if let Some(id) = id {
            response.headers_mut().insert(layers::REQUEST_ID, id.clone());
        }
        response
    }
}

/// Whether the trace of this call may be told by its message alone.
fn says_its_trace_itself(call: FastCall, headers: &HeaderMap) -> bool {
    call == FastCall::Check && telemetry::draws() && !headers.contains_key(telemetry::TRACEPARENT)
}

/// `message`: the one that may tell the trace of this call.
fn span(call: FastCall, request_id: &str, headers: &HeaderMap, message: Option<&[u8]>) -> Span {
    if let Some(message) = message {
        match trace_context::told(message) {
            Told::Recorded(headers) => return telemetry::call_span(call.method(), request_id, &headers),
            Told::NotRecorded if !telemetry::draws_all() => return Span::none(),
            Told::NotRecorded | Told::Nothing => {}
        }
    }
    telemetry::call_span(call.method(), request_id, headers)
}

fn deadline(head: &Parts) -> Duration {
    layers::deadline(head.uri.path(), &head.headers)
}

async fn in_time<F: Future>(deadline: Duration, mut judging: Pin<&mut F>) -> Result<F::Output, Elapsed> {
    // Nearly always it is there at once, and a timer would cost as much as a look-up.
    match poll!(judging.as_mut()) {
        Poll::Ready(judged) => Ok(judged),
        Poll::Pending => Box::pin(timeout(deadline, judging)).await,
    }
}

async fn judge<S: FastLane>(
    service: &S,
    call: FastCall,
    opening: Opening<'_>,
    first: Bytes,
    body: &mut Incoming,
) -> Result<Bytes, Status> {
    let message = read(first, body).await?;
    match call {
        FastCall::Verify => service.verify(opening, &decode(message)?).await,
        FastCall::BatchVerify => Box::pin(service.batch_verify(opening, &decode(message)?)).await,
        FastCall::Check => Box::pin(service.check(opening, &decode(message)?)).await,
    }
}

fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|_| status::message_invalid())
}

/// What has arrived together with the call's head; nearly always that is the whole message. Every call of a burst comes here
/// before the first of them is answered.
fn arrived(body: &mut Incoming) -> Bytes {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        // Whoever reads on learns what it is.
        Poll::Ready(Some(Err(_)) | None) | Poll::Pending => Bytes::new(),
    }
}

/// Reads the one message of a call, which begins with `first`.
fn read(first: Bytes, body: &mut Incoming) -> impl Future<Output = Result<Bytes, Status>> {
    gather(first, body).map(unframed)
}

/// Reads a body to its end, or until it is longer than any message.
async fn gather(mut first: Bytes, body: &mut Incoming) -> Bytes {
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
        if first.len() + rest.len() > PREFIX + limits::LARGE_MESSAGE_BYTES {
            // Nothing that begins so is a message.
            return Bytes::new();
        }
    }
    if rest.is_empty() { first } else { [&first[..], &rest].concat().into() }
}

fn unframed(mut framed: Bytes) -> Result<Bytes, Status> {
    let Some((&[compressed, ref length @ ..], message)) = framed.split_first_chunk::<PREFIX>() else {
        return Err(status::message_invalid());
    };
    if compressed != UNCOMPRESSED {
        return Err(status::method_unknown());
    }
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(status::message_invalid());
    }
    Ok(framed.split_off(PREFIX))
}

fn whole(message: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::Message(message));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn refused(status: Status) -> Response<Answer> {
    status.into_http().map(Answer::Other)
}

/// What is sent.
pub(super) enum Answer {
    /// A message, and that all went well.
    Message(Bytes),
    /// That all went well.
    Trailers,
    /// Nothing any more.
    Sent,
    /// What tonic makes.
    Other(Body),
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = match this {
            Self::Message(message) => {
                let message = std::mem::take(message);
                *this = Self::Trailers;
                Frame::data(message)
            }
            Self::Trailers => {
                *this = Self::Sent;
                Frame::trailers(HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]))
            }
            Self::Sent => return Poll::Ready(None),
            Self::Other(body) => return Pin::new(body).poll_frame(context),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) | Self::Trailers => false,
            Self::Sent => true,
            Self::Other(body) => body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_one_message_uncompressed_and_whole() {
        let framed = framed(3, |bytes| bytes.extend(b"abc"));
        assert_eq!(framed, [0, 0, 0, 0, 3, b'a', b'b', b'c'][..]);
        assert_eq!(unframed(framed.clone()).expect("a message"), b"abc"[..]);
        let code = |bytes: &[u8]| unframed(Bytes::copy_from_slice(bytes)).expect_err("refused").code();
        assert_eq!(code(&[]), tonic::Code::InvalidArgument);
        assert_eq!(code(&framed[..4]), tonic::Code::InvalidArgument);
        assert_eq!(code(&framed[..7]), tonic::Code::InvalidArgument);
        assert_eq!(code(&[&framed[..], b"d"].concat()), tonic::Code::InvalidArgument);
        assert_eq!(code(&[&[1], &framed[1..]].concat()), tonic::Code::Unimplemented);
    }
}
