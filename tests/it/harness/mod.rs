//! Starts the real service, in this process with a manual clock or as the real binary, and speaks to it as callers do.

#![allow(dead_code, reason = "each test uses its part")]

pub mod app;
pub mod clients;
pub mod engine;
pub mod errors;
pub mod process;

pub use app::TestApp;
pub use clients::Client;
pub use engine::{Engine, Place};
pub use process::Process;

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
