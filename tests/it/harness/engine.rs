//! Where a test keeps its data: a folder of its own, and on PostgreSQL a database of its own.

use std::path::PathBuf;

use sea_orm::{ConnectionTrait, Database};
use tempfile::TempDir;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A place for the data of one installation; gone when dropped.
pub struct Place {
    pub folder: TempDir,
    /// PostgreSQL's URL; `None` = SQLite in the folder.
    pub database_url: Option<String>,
}

impl Engine {
    /// An empty place. `None`, with a loud line, when the engine isn't there; in CI that is a failure.
    pub async fn place(self) -> Option<Place> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        match self {
            Self::Sqlite => Some(Place { folder, database_url: None }),
            Self::Postgres => {
                let Some(server) = variable("CLAVIGER_TEST_POSTGRES_URL") else {
                    skip("no PostgreSQL: CLAVIGER_TEST_POSTGRES_URL is not set; tests/run sets it");
                    return None;
                };
                Some(Place { folder, database_url: Some(create_database(&server).await) })
            }
        }
    }
}

impl Place {
    /// A KEK file, made when it is first asked for.
    pub fn kek_file(&self) -> PathBuf {
        let file = self.folder.path().join("kek");
        if !file.exists() {
            std::fs::write(&file, "4e".repeat(32)).expect("written");
        }
        file
    }

    /// The SQLite file.
    pub fn sqlite_file(&self) -> PathBuf {
        self.folder.path().join("claviger.sqlite")
    }
}

/// Says loudly that something isn't tested; in CI it is a failure.
pub fn skip(why: &str) {
    assert!(variable("CI").is_none_or(|ci| ci != "true"), "in CI nothing is skipped: {why}");
    eprintln!("SKIPPED ({why}): {}", std::thread::current().name().unwrap_or("a test"));
}

/// A tool that `tests/run` installs. `None`, with a loud line, when it isn't there.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found =
        variable("CLAVIGER_TEST_TOOLS").map(|folder| PathBuf::from(folder).join(name)).filter(|path| path.exists());
    if found.is_none() {
        skip(&format!("no {name}: CLAVIGER_TEST_TOOLS has none; tests/run installs it"));
    }
    found
}

/// Whether the longer proofs are asked for.
pub fn long() -> bool {
    variable("CLAVIGER_TEST_LONG").is_some()
}

#[expect(clippy::disallowed_methods, reason = "tests are told by variables what there is")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A new database of a cluster; answers its URL.
pub async fn create_database(server: &str) -> String {
    let mut random = [0; 8];
    claviger::random::fill(&mut random).expect("randomness");
    let name = format!("claviger_{:016x}", u64::from_be_bytes(random));
    let admin = Database::connect(server).await.expect("PostgreSQL answers");
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database");
    admin.close().await.expect("closed");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}
