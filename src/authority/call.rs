//! One call: who asks, by which method, when.

use std::net::IpAddr;

use uuid::Uuid;

use crate::domain::{
    Refusal, Time,
    audit::{AuditEvent, Outcome},
    caller::Caller,
    ids::TenantId,
    refusal::Resource,
};

/// A call by a known caller who has a right that the method asks for.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who.
    pub caller: Caller,
    /// The method, as `claviger.v1.KeyService/CreateKey`.
    pub method: &'static str,
    /// The call's request id, its own or the one it was given.
    pub request_id: String,
    /// The instant of the call: the `now` of every rule.
    pub now: Time,
    /// The id for the audit event of the change.
    pub event: Uuid,
}

impl Call {
    /// Refuses a call about a tenant that doesn't exist for this caller. It must look exactly as if `wanted` were missing.
    pub fn see(&self, tenant: &TenantId, wanted: impl FnOnce() -> Resource) -> Result<(), Refusal> {
        if self.caller.sees(tenant) { Ok(()) } else { Err(Refusal::Foreign(wanted())) }
    }

    /// The audit event of the change this call made to `target`.
    #[must_use]
    pub fn event(&self, tenant: &TenantId, target: String) -> AuditEvent {
        AuditEvent {
            id: self.event,
            tenant: tenant.clone(),
            time: self.now,
            caller: self.caller.credential.actor().to_string(),
            method: self.method.to_owned(),
            target,
            outcome: Outcome::Done,
            request_id: self.request_id.clone(),
            revision: 0,
            address: self.caller.address.as_ref().map_or_else(String::new, IpAddr::to_string),
            count: 1,
        }
    }
}

/// The audit event of a change that Claviger made by itself.
#[must_use]
pub fn own_event(id: Uuid, tenant: TenantId, target: String, now: Time) -> AuditEvent {
    AuditEvent {
        id,
        tenant,
        time: now,
        caller: String::new(),
        method: "system".to_owned(),
        target,
        outcome: Outcome::Done,
        request_id: String::new(),
        revision: 0,
        address: String::new(),
        count: 1,
    }
}
