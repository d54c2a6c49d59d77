//! The cores: a thread with a runtime of its own for each.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::Tls;

use super::connection::Connection;
use super::fast_lane::FastLane;
use super::layers::Services;
use super::places::Place;

/// A connection on its way to a core.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// The threads that serve connections.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    /// Bounded by the places of connections.
    connections: mpsc::UnboundedSender<Accepted>,
    /// How many it has.
    load: Arc<AtomicUsize>,
    ended: oneshot::Receiver<()>,
}

impl Workers {
    /// Starts a thread for each core that this process may use. Each gets services of its own, so that no two cores count
    /// references to the same.
    pub(super) fn start<S: FastLane>(services: &Services<S>, tls: Option<&Arc<Tls>>, stop: &CancellationToken) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = |core| Worker::start(core, services.clone(), tls.cloned(), stop.clone());
        Self((0..cores).filter_map(start).collect())
    }

    /// Gives a connection to whoever has the fewest.
    pub(super) fn hand_over(&self, accepted: Accepted) {
        if let Some(worker) = self.0.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed)) {
            worker.load.fetch_add(1, Ordering::Relaxed);
            // Fails only when the thread has ended; then the connection is closed.
            let _ = worker.connections.send(accepted);
        }
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.0.iter().map(|worker| worker.load.load(Ordering::Relaxed)).sum()
    }

    /// Takes no more connections, and waits for those there are.
    pub(super) async fn end(self) {
        let ends: Vec<_> = self.0.into_iter().map(|worker| worker.ended).collect();
        for ended in ends {
            // An error means that the thread is gone, which is what was waited for.
            let _ = ended.await;
        }
    }
}

impl Worker {
    fn start<S: FastLane>(
        core: usize,
        services: Services<S>,
        tls: Option<Arc<Tls>>,
        stop: CancellationToken,
    ) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.inspect_err(|error| tracing::error!(%error, "a core could not be put to work")).ok()?;
        let (connections, arriving) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let load = Arc::new(AtomicUsize::new(0));
        let serving = serve(arriving, Arc::new(services), tls, Arc::clone(&load), stop);
        let started = thread::Builder::new().name(format!("core-{core}")).spawn(move || {
            runtime.block_on(serving);
            // Nobody waits any more when the time to drain is over.
            let _ = end.send(());
        });
        started.inspect_err(|error| tracing::error!(%error, "a core could not be put to work")).ok()?;
        Some(Self { connections, load, ended })
    }
}

async fn serve<S: FastLane>(
    mut arriving: mpsc::UnboundedReceiver<Accepted>,
    services: Arc<Services<S>>,
    tls: Option<Arc<Tls>>,
    load: Arc<AtomicUsize>,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    while let Some(Accepted { stream, peer, place }) = arriving.recv().await {
        let connection = Connection { peer, services: Arc::clone(&services), tls: tls.clone(), stop: stop.clone() };
        let load = Arc::clone(&load);
        connections.spawn(async move {
            match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => connection.run(stream).await,
                Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
            }
            load.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}
