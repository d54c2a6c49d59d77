//! Whoever was recognised as a caller, straight from memory: what a call of VerificationService needs to know of it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::{
    attributes::Role,
    caller::{Caller, Credential},
    rights::Right,
    scope::Scope,
    text::OnBehalfOf,
};
use crate::verify::{identities::Identity, owners::ServiceUserCell, record::Record};

/// What a caller was recognised by. Cheap to clone.
#[derive(Clone)]
pub enum Recognised {
    /// A key that verified.
    Key(Record),
    /// A name in its client certificate.
    Certificate(Arc<Identity>),
}

impl Recognised {
    /// Whether it grants this right.
    #[must_use]
    pub fn holds(&self, right: Right) -> bool {
        match self {
            Self::Key(key) => key.claims().holds(right),
            Self::Certificate(identity) => identity.holds(right),
        }
    }

    /// The service user whose it is.
    #[must_use]
    pub fn owner(&self) -> &ServiceUserCell {
        match self {
            Self::Key(key) => key.owner(),
            Self::Certificate(identity) => identity.owner(),
        }
    }

    /// All that the rules ask about a caller, who called from there.
    #[must_use]
    pub fn caller(&self, address: Option<IpAddr>) -> Caller {
        match self {
            Self::Key(key) => by_key(key, address),
            Self::Certificate(identity) => by_certificate(identity, address),
        }
    }
}

fn by_key(key: &Record, address: Option<IpAddr>) -> Caller {
    let [role, on_behalf_of, ..] = key.claims().description();
    Caller {
        credential: Credential::Key(key.name()),
        scopes: key.claims().scopes().map(Scope::from_packed).collect(),
        role: Role::from_packed(role),
        on_behalf_of: OnBehalfOf::from_packed(on_behalf_of),
        networks: key.claims().networks(),
        expire_time: key.expire_time(),
        address,
    }
}

fn by_certificate(identity: &Identity, address: Option<IpAddr>) -> Caller {
    Caller {
        credential: Credential::Certificate {
            service_user: identity.owner().name().clone(),
            name: identity.name().clone(),
        },
        scopes: identity.scopes().to_vec(),
        role: Role::default(),
        on_behalf_of: OnBehalfOf::default(),
        networks: Vec::new(),
        expire_time: None,
        address,
    }
}
