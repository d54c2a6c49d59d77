//! What the text of a secret looks like: `cvg_<id 22>_<secret 43><check 6>`, 76 characters.
//!
//! The prefix must never change: scanners and customers' filters know it. The check is a CRC-32 of everything before it,
//! which lets a typo be refused without a look-up and is no security.

use std::ops::Range;

use super::base62;

/// What every secret starts with.
pub const PREFIX: &str = "cvg_";
/// Characters, and bytes, of a secret.
pub const CHARACTERS: usize = 76;

pub(super) const ID: Range<usize> = 4..26;
pub(super) const RANDOM: Range<usize> = 27..70;
pub(super) const CHECKED: Range<usize> = 0..70;
pub(super) const CHECK: Range<usize> = 70..76;

/// Whether a secret stands anywhere in `text`, its check characters right or wrong.
#[must_use]
pub fn occurs_in(text: &str) -> bool {
    text.as_bytes().windows(CHARACTERS).any(has_shape)
}

pub(super) fn has_shape(bytes: &[u8]) -> bool {
    bytes.len() == CHARACTERS
        && bytes.starts_with(PREFIX.as_bytes())
        && base62::is_text(&bytes[ID])
        && bytes[ID.end] == b'_'
        && base62::is_text(&bytes[RANDOM.start..])
}

pub(super) fn check_of(bytes: &[u8]) -> [u8; 6] {
    base62::encode(u128::from(crc32fast::hash(bytes)))
}
