//! Counts refusals in memory, so that a flood of them costs no writes: one event a minute per (who, method, reason).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use crate::domain::{
    audit::{AuditEvent, Outcome},
    ids::TenantId,
    limits,
};

/// The counts.
#[derive(Default)]
pub struct Denials {
    counts: Mutex<HashMap<Kind, AuditEvent>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    /// The calling key, or the address of an unknown caller.
    who: String,
    method: String,
    reason: String,
}

impl Denials {
    /// Counts a refusal. Beyond 10,000 kinds, refusals of one method and reason are counted
    /// together, for tenant `system` to see.
    pub fn count(&self, mut event: AuditEvent) {
        let mut counts = self.counts.lock();
        let mut kind = kind_of(&event);
        if counts.len() >= limits::DENIALS && !counts.contains_key(&kind) {
            event.tenant = TenantId::system();
            event.caller = String::new();
            event.address = String::new();
            event.request_id = String::new();
            kind = kind_of(&event);
        }
        match counts.entry(kind) {
            Entry::Occupied(mut counted) => {
                let counted = counted.get_mut();
                counted.count = counted.count.saturating_add(event.count);
                counted.time = counted.time.max(event.time);
            }
            Entry::Vacant(place) => {
                place.insert(event);
            }
        }
    }

    /// Takes all that was counted.
    #[must_use]
    pub fn take(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut *self.counts.lock()).into_values().collect()
    }

    /// Counts again what could not be written.
    pub fn put_back(&self, events: Vec<AuditEvent>) {
        events.into_iter().for_each(|event| self.count(event));
    }
}

fn kind_of(event: &AuditEvent) -> Kind {
    let who = if event.caller.is_empty() { &event.address } else { &event.caller };
    let reason = match &event.outcome {
        Outcome::Done => String::new(),
        Outcome::Denied(reason) => reason.clone(),
    };
    Kind { who: who.clone(), method: event.method.clone(), reason }
}
