//! Keys: finding and listing them, storing them, and what else is asked about a key's row.
//!
//! The state in the table is what was decided; whether a key has expired depends on `now`, by the same rule as
//! [`Key::state_at`]. Slots are in `slots.rs`, questions about all keys of an owner in `owned_keys.rs`, the reading of a
//! row in `key_row.rs`.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{CaseStatement, Expr},
};

use crate::domain::{
    Revision, Time,
    audit::AuditEvent,
    ids::{KeyGroupId, KeyId, KeyName, KeyParent},
    key::Key,
    limits,
    page::{Page, Paged},
    pepper::{PepperId, SecretDigest},
};

use super::{
    Slot, Store, StoreError, Told, Write,
    entity::api_key::{ActiveModel, Column, Entity, Model},
    error::within,
    key_row::{DISABLED, ENABLED, EXPIRED, REVOKED, columns},
    row,
    usage::{read_with_last_use, unused_since},
};

/// A key with what is stored of its secret.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// The key.
    pub key: Key,
    /// The digest of its secret.
    pub digest: SecretDigest,
    /// The pepper it was digested under.
    pub pepper: PepperId,
}

/// A new live key as it is stored.
pub struct NewKeyRow {
    /// The key. Its revision is given by the change.
    pub key: Key,
    /// Found free in this very change.
    pub slot: Slot,
    /// The digest of its secret.
    pub digest: SecretDigest,
    /// The pepper it was digested under.
    pub pepper: PepperId,
    /// The event of the change.
    pub event: AuditEvent,
}

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of one service user, or of a whole tenant.
    pub parent: KeyParent,
    /// Only in this state, as it is now.
    pub state: Option<KeyStateFilter>,
    /// Only of this group of the tenant.
    pub key_group: Option<KeyGroupId>,
    /// Only with an expire_time before this instant.
    pub expiring_before: Option<Time>,
    /// Only made before this instant and not used since, as far as uses are written: up to 5 minutes late.
    pub unused_since: Option<Time>,
    /// Deleted ones too.
    pub show_deleted: bool,
}

/// A state to list, computed: a key past its expire_time is Expired, whatever was decided about it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStateFilter {
    /// Verifies.
    Enabled,
    /// May be enabled again.
    Disabled,
    /// Ended by decision.
    Revoked,
    /// Ended by time.
    Expired,
}

/// A digest under another pepper, for a key that verified.
#[derive(Debug, Clone)]
pub struct Rehash {
    /// The key.
    pub id: KeyId,
    /// The pepper it is stored under.
    pub from: PepperId,
    /// The digest under the new one.
    pub digest: SecretDigest,
}

impl Store {
    /// Finds a key that isn't deleted.
    pub async fn key(&self, name: &KeyName) -> Result<Option<Key>, StoreError> {
        let found = find(&self.readers, name).await?;
        Ok(found.filter(|key| key.delete_time.is_none()))
    }

    /// Lists keys by id. The page's cursor is the key's id.
    pub async fn keys(&self, filter: &KeyFilter, page: &Page, now: Time) -> Result<Paged<Key>, StoreError> {
        let mut query = Entity::find().filter(matching(filter, now));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after));
        }
        let query = query.order_by_asc(Column::Id).limit(page.size + 1);
        let keys = read_with_last_use(&self.readers, query).await?;
        Ok(Paged::cut(keys, page.size, |key: &Key| key.name.id.to_string()))
    }

    /// As [`Write::undeleted_keys`], without taking a turn.
    pub async fn undeleted_keys(&self, ids: &[KeyId]) -> Result<Vec<Key>, StoreError> {
        undeleted(&self.readers, ids).await
    }
}

impl Write {
    /// Finds a key, deleted or not.
    pub async fn key(&self, name: &KeyName) -> Result<Option<Key>, StoreError> {
        find(&self.transaction, name).await
    }

    /// Those of these keys that aren't deleted. A row that can't be understood is left out: it can't verify either.
    pub async fn undeleted_keys(&self, ids: &[KeyId]) -> Result<Vec<Key>, StoreError> {
        undeleted(&self.transaction, ids).await
    }

    /// Stores new keys, of which there is at least one, and the events of them. The first one's revision is this change's,
    /// and each other's is one more than the one before it.
    pub async fn insert_keys(&self, new: Vec<NewKeyRow>) -> Result<Told, StoreError> {
        let rows = new.iter().zip(self.revision()..).map(|(new, revision)| new_row(new, revision));
        let rows: Vec<ActiveModel> = rows.collect::<Result<_, _>>()?;
        let events = new.into_iter().map(|new| new.event).collect();
        self.insert_and_tell(Entity::insert_many(rows).into_query(), events).await
    }

    /// Stores every field of a key that exists; never what is stored of its secret, nor its last use. A key that is
    /// revoked, expired or deleted leaves its slot, for good.
    pub async fn update_key(&self, key: &Key) -> Result<(), StoreError> {
        let mut row = columns(key, self.revision())?;
        let state_is_final = matches!(&row.state, Set(state) if state == REVOKED || state == EXPIRED);
        row.slot = if state_is_final || key.delete_time.is_some() { Set(None) } else { NotSet };
        let update = Entity::update_many().set(row).filter(named(&key.name));
        let changed = within(update.exec(&self.transaction)).await?.rows_affected;
        row::require_one(changed, "api_key")
    }

