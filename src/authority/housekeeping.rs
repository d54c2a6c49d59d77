//! What is deleted long enough is purged, and what was kept for a replay is thrown away. Idempotent, in bounded steps: any
//! number of replicas may do it at any time.

use crate::domain::limits;
use crate::store::Purged;

use super::{Authority, AuthorityError};

impl Authority {
    /// Does what is due; answers what was purged.
    pub async fn housekeep(&self) -> Result<Purged, AuthorityError> {
        let now = self.shared.clock.now();
        let mut all = Purged::default();
        if let Some(replicas) = self.store().replicas() {
            replicas.purge().await?;
        }
        for _ in 0..limits::PURGE_BATCHES {
            let bookkeeping = self.store().bookkeeping().await?;
            let replays = bookkeeping.delete_expired_replays(now).await?;
            let purged = bookkeeping.purge(now).await?;
            bookkeeping.commit().await?;
            all.keys += purged.keys;
            all.service_users += purged.service_users;
            all.tenants += purged.tenants;
            all.notifications += purged.notifications;
            all.deliveries += purged.deliveries;
            all.subscribers += purged.subscribers;
            all.user_groups += purged.user_groups;
            all.key_groups += purged.key_groups;
            all.revision_tokens += purged.revision_tokens;
            if purged.is_empty() && replays == 0 {
                break;
            }
        }
        Ok(all)
    }
}
