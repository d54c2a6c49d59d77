//! Base 62 with the digits `0-9A-Za-z`, most significant first, of fixed width: each value has exactly one text.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits that fit into 64 bits, where arithmetic is many times cheaper: every Verify reads an id.
const CHUNK: usize = 10;
const CHUNK_VALUES: u128 = 62_u128.pow(10);

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
    chunks.try_fold(0_u128, |value, chunk| {
        let part = chunk.iter().try_fold(0, |part, &byte| Some(part * 62 + digit(byte)?))?;
        value.checked_mul(CHUNK_VALUES)?.checked_add(u128::from(part))
    })
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

fn digit(byte: u8) -> Option<u64> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'a'..=b'z' => byte - b'a' + 36,
        _ => return None,
    };
    Some(u64::from(value))
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
        assert_eq!(decode(b"00000-"), None);
    }
}
