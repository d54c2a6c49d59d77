//! The real binary and a PostgreSQL of its own under a clock that the test moves (libfaketime).
//!
//! Prefer times before the machine's. A signal handler that interrupts PostgreSQL's waiting sees the machine's clock; when
//! that is behind the faked one, its time-outs (`statement_timeout`, `lock_timeout`, deadlocks) come late by the difference.

use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use claviger::clock::Clock;
use claviger::domain::Time;
use sea_orm::Database;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::engine::{create_database, skip, tool, variable};
use super::{Place, Process, process::command};

const START: Duration = Duration::from_secs(60);

/// A clock for other processes. It goes on at the machine's speed from wherever it is set.
pub struct FakedTime {
    folder: TempDir,
    library: PathBuf,
    library_for_threads: PathBuf,
}

impl FakedTime {
    /// Sets it for the first time. `None`, with a loud line, when there is no libfaketime.
    pub fn new(start: Time) -> Option<Self> {
        let library = tool("libfaketime.so.1")?;
        let library_for_threads = tool("libfaketimeMT.so.1")?;
        let folder = tempfile::tempdir().expect("a folder");
        // For user `postgres`.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        let made = Self { folder, library, library_for_threads };
        made.set(start);
        Some(made)
    }

    /// Moves it, for all processes at once: what they read is a distance from the machine's clock.
    pub fn set(&self, now: Time) {
        let distance = now - Clock::system().now();
        let seconds = distance.num_microseconds().expect("near enough") as f64 / 1e6;
        let next = self.folder.path().join("next");
        std::fs::write(&next, format!("{seconds:+.6}\n")).expect("written");
        std::fs::rename(&next, self.file()).expect("renamed");
    }

    /// What a program with threads, such as the binary, needs in its environment.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_with(&self.library_for_threads)
    }

    /// Starts the binary under this clock, with further settings.
    pub async fn start(&self, place: &Place, further: &[(&str, &str)]) -> Process {
        let mut command = command(place);
        command.envs(further.iter().copied()).envs(self.environment());
        Process::start_command(command).await
    }

    fn environment_with(&self, library: &Path) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        vec![
            ("LD_PRELOAD", text(library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file())),
            // A jump is seen at once.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // A jump of the time of day doesn't touch timers.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// A PostgreSQL under a faked clock; gone when dropped.
pub struct FakedPostgres {
    server: Child,
    /// Superuser's URL.
    pub url: String,
    _folder: TempDir,
}

/// Starts one. `None`, with a loud line, when PostgreSQL isn't there.
pub async fn faked_postgres(time: &FakedTime) -> Option<FakedPostgres> {
    let Some(programs) = programs() else {
        skip("no PostgreSQL: neither in /usr/lib/postgresql nor in PATH; tests/run installs it");
        return None;
    };
    let folder = tempfile::Builder::new().prefix("claviger-faked.").tempdir_in("/tmp").expect("a folder");
    let user = server_user();
    if let Some((user, group)) = user {
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("we are root");
    }
    let data = folder.path().join("data");
    let mut initdb = program(&programs.join("initdb"), folder.path(), user);
    initdb.arg("--pgdata").arg(&data).args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    assert!(initdb.stdout(Stdio::null()).status().expect("initdb runs").success());

    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mut server = program(&programs.join("postgres"), folder.path(), user);
    server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    server.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
    server.envs(time.environment_with(&time.library)).stderr(Stdio::null());
    let server = server.spawn().expect("postgres starts");
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let made = FakedPostgres { server, url, _folder: folder };
    made.wait().await;
    Some(made)
}

impl FakedPostgres {
    /// An empty place with a database of this server.
    pub async fn place(&self) -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Place { folder, database_url: Some(create_database(&self.url).await) }
    }

    async fn wait(&self) {
        let begun = Instant::now();
        while let Err(error) = Database::connect(&self.url).await {
            assert!(begun.elapsed() < START, "PostgreSQL under a faked clock doesn't start: {error}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for FakedPostgres {
    /// Its children must not outlive it, so it is asked to end at once, not killed.
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.server.kill().ok();
        }
        self.server.wait().ok();
    }
}

/// PostgreSQL refuses root, so root becomes this user and group.
pub(super) fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let answer = Command::new("id").args(arguments).output().expect("id runs");
        String::from_utf8(answer.stdout).expect("UTF-8").trim().parse::<u32>().expect("a number")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

pub(super) fn program(path: &Path, folder: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(path);
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}

/// The folder with PostgreSQL's programs. Debian keeps each version's in a folder of its own.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort_by_key(|bin| bin.parent().and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok()));
    versions.reverse();
    let path = variable("PATH").unwrap_or_default();
    versions.extend(path.split(':').map(PathBuf::from));
    versions.into_iter().find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}
