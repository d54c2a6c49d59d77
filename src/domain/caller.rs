//! Who is calling, and how far they reach: nobody gives, keeps alive or gets at more than they hold.

use std::fmt;
use std::net::IpAddr;

use super::{
    Refusal, Time,
    actor::Actor,
    attributes::Role,
    ids::{KeyName, ServiceUserName, TenantId},
    key::Key,
    network::Network,
    peer_name::PeerName,
    rights::Right,
    scope::Scope,
    text::OnBehalfOf,
};

/// What a caller has shown, here and now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A key that verified.
    Key(KeyName),
    /// A client certificate with this name, which is mapped to the service user.
    Certificate {
        /// Whom its holder calls as.
        service_user: ServiceUserName,
        /// The name in the certificate.
        name: PeerName,
    },
}

impl Credential {
    /// The service user whose key it is, or whom the certificate's holder calls as.
    #[must_use]
    pub fn owner(&self) -> &ServiceUserName {
        match self {
            Self::Key(key) => &key.owner,
            Self::Certificate { service_user, .. } => service_user,
        }
    }

    /// Who is remembered for what it did.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::Key(key) => Actor::Key(key.clone()),
            Self::Certificate { service_user, .. } => Actor::ServiceUser(service_user.clone()),
        }
    }
}

/// A text that no other credential has: names have no spaces.
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Certificate { service_user, name } => write!(f, "{service_user} as {}", name.as_str()),
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What it has shown.
    pub credential: Credential,
    /// What that grants.
    pub scopes: Vec<Scope>,
    /// The role of whoever calls; by certificate it is `member`.
    pub role: Role,
    /// Whom it acts for; by certificate nobody.
    pub on_behalf_of: OnBehalfOf,
    /// Where the credential may be used from; empty = anywhere, as a certificate may.
    pub networks: Vec<Network>,
    /// When the credential ends; a mapped name doesn't.
    pub expire_time: Option<Time>,
    /// The address the call came from.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whether the credential carries `right` or one that implies it.
    #[must_use]
    pub fn holds(&self, right: Right) -> bool {
        right.is_granted_by(&self.scopes)
    }

    /// Refuses a caller without `right`.
    pub fn require(&self, right: Right) -> Result<(), Refusal> {
        if self.holds(right) { Ok(()) } else { Err(Refusal::RightMissing(right)) }
    }

    /// Whether objects of `tenant` exist for this caller: its own tenant's do, and `claviger:admin` sees all.
    #[must_use]
    pub fn sees(&self, tenant: &TenantId) -> bool {
        self.credential.owner().tenant == *tenant || self.holds(Right::Admin)
    }

    /// Refuses a caller that may act only on keys of its own service user, when `owner` is another one.
    /// `right` is the one that lifts this.
    pub fn require_owner(&self, owner: &ServiceUserName, right: Right) -> Result<(), Refusal> {
        if self.holds(right) || (self.holds(Right::KeysSelf) && self.credential.owner() == owner) {
            return Ok(());
        }
        if self.holds(Right::KeysSelf) {
            return Err(Refusal::WiderThanCaller("the key of another service user"));
        }
        Err(Refusal::RightMissing(right))
    }

    /// Refuses to put or leave in force a right that the caller doesn't hold.
    pub fn require_held(&self, scopes: &[Scope]) -> Result<(), Refusal> {
        match scopes.iter().filter_map(Scope::right).find(|&right| !self.holds(right)) {
            Some(right) => Err(Refusal::RightNotHeld(right)),
            None => Ok(()),
        }
    }

    /// Refuses a caller that has only `keys.self` to make or get at a key wider than its own.
    pub fn require_no_wider(&self, key: &Key) -> Result<(), Refusal> {
        if self.holds(Right::KeysWrite) {
            return Ok(());
        }
        if !key.scopes.iter().all(|scope| self.scopes.iter().any(|own| own.covers(scope))) {
            return Err(Refusal::WiderThanCaller("scopes"));
        }
        if !Network::all_within(&key.networks, &self.networks) {
            return Err(Refusal::WiderThanCaller("allowed_networks"));
        }
        if key.attributes.role != self.role {
            return Err(Refusal::WiderThanCaller("role"));
        }
        if key.attributes.on_behalf_of != self.on_behalf_of {
            return Err(Refusal::WiderThanCaller("on_behalf_of"));
        }
        let outlives = match (self.expire_time, key.expire_time) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(own), Some(others)) => others > own,
        };
        if outlives { Err(Refusal::WiderThanCaller("expire_time")) } else { Ok(()) }
    }
}
