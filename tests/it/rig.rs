//! What the fault tests share: chance from a seed, patience that ends, changes of keys as data, SQL behind the service's
//! back, and replicas on one database.

use std::path::PathBuf;
use std::time::Duration;

use claviger::proto::v1;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TryGetable};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::harness::{Client, Engine, Place, Process, process};

/// A xorshift: the same seed, the same choices.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number from 0 to `end` - 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % end
    }

    pub fn milliseconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }
}

/// Asks again and again until it holds; panics when `bound` is over. Answers how long it took.
pub async fn eventually(bound: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < bound, "not within {bound:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

/// A change of a key, or of a service user's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Create,
    /// With this grace, in seconds.
    Rotate(i64),
    Enable,
    Disable,
    Revoke,
    /// To a name with this number.
    Rename(usize),
    Delete,
}

/// What a change answered.
#[derive(Debug)]
pub struct Changed {
    pub key: v1::Key,
    pub predecessor: Option<v1::Key>,
    pub secret: Option<String>,
}

impl Change {
    /// Makes the change: to the key `name`, or of a new key of `owner`.
    pub async fn make(self, root: &mut Client, owner: &str, name: &str) -> Result<Changed, Status> {
        let keys = &mut root.keys;
        let (name, expected_revision) = (name.to_owned(), 0);
        let key = match self {
            Self::Create => {
                let (key, secret) = root.try_create_key(owner, &["pay"]).await?;
                return Ok(Changed { key, predecessor: None, secret: Some(secret) });
            }
            Self::Rotate(seconds) => {
                let grace_period = Some(prost_types::Duration { seconds, nanos: 0 });
                let request = v1::RotateKeyRequest { name, grace_period, ..Default::default() };
                let made = keys.rotate_key(request).await?.into_inner();
                let (key, secret) = (made.key.expect("a key"), Some(made.secret));
                return Ok(Changed { key, predecessor: made.predecessor, secret });
            }
            Self::Enable => keys.enable_key(v1::EnableKeyRequest { name, expected_revision }).await?.into_inner().key,
            Self::Disable => {
                keys.disable_key(v1::DisableKeyRequest { name, expected_revision, wait_for_replicas: None })
                    .await?
                    .into_inner()
                    .key
            }
            Self::Revoke => {
                let request = v1::RevokeKeyRequest {
                    name,
                    reason: "a test".to_owned(),
                    expected_revision,
                    wait_for_replicas: None,
                };
                keys.revoke_key(request).await?.into_inner().key
            }
            Self::Rename(number) => {
                let key = v1::Key { name, display_name: renamed(number), ..Default::default() };
                let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
                let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision };
                keys.update_key(request).await?.into_inner().key
            }
            Self::Delete => keys.delete_key(v1::DeleteKeyRequest { name, expected_revision }).await?.into_inner().key,
        };
        Ok(Changed { key: key.expect("a key"), predecessor: None, secret: None })
    }
}

/// The display name that [`Change::Rename`] gives.
pub fn renamed(number: usize) -> String {
    format!("renamed {number}")
}

/// Every key of a service user, deleted ones too if asked for.
pub async fn list_keys(root: &mut Client, owner: &str, show_deleted: bool) -> Vec<v1::Key> {
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let parent = owner.to_owned();
        let request = v1::ListKeysRequest { parent, page_size: 500, page_token, show_deleted, ..Default::default() };
        let page = root.keys.list_keys(request).await.expect("a page").into_inner();
        keys.extend(page.keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return keys;
        }
    }
}

/// The key without the time of its last use, which is written at a time of its own.
pub fn but_for_use(key: v1::Key) -> v1::Key {
    v1::Key { last_used_time: None, ..key }
}

/// Not deleted, and ENABLED or DISABLED.
pub fn is_live(key: &v1::Key) -> bool {
    key.delete_time.is_none() && matches!(key.state(), v1::KeyState::Enabled | v1::KeyState::Disabled)
}

/// The verdicts about these secrets. On an overloaded machine a batch may be UNAVAILABLE, which means: ask again.
pub async fn verdicts(caller: &mut Client, secrets: &[String]) -> Vec<v1::Verdict> {
    let mut verdicts = Vec::new();
    for some in secrets.chunks(100) {
        let mut answered = None;
        eventually(Duration::from_secs(10), "a verdict about each", async || {
            answered = batch(caller, some).await;
            answered.is_some()
        })
        .await;
        verdicts.extend(answered.into_iter().flatten());
    }
    verdicts
}

