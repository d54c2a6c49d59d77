//! Refuses PostgreSQL behind transaction pooling (pgbouncer's `pool_mode = transaction`), where the settings of a session,
//! its locks and its prepared statements end up in somebody else's hands.
//!
//! A session's server process has one pid for its whole life, and two living sessions have two. If a connection sees
//! another pid than before, or two connections see the same, somebody in between lends sessions. Idle first, then inside
//! transactions, because that is when a pooler gives the same one away.

use sea_orm::sqlx::{self, Connection, PgConnection, Row, postgres::PgConnectOptions};

use super::{StoreError, error::within};

/// How often a second connection tries to be lent the first one's session.
const ATTEMPTS: usize = 2;

/// Fails with `Pooling` when sessions are lent per transaction.
pub(super) async fn refuse_transaction_pooling(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut first = within(PgConnection::connect_with(options)).await?;
    let pid = server_process(&mut first).await?;
    let mut others = Vec::with_capacity(ATTEMPTS);
    for _ in 0..ATTEMPTS {
        let mut other = within(PgConnection::connect_with(options)).await?;
        within(sqlx::raw_sql("BEGIN").execute(&mut other)).await?;
        let others_pid = server_process(&mut other).await?;
        others.push(other);
        if others_pid == pid || server_process(&mut first).await? != pid {
            return Err(StoreError::Pooling(REFUSAL.to_owned()));
        }
    }
    for connection in others.into_iter().chain([first]) {
        within(connection.close()).await?;
    }
    Ok(())
}

const REFUSAL: &str = "the database URL leads to a pooler in transaction mode, which mixes up sessions; \
                       use a direct connection or session pooling (pgbouncer: pool_mode = session)";

/// By the simple protocol, which needs no prepared statement that a pooler could lose.
async fn server_process(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let row = within(sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection)).await?;
    row.try_get(0).map_err(StoreError::from)
}
