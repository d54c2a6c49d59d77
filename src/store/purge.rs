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
    /// Notifications that were kept long enough.
    pub notifications: u64,
    /// Deliveries that were kept long enough.
    pub deliveries: u64,
    /// Subscribers who are in no group any more.
    pub subscribers: u64,
    /// User groups of deleted tenants.
    pub user_groups: u64,
    /// Key groups of deleted tenants.
    pub key_groups: u64,
    /// Tokens of revisions that were kept long enough.
    pub revision_tokens: u64,
}

const KEYS: &str = "DELETE FROM api_key WHERE id IN
    (SELECT id FROM api_key WHERE delete_time <= $1 ORDER BY delete_time LIMIT $2)";

const SERVICE_USERS: &str = "DELETE FROM service_user WHERE (tenant_id, id) IN
    (SELECT tenant_id, id FROM service_user WHERE delete_time <= $1
     AND NOT EXISTS (SELECT 1 FROM api_key
                     WHERE api_key.tenant_id = service_user.tenant_id AND api_key.service_user_id = service_user.id)
     ORDER BY delete_time LIMIT $2)";

/// Last, when nothing of it is left: what a cascade would take along has no bound.
const TENANTS: &str = "DELETE FROM tenant WHERE id IN
    (SELECT id FROM tenant WHERE delete_time <= $1
     AND NOT EXISTS (SELECT 1 FROM service_user WHERE service_user.tenant_id = tenant.id)
     AND NOT EXISTS (SELECT 1 FROM notification WHERE notification.tenant_id = tenant.id)
     AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.tenant_id = tenant.id)
     AND NOT EXISTS (SELECT 1 FROM subscriber WHERE subscriber.tenant_id = tenant.id)
     AND NOT EXISTS (SELECT 1 FROM user_group WHERE user_group.tenant_id = tenant.id)
     AND NOT EXISTS (SELECT 1 FROM key_group WHERE key_group.tenant_id = tenant.id)
     ORDER BY delete_time LIMIT $2)";

const USER_GROUPS: &str = "DELETE FROM user_group WHERE (tenant_id, id) IN
    (SELECT user_group.tenant_id, user_group.id FROM user_group JOIN tenant ON tenant.id = user_group.tenant_id
     WHERE tenant.delete_time <= $1 LIMIT $2)";

/// Keys may name them still: all of these are deleted, and the tenant's id isn't free before they are gone.
const KEY_GROUPS: &str = "DELETE FROM key_group WHERE (tenant_id, id) IN
    (SELECT key_group.tenant_id, key_group.id FROM key_group JOIN tenant ON tenant.id = key_group.tenant_id
     WHERE tenant.delete_time <= $1 LIMIT $2)";

/// Of any tenant, told before $1; and of tenants that are about to go.
const NOTIFICATIONS: [&str; 2] = [
    "DELETE FROM notification WHERE id IN
    (SELECT id FROM notification WHERE create_time <= $1 ORDER BY create_time LIMIT $2)",
    "DELETE FROM notification WHERE id IN
    (SELECT notification.id FROM tenant JOIN notification ON notification.tenant_id = tenant.id
     WHERE tenant.delete_time <= $1 LIMIT $2)",
];

const DELIVERIES: [&str; 2] = [
    "DELETE FROM delivery WHERE id IN
    (SELECT id FROM delivery WHERE create_time <= $1 ORDER BY create_time LIMIT $2)",
    "DELETE FROM delivery WHERE id IN
    (SELECT delivery.id FROM tenant JOIN delivery ON delivery.tenant_id = tenant.id
     WHERE tenant.delete_time <= $1 LIMIT $2)",
];

const SUBSCRIBERS: [&str; 2] = [
    "DELETE FROM subscriber WHERE id IN
    (SELECT id FROM subscriber WHERE create_time <= $1
     AND NOT EXISTS (SELECT 1 FROM user_group_member AS member
                     WHERE member.tenant_id = subscriber.tenant_id AND member.folded = subscriber.folded)
     AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.subscriber_id = subscriber.id)
     ORDER BY create_time LIMIT $2)",
    "DELETE FROM subscriber WHERE id IN
    (SELECT subscriber.id FROM tenant JOIN subscriber ON subscriber.tenant_id = tenant.id
     WHERE tenant.delete_time <= $1
     AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.subscriber_id = subscriber.id)
     LIMIT $2)",
];

/// The newest of those older than $1 stays, because whoever looked since may remember it.
const REVISION_TOKENS: &str = "DELETE FROM revision_token WHERE revision IN
    (SELECT revision FROM revision_token
     WHERE revision < (SELECT max(revision) FROM revision_token WHERE create_time <= $1)
     ORDER BY revision LIMIT $2)";

impl Purged {
    /// Whether nothing was removed: a purge is done when a batch says so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Bookkeeping {
    /// Removes at most 500 of each kind: keys, service users and tenants whose 30 days are over at `now`, notifications and
    /// deliveries whose 90 days are, and people's addresses that nothing needs any more; and tokens of revisions. An owner
    /// stays as long as anything of it is left.
    pub async fn purge(&self, now: Time) -> Result<Purged, StoreError> {
        let (deleted, told) = (now - limits::PURGE_AFTER, now - limits::WARNINGS_KEPT);
        let mut purged = Purged {
            keys: self.remove(KEYS, deleted, limits::PURGE_BATCH).await?,
            service_users: self.remove(SERVICE_USERS, deleted, limits::PURGE_BATCH).await?,
            ..Purged::default()
        };
        for ([old, of_tenants], count) in [
            (NOTIFICATIONS, &mut purged.notifications),
            (DELIVERIES, &mut purged.deliveries),
            (SUBSCRIBERS, &mut purged.subscribers),
        ] {
            *count += self.remove(old, told, limits::PURGE_BATCH).await?;
            *count += self.remove(of_tenants, deleted, limits::PURGE_BATCH).await?;
        }
        purged.user_groups = self.remove(USER_GROUPS, deleted, limits::PURGE_GROUPS).await?;
        purged.key_groups = self.remove(KEY_GROUPS, deleted, limits::PURGE_BATCH).await?;
        let seen = now - limits::REVISION_TOKENS_KEPT;
        purged.revision_tokens = self.remove(REVISION_TOKENS, seen, limits::PURGE_REVISION_TOKENS).await?;
        purged.tenants = self.remove(TENANTS, deleted, limits::PURGE_BATCH).await?;
        Ok(purged)
    }

    async fn remove(&self, sql: &str, before: Time, batch: u64) -> Result<u64, StoreError> {
        let batch = i64::try_from(batch).unwrap_or(i64::MAX);
        let values = [before.into(), batch.into()];
        let statement = Statement::from_sql_and_values(self.transaction.get_database_backend(), sql, values);
        Ok(within(self.transaction.execute_raw(statement)).await?.rows_affected())
    }
}
