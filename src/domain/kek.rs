//! KEKs (key-encryption keys): keys outside the database, without which nobody reads a retrievable secret.
//!
//! Each retrievable secret is sealed under a data key of its own, and that data key is wrapped under the current KEK. Both
//! are bound to the purpose, the tenant and the key id, so that what was moved to another key opens for nobody. A new KEK
//! wraps the data keys anew; the sealed secrets stay as they are.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    ids::{KeyId, KeyName, TenantId},
    key_file, limits,
    seal::{NONCE_BYTES, SealingKey},
    secret::Secret,
};

const ID_LABEL: &[u8] = b"claviger.kek-id.v1\0";
const SECRET: &str = "claviger.retrievable-secret.v1";
const DATA_KEY: &str = "claviger.data-key.v1";

/// Names a KEK without telling anything about it: 16 hexadecimal characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(String);

/// The KEK for new keys and those that older data keys may still be wrapped under.
#[derive(Clone)]
pub struct Keks {
    current: Kek,
    retired: Vec<Kek>,
}

#[derive(Clone)]
struct Kek {
    id: KekId,
    key: SealingKey,
}

/// A data key, wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The KEK it is wrapped under.
    pub kek: KekId,
    /// The 32 bytes, sealed under that.
    pub bytes: Vec<u8>,
}

/// A secret, sealed under a data key of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// The data key.
    pub data_key: WrappedKey,
    /// The text, sealed under that.
    pub bytes: Vec<u8>,
}

/// What sealing one secret takes of chance.
pub struct SealingChance {
    /// The data key.
    pub data_key: Zeroizing<[u8; 32]>,
    /// For wrapping the data key.
    pub key_nonce: [u8; NONCE_BYTES],
    /// For sealing the secret.
    pub secret_nonce: [u8; NONCE_BYTES],
}

/// Why something can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is wrapped under a KEK that isn't among these.
    #[error("it is wrapped under the KEK {}, which isn't here", .0.as_str())]
    KekMissing(KekId),
    /// It isn't what was sealed for this key.
    #[error("it isn't what was sealed for this key")]
    Damaged,
}

impl KekId {
    /// Takes an id as it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Kek {
    fn new(bytes: &[u8; 32]) -> Self {
        Self { id: KekId(key_file::id_of(ID_LABEL, bytes)), key: SealingKey::new(bytes) }
    }

    fn wrap(&self, bound_to: &[u8], data_key: &[u8], nonce: [u8; NONCE_BYTES]) -> Option<WrappedKey> {
        Some(WrappedKey { kek: self.id.clone(), bytes: self.key.seal(nonce, bound_to, data_key)? })
    }
}

impl Keks {
    /// Reads a KEK file: one KEK a line, each 64 hexadecimal characters; the first is current, the others retired. Empty
    /// lines and lines that start with `#` don't count.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (current, retired) = key_file::parse(text, "KEK", limits::RETIRED_KEKS)?;
        Ok(Self { current: Kek::new(&current), retired: retired.iter().map(|bytes| Kek::new(bytes)).collect() })
    }

    /// The id of the one for new keys.
    #[must_use]
    pub fn current(&self) -> &KekId {
        &self.current.id
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(&self, id: &KekId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: &KekId) -> Option<&Kek> {
        std::iter::once(&self.current).chain(&self.retired).find(|kek| kek.id == *id)
    }

    /// Seals the secret of this key, under the current KEK. `chance` must be used once. `None` is a defect.
    #[must_use]
    pub fn seal(&self, name: &KeyName, secret: &Secret, chance: &SealingChance) -> Option<SealedSecret> {
        let (tenant, id) = (&name.owner.tenant, name.id);
        let data_key = self.current.wrap(&bound_to(DATA_KEY, tenant, id), &chance.data_key[..], chance.key_nonce)?;
        let sealing = SealingKey::new(&chance.data_key);
        let bytes = sealing.seal(chance.secret_nonce, &bound_to(SECRET, tenant, id), secret.reveal().as_bytes())?;
        Some(SealedSecret { data_key, bytes })
    }

    /// Opens the secret of this key.
    pub fn open(&self, name: &KeyName, sealed: &SealedSecret) -> Result<Secret, Unopened> {
        let (tenant, id) = (&name.owner.tenant, name.id);
        let data_key = self.unwrap(tenant, id, &sealed.data_key)?;
        let sealing = SealingKey::new(data_key.as_slice().try_into().map_err(|_| Unopened::Damaged)?);
        let text = sealing.open(&bound_to(SECRET, tenant, id), &sealed.bytes).ok_or(Unopened::Damaged)?;
        let secret = std::str::from_utf8(&text).ok().and_then(Secret::parse);
        secret.filter(|secret| secret.key_id() == id).ok_or(Unopened::Damaged)
    }

    /// Wraps the data key of this key's secret anew, under the current KEK. `nonce` must be random, and used once.
    pub fn rewrap(
        &self,
        tenant: &TenantId,
        id: KeyId,
        wrapped: &WrappedKey,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<WrappedKey, Unopened> {
        let data_key = self.unwrap(tenant, id, wrapped)?;
        self.current.wrap(&bound_to(DATA_KEY, tenant, id), &data_key, nonce).ok_or(Unopened::Damaged)
    }

    fn unwrap(&self, tenant: &TenantId, id: KeyId, wrapped: &WrappedKey) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let kek = self.find(&wrapped.kek).ok_or_else(|| Unopened::KekMissing(wrapped.kek.clone()))?;
        kek.key.open(&bound_to(DATA_KEY, tenant, id), &wrapped.bytes).ok_or(Unopened::Damaged)
    }
}

