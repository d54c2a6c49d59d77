//! Audit events.

use crate::domain::{
    audit::{AuditEvent, Outcome},
    base62,
    ids::{KeyGroupName, KeyName, ServiceUserName, TenantId, UserGroupName},
    text::quote,
};
use crate::proto::v1;

use super::time;

/// Reads the `target` filter: a full resource name, or empty for all.
pub fn parse_target(target: &str) -> Result<Option<&str>, String> {
    if target.is_empty() {
        return Ok(None);
    }
    let is_name = TenantId::parse_name(target).is_ok()
        || ServiceUserName::parse(target).is_ok()
        || KeyName::parse(target).is_ok()
        || KeyGroupName::parse(target).is_ok()
        || UserGroupName::parse(target).is_ok()
        || target.strip_prefix("peppers/").is_some_and(|id| base62::is_text(id.as_bytes()));
    if is_name { Ok(Some(target)) } else { Err(format!("{} is no full name of a resource", quote(target))) }
}

/// Writes an event.
#[must_use]
pub fn write(event: AuditEvent) -> v1::AuditEvent {
    let (outcome, reason) = match event.outcome {
        Outcome::Done => (v1::AuditOutcome::Done, String::new()),
        Outcome::Denied(reason) => (v1::AuditOutcome::Denied, reason),
    };
    v1::AuditEvent {
        name: format!("{}/auditEvents/{}", event.tenant.name(), event.id),
        event_time: Some(time::write(event.time)),
        caller: event.caller,
        method: event.method,
        target: event.target,
        outcome: outcome.into(),
        reason,
        request_id: event.request_id,
        revision: event.revision,
        client_address: event.address,
        count: event.count,
    }
}
