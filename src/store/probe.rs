//! The first contact with PostgreSQL: what can never work is refused with the way out, once, at the start.
//!
//! Behind transaction pooling (pgbouncer's `pool_mode = transaction`) the settings of a session, its locks and its prepared
//! statements end up in somebody else's hands. A session's server process has one pid for its whole life, and two living
//! sessions have two. If a connection sees another pid than before, or two connections see the same, somebody in between
//! lends sessions. Idle first, then inside transactions, because that is when a pooler gives the same one away.

use sea_orm::sqlx::{self, Connection, PgConnection, Row, postgres::PgConnectOptions};

use super::{StoreError, error::within};

/// How often a second connection tries to be lent the first one's session.
const ATTEMPTS: usize = 2;

/// Fails with `Address` when TLS can't be agreed on, `Pooling` when sessions are lent per transaction, `ReadOnly` on a
/// standby, else with `Unavailable`.
pub(super) async fn check(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut first = connect(options).await?;
    refuse_standby(&mut first).await?;
    let pid = server_process(&mut first).await?;
    let mut others = Vec::with_capacity(ATTEMPTS);
    for _ in 0..ATTEMPTS {
        let mut other = connect(options).await?;
        within(sqlx::raw_sql("BEGIN").execute(&mut other)).await?;
        let others_pid = server_process(&mut other).await?;
        others.push(other);
        if others_pid == pid || server_process(&mut first).await? != pid {
            return Err(StoreError::Pooling(POOLER.to_owned()));
        }
    }
    for connection in others.into_iter().chain([first]) {
        within(connection.close()).await?;
    }
    Ok(())
}

const POOLER: &str = "the database URL leads to a pooler in transaction mode, which mixes up sessions; \
                      use a direct connection or session pooling (pgbouncer: pool_mode = session)";
const STANDBY: &str = "the database URL leads to a standby; let its name lead to the primary";

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connecting = async { PgConnection::connect_with(options).await.map_err(explained) };
    within(connecting).await
}

/// A failed handshake says what is wrong, and not what to do. The texts are sqlx's and rustls's.
fn explained(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    let advice = if text.contains("does not support TLS") {
        "turn on `ssl` in its postgresql.conf, or, where the network is safe, write sslmode=disable"
    } else if text.contains("not valid for name") || text.contains("NotValidForName") {
        "write a host in the database URL that its certificate names, or give the server another certificate"
    } else if text.contains("invalid peer certificate") {
        "give the authority that signed the server's certificate as sslrootcert in the database URL"
    } else {
        return error.into();
    };
    StoreError::Address(format!("the database can't be trusted as its URL asks: {text}; {advice}"))
}

async fn refuse_standby(connection: &mut PgConnection) -> Result<(), StoreError> {
    let row = within(sqlx::raw_sql(IN_RECOVERY).fetch_one(connection)).await?;
    if row.try_get(0)? { Err(StoreError::ReadOnly(STANDBY.to_owned())) } else { Ok(()) }
}

/// True on a standby, and on a server that is being restored.
pub(super) const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";

/// By the simple protocol, which needs no prepared statement that a pooler could lose.
async fn server_process(connection: &mut PgConnection) -> Result<i32, StoreError> {
    let row = within(sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection)).await?;
    row.try_get(0).map_err(StoreError::from)
}
