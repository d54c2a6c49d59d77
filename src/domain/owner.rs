//! Tenants and service users: the owners of keys.

use super::{
    Refusal, Revision, Time,
    calendar::Calendar,
    certificate_identity::CertificateIdentities,
    ids::{ServiceUserName, TenantId},
    policy::TenantPolicy,
    text::{Description, DisplayName},
};

/// Whether an owner's keys verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// They do.
    Enabled,
    /// They answer OWNER_DISABLED.
    Disabled,
}

/// An isolated customer, workspace or account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it.
    pub display_name: DisplayName,
    /// Whether its keys verify.
    pub state: OwnerState,
    /// When its people are told about keys that expire.
    pub calendar: Calendar,
    /// What its keys must be like.
    pub policy: TenantPolicy,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// What Verify needs of a tenant, and nothing else: whatever a later version adds to the rest must not make keys
/// unverifiable.
#[derive(Debug, Clone)]
pub struct VerifiableTenant {
    /// Its id.
    pub id: TenantId,
    /// Whether its keys verify.
    pub state: OwnerState,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// The owner of keys inside a tenant: an application, not a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUser {
    /// Full name.
    pub name: ServiceUserName,
    /// What people call it.
    pub display_name: DisplayName,
    /// What it is.
    pub description: Description,
    /// Whether its keys verify.
    pub state: OwnerState,
    /// Names in client certificates whose holders call as it.
    pub identities: CertificateIdentities,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// The revision of its last change.
    pub revision: Revision,
}

impl Tenant {
    /// Makes a tenant, enabled.
    #[must_use]
    pub fn create(
        id: TenantId,
        display_name: DisplayName,
        calendar: Calendar,
        policy: TenantPolicy,
        now: Time,
    ) -> Self {
        Self {
            id,
            display_name,
            state: OwnerState::Enabled,
            calendar,
            policy,
            create_time: now,
            update_time: now,
            delete_time: None,
            revision: 0,
        }
    }

    /// Refuses to disable or delete the tenant `system`: without it nobody could put things right.
    pub fn require_unprotected(&self) -> Result<(), Refusal> {
        if self.id.is_system() { Err(Refusal::Protected(self.id.name())) } else { Ok(()) }
    }
}

impl ServiceUser {
    /// Makes a service user, enabled, which nobody calls as by a certificate.
    #[must_use]
    pub fn create(name: ServiceUserName, display_name: DisplayName, description: Description, now: Time) -> Self {
        Self {
            name,
            display_name,
            description,
            state: OwnerState::Enabled,
            identities: CertificateIdentities::default(),
            create_time: now,
            update_time: now,
            delete_time: None,
            revision: 0,
        }
    }

    /// Refuses to disable or delete the service user `root` of tenant `system`.
    pub fn require_unprotected(&self) -> Result<(), Refusal> {
        if self.name == ServiceUserName::root() { Err(Refusal::Protected(self.name.to_string())) } else { Ok(()) }
    }
}
