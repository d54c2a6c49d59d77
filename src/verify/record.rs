//! One key in memory: one allocation, and everything a verdict needs in it.
//!
//! A million keys are in memory, so each byte of a record is a megabyte: fixed fields, then the scopes' texts behind them.
//! Owners and what they are called are shared. Measured in `reference/performance.md` 4b and 6: separate strings cost twice
//! the memory and 5 % of the calls.

use std::net::IpAddr;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prefetch_index::prefetch_index;
use triomphe::ThinArc;

use crate::domain::{
    Revision, Time,
    attributes::{Attributes, Role},
    ends::KeyEnd,
    ids::{KeyGroupId, KeyId, KeyName},
    limits,
    network::Network,
    pepper::SecretDigest,
    rights::Right,
    scope::Scope,
    verifiable_key::{Standing, VerifiableKey},
};

use super::census::KeyState;
use super::owners::ServiceUserCell;
use super::recogniser::Fingerprint;
use super::revocation::{Cause, KeyFacts};
use super::usage::LastUse;

/// "No such instant", in microseconds since the epoch: later than every time there is.
const NEVER: i64 = i64::MAX;
/// Texts that say something of a key.
pub const DESCRIPTION: usize = 4;
/// Bytes before each text, for its length.
const LENGTH: usize = 2;

/// A key. Cheap to clone; immutable, except that its last use is noted.
#[derive(Clone)]
pub struct Record(ThinArc<Fixed, u8>);

/// What Verify reads each time comes first, on as few cache lines as possible: of a million keys nearly none is in a cache,
/// and each line costs as much as the verdict.
#[repr(C)]
struct Fixed {
    id: [u8; 16],
    /// Of its secret, once it was presented; zeros before.
    fingerprint: [AtomicU64; 2],
    owner: Arc<ServiceUserCell>,
    /// Microseconds since the epoch.
    expire_time: i64,
    /// When it was revoked or deleted, whichever came first; in microseconds since the epoch.
    end_time: i64,
    last_use: LastUse,
    /// Few keys have any.
    networks: Option<ThinArc<(), Network>>,
    /// Its place in [`crate::domain::pepper::Peppers`].
    pepper: u8,
    standing: PackedStanding,
    /// A bit for each of [`Right::ALL`] that a scope of the key is or implies.
    rights: u8,
    is_deleted: bool,
    /// The id of its successor stands before everything else behind this.
    is_superseded: bool,
    /// What is said of it stands before the scopes: four texts, which most keys lack.
    is_described: bool,
    revision: Revision,
    digest: SecretDigest,
}

#[derive(Clone, Copy)]
enum PackedStanding {
    Enabled,
    Disabled,
    Revoked,
    Expired,
}

impl Record {
    /// Packs a key. `pepper` is the place of its pepper; `last_use` what is known of it.
    #[must_use]
    pub fn pack(key: &VerifiableKey, pepper: u8, owner: Arc<ServiceUserCell>, last_use: LastUse) -> Self {
        let (standing, revoke_time) = match key.standing {
            Standing::Enabled => (PackedStanding::Enabled, None),
            Standing::Disabled => (PackedStanding::Disabled, None),
            Standing::Revoked { time } => (PackedStanding::Revoked, Some(time)),
            Standing::Expired => (PackedStanding::Expired, None),
        };
        let fixed = Fixed {
            id: key.name.id.to_bytes(),
            fingerprint: Default::default(),
            owner,
            expire_time: pack_time(key.expire_time),
            end_time: pack_time([revoke_time, key.delete_time].into_iter().flatten().min()),
            last_use,
            networks: pack_networks(&key.networks),
            pepper,
            standing,
            rights: pack_rights(&key.scopes),
            is_deleted: key.delete_time.is_some(),
            is_superseded: key.superseded_by.is_some(),
            is_described: is_described(key),
            revision: key.revision,
            digest: key.digest,
        };
        Self(ThinArc::from_header_and_slice(fixed, &pack_texts(key)))
    }

    /// Fetches what a verdict reads into the core's cache, without waiting for it.
    pub fn prefetch(&self) {
        let fixed = self.fixed();
        // It begins on one line of the cache and ends on a second one, and the scopes' texts are behind it.
        prefetch_index(from_ref(fixed), 0);
        prefetch_index(from_ref(&fixed.last_use), 0);
        prefetch_index(from_ref(fixed), 1);
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

    /// Memory that it takes, without its owner and without what the allocator adds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // Behind a pointer each: the count of references, the length, and what is kept.
        let counts = 2 * size_of::<usize>();
        let networks = self.fixed().networks.as_ref().map_or(0, |some| counts + size_of_val(&some.slice));
        (counts + size_of::<Fixed>() + self.texts().len() + networks) as u64
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

    /// The key that replaced it.
    #[must_use]
    pub fn superseded_by(&self) -> Option<KeyId> {
        let successor = self.texts().first_chunk().filter(|_| self.fixed().is_superseded);
        successor.map(|bytes| KeyId::from_bytes(*bytes))
    }

    /// The texts of its scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.lengthened().skip(if self.fixed().is_described { DESCRIPTION } else { 0 })
    }

