//! Files that somebody else wrote, read up to a bound: what is longer is another file than was meant.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

/// The bytes of a file, forgotten when they are dropped: it may hold a secret. What is wrong names the file, and nothing of
/// what is in it.
pub fn read(file: &Path, most_bytes: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = File::open(file).and_then(|open| open.take(most_bytes + 1).read_to_end(&mut bytes));
    let length = opened.map_err(|error| format!("{}: {error}", file.display()))?;
    if u64::try_from(length).is_ok_and(|length| length > most_bytes) {
        return Err(format!("{} is longer than {most_bytes} bytes", file.display()));
    }
    Ok(bytes)
}

/// The same of a text.
pub fn read_text(file: &Path, most_bytes: u64) -> Result<Zeroizing<String>, String> {
    let bytes = read(file, most_bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not UTF-8", file.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}
