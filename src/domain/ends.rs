//! What a replica remembers of keys and owners that must not verify, and how it is made so again after the database has
//! lost it. Always in the safe direction: nothing comes back to life.

use super::{
    Time,
    ids::{KeyName, ServiceUserName, TenantId},
    key::{Key, Transition},
    owner::{OwnerState, ServiceUser, Tenant},
    peer_name::PeerName,
    text::RevokeReason,
    verifiable_key::Standing,
};

/// Everything that was remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RememberedEnds {
    /// Tenants.
    pub tenants: Vec<(TenantId, OwnerEnd)>,
    /// Service users.
    pub service_users: Vec<(ServiceUserName, OwnerEnd)>,
    /// Keys.
    pub keys: Vec<(KeyName, KeyEnd)>,
    /// Names in certificates that were taken away from service users.
    pub identities: Vec<(ServiceUserName, PeerName)>,
}

/// Why an owner's keys must not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerEnd {
    /// Disabled for now.
    Disabled,
    /// Deleted.
    Deleted,
}

/// Why a key must not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEnd {
    /// Disabled for now.
    Disabled,
    /// Revoked, or expired: never again, either way.
    Dead,
    /// Deleted.
    Deleted,
}

impl OwnerEnd {
    /// Of an owner in this state; `None` when its keys may verify.
    #[must_use]
    pub fn of(state: OwnerState, delete_time: Option<Time>) -> Option<Self> {
        match (delete_time, state) {
            (Some(_), OwnerState::Enabled | OwnerState::Disabled) => Some(Self::Deleted),
            (None, OwnerState::Disabled) => Some(Self::Disabled),
            (None, OwnerState::Enabled) => None,
        }
    }

    /// The tenant as it must be; `None` when it is so.
    #[must_use]
    pub fn of_tenant(self, tenant: Tenant, now: Time) -> Option<Tenant> {
        let (state, delete_time) = self.onto(tenant.state, tenant.delete_time, now)?;
        Some(Tenant { state, delete_time, update_time: now, ..tenant })
    }

    /// The service user as it must be; `None` when it is so.
    #[must_use]
    pub fn of_service_user(self, service_user: ServiceUser, now: Time) -> Option<ServiceUser> {
        let (state, delete_time) = self.onto(service_user.state, service_user.delete_time, now)?;
        Some(ServiceUser { state, delete_time, update_time: now, ..service_user })
    }

    fn onto(self, state: OwnerState, delete_time: Option<Time>, now: Time) -> Option<(OwnerState, Option<Time>)> {
        match (self, state, delete_time) {
            (Self::Deleted, state, None) => Some((state, Some(now))),
            (Self::Disabled, OwnerState::Enabled, None) => Some((OwnerState::Disabled, None)),
            (Self::Disabled, OwnerState::Disabled, None) | (Self::Disabled | Self::Deleted, _, Some(_)) => None,
        }
    }
}

impl KeyEnd {
    /// Of a key with this standing; `None` when it may verify.
    #[must_use]
    pub fn of(standing: Standing, is_deleted: bool) -> Option<Self> {
        if is_deleted {
            return Some(Self::Deleted);
        }
        match standing {
            Standing::Revoked { .. } | Standing::Expired => Some(Self::Dead),
            Standing::Disabled => Some(Self::Disabled),
            Standing::Enabled => None,
        }
    }

    /// The key as it must be; `None` when it is so, or worse.
    #[must_use]
    pub fn onto(self, key: Key, now: Time) -> Option<Key> {
        if key.delete_time.is_some() {
            return None;
        }
        let transition = match self {
            Self::Deleted => Ok(key.delete(now)),
            Self::Dead => key.revoke(RevokeReason::lost_by_the_database(), now),
            Self::Disabled => key.disable(now),
        };
        match transition {
            Ok(Transition::Changed(key)) => Some(key),
            // A dead key refuses: there is nothing left to end.
            Ok(Transition::Unchanged(_)) | Err(_) => None,
        }
    }
}
