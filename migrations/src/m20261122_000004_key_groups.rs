//! Key groups: names for some keys of a tenant. A key is in one at most.
//!
//! A key says by a column which group it is in. No foreign key holds that column to the group's row: SQLite can't add one of
//! two columns to a table that is there. The write order keeps it exact instead: changes come one at a time, whoever names a
//! group has just seen it, and whoever deletes a group takes every key out of it in the same change.

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
    "CREATE TABLE key_group (
        tenant_id    {text}   NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
        id           {text}   NOT NULL CHECK (length(id) BETWEEN 1 AND 63),
        display_name {text}   NOT NULL,
        description  {text}   NOT NULL,
        create_time  {time}   NOT NULL,
        update_time  {time}   NOT NULL,
        revision     {bigint} NOT NULL CHECK (revision > 0),
        PRIMARY KEY (tenant_id, id)
    ){strict}",
    // The version before this one inserts keys without it: they are in no group.
    "ALTER TABLE api_key ADD COLUMN key_group_id {text}",
    "CREATE INDEX api_key_list_of_group ON api_key (tenant_id, key_group_id, id) WHERE key_group_id IS NOT NULL",
];
