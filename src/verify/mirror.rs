//! The in-memory copy of keys and owners that answers Verify.
//!
//! A row replaces another only when its revision is newer, so the order in which rows arrive doesn't matter and nothing is
//! ever invalidated. Owners are cells of their own, which the records of their keys point to. Everything is synchronous.
//! Keys lie in 256 parts with a lock each, held for one look-up or one row and across nothing else: a reader takes a record
//! along and lets go.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use crate::domain::{
    Revision, Time,
    ends::RememberedEnds,
    ids::{KeyId, ServiceUserName, TenantId},
    owner::{ServiceUser, VerifiableTenant},
    peer_name::PeerName,
    pepper::Peppers,
    verifiable_key::VerifiableKey,
};

use super::NoVerdict;
use super::census::Census;
use super::claims::{Claims, SharedClaims};
use super::identities::{Certified, Identities};
use super::owners::{OwnerRow, OwnerStanding, Owners};
use super::record::Record;
use super::revocation::{Cause, KeyFacts, Revocation, Subject};
use super::table::Table;
use super::usage::LastUse;

/// Parts of the map. A row locks one of them, so readers of the others never notice; and a part grows alone.
const PARTS: usize = 256;

/// The copy.
pub struct Mirror {
    peppers: Arc<Peppers>,
    hasher: RandomState,
    parts: Box<[Part]>,
    /// Keys whose newest row can't be understood. None of them is in a part, or it is about to leave.
    unreadable: RwLock<HashMap<KeyId, Revision>>,
    owners: Mutex<Owners>,
    claims: Mutex<SharedClaims>,
    /// Locked before the owners.
    identities: RwLock<Identities>,
    census: Census,
}

/// On a cache line of its own, so that two cores at work in two parts don't disturb each other.
#[derive(Default)]
#[repr(align(64))]
struct Part(RwLock<Table<Record>>);

/// A key, and how its owners stood at the same moment: what one change brings back to life and another ends meanwhile is at
/// no moment both.
pub struct Found {
    /// The key.
    pub key: Record,
    /// Its service user and its tenant.
    pub owners: [OwnerStanding; 2],
}

/// What the mirror has under an id.
pub enum LookUp {
    /// The key, and its owners.
    Found(Found),
    /// Nothing, or a key whose owners haven't arrived yet.
    Missing,
    /// A row that can't be understood.
    Unreadable,
}

impl Mirror {
    /// An empty one, of keys that are stored under `peppers`.
    #[must_use]
    pub fn new(peppers: Arc<Peppers>) -> Self {
        Self {
            peppers,
            hasher: RandomState::default(),
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            unreadable: RwLock::default(),
            owners: Mutex::default(),
            claims: Mutex::default(),
            identities: RwLock::default(),
            census: Census::default(),
        }
    }

    /// Looks a key up.
    #[must_use]
    pub fn look_up(&self, id: KeyId) -> LookUp {
        let found = self.read(id, |key| Found { key: key.clone(), owners: key.owner().standings() });
        let Some(found) = found else {
            let unreadable = self.unreadable.read().contains_key(&id);
            return if unreadable { LookUp::Unreadable } else { LookUp::Missing };
        };
        if found.owners.contains(&OwnerStanding::Missing) {
            LookUp::Missing
        } else if found.owners.contains(&OwnerStanding::Unreadable) {
            LookUp::Unreadable
        } else {
            LookUp::Found(found)
        }
    }

    /// Looks the names of a client certificate up. Names and owners are seen as they were at one moment, as a key is.
    pub fn certify(&self, names: &[PeerName]) -> Result<Certified, NoVerdict> {
        self.identities.read().certify(names)
    }

    /// Where a key is, or would be: for [`prefetch`](Self::prefetch) and [`peek`](Self::peek).
    #[must_use]
    pub fn place_of(&self, id: KeyId) -> u64 {
        self.hash(id.to_bytes())
    }

    /// Fetches what says where the record at a place is into the core's cache, without waiting for it.
    pub fn prefetch(&self, place: u64) {
        self.part(place).read().prefetch(place);
    }

    /// Shows the record at a place.
    pub fn peek(&self, place: u64, look: impl FnOnce(&Record)) {
        self.part(place).read().find(place, |_| true).map(look);
    }

