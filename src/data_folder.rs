//! The data folder: SQLite file, generated pepper, root key; and its lock.
//!
//! With SQLite it is locked against a second process, because only one may write the file. On PostgreSQL replicas may share
//! a folder, and then the first one's pepper is everyone's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::domain::{limits, pepper::Peppers, secret::Secret};
use crate::random;

/// File systems on which neither SQLite nor a lock can be trusted.
const NETWORK_FILE_SYSTEMS: [&str; 10] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs"];

/// An open data folder; unlocked when dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Option<File>,
}

/// The data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Another process has it.
    #[error("{0} is in use by another claviger process; stop that one first, or give this one another CLAVIGER_DATA")]
    InUse(PathBuf),
    /// It lies on a network file system.
    #[error(
        "{path} lies on {file_system}, a network file system, which SQLite can't trust; use a local disk, or PostgreSQL"
    )]
    Network {
        /// The folder.
        path: PathBuf,
        /// The file system's type.
        file_system: String,
    },
    /// The operating system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file there doesn't hold what it should.
    #[error("{path} {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never what is in it.
        why: String,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
}

impl DataFolder {
    /// Makes the folder (0700) unless it is there, and locks it if `exclusive`.
    pub fn open(path: &Path, exclusive: bool) -> Result<Self, DataFolderError> {
        let io = |cause| DataFolderError::Io { path: path.to_owned(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        if !exclusive {
            return Ok(Self { path, _lock: None });
        }
        refuse_network_file_system(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: Some(lock) })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file.
    #[must_use]
    pub fn sqlite_file(&self) -> PathBuf {
        self.path.join("claviger.sqlite")
    }

    /// Where the root key is, once there is one.
    #[must_use]
    pub fn root_key_file(&self) -> PathBuf {
        self.path.join(ROOT_KEY)
    }

    /// The same, if there is one.
    #[must_use]
    pub fn kept_root_key_file(&self) -> Option<PathBuf> {
        Some(self.root_key_file()).filter(|file| file.exists())
    }

    /// The generated pepper file.
    #[must_use]
    pub fn pepper_file(&self) -> PathBuf {
        self.path.join("pepper")
    }

    /// Makes a pepper file unless there is one. Of several processes that try at once, one wins and all use its pepper.
    pub fn generate_pepper(&self) -> Result<(), DataFolderError> {
        let file = self.pepper_file();
        if file.exists() {
            return Ok(());
        }
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random::bytes()?);
        let text: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        let unique: [u8; 8] = random::bytes()?;
        let draft = self.path.join(format!("pepper.{}", u64::from_be_bytes(unique)));
        write_secret(&draft, &text)?;
        // A link is made whole or not at all, and never over an existing file.
        let linked = fs::hard_link(&draft, &file);
        let removed = fs::remove_file(&draft);
        match linked {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(DataFolderError::Io { path: file, cause }),
            Ok(()) | Err(_) => removed.map_err(|cause| DataFolderError::Io { path: draft, cause }),
        }
    }

    /// Keeps the root key's secret aside before the commit that makes it.
    pub fn keep_root_key(&self, secret: &Secret) -> Result<(), DataFolderError> {
        write_secret(&self.pending_root_key(secret), secret.reveal())
    }

    /// The root key was committed: it becomes `root.key`.
    pub fn confirm_root_key(&self, secret: &Secret) -> Result<(), DataFolderError> {
        let (pending, file) = (self.pending_root_key(secret), self.root_key_file());
        settled(&file, fs::rename(&pending, &file))
    }

    /// Secrets that were kept aside by a process that then died, perhaps before and perhaps after its commit.
    pub fn pending_root_keys(&self) -> Result<Vec<Secret>, DataFolderError> {
        let io = |cause| DataFolderError::Io { path: self.path.clone(), cause };
        let mut secrets = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name().to_string_lossy().starts_with(PENDING) {
                secrets.extend(read_pending(&entry.path())?);
            }
        }
        Ok(secrets)
    }

    /// Throws away a secret that was kept aside but never committed.
    pub fn discard_root_key(&self, secret: &Secret) -> Result<(), DataFolderError> {
        let pending = self.pending_root_key(secret);
        settled(&pending, fs::remove_file(&pending))
    }

    fn pending_root_key(&self, secret: &Secret) -> PathBuf {
        self.path.join(format!("{PENDING}{}", secret.key_id()))
    }
}