/// No part holds a line feed, so their concatenation is unambiguous.
fn bound_to(purpose: &str, tenant: &TenantId, id: KeyId) -> Vec<u8> {
    format!("{purpose}\n{tenant}\n{id}").into_bytes()
}

impl fmt::Debug for Keks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keks({}, {} retired)", self.current.id.0, self.retired.len())
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({})", self.kek.0)
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({})", self.data_key.kek.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keks(bytes: &[u8]) -> Keks {
        let lines: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}").repeat(32)).collect();
        Keks::parse(&lines.join("\n")).expect("KEKs")
    }

    fn name(tenant: &str, id: u8) -> KeyName {
        let id = KeyId::from_random([id; 16]);
        KeyName::parse(&format!("tenants/{tenant}/serviceUsers/billing/keys/{id}")).expect("a name")
    }

    fn secret(name: &KeyName) -> Secret {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok::<(), ()>(())
        };
        Secret::generate(name.id, fill).expect("the source never fails")
    }

    fn chance(seed: u8) -> SealingChance {
        SealingChance {
            data_key: Zeroizing::new([seed; 32]),
            key_nonce: [seed + 1; NONCE_BYTES],
            secret_nonce: [seed + 2; NONCE_BYTES],
        }
    }

    #[test]
    fn a_secret_opens_for_its_own_key_and_under_its_own_kek_alone() {
        let own = name("acme", 1);
        let sealed = keks(&[1]).seal(&own, &secret(&own), &chance(9)).expect("sealed");
        assert_eq!(keks(&[1]).open(&own, &sealed), Ok(secret(&own)));
        assert_eq!(keks(&[2, 1]).open(&own, &sealed), Ok(secret(&own)), "a retired one opens");
        assert_eq!(keks(&[2]).open(&own, &sealed), Err(Unopened::KekMissing(keks(&[1]).current().clone())));
        for other in [name("acme", 2), name("bolt", 1)] {
            assert_eq!(keks(&[1]).open(&other, &sealed), Err(Unopened::Damaged), "{other}");
        }
    }

    #[test]
    fn nothing_can_be_changed_cut_or_exchanged() {
        let (own, other) = (name("acme", 1), name("acme", 2));
        let sealed = keks(&[1]).seal(&own, &secret(&own), &chance(9)).expect("sealed");
        let others = keks(&[1]).seal(&other, &secret(&other), &chance(19)).expect("sealed");
        let mut wrong = vec![
            SealedSecret { bytes: others.bytes.clone(), ..sealed.clone() },
            SealedSecret { data_key: others.data_key.clone(), ..sealed.clone() },
            others,
            SealedSecret { bytes: Vec::new(), ..sealed.clone() },
        ];
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            wrong.push(changed);
        }
        for at in 0..sealed.data_key.bytes.len() {
            let mut changed = sealed.clone();
            changed.data_key.bytes[at] ^= 1;
            wrong.push(changed);
        }
        for sealed in wrong {
            assert_eq!(keks(&[1]).open(&own, &sealed), Err(Unopened::Damaged));
        }
    }

    #[test]
    fn a_new_kek_wraps_the_data_key_anew_and_the_old_one_is_needed_no_more() {
        let own = name("acme", 1);
        let before = keks(&[1]).seal(&own, &secret(&own), &chance(9)).expect("sealed");
        let both = keks(&[2, 1]);
        let rewrap = |keks: &Keks, id| keks.rewrap(&own.owner.tenant, id, &before.data_key, [3; NONCE_BYTES]);
        let after = SealedSecret { data_key: rewrap(&both, own.id).expect("wrapped"), ..before.clone() };
        assert_eq!(after.data_key.kek, *both.current());
        assert_eq!(keks(&[2]).open(&own, &after), Ok(secret(&own)));
        assert_eq!(rewrap(&both, name("acme", 2).id), Err(Unopened::Damaged));
        assert!(matches!(rewrap(&keks(&[2]), own.id), Err(Unopened::KekMissing(_))));
    }

    #[test]
    fn a_bad_file_is_refused_and_nothing_of_it_is_told() {
        let good = "0f".repeat(32);
        for (text, why) in [
            (String::new(), "holds no KEK"),
            ("# only a comment\n\n".to_owned(), "holds no KEK"),
            (good[1..].to_owned(), "not 64 hexadecimal characters"),
            (format!("{good}0"), "not 64 hexadecimal characters"),
            (format!("{good}\n{}g", &good[1..]), "not 64 hexadecimal characters"),
            (format!("{good}\n").repeat(limits::RETIRED_KEKS + 2), "holds 17 KEKs; at most 16"),
        ] {
            let told = Keks::parse(&text).expect_err(why);
            assert!(told.contains(why) && !told.contains("0f0f"), "{told}");
        }
        let keks = Keks::parse(&format!("# made today\n{good}\n\n{}\n", "1e".repeat(32))).expect("two");
        assert_eq!(format!("{keks:?}"), format!("Keks({}, 1 retired)", keks.current().as_str()));
        assert!(!format!("{keks:?}").contains("0f0f"));
    }
}
