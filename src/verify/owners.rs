//! Service users and tenants in memory: one cell each, which every record of theirs points to. A change of an owner is one
//! write to its cell, however many keys it has.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use prefetch_index::prefetch_index;

use crate::domain::{
    Revision, Time,
    ends::{OwnerEnd, RememberedEnds},
    ids::{ServiceUserName, TenantId},
    limits,
    owner::OwnerState,
};

use super::revocation::{Cause, owner_revokes};
use super::table::Table;

/// What the verdict needs to know of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerStanding {
    /// Its row hasn't arrived yet.
    Missing,
    /// Its row can't be understood; whoever asks for a key of it must not get a guess.
    Unreadable,
    /// Its keys verify.
    Enabled,
    /// They answer OWNER_DISABLED.
    Disabled,
    /// They are UNKNOWN.
    Deleted,
}

/// A tenant.
pub struct TenantCell {
    id: TenantId,
    standing: AtomicU8,
}

/// A service user.
pub struct ServiceUserCell {
    name: ServiceUserName,
    tenant: Arc<TenantCell>,
    standing: AtomicU8,
}

impl OwnerStanding {
    const ALL: [Self; 5] = [Self::Missing, Self::Unreadable, Self::Enabled, Self::Disabled, Self::Deleted];

    fn load(cell: &AtomicU8) -> Self {
        // Written from one of them; anything else would be a defect, and is no reason to answer VALID.
        Self::ALL.get(usize::from(cell.load(Ordering::Acquire))).copied().unwrap_or(Self::Unreadable)
    }

    fn store(self, cell: &AtomicU8) {
        cell.store(self as u8, Ordering::Release);
    }

    fn end(self) -> Option<OwnerEnd> {
        match self {
            Self::Disabled => Some(OwnerEnd::Disabled),
            Self::Deleted => Some(OwnerEnd::Deleted),
            Self::Missing | Self::Unreadable | Self::Enabled => None,
        }
    }

    /// Nothing of it verifies, though it is known.
    fn withholds(self) -> bool {
        matches!(self, Self::Unreadable | Self::Disabled | Self::Deleted)
    }

    /// What a row says.
    #[must_use]
    pub fn of(state: OwnerState, delete_time: Option<Time>) -> Self {
        match (state, delete_time) {
            (_, Some(_)) => Self::Deleted,
            (OwnerState::Enabled, None) => Self::Enabled,
            (OwnerState::Disabled, None) => Self::Disabled,
        }
    }
}

impl TenantCell {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.id
    }
}

impl ServiceUserCell {
    /// Fetches it into the core's cache, without waiting for it.
    pub fn prefetch(&self) {
        prefetch_index(from_ref(self), 0);
    }

