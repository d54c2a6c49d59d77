//! Claviger's schema, one file per change, for SQLite and PostgreSQL.
//!
//! A file that was released never changes; a correction is a new file at the end of the list. A change must run while the
//! version before it still serves, and that version must be able to start again on it: so it only adds, and what it adds to
//! a table is nullable or has a default. What takes something away, or demands more of what is there, has `_contract_` in
//! its name, which older versions refuse; it comes one version after the last one that used what goes. The SQL is plain
//! text, so that an operator can read what will happen; only the names of types differ between the engines, see [`engine`].
//! Who applies it, and under which lock, is `claviger::store`'s matter.
#![forbid(unsafe_code)]

mod engine;
mod m20261121_000001_first_schema;
mod m20261121_000002_warnings;
mod m20261121_000003_replicas;
mod m20261122_000004_key_groups;
mod m20261122_000005_policies;
mod m20261122_000006_retrievable_keys;
mod m20261122_000007_certificate_identities;

use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager, async_trait};

/// Every change of the schema, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_first_schema::Migration),
            Box::new(m20261121_000002_warnings::Migration),
            Box::new(m20261121_000003_replicas::Migration),
            Box::new(m20261122_000004_key_groups::Migration),
            Box::new(m20261122_000005_policies::Migration),
            Box::new(m20261122_000006_retrievable_keys::Migration),
            Box::new(m20261122_000007_certificate_identities::Migration),
        ]
    }
}

/// The names of all changes this binary knows, oldest first.
#[must_use]
pub fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// Whether a change of this name, known or not, takes something away that an older version may need.
#[must_use]
pub fn contracts(name: &str) -> bool {
    name.contains("_contract_")
}

/// The names of the changes that the database has. Only reads, so it needs no right to change the schema.
pub async fn applied(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if !SchemaManager::new(database).has_table("seaql_migrations").await? {
        return Ok(Vec::new());
    }
    let names = Statement::from_string(database.get_database_backend(), "SELECT version FROM seaql_migrations");
    let rows = database.query_all_raw(names).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// Applies every change that the database lacks, each in a transaction of its own. Not safe when two processes do it at
/// once: the caller holds a lock.
pub async fn apply(database: &DatabaseConnection) -> Result<(), DbErr> {
    Migrator::up(database, None).await
}
