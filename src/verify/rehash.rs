//! Moves keys to the current pepper: a stored digest can only be made anew while the secret is at hand, which is after a
//! successful verify. In batches of at most 500 under one revision, at most one batch a second, outside the call.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::{
    audit::AuditEvent,
    ids::KeyId,
    limits,
    pepper::{PepperId, Peppers},
    secret::PresentedSecret,
};
use crate::store::{Rehash, Store, StoreError};

/// Keys that wait to be stored under the current pepper.
pub struct RehashQueue {
    peppers: Arc<Peppers>,
    /// Registered before the current one. While replicas change over, one that still has the old pepper as its current must
    /// not move keys back.
    older: HashSet<PepperId>,
    waiting: Mutex<HashMap<KeyId, Rehash>>,
}

impl RehashQueue {
    /// An empty queue. `registered`: every pepper the store knows, the oldest first.
    #[must_use]
    pub fn new<T>(peppers: Arc<Peppers>, registered: &[(PepperId, T)]) -> Self {
        let ids = registered.iter().map(|(id, _)| id);
        let older = ids.take_while(|id| *id != peppers.current().id()).cloned().collect();
        Self { peppers, older, waiting: Mutex::default() }
    }

    /// Notes a key that verified with `secret` and is stored under `from`. A full queue leaves it for its next verify.
    pub fn offer(&self, secret: PresentedSecret<'_>, from: &PepperId) {
        if !self.older.contains(from) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < limits::REHASH_QUEUE {
            let id = secret.key_id();
            let digest = self.peppers.current().digest(secret);
            waiting.insert(id, Rehash { id, from: from.clone(), digest });
        }
    }

    /// Writes a batch a second, for ever. `event` makes the audit event of a batch.
    pub async fn run<E: std::fmt::Display>(&self, store: &Store, event: impl Fn() -> Result<AuditEvent, E>) {
        let mut second = interval(std::time::Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            let batch = self.take();
            if batch.is_empty() {
                continue;
            }
            match event() {
                Ok(event) => self.write(store, &batch, event).await,
                Err(error) => tracing::warn!(%error, "keys could not be moved to the current pepper"),
            }
        }
    }

    fn take(&self) -> Vec<Rehash> {
        let mut waiting = self.waiting.lock();
        let ids: Vec<KeyId> = waiting.keys().take(limits::REHASH_BATCH).copied().collect();
        ids.into_iter().filter_map(|id| waiting.remove(&id)).collect()
    }

    /// A batch that fails is not lost: its keys come back with their next verify.
    async fn write(&self, store: &Store, batch: &[Rehash], event: AuditEvent) {
        match self.try_write(store, batch, event).await {
            Ok(count) => tracing::info!(count, "keys moved to the current pepper"),
            Err(error) => tracing::warn!(%error, "keys could not be moved to the current pepper"),
        }
    }

    async fn try_write(&self, store: &Store, batch: &[Rehash], event: AuditEvent) -> Result<u64, StoreError> {
        let write = store.write().await?;
        let count = write.rehash(batch, self.peppers.current().id()).await?;
        if count > 0 {
            write.commit(event).await?;
        }
        Ok(count)
    }
}
