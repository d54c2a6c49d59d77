//! What keys claim for their bearers, in memory: one copy for all keys that claim the same.
//!
//! Keys of one service user mostly claim the same, and so do those of many others. Kept in each of a million records, the
//! texts were a fifth of the process's memory.

use std::collections::HashSet;
use std::net::IpAddr;
use std::slice::from_ref;

use foldhash::fast::RandomState;
use prefetch_index::prefetch_index;
use triomphe::ThinArc;

use crate::domain::{
    attributes::{Attributes, Role},
    ids::{KeyGroupId, KeyId},
    network::Network,
    rights::Right,
    scope::Scope,
    verifiable_key::VerifiableKey,
};

/// Texts that say something of a key.
pub const DESCRIPTION: usize = 4;
/// Bytes before each text, for its length.
const LENGTH: usize = 2;
/// Claims that are kept before it is looked which of them no key has any more.
const FEW: usize = 1_024;

/// What a key grants and where, what is said of its bearer, and what replaced it: in one allocation, but for networks. Cheap
/// to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Claims(ThinArc<Head, u8>);

#[derive(PartialEq, Eq, Hash)]
struct Head {
    /// Few keys have any.
    networks: Option<ThinArc<(), Network>>,
    /// A bit for each of [`Right::ALL`] that a scope is or implies.
    rights: u8,
    /// The id of the successor stands before everything else behind this.
    is_superseded: bool,
    /// What is said of the bearer stands before the scopes: four texts, which most keys lack.
    is_described: bool,
}

impl Claims {
    /// Packs what belongs here.
    #[must_use]
    pub fn of(key: &VerifiableKey) -> Self {
        let head = Head {
            networks: pack_networks(&key.networks),
            rights: pack_rights(&key.scopes),
            is_superseded: key.superseded_by.is_some(),
            is_described: is_described(key),
        };
        Self(ThinArc::from_header_and_slice(head, &pack_texts(key)))
    }

    /// Fetches it into the core's cache, without waiting for it.
    pub(super) fn prefetch(&self) {
        // Mostly it ends on the next line.
        prefetch_index(from_ref(self.head()), 0);
        prefetch_index(from_ref(self.head()), 64 / size_of::<Head>());
    }

    /// The key that replaced it.
    #[must_use]
    pub fn superseded_by(&self) -> Option<KeyId> {
        let successor = self.0.slice.first_chunk().filter(|_| self.head().is_superseded);
        successor.map(|bytes| KeyId::from_bytes(*bytes))
    }

    /// The texts of the scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.texts().skip(if self.head().is_described { DESCRIPTION } else { 0 })
    }

    /// What is said of the bearer: role of its bearer, whom the bearer acts for, id of its group, kind of integration.
    #[must_use]
    pub fn description(&self) -> [&[u8]; DESCRIPTION] {
        let mut texts = self.texts().take(if self.head().is_described { DESCRIPTION } else { 0 });
        let role = texts.next().unwrap_or(Role::MEMBER.as_bytes());
        let mut next = || texts.next().unwrap_or_default();
        [role, next(), next(), next()]
    }

    /// Whether a scope is, or implies, this right.
    #[must_use]
    pub fn holds(&self, right: Right) -> bool {
        self.head().rights & bit(right) != 0
    }

    /// Whether the key may be used from there.
    #[must_use]
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.head().networks else { return true };
        address.is_some_and(|address| networks.slice.iter().any(|network| network.contains(address)))
    }

    /// Where the key may be used from; empty = anywhere.
    #[must_use]
    pub fn networks(&self) -> Vec<Network> {
        self.head().networks.as_ref().map_or_else(Vec::new, |networks| networks.slice.to_vec())
    }

    /// Memory that it takes, without what the allocator adds.
    fn bytes(&self) -> u64 {
        // Behind a pointer each: the count of references, the length, and what is kept.
        let counts = 2 * size_of::<usize>();
        let networks = self.head().networks.as_ref().map_or(0, |some| counts + size_of_val(&some.slice));
        (counts + size_of::<Head>() + self.0.slice.len() + networks) as u64
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn texts(&self) -> Texts<'_> {
        let skipped = if self.head().is_superseded { 16 } else { 0 };
        Texts { rest: self.0.slice.get(skipped..).unwrap_or_default() }
    }
}

/// All of them, each once. Whoever follows the feed comes here, and whoever asks for the figures; Verify reads what the
/// records point to.
#[derive(Default)]
pub(super) struct SharedClaims {
    known: HashSet<Claims, RandomState>,
    bytes: u64,
    /// So many were in use when it was last looked.
    in_use: usize,
}

