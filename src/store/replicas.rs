//! The table of replicas, on PostgreSQL: who follows the feed, how far it is, and until when it may answer.
//!
//! A heartbeat is one statement of its own, without a revision and without a turn in the queue of writers, on a connection
//! that nothing else uses. It isn't flushed to disk one by one: a row that a crash of the database takes back says less
//! than is true about the revision, and about the time less than [`limits::HEARTBEAT_GRACE`] less.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement, Value, sqlx::postgres::PgConnectOptions,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::domain::{Revision, Time, limits, replica::ReplicaId};

use super::{StoreError, error::within_time, listen::Message};

/// The table, and what this process knows of it. Cheap to clone; the clones share one connection.
#[derive(Clone)]
pub struct Replicas {
    database: DatabaseConnection,
    options: PgConnectOptions,
    shared: Arc<Shared>,
}

struct Shared {
    called: Notify,
    /// Who reads the table for everybody who waits.
    reader: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    reconnects: AtomicU64,
}

struct Known {
    begun: Instant,
    replicas: Vec<LiveReplica>,
}

/// A replica that may answer Verify, by the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveReplica {
    /// Its id.
    pub id: String,
    /// Every change up to this revision was in its mirror when it last said so.
    pub applied: Revision,
}

const LIVE: &str = "SELECT id, applied_revision FROM replica WHERE serves_until > clock_timestamp()";

/// The rows are those before this heartbeat.
const BEAT: &str = "WITH beat AS (
    INSERT INTO replica (id, applied_revision, heartbeat_time, serves_until)
    VALUES ($1, $2, clock_timestamp(), clock_timestamp() + $3 * interval '1 millisecond')
    ON CONFLICT (id) DO UPDATE SET applied_revision = excluded.applied_revision,
        heartbeat_time = excluded.heartbeat_time, serves_until = excluded.serves_until)
    SELECT id, applied_revision FROM replica WHERE serves_until > clock_timestamp()";

const PURGE: &str = "DELETE FROM replica WHERE id IN
    (SELECT id FROM replica WHERE serves_until < clock_timestamp() - $1 * interval '1 hour' LIMIT $2
     FOR UPDATE SKIP LOCKED)";

/// Only the session that is meant: a process id may have been given to another one since.
const HANG_UP: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";

impl Replicas {
    /// `options` lead to the database, for the connections that listen.
    pub(super) fn new(database: DatabaseConnection, options: PgConnectOptions) -> Self {
        let shared = Shared {
            called: Notify::new(),
            reader: tokio::sync::Mutex::default(),
            known: Mutex::new(Known { begun: Instant::now(), replicas: Vec::new() }),
            reconnects: AtomicU64::new(0),
        };
        Self { database, options, shared: Arc::new(shared) }
    }

    /// Says that `own` has applied everything up to `applied`, and may go on answering for `serves` from now on.
    pub async fn beat(
        &self,
        own: &ReplicaId,
        applied: Revision,
        serves: std::time::Duration,
    ) -> Result<(), StoreError> {
        let serves = i64::try_from(serves.as_millis()).unwrap_or(i64::MAX);
        self.read_live(BEAT, vec![own.as_str().into(), applied.into(), serves.into()]).await
    }

    /// Says that `own` answers no more.
    pub async fn leave(&self, own: &ReplicaId) -> Result<(), StoreError> {
        self.execute("DELETE FROM replica WHERE id = $1", vec![own.as_str().into()]).await.map(drop)
    }

    /// Removes at most 500 replicas that stopped answering more than an hour ago; answers how many.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        let batch = i64::try_from(limits::PURGE_BATCH).unwrap_or(i64::MAX);
        self.execute(PURGE, vec![i64::from(limits::DEAD_REPLICAS_KEPT_HOURS).into(), batch.into()]).await
    }

    /// Asks every replica to say how far it is, after a look.
    pub async fn call(&self) -> Result<(), StoreError> {
        self.send(&Message::Call).await
    }

    /// Waits until somebody [calls](Self::call). For the one that writes the heartbeat.
    pub async fn called(&self) {
        self.shared.called.notified().await;
    }

    /// The live replicas, as a read of the table that began after this call shows them. However many wait, they share the
    /// reads, and those are [`limits::REPLICA_LOOK_SPACING`] apart.
    pub async fn live(&self) -> Result<Vec<LiveReplica>, StoreError> {
        let asked = Instant::now();
        let _reader = self.shared.reader.lock().await;
        let begun = self.shared.known.lock().begun;
        if begun < asked {
            sleep_until(begun + limits::REPLICA_LOOK_SPACING).await;
            self.read_live(LIVE, Vec::new()).await?;
        }
        Ok(self.known())
    }

    /// The live replicas as this process saw them last, with a heartbeat at the latest. Not those whose first heartbeat came
    /// later, so not this process itself at first.
    #[must_use]
    pub fn known(&self) -> Vec<LiveReplica> {
        self.shared.known.lock().replicas.clone()
    }

    /// How often listening had to begin anew.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }

    pub(super) fn database(&self) -> &DatabaseConnection {
        &self.database
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn count_reconnect(&self) {
        self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// A call of some replica has arrived.
    pub(super) fn hear_call(&self) {
        self.shared.called.notify_one();
    }

    /// Tells those who listen.
    pub(super) async fn send(&self, message: &Message) -> Result<(), StoreError> {
        self.execute("SELECT pg_notify('claviger', $1)", vec![message.to_string().into()]).await.map(drop)
    }

    /// Ends a session of PostgreSQL: what the other end of a dead connection never does by itself.
    pub(super) async fn hang_up(&self, pid: i32, begun: Time) -> Result<(), StoreError> {
        self.execute(HANG_UP, vec![pid.into(), begun.into()]).await.map(drop)
    }

    pub(super) async fn close(&self) -> Result<(), sea_orm::DbErr> {
        self.database.close_by_ref().await
    }

    async fn read_live(&self, sql: &str, values: Vec<Value>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        let rows = within(self.database.query_all_raw(statement)).await?;
        let replicas = rows.iter().map(live_replica).collect::<Result<_, _>>()?;
        let mut known = self.shared.known.lock();
        if begun > known.begun {
            *known = Known { begun, replicas };
        }
        Ok(())
    }

    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        Ok(within(self.database.execute_raw(statement)).await?.rows_affected())
    }
}

fn live_replica(row: &QueryResult) -> Result<LiveReplica, StoreError> {
    Ok(LiveReplica { id: row.try_get("", "id")?, applied: row.try_get("", "applied_revision")? })
}

/// Shorter than for other statements: who is late here is tried again soon.
async fn within<T>(statement: impl Future<Output = Result<T, sea_orm::DbErr>>) -> Result<T, StoreError> {
    within_time(limits::HEARTBEAT_TIMEOUT, statement).await
}
