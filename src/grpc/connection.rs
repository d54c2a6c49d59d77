//! One connection: its first bytes, the bounds that tonic's own server leaves open (reliability.md R30–R32), and its end.

use std::convert::Infallible;
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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::domain::{limits, peer_name::PeerNames};
use crate::tls::{self, Port, Tls};

use super::{
    caller::{Peer, PeerAddress},
    fast_lane::{self, Answer, FastCall, FastLane},
    layers::{self, Services},
    preface::{self, WithPreface},
};

/// A connection that was accepted.
pub(super) struct Connection<S> {
    pub(super) peer: SocketAddr,
    pub(super) services: Arc<Services<S>>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) stop: CancellationToken,
}

impl<S: FastLane> Connection<S> {
    /// Serves it to its end.
    pub(super) async fn run(self, stream: TcpStream) {
        // Each message goes out at once, those of a handshake too.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let deadline = Instant::now() + limits::HANDSHAKE;
        match self.tls.clone() {
            None => self.greet(stream, None, deadline).await,
            Some(tls) => self.encrypt(stream, &tls, deadline).await,
        }
    }

    /// Changes to TLS, or tells whoever speaks in the clear to.
    async fn encrypt(self, mut stream: TcpStream, tls: &Tls, deadline: Instant) {
        let beginning = timeout_at(deadline, tls::begins(&stream));
        match self.in_time(beginning).await {
            Some(Ok(Ok(true))) => {}
            Some(Ok(Ok(false))) => return send_to_tls(&mut stream, deadline).await,
            Some(Ok(Err(_)) | Err(_)) | None => return,
        }
        let shaking_hands = timeout_at(deadline, tls.accept(stream, Port::Grpc));
        let agreed = self.in_time(shaking_hands).await;
        match agreed {
            Some(Ok(Ok(stream))) => {
                let names = tls::peer_names(&stream);
                self.greet(stream, names, deadline).await;
            }
            Some(Ok(Err(error))) => tracing::debug!(%error, "no TLS could be agreed on"),
            Some(Err(_)) | None => {}
        }
    }

    /// Reads what HTTP/2 clients send first, and goes on from there.
    async fn greet<T: AsyncRead + AsyncWrite + Unpin>(
        self,
        mut stream: T,
        names: Option<PeerNames>,
        deadline: Instant,
    ) {
        let hello = timeout_at(deadline, preface::read(&mut stream));
        let greeted = self.in_time(hello).await;
        match greeted {
            Some(Ok(Ok(true))) => self.speak(WithPreface::again(stream), names).await,
            Some(Ok(Ok(false))) => {
                let last_words = preface::say_and_close(stream, preface::USE_HTTP_2);
                // Nobody waits longer for somebody who doesn't read.
                let _ = timeout(limits::HANDSHAKE, last_words).await;
            }
            Some(Ok(Err(_)) | Err(_)) | None => {}
        }
    }

    /// Waits for a connection to begin. One that was accepted just before we leave may have sent its first call already, so
    /// it has a moment longer.
    async fn in_time<T>(&self, beginning: impl Future<Output = T>) -> Option<T> {
        let too_late = async {
            self.stop.cancelled().await;
            sleep(limits::LAST_HELLO).await;
        };
        tokio::select! {
            begun = beginning => Some(begun),
            () = too_late => None,
        }
    }

    async fn speak(self, mut io: impl AsyncRead + AsyncWrite + Unpin, names: Option<PeerNames>) {
        if self.converse(&mut io, names).await {
            hear_out(&mut io).await;
        }
    }

    /// Answers calls until the connection ends; `true` when we asked for that.
    async fn converse(self, io: &mut (impl AsyncRead + AsyncWrite + Unpin), names: Option<PeerNames>) -> bool {
        let activity = Arc::new(Activity::default());
        let (peer, stop) = (self.peer, self.stop.clone());
        let service = {
            let activity = Arc::clone(&activity);
            hyper::service::service_fn(move |request| {
                let peer = Peer { address: PeerAddress(peer), names: names.clone() };
                answer(&self.services, peer, request, activity.begin())
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
                        tracing::debug!(%error, "a connection broke");
                        return false;
                    }
                    return leaving;
                }
                () = patience.as_mut(), if leaving => return false,
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

/// Reads on for a moment what a client says that hasn't heard yet that we leave. A socket that is closed with something
/// unread is reset, and that takes back our last words: the GOAWAY that tells the client which calls nobody heard.
async fn hear_out(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let hearing = async {
        // It may be gone already.
        let _ = io.shutdown().await;
        tokio::io::copy(io, &mut tokio::io::sink()).await
    };
    // It closes its side, or had its time.
    let _ = timeout(limits::LAST_HELLO, hearing).await;
}

/// Tells a client in the clear, in its own protocol, that TLS is spoken here.
async fn send_to_tls(stream: &mut TcpStream, deadline: Instant) {
    let telling = async {
        let last_words = if preface::read(stream).await? { preface::GO_AWAY_USE_TLS } else { preface::USE_TLS };
        preface::say_and_close(stream, last_words).await;
        Ok::<_, std::io::Error>(())
    };
    // It is told, or it is gone.
    let _ = timeout_at(deadline, telling).await;
}

/// Answers a request.
fn answer<S: FastLane>(
    services: &Arc<Services<S>>,
    peer: Peer,
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
    let Peer { address, names } = peer;
    request.extensions_mut().insert(address);
    if let Some(names) = names {
        request.extensions_mut().insert(names);
    }
    let routed = layers::route(Arc::clone(services), request);
    routed.map(|answer| Ok(answer.map(|body| Answer::Other(busy.until_sent(body))))).boxed()
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
