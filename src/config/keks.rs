//! The KEK file. It is read with the other settings, so that a bad one is named with them, before anything is opened.

use std::path::Path;

use crate::domain::{kek::Keks, limits};
use crate::files;

/// Reads a KEK file; what is wrong names the file, and nothing of what is in it.
pub(super) fn read(file: &str) -> Result<Keks, String> {
    let text = files::read_text(Path::new(file), limits::KEK_FILE_BYTES)?;
    Keks::parse(&text).map_err(|why| format!("{file} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_kek_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kek");
        let file = path.to_str().expect("UTF-8");
        assert!(read(file).expect_err("missing").starts_with(&format!("{file}: ")));
        let line = "0f".repeat(32);
        for (content, why) in [
            (Vec::new(), "holds no KEK"),
            (line.as_bytes()[1..].to_vec(), "not 64 hexadecimal characters"),
            (vec![b'#'; 70_000], "longer than"),
            (vec![0xff; 64], "UTF-8"),
        ] {
            std::fs::write(&path, content).expect("written");
            let told = read(file).expect_err(why);
            assert!(told.contains(why) && !told.contains("0f0f"), "{told}");
        }
        std::fs::write(&path, format!("{line}\n")).expect("written");
        assert!(read(file).is_ok());
    }
}