async fn batch(caller: &mut Client, secrets: &[String]) -> Option<Vec<v1::Verdict>> {
    let question = |secret: &String| v1::VerifyRequest { secret: secret.clone(), ..Default::default() };
    let requests = secrets.iter().map(question).collect();
    let answer = caller.verification.batch_verify(v1::BatchVerifyRequest { requests }).await;
    let verdict = |result: v1::BatchVerifyResult| match result.result.expect("a result") {
        v1::batch_verify_result::Result::Response(response) => Some(response.verdict()),
        v1::batch_verify_result::Result::Error(error) => {
            assert_eq!(Code::from(error.code), Code::Unavailable, "{error:?}");
            None
        }
    };
    match answer {
        Ok(answer) => answer.into_inner().results.into_iter().map(verdict).collect(),
        Err(status) => {
            assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
            None
        }
    }
}

/// A connection of our own to the service's database.
pub async fn database(place: &Place) -> DatabaseConnection {
    let file = || format!("sqlite://{}?mode=rw", place.sqlite_file().display());
    let mut options = sea_orm::ConnectOptions::new(place.database_url.clone().unwrap_or_else(file));
    options.max_connections(1);
    Database::connect(options).await.expect("a connection")
}

/// The first column of every row.
pub async fn select<T: TryGetable>(database: &DatabaseConnection, sql: &str) -> Vec<T> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let rows = database.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| row.try_get_by_index(0).expect("a value")).collect()
}

/// A foreign connection holds the lock that every change needs.
pub async fn hold_up_changes(place: &Place) -> DatabaseConnection {
    let database = database(place).await;
    let lock: &[&str] = if database.get_database_backend() == DbBackend::Sqlite {
        &["BEGIN IMMEDIATE"]
    } else {
        &["BEGIN", "SELECT value FROM revision FOR UPDATE"]
    };
    for sql in lock {
        database.execute_unprepared(sql).await.expect("locked");
    }
    database
}

/// Starts the binary on this place, silent but for warnings.
pub async fn start(place: &Place) -> Process {
    let mut command = process::command(place);
    command.env("CLAVIGER_LOG", "warn");
    Process::start_command(command).await
}

/// Replicas: a folder each, one database, one pepper file.
pub struct Replicas {
    pub places: Vec<Place>,
    shared: TempDir,
}

impl Replicas {
    /// Places for `count` replicas on an empty PostgreSQL; nothing runs yet. `None` when there is no PostgreSQL.
    pub async fn new(count: usize) -> Option<Self> {
        let first = Engine::Postgres.place().await?;
        let place =
            || Place { folder: tempfile::tempdir().expect("a folder"), database_url: first.database_url.clone() };
        let mut places: Vec<Place> = (1..count).map(|_| place()).collect();
        places.push(first);
        let replicas = Self { places, shared: tempfile::tempdir().expect("a folder") };
        replicas.write_peppers(&[pepper()]);
        replicas.write_keks(&[pepper()]);
        Some(replicas)
    }

    pub fn pepper_file(&self) -> PathBuf {
        self.shared.path().join("pepper")
    }

    pub fn kek_file(&self) -> PathBuf {
        self.shared.path().join("kek")
    }

    /// Current first.
    pub fn write_keks(&self, keks: &[String]) {
        std::fs::write(self.kek_file(), keks.join("\n")).expect("written");
    }

    /// Current first.
    pub fn write_peppers(&self, peppers: &[String]) {
        std::fs::write(self.pepper_file(), peppers.join("\n")).expect("written");
    }

    pub fn command(&self, number: usize) -> Command {
        let mut command = process::command(&self.places[number]);
        command.env("CLAVIGER_PEPPER_FILE", self.pepper_file()).env("CLAVIGER_LOG", "warn");
        command.env("CLAVIGER_KEK_FILE", self.kek_file());
        command
    }

    /// Starts all of them at once.
    pub async fn start(&self) -> Vec<Process> {
        join_all((0..self.places.len()).map(|number| Process::start_command(self.command(number)))).await
    }

    /// The root key, wherever it was written; once.
    pub fn root_secret(&self) -> String {
        let has_it = |place: &&Place| place.folder.path().join("root.key").exists();
        let with: Vec<&Place> = self.places.iter().filter(has_it).collect();
        assert_eq!(with.len(), 1, "one root.key among all replicas");
        process::root_secret(with[0].folder.path())
    }
}

/// A pepper or a KEK, as a line of its file.
pub fn pepper() -> String {
    let bytes: [u8; 32] = claviger::random::bytes().expect("randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
