//! Warnings: who is told, when, and what became of it.
//!
//! Rows of user groups carry revisions as every resource does. Notifications, deliveries, subscribers and the time of last
//! use are bookkeeping: they take no revision, and no mirror holds them. What must happen once is a unique row here: a
//! notification for each key and day, a delivery for each subscriber and day.

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
    // The version before this one inserts tenants without these columns, so they have defaults.
    "ALTER TABLE tenant ADD COLUMN time_zone {text} NOT NULL DEFAULT 'UTC'",
    "ALTER TABLE tenant ADD COLUMN warning_hour {smallint} NOT NULL DEFAULT 9 CHECK (warning_hour BETWEEN 0 AND 23)",
    // When a run should look at the tenant again. The epoch: at once.
    "ALTER TABLE tenant ADD COLUMN next_warning_time {time} NOT NULL DEFAULT '1970-01-01T00:00:00+00:00'",
    "CREATE INDEX tenant_warning ON tenant (next_warning_time, id) WHERE delete_time IS NULL",
    // Keys whose end is still to be recorded, and keys to warn about.
    "CREATE INDEX api_key_end ON api_key (expire_time) WHERE slot IS NOT NULL AND expire_time IS NOT NULL",
    "CREATE INDEX api_key_end_of_tenant ON api_key (tenant_id, expire_time, id)
        WHERE slot IS NOT NULL AND expire_time IS NOT NULL",
    "CREATE TABLE key_usage (
        key_id         {text} NOT NULL PRIMARY KEY REFERENCES api_key (id) ON DELETE CASCADE,
        last_used_time {time} NOT NULL
    ){strict}",
    "CREATE TABLE user_group (
        tenant_id      {text}     NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
        id             {text}     NOT NULL CHECK (length(id) BETWEEN 1 AND 63),
        display_name   {text}     NOT NULL,
        account_alerts {smallint} NOT NULL CHECK (account_alerts IN (0, 1)),
        create_time    {time}     NOT NULL,
        update_time    {time}     NOT NULL,
        revision       {bigint}   NOT NULL CHECK (revision > 0),
        PRIMARY KEY (tenant_id, id)
    ){strict}",
    // `folded` is the address with its domain in lower case: what makes two addresses one.
    "CREATE TABLE user_group_member (
        tenant_id        {text}     NOT NULL,
        user_group_id    {text}     NOT NULL,
        folded           {text}     NOT NULL,
        position         {smallint} NOT NULL,
        email            {text}     NOT NULL,
        display_name     {text}     NOT NULL,
        unsubscribe_time {time},
        PRIMARY KEY (tenant_id, user_group_id, folded),
        FOREIGN KEY (tenant_id, user_group_id) REFERENCES user_group (tenant_id, id) ON DELETE CASCADE
    ){strict}",
    "CREATE INDEX user_group_member_of_tenant ON user_group_member (tenant_id, folded)",
    // Whoever was ever to get a mail of a tenant. The id stands for the address in links and Message-IDs.
    "CREATE TABLE subscriber (
        id          {text}     NOT NULL PRIMARY KEY CHECK (length(id) = 22),
        tenant_id   {text}     NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
        folded      {text}     NOT NULL,
        email       {text}     NOT NULL,
        refusals    {smallint} NOT NULL CHECK (refusals >= 0),
        refusal     {text}     NOT NULL,
        refuse_time {time},
        create_time {time}     NOT NULL,
        UNIQUE (tenant_id, folded)
    ){strict}",
    "CREATE INDEX subscriber_purge ON subscriber (create_time)",
    // Ids are UUIDs of version 7 as text, which sort by time. `once` names what must not be told twice.
    "CREATE TABLE notification (
        id               {text} NOT NULL PRIMARY KEY CHECK (length(id) = 36),
        tenant_id        {text} NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
        kind             {text} NOT NULL
            CHECK (kind IN ('KEY_EXPIRING', 'KEY_EXPIRED', 'KEY_ROTATED', 'LAST_SUBSCRIBER_GONE')),
        once             {text} NOT NULL,
        key_name         {text},
        key_display_name {text},
        expire_time      {time},
        days_left        {smallint},
        superseded_by    {text},
        create_time      {time} NOT NULL,
        read_time        {time},
        UNIQUE (tenant_id, once),
        CONSTRAINT notification_key_is_for_keys CHECK ((key_name IS NULL) = (kind = 'LAST_SUBSCRIBER_GONE')),
        CONSTRAINT notification_days_left_is_for_warnings CHECK ((days_left IS NOT NULL) = (kind = 'KEY_EXPIRING'))
    ){strict}",
    "CREATE INDEX notification_list ON notification (tenant_id, id)",
    "CREATE INDEX notification_unread_of_key ON notification (key_name) WHERE read_time IS NULL AND kind = 'KEY_EXPIRING'",
    "CREATE INDEX notification_unread ON notification (tenant_id, id) WHERE read_time IS NULL",
    "CREATE INDEX notification_purge ON notification (create_time)",
    // `attempts` is the fence: who claimed a delivery settles it only while nobody has claimed it again.
    "CREATE TABLE delivery (
        id                {text}     NOT NULL PRIMARY KEY CHECK (length(id) = 36),
        tenant_id         {text}     NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
        subscriber_id     {text}     NOT NULL REFERENCES subscriber (id) ON DELETE CASCADE,
        day               {text}     NOT NULL CHECK (length(day) = 10),
        due_time          {time}     NOT NULL,
        end_time          {time}     NOT NULL,
        state             {text}     NOT NULL
            CHECK (state IN ('PENDING', 'SENDING', 'SENT', 'REFUSED', 'GIVEN_UP', 'SKIPPED')),
        attempts          {smallint} NOT NULL CHECK (attempts >= 0),
        next_attempt_time {time}     NOT NULL,
        answer            {text}     NOT NULL,
        message_id        {text}     NOT NULL,
        key_count         {bigint}   NOT NULL CHECK (key_count >= 0),
        create_time       {time}     NOT NULL,
        update_time       {time}     NOT NULL,
        UNIQUE (tenant_id, subscriber_id, day)
    ){strict}",
    "CREATE INDEX delivery_list ON delivery (tenant_id, id)",
    "CREATE INDEX delivery_list_by_state ON delivery (tenant_id, state, id)",
    "CREATE INDEX delivery_of_subscriber ON delivery (subscriber_id, id)",
    "CREATE INDEX delivery_due ON delivery (next_attempt_time, id) WHERE state IN ('PENDING', 'SENDING')",
    "CREATE INDEX delivery_due_of_tenant ON delivery (tenant_id, next_attempt_time, id) WHERE state IN ('PENDING', 'SENDING')",
    "CREATE INDEX delivery_purge ON delivery (create_time)",
];
