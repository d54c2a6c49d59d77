//! The feed: what changed since a revision, for mirrors. On a connection of its own.
//!
//! Write order is commit order, so rows above a revision that was seen have no holes. Pages are ordered by (revision, id)
//! and have no upper bound: a row that changes again meanwhile moves towards the end and is met there.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    Select, Statement,
    sea_query::{Expr, ExprTrait},
};

use crate::domain::{
    Revision, Time, limits,
    owner::{ServiceUser, VerifiableTenant},
    verifiable_key::VerifiableKey,
};

use super::{
    StoreError,
    certificate_identities::{read_followed, with_identities},
    entity::{api_key, service_user, tenant},
    error::within,
    failover::FailoverWatch,
    key_row::VerifiableRow,
    row::{self, Row},
    signal::Signal,
    tenants::VerifiableTenantRow,
    write,
};

/// The question of a look, with what only one engine answers.
macro_rules! look {
    ($more:literal) => {
        concat!(
            "SELECT value,
            (SELECT token FROM revision_token WHERE revision_token.revision = value) AS token,
            (SELECT token FROM revision_token WHERE revision_token.revision = $1) AS seen_token,
            (SELECT max(newest) FROM (SELECT max(revision) AS newest FROM tenant
                UNION ALL SELECT max(revision) FROM service_user) AS owner) AS owners",
            $more,
            " FROM revision WHERE id = 1"
        )
    };
}

const LOOK_ON_SQLITE: &str = look!("");
const LOOK_ON_POSTGRES: &str = look!(
    ", clock_timestamp() AS database_time, pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only')::boolean AS read_only"
);

/// Reads what changed. Cheap to clone; the clones share one connection.
#[derive(Clone)]
pub struct Feed {
    database: DatabaseConnection,
    signal: Arc<Signal>,
    failover: FailoverWatch,
}

/// How far the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The revision of the last committed change.
    pub revision: Revision,
    /// That revision's random token.
    pub token: Option<String>,
    /// The revision of the last change of a tenant or service user that is still the newest of its row.
    pub owners: Revision,
    /// The token of the revision that was asked about; `None` when the database doesn't know it.
    pub seen_token: Option<String>,
    /// The database's clock; `None` on SQLite, which has none of its own.
    pub database_time: Option<Time>,
}

/// A page of the feed: rows as the database sent them. Each is read when its turn comes, so the next page can be on its way.
pub struct Page<T> {
    rows: Vec<QueryResult>,
    read: Read<T>,
    next: Option<Cursor>,
}

type Read<T> = fn(&QueryResult) -> Result<T, StoreError>;

/// One row of the feed.
#[derive(Debug, Clone)]
pub struct FeedRow<T> {
    /// The revision that last changed it.
    pub revision: Revision,
    /// What it holds. An unreadable one carries its error, a [`StoreError::Corrupt`], and spoils no other.
    pub content: Result<T, StoreError>,
}

impl<T> Page<T> {
    /// Where the next page begins; `None` when this is the last one.
    #[must_use]
    pub fn next(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, at most 1,000, ordered by (revision, id).
    pub fn rows(self) -> impl Iterator<Item = Result<FeedRow<T>, StoreError>> {
        let read = self.read;
        self.rows
            .into_iter()
            .map(move |row| Ok(FeedRow { revision: row.try_get("", "revision")?, content: read(&row) }))
    }
}

/// A place in the feed: after one row, or after all rows of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    revision: Revision,
    parts: Vec<String>,
}

impl Cursor {
    /// Before the first row above `revision`.
    #[must_use]
    pub fn start_after(revision: Revision) -> Self {
        // No id is empty, so this lies before every row of the next revision.
        Self { revision: revision.saturating_add(1), parts: Vec::new() }
    }

    fn after<R: Row>(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self { revision: row.try_get("", "revision")?, parts: row::naming_texts::<R>(row)? })
    }
}

impl Feed {
    pub(super) fn new(database: DatabaseConnection, signal: Arc<Signal>, failover: FailoverWatch) -> Self {
        Self { database, signal, failover }
    }

    /// Asks whoever follows this feed to look soon, as each commit of this process does.
    pub fn poke(&self) {
        self.signal.poke();
    }

    /// Waits until somebody asks to look. For the one that follows.
    pub async fn poked(&self) {
        self.signal.poked().await;
    }

