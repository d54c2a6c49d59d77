//! Cron expression → plain function. The scheduler is a doorbell that says "look" (ecosystem.md 1.4): what it calls is
//! idempotent, and an overlapping ring is ignored.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::authority::Authority;
use crate::domain::limits;
use crate::metrics::Metrics;
use crate::notify::Warnings;

// Seconds first; UTC, because the scheduler keeps the offset that a zone has when it starts.
/// Every minute. Whose warning hour has come, the run finds out by itself.
const WARNINGS: &str = "0 * * * * *";
/// Every minute, away from the warnings.
const EXPIRY: &str = "30 * * * * *";
/// Once an hour, away from the full hour when everybody else's jobs run.
const HOUSEKEEPING: &str = "0 17 * * * *";

type Ring = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Rings until the scheduler is shut down.
pub async fn start(
    authority: Authority,
    warnings: Warnings,
    metrics: Arc<Metrics>,
) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let expiring = authority.clone();
    for job in [
        bell(WARNINGS, move || Box::pin(warn(warnings.clone())))?,
        bell(EXPIRY, move || Box::pin(record_expiry(expiring.clone(), Arc::clone(&metrics))))?,
        bell(HOUSEKEEPING, move || Box::pin(housekeep(authority.clone())))?,
    ] {
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}

/// Rings too, for ever, by a clock that nobody sets: the scheduler may stop in silence, and a wall clock that is set back
/// makes it wait for as long.
pub async fn ring_anyway(authority: Authority, warnings: Warnings, metrics: Arc<Metrics>) {
    loop {
        sleep(limits::WARNING_PERIOD * 3 / 2).await;
        warn(warnings.clone()).await;
        record_expiry(authority.clone(), Arc::clone(&metrics)).await;
    }
}

/// A job that is left out while its last run still goes on.
fn bell(cron: &str, ring: impl Fn() -> Ring + Send + Sync + 'static) -> Result<Job, JobSchedulerError> {
    let running = Arc::new(Mutex::new(()));
    Job::new_async(cron, move |_, _| {
        let (ringing, running) = (ring(), Arc::clone(&running));
        Box::pin(async move {
            if let Ok(_running) = running.try_lock() {
                ringing.await;
            }
        })
    })
}

async fn warn(warnings: Warnings) {
    match warnings.ring().await {
        Some(Ok(report)) if report.is_empty() => tracing::debug!("no warnings to send"),
        Some(Ok(report)) => tracing::info!(?report, "warnings run done"),
        Some(Err(error)) => tracing::warn!(%error, "the warnings run failed; it goes on in a minute"),
        None => {}
    }
}

async fn record_expiry(authority: Authority, metrics: Arc<Metrics>) {
    match authority.record_expiry().await {
        Ok(0) => {}
        Ok(keys) => {
            metrics.expired(keys);
            tracing::info!(keys, "expired keys recorded");
        }
        Err(error) => tracing::warn!(%error, "expired keys could not be recorded; it is tried again in a minute"),
    }
}

async fn housekeep(authority: Authority) {
    match authority.housekeep().await {
        Ok(purged) => tracing::info!(?purged, "housekeeping done"),
        Err(error) => tracing::warn!(%error, "housekeeping failed; it is tried again in an hour"),
    }
}
