//! Every statement of warnings finds its rows by an index.
//!
//! PostgreSQL is asked how many rows of each table and its indexes were read while the store's own functions ran on large
//! tables, and told to read tables whole only where it has no other way: it rightly does when they are small enough. SQLite,
//! which plans without looking at the rows, explains the same statements: sea-query writes them alike but for `$1`, which
//! SQLite understands too.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::domain::{
    Time,
    address::MailAddress,
    ids::{KeyName, TenantId},
    limits,
    notification::Kind,
    page::Page,
};
use claviger::store::{DeliveryFilter, Due, NotificationFilter, Store, Target, WarnedCursor};
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};

use super::bulk::{Bulk, Keys, addresses, quoted};
use super::statements::Statements;
use crate::harness::{Engine, Place, TestApp, app::start_of_time, engine};
use crate::rig::{database, eventually, select};

/// Those that grow without a bound.
const BIG: [&str; 8] = [
    "api_key",
    "notification",
    "delivery",
    "subscriber",
    "user_group_member",
    "key_usage",
    "service_user",
    "audit_event",
];
/// More of a table is read than this part: its tenant's, or a batch.
const PART: i64 = 4;

/// What the store is asked, by name.
const QUESTIONS: [&str; 21] = [
    "due_tenants",
    "claim_tenant",
    "has_due_deliveries",
    "claim_delivery of any",
    "claim_delivery of a tenant",
    "give_up_deliveries",
    "open_deliveries of any",
    "open_deliveries of a tenant",
    "warned_keys",
    "warned_keys, a later page",
    "warned_key_count",
    "has_unrecorded_ends",
    "unrecorded_ends",
    "subscribers",
    "is_subscriber",
    "subscriber_count",
    "notifications",
    "notifications, unread of a kind",
    "deliveries to an address",
    "settle_warnings",
    "purge",
];

struct Asked<'a> {
    store: &'a Store,
    tenant: TenantId,
    key: KeyName,
    later: WarnedCursor,
    now: Time,
}

impl Asked<'_> {
    async fn ask(&self, question: &str) {
        let Self { store, tenant, now, .. } = self;
        let (now, due) = (*now, Due { tenant: tenant.clone(), at: *now, now: *now });
        let address = MailAddress::parse("somebody00001@example.com").expect("an address");
        let page = Page { size: 100, after: None };
        match question {
            "due_tenants" => drop(store.due_tenants(now, limits::PLAN_PAGE).await.expect("answered")),
            "has_due_deliveries" => assert!(store.has_due_deliveries(now).await.expect("answered")),
            "open_deliveries of any" => drop(store.open_deliveries(None, now).await.expect("answered")),
            "open_deliveries of a tenant" => drop(store.open_deliveries(Some(tenant), now).await.expect("answered")),
            "warned_keys" => drop(store.warned_keys(&due, None, 500).await.expect("answered")),
            "warned_keys, a later page" => {
                assert!(!store.warned_keys(&due, Some(&self.later), 500).await.expect("answered").is_empty());
            }
            "warned_key_count" => assert_eq!(store.warned_key_count(&due).await.expect("answered"), 100),
            "has_unrecorded_ends" => assert!(!store.has_unrecorded_ends(now).await.expect("answered")),
            "subscribers" => drop(store.subscribers(tenant, None, 500).await.expect("answered")),
            "is_subscriber" => assert!(store.is_subscriber(tenant, &address).await.expect("answered")),
            "subscriber_count" => assert_eq!(store.subscriber_count(tenant).await.expect("answered"), 200),
            "notifications" => {
                let filter = NotificationFilter { tenant: tenant.clone(), unread: false, kind: None };
                assert_eq!(store.notifications(&filter, &page).await.expect("answered").entries.len(), 100);
            }
            "notifications, unread of a kind" => {
                let filter = NotificationFilter { tenant: tenant.clone(), unread: true, kind: Some(Kind::KeyExpiring) };
                assert_eq!(store.notifications(&filter, &page).await.expect("answered").entries.len(), 100);
            }
            "deliveries to an address" => {
                let filter = DeliveryFilter { tenant: tenant.clone(), state: None, recipient: Some(address) };
                assert_eq!(store.deliveries(&filter, &page).await.expect("answered").entries.len(), 2);
            }
            other => self.change(other).await,
        }
    }

    async fn change(&self, question: &str) {
        let Self { store, tenant, now, .. } = self;
        let (now, until) = (*now, *now + TimeDelta::minutes(1));
        if ["unrecorded_ends", "settle_warnings"].contains(&question) {
            let write = store.write().await.expect("a write");
            match question {
                "unrecorded_ends" => drop(write.unrecorded_ends(Some(&self.key.owner), now).await.expect("answered")),
                _ => {
                    write.settle_warnings([&self.key], now).await.expect("answered");
                    write.settle_warnings_of(&self.key.owner, now).await.expect("answered");
                }
            }
            return;
        }
        let asked = store.bookkeeping().await.expect("bookkeeping");
        match question {
            "claim_tenant" => {
                let found = store.tenant(tenant).await.expect("answered").expect("a tenant");
                assert!(asked.claim_tenant(&found, now, until).await.expect("answered"));
            }
            "claim_delivery of any" => drop(asked.claim_delivery(None, now, until).await.expect("answered")),
            "claim_delivery of a tenant" => {
                assert!(asked.claim_delivery(Some(tenant), now, until).await.expect("answered").is_some());
            }
            "give_up_deliveries" => assert!(asked.give_up_deliveries(now).await.expect("answered") > 0),
            "purge" => drop(asked.purge(now).await.expect("answered")),
            other => panic!("{other}"),
        }
    }
}

