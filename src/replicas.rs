//! This process as one of the replicas: what it is called, and, on PostgreSQL, being told of changes and telling how far it
//! has followed them.
//!
//! A replica is in the table before it answers its first Verify, and looks once more after it is in: so a change that found
//! it missing in the table is in its mirror. It stays in the table until its staleness bound is over, or until it has
//! stopped. Only one that was cut off for so long that the table forgot it may, back again, answer for a moment before it is
//! listed: until its next heartbeat, a second later at most, and from a mirror as of its return.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::domain::{
    Revision, Span, limits,
    replica::{RANDOM_BYTES, ReplicaId},
};
use crate::metrics::Metrics;
use crate::random::{self, NoRandomness};
use crate::store::{Replicas, Store, StoreError};
use crate::verify::refresh::Refresher;

/// What this process is called from now on.
pub fn name_this_process() -> Result<ReplicaId, NoRandomness> {
    let random: [u8; RANDOM_BYTES] = random::bytes()?;
    let machine = rustix::system::uname();
    let own = ReplicaId::new(&machine.nodename().to_string_lossy(), random);
    tracing::info!(replica = %own, "this replica's id");
    Ok(own)
}

/// Joins the replicas; answers when this one is listed, and what to wait for after `stop` until it isn't any more.
///
/// `staleness_bound`: how long it answers while the database is away.
pub async fn join(
    store: &Store,
    own: ReplicaId,
    refresher: Refresher,
    staleness_bound: Span,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let (Some(replicas), Some(listener)) = (store.replicas(), store.listener(own.clone())) else {
        return tokio::spawn(std::future::ready(()));
    };
    // An upper bound: the last look is never later than the heartbeat that says so, but for the grace.
    let serves = staleness_bound.to_std().unwrap_or_default() + limits::HEARTBEAT_GRACE;
    let heart = Heart { replicas: replicas.clone(), own, refresher, serves };
    heart.begin().await;
    let listening = stop.clone();
    tokio::spawn(async move { listening.run_until_cancelled(listener.run()).await });
    tokio::spawn(heart.run(stop))
}

/// Shows on the metrics who is live, and how often listening began anew.
pub fn observe(metrics: &Metrics, store: &Store) {
    if let Some(replicas) = store.replicas().cloned() {
        let known = replicas.clone();
        metrics.observe_replicas(move || known.known().len() as u64, move || replicas.reconnects());
    }
}

/// What asks for the furthest that any replica said to have come, as of the last heartbeat.
pub fn furthest(store: &Store) -> impl Fn() -> Revision + Send + Sync + 'static {
    let replicas = store.replicas().cloned();
    move || {
        let known = replicas.as_ref().map(|replicas| replicas.known()).unwrap_or_default();
        known.iter().map(|replica| replica.applied).max().unwrap_or(0)
    }
}

struct Heart {
    replicas: Replicas,
    own: ReplicaId,
    refresher: Refresher,
    serves: Duration,
}

impl Heart {
    /// Until this replica is listed and has looked after that.
    async fn begin(&self) {
        while let Err(error) = self.begun().await {
            tracing::warn!(%error, "this replica can't be listed; it doesn't serve before that");
            sleep(limits::HEARTBEAT_INTERVAL).await;
        }
    }

    async fn begun(&self) -> Result<(), StoreError> {
        self.beat().await?;
        let looked = self.refresher.refresh().await;
        looked.map_err(|_| StoreError::Unavailable("the mirror could not be refreshed".to_owned()))?;
        // Now this process is in what it knows of the table.
        self.beat().await
    }

    async fn run(self, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let next = Instant::now() + limits::HEARTBEAT_INTERVAL;
            // A heartbeat that has begun is waited for, so that none comes after the leave.
            if stop.run_until_cancelled(self.pause(next)).await.is_none() {
                break;
            }
            failing = self.beat_again(failing).await;
        }
        if let Err(error) = self.replicas.leave(&self.own).await {
            tracing::warn!(%error, "this replica stays listed until its staleness bound is over");
        }
    }

    /// Until `next`; when somebody waits for replicas, only until this one has looked.
    async fn pause(&self, next: Instant) {
        sleep(limits::HEARTBEAT_SPACING).await;
        if timeout_at(next, self.replicas.called()).await.is_ok() {
            // A failed look: then the heartbeat tells where it stands.
            let _ = timeout(limits::HEARTBEAT_INTERVAL, self.refresher.refresh()).await;
        }
    }

    /// Answers whether it failed; says so only when that is new.
    async fn beat_again(&self, failing: bool) -> bool {
        match self.beat().await {
            Ok(()) => false,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the other replicas can't be told how far this one is");
                }
                true
            }
        }
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let applied = self.refresher.position().map_or(0, |position| position.revision);
        self.replicas.beat(&self.own, applied, self.serves).await
    }
}
