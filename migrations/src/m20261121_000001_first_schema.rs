//! The first schema: the revision, peppers, tenants, service users, keys, audit events and replayed requests.
//!
//! The invariants that must hold whatever a program does are CHECKs here too: a live key occupies one of the slots 0 to 9
//! of its service user and no other key does, so an eleventh can't be stored; a reason and time of revocation exist exactly
//! for revoked keys; a digest has 32 bytes and is nobody else's.

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
    // One number for the whole installation. Every change adds one to it first, so the order of revisions is the order of
    // commits.
    "CREATE TABLE revision (
        id    {smallint} NOT NULL PRIMARY KEY CHECK (id = 1),
        value {bigint}   NOT NULL CHECK (value >= 0)
    ){strict}",
    "INSERT INTO revision (id, value) VALUES (1, 0)",
    // Peppers that keys were ever stored under; the peppers themselves are never in the database.
    "CREATE TABLE pepper (
        id          {text}  NOT NULL PRIMARY KEY,
        check_value {bytes} NOT NULL CHECK (length(check_value) = 32),
        create_time {time}  NOT NULL
    ){strict}",
    "CREATE TABLE tenant (
        id           {text}   NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 63),
        display_name {text}   NOT NULL,
        state        {text}   NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
        create_time  {time}   NOT NULL,
        update_time  {time}   NOT NULL,
        delete_time  {time},
        revision     {bigint} NOT NULL CHECK (revision > 0)
    ){strict}",
    "CREATE INDEX tenant_feed ON tenant (revision, id)",
    "CREATE INDEX tenant_purge ON tenant (delete_time) WHERE delete_time IS NOT NULL",
    "CREATE TABLE service_user (
        tenant_id    {text}   NOT NULL REFERENCES tenant (id),
        id           {text}   NOT NULL CHECK (length(id) BETWEEN 1 AND 63),
        display_name {text}   NOT NULL,
        description  {text}   NOT NULL,
        state        {text}   NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
        create_time  {time}   NOT NULL,
        update_time  {time}   NOT NULL,
        delete_time  {time},
        revision     {bigint} NOT NULL CHECK (revision > 0),
        PRIMARY KEY (tenant_id, id)
    ){strict}",
    "CREATE INDEX service_user_feed ON service_user (revision, tenant_id, id)",
    "CREATE INDEX service_user_purge ON service_user (delete_time) WHERE delete_time IS NOT NULL",
    "CREATE TABLE api_key (
        id                    {text}   NOT NULL PRIMARY KEY CHECK (length(id) = 22),
        tenant_id             {text}   NOT NULL,
        service_user_id       {text}   NOT NULL,
        display_name          {text}   NOT NULL,
        description           {text}   NOT NULL,
        state                 {text}   NOT NULL CHECK (state IN ('ENABLED', 'DISABLED', 'REVOKED', 'EXPIRED')),
        revoke_time           {time},
        revoke_reason         {text},
        scopes                {text}   NOT NULL,
        networks              {text}   NOT NULL,
        expire_time           {time},
        lifetime_microseconds {bigint} CHECK (lifetime_microseconds > 0),
        create_time           {time}   NOT NULL,
        update_time           {time}   NOT NULL,
        delete_time           {time},
        creator               {text},
        supersedes            {text},
        superseded_by         {text},
        slot                  {smallint} CHECK (slot BETWEEN 0 AND 9),
        secret_digest         {bytes}  NOT NULL UNIQUE CHECK (length(secret_digest) = 32),
        pepper_id             {text}   NOT NULL REFERENCES pepper (id),
        revision              {bigint} NOT NULL CHECK (revision > 0),
        FOREIGN KEY (tenant_id, service_user_id) REFERENCES service_user (tenant_id, id),
        CONSTRAINT api_key_slot_is_free UNIQUE (tenant_id, service_user_id, slot),
        CONSTRAINT api_key_slot_is_for_live_keys
            CHECK ((slot IS NOT NULL) = (state IN ('ENABLED', 'DISABLED') AND delete_time IS NULL)),
        CONSTRAINT api_key_revoke_time_is_for_revoked_keys CHECK ((revoke_time IS NOT NULL) = (state = 'REVOKED')),
        CONSTRAINT api_key_revoke_reason_is_for_revoked_keys CHECK ((revoke_reason IS NOT NULL) = (state = 'REVOKED'))
    ){strict}",
    "CREATE INDEX api_key_feed ON api_key (revision, id)",
    "CREATE INDEX api_key_list ON api_key (tenant_id, service_user_id, id)",
    "CREATE INDEX api_key_list_of_tenant ON api_key (tenant_id, id)",
    "CREATE INDEX api_key_purge ON api_key (delete_time) WHERE delete_time IS NOT NULL",
    // Ids are UUIDs of version 7 as text, which sort by time. Events outlive their tenants, so nothing is referenced.
    "CREATE TABLE audit_event (
        id         {text}   NOT NULL PRIMARY KEY CHECK (length(id) = 36),
        tenant_id  {text}   NOT NULL,
        time       {time}   NOT NULL,
        caller     {text}   NOT NULL,
        method     {text}   NOT NULL,
        target     {text}   NOT NULL,
        outcome    {text}   NOT NULL CHECK (outcome IN ('DONE', 'DENIED')),
        reason     {text}   NOT NULL,
        request_id {text}   NOT NULL,
        revision   {bigint} NOT NULL CHECK (revision >= 0),
        address    {text}   NOT NULL,
        count      {bigint} NOT NULL CHECK (count > 0),
        CONSTRAINT audit_event_reason_is_for_refusals CHECK (outcome = 'DENIED' OR reason = '')
    ){strict}",
    "CREATE INDEX audit_event_list ON audit_event (tenant_id, id)",
    "CREATE INDEX audit_event_list_of_target ON audit_event (tenant_id, target, id)",
    // Answers that can be given again for a while, sealed under a key that isn't in the database.
    "CREATE TABLE request_replay (
        caller      {text}  NOT NULL,
        request_id  {text}  NOT NULL,
        fingerprint {bytes} NOT NULL CHECK (length(fingerprint) = 32),
        sealed      {bytes} NOT NULL,
        expire_time {time}  NOT NULL,
        PRIMARY KEY (caller, request_id)
    ){strict}",
    "CREATE INDEX request_replay_expiry ON request_replay (expire_time)",
];
