//! What the parts show among the metrics.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{AppError, in_background};
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::limits;
use crate::grpc::durations::Durations;
use crate::metrics::{Metrics, Shown};
use crate::store::{PoolUse, Store};
use crate::verify::{mirror::Mirror, observe, refresh::Refresher, tally::Tally};
use crate::{replicas, telemetry};

/// What every call is counted and timed in.
pub(super) struct Counting {
    pub(super) metrics: Arc<Metrics>,
    pub(super) tally: Arc<Tally>,
    pub(super) durations: Arc<Durations>,
}

/// Begins to count.
pub(super) fn counting(settings: &Settings, stop: &CancellationToken) -> Result<Counting, AppError> {
    let metrics = Metrics::of(telemetry::meters(settings.exports, settings.metric_collector.as_ref())?)?;
    let (tally, durations) = (Arc::new(Tally::default()), Arc::new(Durations::default()));
    tally.show(&metrics);
    durations.show(&metrics);
    in_background(stop, Arc::clone(&durations).run());
    Ok(Counting { metrics: Arc::new(metrics), tally, durations })
}

/// From now on shows everything that doesn't count by itself.
pub(super) fn show(metrics: &Metrics, store: &Store, mirror: &Arc<Mirror>, refresher: &Refresher, clock: &Clock) {
    observe::freshness(metrics, refresher, clock, replicas::furthest(store));
    observe::content(metrics, mirror);
    replicas::observe(metrics, store);
    telemetry::show(metrics);
    pools(metrics, store.clone());
}

fn pools(metrics: &Metrics, store: Store) {
    let most = store.clone();
    let description = "Connections to the database, by pool: at work (used), or waiting for work (idle).";
    let shown = Shown { name: "claviger_database_connections", unit: "", description };
    metrics.observe_each(shown, ["pool", "state"], move || {
        let of = |PoolUse { pool, used, idle, .. }| {
            [("used", used), ("idle", idle)]
                .map(|(state, count)| ([str::to_owned(pool), state.to_owned()], f64::from(count)))
        };
        store.pool_use().into_iter().flat_map(of).collect::<Vec<_>>()
    });
    let description = "Connections to the database that there may be, by pool.";
    let shown = Shown { name: "claviger_database_connections_max", unit: "", description };
    metrics.observe_each(shown, ["pool"], move || {
        most.pool_use().into_iter().map(|pool| ([pool.pool.to_owned()], f64::from(pool.most))).collect::<Vec<_>>()
    });
}

/// Exports what was counted since the last time. On a thread of its own, which nobody waits for longer than said: exporting
/// blocks.
pub(super) async fn export_a_last_time(metrics: Arc<Metrics>) {
    let (done, exported) = oneshot::channel();
    std::thread::spawn(move || {
        metrics.close();
        // Nobody waits any more when it took too long.
        let _ = done.send(());
    });
    let _ = timeout(limits::LAST_EXPORT, exported).await;
}
