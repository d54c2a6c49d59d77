//! Brings the schema to where this binary expects it, or says what to do.
//!
//! On PostgreSQL both the look and the change happen under one advisory lock, held by one connection: without it, of
//! twelve processes that started at once seven died (reference/style.md 3.3). An SQLite file has one process, which the
//! lock on the data folder sees to.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::domain::limits;

use super::{StoreError, Target, connect, postgres_url, probe, write};

/// Ours among the advisory locks of a database: "claviger" in ASCII.
const LOCK: i64 = 0x636c_6176_6967_6572;

/// What the database's schema is to this binary.
#[derive(Debug)]
pub(super) enum Standing {
    Empty,
    Current,
    Lacks(usize),
    /// A newer version added so much to it, and took nothing away.
    Expanded(usize),
    /// A newer version took something away.
    Contracted,
}

/// See [`super::Store::prepare_schema`].
pub(super) async fn prepare(target: &Target) -> Result<(), StoreError> {
    let database = open(target).await?;
    let outcome = match standing(&database).await {
        Ok(Standing::Empty) => apply(&database).await,
        Ok(Standing::Current) => Ok(()),
        Ok(Standing::Lacks(count)) => Err(lacks(count)),
        Ok(Standing::Expanded(changes)) => {
            tracing::warn!(changes, "a newer version has added to the database's schema; this one does without");
            Ok(())
        }
        Ok(Standing::Contracted) => Err(newer()),
        Err(error) => Err(error),
    };
    close(database).await;
    outcome
}

/// See [`super::Store::migrate`].
pub(super) async fn migrate(target: &Target) -> Result<u32, StoreError> {
    let database = open(target).await?;
    let count = match standing(&database).await {
        Ok(Standing::Empty) => Ok(claviger_migrations::known().len()),
        Ok(Standing::Lacks(count)) => Ok(count),
        // Undoing what a newer version added would lose what it wrote there.
        Ok(Standing::Current | Standing::Expanded(_)) => Ok(0),
        Ok(Standing::Contracted) => Err(newer()),
        Err(error) => Err(error),
    };
    let outcome = match count {
        Ok(0) | Err(_) => count,
        Ok(count) => apply(&database).await.map(|()| count),
    };
    close(database).await;
    outcome.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) fn lacks(count: usize) -> StoreError {
    StoreError::Schema(format!(
        "the database lacks {count} change(s) of its schema; make a backup and run `claviger migrate`"
    ))
}

pub(super) fn newer() -> StoreError {
    let what = "the database was made by a newer version of claviger; start that version, or restore a backup";
    StoreError::Schema(format!("{what} (`claviger --version` shows this one's)"))
}

/// A connection of its own; on PostgreSQL it holds the lock until it is closed.
pub(super) async fn open(target: &Target) -> Result<DatabaseConnection, StoreError> {
    let settings = match target {
        Target::Sqlite { file } => return connect::sqlite_writer(file).await,
        Target::Postgres(settings) => settings,
    };
    let options = postgres_url::options(settings)?.application_name("claviger migrate");
    probe::check(&options).await?;
    let database = connect::postgres_alone(&options, settings.connect_timeout, limits::MIGRATION_WAIT).await?;
    let backend = database.get_database_backend();
    let lock = Statement::from_sql_and_values(backend, "SELECT pg_advisory_lock($1)", [LOCK.into()]);
    database.execute_raw(lock).await?;
    Ok(database)
}

pub(super) async fn close(database: DatabaseConnection) {
    if let Err(error) = database.close().await {
        tracing::warn!(%error, "the connection for migrations could not be closed cleanly");
    }
}

/// Only reads, so that it needs no rights to change the schema.
pub(super) async fn standing(database: &DatabaseConnection) -> Result<Standing, StoreError> {
    let known: BTreeSet<String> = claviger_migrations::known().into_iter().collect();
    let applied: BTreeSet<String> = claviger_migrations::applied(database).await?.into_iter().collect();
    if applied.is_empty() {
        return Ok(Standing::Empty);
    }
    let unknown: Vec<&String> = applied.difference(&known).collect();
    if unknown.iter().any(|name| claviger_migrations::contracts(name)) {
        return Ok(Standing::Contracted);
    }
    match (known.difference(&applied).count(), unknown.len()) {
        (0, 0) => Ok(Standing::Current),
        (0, count) => Ok(Standing::Expanded(count)),
        // A first start that died between two changes of the schema.
        (_, 0) if is_unused(database).await? => Ok(Standing::Empty),
        (count, 0) => Ok(Standing::Lacks(count)),
        // Two histories: a database that is ahead has everything from before.
        (_, _) => Ok(Standing::Contracted),
    }
}

/// Whether nothing was ever stored: the first start takes the first revision.
pub(super) async fn is_unused(database: &DatabaseConnection) -> Result<bool, StoreError> {
    Ok(write::revision_row(database, "SELECT value FROM revision WHERE id = 1").await? == 0)
}

pub(super) async fn apply(database: &DatabaseConnection) -> Result<(), StoreError> {
    Ok(claviger_migrations::apply(database).await?)
}
