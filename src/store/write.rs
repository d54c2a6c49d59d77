//! One change, or one piece of bookkeeping: a turn in the queue and a transaction. Dropped without commit, it is undone.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Values,
    sea_query::{
        CommonTableExpression, Expr, ExprTrait, InsertStatement, Query, SubQueryStatement, UpdateStatement, WithClause,
    },
};

use tokio::time::{Instant, timeout};

use crate::domain::{Revision, audit::AuditEvent, limits};

use super::{Store, StoreError, audit, error::within, queue::Turn, signal::Signal};

/// One change, under one revision, with one audit event; or new keys that are written together, each a change of its own.
/// Undone when dropped.
///
/// Look-ups inside also find what is deleted; the caller decides. Everything that is written carries this revision,
/// whatever the value says; but of several new keys, and their events, each the next one.
pub struct Write {
    revision: Revision,
    // Before the turn: fields are dropped in this order, and the next writer should find the connection on its way back.
    pub(super) transaction: DatabaseTransaction,
    _turn: Turn,
    signal: Arc<Signal>,
}

/// The event of a change is written: the change may be committed. Holds the last revision it takes.
pub struct Told(Revision);

/// A transaction that changes no resource, and so takes no revision. Undone when dropped.
pub struct Bookkeeping {
    pub(super) transaction: DatabaseTransaction,
    _turn: Turn,
}

impl Store {
    /// Takes a turn, begins a transaction and takes the next revision. `Overloaded` when too many wait, or for 8 s.
    pub async fn write(&self) -> Result<Write, StoreError> {
        let turn = self.queue.turn().await?;
        let (transaction, revision) = self.begin_in_line(NEXT_REVISION).await?;
        Ok(Write { revision, transaction, _turn: turn, signal: Arc::clone(&self.signal) })
    }

    /// Takes a turn and begins a transaction. `Overloaded` as [`write`](Self::write).
    pub async fn bookkeeping(&self) -> Result<Bookkeeping, StoreError> {
        let turn = self.queue.turn().await?;
        let transaction = if self.writers.get_database_backend() == DbBackend::Postgres {
            // In line with the writers of all replicas, so that two purges never wait for each other's rows.
            self.begin_in_line(THIS_REVISION).await?.0
        } else {
            begin(&self.writers).await?
        };
        Ok(Bookkeeping { transaction, _turn: turn })
    }

    /// Begins a transaction and locks the revision row. As long as writers of other replicas are before us nothing was done
    /// yet, so we get in line again; and so we do when it turns out that this connection leads to a server, or is a session,
    /// that takes no changes.
    async fn begin_in_line(&self, sql: &str) -> Result<(DatabaseTransaction, Revision), StoreError> {
        let deadline = Instant::now() + limits::TURN_WAIT;
        loop {
            let begun = Instant::now();
            let transaction = begin(&self.writers).await?;
            match revision_row(&transaction, sql).await {
                Ok(revision) => return Ok((transaction, revision)),
                Err(StoreError::Overloaded) if Instant::now() < deadline => {}
                Err(StoreError::ReadOnly(why))
                    if self.failover.notice_since(&why, begun) && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }
}

const NEXT_REVISION: &str = "UPDATE revision SET value = value + 1 WHERE id = 1 RETURNING value";
pub(super) const THIS_REVISION: &str = "SELECT value FROM revision WHERE id = 1 FOR UPDATE";

impl Write {
    /// The revision of this change; the first one, when it is several.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Writes the events of changes that this one brings along, under this revision.
    pub async fn note(&self, mut events: Vec<AuditEvent>) -> Result<(), StoreError> {
        for event in &mut events {
            event.revision = self.revision;
        }
        audit::insert(&self.transaction, &events).await
    }

    /// Writes the event, under this revision, and makes it all true. `OutcomeUnknown` when the connection was lost in the
    /// middle: the change may have happened.
    pub async fn commit(self, event: AuditEvent) -> Result<Revision, StoreError> {
        self.note(vec![event]).await?;
        let told = Told(self.revision);
        self.commit_told(told).await
    }

    /// As [`commit`](Self::commit), when the event is written already. Answers the last revision.
    pub async fn commit_told(self, told: Told) -> Result<Revision, StoreError> {
        commit(self.transaction).await?;
        self.signal.poke();
        Ok(told.0)
    }

    /// Inserts rows together with the events of them, each a change under a revision of its own: all other writers wait for
    /// each question, and this is a single one.
    pub(super) async fn insert_and_tell(
        &self,
        rows: InsertStatement,
        mut events: Vec<AuditEvent>,
    ) -> Result<Told, StoreError> {
        for (event, revision) in events.iter_mut().zip(self.revision..) {
            event.revision = revision;
        }
        let last = events.last().map_or(self.revision, |event| event.revision);
        let more = (last > self.revision).then(|| revision_at(last));
        let question = at_once(self.transaction.get_database_backend(), rows, audit::statement(&events), more);
        within(self.transaction.execute_raw(question)).await?;
        Ok(Told(last))
    }
}

fn revision_at(value: Revision) -> UpdateStatement {
    Query::update().table("revision").value("value", value).and_where(Expr::col("id").eq(1)).to_owned()
}

impl Bookkeeping {
    /// Makes it all true. `OutcomeUnknown` as [`Write::commit`]; bookkeeping may then simply be done again.
    pub async fn commit(self) -> Result<(), StoreError> {
        commit(self.transaction).await
    }
}

/// One statement on PostgreSQL. On SQLite, which has none that changes several tables, several in one text.
fn at_once(
    backend: DbBackend,
    rows: InsertStatement,
    events: InsertStatement,
    revision: Option<UpdateStatement>,
) -> Statement {
    if backend == DbBackend::Postgres {
        let named = |name: &'static str, part: SubQueryStatement| {
            CommonTableExpression::new().query(part).table_name(name).to_owned()
        };
        let mut with = WithClause::new().cte(named("row", rows.into())).to_owned();
        if let Some(revision) = revision {
            with.cte(named("taken", revision.into()));
        }
        return backend.build(&events.with(with));
    }
    let mut parts = vec![backend.build(&rows), backend.build(&events)];
    parts.extend(revision.map(|revision| backend.build(&revision)));
    let (texts, values): (Vec<String>, Vec<_>) = parts.into_iter().map(|part| (part.sql, part.values)).unzip();
    let values = values.into_iter().flatten().flat_map(|Values(values)| values);
    Statement::from_sql_and_values(backend, texts.join("; "), values)
}

/// On SQLite the write lock is taken at once: whoever reads first and writes later may be refused then.
async fn begin(writers: &DatabaseConnection) -> Result<DatabaseTransaction, StoreError> {
    let options =
        TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    within(writers.begin_with_options(options)).await
}

async fn commit(transaction: DatabaseTransaction) -> Result<(), StoreError> {
    match timeout(limits::DATABASE_PATIENCE, transaction.commit()).await {
        Ok(ended) => ended.map_err(StoreError::of_commit),
        Err(_) => Err(StoreError::OutcomeUnknown("a commit wasn't answered in time".to_owned())),
    }
}

pub(super) async fn revision_row(database: &impl ConnectionTrait, sql: &str) -> Result<Revision, StoreError> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    match within(database.query_one_raw(statement)).await? {
        Some(row) => Ok(row.try_get("", "value")?),
        None => Err(no_revision_row()),
    }
}

pub(super) fn no_revision_row() -> StoreError {
    StoreError::Corrupt { table: "revision", id: "1".to_owned(), why: "the row is missing".to_owned() }
}
