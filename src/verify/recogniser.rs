//! Recognises a secret that has opened its key before, so that it need not be digested again.
//!
//! A digest is four rounds of SHA-256; a service that calls all the time presents the same secret each time. So a record
//! keeps a fingerprint of the secret whose digest matched: SipHash-2-4 with 128 bits under a key that this process drew and
//! never shows. Who doesn't have the key can find a text with a given fingerprint only by guessing, 2^128 to one, and the
//! plaintext isn't kept. A secret that isn't recognised costs the same whether its id is known or not: fingerprint and
//! digest.

use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Makes fingerprints. One for a process.
pub struct Recogniser(SipHasher24);

/// What is kept of a secret in memory, and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub(super) [u64; 2]);

impl Recogniser {
    /// `key`: random.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The fingerprint of a text.
    #[must_use]
    pub fn fingerprint(&self, text: &str) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        Fingerprint([hash.h1, hash.h2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_and_the_key_of_the_process_count() {
        let (one, other) = (Recogniser::new(&[1; 16]), Recogniser::new(&[2; 16]));
        let text = "a".repeat(76);
        assert!(one.fingerprint(&text) == one.fingerprint(&text));
        assert!(one.fingerprint(&text) != other.fingerprint(&text));
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = b'b';
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(one.fingerprint(&text) != one.fingerprint(&changed), "{position}");
        }
    }
}
