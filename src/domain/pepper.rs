//! Peppers: keys outside the database that turn secrets into digests.
//!
//! A digest is HMAC-SHA-256(pepper, label ‖ SHA-256(text)). Whoever can write to the database but hasn't the pepper can't
//! plant a key (reliability.md 4.1). Other uses of a pepper take a key derived from it under their own label.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{key_file, limits, secret::PresentedSecret};

const SECRET_LABEL: &[u8] = b"claviger.secret.v1\0";
const CHECK_LABEL: &[u8] = b"claviger.pepper-check.v1\0";
const ID_LABEL: &[u8] = b"claviger.pepper-id.v1\0";

/// What the database stores of a secret.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

/// Names a pepper without telling anything about it: 16 hexadecimal characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PepperId(String);

/// One pepper: 32 random bytes, ready to digest.
#[derive(Clone)]
pub struct Pepper {
    id: PepperId,
    mac: Hmac<Sha256>,
}

/// The pepper for new keys and those that older keys may still be stored under.
#[derive(Clone)]
pub struct Peppers {
    current: Pepper,
    retired: Vec<Pepper>,
}

impl SecretDigest {
    /// Takes 32 stored bytes; `None` for any other length.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

impl PepperId {
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

impl Pepper {
    /// Takes the 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let id = key_file::id_of(ID_LABEL, bytes);
        // HMAC pads a short key with zeros to the block size (RFC 2104); padding it here leaves no length to refuse.
        let mut block = Zeroizing::new([0_u8; 64]);
        block[..32].copy_from_slice(bytes);
        Self { id: PepperId(id), mac: Hmac::new((&*block).into()) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &PepperId {
        &self.id
    }

    /// What is stored of a secret.
    #[must_use]
    pub fn digest(&self, secret: PresentedSecret<'_>) -> SecretDigest {
        SecretDigest(self.mac(SECRET_LABEL, &Sha256::digest(secret.reveal())))
    }

    /// What is stored of the pepper itself, to notice another one of the same id.
    #[must_use]
    pub fn check_value(&self) -> [u8; 32] {
        self.mac(CHECK_LABEL, &[])
    }

    /// A key for another purpose. `label` must be unique to it.
    #[must_use]
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.mac(label.as_bytes(), &[0]))
    }

    fn mac(&self, label: &[u8], message: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(label);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", self.id.0)
    }
}

impl Peppers {
    /// Only a current one.
    #[must_use]
    pub fn single(current: Pepper) -> Self {
        Self { current, retired: Vec::new() }
    }

    /// Reads a pepper file: one pepper a line, each 64 hexadecimal characters; the first is current, the others retired.
    /// Empty lines and lines that start with `#` don't count.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (current, retired) = key_file::parse(text, "pepper", limits::RETIRED_PEPPERS)?;
        let (current, retired) = (Pepper::new(&current), retired.iter().map(|bytes| Pepper::new(bytes)).collect());
        Ok(Self { current, retired })
    }

    /// The one for new keys.
    #[must_use]
    pub fn current(&self) -> &Pepper {
        &self.current
    }

    /// All of them, the current one first.
    pub fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.retired)
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: &PepperId) -> Option<&Pepper> {
        self.all().find(|pepper| pepper.id == *id)
    }

    /// The place of the one of this id, for [`at`](Self::at).
    #[must_use]
    pub fn place_of(&self, id: &PepperId) -> Option<u8> {
        self.all().position(|pepper| pepper.id == *id).and_then(|place| u8::try_from(place).ok())
    }

    /// The one at a place: 0 is the current one.
    #[must_use]
    pub fn at(&self, place: u8) -> Option<&Pepper> {
        match place.checked_sub(1) {
            None => Some(&self.current),
            Some(retired) => self.retired.get(usize::from(retired)),
        }
    }
}