/// Another process that shares the folder may have settled it first.
fn settled(file: &Path, outcome: std::io::Result<()>) -> Result<(), DataFolderError> {
    match outcome {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(DataFolderError::Io { path: file.to_owned(), cause }),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_pending(file: &Path) -> Result<Option<Secret>, DataFolderError> {
    match read_secret_text(file) {
        Ok(text) => Ok(text.parse_secret()),
        Err(DataFolderError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

const ROOT_KEY: &str = "root.key";
const PENDING: &str = "root.key.pending.";

/// Reads a pepper file.
pub fn read_peppers(file: &Path) -> Result<Peppers, DataFolderError> {
    let text = read_secret_text(file)?;
    Peppers::parse(&text.0).map_err(|why| DataFolderError::Content { path: file.to_owned(), why })
}

/// Reads the root key that is kept in this folder.
pub fn kept_secret(folder: &Path) -> Result<Secret, DataFolderError> {
    let file = folder.join(ROOT_KEY);
    match read_secret(&file) {
        Err(DataFolderError::Io { path, cause }) if cause.kind() == ErrorKind::NotFound => {
            let why = "does not exist: the first start was given its root key, or kept it in another folder";
            Err(DataFolderError::Content { path, why: format!("{why}; `claviger root-key` makes another") })
        }
        read => read,
    }
}

/// Reads a file that holds one secret and perhaps a line feed.
pub fn read_secret(file: &Path) -> Result<Secret, DataFolderError> {
    let why = || "does not hold a secret of the form cvg_…; `claviger root-key --offline` prints one".to_owned();
    let secret = read_secret_text(file)?.parse_secret();
    secret.ok_or_else(|| DataFolderError::Content { path: file.to_owned(), why: why() })
}

struct SecretText(Zeroizing<String>);

impl SecretText {
    fn parse_secret(&self) -> Option<Secret> {
        Secret::parse(self.0.strip_suffix('\n').unwrap_or(&self.0))
    }
}

fn read_secret_text(file: &Path) -> Result<SecretText, DataFolderError> {
    let io = |cause| DataFolderError::Io { path: file.to_owned(), cause };
    let length = fs::metadata(file).map_err(io)?.len();
    if length > limits::SETTINGS_FILE_BYTES {
        return Err(DataFolderError::Content {
            path: file.to_owned(),
            why: "is too long to be a secret file".to_owned(),
        });
    }
    fs::read_to_string(file).map(|text| SecretText(Zeroizing::new(text))).map_err(io)
}

/// Writes a new file that only its owner can read, and brings it to the disk.
fn write_secret(file: &Path, text: &str) -> Result<(), DataFolderError> {
    let write = || {
        let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        open.write_all(text.as_bytes())?;
        open.write_all(b"\n")?;
        open.sync_all()
    };
    write().map_err(|cause| DataFolderError::Io { path: file.to_owned(), cause })
}

fn lock(folder: &Path) -> Result<File, DataFolderError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|cause| DataFolderError::Io { path: path.clone(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataFolderError::InUse(folder.to_owned())),
        Err(TryLockError::Error(cause)) => Err(DataFolderError::Io { path, cause }),
    }
}

fn refuse_network_file_system(path: &Path) -> Result<(), DataFolderError> {
    // Only Linux tells; elsewhere we can't know.
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return Ok(()) };
    match file_system_of(&mounts, path) {
        Some(file_system) if NETWORK_FILE_SYSTEMS.contains(&file_system) => {
            Err(DataFolderError::Network { path: path.to_owned(), file_system: file_system.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The type of the file system that holds `path`: of the mounts it lies under, the deepest, and of those the last.
fn file_system_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let parse = |line: &'a str| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let depth = Path::new(&point).components().count();
        path.starts_with(&point).then(|| (depth, source.split(' ').next().unwrap_or_default()))
    };
    mounts.lines().filter_map(parse).max_by_key(|&(depth, _)| depth).map(|(_, file_system)| file_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:30 / /mnt/share\\040one rw,relatime shared:9 - nfs4 server:/x rw
31 30 0:31 / /mnt/share\\040one/local rw - xfs /dev/vdb rw";

    #[test]
    fn the_deepest_mount_decides() {
        let of = |path| file_system_of(MOUNTS, Path::new(path));
        assert_eq!(of("/var/lib/claviger"), Some("ext4"));
        assert_eq!(of("/mnt/share one/data"), Some("nfs4"));
        assert_eq!(of("/mnt/share one/local/data"), Some("xfs"));
        assert_eq!(of("/mnt/share onemore"), Some("ext4"));
    }

    #[test]
    fn a_locked_folder_is_refused_until_it_is_free() {
        let place = tempfile::tempdir().expect("a folder");
        let first = DataFolder::open(place.path(), true).expect("free");
        assert!(matches!(DataFolder::open(place.path(), true), Err(DataFolderError::InUse(_))));
        drop(first);
        assert!(DataFolder::open(place.path(), true).is_ok());
    }

    #[test]
    fn a_pepper_is_generated_once() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(place.path(), false).expect("a folder");
        folder.generate_pepper().expect("made");
        let first = read_peppers(&folder.pepper_file()).expect("readable");
        folder.generate_pepper().expect("kept");
        let second = read_peppers(&folder.pepper_file()).expect("readable");
        assert_eq!(first.current().id(), second.current().id());
        assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 1);
    }
}
