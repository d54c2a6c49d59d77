//! Files that hold keys of the service itself: peppers, and the KEKs that wrap what retrievable secrets are sealed under.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The 32 bytes of one line.
pub(super) type KeyBytes = Zeroizing<[u8; 32]>;

/// Reads a file of one key a line, each 64 hexadecimal characters: the current one, and the retired ones, at most
/// `retired`. Empty lines and lines that start with `#` don't count. `kind`: what the keys are, as `pepper`.
pub(super) fn parse(text: &str, kind: &str, retired: usize) -> Result<(KeyBytes, Vec<KeyBytes>), String> {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys = lines.map(parse_line).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(format!("holds no {kind}; one line of 64 hexadecimal characters is needed"));
    }
    if keys.len() > retired + 1 {
        return Err(format!("holds {} {kind}s; at most {} are allowed", keys.len(), retired + 1));
    }
    let current = keys.remove(0);
    Ok((current, keys))
}

/// Names a key without telling anything about it: 16 hexadecimal characters. `label` must be unique to its kind.
pub(super) fn id_of(label: &[u8], key: &[u8; 32]) -> String {
    let hash = Sha256::new().chain_update(label).chain_update(key).finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_line(line: &str) -> Result<KeyBytes, String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    let wrong = || "holds a line that is not 64 hexadecimal characters".to_owned();
    if line.len() != 64 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, index) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&line[index..index + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}
