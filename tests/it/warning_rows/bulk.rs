//! Rows by the thousand, put into the database behind the service's back, as the service would have written them.

use chrono::{SecondsFormat, TimeDelta};
use claviger::domain::{
    Time,
    audit::event_id,
    ids::{KeyId, SubscriberId},
};
use claviger::random;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, TransactionTrait};

use crate::harness::Place;
use crate::rig::{database, select};

const ROWS_PER_STATEMENT: usize = 500;

/// A connection to the service's database, and as of when rows are written.
pub struct Bulk {
    pub database: DatabaseConnection,
    now: Time,
    pepper: String,
}

/// Which keys: of service users with these numbers, in these slots.
pub struct Keys<'a> {
    pub tenant: &'a str,
    pub service_users: std::ops::Range<usize>,
    pub slots: std::ops::Range<i64>,
    /// The first one; each next slot's is a minute later.
    pub expire_time: Time,
}

impl Bulk {
    /// Into a schema that a service has started on once.
    pub async fn into(place: &Place, now: Time) -> Self {
        let database = database(place).await;
        let pepper = select::<String>(&database, "SELECT id FROM pepper").await.remove(0);
        Self { database, now, pepper }
    }

    /// Rows as the words inside the parentheses.
    pub async fn insert(&self, table: &str, rows: &[String]) {
        let transaction = self.database.begin().await.expect("a transaction");
        for some in rows.chunks(ROWS_PER_STATEMENT) {
            let sql = format!("INSERT INTO {table} VALUES ({})", some.join("), ("));
            transaction.execute_unprepared(&sql).await.unwrap_or_else(|error| panic!("{sql:.400}: {error}"));
        }
        transaction.commit().await.expect("committed");
    }

    pub async fn execute(&self, sql: &str) -> u64 {
        let done = self.database.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
    }

    /// In UTC, warned at midnight, and waiting for a first look.
    pub async fn tenants(&self, ids: &[String]) {
        let table = "tenant (id, display_name, state, warning_hour, create_time, update_time, revision)";
        let made = quoted(self.now - TimeDelta::days(30));
        self.insert(table, &each(ids, |id| format!("'{id}', '{id}', 'ENABLED', 0, {made}, {made}, 1"))).await;
    }

    /// `user-0` and so on.
    pub async fn service_users(&self, tenant: &str, count: usize) {
        let table =
            "service_user (tenant_id, id, display_name, description, state, create_time, update_time, revision)";
        let made = quoted(self.now - TimeDelta::days(30));
        let numbers: Vec<usize> = (0..count).collect();
        let row = |user: &usize| format!("'{tenant}', 'user-{user}', 'User {user}', '', 'ENABLED', {made}, {made}, 1");
        self.insert(table, &each(&numbers, row)).await;
    }

    /// Enabled keys, a month old. Answers their ids.
    pub async fn keys(&self, keys: &Keys<'_>) -> Vec<String> {
        let table = "api_key (id, tenant_id, service_user_id, display_name, description, state, scopes, networks, \
                     expire_time, create_time, update_time, slot, secret_digest, pepper_id, revision)";
        let made = quoted(self.now - TimeDelta::days(30));
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        for user in keys.service_users.clone() {
            for slot in keys.slots.clone() {
                let id = KeyId::from_random(random::bytes().expect("randomness")).to_string();
                let expire_time = quoted(keys.expire_time + TimeDelta::minutes(slot));
                rows.push(format!(
                    "'{id}', '{}', 'user-{user}', 'key {slot} of {user}', 'For invoices', 'ENABLED', '[\"pay\"]', '[]', \
                     {expire_time}, {made}, {made}, {slot}, {}, '{}', 1",
                    keys.tenant,
                    self.digest(),
                    self.pepper
                ));
                ids.push(id);
            }
        }
        self.insert(table, &rows).await;
        ids
    }

