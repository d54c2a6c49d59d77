//! Retrievable keys: secrets that are kept sealed as long as their keys are live.
//!
//! What is here opens only with a KEK, which is never in the database. A key has a slot exactly while it is live, so a
//! trigger erases the sealed secret in the very change that takes the slot away: no writer can forget to, nor can the
//! version before this one, which knows nothing of such secrets.

use sea_orm_migration::async_trait;
use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager};
use sea_orm_migration::sea_orm::DbBackend;

use crate::engine;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        engine::run(manager, STATEMENTS).await?;
        let postgres = manager.get_database_backend() == DbBackend::Postgres;
        engine::run(manager, if postgres { ON_POSTGRES } else { ON_SQLITE }).await
    }

    /// Whole or not at all, on SQLite too.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    // The version before this one inserts keys without it: they are shown once.
    "ALTER TABLE api_key ADD COLUMN retrievable {smallint} NOT NULL DEFAULT 0 CHECK (retrievable IN (0, 1))",
    // Each sealed text is a nonce of 24 bytes, the text, and a tag of 16 bytes: of a data key 32, of a secret 76.
    // `reveal_times`: JSON, microseconds since 1970, of the last few.
    "CREATE TABLE sealed_secret (
        key_id       {text}  NOT NULL PRIMARY KEY REFERENCES api_key (id) ON DELETE CASCADE,
        tenant_id    {text}  NOT NULL,
        kek_id       {text}  NOT NULL CHECK (length(kek_id) = 16),
        wrapped_key  {bytes} NOT NULL CHECK (length(wrapped_key) = 72),
        sealed       {bytes} NOT NULL CHECK (length(sealed) = 116),
        reveal_times {text}  NOT NULL
    ){strict}",
    "CREATE INDEX sealed_secret_kek ON sealed_secret (kek_id, key_id)",
];

const ON_SQLITE: &[&str] = &["CREATE TRIGGER erase_sealed_secret AFTER UPDATE OF slot ON api_key
    WHEN OLD.slot IS NOT NULL AND NEW.slot IS NULL BEGIN
        DELETE FROM sealed_secret WHERE key_id = OLD.id;
    END"];

const ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION claviger_erase_sealed_secret() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM sealed_secret WHERE key_id = OLD.id;
        RETURN NULL;
    END
    $$",
    "CREATE TRIGGER erase_sealed_secret AFTER UPDATE OF slot ON api_key
        FOR EACH ROW WHEN (OLD.slot IS NOT NULL AND NEW.slot IS NULL)
        EXECUTE FUNCTION claviger_erase_sealed_secret()",
];
