//! A mirror and, beside it, the plain values that went into it.

use std::collections::HashMap;
use std::sync::Arc;

use claviger::domain::{
    ids::{KeyId, ServiceUserName, TenantId},
    owner::{OwnerState, ServiceUser, VerifiableTenant},
    pepper::Peppers,
    secret::Secret,
    text::{Description, DisplayName},
};
use claviger::verify::{mirror::Mirror, verdict::Verdict};

use super::plain::{Asked, DAY, Net, Plain, State, time};
use crate::rig::Chance;

const TENANTS: usize = 4;
const USERS: usize = 4;
const PEPPERS: usize = 3;
/// What is known of an owner; the plain counterpart of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Missing,
    Unreadable,
    Enabled,
    Disabled,
    Deleted,
}

#[derive(Debug, Clone)]
enum Known {
    Key(Box<Plain>),
    Unreadable(i64),
}

pub struct World {
    pub chance: Chance,
    pub mirror: Mirror,
    pub peppers: Arc<Peppers>,
    now: i64,
    revision: i64,
    tenants: [Owner; TENANTS],
    users: [[Owner; USERS]; TENANTS],
    keys: HashMap<[u8; 16], Known>,
    /// Of each key that was ever known.
    secrets: Vec<Secret>,
    /// So many keys at most, so that most are changed again.
    most: usize,
}

impl World {
    pub fn new(seed: u64, most: usize) -> Self {
        let mut chance = Chance::of(seed);
        let mut line = || (0..64).map(|_| char::from(b"0123456789abcdef"[chance.below(16)])).collect::<String>();
        let text: Vec<String> = (0..PEPPERS).map(|_| line()).collect();
        let peppers = Arc::new(Peppers::parse(&text.join("\n")).expect("peppers"));
        let (tenants, users) = ([Owner::Missing; TENANTS], [[Owner::Missing; USERS]; TENANTS]);
        let mirror = Mirror::new(Arc::clone(&peppers));
        let (now, revision, keys, secrets) = (0, 1_000, HashMap::new(), Vec::new());
        let mut world = Self { chance, mirror, peppers, now, revision, tenants, users, keys, secrets, most };
        for tenant in 0..TENANTS {
            world.put_tenant(tenant, Owner::Enabled);
            for user in 0..USERS - 1 {
                world.put_user(tenant, user, Owner::Enabled);
            }
        }
        world
    }

    pub fn tenant_id(tenant: usize) -> String {
        format!("t-{tenant}")
    }

    pub fn user_name(tenant: usize, user: usize) -> String {
        format!("tenants/t-{tenant}/serviceUsers/u-{user}")
    }

    /// Some time passes, and something happens.
    pub fn change(&mut self) {
        // Less than 60 days in all: then deleted owners are forgotten, and don't come back as here.
        self.now += [0, 0, 0, 1, 999_999, DAY / 24][self.chance.below(6)];
        self.change_now();
    }

    /// Something happens; answers whether an earlier VALID is said to be wrong now.
    pub fn change_now(&mut self) -> bool {
        match self.chance.below(40) {
            0 => self.change_owner(),
            1 => self.spoil(),
            2 => {
                self.forget();
                false
            }
            _ => self.put_key(),
        }
    }

    fn put_key(&mut self) -> bool {
        let mut plain = self.any_key();
        if self.secrets.len() >= self.most {
            // Another revision of a known one: its owner stays, its secret too unless it is rehashed.
            let secret = self.secrets[self.chance.below(self.most)].clone();
            plain.id = secret.key_id().to_bytes();
            if let Some(Known::Key(old)) = self.keys.get(&plain.id) {
                (plain.tenant, plain.user) = (old.tenant, old.user);
            }
            plain.secret = secret;
        } else {
            self.secrets.push(plain.secret.clone());
        }
        let stale = self.chance.below(8) == 0;
        plain.revision = if stale { self.revision - 40 } else { self.next_revision() };
        let known = match self.keys.get(&plain.id) {
            Some(Known::Key(old)) => old.revision,
            Some(Known::Unreadable(revision)) => *revision,
            None => 0,
        };
        let told = self.mirror.put_key(&plain.key(self)).is_some();
        if plain.revision > known {
            let (id, revision) = (plain.id, plain.revision);
            let known = if plain.pepper < PEPPERS { Known::Key(Box::new(plain)) } else { Known::Unreadable(revision) };
            self.keys.insert(id, known);
        } else {
            assert!(!told, "a row that isn't newer changes nothing");
        }
        told
    }

    fn spoil(&mut self) -> bool {
        let Some(secret) = self.any_secret() else { return false };
        let revision = self.next_revision();
        self.keys.insert(secret.key_id().to_bytes(), Known::Unreadable(revision));
        self.mirror.spoil_key(secret.key_id(), revision).is_some()
    }

