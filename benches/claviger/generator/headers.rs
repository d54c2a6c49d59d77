//! Request headers as one byte each, and what a good answer's headers look like (HPACK, RFC 7541).
//!
//! The first request of a connection writes its headers as literals that the server remembers; each later one names them by
//! their place in the server's table, as real gRPC clients do.

const METHOD_POST: u8 = 0x83;
const SCHEME_HTTP: u8 = 0x86;
const STATUS_200: u8 = 0x88;
/// Literals with incremental indexing, their names from the static table or new.
const NEW_NAME: u8 = 0x40;
const AUTHORITY: u8 = 0x41;
const PATH: u8 = 0x44;
const AUTHORIZATION: u8 = 0x57;
const CONTENT_TYPE: u8 = 0x5f;

/// The headers of every request but the first: two of the static table, and five that the first one left, the last of
/// them at place 62.
pub const LATER: [u8; 7] = [METHOD_POST, SCHEME_HTTP, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62];

/// `grpc-status` in Huffman code, as a literal that is remembered; its value follows.
const GRPC_STATUS: [u8; 10] = [0x40, 0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
/// `0`, plain and in Huffman code.
const ZERO: [[u8; 2]; 2] = [[0x01, b'0'], [0x81, 0x07]];

/// The headers of a connection's first request.
pub fn first(path: &str, authority: &str, secret: &str) -> Vec<u8> {
    let mut block = vec![METHOD_POST, SCHEME_HTTP];
    let mut literal = |first: u8, texts: &[&str]| {
        block.push(first);
        for text in texts {
            // All are shorter than 127 bytes, so their length is one byte.
            block.push(u8::try_from(text.len()).unwrap_or(0));
            block.extend(text.as_bytes());
        }
    };
    literal(PATH, &[path]);
    literal(AUTHORITY, &[authority]);
    literal(NEW_NAME, &["te", "trailers"]);
    literal(CONTENT_TYPE, &["application/grpc"]);
    literal(AUTHORIZATION, &[&format!("Bearer {secret}")]);
    block
}

/// Whether an answer begins as HTTP status 200.
pub fn are_ok(block: &[u8]) -> bool {
    block.first() == Some(&STATUS_200)
}

/// Whether trailers say `grpc-status: 0` and nothing else: spelt out, or a reference to where it was spelt out before. Any
/// other status would have had to be spelt out first, and would have been refused then.
pub fn say_ok(block: &[u8]) -> bool {
    if let Some(value) = block.strip_prefix(&GRPC_STATUS) {
        return ZERO.iter().any(|zero| value == zero);
    }
    match block {
        [place] => *place >= 0x80 | 62,
        [0xff, _] => true,
        _ => false,
    }
}
