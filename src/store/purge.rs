//! Removes for good what was deleted 30 days ago; children before their parents, a batch at a time.

use sea_orm::{ConnectionTrait, Statement};

use crate::domain::{Time, limits};

use super::{Bookkeeping, StoreError, error::within};

/// How many rows a purge removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Keys.
    pub keys: u64,
    /// Service users.
    pub service_users: u64,
    /// Tenants.
    pub tenants: u64,
}

const KEYS: &str = "DELETE FROM api_key WHERE id IN
    (SELECT id FROM api_key WHERE delete_time <= $1 ORDER BY delete_time LIMIT $2)";

const SERVICE_USERS: &str = "DELETE FROM service_user WHERE (tenant_id, id) IN
    (SELECT tenant_id, id FROM service_user WHERE delete_time <= $1
     AND NOT EXISTS (SELECT 1 FROM api_key
                     WHERE api_key.tenant_id = service_user.tenant_id AND api_key.service_user_id = service_user.id)
     ORDER BY delete_time LIMIT $2)";

const TENANTS: &str = "DELETE FROM tenant WHERE id IN
    (SELECT id FROM tenant WHERE delete_time <= $1
     AND NOT EXISTS (SELECT 1 FROM service_user WHERE service_user.tenant_id = tenant.id)
     ORDER BY delete_time LIMIT $2)";

impl Purged {
    /// Whether nothing was removed: a purge is done when a batch says so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Bookkeeping {
    /// Removes at most 500 keys, 500 service users and 500 tenants whose 30 days are over at `now`. An owner stays as long
    /// as anything of it is left.
    pub async fn purge(&self, now: Time) -> Result<Purged, StoreError> {
        Ok(Purged {
            keys: self.remove(KEYS, now).await?,
            service_users: self.remove(SERVICE_USERS, now).await?,
            tenants: self.remove(TENANTS, now).await?,
        })
    }

    async fn remove(&self, sql: &str, now: Time) -> Result<u64, StoreError> {
        let batch = i64::try_from(limits::PURGE_BATCH).unwrap_or(i64::MAX);
        let values = [(now - limits::PURGE_AFTER).into(), batch.into()];
        let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), sql, values);
        Ok(within(self.transaction.execute_raw(statement)).await?.rows_affected())
    }
}
