//! An SQLite file into an empty PostgreSQL: what `claviger copy` does.
//!
//! What is copied is read from the schema itself, so that no table can be forgotten: every one but the schema's own list of
//! changes. Everything happens in one transaction of PostgreSQL, page by page, and before it is committed both databases are
//! read anew and compared, table by table, by count and digest. So it is there whole and proven, or not at all.

mod rows;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement, TransactionTrait};

use crate::domain::limits;

use super::{
    PostgresSettings, StoreError, Target, connect,
    schema::{self, Standing},
    write::{THIS_REVISION, revision_row},
};

use rows::grouped;
use table::Table;

pub use rows::Fingerprint;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no SQLite file, or nothing was ever stored in it.
    #[error("there is nothing to copy in {0}: no service was ever started on it; check CLAVIGER_DATA")]
    NothingHere(PathBuf),
    /// The file has another schema than this binary.
    #[error("{file}: {why}")]
    OtherSchema {
        /// The SQLite file.
        file: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The database has tables of somebody else.
    #[error("{target} has a table `{table}`, which isn't Claviger's; copy into a database of its own")]
    Foreign {
        /// The database.
        target: String,
        /// The table.
        table: String,
    },
    /// The database has rows.
    #[error(
        "{target} isn't empty: its table `{table}` has rows, and a copy never mixes two installations; copy into a new \
         database"
    )]
    NotEmpty {
        /// The database.
        target: String,
        /// The table.
        table: String,
    },
    /// A table couldn't be read or written.
    #[error("table `{table}` can't be copied, so nothing was: {cause}")]
    Table {
        /// The table.
        table: String,
        /// Why.
        cause: StoreError,
    },
    /// Another failure of a database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for CopyError {
    fn from(error: DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// How far a copy is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// So many rows of a table are written, of how many.
    Copied {
        /// The table.
        table: &'a str,
        /// Rows that are written.
        done: u64,
        /// Rows there are.
        all: u64,
    },
    /// A table was read from both databases, and compared.
    Compared(&'a CopiedTable),
}

/// A table after the copy, as both databases hold it.
#[derive(Debug)]
pub struct CopiedTable {
    /// The table.
    pub name: String,
    /// What SQLite has.
    pub from: Fingerprint,
    /// What PostgreSQL has.
    pub to: Fingerprint,
}

impl CopiedTable {
    /// Whether both have the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.from == self.to
    }
}

/// What was copied, and what it needs besides. When a table differs, everything was undone.
#[derive(Debug)]
pub struct Copied {
    /// Every table, parents first.
    pub tables: Vec<CopiedTable>,
    /// Ids of the peppers under which keys are stored.
    pub peppers: Vec<String>,
    /// Ids of the KEKs under which secrets are sealed.
    pub keks: Vec<String>,
}

impl Copied {
    /// Whether every table is the same in both databases, and the copy there to stay.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.tables.iter().all(CopiedTable::is_equal)
    }
}

