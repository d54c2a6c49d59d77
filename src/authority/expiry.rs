//! Expiry becomes visible: state, notification and slot are recorded once a key's time is over. Verify never waits for it.
//! Idempotent, in bounded steps: any number of replicas may do it at any time.

use crate::domain::{audit::event_id, ids::TenantId, key::Key, limits};
use crate::random;

use super::{Authority, AuthorityError, call::own_event};

impl Authority {
    /// Records what has expired; answers how many keys. With nothing to do it asks the database one question.
    pub async fn record_expiry(&self) -> Result<u64, AuthorityError> {
        let mut recorded = 0;
        for _ in 0..limits::EXPIRY_BATCHES {
            if !self.store().has_unrecorded_ends(self.shared.clock.now()).await? {
                break;
            }
            recorded += self.record_some_ends().await?;
        }
        Ok(recorded)
    }

    async fn record_some_ends(&self) -> Result<u64, AuthorityError> {
        let write = self.store().write().await?;
        let now = self.shared.clock.now();
        let ends = write.unrecorded_ends(None, now).await?;
        if ends.is_empty() {
            return Ok(0);
        }
        write.record_ends(&ends, now).await?;
        let event =
            |tenant, target| Ok::<_, AuthorityError>(own_event(event_id(now, random::bytes()?), tenant, target, now));
        let of_key = |key: &Key| event(key.name.owner.tenant.clone(), key.name.to_string());
        write.note(ends.keys.iter().map(of_key).collect::<Result<_, _>>()?).await?;
        write.commit(event(TenantId::system(), "keys/expired".to_owned())?).await?;
        Ok(ends.len())
    }
}