    /// Fetches the text of its id into the core's cache, without waiting for it.
    pub fn prefetch_text(&self) {
        prefetch_index(self.name.id.as_str().as_bytes(), 0);
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &ServiceUserName {
        &self.name
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantCell {
        &self.tenant
    }

    /// The id of the tenant whose keys Verify may tell a caller of this service user about; `None` = any.
    #[must_use]
    pub fn verifiable_tenant(&self) -> Option<&str> {
        let tenant = self.tenant.id();
        (!tenant.is_system()).then_some(tenant.as_str())
    }

    /// What it is, and what its tenant is.
    #[must_use]
    pub fn standings(&self) -> [OwnerStanding; 2] {
        [OwnerStanding::load(&self.standing), OwnerStanding::load(&self.tenant.standing)]
    }
}

/// All owners. Only the one that follows the feed comes here; Verify reads the cells.
#[derive(Default)]
pub struct Owners {
    tenants: HashMap<TenantId, Known<TenantCell>>,
    /// By their names, which are in the cells: beside them too they would be 5 MB of a million keys' memory.
    service_users: Table<Known<ServiceUserCell>>,
    hasher: RandomState,
}

struct Known<T> {
    cell: Arc<T>,
    revision: Revision,
    delete_time: Option<Time>,
}

/// A row of an owner, as far as it matters here; `None` = it can't be understood.
pub type OwnerRow = Option<(OwnerState, Option<Time>)>;

impl Owners {
    /// The cell of a service user, made when nothing is known of it yet.
    pub fn service_user(&mut self, name: &ServiceUserName) -> Arc<ServiceUserCell> {
        if let Some(known) = self.known(name) {
            return Arc::clone(&known.cell);
        }
        let tenant = Arc::clone(&self.tenant(&name.tenant).cell);
        // The tenant's id is one text for all of its service users.
        let name = ServiceUserName { tenant: tenant.id.clone(), id: name.id.clone() };
        let hash = self.hasher.hash_one(&name);
        let cell = Arc::new(ServiceUserCell { name, tenant, standing: AtomicU8::default() });
        let known = Known { cell: Arc::clone(&cell), revision: 0, delete_time: None };
        self.service_users.insert(hash, known);
        cell
    }

    /// The revision of a service user's row that is in; 0 = none is.
    #[must_use]
    pub fn service_user_revision(&self, name: &ServiceUserName) -> Revision {
        self.known(name).map_or(0, |known| known.revision)
    }

    /// Takes in a service user, unless a newer row is in. Answers what an earlier VALID may be wrong for.
    pub fn put_service_user(&mut self, name: &ServiceUserName, revision: Revision, row: OwnerRow) -> Option<Cause> {
        self.service_user(name);
        let hash = self.hasher.hash_one(name);
        let known = self.service_users.find_mut(hash, |known| known.cell.name == *name)?;
        put(known, revision, row).then(|| replace(&known.cell.standing, row))?
    }

    /// Takes in a tenant, unless a newer row is in. Answers what an earlier VALID may be wrong for.
    pub fn put_tenant(&mut self, id: &TenantId, revision: Revision, row: OwnerRow) -> Option<Cause> {
        let known = self.tenant(id);
        put(known, revision, row).then(|| replace(&known.cell.standing, row))?
    }

    /// Whether a known service user keeps its keys from verifying.
    #[must_use]
    pub fn withholds_service_user(&self, name: &ServiceUserName) -> bool {
        self.known(name).is_some_and(|known| OwnerStanding::load(&known.cell.standing).withholds())
    }

    /// Whether a known tenant keeps its keys from verifying.
    #[must_use]
    pub fn withholds_tenant(&self, id: &TenantId) -> bool {
        self.tenants.get(id).is_some_and(|known| OwnerStanding::load(&known.cell.standing).withholds())
    }

    /// Owners whose keys must not verify.
    #[must_use]
    pub fn ends(&self) -> RememberedEnds {
        let of_tenant = |(id, known): (&TenantId, &Known<TenantCell>)| {
            Some((id.clone(), OwnerStanding::load(&known.cell.standing).end()?))
        };
        let of_service_user = |known: &Known<ServiceUserCell>| {
            Some((known.cell.name.clone(), OwnerStanding::load(&known.cell.standing).end()?))
        };
        RememberedEnds {
            tenants: self.tenants.iter().filter_map(of_tenant).collect(),
            service_users: self.service_users.iter().filter_map(of_service_user).collect(),
            keys: Vec::new(),
            identities: Vec::new(),
        }
    }

    /// Drops owners that are purged by now.
    pub fn forget(&mut self, now: Time) {
        let is_kept = |delete_time: Option<Time>| delete_time.is_none_or(|time| now < time + limits::PURGE_AFTER * 2);
        let purged = self.service_users.iter().filter(|known| !is_kept(known.delete_time));
        for name in purged.map(|known| known.cell.name.clone()).collect::<Vec<_>>() {
            self.service_users.remove(self.hasher.hash_one(&name), |known| known.cell.name == name);
        }
        self.tenants.retain(|_, known| is_kept(known.delete_time));
    }

    fn known(&self, name: &ServiceUserName) -> Option<&Known<ServiceUserCell>> {
        self.service_users.find(self.hasher.hash_one(name), |known| known.cell.name == *name)
    }

    fn tenant(&mut self, id: &TenantId) -> &mut Known<TenantCell> {
        self.tenants.entry(id.clone()).or_insert_with(|| {
            let cell = Arc::new(TenantCell { id: id.clone(), standing: AtomicU8::default() });
            Known { cell, revision: 0, delete_time: None }
        })
    }
}

fn put<T>(known: &mut Known<T>, revision: Revision, row: OwnerRow) -> bool {
    if known.revision >= revision {
        return false;
    }
    known.revision = revision;
    known.delete_time = row.and_then(|(_, delete_time)| delete_time);
    true
}

fn replace(cell: &AtomicU8, row: OwnerRow) -> Option<Cause> {
    let before = OwnerStanding::load(cell);
    let after = row.map_or(OwnerStanding::Unreadable, |(state, delete_time)| OwnerStanding::of(state, delete_time));
    after.store(cell);
    owner_revokes(before, after)
}
