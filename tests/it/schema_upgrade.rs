//! From the schema before warnings to the one with them: nothing is lost, and what the version before says still holds.

use std::os::unix::fs::PermissionsExt;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::domain::{Time, audit::event_id, ids::KeyId, pepper::Pepper, rights::Right, secret::Secret};
use claviger::proto::v1::{self, KeyState, Verdict};
use claviger::random;
use claviger_migrations::Migrator;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sea_orm_migration::MigratorTrait;

use crate::harness::{
    Client, Engine, Place, Sink, TestApp,
    app::start_of_time,
    process::{command, run},
    sink::Options,
};
use crate::rig::{database, select};
use crate::warning_rows::bulk::{blob, quoted};

on_both_engines!(a_database_of_the_version_before_is_migrated_and_goes_on_working);

const PEPPER: [u8; 32] = [0x5a; 32];

/// What the version before has written: the tenants `system` and `acme` with a key each, and an audit event.
struct Before {
    database: DatabaseConnection,
    now: Time,
    revision: i64,
    root: Secret,
    key: Secret,
}

impl Before {
    async fn make(place: &Place) -> Self {
        if place.database_url.is_none() {
            std::fs::write(place.sqlite_file(), "").expect("written");
        }
        let database = database(place).await;
        Migrator::up(&database, Some(1)).await.expect("migrated");
        let (root, key) = (secret(), secret());
        let mut before = Self { database, now: start_of_time() - TimeDelta::days(30), revision: 0, root, key };
        let pepper = Pepper::new(&PEPPER);
        let check = blob(&before.database, &pepper.check_value());
        let new_pepper =
            before.insertion("pepper (id, check_value, create_time)", &format!("'{}', {check}", pepper.id().as_str()));
        before.execute(&new_pepper).await;
        let (root, key) = (before.root.clone(), before.key.clone());
        before.tenant("system", "root", &root, None).await;
        before.tenant("acme", "billing", &key, Some(start_of_time() + TimeDelta::days(5))).await;
        before.audit("tenants/acme").await;
        for (name, content) in [("pepper", "5a".repeat(32)), ("root.key", before.root.reveal().to_owned())] {
            let file = place.folder.path().join(name);
            std::fs::write(&file, content).expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        before
    }

    async fn execute(&self, sql: &str) {
        self.database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// `values` but the last, which is the time.
    fn insertion(&self, into: &str, values: &str) -> String {
        format!("INSERT INTO {into} VALUES ({values}, {})", quoted(self.now))
    }

    /// As the version before makes a tenant, a service user and a key: these columns and no others, in one transaction.
    async fn tenant(&mut self, tenant: &str, service_user: &str, secret: &Secret, expire_time: Option<Time>) {
        self.revision += 1;
        let (revision, now) = (self.revision, quoted(self.now));
        let new_tenant = self.insertion(
            "tenant (id, display_name, state, update_time, delete_time, revision, create_time)",
            &format!("'{tenant}', 'Tenant {tenant}', 'ENABLED', {now}, NULL, {revision}"),
        );
        let new_service_user = self.insertion(
            "service_user (tenant_id, id, display_name, description, state, update_time, delete_time, revision, create_time)",
            &format!("'{tenant}', '{service_user}', 'Service user', '', 'ENABLED', {now}, NULL, {revision}"),
        );
        let (id, digest) =
            (secret.key_id(), blob(&self.database, Pepper::new(&PEPPER).digest(secret.presented()).as_bytes()));
        let expire_time = expire_time.map_or("NULL".to_owned(), quoted);
        let scope = if tenant == "system" { Right::Admin.scope() } else { "pay" };
        let new_key = self.insertion(
            "api_key (id, tenant_id, service_user_id, display_name, description, state, revoke_time, revoke_reason, scopes, \
             networks, expire_time, lifetime_microseconds, update_time, delete_time, creator, supersedes, superseded_by, slot, \
             secret_digest, pepper_id, revision, create_time)",
            &format!(
                "'{id}', '{tenant}', '{service_user}', 'A key', 'From before', 'ENABLED', NULL, NULL, '[\"{scope}\"]', '[]', \
                 {expire_time}, NULL, {now}, NULL, NULL, NULL, NULL, 0, {digest}, '{}', {revision}",
                Pepper::new(&PEPPER).id().as_str()
            ),
        );
        self.execute(&format!(
            "BEGIN; UPDATE revision SET value = value + 1 WHERE id = 1; {new_tenant}; {new_service_user}; {new_key}; COMMIT"
        ))
        .await;
    }

    async fn audit(&self, target: &str) {
        let id = event_id(self.now, random::bytes().expect("randomness"));
        let event = self.insertion(
            "audit_event (id, tenant_id, caller, method, target, outcome, reason, request_id, revision, address, count, time)",
            &format!("'{id}', 'acme', 'tenants/system/serviceUsers/root/keys/before', 'CreateTenant', '{target}', 'DONE', '', \
                      '', {}, '', 1", self.revision),
        );
        self.execute(&event).await;
    }
}

fn secret() -> Secret {
    let id = KeyId::from_random(random::bytes().expect("randomness"));
    Secret::generate(id, random::fill).expect("randomness")
}

async fn tenant_of(root: &mut Client, name: &str) -> v1::Tenant {
    let answer = root.tenants.get_tenant(v1::GetTenantRequest { name: name.to_owned() }).await;
    answer.expect("a tenant").into_inner().tenant.expect("a tenant")
}

async fn a_database_of_the_version_before_is_migrated_and_goes_on_working(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let mut before = Before::make(&place).await;
    expect_serve_to_refuse(&place).await;
    expect_migrate_to_work(&place).await;
    assert_eq!(select::<i64>(&before.database, "SELECT value FROM revision").await, [2], "no revision is spent");

    let url = sink.url();
    let settings = [
        ("CLAVIGER_SMTP_URL", url.as_str()),
        ("CLAVIGER_SMTP_INSECURE", "true"),
        ("CLAVIGER_MAIL_FROM", "Claviger <keys@example.com>"),
    ];
    let app = TestApp::start_at_with(place, Clock::manual(start_of_time()), &settings).await;
    let mut root = app.root().await;
    assert_eq!(root.verdict(before.key.reveal()).await, Verdict::Valid);
    expect_the_same_as_before(&before, &mut root).await;

    // What the version before writes while this one runs beside it.
    let late = secret();
    before.tenant("late", "billing", &late, Some(start_of_time() + TimeDelta::days(7))).await;
    before.execute("UPDATE tenant SET display_name = 'Late', state = 'ENABLED', revision = 3 WHERE id = 'late'").await;
    assert_eq!(tenant_of(&mut root, "tenants/late").await.time_zone, "UTC");

    root.create_user_group("tenants/acme", "people", &["ada@example.com"]).await;
    root.create_user_group("tenants/late", "people", &["bob@example.com"]).await;
    app.advance(TimeDelta::hours(1));
    let report = app.running.warnings().ring().await.expect("a run").expect("done");
    assert_eq!((report.planned, report.sent), (2, 2), "past nine in UTC: {report:?}");
    assert_eq!(root.verdict(late.reveal()).await, Verdict::Valid);
    app.advance(TimeDelta::days(6));
    assert_eq!(app.running.authority().record_expiry().await.expect("recorded"), 1);
    assert_eq!(root.verdict(before.key.reveal()).await, Verdict::Expired);
}

/// Changes of the schema since.
fn newer() -> usize {
    claviger_migrations::known().len() - 1
}

async fn expect_serve_to_refuse(place: &Place) {
    let mut serve = command(place);
    serve.arg("serve");
    let (code, _, err) = run(serve).await;
    assert_ne!(code, Some(0));
    assert!(err.contains(&format!("lacks {} change(s)", newer())) && err.contains("`claviger migrate`"), "{err}");
}

async fn expect_migrate_to_work(place: &Place) {
    for said in [format!("{} migration(s) applied", newer()), "nothing was changed".to_owned()] {
        let mut migrate = command(place);
        migrate.arg("migrate");
        let (code, out, err) = run(migrate).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains(&*said), "{out}");
    }
}

async fn expect_the_same_as_before(before: &Before, root: &mut Client) {
    let tenant = tenant_of(root, "tenants/acme").await;
    assert_eq!((tenant.display_name.as_str(), tenant.revision), ("Tenant acme", 2));
    assert_eq!((tenant.time_zone.as_str(), tenant.warning_hour), ("UTC", Some(9)));
    let name = format!("tenants/acme/serviceUsers/billing/keys/{}", before.key.key_id());
    let key = root.keys.get_key(v1::GetKeyRequest { name }).await.expect("a key").into_inner().key.expect("a key");
    assert_eq!((key.state(), key.description.as_str(), key.revision), (KeyState::Enabled, "From before", 2));
    assert!(!key.retrievable, "it was shown once");
    assert_eq!((key.scopes, key.last_used_time.is_some(), key.key_group.as_str()), (vec!["pay".to_owned()], false, ""));
    let request = v1::ListAuditEventsRequest { parent: "tenants/acme".to_owned(), ..Default::default() };
    let events = root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events;
    assert!(events.iter().any(|event| event.target == "tenants/acme"), "{events:?}");
}
