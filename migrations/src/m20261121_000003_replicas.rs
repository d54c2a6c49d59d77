//! Replicas: who follows the feed and how far it is, and a random token for each revision.
//!
//! The token tells two histories apart that have the same numbers: a replica that remembers (revision, token) and finds
//! another one, or none, knows that the database lost writes. Triggers write it, so that no writer can forget to; on
//! PostgreSQL the same trigger tells those who listen on channel `claviger`, when the change is committed.

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
    "CREATE TABLE revision_token (
        revision    {bigint} NOT NULL PRIMARY KEY,
        token       {text}   NOT NULL,
        create_time {time}   NOT NULL
    ){strict}",
    "CREATE INDEX revision_token_time ON revision_token (create_time)",
    // `serves_until`: when it stops answering Verify unless it sees the database again.
    "CREATE TABLE replica (
        id               {text}   NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 100),
        applied_revision {bigint} NOT NULL,
        heartbeat_time   {time}   NOT NULL,
        serves_until     {time}   NOT NULL
    ){strict}",
];

const ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER note_revision AFTER UPDATE OF value ON revision BEGIN
        INSERT INTO revision_token (revision, token, create_time)
        VALUES (NEW.value, lower(hex(randomblob(16))), strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'));
    END",
    "INSERT INTO revision_token (revision, token, create_time)
        SELECT value, lower(hex(randomblob(16))), strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now') FROM revision",
];

const ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION claviger_note_revision() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO revision_token (revision, token, create_time)
        VALUES (NEW.value, gen_random_uuid()::text, clock_timestamp());
        PERFORM pg_notify('claviger', NEW.value::text);
        RETURN NULL;
    END
    $$",
    "CREATE TRIGGER note_revision AFTER UPDATE OF value ON revision
        FOR EACH ROW EXECUTE FUNCTION claviger_note_revision()",
    "INSERT INTO revision_token (revision, token, create_time)
        SELECT value, gen_random_uuid()::text, clock_timestamp() FROM revision",
];
