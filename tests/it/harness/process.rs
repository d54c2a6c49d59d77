//! The real binary, as a user starts it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Client, Place, SETTINGS};

const START: Duration = Duration::from_secs(60);
/// Drain, last words and last exports together are a third of this.
const LONGEST_END: Duration = Duration::from_secs(60);

/// A running binary; killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
    /// Of the HTTP port.
    pub http_address: SocketAddr,
    /// What it said on standard output up to the address, and goes on to say.
    pub greeting: String,
}

/// The binary, with an environment of its own, on this place and free ports.
pub fn command(place: &Place) -> Command {
    let mut command = bare_command();
    command.env("CLAVIGER_DATA", place.folder.path()).envs(SETTINGS.iter().copied());
    if let Some(url) = &place.database_url {
        command.env("CLAVIGER_DATABASE_URL", url);
    }
    command
}

/// The binary without any setting.
pub fn bare_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Process {
    /// Starts it on this place and waits until it serves.
    pub async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    /// The same with further settings, as variables.
    pub async fn start_with(place: &Place, further: &[(&str, &str)]) -> Self {
        let mut command = command(place);
        command.envs(further.iter().copied());
        Self::start_command(command).await
    }

    /// Starts this command and waits until it serves. Its standard error goes to the test's.
    pub async fn start_command(command: Command) -> Self {
        Self::start_logging(command, Stdio::inherit()).await
    }

    /// The same with a place for its standard error.
    pub async fn start_logging(mut command: Command, log: Stdio) -> Self {
        let mut child = command.stderr(log).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = timeout(START, lines.next_line()).await.expect("it starts in time").expect("a line");
        let Some(first) = first else { panic!("it ended: {:?}", child.wait().await) };
        let address = first.trim_start_matches("Claviger serves gRPC on ").trim_end_matches('.');
        let address = address.parse().unwrap_or_else(|_| panic!("no address in {first:?}"));
        let second = timeout(START, lines.next_line()).await.expect("it goes on").expect("UTF-8").expect("a line");
        let (_, http_address) = second.trim_end_matches('.').rsplit_once("//").expect("a URL");
        let http_address = http_address.parse().unwrap_or_else(|_| panic!("no address in {second:?}"));
        // The rest of the greeting is read away, so that the pipe never fills.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address, http_address, greeting: first }
    }

    /// A caller with this credential.
    pub async fn caller(&self, secret: Option<&str>) -> Client {
        Client::connect(self.address, secret).await
    }

    /// kill -9.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM; answers the exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().expect("running").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs");
        assert!(sent.success());
        timeout(LONGEST_END, self.child.wait()).await.expect("it ends in time").expect("it ends").code()
    }
}

/// Runs a command to its end; answers exit code, standard output, standard error.
pub async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let mut child = command.spawn().expect("the command starts");
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let (read_out, read_err) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    read_out.expect("UTF-8");
    read_err.expect("UTF-8");
    (child.wait().await.expect("it ends").code(), out, err)
}

/// The root key kept in a data folder.
pub fn root_secret(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("root.key")).expect("a root key").trim_end().to_owned()
}
