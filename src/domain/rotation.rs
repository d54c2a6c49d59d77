//! Rotation: a successor that copies everything except lifetime, and a predecessor that ends.

use super::{
    Refusal, Span, Time,
    actor::Actor,
    ids::KeyId,
    key::{Key, KeyState},
    limits,
    refusal::DeadEnd,
    text::RevokeReason,
};

/// What a caller decides about a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// How long the predecessor still verifies, 0 to 30 days.
    pub grace: Span,
    /// When the successor expires; `None` = after the predecessor's original lifetime, from now.
    pub expire_time: Option<Time>,
}

/// Both keys after a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new key; needs a secret of its own.
    pub successor: Key,
    /// The old key, ending.
    pub predecessor: Key,
}

impl Rotation {
    /// Whether the predecessor keeps verifying, so that both keys count against the limit.
    #[must_use]
    pub fn keeps_both(&self) -> bool {
        self.grace > Span::zero()
    }

    /// Replaces `key` by a key of id `successor`. Only ENABLED keys that weren't replaced before can be.
    ///
    /// With grace the predecessor's expire_time becomes min(now + grace, its own), so it ends EXPIRED; without, it is
    /// REVOKED with reason `rotated`. Unless told otherwise the successor gets the predecessor's original lifetime, from
    /// now; never stays never.
    pub fn apply(self, key: Key, successor: KeyId, creator: Actor, now: Time) -> Result<Rotated, Refusal> {
        match key.state_at(now) {
            KeyState::Enabled if key.superseded_by.is_some() => return Err(key.refuse(DeadEnd::Superseded)),
            KeyState::Enabled => {}
            KeyState::Disabled => return Err(key.refuse(DeadEnd::Disabled)),
            KeyState::Revoked { .. } => return Err(key.refuse(DeadEnd::Revoked)),
            KeyState::Expired => return Err(key.refuse(DeadEnd::Expired)),
        }
        let expire_time = self.expire_time.or_else(|| key.lifetime.map(|lifetime| now + lifetime));
        let made = Key {
            name: key.name.sibling(successor),
            expire_time,
            lifetime: expire_time.map(|end| end - now),
            create_time: now,
            update_time: now,
            creator: Some(creator),
            supersedes: Some(key.name.id),
            last_used: None,
            ..key.clone()
        };
        Ok(Rotated { successor: made, predecessor: self.end(key, successor, now) })
    }

    fn end(self, mut key: Key, successor: KeyId, now: Time) -> Key {
        key.superseded_by = Some(successor);
        key.update_time = now;
        if self.keeps_both() {
            let end = now + self.grace.min(limits::GRACE_PERIOD);
            key.expire_time = Some(key.expire_time.map_or(end, |own| own.min(end)));
        } else {
            key.state = KeyState::Revoked { time: now, reason: RevokeReason::rotated() };
        }
        key
    }
}
