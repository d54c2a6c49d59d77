//! Servers under test, each a process of its own, perhaps bound to a core.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::Outcome;
use crate::site::Site;

/// Which cores a server may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cores {
    /// The first; generators have the second.
    One,
    /// Both, as generators do.
    Both,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// The gRPC port.
    pub address: SocketAddr,
}

impl Server {
    /// The service itself, on the data of `site`.
    pub fn claviger(site: &Site, cores: Cores, further: &[(String, String)]) -> Outcome<Self> {
        let mut command = bound(Path::new(env!("CARGO_BIN_EXE_claviger")), cores);
        command.env_clear().envs(site.settings()).envs(further.iter().cloned());
        Self::start(command, "Claviger serves gRPC on ")
    }

    /// The same, run by this program.
    pub fn claviger_here(site: &Site, cores: Cores) -> Outcome<Self> {
        Self::start_here("service", site, cores)
    }

    /// An empty handler on the service's own kind of server, with its check of callers.
    pub fn our_shape(site: &Site, cores: Cores) -> Outcome<Self> {
        Self::start_here("our-shape", site, cores)
    }

    /// This program in another part, with the service's settings.
    fn start_here(part: &str, site: &Site, cores: Cores) -> Outcome<Self> {
        let mut command = bound(&std::env::current_exe()?, cores);
        command.arg(part).env_clear().envs(site.settings());
        Self::start(command, "listening on ")
    }

    /// An empty handler on tonic as it comes.
    pub fn default_tonic(program: &Path, cores: Cores) -> Outcome<Self> {
        Self::start(bound(program, cores), "listening on ")
    }

    /// A collector of traces that throws them away, on the core of the generators.
    pub fn collector() -> Outcome<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", GENERATOR_CORE]).arg(std::env::current_exe()?).arg("collector");
        Self::start(command, "listening on ")
    }

    /// Starts it and waits for the line that says where it listens.
    fn start(mut command: Command, greeting: &str) -> Outcome<Self> {
        let name = format!("{command:?}");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let address = lines.by_ref().find_map(|line| line.ok()?.strip_prefix(greeting).map(str::to_owned));
        let Some(address) = address else {
            return Err(format!("{name} ended without a greeting: {:?}", child.wait()?).into());
        };
        // The rest is read away, so that the pipe never fills.
        thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address: address.trim_end_matches('.').parse()? })
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> Outcome<()> {
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// A command that runs a server's program on these cores.
pub fn bound(program: &Path, cores: Cores) -> Command {
    on_core(program, cores, SERVER_CORE)
}

/// A command that runs a generator's program beside a server on these cores.
pub fn beside(program: &Path, cores: Cores) -> Command {
    on_core(program, cores, GENERATOR_CORE)
}

fn on_core(program: &Path, cores: Cores, core: &str) -> Command {
    match cores {
        Cores::One => {
            let mut command = Command::new("taskset");
            command.args(["-c", core]).arg(program);
            command
        }
        Cores::Both => Command::new(program),
    }
}
