//! Runs generators: this program again, in a process of its own, on a core of its own.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::load::{Load, Measurement, Shape};
use crate::server::{Cores, Server, beside};
use crate::site::Site;

/// What the driver calls it in the tables.
pub const NAME: &str = "blast";

/// A running generator.
pub struct Blast(Child);

impl Blast {
    /// Starts one beside a server on `cores`.
    pub fn start(load: &Load, cores: Cores) -> Outcome<Self> {
        let mut command = beside(&std::env::current_exe()?, cores);
        let mut child = command.arg("generate").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().ok_or("no pipe")?;
        input.write_all(&serde_json::to_vec(load)?)?;
        drop(input);
        Ok(Self(child))
    }

    /// Waits for its end, and answers what it found.
    pub fn finish(self) -> Outcome<Measurement> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err("the generator failed; it said why above".into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The load of this shape on a server that works on `site`.
pub fn load(server: &Server, site: &Site, shape: Shape, warm_up: Duration, duration: Duration) -> Load {
    Load {
        address: server.address,
        server: server.process(),
        caller: site.caller.clone(),
        shape,
        beside: None,
        keys: site.keys,
        warm_up,
        duration,
    }
}
