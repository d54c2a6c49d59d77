//! A PostgreSQL server of a test's own: to be killed, promoted, or given certificates.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::engine::skip;
use super::faked_time::{program, programs, server_user};

const START: Duration = Duration::from_secs(60);

/// A program that comes with PostgreSQL, such as pg_dump. `None`, with a loud line, when it isn't there.
pub fn postgres_program(name: &str) -> Option<Command> {
    let found = programs().map(|folder| folder.join(name)).filter(|path| path.exists());
    if found.is_none() {
        skip(&format!("no {name}: PostgreSQL isn't installed; tests/run does that"));
    }
    found.map(Command::new)
}

/// A running server; it ends when dropped.
pub struct Cluster {
    pub port: u16,
    server: Child,
    programs: PathBuf,
    folder: TempDir,
    settings: Vec<String>,
}

impl Cluster {
    /// A new one: `host_rules` become its pg_hba.conf for connections by TCP, `settings` its command line; `furnish` may put
    /// files into its data folder. `None`, with a loud line, when PostgreSQL isn't there; in CI that is a failure.
    pub async fn start(host_rules: &str, settings: &[&str], furnish: impl FnOnce(&Path)) -> Option<Self> {
        let Some(programs) = programs() else {
            skip("no PostgreSQL: neither in /usr/lib/postgresql nor in PATH; tests/run installs it");
            return None;
        };
        let folder = folder_of_server();
        let data = folder.path().join("data");
        let mut initdb = program(&programs.join("initdb"), folder.path(), server_user());
        initdb.arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        assert!(initdb.stdout(Stdio::null()).status().expect("initdb runs").success());
        let rules = format!("local all all trust\nlocal replication all trust\n{host_rules}\n");
        std::fs::write(data.join("pg_hba.conf"), rules).expect("written");
        furnish(&data);
        Some(Self::run(programs, folder, settings).await)
    }

    /// A standby that follows this one.
    pub async fn standby(&self) -> Self {
        let folder = folder_of_server();
        let mut copy = program(&self.programs.join("pg_basebackup"), folder.path(), server_user());
        copy.arg("--pgdata").arg(folder.path().join("data")).arg("--host").arg(self.folder.path());
        copy.args(["--port", &self.port.to_string(), "--username=postgres"]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast"]);
        assert!(copy.status().expect("pg_basebackup runs").success());
        Self::run(self.programs.clone(), folder, &[]).await
    }

    async fn run(programs: PathBuf, folder: TempDir, settings: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let server = spawn(&programs, folder.path(), port, &settings);
        let made = Self { port, server, programs, folder, settings };
        made.answers().await;
        made
    }

    async fn answers(&self) {
        let begun = Instant::now();
        while self.try_psql("postgres", "SELECT 1").is_none() {
            assert!(begun.elapsed() < START, "PostgreSQL doesn't start: {}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// As `pg_ctl restart -m fast`.
    pub async fn restart(&mut self) {
        let asked = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        assert!(asked.expect("kill runs").success());
        self.server.wait().expect("it ends");
        self.start_again().await;
    }

    /// kill -9 of the postmaster alone; its children are left to notice by themselves.
    pub fn kill_postmaster(&mut self) {
        self.server.kill().expect("killed");
        self.server.wait().expect("it ended");
    }

    /// Starts it again after an end, with the same data, port and settings. It refuses while children of the old one live.
    pub async fn start_again(&mut self) {
        let begun = Instant::now();
        self.server = spawn(&self.programs, self.folder.path(), self.port, &self.settings);
        while self.try_psql("postgres", "SELECT 1").is_none() {
            assert!(begun.elapsed() < START, "PostgreSQL doesn't start again: {}", self.log());
            if self.server.try_wait().expect("a process").is_some() {
                self.server = spawn(&self.programs, self.folder.path(), self.port, &self.settings);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The ids of its processes, the postmaster's first.
    pub fn processes(&self) -> Vec<u32> {
        let postmaster = self.server.id();
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.expect("it runs");
        let children = children.split_whitespace().map(|child| child.parse().expect("an id"));
        std::iter::once(postmaster).chain(children).collect()
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a script of psql as superuser; answers what it printed.
    pub fn psql(&self, database: &str, script: &str) -> String {
        self.try_psql(database, script).unwrap_or_else(|| panic!("{script}\n{}", self.log()))
    }

    fn try_psql(&self, database: &str, script: &str) -> Option<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.env_clear().args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.arg("--host").arg(self.folder.path()).args(["--port", &self.port.to_string(), "--username=postgres"]);
        psql.args(["--dbname", database]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut psql = psql.spawn().expect("psql runs");
        std::io::Write::write_all(&mut psql.stdin.take().expect("a pipe"), script.as_bytes()).ok();
        let output = psql.wait_with_output().expect("psql ends");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned())
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if self.server.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // Its children must not outlive it, so it is asked to end at once, not killed.
        let asked = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.server.kill().ok();
        }
        self.server.wait().ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(programs: &Path, folder: &Path, port: u16, settings: &[String]) -> Child {
    let mut server = program(&programs.join("postgres"), folder, server_user());
    server.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
    server.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
    for setting in settings {
        server.args(["-c", setting]);
    }
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a file");
    server.stderr(log).spawn().expect("postgres starts")
}

/// Directly under /tmp: user postgres must get in, and a socket's path has at most 107 characters.
fn folder_of_server() -> TempDir {
    let folder = tempfile::Builder::new().prefix("claviger-cluster.").tempdir_in("/tmp").expect("a folder");
    if let Some((user, group)) = server_user() {
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("we are root");
    }
    folder
}