    /// Takes in a key, unless a newer row of it is in. Answers what an earlier VALID may be wrong for.
    pub fn put_key(&self, key: &VerifiableKey) -> Option<Revocation> {
        let id = key.name.id;
        let Some(pepper) = self.peppers.place_of(&key.pepper) else {
            // Whoever presents it is told that it can't be verified, never that it is UNKNOWN.
            return self.spoil_key(id, key.revision);
        };
        if self.is_spoiled_since(id, key.revision) {
            return None;
        }
        let owner = self.owners.lock().service_user(&key.name.owner);
        let claims = self.claims.lock().share(Claims::of(key));
        let bytes = id.to_bytes();
        let hash = self.hash(bytes);
        let mut part = self.part(hash).write();
        let cause = match part.find_mut(hash, |record| record.is_of(bytes)) {
            Some(old) if old.revision() >= key.revision => return None,
            Some(old) => {
                let new = Record::pack(key, pepper, owner, claims, old.last_use().carried_over());
                self.census.leave(old);
                self.census.arrive(&new);
                std::mem::replace(old, new).revoked_by(key)
            }
            None => {
                let new = Record::pack(key, pepper, owner, claims, LastUse::default());
                self.census.arrive(&new);
                part.insert(hash, new);
                KeyFacts::of(key).revokes_unseen(key.is_edited)
            }
        };
        drop(part);
        self.unreadable.write().remove(&id);
        Some(Revocation { revision: key.revision, subject: Subject::Key(key.name.clone()), cause: cause? })
    }

    /// Marks a key whose row can't be understood: it verifies no more until a change repairs it.
    pub fn spoil_key(&self, id: KeyId, revision: Revision) -> Option<Revocation> {
        let known = self.read(id, Record::clone);
        if known.as_ref().is_some_and(|record| record.revision() >= revision) || self.is_spoiled_since(id, revision) {
            return None;
        }
        self.unreadable.write().insert(id, revision);
        self.remove(id);
        Some(Revocation { revision, subject: Subject::Key(known?.name()), cause: Cause::Disabled })
    }

    /// Whether a row of this revision, or a newer one, couldn't be understood.
    fn is_spoiled_since(&self, id: KeyId, revision: Revision) -> bool {
        self.unreadable.read().get(&id).is_some_and(|spoiled| *spoiled >= revision)
    }

    /// Takes in a service user with its names in certificates. Answers what an earlier VALID may be wrong for.
    pub fn put_service_user(&self, row: &ServiceUser) -> Option<Revocation> {
        // As one, or a name that comes with the row would for a moment be what its owner was before it.
        let mut identities = self.identities.write();
        let owner = {
            let mut owners = self.owners.lock();
            if owners.service_user_revision(&row.name) >= row.revision {
                return None;
            }
            owners.service_user(&row.name)
        };
        identities.put(&owner, &row.identities, row.revision);
        self.put_service_user_row(&row.name, row.revision, Some((row.state, row.delete_time)))
    }

    /// Whether this row enables a service user whose keys don't verify now.
    #[must_use]
    pub fn brings_service_user_back(&self, row: &ServiceUser) -> bool {
        OwnerStanding::of(row.state, row.delete_time) == OwnerStanding::Enabled
            && self.owners.lock().withholds_service_user(&row.name)
    }

    /// Whether this row enables a tenant whose keys don't verify now.
    #[must_use]
    pub fn brings_tenant_back(&self, row: &VerifiableTenant) -> bool {
        OwnerStanding::of(row.state, row.delete_time) == OwnerStanding::Enabled
            && self.owners.lock().withholds_tenant(&row.id)
    }

    /// Marks a service user whose row can't be understood: its keys verify no more until a change repairs it.
    pub fn spoil_service_user(&self, name: &ServiceUserName, revision: Revision) -> Option<Revocation> {
        self.put_service_user_row(name, revision, None)
    }

    /// Takes in a tenant. Answers what an earlier VALID may be wrong for.
    pub fn put_tenant(&self, row: &VerifiableTenant) -> Option<Revocation> {
        self.put_tenant_row(&row.id, row.revision, Some((row.state, row.delete_time)))
    }

    /// Marks a tenant whose row can't be understood: its keys verify no more until a change repairs it.
    pub fn spoil_tenant(&self, id: &TenantId, revision: Revision) -> Option<Revocation> {
        self.put_tenant_row(id, revision, None)
    }

