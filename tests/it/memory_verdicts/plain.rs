//! Keys, owners and questions as plain values, and the naive verdict about them. Knows nothing of how the product packs,
//! matches or compares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use claviger::domain::{
    Time,
    attributes::{Attributes, IntegrationType, Role},
    ids::{KeyGroupId, KeyId, ServiceUserName},
    network::{Network, parse_address},
    pepper::PepperId,
    scope::Scope,
    secret::Secret,
    text::OnBehalfOf,
    verifiable_key::{Standing, VerifiableKey},
};
use claviger::verify::verdict::Verdict;

use super::world::World;
use crate::rig::Chance;

pub const DAY: i64 = 86_400_000_000;
const BEGINNING: i64 = 1_800_000_000_000_000;

/// So many microseconds after the beginning.
pub fn time(microseconds: i64) -> Time {
    Time::from_timestamp_micros(BEGINNING + microseconds).expect("a time")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Enabled,
    Disabled,
    Revoked(i64),
    Expired,
}

/// A network, as bits of an IPv6 address; IPv4 ones lie in `::ffff:0:0/96`.
#[derive(Debug, Clone)]
pub struct Net {
    bits: u128,
    /// Of 128.
    prefix: u32,
    is_four: bool,
    /// As it was written.
    text: String,
}

#[derive(Debug, Clone)]
pub struct Plain {
    pub tenant: usize,
    pub user: usize,
    pub id: [u8; 16],
    pub state: State,
    pub scopes: Vec<String>,
    /// Role, on_behalf_of, the group's id, integration_type.
    pub said: [String; 4],
    pub networks: Vec<Net>,
    pub expire: Option<i64>,
    pub delete: Option<i64>,
    pub superseded_by: Option<[u8; 16]>,
    /// Its place; one beyond the last is a pepper that nobody has.
    pub pepper: usize,
    pub secret: Secret,
    pub revision: i64,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub secret: Secret,
    pub required: Vec<String>,
    /// As it was written.
    pub address: Option<String>,
    pub tenants: [Option<String>; 2],
    pub now: i64,
}

impl Asked {
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.address.as_ref().map(|text| parse_address(text).expect("an address"))
    }
}

const MAPPED: u128 = 0xffff << 32;

impl Net {
    pub fn any(chance: &mut Chance) -> Self {
        let is_four = chance.below(2) == 0;
        let prefix = if is_four { 97 + below(chance, 32) } else { 1 + below(chance, 128) };
        let bits = any_address(chance, is_four) & mask(prefix);
        let text = match (is_four, chance.below(2)) {
            (true, 0) => format!("{}/{prefix}", mapped_text(bits)),
            (true, _) => format!("{}/{}", four(bits), prefix - 96),
            (false, _) => format!("{}/{prefix}", Ipv6Addr::from_bits(bits)),
        };
        // Of the others, none may be in the mapped range: how those are written is the first two cases' matter.
        if !is_four && bits >> 32 == 0xffff { Self::any(chance) } else { Self { bits, prefix, is_four, text } }
    }

    fn contains(&self, (bits, is_four): (u128, bool)) -> bool {
        self.is_four == is_four && (bits ^ self.bits) & mask(self.prefix) == 0
    }

    pub fn some_address(&self, chance: &mut Chance) -> IpAddr {
        let bits = self.bits | (any_address(chance, self.is_four) & !mask(self.prefix));
        if self.is_four { four(bits).into() } else { Ipv6Addr::from_bits(bits).to_canonical() }
    }

    /// An address in it, or next to it, in any spelling.
    pub fn near(&self, chance: &mut Chance) -> String {
        let inside = self.bits | (any_address(chance, self.is_four) & !mask(self.prefix));
        let flip = if chance.below(2) == 0 { 0 } else { 1_u128 << (128 - self.prefix) };
        let bits = inside ^ flip;
        match (bits >> 32 == 0xffff, chance.below(2)) {
            (true, 0) => mapped_text(bits),
            (true, _) => four(bits).to_string(),
            (false, _) => Ipv6Addr::from_bits(bits).to_string(),
        }
    }
}

fn below(chance: &mut Chance, end: usize) -> u32 {
    u32::try_from(chance.below(end)).expect("small")
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

fn four(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::try_from(bits & u128::from(u32::MAX)).expect("32 bits"))
}

fn mapped_text(bits: u128) -> String {
    format!("::ffff:{}", four(bits))
}

