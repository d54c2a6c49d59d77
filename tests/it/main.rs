//! One test binary: a harness, and one file per behaviour. Tests talk to the real service over a socket, on a real SQLite
//! file and on a real PostgreSQL.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod harness;

mod life_table;
mod store_suite;
