//! What is remembered of changes and refusals.

use uuid::Uuid;

use super::{Revision, Time, ids::TenantId};

/// One change, or a number of equal refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// A version 7 UUID.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// When it happened, the last time.
    pub time: Time,
    /// Full name of the calling key, or of the service user that was called as by certificate; empty for an unknown caller
    /// and for Claviger itself.
    pub caller: String,
    /// The method, or `system`.
    pub method: String,
    /// Full name of what was changed; empty for refusals.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The call's request id.
    pub request_id: String,
    /// The revision of the change; 0 for refusals.
    pub revision: Revision,
    /// The address the call came from, without port.
    pub address: String,
    /// How many equal refusals this stands for; 1 for a change.
    pub count: i64,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// The caller was refused, for this reason.
    Denied(String),
}

/// Makes the id of an event from the time and 10 random bytes.
#[must_use]
pub fn event_id(now: Time, random: [u8; 10]) -> Uuid {
    let milliseconds = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}