/// Few different ones, so that they meet.
fn any_address(chance: &mut Chance, is_four: bool) -> u128 {
    let word = |chance: &mut Chance| [0, 1, 0x7f, 0x80, 0xff, 0xffff][chance.below(6)];
    let bits = (0..8).fold(0_u128, |bits, _| bits << 16 | word(chance));
    if is_four { MAPPED | bits & u128::from(u32::MAX) } else { bits }
}

impl Plain {
    pub fn key(&self, world: &World) -> VerifiableKey {
        let owner = ServiceUserName::parse(&World::user_name(self.tenant, self.user)).expect("a name");
        let pepper = world.peppers.all().nth(self.pepper);
        let id = pepper.map_or_else(|| PepperId::from_stored("nobody's".to_owned()), |pepper| pepper.id().clone());
        let digested_by = pepper.unwrap_or_else(|| world.peppers.current());
        VerifiableKey {
            name: owner.key(KeyId::from_bytes(self.id)),
            standing: match self.state {
                State::Enabled => Standing::Enabled,
                State::Disabled => Standing::Disabled,
                State::Revoked(at) => Standing::Revoked { time: time(at) },
                State::Expired => Standing::Expired,
            },
            scopes: self.scopes.iter().map(|text| Scope::parse(text).expect("a scope")).collect(),
            attributes: self.attributes(),
            key_group: Some(&self.said[2]).filter(|id| !id.is_empty()).map(|id| KeyGroupId::parse(id).expect("an id")),
            networks: self.networks.iter().map(|net| Network::parse(&net.text).expect("a network")).collect(),
            expire_time: self.expire.map(time),
            delete_time: self.delete.map(time),
            superseded_by: self.superseded_by.map(KeyId::from_bytes),
            digest: digested_by.digest(self.secret.presented()),
            pepper: id,
            is_edited: true,
            revision: self.revision,
        }
    }

    fn attributes(&self) -> Attributes {
        let [role, on_behalf_of, _, integration_type] = &self.said;
        let kind = Some(integration_type).filter(|kind| !kind.is_empty());
        Attributes {
            role: Role::parse(role).expect("a role"),
            on_behalf_of: OnBehalfOf::parse(on_behalf_of).expect("a text"),
            integration_type: kind.map(|kind| IntegrationType::parse(kind).expect("a kind")),
        }
    }

    /// Whether it ended more than 30 days ago.
    pub fn is_forgotten(&self, now: i64) -> bool {
        let revoked = if let State::Revoked(at) = self.state { Some(at) } else { None };
        [self.delete, revoked, self.expire].into_iter().flatten().any(|end| end + 30 * DAY <= now)
    }

    /// The verdict of the contract: `owner_is_disabled` and whether owners are deleted is the caller's knowledge.
    pub fn verdict(&self, asked: &Asked, owner_is_disabled: bool) -> Verdict {
        let tenant = World::tenant_id(self.tenant);
        let of_others = asked.tenants.iter().flatten().any(|asked| *asked != tenant);
        if self.secret != asked.secret || self.delete.is_some() || self.is_forgotten(asked.now) || of_others {
            return Verdict::Unknown;
        }
        if matches!(self.state, State::Revoked(_)) {
            return Verdict::Revoked;
        }
        if self.state == State::Expired || self.expire.is_some_and(|end| end <= asked.now) {
            return Verdict::Expired;
        }
        if owner_is_disabled {
            return Verdict::OwnerDisabled;
        }
        if self.state == State::Disabled {
            return Verdict::Disabled;
        }
        let address = asked.address.as_deref().map(bits_of);
        let inside = address.is_some_and(|address| self.networks.iter().any(|net| net.contains(address)));
        if !self.networks.is_empty() && !inside {
            return Verdict::AddressNotAllowed;
        }
        let granted = |required: &String| self.scopes.iter().any(|scope| grants(scope, required));
        if asked.required.iter().all(granted) { Verdict::Valid } else { Verdict::ScopeMissing }
    }
}

fn bits_of(text: &str) -> (u128, bool) {
    let bits = match text.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(address) => MAPPED | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    (bits, bits >> 32 == 0xffff)
}

/// Segment by segment.
fn grants(granted: &str, required: &str) -> bool {
    let (granted, required): (Vec<_>, Vec<_>) = (granted.split(':').collect(), required.split(':').collect());
    if granted == required {
        return true;
    }
    let (last, stem) = granted.split_last().expect("a segment");
    *last == "*" && required[0] != "claviger" && required.len() > stem.len() && required.starts_with(stem)
}
