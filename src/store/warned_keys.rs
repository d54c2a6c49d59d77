//! Keys to warn about, and keys whose end is to be recorded.
//!
//! What [`is_due`](crate::domain::calendar::is_due) says about one key, the query here says about a tenant's keys; tests
//! hold them together.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _},
};

use crate::domain::{
    Time,
    ids::{ServiceUserName, TenantId},
    key::Key,
    limits,
    notification::Notification,
    text::DisplayName,
};

use super::{
    Store, StoreError, Write,
    entity::api_key::{Column, Entity, Model},
    error::within,
    key_row::EXPIRED,
    owned_keys::owners_enabled,
    row,
    usage::{read_used, with_last_use},
};

/// A question about keys to warn about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of which tenant.
    pub tenant: TenantId,
    /// At which instant the warnings are due.
    pub at: Time,
    /// What has expired by now isn't warned about any more.
    pub now: Time,
}

/// A key to warn about.
#[derive(Debug, Clone)]
pub struct WarnedKey {
    /// The key.
    pub key: Key,
    /// When it expires.
    pub expire_time: Time,
    /// What people call its service user.
    pub service_user_display_name: DisplayName,
}

/// Keys that have expired, and whose end isn't recorded yet.
#[derive(Debug)]
pub struct Ends {
    /// Those that can be understood; the others end too, but nobody can be told what they were.
    pub keys: Vec<Key>,
    ids: Vec<String>,
}

impl Ends {
    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A place in the list of keys to warn about, nearest expiry first.
#[derive(Debug, Clone)]
pub struct WarnedCursor {
    expire_time: Time,
    id: String,
}

impl WarnedPage {
    /// Whether there is no such key, understood or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.next.is_none()
    }
}

/// One page of keys to warn about.
#[derive(Debug, Default)]
pub struct WarnedPage {
    /// The keys; rows that can't be understood are left out, and logged.
    pub keys: Vec<WarnedKey>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<WarnedCursor>,
}

impl Store {
    /// The keys to warn about, nearest expiry first: at most `limit` after `after`.
    pub async fn warned_keys(
        &self,
        due: &Due,
        after: Option<&WarnedCursor>,
        limit: u64,
    ) -> Result<WarnedPage, StoreError> {
        let mut query = Entity::find().filter(warned(due));
        if let Some(after) = after {
            let place = Expr::tuple([Expr::col(Column::ExpireTime), Expr::col(Column::Id)]);
            query = query.filter(place.gt(Expr::tuple([Expr::val(after.expire_time), Expr::val(after.id.as_str())])));
        }
        let query = with_last_use(query)
            .expr_as(Expr::cust(SERVICE_USER), "service_user_display_name")
            .order_by_asc(Column::ExpireTime)
            .order_by_asc(Column::Id)
            .limit(limit);
        let rows = row::fetch(&self.readers, query).await?;
        let full = u64::try_from(rows.len()).is_ok_and(|count| count == limit);
        let next = rows.last().filter(|_| full).map(cursor).transpose()?;
        Ok(WarnedPage { keys: rows.iter().filter_map(understood).collect(), next })
    }

    /// The keys to warn about that expire first, at most `limit`, and whether there may be more. Rows that can't be
    /// understood take nobody's place.
    pub async fn first_warned_keys(&self, due: &Due, limit: usize) -> Result<(Vec<WarnedKey>, bool), StoreError> {
        let (mut keys, mut after) = (Vec::new(), None);
        for _ in 0..limits::PAGES_OF_WARNED_KEYS {
            let page = self.warned_keys(due, after.as_ref(), Ord::min(limits::PLAN_PAGE, limit as u64)).await?;
            keys.extend(page.keys);
            after = page.next;
            if after.is_none() || keys.len() >= limit {
                break;
            }
        }
        let more = after.is_some() || keys.len() > limit;
        keys.truncate(limit);
        Ok((keys, more))
    }

    /// How many keys there are to warn about.
    pub async fn warned_key_count(&self, due: &Due) -> Result<u64, StoreError> {
        row::count(&self.readers, Entity::find().filter(warned(due))).await
    }

