//! A PostgreSQL of our own in a temporary folder, as `tests/run` starts one: fsync on, nothing tuned.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use tempfile::TempDir;

use crate::Outcome;
use crate::secrets::Numbers;

/// A running cluster; gone when dropped.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes and starts it.
    pub fn start() -> Outcome<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("claviger-bench-postgres.").tempdir_in("/tmp")?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let mut postgres = Self { folder, programs, port: 0 };
        let data = format!("--pgdata={}", postgres.data());
        let flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
        run(postgres.command("initdb").arg(&data).args(flags))?;
        let mut numbers = Numbers::from_start(u64::from(std::process::id()));
        // Below the range from which the system takes ports for clients. A taken port shows when the server starts.
        for _ in 0..5 {
            postgres.port = 20_000 + u16::try_from(numbers.below(12_000))?;
            let folder = postgres.folder.path().display();
            let settings = format!(
                "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c max_connections=300",
                postgres.port
            );
            let log = format!("--log={folder}/server.log");
            if run(postgres.command("pg_ctl").args(["start", "--wait", &data, &log, "--options", &settings])).is_ok() {
                return Ok(postgres);
            }
        }
        let log = fs::read_to_string(postgres.folder.path().join("server.log")).unwrap_or_default();
        Err(format!("PostgreSQL doesn't start: {log}").into())
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database; answers its URL.
    pub async fn create_database(&self, name: &str) -> Outcome<String> {
        let administrator = connect(&self.url("postgres")).await?;
        administrator.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        administrator.close().await?;
        Ok(self.url(name))
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// PostgreSQL refuses root, so root becomes user postgres, in a folder which that user may enter.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = Command::new(if is_root() { Path::new("runuser") } else { &program });
        if is_root() {
            command.args(["--user", "postgres", "--"]).arg(program);
        }
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = format!("--pgdata={}", self.data());
        // If it is gone already, there is nobody to tell.
        let _ = run(self.command("pg_ctl").args(["stop", "--mode=immediate", &data]));
    }
}

/// One connection, so that statements come in order.
pub async fn connect(url: &str) -> Outcome<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Ok(Database::connect(options).await?)
}

/// Debian keeps each version's programs in a folder of its own.
fn programs() -> Outcome<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let has_all = |folder: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).exists());
    let newest = folders.into_iter().rev().find(has_all);
    newest.ok_or_else(|| "PostgreSQL is missing: apt-get install postgresql".into())
}

/// Whether we are user 0.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a command to its end; an error says what it said.
pub fn run(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Not captured through pipes of its own: pg_ctl's server would keep them open for ever.
    let log = tempfile::NamedTempFile::new()?;
    let (out, err) = (log.reopen()?, log.reopen()?);
    let status = command.stdin(Stdio::null()).stdout(out).stderr(err).status();
    let status = status.map_err(|error| format!("{name} can't be run: {error}"))?;
    let said = fs::read_to_string(log.path())?;
    if status.success() { Ok(said) } else { Err(format!("{name} failed: {said}").into()) }
}
