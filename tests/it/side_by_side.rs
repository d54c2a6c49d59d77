//! This version beside the next one, on one database: what that one adds does no harm, what it writes and nobody here knows
//! is denied and stops nothing else, and each change of the schema so far only added.

mod additive;

use claviger::proto::v1::{self, Verdict, VerifyRequest};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use crate::harness::{
    Client, Engine, TestApp,
    process::{command, run},
};
use crate::rig::{Change, database, eventually, select};

on_both_engines!(what_the_next_version_adds_does_no_harm, what_the_next_version_writes_and_nobody_knows_is_denied,);

const SOON: std::time::Duration = std::time::Duration::from_secs(20);

async fn execute(database: &DatabaseConnection, sql: &str) {
    database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// As its migrations would: columns for every table, a table, and the names of the changes.
async fn expand(database: &DatabaseConnection) {
    let tables = match database.get_database_backend() {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
        _ => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
    };
    let tables = select::<String>(database, tables).await;
    for table in tables.iter().filter(|table| *table != "seaql_migrations") {
        execute(database, &format!("ALTER TABLE {table} ADD COLUMN next_text text")).await;
        execute(database, &format!("ALTER TABLE {table} ADD COLUMN next_number integer NOT NULL DEFAULT 7")).await;
    }
    execute(database, "CREATE TABLE next_table (id integer PRIMARY KEY, of_tenant text REFERENCES tenant (id))").await;
    applied(database, "m29990101_000001_next").await;
}

async fn applied(database: &DatabaseConnection, name: &str) {
    execute(database, &format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)")).await;
}

/// Makes and changes one of everything.
async fn works(root: &mut Client, tenant: &str) {
    let tenant = root.create_tenant(tenant).await;
    let owner = root.create_service_user(&tenant, "billing").await;
    root.create_key_group(&tenant, "partners").await;
    root.create_user_group(&tenant, "ops", &["ada@example.com"]).await;
    let (key, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    let successor = Change::Rotate(60).make(root, &owner, &key.name).await.expect("rotated");
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    Change::Revoke.make(root, &owner, &successor.key.name).await.expect("revoked");
    assert_eq!(root.verdict(&successor.secret.expect("a secret")).await, Verdict::Revoked);
    let request = v1::ListAuditEventsRequest { parent: tenant.clone(), ..Default::default() };
    assert!(root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events.len() >= 7);
    let run = v1::RunWarningsRequest { tenant };
    root.notifications.run_warnings(run).await.expect("a run");
}

/// It goes on beside the next version, and starts again there, as when a machine fails in the middle of an upgrade, or the
/// upgrade is taken back. Once that version takes something away, it refuses.
async fn what_the_next_version_adds_does_no_harm(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    works(&mut root, "before").await;
    let database = database(&app.place).await;
    expand(&database).await;
    works(&mut root, "beside").await;
    let app = app.restart().await;
    works(&mut app.root().await, "again").await;
    app.running.stop().await;

    let mut migrate = command(&app.place);
    migrate.arg("migrate");
    let (code, out, err) = run(migrate).await;
    assert!(code == Some(0) && out.contains("nothing was changed"), "the one that was taken back: {out}{err}");
    applied(&database, "m29990102_000002_contract_keys").await;
    for name in ["serve", "migrate"] {
        let mut refused = command(&app.place);
        refused.arg(name);
        let (code, _, err) = run(refused).await;
        assert!(code == Some(1) && err.contains("was made by a newer version"), "{name}: {err}");
    }
}

/// The schema of the next version allows more than this one's.
async fn allow_anything(database: &DatabaseConnection) {
    if database.get_database_backend() == DbBackend::Sqlite {
        return execute(database, "PRAGMA ignore_check_constraints = ON").await;
    }
    let checks = "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
        FROM pg_constraint WHERE contype = 'c' AND conrelid::regclass::text IN ('api_key', 'service_user', 'tenant')";
    for sql in select::<String>(database, checks).await {
        execute(database, &sql).await;
    }
}

struct Written {
    what: &'static str,
    secret: String,
    change: String,
}

/// Keys of service users and tenants of their own, each of which the next version changes in a way that only it understands.
async fn world(root: &mut Client) -> Vec<Written> {
    let mut written = Vec::new();
    for (what, table, change) in [
        ("state", "api_key", "state = 'SUSPENDED'"),
        ("revoked-in-a-new-way", "api_key", "state = 'WITHDRAWN', revoke_time = create_time, slot = NULL"),
        ("scope", "api_key", "scopes = '[\"claviger:fly\"]'"),
        ("network", "api_key", "networks = '[\"asn:64496\"]'"),
        ("pepper", "api_key", "pepper_id = 'ffffffffffffffff'"),
        ("service-user", "service_user", "state = 'ARCHIVED'"),
        ("tenant", "tenant", "state = 'FROZEN'"),
    ] {
        let tenant = root.create_tenant(what).await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (_, secret) = root.create_key(&owner, &[]).await;
        let column = if table == "tenant" { "id" } else { "tenant_id" };
        let revision = "revision = (SELECT value FROM revision)";
        let change = format!("UPDATE {table} SET {change}, {revision} WHERE {column} = '{what}'");
        written.push(Written { what, secret, change });
    }
    written
}

/// Whether a caller may take the key for good.
async fn is_valid(root: &mut Client, secret: &str) -> bool {
    let request = VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    root.verification.verify(request).await.is_ok_and(|answer| answer.into_inner().verdict() == Verdict::Valid)
}

async fn what_the_next_version_writes_and_nobody_knows_is_denied(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let written = world(&mut root).await;
    let tenant = root.create_tenant("good").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, good) = root.create_key(&owner, &[]).await;
    let strict = root.create_tenant("strict").await;
    let strict_owner = root.create_service_user(&strict, "billing").await;
    let (_, strict_secret) = root.create_key(&strict_owner, &[]).await;

    let database = database(&app.place).await;
    allow_anything(&database).await;
    let bytes = if engine == Engine::Sqlite { "zeroblob(32)" } else { "decode(repeat('00', 32), 'hex')" };
    execute(&database, &format!("INSERT INTO pepper SELECT 'ffffffffffffffff', {bytes}, create_time FROM pepper"))
        .await;
    let mut together = vec!["BEGIN", "UPDATE revision SET value = value + 1"];
    together.extend(written.iter().map(|written| &*written.change));
    together.extend(["UPDATE tenant SET policy = '{\"moon_phase\":1}' WHERE id = 'strict'", "COMMIT"]);
    execute(&database, &together.join("; ")).await;
    for Written { what, secret, .. } in &written {
        eventually(SOON, what, async || !is_valid(&mut root, secret).await).await;
    }
    let everybody_else_goes_on = async |root: &mut Client, id: &str| {
        assert!(is_valid(root, &good).await && is_valid(root, &strict_secret).await);
        works(root, id).await;
        let refused = root.try_create_key(&strict_owner, &[]).await;
        assert!(refused.is_err(), "a policy that nobody understands allows nothing: {refused:?}");
        for Written { what, secret, .. } in &written {
            assert!(!is_valid(root, secret).await, "{what}");
        }
    };
    everybody_else_goes_on(&mut root, "meanwhile").await;
    // Without a pepper that keys are stored under it doesn't start, and that is meant.
    execute(&database, "DELETE FROM api_key WHERE tenant_id = 'pepper'").await;
    let app = app.restart().await;
    everybody_else_goes_on(&mut app.root().await, "after").await;
}
