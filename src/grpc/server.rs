//! The port: connections are accepted in one place and handed round to the cores.
//!
//! Each core has a thread with a runtime of its own, which serves whole connections: one `writev` for the answers to all
//! calls that were read at once, and no task that wanders between cores (reference/performance.md 2 and 3a measured 1.9
//! times the calls of one runtime over both cores). One acceptor rather than a shared port, which a second instance could
//! take calls from unnoticed. Calls that reach the database go on in the runtime that accepts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::domain::limits;
use crate::tls::Tls;

use super::fast_lane::FastLane;
use super::layers::Services;
use super::places::{Place, Places};
use super::workers::{Accepted, Workers};

/// How long to rest when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop`, then lets running calls end, for [`limits::DRAIN`] at most. With `tls`, nothing is
/// said in the clear; each handshake is on the core that serves the connection.
///
/// The port is closed before anybody is asked to leave, so that whoever leaves and comes back at once is refused at once, and
/// goes elsewhere. Whoever came before that is served: a client may have sent its first call already, and could never know
/// whether it was heard.
pub async fn serve<S: FastLane>(
    listener: TcpListener,
    services: Services<S>,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    let places = Arc::new(Places::default());
    let leave = CancellationToken::new();
    let workers = Workers::start(&services, tls.as_ref(), &leave);
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => hand_over(stream.into_std(), peer, &places, &workers),
            Err(error) => {
                // One bad connection, or no descriptor left: neither may end the service (RUSTSEC-2024-0376).
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    match listener.into_std() {
        Ok(listener) => take_in_the_last(listener, &places, &workers),
        Err(error) => tracing::warn!(%error, "those that waited at the port were turned away"),
    }
    leave.cancel();
    let connections = workers.connections();
    if timeout(limits::DRAIN, workers.end()).await.is_err() {
        tracing::warn!(connections, "calls were still running when the time to drain was over");
    }
}

/// Takes in those that are connected and wait for us to notice, and closes the port.
fn take_in_the_last(listener: std::net::TcpListener, places: &Arc<Places>, workers: &Workers) {
    for _ in 0..limits::CONNECTIONS {
        // It would block: nobody waits. After any other error nobody else can be taken in.
        let Ok((stream, peer)) = listener.accept() else { break };
        hand_over(stream.set_nonblocking(true).map(|()| stream), peer, places, workers);
    }
    drop(listener);
}

fn hand_over(stream: std::io::Result<std::net::TcpStream>, peer: SocketAddr, places: &Arc<Places>, workers: &Workers) {
    let Some(place) = Place::take(places, peer.ip()) else {
        tracing::debug!("too many connections; one more was refused");
        return;
    };
    match stream {
        Ok(stream) => workers.hand_over(Accepted { stream, peer, place }),
        Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
    }
}