    /// Says that every change up to `revision` was taken in. For the one that follows.
    pub fn see(&self, revision: Revision) {
        self.signal.see(revision);
    }

    /// Reads the revision with its token, the token of the revision that was `seen` before and, on PostgreSQL, the clock, in
    /// one round trip. A standby is behind by nature, so it counts as a database that is away. What another server says
    /// that takes no changes is believed, since it may be the only one; but the next look goes wherever the database's name
    /// leads then.
    pub async fn look(&self, seen: Option<Revision>) -> Result<Look, StoreError> {
        let backend = self.database.get_database_backend();
        let postgres = backend == DbBackend::Postgres;
        let sql = if postgres { LOOK_ON_POSTGRES } else { LOOK_ON_SQLITE };
        let statement = Statement::from_sql_and_values(backend, sql, [seen.into()]);
        let row = within(self.database.query_one_raw(statement)).await?.ok_or_else(write::no_revision_row)?;
        if postgres && row.try_get("", "read_only")? {
            self.failover.notice("the server that is read from takes no changes");
        }
        if postgres && row.try_get("", "standby")? {
            return Err(StoreError::Unavailable("it is a standby".to_owned()));
        }
        Ok(Look {
            revision: row.try_get("", "value")?,
            token: row.try_get("", "token")?,
            // Before the first tenant there is none.
            owners: row.try_get::<Option<Revision>>("", "owners")?.unwrap_or(0),
            seen_token: row.try_get("", "seen_token")?,
            database_time: if postgres { Some(row.try_get("", "database_time")?) } else { None },
        })
    }

    /// The next tenants that changed.
    pub async fn tenants(&self, after: &Cursor) -> Result<Page<VerifiableTenant>, StoreError> {
        use tenant::Column;
        let query = following::<tenant::Entity>(Column::Revision, &[Column::Id], after);
        let columns = [Column::Id, Column::State, Column::DeleteTime, Column::Revision];
        let query = query.select_only().columns(columns);
        self.page::<_, VerifiableTenantRow, _>(query, row::read::<VerifiableTenantRow>).await
    }

    /// The next service users that changed, with their names in certificates.
    pub async fn service_users(&self, after: &Cursor) -> Result<Page<ServiceUser>, StoreError> {
        use service_user::Column;
        let ids = [Column::TenantId, Column::Id];
        let query = with_identities(following::<service_user::Entity>(Column::Revision, &ids, after));
        self.page::<_, service_user::Model, _>(query, read_followed).await
    }

    /// The next keys that changed.
    pub async fn keys(&self, after: &Cursor) -> Result<Page<VerifiableKey>, StoreError> {
        use api_key::Column;
        let query = following::<api_key::Entity>(Column::Revision, &[Column::Id], after);
        let is_edited = Expr::col(Column::UpdateTime).gt(Expr::col(Column::CreateTime));
        let query = query.select_only().columns(VerifiableRow::COLUMNS).expr_as(is_edited, "is_edited");
        self.page::<_, VerifiableRow, _>(query, row::read::<VerifiableRow>).await
    }

    /// `R` says what names a row.
    async fn page<E: EntityTrait, R: Row, T>(&self, query: Select<E>, read: Read<T>) -> Result<Page<T>, StoreError> {
        let rows = row::fetch(&self.database, query).await?;
        let last = rows.last().filter(|_| rows.len() as u64 >= limits::FEED_PAGE);
        let next = last.map(Cursor::after::<R>).transpose()?;
        Ok(Page { rows, read, next })
    }
}

/// Compares (revision, ids) as a whole, which both engines answer from the index.
fn following<E: EntityTrait>(revision: E::Column, ids: &[E::Column], after: &Cursor) -> Select<E> {
    let columns = [revision].into_iter().chain(ids.iter().copied()).map(Expr::col);
    let parts = (0..ids.len()).map(|index| after.parts.get(index).cloned().unwrap_or_default());
    let values = [Expr::val(after.revision)].into_iter().chain(parts.map(Expr::val));
    let mut query = E::find().filter(Expr::tuple(columns).gt(Expr::tuple(values))).order_by_asc(revision);
    for id in ids {
        query = query.order_by_asc(*id);
    }
    query.limit(limits::FEED_PAGE)
}
