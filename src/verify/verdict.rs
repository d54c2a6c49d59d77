//! The verdict: pure, from what the mirror has and what the call asks.

use std::net::IpAddr;

use crate::domain::{Time, scope::RequiredScope, verifiable_key::Standing};

use super::freshness::Demand;
use super::mirror::Found;
use super::owners::OwnerStanding;

/// What Verify found. When several apply, the first in this order is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The key may do this, now, from there.
    Valid,
    /// The text cannot be a key.
    Malformed,
    /// No such key, a wrong secret, deleted, or another tenant's: one answer for all.
    Unknown,
    /// Revoked for ever.
    Revoked,
    /// Past its expire_time.
    Expired,
    /// Its service user or tenant is disabled.
    OwnerDisabled,
    /// Disabled for now.
    Disabled,
    /// Outside its networks.
    AddressNotAllowed,
    /// It doesn't grant every required scope.
    ScopeMissing,
}

impl Verdict {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::Valid,
        Self::Malformed,
        Self::Unknown,
        Self::Revoked,
        Self::Expired,
        Self::OwnerDisabled,
        Self::Disabled,
        Self::AddressNotAllowed,
        Self::ScopeMissing,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::OwnerDisabled => "owner_disabled",
            Self::Disabled => "disabled",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::ScopeMissing => "scope_missing",
        }
    }
}

/// What a call asks about a secret.
#[derive(Debug, Clone, Default)]
pub struct Question<'a> {
    /// Scopes the key must grant, all of them.
    pub required_scopes: Vec<RequiredScope<'a>>,
    /// The address the secret was presented from, IPv4-mapped ones folded.
    pub client_ip: Option<IpAddr>,
    /// Ids of tenants; keys of others are UNKNOWN: once for the caller, once for the request.
    pub tenants: [Option<&'a str>; 2],
    /// How fresh the answer must be.
    pub demand: Demand,
}

/// Whether a key whose secret matched exists for this question at all.
#[must_use]
pub fn exists(found: &Found, question: &Question<'_>, now: Time) -> bool {
    let key = &found.key;
    let tenant = key.owner().tenant().id().as_str();
    !key.is_deleted()
        && !found.owners.contains(&OwnerStanding::Deleted)
        && question.tenants.iter().flatten().all(|asked| *asked == tenant)
        && !key.is_forgotten(now)
}

/// Judges a key that [exists] and whose secret matched.
#[must_use]
pub fn judge(found: &Found, question: &Question<'_>, now: Time) -> Verdict {
    let key = &found.key;
    let standing = key.standing_at(now);
    match standing {
        Standing::Revoked { .. } => return Verdict::Revoked,
        Standing::Expired => return Verdict::Expired,
        Standing::Enabled | Standing::Disabled => {}
    }
    if found.owners != [OwnerStanding::Enabled; 2] {
        return Verdict::OwnerDisabled;
    }
    if standing == Standing::Disabled {
        return Verdict::Disabled;
    }
    if !key.claims().allows(question.client_ip) {
        return Verdict::AddressNotAllowed;
    }
    let granted = |required: &RequiredScope<'_>| key.claims().scopes().any(|scope| required.is_granted_by(scope));
    if question.required_scopes.iter().all(granted) { Verdict::Valid } else { Verdict::ScopeMissing }
}