/// Of each 1,000 keys, 1,000 notifications and 400 deliveries.
fn tenants() -> usize {
    if engine::long() { 50 } else { 8 }
}

async fn fill(bulk: &Bulk, now: Time) {
    let tenants: Vec<String> = (0..tenants()).map(|number| format!("tenant-{number}")).collect();
    bulk.tenants(&tenants).await;
    for tenant in &tenants {
        bulk.service_users(tenant, 100).await;
        let keys =
            |slots, days| Keys { tenant, service_users: 0..100, slots, expire_time: now + TimeDelta::days(days) };
        let soon = bulk.keys(&keys(0..1, 5)).await;
        let later = bulk.keys(&keys(1..10, 60)).await;
        bulk.notifications(tenant, &[soon, later].concat(), &["2027-01-14"]).await;
        let people = addresses("somebody", 200);
        bulk.user_group(tenant, "everybody", &people).await;
        let subscribers = bulk.subscribers(tenant, &people).await;
        // Somebody to purge.
        bulk.subscribers(tenant, &addresses("gone", 1)).await;
        bulk.deliveries(tenant, &subscribers, "2027-01-13", "SENT", now).await;
        let (first, rest) = subscribers.split_at(1);
        let (second, rest) = rest.split_at(1);
        bulk.deliveries(tenant, first, "2027-01-14", "PENDING", now - TimeDelta::hours(1)).await;
        bulk.deliveries(tenant, second, "2027-01-14", "PENDING", now + TimeDelta::hours(9)).await;
        bulk.deliveries(tenant, rest, "2027-01-14", "SENT", now).await;
    }
}

/// How many rows of each table, or entries of its indexes, were read so far. A connection counts when it has ended.
async fn rows_read(database: &DatabaseConnection) -> BTreeMap<String, i64> {
    let alive = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
                 AND backend_type = 'client backend'";
    eventually(Duration::from_secs(10), "they leave", async || select::<i64>(database, alive).await[0] == 0).await;
    let sql = "SELECT relname::text, (seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS index
               WHERE index.relid = tables.relid))::bigint FROM pg_stat_user_tables AS tables
               WHERE EXISTS (SELECT 1 FROM pg_stat_user_indexes AS index WHERE index.relid = tables.relid)";
    let rows =
        database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.expect("rows");
    let row = |row: &QueryResult| (row.try_get_by_index(0).expect("text"), row.try_get_by_index(1).expect("a number"));
    rows.iter().map(row).collect()
}

