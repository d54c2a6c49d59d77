//! Connections: accepted one by one, given bounds that tonic's own server leaves open (reliability.md R30–R32), and
//! drained at the end.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;

use crate::domain::limits;

use super::{caller::PeerAddress, layers};

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TO_HTTP_1: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\ncontent-length: 43\r\nconnection: close\r\n\r\nThis port speaks gRPC; try it with grpcurl.";
/// How long to rest when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop`, then lets running calls end, for [`limits::DRAIN`] at most.
pub async fn serve(listener: TcpListener, routes: Routes, stop: CancellationToken) {
    let routes = routes.prepare();
    let places = Arc::new(Places::default());
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One bad connection, or no descriptor left: neither may end the service (RUSTSEC-2024-0376).
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(&places, peer.ip()) else {
            tracing::debug!(%peer, "too many connections; one more was refused");
            continue;
        };
        let connection = Connection { peer, routes: routes.clone(), stop: stop.clone() };
        connections.spawn(async move {
            connection.run(stream).await;
            drop(place);
        });
    }
    // Whoever comes now is refused at once and goes elsewhere, instead of waiting in the backlog.
    drop(listener);
    connections.close();
    if timeout(limits::DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "calls were still running when the time to drain was over");
    }
}

struct Connection {
    peer: SocketAddr,
    routes: Routes,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, mut stream: TcpStream) {
        let hello = timeout(limits::HANDSHAKE, read_preface(&mut stream));
        match self.stop.run_until_cancelled(hello).await {
            Some(Ok(Ok(true))) => {}
            Some(Ok(Ok(false))) => {
                // The peer may be gone already; there is nobody to tell then.
                let _ = timeout(limits::HANDSHAKE, stream.write_all(TO_HTTP_1)).await;
                return;
            }
            Some(Ok(Err(_)) | Err(_)) | None => return,
        }
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (read, write) = stream.into_split();
        let read = std::io::Cursor::new(PREFACE).chain(read);
        self.speak(tokio::io::join(read, write)).await;
    }

    async fn speak(self, io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let activity = Arc::new(Activity::new());
        let (peer, stop) = (self.peer, self.stop.clone());
        let service = {
            let activity = Arc::clone(&activity);
            hyper::service::service_fn(move |mut request: Request<Incoming>| {
                let busy = activity.begin();
                request.extensions_mut().insert(PeerAddress(peer));
                let answer = layers::serve(self.routes.clone(), request.map(Body::new));
                async move { answer.await.map(|answer| answer.map(|body| Body::new(BusyBody { body, _busy: busy }))) }
            })
        };
        let mut connection = pin!(settings().serve_connection(TokioIo::new(io), service));
        let mut idle_check = interval(limits::KEEPALIVE_INTERVAL);
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
                _ = idle_check.tick(), if !leaving => leaving = activity.is_idle(),
            }
            if leaving {
                patience.as_mut().reset(Instant::now() + limits::DRAIN);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
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
        .keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT);
    settings
}

/// Whether anything happens on a connection.
struct Activity {
    running: AtomicUsize,
    last: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        Self { running: AtomicUsize::new(0), last: Mutex::new(Instant::now()) }
    }

    fn begin(self: &Arc<Self>) -> Busy {
        self.running.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0 && self.last.lock().elapsed() > limits::IDLE_CONNECTION
    }
}

/// A running call. Ends when it is dropped, so a cancelled call counts as ended too, and a stream runs to its last message.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.last.lock() = Instant::now();
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

/// Connections: all of them, and by peer.
#[derive(Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

type Places = Mutex<Taken>;

/// A connection's place among those its peer, and all together, may have.
struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Place {
    fn take(places: &Arc<Places>, address: IpAddr) -> Option<Self> {
        let peer = peer_of(address);
        let mut taken = places.lock();
        let own = taken.by_peer.get(&peer).copied().unwrap_or(0);
        if taken.all >= limits::CONNECTIONS || own >= limits::CONNECTIONS_PER_PEER {
            return None;
        }
        taken.all += 1;
        taken.by_peer.insert(peer, own + 1);
        Some(Self { places: Arc::clone(places), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        match taken.by_peer.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(taken.by_peer.remove(&self.peer)),
        }
    }
}

/// An IPv6 customer has a whole /64 to call from, and counts as one peer (RFC 6177).
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four @ IpAddr::V4(_) => four,
    }
}