    /// Stores new digests, of those keys alone that are still stored under the old pepper. Answers how many.
    pub async fn rehash(&self, rows: &[Rehash], to: &PepperId) -> Result<u64, StoreError> {
        let mut changed = 0;
        let mut rest: Vec<&Rehash> = rows.iter().collect();
        while let Some(first) = rest.first().copied() {
            let (alike, others): (Vec<&Rehash>, _) = rest.into_iter().partition(|row| row.from == first.from);
            changed += self.rehash_from(&first.from, &alike, to).await?;
            rest = others;
        }
        Ok(changed)
    }

    /// One statement for all, so that the other writers wait for one round trip and not for hundreds.
    async fn rehash_from(&self, from: &PepperId, rows: &[&Rehash], to: &PepperId) -> Result<u64, StoreError> {
        let digest = rows.iter().fold(CaseStatement::new(), |case, row| {
            case.case(Column::Id.eq(row.id.to_string()), Expr::val(row.digest.as_bytes().to_vec()))
        });
        let update = Entity::update_many()
            .col_expr(Column::SecretDigest, digest.into())
            .col_expr(Column::PepperId, Expr::val(to.as_str()))
            .col_expr(Column::Revision, Expr::val(self.revision()))
            .filter(Column::PepperId.eq(from.as_str()))
            .filter(Column::Id.is_in(rows.iter().map(|row| row.id.to_string())));
        Ok(within(update.exec(&self.transaction)).await?.rows_affected)
    }
}

fn new_row(new: &NewKeyRow, revision: Revision) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
        id: Set(new.key.name.id.to_string()),
        tenant_id: Set(new.key.name.owner.tenant.to_string()),
        service_user_id: Set(new.key.name.owner.id.to_string()),
        slot: Set(Some(new.slot.number())),
        secret_digest: Set(new.digest.as_bytes().to_vec()),
        pepper_id: Set(new.pepper.as_str().to_owned()),
        ..columns(&new.key, revision)?
    })
}

async fn find(database: &impl ConnectionTrait, name: &KeyName) -> Result<Option<Key>, StoreError> {
    Ok(read_with_last_use(database, Entity::find().filter(named(name))).await?.pop())
}

async fn undeleted(database: &impl ConnectionTrait, ids: &[KeyId]) -> Result<Vec<Key>, StoreError> {
    let mut found = Vec::new();
    for some in ids.chunks(limits::ROWS_PER_STATEMENT) {
        let query = Entity::find()
            .filter(Column::Id.is_in(some.iter().map(KeyId::to_string)))
            .filter(Column::DeleteTime.is_null());
        let rows = row::fetch(database, query).await?;
        found.extend(rows.iter().filter_map(|row| row::read::<Model>(row).ok()).map(|stored| stored.key));
    }
    Ok(found)
}

/// The id alone is unique; tenant and service user are asked for too, so that a foreign key is a missing one.
fn named(name: &KeyName) -> Condition {
    Condition::all()
        .add(Column::Id.eq(name.id.to_string()))
        .add(Column::TenantId.eq(name.owner.tenant.as_str()))
        .add(Column::ServiceUserId.eq(name.owner.id.as_str()))
}

fn matching(filter: &KeyFilter, now: Time) -> Condition {
    let service_user = filter.parent.service_user.as_ref();
    Condition::all()
        .add(Column::TenantId.eq(filter.parent.tenant.as_str()))
        .add_option(service_user.map(|id| Column::ServiceUserId.eq(id.as_str())))
        .add_option(filter.key_group.as_ref().map(|id| Column::KeyGroupId.eq(id.as_str())))
        .add_option(filter.state.map(|state| in_state(state, now)))
        .add_option(filter.expiring_before.map(|end| Column::ExpireTime.lt(end)))
        .add_option(filter.unused_since.map(unused_since))
        .add_option((!filter.show_deleted).then(|| Column::DeleteTime.is_null()))
}

fn in_state(state: KeyStateFilter, now: Time) -> Condition {
    match state {
        KeyStateFilter::Enabled => unexpired(now).add(Column::State.eq(ENABLED)),
        KeyStateFilter::Disabled => unexpired(now).add(Column::State.eq(DISABLED)),
        KeyStateFilter::Revoked => Condition::all().add(Column::State.eq(REVOKED)),
        KeyStateFilter::Expired => Condition::any()
            .add(Column::State.eq(EXPIRED))
            .add(Condition::all().add(Column::State.is_in([ENABLED, DISABLED])).add(Column::ExpireTime.lte(now))),
    }
}

/// Not past its expire_time: the instant itself is already the end.
pub(super) fn unexpired(now: Time) -> Condition {
    Condition::all().add(Condition::any().add(Column::ExpireTime.is_null()).add(Column::ExpireTime.gt(now)))
}
