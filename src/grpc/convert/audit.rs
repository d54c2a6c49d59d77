//! Audit events.

use crate::domain::{
    audit::{AuditEvent, Outcome},
    limits,
    text::quote,
};
use crate::proto::v1;

use super::time;

/// Reads the `target` filter; empty = all. Any text of the length of a name may be asked for.
pub fn parse_target(target: &str) -> Result<Option<&str>, String> {
    const LONGEST: usize = 4 * limits::ID_CHARACTERS;
    match target {
        "" => Ok(None),
        _ if target.len() > LONGEST => Err(format!("{} is longer than any resource name", quote(target))),
        _ if target.chars().any(char::is_control) => Err(format!("{} is no resource name", quote(target))),
        _ => Ok(Some(target)),
    }
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
