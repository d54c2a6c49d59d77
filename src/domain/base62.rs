//! Base 62 with the digits `0-9A-Za-z`, most significant first, of fixed width: each value has exactly one text.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What no digit has among its bits.
const FOREIGN: u8 = 0x80;
/// The value of each byte.
const VALUES: [u8; 256] = values();
/// Digits that fit into 64 bits, where arithmetic is many times cheaper: every Verify reads an id.
const CHUNK: usize = 10;
const CHUNK_VALUES: u128 = 62_u128.pow(10);

const fn values() -> [u8; 256] {
    let mut values = [FOREIGN; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
}

/// Writes `value` in `WIDTH` digits; what doesn't fit is cut at the front, so choose the width for the type
/// (22 for `u128`, 6 for `u32`).
#[must_use]
pub fn encode<const WIDTH: usize>(mut value: u128) -> [u8; WIDTH] {
    let mut text = [b'0'; WIDTH];
    for chunk in text.rchunks_mut(CHUNK) {
        let mut rest = match u64::try_from(value) {
            Ok(small) => small % (CHUNK_VALUES as u64),
            Err(_) => (value % CHUNK_VALUES) as u64,
        };
        value = if value < CHUNK_VALUES { 0 } else { value / CHUNK_VALUES };
        for place in chunk.iter_mut().rev() {
            *place = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
    }
    text
}

/// Reads digits back; `None` for a foreign character or a value beyond 128 bits.
#[must_use]
pub fn decode(text: &[u8]) -> Option<u128> {
    let mut chunks = text.rchunks(CHUNK).rev();
    chunks.try_fold(0_u128, |value, chunk| value.checked_mul(CHUNK_VALUES)?.checked_add(u128::from(number(chunk)?)))
}

/// The digit for a random byte, or `None` when the byte must be drawn again to keep all digits equally likely.
#[must_use]
pub fn sample(byte: u8) -> Option<u8> {
    (byte < 248).then(|| DIGITS[usize::from(byte % 62)])
}

/// Whether every byte is a digit.
#[must_use]
pub fn is_text(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_alphanumeric)
}

/// At most [`CHUNK`] digits.
fn number(chunk: &[u8]) -> Option<u64> {
    // A branch for each random character would be guessed wrong by the processor half of the time.
    let (value, seen) = chunk.iter().fold((0, 0), |(value, seen), &byte| {
        let digit = VALUES[usize::from(byte)];
        (value * 62 + u64::from(digit), seen | digit)
    });
    (seen & FOREIGN == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_one_text() {
        for value in [0, 1, 61, 62, u128::from(u32::MAX), u128::MAX] {
            assert_eq!(decode(&encode::<22>(value)), Some(value));
        }
        assert_eq!(&encode::<6>(62), b"000010");
    }

    #[test]
    fn beyond_128_bits_is_refused() {
        assert_eq!(decode(b"zzzzzzzzzzzzzzzzzzzzzz"), None);
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric()) {
            assert_eq!(decode(&[b'0', byte, b'0']), None, "{byte}");
        }
    }
}
