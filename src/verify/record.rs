//! One key in memory: one allocation, as long as two lines of the cache.
//!
//! A million keys are in memory, so each byte of a record is a megabyte. Beside fixed fields it has two addresses: of its
//! owner, and of its claims, which keys share. Measured in `reference/performance.md` 4b and 6: separate strings cost twice
//! the memory and 5 % of the calls.

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prefetch_index::prefetch_index;

use crate::domain::{
    Revision, Time,
    ends::KeyEnd,
    ids::{KeyId, KeyName},
    limits,
    pepper::SecretDigest,
    scope::Scope,
    verifiable_key::{Standing, VerifiableKey},
};

use super::census::KeyState;
use super::claims::Claims;
use super::owners::ServiceUserCell;
use super::recogniser::Fingerprint;
use super::revocation::{Cause, KeyFacts};
use super::usage::LastUse;

/// "No such instant", in microseconds since the epoch: later than every time there is.
const NEVER: i64 = i64::MAX;

/// A key. Cheap to clone; immutable, except that its last use is noted.
// Not the standard library's `Arc`, which would count weak references too: 8 bytes more, and a third line of the cache.
#[derive(Clone)]
pub struct Record(triomphe::Arc<Fixed>);

/// Two lines of the cache with the count of references, and nothing beside: of a million keys nearly none is in a cache, and
/// each line costs as much as the verdict. What finds the key and leads on stands on the first.
#[repr(C)]
struct Fixed {
    id: [u8; 16],
    /// Of its secret, once it was presented; zeros before.
    fingerprint: [AtomicU64; 2],
    owner: Arc<ServiceUserCell>,
    claims: Claims,
    /// Microseconds since the epoch.
    expire_time: i64,
    /// When it was revoked or deleted, whichever came first; in microseconds since the epoch.
    end_time: i64,
    last_use: LastUse,
    /// Its place in [`crate::domain::pepper::Peppers`].
    pepper: u8,
    standing: PackedStanding,
    is_deleted: bool,
    revision: Revision,
    digest: SecretDigest,
}

const _: () = assert!(Record::BYTES == 2 * 64, "two lines of the cache");

#[derive(Clone, Copy)]
enum PackedStanding {
    Enabled,
    Disabled,
    Revoked,
    Expired,
}

impl Record {
    /// Memory that one takes, without its owner, its claims, and what the allocator adds: itself and the count of
    /// references.
    pub const BYTES: usize = size_of::<Fixed>() + size_of::<usize>();

    /// Packs a key. `pepper` is the place of its pepper; `claims` what is equal to its own; `last_use` what is known of it.
    #[must_use]
    pub fn pack(
        key: &VerifiableKey,
        pepper: u8,
        owner: Arc<ServiceUserCell>,
        claims: Claims,
        last_use: LastUse,
    ) -> Self {
        let (standing, revoke_time) = match key.standing {
            Standing::Enabled => (PackedStanding::Enabled, None),
            Standing::Disabled => (PackedStanding::Disabled, None),
            Standing::Revoked { time } => (PackedStanding::Revoked, Some(time)),
            Standing::Expired => (PackedStanding::Expired, None),
        };
        Self(triomphe::Arc::new(Fixed {
            id: key.name.id.to_bytes(),
            fingerprint: Default::default(),
            owner,
            claims,
            expire_time: pack_time(key.expire_time),
            end_time: pack_time([revoke_time, key.delete_time].into_iter().flatten().min()),
            last_use,
            pepper,
            standing,
            is_deleted: key.delete_time.is_some(),
            revision: key.revision,
            digest: key.digest,
        }))
    }

    /// Fetches what a verdict reads into the core's cache, without waiting for it.
    pub fn prefetch(&self) {
        // It begins on one line of the cache and ends on another.
        prefetch_index(from_ref(self.fixed()), 0);
        prefetch_index(from_ref(&self.fixed().last_use), 0);
    }

    /// Whether this is the record of `id`.
    #[must_use]
    pub fn is_of(&self, id: [u8; 16]) -> bool {
        self.fixed().id == id
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::from_bytes(self.fixed().id)
    }

    /// What it is, as it was last recorded.
    #[must_use]
    pub fn state(&self) -> KeyState {
        if self.is_deleted() {
            return KeyState::Deleted;
        }
        match self.fixed().standing {
            PackedStanding::Enabled => KeyState::Enabled,
            PackedStanding::Disabled => KeyState::Disabled,
            PackedStanding::Revoked => KeyState::Revoked,
            PackedStanding::Expired => KeyState::Expired,
        }
    }

