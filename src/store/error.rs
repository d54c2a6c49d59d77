//! What can go wrong with the database, decided once from the driver's error.
//!
//! The text of a cause is for the log. It never holds a value of a row nor the password: drivers put those into the detail
//! of an error, which is not taken over.

use std::time::Duration;

use sea_orm::sqlx::{self, postgres::PgDatabaseError, postgres::PgSeverity, sqlite::SqliteError};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::timeout;

use crate::domain::limits;

/// Why the store didn't do it. Nothing was changed, except perhaps with [`OutcomeUnknown`](Self::OutcomeUnknown).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, is busy or refuses for now.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The server takes no changes: a standby, or a primary that had to step down.
    #[error("the database takes no changes: {0}")]
    ReadOnly(String),
    /// The connection was lost during a commit: the change may have happened or not.
    #[error("the outcome of a change is unknown: {0}")]
    OutcomeUnknown(String),
    /// Too many changes wait for their turn, in this process or in the database.
    #[error("too many changes are waiting")]
    Overloaded,
    /// A stored row breaks the rules of the domain.
    #[error("table {table}, row {id} can't be understood: {why}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row: its id, or its full name when the id alone isn't unique.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The schema isn't the one of this binary: one sentence, with the command that helps.
    #[error("{0}")]
    Schema(String),
    /// The database can't be addressed as it was told: one sentence.
    #[error("{0}")]
    Address(String),
    /// PostgreSQL is reached through a pooler that lends its sessions per transaction: one sentence.
    #[error("{0}")]
    Pooling(String),
    /// A defect of ours, or a damaged database.
    #[error("the database refused: {0}")]
    Bug(String),
}

impl StoreError {
    /// What a failed COMMIT means: only an answer of the server that it didn't happen is known.
    pub(super) fn of_commit(error: DbErr) -> Self {
        let refused = driver_error(&error).is_some_and(says_not_committed);
        if refused { Self::from(error) } else { Self::OutcomeUnknown(error.to_string()) }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        let text = error.to_string();
        let passing = match driver_error(&error) {
            Some(cause) if has_code(cause, LOCK_NOT_AVAILABLE) => return Self::Overloaded,
            Some(cause) if has_code(cause, READ_ONLY) => return Self::ReadOnly(text),
            Some(cause) if has_code(cause, INSUFFICIENT_PRIVILEGE) => return Self::Schema(format!("{text}; {ROLES}")),
            Some(cause) => is_passing(cause),
            None => matches!(error, DbErr::ConnectionAcquire(_)),
        };
        if passing { Self::Unavailable(text) } else { Self::Bug(text) }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        if is_passing(&error) { Self::Unavailable(text) } else { Self::Bug(text) }
    }
}

/// Waits for one statement, and not for ever: the server's own timeouts don't help when the network swallows its answer.
pub(super) async fn within<T, E: Into<StoreError>>(
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    within_time(limits::DATABASE_PATIENCE, statement).await
}

/// As [`within`], of something that may take longer or shorter.
pub(super) async fn within_time<T, E: Into<StoreError>>(
    patience: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match timeout(patience, work).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(StoreError::Unavailable("it didn't answer in time".to_owned())),
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    if let DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause)) = error
    {
        return Some(cause);
    }
    None
}

fn is_passing(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    if let Error::Database(cause) = error {
        let code = cause.code().unwrap_or_default();
        return match sqlite_code(error) {
            Some(primary) => SQLITE_PASSING.contains(&primary),
            None => POSTGRES_PASSING.iter().any(|prefix| code.starts_with(prefix)),
        };
    }
    matches!(
        error,
        Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed
    )
}

fn has_code(error: &sqlx::Error, wanted: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == wanted)
}

/// PostgreSQL's `lock_not_available`: others held a lock for longer than we wait for one.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// PostgreSQL's `insufficient_privilege`.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const ROLES: &str = "run `claviger migrate` with the role that owns the schema, and grant this one USAGE ON SCHEMA public \
                     and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, as the README's Database roles says";
/// PostgreSQL's `read_only_sql_transaction`.
const READ_ONLY: &str = "25006";

/// SQLSTATE codes or classes of refusals that pass: connection (08), transaction state of a session that the server ended
/// (25P03) or of a standby (25006), log-in (28), no such database (3D), serialisation and deadlock (40), resources (53),
/// locks and objects in use (55), cancelled or shutting down (57), the machine (58).
const POSTGRES_PASSING: [&str; 10] = ["08", "25P03", READ_ONLY, "28", "3D", "40", "53", "55", "57", "58"];

/// SQLITE_BUSY, LOCKED, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN.
const SQLITE_PASSING: [u32; 7] = [5, 6, 8, 9, 10, 13, 14];

/// SQLITE_BUSY, LOCKED, FULL, CONSTRAINT: the transaction is still open, or was rolled back.
const SQLITE_NOT_COMMITTED: [u32; 4] = [5, 6, 13, 19];

/// SQLite's primary result code; `None` when the error is another engine's.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(cause) = error else { return None };
    cause.try_downcast_ref::<SqliteError>()?;
    let extended: u32 = cause.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// An ERROR means that the transaction was rolled back; FATAL and PANIC end the session at an unknown moment. 40003 is
/// `statement_completion_unknown`.
fn says_not_committed(error: &sqlx::Error) -> bool {
    if let Some(code) = sqlite_code(error) {
        return SQLITE_NOT_COMMITTED.contains(&code);
    }
    let sqlx::Error::Database(cause) = error else { return false };
    let postgres = cause.try_downcast_ref::<PgDatabaseError>();
    postgres.is_some_and(|answer| matches!(answer.severity(), PgSeverity::Error) && answer.code() != "40003")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> DbErr {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::Io(cause).into()))
    }

    #[test]
    fn a_lost_connection_changed_nothing_except_perhaps_during_a_commit() {
        assert!(matches!(StoreError::from(lost()), StoreError::Unavailable(_)));
        let unknown = StoreError::of_commit(lost());
        assert!(matches!(unknown, StoreError::OutcomeUnknown(_)), "{unknown:?}");
    }
}