    /// What is said of it: role of its bearer, whom the bearer acts for, id of its group, kind of integration.
    #[must_use]
    pub fn description(&self) -> [&[u8]; DESCRIPTION] {
        let mut texts = self.lengthened().take(if self.fixed().is_described { DESCRIPTION } else { 0 });
        let role = texts.next().unwrap_or(Role::MEMBER.as_bytes());
        let mut next = || texts.next().unwrap_or_default();
        [role, next(), next(), next()]
    }

    /// Whether a scope of the key is, or implies, this right.
    #[must_use]
    pub fn holds(&self, right: Right) -> bool {
        self.fixed().rights & bit(right) != 0
    }

    /// Whether it may be used from there.
    #[must_use]
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.fixed().networks else { return true };
        address.is_some_and(|address| networks.slice.iter().any(|network| network.contains(address)))
    }

    /// What a VALID that was told of it may be wrong for, now that the key is as in `new`.
    #[must_use]
    pub fn revoked_by(&self, new: &VerifiableKey) -> Option<Cause> {
        let (scopes, networks): (Vec<_>, _) = (self.scopes().map(Scope::from_packed).collect(), self.networks());
        let old = KeyFacts {
            state: self.standing(),
            is_deleted: self.is_deleted(),
            superseded_by: self.superseded_by(),
            scopes: &scopes,
            networks: &networks,
            expire_time: self.expire_time(),
        };
        KeyFacts::of(new).revokes(&old)
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> KeyName {
        self.owner().name().key(self.id())
    }

    /// Where it may be used from; empty = anywhere.
    #[must_use]
    pub fn networks(&self) -> Vec<Network> {
        self.fixed().networks.as_ref().map_or_else(Vec::new, |networks| networks.slice.to_vec())
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
        &self.0.header.header
    }

    fn lengthened(&self) -> Texts<'_> {
        let skipped = if self.fixed().is_superseded { 16 } else { 0 };
        Texts { rest: self.texts().get(skipped..).unwrap_or_default() }
    }

    fn texts(&self) -> &[u8] {
        &self.0.slice
    }
}

/// Reads what [`pack_texts`] wrote.
#[derive(Clone)]
struct Texts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<LENGTH>()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.rest = rest;
        Some(text)
    }
}

/// The successor's id, then what is said of the key and each scope, with its length before it.
fn pack_texts(key: &VerifiableKey) -> Vec<u8> {
    let mut texts = Vec::with_capacity(key.scopes.iter().map(|scope| scope.as_str().len() + LENGTH).sum());
    if let Some(successor) = key.superseded_by {
        texts.extend(successor.to_bytes());
    }
    let description = is_described(key).then(|| describe(key));
    for text in description.iter().flatten().copied().chain(key.scopes.iter().map(Scope::as_str)) {
        // A scope is at most 263 bytes long, and nothing is longer than 800; what were would grant nothing.
        let Ok(length) = u16::try_from(text.len()) else { continue };
        texts.extend(length.to_le_bytes());
        texts.extend(text.bytes());
    }
    texts
}

fn is_described(key: &VerifiableKey) -> bool {
    key.attributes != Attributes::default() || key.key_group.is_some()
}

fn describe(key: &VerifiableKey) -> [&str; DESCRIPTION] {
    let said = &key.attributes;
    let key_group = key.key_group.as_ref().map_or("", KeyGroupId::as_str);
    [said.role.as_str(), said.on_behalf_of.as_str(), key_group, said.integration_type_text()]
}

fn pack_networks(networks: &[Network]) -> Option<ThinArc<(), Network>> {
    (!networks.is_empty()).then(|| ThinArc::from_header_and_slice((), networks))
}

fn pack_rights(scopes: &[Scope]) -> u8 {
    Right::ALL.into_iter().filter(|right| right.is_granted_by(scopes)).map(bit).fold(0, |bits, bit| bits | bit)
}

fn bit(right: Right) -> u8 {
    match right {
        Right::Admin => 1,
        Right::TenantAdmin => 1 << 1,
        Right::KeysWrite => 1 << 2,
        Right::KeysRead => 1 << 3,
        Right::KeysSelf => 1 << 4,
        Right::KeysReveal => 1 << 5,
        Right::Verify => 1 << 6,
        Right::AuditRead => 1 << 7,
    }
}

fn pack_time(time: Option<Time>) -> i64 {
    time.map_or(NEVER, |time| time.timestamp_micros())
}

fn unpack_time(microseconds: i64) -> Option<Time> {
    if microseconds == NEVER { None } else { Time::from_timestamp_micros(microseconds) }
}
