//! What a tenant demands of its keys. Asked when a key is made, edited or rotated, never later: a key that was made before
//! there was a policy goes on verifying, and an edit is asked only about what it changes.

use super::{
    Refusal, Span, Time,
    attributes::{IntegrationType, Role},
    ids::TenantId,
    key::Key,
};

/// What a tenant's keys must be like. The default allows everything but roles and kinds of integration of one's own, and
/// secrets that can be revealed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantPolicy {
    /// Every key expires.
    pub require_expiry: bool,
    /// The longest time from a key's creation to its expire_time; `None` = any.
    pub max_lifetime: Option<Span>,
    /// Roles besides `member`.
    pub allowed_roles: Vec<Role>,
    /// Kinds of integration besides none.
    pub integration_types: Vec<IntegrationType>,
    /// Every key has networks.
    pub require_networks: bool,
    /// A key may be retrievable.
    pub allow_retrievable: bool,
}

/// A rule of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `require_expiry`
    RequireExpiry,
    /// `max_lifetime`
    MaxLifetime,
    /// `allowed_roles`
    AllowedRoles,
    /// `integration_types`
    IntegrationTypes,
    /// `require_networks`
    RequireNetworks,
    /// `allow_retrievable`
    AllowRetrievable,
}

impl Rule {
    /// Its field in the contract.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::RequireExpiry => "require_expiry",
            Self::MaxLifetime => "max_lifetime",
            Self::AllowedRoles => "allowed_roles",
            Self::IntegrationTypes => "integration_types",
            Self::RequireNetworks => "require_networks",
            Self::AllowRetrievable => "allow_retrievable",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::RequireExpiry => "every key of this tenant must expire; give an expire_time",
            Self::MaxLifetime => "keys of this tenant live shorter; give an earlier expire_time",
            Self::AllowedRoles => {
                "keys of this tenant can't have this role; choose another, or leave it out for member"
            }
            Self::IntegrationTypes => "this tenant has no such integration_type; choose another, or leave it out",
            Self::RequireNetworks => "every key of this tenant must have allowed_networks; give at least one",
            Self::AllowRetrievable => "secrets of this tenant are shown once; leave out retrievable",
        }
    }
}

impl TenantPolicy {
    /// Refuses a new key that breaks a rule; names all that it breaks.
    pub fn allow_new(&self, key: &Key) -> Result<(), Refusal> {
        let attributes = &key.attributes;
        let role = attributes.role.as_str() == Role::MEMBER || self.allowed_roles.contains(&attributes.role);
        let integration = attributes.integration_type.as_ref().is_none_or(|kind| self.integration_types.contains(kind));
        let retrievable = self.allow_retrievable || !key.retrievable;
        let others =
            [(Rule::AllowedRoles, role), (Rule::IntegrationTypes, integration), (Rule::AllowRetrievable, retrievable)];
        refuse(&key.name.owner.tenant, self.lifetime(key).into_iter().chain(self.networks(key)).chain(others))
    }

    /// Refuses an edit that breaks a rule by what it changes.
    pub fn allow_edit(&self, before: &Key, after: &Key) -> Result<(), Refusal> {
        let lifetime = (before.expire_time != after.expire_time).then(|| self.lifetime(after));
        let networks = (before.networks != after.networks).then(|| self.networks(after));
        let rules = lifetime.into_iter().flatten().chain(networks.into_iter().flatten());
        refuse(&after.name.owner.tenant, rules)
    }

    /// Refuses a successor that lives too long. What it copies isn't asked about: a key can always be rotated.
    pub fn allow_successor(&self, key: &Key) -> Result<(), Refusal> {
        refuse(&key.name.owner.tenant, self.lifetime(key))
    }

    fn lifetime(&self, key: &Key) -> [(Rule, bool); 2] {
        let within = |end: Time| self.max_lifetime.is_none_or(|longest| end - key.create_time <= longest);
        [
            (Rule::RequireExpiry, !self.require_expiry || key.expire_time.is_some()),
            (Rule::MaxLifetime, key.expire_time.map_or(self.max_lifetime.is_none(), within)),
        ]
    }

    fn networks(&self, key: &Key) -> [(Rule, bool); 1] {
        [(Rule::RequireNetworks, !self.require_networks || !key.networks.is_empty())]
    }
}

/// Refuses when one of these isn't kept.
fn refuse(tenant: &TenantId, rules: impl IntoIterator<Item = (Rule, bool)>) -> Result<(), Refusal> {
    let broken: Vec<Rule> = rules.into_iter().filter(|(_, is_kept)| !is_kept).map(|(rule, _)| rule).collect();
    if broken.is_empty() { Ok(()) } else { Err(Refusal::PolicyViolated { tenant: tenant.clone(), rules: broken }) }
}