    /// Whether some key has expired and still counts as live in the schema.
    pub async fn has_unrecorded_ends(&self, now: Time) -> Result<bool, StoreError> {
        Ok(!row::fetch(&self.readers, ended(now).limit(1)).await?.is_empty())
    }
}

impl Write {
    /// Keys that have expired and still hold their slot: of one service user or of all, at most 500.
    pub async fn unrecorded_ends(&self, owner: Option<&ServiceUserName>, now: Time) -> Result<Ends, StoreError> {
        let mut query = ended(now).limit(limits::EXPIRY_BATCH);
        if let Some(owner) = owner {
            query = query
                .filter(Column::TenantId.eq(owner.tenant.as_str()))
                .filter(Column::ServiceUserId.eq(owner.id.as_str()));
        }
        let rows = row::fetch(&self.transaction, query).await?;
        let ids = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
        Ok(Ends {
            ids,
            keys: rows.iter().filter_map(|row| readable(row::read::<Model>(row).map(|stored| stored.key))).collect(),
        })
    }

    /// Records that keys have expired: state, slot and notification. The time of the last edit stays: nobody edited.
    pub async fn record_ends(&self, ends: &Ends, now: Time) -> Result<(), StoreError> {
        for ids in ends.ids.chunks(limits::ROWS_PER_STATEMENT) {
            let update = Entity::update_many()
                .col_expr(Column::State, Expr::val(EXPIRED))
                .col_expr(Column::Slot, Expr::val(None::<i16>))
                .col_expr(Column::Revision, Expr::val(self.revision()))
                .filter(Column::Id.is_in(ids));
            within(update.exec(&self.transaction)).await?;
        }
        self.settle_warnings(ends.keys.iter().map(|key| &key.name), now).await?;
        let told: Vec<Notification> = ends.keys.iter().map(|key| Notification::expired(key, now)).collect();
        self.notify(&told).await
    }
}

const SERVICE_USER: &str = "(SELECT display_name FROM service_user
    WHERE service_user.tenant_id = api_key.tenant_id AND service_user.id = api_key.service_user_id)";

/// A key has a slot exactly while it is ENABLED or DISABLED and not deleted.
fn warned(due: &Due) -> Condition {
    Condition::all()
        .add(Column::TenantId.eq(due.tenant.as_str()))
        .add(Column::Slot.is_not_null())
        .add(Column::SupersededBy.is_null())
        .add(Column::ExpireTime.gt(Ord::max(due.at, due.now)))
        .add(Column::ExpireTime.lte(due.at + limits::EXPIRING_SOON))
        .add(Column::CreateTime.lte(due.at))
        .add(Expr::cust(owners_enabled("api_key")))
}

/// In order, so that the index is used whatever PostgreSQL believes of how many there are.
fn ended(now: Time) -> Select<Entity> {
    let ended = Entity::find().filter(Column::Slot.is_not_null()).filter(Column::ExpireTime.lte(now));
    ended.order_by_asc(Column::ExpireTime)
}

fn cursor(row: &QueryResult) -> Result<WarnedCursor, StoreError> {
    Ok(WarnedCursor { expire_time: row.try_get("", "expire_time")?, id: row.try_get("", "id")? })
}

fn understood(row: &QueryResult) -> Option<WarnedKey> {
    let key = readable(read_used(row))?;
    let expire_time = key.expire_time?;
    let text: String = row.try_get("", "service_user_display_name").ok()?;
    match DisplayName::parse(&text) {
        Ok(service_user_display_name) => Some(WarnedKey { key, expire_time, service_user_display_name }),
        Err(why) => {
            tracing::error!(owner = %key.name.owner, why, "a service user can't be understood; its keys aren't warned about");
            None
        }
    }
}

/// One row that breaks the rules must not keep the others from being warned about.
fn readable(read: Result<Key, StoreError>) -> Option<Key> {
    read.map_err(|error| tracing::error!(%error, "a key can't be understood; it is passed over")).ok()
}
