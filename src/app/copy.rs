//! `claviger copy`: the embedded installation in the data folder becomes one on PostgreSQL.

use std::fmt;
use std::path::PathBuf;

use crate::config::Settings;
use crate::data_folder::DataFolder;
use crate::store::{self, Copied, CopyError, Progress};

use super::AppError;

/// What a copy did, and what is in no database.
#[derive(Debug)]
pub struct Moved {
    copied: Copied,
    from: PathBuf,
    to: String,
    pepper: PathBuf,
    root_key: Option<PathBuf>,
}

impl Moved {
    /// Whether PostgreSQL has everything now. If not, it has nothing: it was all undone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.copied.is_whole()
    }
}

/// Copies the SQLite file of the data folder into an empty PostgreSQL. The folder is locked, as by `claviger serve`, and what
/// is in it stays as it is.
pub async fn copy(settings: &Settings, progress: impl FnMut(Progress<'_>)) -> Result<Moved, AppError> {
    let target = settings.database.as_ref().ok_or(AppError::NoTarget)?;
    if !settings.data.is_dir() {
        return Err(CopyError::NothingHere(settings.data.clone()).into());
    }
    let folder = DataFolder::open(&settings.data, true)?;
    let copied = store::copy(&folder.sqlite_file(), target, progress).await?;
    Ok(Moved {
        copied,
        from: folder.sqlite_file(),
        to: target.to_string(),
        pepper: settings.pepper_file.clone().unwrap_or_else(|| folder.pepper_file()),
        root_key: folder.kept_root_key_file(),
    })
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18} {:>11} SHA-256 of all rows, read from both databases", "table", "rows")?;
        self.copied.tables.iter().try_for_each(|table| writeln!(f, "{table}"))?;
        if !self.is_whole() {
            return writeln!(f, "\nWhat was copied is not the same, so all of it was undone.");
        }
        writeln!(f, "\nEverything in {} is in {} now.", self.from.display(), self.to)?;
        writeln!(f, "Carry along what is in no database:\n")?;
        let peppers = self.copied.peppers.join(", ");
        writeln!(f, "  {}: the pepper; keys are stored under {peppers}", self.pepper.display())?;
        if !self.copied.keks.is_empty() {
            let keks = self.copied.keks.join(", ");
            writeln!(f, "  the file of CLAVIGER_KEK_FILE: the KEKs; secrets are sealed under {keks}")?;
        }
        if let Some(root_key) = &self.root_key {
            writeln!(f, "  {}: the root key", root_key.display())?;
        }
        writeln!(f, "\nThe SQLite file is as it was. Put it away, so that nobody starts a service on it again; then")?;
        writeln!(f, "start `claviger serve` with the same CLAVIGER_DATABASE_URL.")
    }
}
