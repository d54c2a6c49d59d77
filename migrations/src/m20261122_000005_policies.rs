//! What a key says of its bearer, and what a tenant demands of its keys.

use sea_orm_migration::async_trait;
use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager};

use crate::engine;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        engine::run(manager, STATEMENTS).await
    }

    /// Whole or not at all, on SQLite too.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    // The version before this one inserts keys and tenants without these columns, so they have defaults.
    "ALTER TABLE api_key ADD COLUMN role {text} NOT NULL DEFAULT 'member' CHECK (length(role) BETWEEN 1 AND 64)",
    "ALTER TABLE api_key ADD COLUMN on_behalf_of {text} NOT NULL DEFAULT ''",
    "ALTER TABLE api_key ADD COLUMN integration_type {text} NOT NULL DEFAULT ''",
    // JSON, whose fields are those of the contract that aren't empty.
    "ALTER TABLE tenant ADD COLUMN policy {text} NOT NULL DEFAULT '{}'",
];