impl SharedClaims {
    /// Those that are equal to these.
    pub(super) fn share(&mut self, claims: Claims) -> Claims {
        if let Some(known) = self.known.get(&claims) {
            return known.clone();
        }
        // So there are never more than twice as many as were in use at the last look, and a few.
        if self.known.len() >= FEW.max(self.in_use * 2) {
            self.forget();
        }
        self.bytes += claims.bytes();
        self.known.insert(claims.clone());
        claims
    }

    /// Drops what no key has any more.
    pub(super) fn forget(&mut self) {
        let mut bytes = 0;
        self.known.retain(|claims| {
            let is_used = ThinArc::strong_count(&claims.0) > 1;
            bytes += if is_used { claims.bytes() } else { 0 };
            is_used
        });
        (self.bytes, self.in_use) = (bytes, self.known.len());
    }

    /// Memory that they take, and the set that finds them.
    pub(super) fn bytes(&self) -> u64 {
        // A pointer and a byte of its hash for each.
        self.bytes + (self.known.capacity() * (size_of::<Claims>() + 1)) as u64
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Time,
        ids::{KeyName, ServiceUserName},
        pepper::Pepper,
        secret::Secret,
        text::OnBehalfOf,
        verifiable_key::Standing,
    };

    fn key(scopes: &[&str]) -> VerifiableKey {
        let secret = Secret::generate(KeyId::from_random([7; 16]), |_| Ok::<_, ()>(())).expect("a secret");
        let pepper = Pepper::new(&[7; 32]);
        VerifiableKey {
            name: KeyName { owner: ServiceUserName::root(), id: secret.key_id() },
            standing: Standing::Enabled,
            scopes: scopes.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect(),
            attributes: Attributes::default(),
            key_group: None,
            networks: Vec::new(),
            expire_time: None,
            delete_time: None,
            superseded_by: None,
            digest: pepper.digest(secret.presented()),
            pepper: pepper.id().clone(),
            is_edited: false,
            revision: 1,
        }
    }

    fn is_shared(one: &Claims, other: &Claims) -> bool {
        std::ptr::eq(one.head(), other.head())
    }

    #[test]
    fn keys_share_what_is_equal_in_every_part_and_nothing_else() {
        let mut shared = SharedClaims::default();
        let plain = key(&["a:b", "c"]);
        let first = shared.share(Claims::of(&plain));
        let said = |attributes| VerifiableKey { attributes, ..plain.clone() };
        let networks = vec![Network::parse("192.0.2.0/24").expect("a network")];
        let others = [
            key(&["c", "a:b"]),
            key(&["a:b"]),
            VerifiableKey { networks: networks.clone(), ..plain.clone() },
            VerifiableKey { superseded_by: Some(KeyId::from_random([8; 16])), ..plain.clone() },
            VerifiableKey { superseded_by: Some(KeyId::from_random([9; 16])), ..plain.clone() },
            VerifiableKey { key_group: Some(KeyGroupId::parse("group").expect("an id")), ..plain.clone() },
            said(Attributes { role: Role::parse("admin").expect("a role"), ..Attributes::default() }),
            said(Attributes { on_behalf_of: OnBehalfOf::parse("them").expect("a text"), ..Attributes::default() }),
        ];
        for other in &others {
            let claims = shared.share(Claims::of(other));
            assert!(!is_shared(&first, &claims), "{other:?}");
            assert!(is_shared(&claims, &shared.share(Claims::of(other))), "{other:?}");
            assert_eq!((claims.superseded_by(), claims.networks()), (other.superseded_by, other.networks.clone()));
        }
        let owner = ServiceUserName::parse("tenants/acme/serviceUsers/billing").expect("a name");
        let name = KeyName { owner, id: plain.name.id };
        let other_owner = VerifiableKey { name, revision: 2, expire_time: Some(Time::UNIX_EPOCH), ..plain };
        assert!(is_shared(&first, &shared.share(Claims::of(&other_owner))));
    }

    #[test]
    fn what_no_key_has_any_more_is_dropped() {
        let mut shared = SharedClaims::default();
        let used: Vec<Claims> =
            (0..10).map(|number| shared.share(Claims::of(&key(&[&format!("used:{number}")])))).collect();
        for number in 0..FEW * 5 {
            shared.share(Claims::of(&key(&[&format!("once:{number}")])));
            assert!(shared.known.len() <= FEW);
        }
        shared.forget();
        assert_eq!(shared.known.len(), used.len());
        assert_eq!(shared.bytes, used.iter().map(Claims::bytes).sum::<u64>());
        drop(used);
        shared.forget();
        assert_eq!((shared.known.len(), shared.bytes), (0, 0));
    }
}