    /// Drops keys that ended long enough ago to be UNKNOWN, and owners that are purged by now. Looks for them beside the
    /// readers, and takes them out one by one.
    pub fn forget(&self, now: Time) {
        for part in &self.parts {
            let forgotten: Vec<KeyId> =
                part.0.read().iter().filter(|record| record.is_forgotten(now)).map(Record::id).collect();
            forgotten.into_iter().for_each(|id| self.remove(id));
        }
        self.owners.lock().forget(now);
        self.claims.lock().forget();
    }

    /// An empty one, to be filled and then to [take the place](Self::replace_with) of this one.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { hasher: self.hasher.clone(), ..Self::new(Arc::clone(&self.peppers)) }
    }

    /// Gives its place to `fresh`, which was made by [`successor`](Self::successor). At every moment each key is there as
    /// one of the two knows it.
    pub fn replace_with(&self, fresh: Self) {
        self.identities.write().replace_with(fresh.identities.into_inner());
        *self.owners.lock() = fresh.owners.into_inner();
        *self.claims.lock() = fresh.claims.into_inner();
        for (part, fresh) in self.parts.iter().zip(fresh.parts) {
            let old = std::mem::replace(&mut *part.0.write(), fresh.0.into_inner());
            // A million records take a while to be dropped, and nobody may wait for that.
            drop(old);
        }
        *self.unreadable.write() = fresh.unreadable.into_inner();
        self.census.replace_with(fresh.census);
    }

    /// What it knows not to verify at `now`.
    #[must_use]
    pub fn remembered_ends(&self, now: Time) -> RememberedEnds {
        let of_key = |record: &Record| Some((record.name(), record.end(now)?));
        let in_part = |part: &Part| part.0.read().iter().filter_map(of_key).collect::<Vec<_>>();
        let (keys, identities) = (self.parts.iter().flat_map(in_part).collect(), self.identities.read().taken());
        RememberedEnds { keys, identities, ..self.owners.lock().ends() }
    }

    /// Keys in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.0.read().len()).sum()
    }

    /// Whether no key is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys are in memory: by the pepper's id and the state's name.
    pub fn census(&self) -> impl Iterator<Item = (String, &'static str, u64)> {
        let stored = self.peppers.all().zip(0..).flat_map(|(pepper, place)| {
            let id = pepper.id().as_str();
            self.census.keys(place).map(move |(state, keys)| (id.to_owned(), state.as_str(), keys))
        });
        let unreadable = self.unreadable.read().len() as u64;
        stored.chain(std::iter::once((String::new(), "unreadable", unreadable)))
    }

    /// Memory of the keys, of their claims, and of the table that finds them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of_part = |part: &Part| {
            let keys = part.0.read();
            keys.bytes() + (keys.len() * Record::BYTES) as u64
        };
        let claims = self.claims.lock().bytes();
        claims + self.parts.iter().map(of_part).sum::<u64>()
    }

    /// When the first of the enabled root keys expires; `None` = none of them does.
    #[must_use]
    pub fn first_root_key_end(&self) -> Option<Time> {
        self.census.first_root_key_end()
    }

    fn put_service_user_row(&self, name: &ServiceUserName, revision: Revision, row: OwnerRow) -> Option<Revocation> {
        let cause = self.owners.lock().put_service_user(name, revision, row)?;
        Some(Revocation { revision, subject: Subject::ServiceUser(name.clone()), cause })
    }

    fn put_tenant_row(&self, id: &TenantId, revision: Revision, row: OwnerRow) -> Option<Revocation> {
        let cause = self.owners.lock().put_tenant(id, revision, row)?;
        Some(Revocation { revision, subject: Subject::Tenant(id.clone()), cause })
    }

    /// Reads a record under the lock of its part.
    fn read<T>(&self, id: KeyId, read: impl FnOnce(&Record) -> T) -> Option<T> {
        let bytes = id.to_bytes();
        let hash = self.hash(bytes);
        self.part(hash).read().find(hash, |record| record.is_of(bytes)).map(read)
    }

    fn remove(&self, id: KeyId) {
        let bytes = id.to_bytes();
        let hash = self.hash(bytes);
        let removed = self.part(hash).write().remove(hash, |record| record.is_of(bytes));
        if let Some(record) = removed {
            self.census.leave(&record);
        }
    }

    fn hash(&self, id: [u8; 16]) -> u64 {
        self.hasher.hash_one(id)
    }

    /// The table goes by the highest bits of the hash, so the part goes by the lowest.
    fn part(&self, hash: u64) -> &RwLock<Table<Record>> {
        &self.parts[hash as usize % PARTS].0
    }
}
