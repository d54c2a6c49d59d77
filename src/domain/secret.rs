//! The secret: what is presented, and shown once. Its 43 random base62 characters are drawn one by one (256.03 bits) and
//! never decoded, so a secret has one spelling.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    base62,
    ids::KeyId,
    secret_text::{CHARACTERS, CHECK, CHECKED, ID, PREFIX, RANDOM, check_of, has_shape},
};

/// A secret in the clear. Wiped when dropped; it can be shown only on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: Zeroizing<String>,
    id: KeyId,
}

/// A secret that somebody presents: well-formed, perhaps nobody's. Borrows the text, so that judging it copies nothing.
#[derive(Clone, Copy)]
pub struct PresentedSecret<'a> {
    text: &'a str,
    id: KeyId,
}

/// The id in a text that may be a secret; `None` when it certainly is none. What it doesn't look at may still be wrong.
#[must_use]
pub fn id_in(text: &[u8]) -> Option<KeyId> {
    if text.len() != CHARACTERS || !text.starts_with(PREFIX.as_bytes()) { None } else { KeyId::read(&text[ID]) }
}

/// How the id ends in a text that may be a secret: some of its random digits, which tell one key from nearly every other
/// without reading them.
#[must_use]
pub fn id_end_in(text: &[u8]) -> Option<[u8; 8]> {
    text.get(ID)?.last_chunk().copied()
}

/// The text of the id in a text that opened a key.
#[must_use]
pub fn id_text_in(text: &str) -> &str {
    text.get(ID).unwrap_or_default()
}

impl<'a> PresentedSecret<'a> {
    /// Reads a presented text exactly as it is; `None` when it cannot be a secret.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let well_formed = has_shape(bytes) && bytes[CHECK] == check_of(&bytes[CHECKED]);
        let id = well_formed.then(|| KeyId::parse(&text[ID])).flatten()?;
        Some(Self { text, id })
    }

    /// The key it belongs to, if it is genuine.
    #[must_use]
    pub fn key_id(self) -> KeyId {
        self.id
    }

    /// The whole text, for digesting.
    pub(super) fn reveal(self) -> &'a str {
        self.text
    }
}

impl fmt::Debug for PresentedSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id.hint())
    }
}

impl Secret {
    /// Makes the secret of key `id`. `fill` gives random bytes and may fail.
    pub fn generate<E>(id: KeyId, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut text = Zeroizing::new(format!("{PREFIX}{id}_"));
        let mut drawn = Zeroizing::new([0_u8; 64]);
        while text.len() < RANDOM.end {
            fill(&mut drawn[..])?;
            let wanted = RANDOM.end - text.len();
            text.extend(drawn.iter().filter_map(|&byte| base62::sample(byte)).take(wanted).map(char::from));
        }
        let check = check_of(&text.as_bytes()[CHECKED]);
        text.extend(check.map(char::from));
        Ok(Self { text, id })
    }

    /// Reads a text exactly as it is; `None` when it cannot be a secret.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let presented = PresentedSecret::parse(text)?;
        Some(Self { text: Zeroizing::new(text.to_owned()), id: presented.id })
    }

    /// This secret as somebody would present it.
    #[must_use]
    pub fn presented(&self) -> PresentedSecret<'_> {
        PresentedSecret { text: &self.text, id: self.id }
    }

    /// The key it belongs to, if it is genuine.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// What follows the second underscore: as secret as the whole, and no credential by itself.
    #[must_use]
    pub fn random_part(&self) -> &str {
        &self.text[RANDOM.start..]
    }

    /// The whole text. For the answer to Create, Rotate and Reveal, for digesting and for sealing; for nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id.hint())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::secret_text::{CHARACTERS, occurs_in};
    use super::*;

    fn secret(seed: u8) -> Secret {
        let mut next = seed;
        Secret::generate(KeyId::from_random([seed; 16]), |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(77).wrapping_add(41);
                *byte = next;
            }
            Ok::<(), ()>(())
        })
        .expect("the source never fails")
    }

    /// The format is a promise to scanners: this text must parse for ever.
    #[test]
    fn the_format_is_fixed() {
        let made = secret(3);
        assert_eq!(made.reveal().len(), CHARACTERS);
        let of_first_release = "cvg_5ynjmQrviFtW6ISI9hzyrF_0jtZRNFmMxSogUPZk2f8t9pLJ6pidyIxidlPVs6jQAi4TyCLc";
        let parsed = Secret::parse(of_first_release).expect("a secret of the first release");
        assert_eq!(parsed.key_id().to_string(), "5ynjmQrviFtW6ISI9hzyrF");
        assert_eq!(Secret::parse(made.reveal()), Some(made.clone()));
        assert!(occurs_in(&format!("see {} here", made.reveal())));
        assert!(!format!("{made:?}").contains(&made.reveal()[27..]));
    }

    #[test]
    fn a_failing_source_makes_no_secret() {
        assert_eq!(Secret::generate(KeyId::from_random([1; 16]), |_| Err("no entropy")).err(), Some("no entropy"));
    }

    proptest! {
        #[test]
        fn any_changed_character_is_refused(seed: u8, position in 0..CHARACTERS, byte in 0x20_u8..0x7f) {
            let made = secret(seed);
            let mut bytes = made.reveal().as_bytes().to_vec();
            prop_assume!(bytes[position] != byte);
            bytes[position] = byte;
            prop_assert_eq!(Secret::parse(std::str::from_utf8(&bytes).expect("ASCII")), None);
        }

        #[test]
        fn no_text_panics(text in ".{0,90}") {
            let _ = Secret::parse(&text);
            prop_assert!(!occurs_in(&text) || text.len() >= CHARACTERS);
        }
    }
}
