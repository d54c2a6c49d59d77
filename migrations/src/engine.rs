//! What differs between the engines: names of types.
//!
//! Ids and texts compare byte by byte on both, which is SQLite's own order and collation "C" on PostgreSQL. Times are
//! RFC 3339 text with microseconds in UTC on SQLite, whose order as text is their order in time. SQLite's tables are
//! STRICT, so that it refuses a value of another type as PostgreSQL does.

use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, DbErr};

/// Placeholder, SQLite, PostgreSQL.
const NAMES: [(&str, &str, &str); 6] = [
    ("{text}", "TEXT", "text COLLATE \"C\""),
    ("{time}", "TEXT", "timestamptz"),
    ("{bigint}", "INTEGER", "bigint"),
    ("{smallint}", "INTEGER", "smallint"),
    ("{bytes}", "BLOB", "bytea"),
    ("{strict}", " STRICT", ""),
];

/// Runs `statements`, written for the engine at hand.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    for sql in statements {
        connection.execute_unprepared(&translate(sql, manager.get_database_backend())?).await?;
    }
    Ok(())
}

/// Writes `sql` for `backend`. Fails for an engine that isn't supported.
fn translate(sql: &str, backend: DbBackend) -> Result<String, DbErr> {
    if !matches!(backend, DbBackend::Sqlite | DbBackend::Postgres) {
        return Err(DbErr::Migration(format!("{backend:?} is not supported")));
    }
    let translated = NAMES.iter().fold(sql.to_owned(), |sql, (placeholder, sqlite, postgres)| {
        sql.replace(placeholder, if backend == DbBackend::Sqlite { sqlite } else { postgres })
    });
    Ok(translated)
}
