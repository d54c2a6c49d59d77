//! One connection: its first bytes, the bounds that tonic's own server leaves open (reliability.md R30–R32), and its end.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::domain::limits;

use super::{
    caller::PeerAddress,
    fast_lane::{self, Answer, FastCall, FastLane},
    layers::{self, Services},
};

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TO_HTTP_1: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\ncontent-length: 43\r\nconnection: close\r\n\r\nThis port speaks gRPC; try it with grpcurl.";

/// A connection that was accepted.
pub(super) struct Connection<S> {
    pub(super) peer: SocketAddr,
    pub(super) services: Arc<Services<S>>,
    pub(super) stop: CancellationToken,
}

impl<S: FastLane> Connection<S> {
    /// Serves it to its end.
    pub(super) async fn run(self, mut stream: TcpStream) {
        let hello = timeout(limits::HANDSHAKE, read_preface(&mut stream));
        let too_late = async {
            self.stop.cancelled().await;
            sleep(limits::LAST_HELLO).await;
        };
        let said = tokio::select! {
            said = hello => said,
            () = too_late => return,
        };
        match said {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                // The peer may be gone already; there is nobody to tell then.
                let _ = timeout(limits::HANDSHAKE, stream.write_all(TO_HTTP_1)).await;
                return;
            }
            Ok(Err(_)) | Err(_) => return,
        }
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (read, write) = stream.into_split();
        let read = std::io::Cursor::new(PREFACE).chain(read);
        self.speak(tokio::io::join(read, write)).await;
    }

    async fn speak(self, io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let activity = Arc::new(Activity::default());
        let (peer, stop) = (self.peer, self.stop.clone());
        let service = {
            let activity = Arc::clone(&activity);
            hyper::service::service_fn(move |request| {
                answer(&self.services, PeerAddress(peer), request, activity.begin())
            })
        };
        let mut connection = pin!(settings().serve_connection(TokioIo::new(io), service));
        let mut idle_check = interval(limits::KEEPALIVE_INTERVAL);
        let mut idleness = Idleness::new();
        let mut leaving = false;
        // Asked to leave, a connection has this long; calls that never end must not keep it.
        let mut patience = pin!(sleep(limits::DRAIN));
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection broke");
                    }
                    return;
                }
                () = patience.as_mut(), if leaving => return,
                () = stop.cancelled(), if !leaving => leaving = true,
                _ = idle_check.tick(), if !leaving => leaving = idleness.is_over(&activity, Instant::now()),
            }
            if leaving {
                patience.as_mut().reset(Instant::now() + limits::DRAIN);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers a request.
fn answer<S: FastLane>(
    services: &Arc<Services<S>>,
    peer: PeerAddress,
    mut request: Request<Incoming>,
    busy: Busy,
) -> BoxFuture<'static, Result<Response<Answer>, Infallible>> {
    if let Some(call) = FastCall::at(request.uri().path()) {
        // Its answer is in memory as a whole, and watching a body costs as much as a look-up.
        let ended = |answer| {
            drop(busy);
            Ok(answer)
        };
        return fast_lane::answer(Arc::clone(services), call, peer, request).map(ended).boxed();
    }
    request.extensions_mut().insert(peer);
    let routed = layers::route(Arc::clone(services), request);
    routed.map(|answer| Ok(answer.map(|body| Answer::Other(busy.until_sent(body))))).boxed()
}

/// Reads what the peer says first; `false` at the first byte that no HTTP/2 client sends.
async fn read_preface(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    let mut length = 0;
    while length < start.len() {
        let read = stream.read(&mut start[length..]).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        length += read;
        if !PREFACE.starts_with(&start[..length]) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn settings() -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION)
        .max_header_list_size(limits::HEADER_BYTES)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT);
    settings
}

/// What happens on a connection: two numbers of its own, as this is asked for each call.
#[derive(Default)]
struct Activity {
    running: AtomicUsize,
    begun: AtomicUsize,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

/// Since when nothing happens on a connection, as far as was looked.
struct Idleness {
    begun: usize,
    since: Instant,
}

impl Idleness {
    fn new() -> Self {
        Self { begun: 0, since: Instant::now() }
    }

    /// Looks, and answers whether nothing happened for too long.
    fn is_over(&mut self, activity: &Activity, now: Instant) -> bool {
        let begun = activity.begun.load(Ordering::Relaxed);
        if activity.running.load(Ordering::Relaxed) > 0 || begun != self.begun {
            *self = Self { begun, since: now };
        }
        now - self.since > limits::IDLE_CONNECTION
    }
}

/// A running call. Ends when it is dropped, so a cancelled call counts as ended too, and a stream runs to its last message.
struct Busy(Arc<Activity>);

impl Busy {
    fn until_sent(self, body: Body) -> Body {
        Body::new(BusyBody { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, whose call runs until it is sent.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for BusyBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
