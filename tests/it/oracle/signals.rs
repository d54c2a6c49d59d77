//! Processes that are stopped for a while, and connections that a firewall drops without a word.

use std::process::Command;

use crate::harness::engine::skip;

/// Stopped processes; they go on when this is dropped.
pub struct Stopped(Vec<u32>);

impl Stopped {
    /// The first one before the others.
    pub fn stop(processes: Vec<u32>) -> Self {
        let stopped = Self(processes);
        stopped.send("-STOP");
        stopped
    }

    fn send(&self, signal: &str) {
        for process in &self.0 {
            Command::new("kill").args([signal, &process.to_string()]).status().ok();
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.send("-CONT");
    }
}

/// A table of our own in the machine's firewall; gone when dropped.
pub struct Firewall {
    table: String,
}

impl Firewall {
    /// `None`, with a loud line, when we may not.
    pub fn new() -> Option<Self> {
        let firewall = Self { table: format!("claviger_test_{}", std::process::id()) };
        let table = &firewall.table;
        let made =
            nft(&format!("add table ip {table}; add chain ip {table} out {{ type filter hook output priority 0; }}"));
        if !made {
            skip("no firewall: nft isn't there, or we are not root");
            return None;
        }
        Some(firewall)
    }

    /// Drops every packet between these two ports, in both directions.
    pub fn drop_between(&self, one: u16, other: u16) {
        for (from, to) in [(one, other), (other, one)] {
            assert!(nft(&format!("add rule ip {} out tcp sport {from} tcp dport {to} drop", self.table)));
        }
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        nft(&format!("delete table ip {}", self.table));
    }
}

fn nft(script: &str) -> bool {
    Command::new("nft").arg(script).status().is_ok_and(|status| status.success())
}
