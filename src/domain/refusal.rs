//! Everything a caller can be refused for by the rules. A closed list: `grpc::status` maps each to a status once.

use super::{
    Revision, Span,
    ids::{KeyGroupName, KeyName, ServiceUserName, TenantId},
    peer_name::PeerName,
    policy::Rule,
    rights::Right,
};

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Fields of the request are wrong; all of them are named.
    #[error("{} field(s) of the request are wrong", .0.len())]
    Invalid(Vec<FieldViolation>),
    /// The calling key lacks a right.
    #[error("the caller lacks {}", .0.scope())]
    RightMissing(Right),
    /// The key carries a right that the caller doesn't hold.
    #[error("the key carries {}, which the calling key doesn't hold", .0.scope())]
    RightNotHeld(Right),
    /// A `keys.self` caller reached further than its own key; says in what.
    #[error("the caller may not reach beyond itself: {0}")]
    WiderThanCaller(&'static str),
    /// No such resource, for this caller.
    #[error("{} not found", .0.name)]
    NotFound(Resource),
    /// It belongs to a tenant that doesn't exist for this caller. Must look exactly like `NotFound` from outside; kept
    /// apart because it counts as a denial.
    #[error("{} not found", .0.name)]
    Foreign(Resource),
    /// The id is taken.
    #[error("{} exists already", .0.name)]
    IdTaken(Resource),
    /// The name in client certificates is mapped already.
    #[error("{} is mapped to {owner} already", name.as_str())]
    CertificateIdentityTaken {
        /// The name.
        name: PeerName,
        /// The service user that has it.
        owner: ServiceUserName,
    },
    /// The request id was used for another request.
    #[error("the request_id was used for a different request")]
    RequestIdReused,
    /// The service user has 10 live keys.
    #[error("{owner} has {limit} live keys, the most it may have", limit = super::limits::LIVE_KEYS)]
    KeyLimit {
        /// The service user.
        owner: ServiceUserName,
        /// Whether this was a rotation with grace, which has a way out of its own.
        rotating: bool,
    },
    /// The tenant has 100 user groups.
    #[error("{} has {limit} user groups, the most it may have", .0.name(), limit = super::limits::USER_GROUPS)]
    UserGroupLimit(TenantId),
    /// The tenant has 1,000 key groups.
    #[error("{} has {limit} key groups, the most it may have", .0.name(), limit = super::limits::KEY_GROUPS)]
    KeyGroupLimit(TenantId),
    /// The key's state doesn't allow this.
    #[error("{key} is {}", state.word())]
    KeyState {
        /// The key.
        key: KeyName,
        /// Its state.
        state: DeadEnd,
    },
    /// The key's secret was shown once, when it was made.
    #[error("{0} is not retrievable")]
    NotRetrievable(KeyName),
    /// The key was revealed as often as it may be.
    #[error("{key} was revealed {limit} times within an hour, the most it may be", limit = super::limits::REVEALS)]
    RevealLimit {
        /// The key.
        key: KeyName,
        /// After how long it may be again.
        wait: Span,
    },
    /// The tenant's policy doesn't allow such a key; every rule that it breaks.
    #[error("the policy of {} doesn't allow such a key", tenant.name())]
    PolicyViolated {
        /// The tenant.
        tenant: TenantId,
        /// What is broken.
        rules: Vec<Rule>,
    },
    /// It can't be deleted without `force`.
    #[error("{0} still has live keys")]
    LiveKeysExist(String),
    /// It can't be deleted without `force`.
    #[error("{0} still has keys")]
    KeyGroupNotEmpty(KeyGroupName),
    /// It can't be disabled or deleted.
    #[error("{0} can't be disabled or deleted")]
    Protected(String),
    /// Somebody else changed it first.
    #[error("{name} is at revision {current}, not {expected}")]
    RevisionMismatch {
        /// The resource.
        name: String,
        /// What the caller saw.
        expected: Revision,
        /// What it is.
        current: Revision,
    },
}

/// A state that doesn't allow a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadEnd {
    /// Enable it first.
    Disabled,
    /// For ever.
    Revoked,
    /// For ever.
    Expired,
    /// Act on its successor.
    Superseded,
}

impl DeadEnd {
    /// The state's name in the contract.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
            Self::Superseded => "SUPERSEDED",
        }
    }
}

/// A resource, as an error names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its type, as `claviger.v1.Key`.
    pub kind: &'static str,
    /// Its full name.
    pub name: String,
}

impl Resource {
    /// A tenant.
    #[must_use]
    pub fn tenant(id: &super::ids::TenantId) -> Self {
        Self { kind: "claviger.v1.Tenant", name: id.name() }
    }

    /// A service user.
    #[must_use]
    pub fn service_user(name: &ServiceUserName) -> Self {
        Self { kind: "claviger.v1.ServiceUser", name: name.to_string() }
    }

    /// A user group.
    #[must_use]
    pub fn user_group(name: &super::ids::UserGroupName) -> Self {
        Self { kind: "claviger.v1.UserGroup", name: name.to_string() }
    }

    /// A key group.
    #[must_use]
    pub fn key_group(name: &KeyGroupName) -> Self {
        Self { kind: "claviger.v1.KeyGroup", name: name.to_string() }
    }

    /// A notification.
    #[must_use]
    pub fn notification(name: &super::ids::NotificationName) -> Self {
        Self { kind: "claviger.v1.Notification", name: name.to_string() }
    }

    /// A key.
    #[must_use]
    pub fn key(name: &KeyName) -> Self {
        Self { kind: "claviger.v1.Key", name: name.to_string() }
    }
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path, as `key.scopes[3]`.
    pub field: String,
    /// What is wrong and what to do, in one sentence.
    pub description: String,
}

impl FieldViolation {
    /// Names a wrong field.
    #[must_use]
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Refuses a change whose `expected` revision (0 = don't care) is no longer `current`.
pub fn require_revision(name: impl ToString, expected: Revision, current: Revision) -> Result<(), Refusal> {
    if expected == 0 || expected == current {
        return Ok(());
    }
    Err(Refusal::RevisionMismatch { name: name.to_string(), expected, current })
}