    fn forget(&mut self) {
        self.mirror.forget(time(self.now));
        let now = self.now;
        self.keys.retain(|_, known| !matches!(known, Known::Key(key) if key.is_forgotten(now)));
    }

    fn change_owner(&mut self) -> bool {
        // Rarely something else than enabled, and not for long.
        let owner =
            [Owner::Enabled, Owner::Enabled, Owner::Disabled, Owner::Deleted, Owner::Unreadable][self.chance.below(5)];
        let (tenant, user) = (self.chance.below(TENANTS), self.chance.below(USERS));
        if self.chance.below(2) == 0 { self.put_tenant(tenant, owner) } else { self.put_user(tenant, user, owner) }
    }

    fn put_tenant(&mut self, tenant: usize, owner: Owner) -> bool {
        self.tenants[tenant] = owner;
        let (id, revision) = (TenantId::parse(&Self::tenant_id(tenant)).expect("an id"), self.next_revision());
        let Some((state, deleted)) = row(owner) else { return self.mirror.spoil_tenant(&id, revision).is_some() };
        let row = VerifiableTenant { id, state, delete_time: deleted.then(|| time(self.now)), revision };
        self.mirror.put_tenant(&row).is_some()
    }

    fn put_user(&mut self, tenant: usize, user: usize, owner: Owner) -> bool {
        self.users[tenant][user] = owner;
        let name = ServiceUserName::parse(&Self::user_name(tenant, user)).expect("a name");
        let revision = self.next_revision();
        let Some((state, deleted)) = row(owner) else {
            return self.mirror.spoil_service_user(&name, revision).is_some();
        };
        let (called, about) = (DisplayName::parse("a user").expect("a name"), Description::parse("").expect("nothing"));
        let mut row = ServiceUser::create(name, called, about, time(self.now));
        (row.state, row.revision) = (state, revision);
        row.delete_time = deleted.then(|| time(self.now));
        self.mirror.put_service_user(&row).is_some()
    }

    fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }

    fn any_secret(&mut self) -> Option<Secret> {
        let count = self.secrets.len();
        (count > 0).then(|| self.secrets[self.chance.below(count)].clone())
    }

    fn secret_of(&mut self, id: KeyId) -> Secret {
        let chance = &mut self.chance;
        let fill = |bytes: &mut [u8]| {
            bytes.iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).expect("a byte"));
            Ok::<(), ()>(())
        };
        Secret::generate(id, fill).expect("a secret")
    }

    /// A key that is stored under a pepper of ours.
    pub fn readable_key(&mut self) -> Plain {
        let pepper = self.chance.below(PEPPERS);
        Plain { pepper, ..self.any_key() }
    }

    /// A key nobody knows yet: alive in most respects, so that every respect gets its turn.
    pub fn any_key(&mut self) -> Plain {
        let id = KeyId::from_random(self.bytes());
        let (secret, now) = (self.secret_of(id), self.now);
        let successor = self.bytes();
        let chance = &mut self.chance;
        let seldom = |chance: &mut Chance| chance.below(6) == 0;
        let state = match chance.below(14) {
            0 => State::Revoked(near(chance, now)),
            1 => State::Expired,
            2 => State::Disabled,
            _ => State::Enabled,
        };
        let scopes = if seldom(chance) { chance.below(101) } else { chance.below(5) };
        let said = match chance.below(4) {
            0 => ["Admin.v2", &"o".repeat(chance.below(200)), "", &"k".repeat(64)].map(str::to_owned),
            1 => ["member", "Jürgen Müller", "", ""].map(str::to_owned),
            2 => ["member", "", "partners", ""].map(str::to_owned),
            _ => ["member", "", "", ""].map(str::to_owned),
        };
        let networks = if seldom(chance) { chance.below(65) } else { chance.below(2) };
        Plain {
            tenant: chance.below(TENANTS),
            user: chance.below(USERS),
            id: id.to_bytes(),
            state,
            scopes: (0..scopes).map(|_| granted(chance)).collect(),
            said,
            networks: (0..networks).map(|_| Net::any(chance)).collect(),
            expire: (chance.below(3) == 0).then(|| near(chance, now)),
            delete: (chance.below(12) == 0).then(|| near(chance, now)),
            superseded_by: (chance.below(3) == 0).then_some(successor),
            pepper: if chance.below(20) == 0 { PEPPERS } else { chance.below(PEPPERS) },
            secret,
            revision: 1,
        }
    }

    fn bytes(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| u8::try_from(self.chance.below(256)).expect("a byte"))
    }

    pub fn question(&mut self) -> Asked {
        let known = self.any_secret();
        let known = known.unwrap_or_else(|| self.secret_of(KeyId::from_random([1; 16])));
        let key = match self.keys.get(&known.key_id().to_bytes()) {
            Some(Known::Key(key)) => Some(Plain::clone(key)),
            Some(Known::Unreadable(_)) | None => None,
        };
        let secret = match self.chance.below(20) {
            0 => self.secret_of(known.key_id()),
            1 => self.secret_of(KeyId::from_random([2; 16])),
            _ => known,
        };
        let chance = &mut self.chance;
        let networks = key.as_ref().map_or(&[][..], |key| &key.networks);
        let address = match chance.below(8) {
            0 => None,
            1 => Some(Net::any(chance).near(chance)),
            _ if networks.is_empty() => Some("192.0.2.1".to_owned()),
            _ => Some(networks[chance.below(networks.len())].near(chance)),
        };
        let required = (0..chance.below(3)).map(|_| required(chance, key.as_ref())).collect();
        let own = key.map_or(0, |key| key.tenant);
        let mut tenant = || match chance.below(12) {
            0 => Some(Self::tenant_id(chance.below(TENANTS))),
            1..=3 => Some(Self::tenant_id(own)),
            _ => None,
        };
        Asked { secret, required, address, tenants: [tenant(), tenant()], now: self.now }
    }

    /// The naive verdict; `None` = it can't be verified.
    pub fn verdict(&self, asked: &Asked) -> Option<Verdict> {
        let key = match self.keys.get(&asked.secret.key_id().to_bytes()) {
            None => return Some(Verdict::Unknown),
            Some(Known::Unreadable(_)) => return None,
            Some(Known::Key(key)) => key,
        };
        let owners = [self.tenants[key.tenant], self.users[key.tenant][key.user]];
        if owners.contains(&Owner::Missing) {
            return Some(Verdict::Unknown);
        }
        if owners.contains(&Owner::Unreadable) {
            return None;
        }
        let gone = owners.contains(&Owner::Deleted);
        Some(if gone { Verdict::Unknown } else { key.verdict(asked, owners.contains(&Owner::Disabled)) })
    }

    pub fn key_of(&self, asked: &Asked) -> impl std::fmt::Debug {
        self.keys.get(&asked.secret.key_id().to_bytes())
    }

    /// The same plain values, but for ends.
    pub fn with_every_key_alive(&self, chance: &mut Chance) -> Self {
        let mut world = Self::new(0, self.most);
        (world.now, world.tenants, world.users) = (self.now, self.tenants, self.users);
        world.keys = self.keys.clone();
        for known in world.keys.values_mut() {
            if let Known::Key(key) = known {
                (key.state, key.expire, key.delete) = (State::Enabled, None, None);
                key.networks.truncate(chance.below(2));
            }
        }
        world
    }
}

