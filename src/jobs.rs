//! Cron expression → plain function. The scheduler is a doorbell that says "look" (ecosystem.md 1.4): what it calls is
//! idempotent, and an overlapping ring is ignored.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::authority::Authority;

/// Seconds first; UTC. Once an hour, away from the full hour when everybody else's jobs run.
const HOUSEKEEPING: &str = "0 17 * * * *";

/// Rings until the scheduler is shut down.
pub async fn start(authority: Authority) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let running = Arc::new(Mutex::new(()));
    let job = Job::new_async(HOUSEKEEPING, move |_, _| {
        let (authority, running) = (authority.clone(), Arc::clone(&running));
        Box::pin(async move {
            let Ok(_running) = running.try_lock() else { return };
            match authority.housekeep().await {
                Ok(purged) => tracing::info!(?purged, "housekeeping done"),
                Err(error) => tracing::warn!(%error, "housekeeping failed; it is tried again in an hour"),
            }
        })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}
