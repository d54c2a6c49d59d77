//! Answers that are written byte for byte as prost would: making the texts of its messages costs as much as a look-up.

use prost::encoding::{self, WireType, encode_key, encode_varint};
use prost::length_delimiter_len;

/// A number; zero is what isn't written.
pub fn number(field: u32, value: i64, bytes: &mut Vec<u8>) {
    if value != 0 {
        encoding::int64::encode(field, &value, bytes);
    }
}

/// A text in pieces, or a message that is written already.
pub fn text<T: AsRef<[u8]>>(field: u32, pieces: &[T], bytes: &mut Vec<u8>) {
    opened(field, pieces.iter().map(|piece| piece.as_ref().len()).sum(), bytes);
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece.as_ref()));
}

/// The beginning of a text or message of this length.
pub fn opened(field: u32, length: usize, bytes: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(length as u64, bytes);
}

/// Bytes of a text or message of this length, with its field's number, which must be below 16.
pub fn delimited(length: usize) -> usize {
    1 + length_delimiter_len(length) + length
}