    /// What is stored of its secret.
    #[must_use]
    pub fn digest(&self) -> &SecretDigest {
        &self.fixed().digest
    }

    /// The place of its pepper.
    #[must_use]
    pub fn pepper(&self) -> u8 {
        self.fixed().pepper
    }

    /// The revision of its last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.fixed().revision
    }

    /// Its service user.
    #[must_use]
    pub fn owner(&self) -> &ServiceUserCell {
        &self.fixed().owner
    }

    /// What it grants and where, what is said of its bearer, and what replaced it.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.fixed().claims
    }

    /// Whether a text with this fingerprint has opened it before.
    #[must_use]
    pub fn recognises(&self, fingerprint: Fingerprint) -> bool {
        // Whoever reads one half only of what another core writes finds nothing that a text could have.
        let known = self.fixed().fingerprint.each_ref().map(|half| half.load(Ordering::Relaxed));
        (known[0] ^ fingerprint.0[0]) | (known[1] ^ fingerprint.0[1]) == 0
    }

    /// Remembers the fingerprint of a text whose digest matched.
    pub fn remember(&self, fingerprint: Fingerprint) {
        for (half, value) in self.fixed().fingerprint.iter().zip(fingerprint.0) {
            half.store(value, Ordering::Relaxed);
        }
    }

    /// Its last use.
    #[must_use]
    pub fn last_use(&self) -> &LastUse {
        &self.fixed().last_use
    }

    /// When it stops verifying; `None` = never.
    #[must_use]
    pub fn expire_time(&self) -> Option<Time> {
        unpack_time(self.fixed().expire_time)
    }

    /// Whether it was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.fixed().is_deleted
    }

    /// Whether it ended so long ago that it counts as one that never was.
    #[must_use]
    pub fn is_forgotten(&self, now: Time) -> bool {
        let end = self.fixed().end_time.min(self.fixed().expire_time);
        let remembered = limits::DEAD_KEYS_REMEMBERED.num_microseconds().unwrap_or(i64::MAX);
        end != NEVER && now.timestamp_micros().saturating_sub(end) >= remembered
    }

    /// Its standing at `now`. The instant of a revocation is that of its deletion, if that came first.
    #[must_use]
    pub fn standing_at(&self, now: Time) -> Standing {
        // A time of chrono's is made for those only that are past it.
        let expire_time = Some(self.fixed().expire_time).filter(|time| *time <= now.timestamp_micros());
        self.standing().at(expire_time.and_then(unpack_time), now)
    }

    /// Why it must not verify; `None` when it may.
    #[must_use]
    pub fn end(&self, now: Time) -> Option<KeyEnd> {
        KeyEnd::of(self.standing_at(now), self.is_deleted())
    }

    /// What a VALID that was told of it may be wrong for, now that the key is as in `new`.
    #[must_use]
    pub fn revoked_by(&self, new: &VerifiableKey) -> Option<Cause> {
        let scopes: Vec<_> = self.claims().scopes().map(Scope::from_packed).collect();
        let old = KeyFacts {
            state: self.standing(),
            is_deleted: self.is_deleted(),
            superseded_by: self.claims().superseded_by(),
            scopes: &scopes,
            networks: &self.claims().networks(),
            expire_time: self.expire_time(),
        };
        KeyFacts::of(new).revokes(&old)
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> KeyName {
        self.owner().name().key(self.id())
    }

    fn standing(&self) -> Standing {
        match self.fixed().standing {
            PackedStanding::Enabled => Standing::Enabled,
            PackedStanding::Disabled => Standing::Disabled,
            // Packed with its time; should it lack one, it is revoked all the same.
            PackedStanding::Revoked => {
                Standing::Revoked { time: unpack_time(self.fixed().end_time).unwrap_or(Time::UNIX_EPOCH) }
            }
            PackedStanding::Expired => Standing::Expired,
        }
    }

    fn fixed(&self) -> &Fixed {
        &self.0
    }
}

fn pack_time(time: Option<Time>) -> i64 {
    time.map_or(NEVER, |time| time.timestamp_micros())
}

fn unpack_time(microseconds: i64) -> Option<Time> {
    if microseconds == NEVER { None } else { Time::from_timestamp_micros(microseconds) }
}