fn row(owner: Owner) -> Option<(OwnerState, bool)> {
    match owner {
        Owner::Missing | Owner::Unreadable => None,
        Owner::Enabled => Some((OwnerState::Enabled, false)),
        Owner::Disabled => Some((OwnerState::Disabled, false)),
        Owner::Deleted => Some((OwnerState::Enabled, true)),
    }
}

/// Around `now`, and around what is forgotten by then.
fn near(chance: &mut Chance, now: i64) -> i64 {
    let about = [0, 0, DAY, -DAY, -30 * DAY, 40 * DAY][chance.below(6)];
    now + about + [-1, 0, 1, 2_000_000][chance.below(4)]
}

const SEGMENTS: [&str; 4] = ["a", "b", "pay", "paid"];
const RIGHTS: [&str; 3] = ["claviger:verify", "claviger:keys.read", "claviger:tenant.admin"];

fn plain_scope(chance: &mut Chance, longest: usize) -> String {
    let segments = 1 + chance.below(longest);
    (0..segments).map(|_| SEGMENTS[chance.below(SEGMENTS.len())]).collect::<Vec<_>>().join(":")
}

fn granted(chance: &mut Chance) -> String {
    match chance.below(8) {
        0 => "*".to_owned(),
        1 => RIGHTS[chance.below(RIGHTS.len())].to_owned(),
        2 | 3 => format!("{}:*", plain_scope(chance, 3)),
        _ => plain_scope(chance, 4),
    }
}

/// Something that the key may grant, or anything.
fn required(chance: &mut Chance, key: Option<&Plain>) -> String {
    let own = key.filter(|key| !key.scopes.is_empty() && chance.below(4) > 0);
    let Some(key) = own else {
        return if chance.below(6) == 0 { RIGHTS[0].to_owned() } else { plain_scope(chance, 4) };
    };
    let scope = &key.scopes[chance.below(key.scopes.len())];
    match scope.strip_suffix('*') {
        Some(stem) => format!("{stem}{}", plain_scope(chance, 2)),
        None if chance.below(6) == 0 => format!("{scope}:a"),
        None => scope.clone(),
    }
}
