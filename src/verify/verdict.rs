//! The verdict: pure, from what the mirror has and what the call asks.

use std::net::IpAddr;

use crate::domain::{
    Time,
    ids::TenantId,
    key::{KeyState, is_forgotten},
    network::Network,
    owner::OwnerState,
    scope::RequiredScope,
};

use super::mirror::Found;

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

/// What a call asks about a secret.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Scopes the key must grant, all of them.
    pub required_scopes: Vec<RequiredScope>,
    /// The address the secret was presented from, IPv4-mapped ones folded.
    pub client_ip: Option<IpAddr>,
    /// Keys of other tenants are UNKNOWN: once for the caller, once for the request.
    pub tenants: [Option<TenantId>; 2],
}

/// Whether a key whose secret matched exists for this question at all.
#[must_use]
pub fn exists(found: &Found, question: &Question, now: Time) -> bool {
    let key = &found.known.stored.key;
    let deleted = [key.delete_time, found.service_user.delete_time, found.tenant.delete_time];
    deleted.iter().all(Option::is_none)
        && question.tenants.iter().flatten().all(|tenant| *tenant == key.name.owner.tenant)
        && !is_forgotten(key, now)
}

/// Judges a key that [exists] and whose secret matched.
#[must_use]
pub fn judge(found: &Found, question: &Question, now: Time) -> Verdict {
    let key = &found.known.stored.key;
    let state = key.state_at(now);
    match state {
        KeyState::Revoked { .. } => return Verdict::Revoked,
        KeyState::Expired => return Verdict::Expired,
        KeyState::Enabled | KeyState::Disabled => {}
    }
    if [found.service_user.state, found.tenant.state].contains(&OwnerState::Disabled) {
        return Verdict::OwnerDisabled;
    }
    if state == KeyState::Disabled {
        return Verdict::Disabled;
    }
    if !address_allowed(&key.networks, question.client_ip) {
        return Verdict::AddressNotAllowed;
    }
    let granted = |required: &RequiredScope| key.scopes.iter().any(|scope| scope.grants(required));
    if question.required_scopes.iter().all(granted) { Verdict::Valid } else { Verdict::ScopeMissing }
}

fn address_allowed(networks: &[Network], address: Option<IpAddr>) -> bool {
    networks.is_empty() || address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
}