async fn schema_of(engine: Engine) -> Option<Place> {
    let app = TestApp::start(engine).await?;
    app.running.stop().await;
    Some(app.place)
}

#[tokio::test]
async fn no_statement_of_warnings_reads_a_big_table_whole() {
    let (Some(place), Some(sqlite)) = (schema_of(Engine::Postgres).await, schema_of(Engine::Sqlite).await) else {
        return;
    };
    let now = start_of_time();
    let bulk = Bulk::into(&place, now).await;
    for table in BIG {
        bulk.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
    }
    fill(&bulk, now).await;
    // Those who get mails are younger than what is purged.
    let young = quoted(now - TimeDelta::days(10));
    bulk.execute(&format!("UPDATE subscriber SET create_time = {young} WHERE folded LIKE 'somebody%'")).await;
    // And the rows of before are gone from the indexes.
    bulk.execute("VACUUM ANALYZE").await;
    let name = select::<String>(&bulk.database, "SELECT current_database()::text").await.remove(0);
    bulk.execute(&format!("ALTER DATABASE {name} SET enable_seqscan = off")).await;
    let target = Target::postgres(place.database_url.clone().expect("a URL"));
    let mut sizes = BTreeMap::new();
    for table in BIG {
        sizes.insert(table, select::<i64>(&bulk.database, &format!("SELECT count(*) FROM {table}")).await[0]);
    }
    // What this connection has read counts when it has ended.
    bulk.database.close().await.expect("closed");
    let (postgres, sqlite) = (database(&place).await, database(&sqlite).await);
    let tenant = TenantId::parse("tenant-7").expect("an id");
    let store = Store::connect(&target, "plans").await.expect("a store");
    let due = Due { tenant: tenant.clone(), at: now, now };
    let first = store.warned_keys(&due, None, 50).await.expect("a page");
    let (key, later) = (first.keys[0].key.name.clone(), first.next.expect("another page"));
    store.close().await;
    let mut faults = Vec::new();
    for question in QUESTIONS {
        let before = rows_read(&postgres).await;
        let store = Store::connect(&target, "plans").await.expect("a store");
        let (tenant, key, later) = (tenant.clone(), key.clone(), later.clone());
        let statements = Statements::listen();
        Asked { store: &store, tenant, key, later, now }.ask(question).await;
        let asked = statements.take();
        drop(statements);
        store.close().await;
        assert!(!asked.is_empty(), "{question}");
        let after = rows_read(&postgres).await;
        for table in BIG {
            let read = after[table] - before[table];
            if read * PART > sizes[table] {
                faults.push(format!("PostgreSQL, {question}: {read} of {table} of {}", sizes[table]));
            }
        }
        for sql in asked {
            faults.extend(
                scans(&sqlite, &sql).await.into_iter().map(|scan| format!("SQLite, {question}: {scan} by {sql}")),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Where SQLite would read a whole big table, or a whole index of it, but for those of open deliveries alone.
async fn scans(database: &DatabaseConnection, sql: &str) -> Vec<String> {
    if sql.contains("FOR UPDATE") {
        return Vec::new();
    }
    let explain = Statement::from_string(database.get_database_backend(), format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = database.query_all_raw(explain).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let details = rows.iter().map(|row| row.try_get::<String>("", "detail").expect("a text"));
    let big = |detail: &String| {
        let scanned = detail.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
        let scanned = scanned.filter(|_| !detail.contains("INDEX delivery_due"));
        scanned.is_some_and(|table| BIG.contains(&table) || ["member", "m"].contains(&table))
    };
    details.filter(big).collect()
}
