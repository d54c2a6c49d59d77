//! Certificate identities: names in client certificates, each mapped to one service user of the whole installation.
//!
//! They belong to a service user's row: its revision tells of their changes. A trigger frees the names in the very change
//! that deletes their service user, so that no writer can forget to, nor can the version before this one, which knows
//! nothing of them.

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
    // `name`: `spiffe://…` or `dns:…`; an index of PostgreSQL takes texts of up to 2,700 bytes. `scopes`: a JSON array.
    "CREATE TABLE certificate_identity (
        name            {text} NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 5 AND 2048),
        tenant_id       {text} NOT NULL,
        service_user_id {text} NOT NULL,
        scopes          {text} NOT NULL,
        FOREIGN KEY (tenant_id, service_user_id) REFERENCES service_user (tenant_id, id) ON DELETE CASCADE
    ){strict}",
    "CREATE INDEX certificate_identity_owner ON certificate_identity (tenant_id, service_user_id)",
];

const ON_SQLITE: &[&str] = &["CREATE TRIGGER free_certificate_identities AFTER UPDATE OF delete_time ON service_user
    WHEN OLD.delete_time IS NULL AND NEW.delete_time IS NOT NULL BEGIN
        DELETE FROM certificate_identity WHERE tenant_id = OLD.tenant_id AND service_user_id = OLD.id;
    END"];

const ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION claviger_free_certificate_identities() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM certificate_identity WHERE tenant_id = OLD.tenant_id AND service_user_id = OLD.id;
        RETURN NULL;
    END
    $$",
    "CREATE TRIGGER free_certificate_identities AFTER UPDATE OF delete_time ON service_user
        FOR EACH ROW WHEN (OLD.delete_time IS NULL AND NEW.delete_time IS NOT NULL)
        EXECUTE FUNCTION claviger_free_certificate_identities()",
];