/// Copies the SQLite `file`, which nobody else has open, into the PostgreSQL of these settings, whose schema it makes.
pub async fn copy(
    file: &Path,
    settings: &PostgresSettings,
    progress: impl FnMut(Progress<'_>),
) -> Result<Copied, CopyError> {
    if !file.exists() {
        return Err(CopyError::NothingHere(file.to_owned()));
    }
    let source = connect::sqlite_reader(file).await?;
    let copied = match refuse_other_schema(&source, file).await {
        Ok(()) => into_postgres(&source, settings, progress).await,
        Err(error) => Err(error),
    };
    schema::close(source).await;
    copied
}

async fn refuse_other_schema(source: &DatabaseConnection, file: &Path) -> Result<(), CopyError> {
    let why = match schema::standing(source).await? {
        Standing::Current if !schema::is_unused(source).await? => return Ok(()),
        Standing::Empty | Standing::Current => return Err(CopyError::NothingHere(file.to_owned())),
        Standing::Lacks(count) => format!(
            "it lacks {count} change(s) of the schema; make a backup, run `claviger migrate` without CLAVIGER_DATABASE_URL, \
             and copy then"
        ),
        Standing::Expanded(_) | Standing::Contracted => {
            "a newer version of claviger made its schema; copy with that version".to_owned()
        }
    };
    Err(CopyError::OtherSchema { file: file.to_owned(), why })
}

/// The lock of migrations is held all along, so a service that is started meanwhile waits.
async fn into_postgres(
    source: &DatabaseConnection,
    settings: &PostgresSettings,
    progress: impl FnMut(Progress<'_>),
) -> Result<Copied, CopyError> {
    let name = Target::Postgres(settings.clone()).to_string();
    let target = schema::open(&Target::Postgres(settings.clone())).await?;
    let source = source.begin().await?;
    let copied = match prepare(&source, &target, &name).await {
        Ok(()) => in_one_transaction(&source, &target, &name, progress).await,
        Err(error) => Err(error),
    };
    source.rollback().await?;
    schema::close(target).await;
    copied
}

/// Brings the target's schema to this version, unless that would be into somebody else's database.
async fn prepare(source: &DatabaseTransaction, target: &DatabaseConnection, name: &str) -> Result<(), CopyError> {
    let ours = table::names(source).await?;
    if let Some(table) = table::foreign(target, &ours).await? {
        return Err(CopyError::Foreign { target: name.to_owned(), table });
    }
    match schema::standing(target).await? {
        Standing::Current => Ok(()),
        Standing::Empty => Ok(schema::apply(target).await?),
        Standing::Lacks(count) => Err(schema::lacks(count).into()),
        Standing::Expanded(_) | Standing::Contracted => Err(schema::newer().into()),
    }
}

async fn in_one_transaction(
    source: &DatabaseTransaction,
    target: &DatabaseConnection,
    name: &str,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Copied, CopyError> {
    let target = target.begin().await?;
    let tables = table::all(source, &target).await?;
    empty(&target, &tables, name).await?;
    for table in &tables {
        copy_table(source, &target, table, &mut progress).await.map_err(|cause| of_table(table, cause))?;
    }
    let mut copied = Copied { tables: Vec::new(), peppers: Vec::new(), keks: Vec::new() };
    for table in &tables {
        let proof = compare(source, &target, table).await.map_err(|cause| of_table(table, cause))?;
        progress(Progress::Compared(&proof));
        copied.tables.push(proof);
    }
    copied.peppers = texts(source, "SELECT DISTINCT pepper_id FROM api_key ORDER BY pepper_id").await?;
    copied.keks = texts(source, "SELECT DISTINCT kek_id FROM sealed_secret ORDER BY kek_id").await?;
    if copied.is_whole() {
        target.commit().await.map_err(StoreError::of_commit)?;
    } else {
        target.rollback().await?;
    }
    Ok(copied)
}

fn of_table(table: &Table, cause: StoreError) -> CopyError {
    CopyError::Table { table: table.name.clone(), cause }
}

/// Takes the revision's lock, so that nobody writes from now on, and refuses what has rows. A new schema has a revision,
/// and a token of it, which those of the copy replace.
async fn empty(target: &DatabaseTransaction, tables: &[Table], name: &str) -> Result<(), CopyError> {
    let not_empty = |table: &str| CopyError::NotEmpty { target: name.to_owned(), table: table.to_owned() };
    if revision_row(target, THIS_REVISION).await? != 0 {
        return Err(not_empty("revision"));
    }
    for table in tables.iter().filter(|table| !table::MADE_WITH_A_ROW.contains(&&*table.name)) {
        if rows::count(target, table).await? > 0 {
            return Err(not_empty(&table.name));
        }
    }
    for table in table::MADE_WITH_A_ROW {
        target.execute_unprepared(&format!("DELETE FROM {table}")).await?;
    }
    Ok(())
}

async fn copy_table(
    source: &DatabaseTransaction,
    target: &DatabaseTransaction,
    table: &Table,
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<(), StoreError> {
    let all = rows::count(source, table).await?;
    let (mut done, mut told, mut after) = (0, 0, None);
    while let Some(page) = rows::page(source, table, after.as_deref()).await? {
        after = Some(table.key_of(&page));
        done += page.rows();
        rows::insert(target, table, page).await?;
        if done == all || done - told >= limits::COPY_PROGRESS {
            told = done;
            progress(Progress::Copied { table: &table.name, done, all });
        }
    }
    Ok(())
}

async fn compare(
    source: &DatabaseTransaction,
    target: &DatabaseTransaction,
    table: &Table,
) -> Result<CopiedTable, StoreError> {
    let from = rows::fingerprint(source, table).await?;
    let to = rows::fingerprint(target, table).await?;
    Ok(CopiedTable { name: table.name.clone(), from, to })
}

/// The first column of every row.
async fn texts(database: &impl ConnectionTrait, sql: &str) -> Result<Vec<String>, DbErr> {
    let statement = Statement::from_string(database.get_database_backend(), sql);
    let rows = database.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copied { table, done, all } => write!(f, "{table}: {} of {} rows", grouped(*done), grouped(*all)),
            Self::Compared(table) if table.is_equal() => write!(f, "{}: compared, the same in both", table.name),
            Self::Compared(table) => write!(f, "{}: compared, NOT THE SAME", table.name),
        }
    }
}

impl fmt::Display for CopiedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_equal() {
            return write!(f, "{:<18} {}", self.name, self.from);
        }
        writeln!(f, "{:<18} {} in SQLite", self.name, self.from)?;
        write!(f, "{:<18} {} in PostgreSQL: NOT THE SAME", "", self.to)
    }
}