    /// A group with account alerts.
    pub async fn user_group(&self, tenant: &str, id: &str, addresses: &[String]) {
        let made = quoted(self.now - TimeDelta::days(30));
        let group = "user_group (tenant_id, id, display_name, account_alerts, create_time, update_time, revision)";
        self.insert(group, &[format!("'{tenant}', '{id}', '{id}', 1, {made}, {made}, 1")]).await;
        let member = "user_group_member (tenant_id, user_group_id, folded, position, email, display_name)";
        let numbered: Vec<_> = addresses.iter().enumerate().collect();
        let row =
            |(position, email): &(usize, &String)| format!("'{tenant}', '{id}', '{email}', {position}, '{email}', ''");
        self.insert(member, &each(&numbered, row)).await;
    }

    /// Whoever was to get a mail before. Answers their ids.
    pub async fn subscribers(&self, tenant: &str, addresses: &[String]) -> Vec<String> {
        let made = quoted(self.now - TimeDelta::days(100));
        let fresh = || SubscriberId::from_random(random::bytes().expect("randomness")).as_str().to_owned();
        let with_ids: Vec<_> = addresses.iter().map(|address| (fresh(), address)).collect();
        let row = |(id, email): &(String, &String)| format!("'{id}', '{tenant}', '{email}', '{email}', 0, '', {made}");
        self.insert("subscriber (id, tenant_id, folded, email, refusals, refusal, create_time)", &each(&with_ids, row))
            .await;
        with_ids.into_iter().map(|(id, _)| id).collect()
    }

    /// One delivery each for today, due, until `end_time`. Answers their ids, in order.
    pub async fn deliveries(
        &self,
        tenant: &str,
        subscribers: &[String],
        day: &str,
        state: &str,
        end: Time,
    ) -> Vec<String> {
        let table = "delivery (id, tenant_id, subscriber_id, day, due_time, end_time, state, attempts, next_attempt_time, \
                     answer, message_id, key_count, create_time, update_time)";
        let (due, end) = (quoted(self.now - TimeDelta::minutes(5)), quoted(end));
        let with_ids: Vec<_> = subscribers.iter().map(|subscriber| (self.uuid(), subscriber)).collect();
        let row = |(id, subscriber): &(String, &String)| {
            format!(
                "'{id}', '{tenant}', '{subscriber}', '{day}', {due}, {end}, '{state}', 0, {due}, '', '', 0, {due}, {due}"
            )
        };
        self.insert(table, &each(&with_ids, row)).await;
        with_ids.into_iter().map(|(id, _)| id).collect()
    }

    /// One unread warning for each key and each of `days`.
    pub async fn notifications(&self, tenant: &str, keys: &[String], days: &[&str]) {
        let table =
            "notification (id, tenant_id, kind, once, key_name, key_display_name, expire_time, days_left, create_time)";
        let now = quoted(self.now);
        let mut rows = Vec::new();
        for day in days {
            rows.extend(keys.iter().map(|key| {
                let id = self.uuid();
                let name = format!("tenants/{tenant}/serviceUsers/user-0/keys/{key}");
                format!(
                    "'{id}', '{tenant}', 'KEY_EXPIRING', 'KEY_EXPIRING/{key}/{day}', '{name}', 'a key', {now}, 1, {now}"
                )
            }));
        }
        self.insert(table, &rows).await;
    }

    fn uuid(&self) -> String {
        event_id(self.now, random::bytes().expect("randomness")).to_string()
    }

    fn digest(&self) -> String {
        let bytes: [u8; 32] = random::bytes().expect("randomness");
        blob(&self.database, &bytes)
    }
}

/// Bytes as this engine writes them.
pub fn blob(database: &DatabaseConnection, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match database.get_database_backend() {
        DbBackend::Postgres => format!(r"'\x{digits}'"),
        _ => format!("X'{digits}'"),
    }
}

/// A time as both engines store it.
pub fn quoted(time: Time) -> String {
    format!("'{}'", time.to_rfc3339_opts(SecondsFormat::AutoSi, false))
}

/// `n` addresses that nobody else has.
pub fn addresses(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:05}@example.com")).collect()
}

fn each<T>(values: &[T], row: impl Fn(&T) -> String) -> Vec<String> {
    values.iter().map(row).collect()
}
