//! Opens the connections: on either engine one pool for writers, one for readers, and one connection for the feed.
//!
//! The pools are made with sqlx's own options and handed to sea-orm, because sea-orm's connector would write the URL with
//! its password into a TRACE span.

use std::path::Path;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::{
    self, AssertSqlSafe, Connection, Executor, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::time::timeout;

use crate::domain::limits;

use super::{StoreError, Target, probe, target};

/// The pools of a store.
pub(super) struct Pools {
    pub(super) writers: DatabaseConnection,
    pub(super) readers: DatabaseConnection,
    pub(super) feed: DatabaseConnection,
    pub(super) concurrent_writers: u32,
}

/// Opens all pools.
pub(super) async fn open(target: &Target, application_name: &str) -> Result<Pools, StoreError> {
    match target {
        Target::Sqlite { file } => {
            // The writer first: it switches the file to the write-ahead log before anybody reads.
            let writers = sqlite_writer(file).await?;
            let readers = sqlite_pool(sqlite_options(file).pragma("query_only", "ON"), limits::READERS).await?;
            let feed = sqlite_pool(sqlite_options(file).pragma("query_only", "ON"), 1).await?;
            Ok(Pools { writers, readers, feed, concurrent_writers: 1 })
        }
        Target::Postgres { url } => {
            let options = target::postgres_options(url)?.application_name(application_name);
            probe::refuse_transaction_pooling(&options).await?;
            let writers = postgres_pool(&options, limits::POSTGRES_WRITERS).await?;
            let readers = postgres_pool(&options, limits::READERS).await?;
            let feed = postgres_pool(&options, 1).await?;
            Ok(Pools { writers, readers, feed, concurrent_writers: limits::POSTGRES_WRITERS })
        }
    }
}

/// The only connection that writes to an SQLite file.
pub(super) async fn sqlite_writer(file: &Path) -> Result<DatabaseConnection, StoreError> {
    create_private(file).await?;
    sqlite_pool(sqlite_options(file).journal_mode(SqliteJournalMode::Wal), 1).await
}

/// Makes the file readable by its owner alone; SQLite gives its other files the same mode.
async fn create_private(file: &Path) -> Result<(), StoreError> {
    let made = tokio::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file).await;
    made.map(drop).map_err(|error| StoreError::Address(format!("{} can't be opened: {error}", file.display())))
}

fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(limits::SQLITE_BUSY)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
}

async fn sqlite_pool(options: SqliteConnectOptions, size: u32) -> Result<DatabaseConnection, StoreError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(limits::CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    Ok(pool.into())
}

async fn postgres_pool(options: &PgConnectOptions, size: u32) -> Result<DatabaseConnection, StoreError> {
    let settings = session_settings(
        limits::LOCK_TIMEOUT.as_millis(),
        limits::STATEMENT_TIMEOUT.as_millis(),
        limits::IDLE_IN_TRANSACTION.as_millis(),
    );
    let pool = postgres_pool_options(size, settings).connect_with(options.clone()).await?;
    Ok(pool.into())
}

/// One connection that is never replaced by another behind our back: locks of its session stay held until it is closed.
/// It waits up to `lock_wait_milliseconds` for a lock, and as long as needed for anything else.
pub(super) async fn postgres_alone(
    options: &PgConnectOptions,
    lock_wait_milliseconds: u128,
) -> Result<DatabaseConnection, StoreError> {
    let pool = postgres_pool_options(1, session_settings(lock_wait_milliseconds, 0, 0))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    Ok(pool.connect_with(options.clone()).await?.into())
}

fn postgres_pool_options(size: u32, settings: String) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(limits::CONNECT_TIMEOUT)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(settings)).await.map(drop) })
        })
        .after_release(|connection, _| Box::pin(answers_in_time(connection)))
}

/// sqlx asks every connection that comes back whether it is alive, and waits for ever: when the network swallows the answer
/// (a fail-over without a reset), the pool would lose that place for a quarter of an hour. An error closes it at once.
async fn answers_in_time(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match timeout(limits::PING, connection.ping()).await {
        Ok(answered) => answered.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Sent as statements, because poolers refuse unknown parameters at the start of a connection.
fn session_settings(lock: u128, statement: u128, idle_in_transaction: u128) -> String {
    format!(
        "SET lock_timeout = {lock}; \
         SET statement_timeout = {statement}; \
         SET idle_in_transaction_session_timeout = {idle_in_transaction}; \
         SET default_transaction_isolation = 'read committed'; \
         SET timezone = 'UTC'"
    )
}
