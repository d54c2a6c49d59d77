//! Starts the real service, in this process with a manual clock or as the real binary, and speaks to it as callers do.

#![allow(dead_code, reason = "each test uses its part")]

pub mod app;
pub mod certificates;
pub mod clients;
pub mod cluster;
pub mod collector;
pub mod engine;
pub mod envoy;
pub mod errors;
pub mod faked_time;
pub mod http;
pub mod process;
pub mod prometheus;
pub mod sink;

pub use app::TestApp;
pub use clients::Client;
pub use cluster::Cluster;
pub use collector::Collector;
pub use engine::{Engine, Place};
pub use envoy::Envoy;
pub use faked_time::{FakedTime, faked_postgres};
pub use process::Process;
pub use prometheus::Prometheus;
pub use sink::{Mail, Sink};

/// What every service of a test is set to. Ports are free ones, because tests run side by side.
pub const SETTINGS: &[(&str, &str)] = &[("CLAVIGER_LISTEN", "127.0.0.1:0"), ("CLAVIGER_HTTP_LISTEN", "127.0.0.1:0")];

/// A further setting for [`TestApp`]: no KEK, though every other one has one.
pub const NO_KEK: (&str, &str) = ("CLAVIGER_KEK_FILE", "");

/// Instantiates each function, `async fn(Engine)`, once for SQLite and once for PostgreSQL.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::harness::Engine::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::harness::Engine::Postgres).await;
            })*
        }
    };
}
