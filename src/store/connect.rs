//! Opens the connections: on either engine one pool for writers, one for readers, and one connection for the feed;
//! on PostgreSQL another one for the table of replicas.
//!
//! The pools are made with sqlx's own options and handed to sea-orm, because sea-orm's connector would write the URL with
//! its password into a TRACE span.

use std::path::Path;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::{
    self, AssertSqlSafe, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::time::timeout;

use crate::domain::limits;

use super::{
    PostgresSettings, Replicas, StoreError, Target,
    failover::FailoverWatch,
    postgres_url,
    probe::{self, IN_RECOVERY},
};

/// The pools of a store.
pub(super) struct Pools {
    pub(super) writers: DatabaseConnection,
    pub(super) readers: DatabaseConnection,
    pub(super) feed: DatabaseConnection,
    pub(super) replicas: Option<Replicas>,
    pub(super) concurrent_writers: u32,
    pub(super) failover: FailoverWatch,
}

/// Opens all pools.
pub(super) async fn open(target: &Target, application_name: &str) -> Result<Pools, StoreError> {
    match target {
        Target::Sqlite { file } => {
            // The writer first: it switches the file to the write-ahead log before anybody reads.
            let writers = sqlite_writer(file).await?;
            let readers = sqlite_pool(sqlite_options(file).pragma("query_only", "ON"), limits::READERS).await?;
            let feed = sqlite_reader(file).await?;
            let failover = FailoverWatch::default();
            Ok(Pools { writers, readers, feed, replicas: None, concurrent_writers: 1, failover })
        }
        Target::Postgres(settings) => {
            let options = postgres_url::options(settings)?
                .application_name(application_name)
                .statement_cache_capacity(limits::PREPARED_STATEMENTS);
            probe::check(&options).await?;
            let failover = FailoverWatch::default();
            let writers = postgres_pool(&options, settings, settings.writers, &failover).await?;
            let readers = postgres_pool(&options, settings, settings.readers, &failover).await?;
            let feed = postgres_pool(&options, settings, 1, &failover).await?;
            let heartbeat = heartbeat_connection(&options, settings, &failover);
            let replicas = Some(Replicas::new(heartbeat, options));
            Ok(Pools { writers, readers, feed, replicas, concurrent_writers: settings.writers, failover })
        }
    }
}

/// The only connection that writes to an SQLite file.
pub(super) async fn sqlite_writer(file: &Path) -> Result<DatabaseConnection, StoreError> {
    create_private(file).await?;
    sqlite_pool(sqlite_options(file).journal_mode(SqliteJournalMode::Wal), 1).await
}

/// A connection that only reads an SQLite file, which must be there.
pub(super) async fn sqlite_reader(file: &Path) -> Result<DatabaseConnection, StoreError> {
    sqlite_pool(sqlite_options(file).pragma("query_only", "ON"), 1).await
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
        .statement_cache_capacity(limits::PREPARED_STATEMENTS)
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

async fn postgres_pool(
    options: &PgConnectOptions,
    settings: &PostgresSettings,
    size: u32,
    failover: &FailoverWatch,
) -> Result<DatabaseConnection, StoreError> {
    let session = session_settings(settings.lock_timeout, settings.statement_timeout, limits::IDLE_IN_TRANSACTION);
    let pool = renewed(postgres_pool_options(size, settings.connect_timeout, session), failover);
    Ok(pool.connect_with(options.clone()).await?.into())
}

/// Connections that leave a server which takes no changes any more, and are replaced from time to time.
fn renewed(pool: PgPoolOptions, failover: &FailoverWatch) -> PgPoolOptions {
    let (before, after) = (failover.clone(), failover.clone());
    pool.max_lifetime(limits::POSTGRES_CONNECTION_LIFE)
        // Asked below, and not for ever.
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let failover = before.clone();
            Box::pin(async move { Ok(is_usable(connection, metadata.age, &failover).await) })
        })
        .after_release(move |connection, metadata| {
            let failover = after.clone();
            Box::pin(async move { Ok(is_usable(connection, metadata.age, &failover).await) })
        })
}

/// For heartbeats and echoes, which are small and many: none waits until the disk has it. Opened when it is first used.
fn heartbeat_connection(
    options: &PgConnectOptions,
    settings: &PostgresSettings,
    failover: &FailoverWatch,
) -> DatabaseConnection {
    let patience = limits::HEARTBEAT_TIMEOUT;
    let session = format!("{}; SET synchronous_commit = off", session_settings(patience, patience, patience));
    let pool = renewed(postgres_pool_options(1, settings.connect_timeout, session), failover);
    pool.connect_lazy_with(options.clone()).into()
}

/// One connection that is never replaced by another behind our back: locks of its session stay held until it is closed.
/// It waits this long for a lock, and as long as needed for anything else.
pub(super) async fn postgres_alone(
    options: &PgConnectOptions,
    connect_timeout: Duration,
    lock_wait: Duration,
) -> Result<DatabaseConnection, StoreError> {
    let session = session_settings(lock_wait, Duration::ZERO, Duration::ZERO);
    let pool = postgres_pool_options(1, connect_timeout, session)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false);
    Ok(pool.connect_with(options.clone()).await?.into())
}

fn postgres_pool_options(size: u32, connect_timeout: Duration, session: String) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(size).acquire_timeout(connect_timeout).after_connect(move |connection, _| {
        let session = session.clone();
        Box::pin(async move { begin_session(connection, session).await })
    })
}

/// The pool tries again until its time is over, so a standby that is about to be promoted is just waited for.
async fn begin_session(connection: &mut PgConnection, session: String) -> Result<(), sqlx::Error> {
    let answer = sqlx::raw_sql(AssertSqlSafe(session)).fetch_one(connection).await?;
    if answer.try_get(0)? {
        return Err(sqlx::Error::Io(std::io::Error::other("the server is a standby")));
    }
    Ok(())
}

/// Whether a connection still leads to the database. Asked for a second at most: when the network swallows the answer (a
/// fail-over without a reset), the pool would lose that place for a quarter of an hour, and its other connections are no
/// better.
async fn is_usable(connection: &mut PgConnection, age: Duration, failover: &FailoverWatch) -> bool {
    if failover.distrusts(age) {
        return false;
    }
    match timeout(limits::PING, connection.ping()).await {
        Ok(answered) => answered.is_ok(),
        Err(_) => {
            failover.notice("a connection doesn't answer");
            false
        }
    }
}

/// Sent as statements, because poolers refuse unknown parameters at the start of a connection. Zero is "no limit". Answers
/// whether the server is a standby.
///
/// Every question has its index. Without `enable_seqscan = off` a server that counted the rows of a table while it was small
/// reads it from end to end until it counts again: creates fell to a third within seconds. The few rows of a small table are
/// read from end to end all the same, and that counts as so expensive then that PostgreSQL compiles the statement first: 40 ms
/// of a core for each heartbeat, without `jit = off`.
fn session_settings(lock: Duration, statement: Duration, idle_in_transaction: Duration) -> String {
    let (lock, statement, idle) = (lock.as_millis(), statement.as_millis(), idle_in_transaction.as_millis());
    format!(
        "SET lock_timeout = {lock}; \
         SET statement_timeout = {statement}; \
         SET idle_in_transaction_session_timeout = {idle}; \
         SET default_transaction_isolation = 'read committed'; \
         SET timezone = 'UTC'; \
         SET enable_seqscan = off; \
         SET jit = off; \
         {IN_RECOVERY}"
    )
}
