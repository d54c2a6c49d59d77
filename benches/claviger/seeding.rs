//! Writes tenants, service users and keys straight into a database that the service prepared: its own columns, real digests,
//! many rows a statement.

use std::fmt::Write;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use claviger::clock::Clock;
use claviger::domain::{Span, Time, pepper::Pepper};

use crate::Outcome;
use crate::postgres::connect;
use crate::secrets::{Family, secret};
use crate::site::{Content, Scopes};

/// Rows of one statement.
const ROWS: u64 = 1_000;
/// Keys of a service user: the limit.
pub const KEYS_EACH: u64 = 10;
/// Service users of a tenant.
const SERVICE_USERS_EACH: u64 = 1_000;
/// Longer than anybody is warned of.
const LIFETIME: Span = Span::days(180);

const TENANT: &str = "tenant (id, display_name, state, create_time, update_time, revision)";
const SERVICE_USER: &str =
    "service_user (tenant_id, id, display_name, description, state, create_time, update_time, revision)";
const API_KEY: &str = "api_key (id, tenant_id, service_user_id, display_name, description, state, scopes, networks, \
    expire_time, lifetime_microseconds, create_time, update_time, slot, secret_digest, pepper_id, revision)";

/// Seeds; each row has a revision of its own, as if it had been made by a call of its own.
pub async fn seed(url: &str, pepper: &Pepper, content: Content) -> Outcome<()> {
    let database = connect(url).await?;
    let first = revision(&database).await?;
    let now = Clock::system().now();
    let service_users = content.keys.div_ceil(KEYS_EACH) + content.idle_service_users;
    let tenants = service_users.div_ceil(SERVICE_USERS_EACH);
    let (time, expire_time) = (text_of(now), text_of(now + LIFETIME));
    let mut seeding = Seeding { database, pepper, time, expire_time, scopes: content.scopes, revision: first };
    seeding.write(TENANT, tenants, Seeding::put_tenant).await?;
    seeding.write(SERVICE_USER, service_users, Seeding::put_service_user).await?;
    seeding.write(API_KEY, content.keys, Seeding::put_key).await?;
    let Seeding { database, revision, .. } = seeding;
    database.execute_unprepared(&format!("UPDATE revision SET value = {revision} WHERE id = 1")).await?;
    // As autovacuum would. Nobody does it to SQLite, whose planner then takes every table for a large one, rightly.
    if database.get_database_backend() == DbBackend::Postgres {
        database.execute_unprepared("ANALYZE").await?;
    }
    database.close().await?;
    Ok(())
}

/// The tenant and the name of a seeded service user; those without keys come last.
pub fn service_user(number: u64) -> (String, String) {
    (format!("tenant-{:03}", number / SERVICE_USERS_EACH), format!("user-{number:07}"))
}

/// The full name of the service user that a seeded key belongs to.
pub fn owner_of(key: u64) -> String {
    name_of(key / KEYS_EACH)
}

/// The full name of a seeded service user.
pub fn name_of(number: u64) -> String {
    let (tenant, id) = service_user(number);
    format!("tenants/{tenant}/serviceUsers/{id}")
}

struct Seeding<'a> {
    database: DatabaseConnection,
    pepper: &'a Pepper,
    time: String,
    expire_time: String,
    scopes: Scopes,
    revision: i64,
}

impl Seeding<'_> {
    async fn write(
        &mut self,
        columns: &str,
        rows: u64,
        put: fn(&Self, &mut String, u64) -> Outcome<()>,
    ) -> Outcome<()> {
        for start in (0..rows).step_by(usize::try_from(ROWS)?) {
            let mut sql = format!("INSERT INTO {columns} VALUES ");
            for number in start..rows.min(start + ROWS) {
                self.revision += 1;
                put(self, &mut sql, number)?;
                sql.push(',');
            }
            sql.pop();
            self.database.execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    fn put_tenant(&self, sql: &mut String, number: u64) -> Outcome<()> {
        let (time, revision) = (&self.time, self.revision);
        write!(sql, "('tenant-{number:03}', 'Tenant {number}', 'ENABLED', '{time}', '{time}', {revision})")?;
        Ok(())
    }

    fn put_service_user(&self, sql: &mut String, number: u64) -> Outcome<()> {
        let (time, revision) = (&self.time, self.revision);
        let (tenant, id) = service_user(number);
        write!(sql, "('{tenant}', '{id}', 'User {number}', '', 'ENABLED', '{time}', '{time}', {revision})")?;
        Ok(())
    }

    fn put_key(&self, sql: &mut String, number: u64) -> Outcome<()> {
        let Self { time, expire_time, revision, .. } = self;
        let secret = secret(Family::Seeded, number)?;
        let (id, pepper) = (secret.key_id(), self.pepper.id().as_str());
        let (tenant, user) = service_user(number / KEYS_EACH);
        // As long as each other: their answers shall weigh the same.
        let own = match self.scopes {
            Scopes::OfServiceUser => format!("user-{:05}:all", number / KEYS_EACH % 100_000),
            Scopes::OfKey => format!("key{:07}:all", number % 10_000_000),
        };
        let scopes = format!(r#"["invoices:read","invoices:write","{own}"]"#);
        let (lifetime, slot) = (LIFETIME.num_microseconds().unwrap_or(1), number % KEYS_EACH);
        let digest = self.digest(self.pepper.digest(secret.presented()).as_bytes());
        write!(
            sql,
            "('{id}', '{tenant}', '{user}', 'Key {number}', '', 'ENABLED', '{scopes}', '[]', '{expire_time}', {lifetime}, \
             '{time}', '{time}', {slot}, {digest}, '{pepper}', {revision})"
        )?;
        Ok(())
    }

    fn digest(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.database.get_database_backend() == DbBackend::Postgres {
            format!("'\\x{digits}'")
        } else {
            format!("x'{digits}'")
        }
    }
}

async fn revision(database: &DatabaseConnection) -> Outcome<i64> {
    number(database, "SELECT value FROM revision WHERE id = 1").await
}

/// The one number that a query answers, in its first column.
pub async fn number(database: &DatabaseConnection, sql: &str) -> Outcome<i64> {
    let statement = sea_orm::Statement::from_string(database.get_database_backend(), sql);
    let row = database.query_one_raw(statement).await?.ok_or("no row")?;
    Ok(row.try_get_by_index(0)?)
}

/// As sqlx writes a time into SQLite, with microseconds; PostgreSQL reads it too.
fn text_of(time: Time) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
