//! The in-memory copy of keys and owners that answers Verify.
//!
//! A row replaces another only when its revision is newer, so the order in which rows arrive doesn't matter and nothing is
//! ever invalidated. Owners are rows of their own, joined at the look-up. Everything is synchronous, and no lock is held
//! longer than one look-up or one row.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::domain::{
    Revision, Time,
    ids::{KeyId, ServiceUserName, TenantId},
    key::is_forgotten,
    limits,
    owner::{OwnerState, ServiceUser, Tenant},
};
use crate::store::StoredKey;

use super::usage::LastUse;

/// The copy.
#[derive(Default)]
pub struct Mirror {
    rows: RwLock<Rows>,
}

#[derive(Default)]
struct Rows {
    keys: HashMap<KeyId, Row<Arc<KnownKey>>>,
    service_users: HashMap<ServiceUserName, Row<Owner>>,
    tenants: HashMap<TenantId, Row<Owner>>,
}

struct Row<T> {
    revision: Revision,
    /// `None`: the stored row can't be understood; whoever asks for it must not get a guess.
    content: Option<T>,
}

/// What the verdict needs of an owner.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Whether its keys verify.
    pub state: OwnerState,
    /// When it was deleted.
    pub delete_time: Option<Time>,
}

/// A key in memory.
#[derive(Debug)]
pub struct KnownKey {
    /// The key and its digest.
    pub stored: StoredKey,
    /// Its last use; the same one when a newer row takes this one's place.
    pub last_use: Arc<LastUse>,
}

/// A key with its owners.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key.
    pub known: Arc<KnownKey>,
    /// Its service user.
    pub service_user: Owner,
    /// Its tenant.
    pub tenant: Owner,
}

/// What the mirror has under an id.
#[derive(Debug)]
pub enum LookUp {
    /// Everything.
    Found(Found),
    /// Nothing, or a key whose owners haven't arrived yet.
    Missing,
    /// A row that can't be understood.
    Unreadable,
}

impl Mirror {
    /// Looks a key up.
    #[must_use]
    pub fn look_up(&self, id: KeyId) -> LookUp {
        let rows = self.rows.read();
        let Some(key) = rows.keys.get(&id) else { return LookUp::Missing };
        let Some(known) = &key.content else { return LookUp::Unreadable };
        let owner = &known.stored.key.name.owner;
        match (rows.service_users.get(owner), rows.tenants.get(&owner.tenant)) {
            (Some(Row { content: Some(service_user), .. }), Some(Row { content: Some(tenant), .. })) => {
                LookUp::Found(Found { known: Arc::clone(known), service_user: *service_user, tenant: *tenant })
            }
            (Some(_), Some(_)) => LookUp::Unreadable,
            _ => LookUp::Missing,
        }
    }

    /// Takes in a key row. `None` = it can't be understood.
    pub fn put_key(&self, id: KeyId, revision: Revision, stored: Option<StoredKey>) {
        let mut rows = self.rows.write();
        let entry = rows.keys.entry(id);
        let known = stored.map(|stored| Arc::new(KnownKey { stored, last_use: last_use(&entry) }));
        put(entry, revision, known);
    }

    /// Takes in a service user.
    pub fn put_service_user(&self, row: ServiceUser) {
        let owner = Owner { state: row.state, delete_time: row.delete_time };
        put(self.rows.write().service_users.entry(row.name), row.revision, Some(owner));
    }

    /// Takes in a tenant.
    pub fn put_tenant(&self, row: Tenant) {
        let owner = Owner { state: row.state, delete_time: row.delete_time };
        put(self.rows.write().tenants.entry(row.id), row.revision, Some(owner));
    }

    /// Marks a service user whose row can't be understood.
    pub fn spoil_service_user(&self, name: ServiceUserName, revision: Revision) {
        put(self.rows.write().service_users.entry(name), revision, None);
    }

    /// Marks a tenant whose row can't be understood.
    pub fn spoil_tenant(&self, id: TenantId, revision: Revision) {
        put(self.rows.write().tenants.entry(id), revision, None);
    }

    /// Drops keys that ended long enough ago to be UNKNOWN, and owners that are purged by now. Looks for them beside the
    /// readers, and takes them out in one short step.
    pub fn forget(&self, now: Time) {
        let (keys, service_users, tenants) = {
            let rows = self.rows.read();
            let purged = |owner: &Owner| owner.delete_time.is_some_and(|time| now >= time + limits::PURGE_AFTER * 2);
            (
                ids_of(&rows.keys, |known| is_forgotten(&known.stored.key, now)),
                ids_of(&rows.service_users, purged),
                ids_of(&rows.tenants, purged),
            )
        };
        let mut rows = self.rows.write();
        for id in keys {
            rows.keys.remove(&id);
        }
        for name in service_users {
            rows.service_users.remove(&name);
        }
        for id in tenants {
            rows.tenants.remove(&id);
        }
    }

    /// Drops everything, for a full reload.
    pub fn clear(&self) {
        let rows = std::mem::take(&mut *self.rows.write());
        drop(rows);
    }

    /// Keys in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.read().keys.len()
    }

    /// Whether no key is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn ids_of<K: Clone, T>(rows: &HashMap<K, Row<T>>, wanted: impl Fn(&T) -> bool) -> Vec<K> {
    rows.iter().filter(|(_, row)| row.content.as_ref().is_some_and(&wanted)).map(|(id, _)| id.clone()).collect()
}

/// A row that couldn't be understood has none; what was noted before is in line all the same.
fn last_use(entry: &Entry<'_, KeyId, Row<Arc<KnownKey>>>) -> Arc<LastUse> {
    match entry {
        Entry::Occupied(old) => old.get().content.as_ref().map(|known| Arc::clone(&known.last_use)).unwrap_or_default(),
        Entry::Vacant(_) => Arc::default(),
    }
}

fn put<K, T>(entry: Entry<'_, K, Row<T>>, revision: Revision, content: Option<T>) {
    let row = Row { revision, content };
    match entry {
        Entry::Occupied(mut old) if old.get().revision < revision => {
            old.insert(row);
        }
        Entry::Occupied(_) => {}
        Entry::Vacant(place) => {
            place.insert(row);
        }
    }
}
