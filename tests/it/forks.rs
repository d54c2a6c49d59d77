//! The database loses its last writes, as after the promotion of a standby that lagged behind. Here the tables are put back
//! to what they were, in one transaction and behind everybody's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use claviger::proto::v1::{self, Verdict};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use tokio::time::sleep;

use crate::certificate_identities::{identity, map};
use crate::harness::{Client, Engine, Place, TestApp, http};
use crate::rig::{Change, Replicas, database, eventually, select};

on_both_engines!(
    what_had_ended_never_comes_back,
    what_had_ended_never_comes_back_when_new_writes_overtook_the_lost_ones
);

/// Parents first.
const TABLES: [&str; 6] =
    ["tenant", "service_user", "certificate_identity", "api_key", "audit_event", "revision_token"];
/// Noticing takes a second, ending again and loading take their time on a busy machine.
const HEALED: Duration = Duration::from_secs(20);

/// Copies the tables; answers the revision.
pub async fn save(database: &DatabaseConnection) -> i64 {
    for table in TABLES {
        database
            .execute_unprepared(&format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}"))
            .await
            .expect(table);
    }
    select::<i64>(database, "SELECT value FROM revision").await[0]
}

/// Puts the tables back to what was saved, and writes on `further` times.
pub async fn lose_writes(database: &DatabaseConnection, revision: i64, further: usize) {
    let mut script = vec!["DELETE FROM revision_token".to_owned()];
    script.push(format!("UPDATE revision SET value = {revision}"));
    script.extend(TABLES.iter().rev().map(|table| format!("DELETE FROM {table}")));
    script.extend(TABLES.iter().map(|table| format!("INSERT INTO {table} SELECT * FROM saved_{table}")));
    script.extend((0..further).map(|_| "UPDATE revision SET value = value + 1".to_owned()));
    let begin = if database.get_database_backend() == DbBackend::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
    database.execute_unprepared(&format!("{begin}; {}; COMMIT", script.join("; "))).await.expect("put back");
}

/// Something that ends, with a secret of it and the verdict about it then.
struct Ending {
    what: &'static str,
    secret: String,
    verdict: Verdict,
}

/// A world before the ends: keys that will end in each way, one that lives, and a secret for each.
struct World {
    root: Client,
    owner: String,
    keys: Vec<v1::Key>,
    endings: Vec<Ending>,
    alive: String,
}

impl World {
    async fn make(mut root: Client) -> Self {
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (mut keys, mut endings) = (Vec::new(), Vec::new());
        for (what, verdict) in
            [("revoked", Verdict::Revoked), ("disabled", Verdict::Disabled), ("deleted", Verdict::Unknown)]
        {
            let (key, secret) = root.create_key(&owner, &[]).await;
            keys.push(key);
            endings.push(Ending { what, secret, verdict });
        }
        for (what, verdict) in [("user-disabled", Verdict::OwnerDisabled), ("user-deleted", Verdict::Unknown)] {
            let owner = root.create_service_user(&tenant, what).await;
            let (_, secret) = root.create_key(&owner, &[]).await;
            endings.push(Ending { what, secret, verdict });
        }
        for (what, verdict) in [("tenant-disabled", Verdict::OwnerDisabled), ("tenant-deleted", Verdict::Unknown)] {
            let tenant = root.create_tenant(what).await;
            let owner = root.create_service_user(&tenant, "billing").await;
            let (_, secret) = root.create_key(&owner, &[]).await;
            endings.push(Ending { what, secret, verdict });
        }
        let names = ["dns:stays.example.org", "dns:goes.example.org"].map(|name| identity(name, &[]));
        map(&mut root, &owner, &names).await.expect("mapped");
        let (_, alive) = root.create_key(&owner, &[]).await;
        Self { root, owner, keys, endings, alive }
    }

    async fn end(&mut self) {
        for (key, change) in self.keys.iter().zip([Change::Revoke, Change::Disable, Change::Delete]) {
            change.make(&mut self.root, &self.owner, &key.name).await.expect("changed");
        }
        map(&mut self.root, &self.owner, &[identity("dns:stays.example.org", &[])]).await.expect("taken away");
        let (users, tenants) = (&mut self.root.service_users, &mut self.root.tenants);
        let name = "tenants/acme/serviceUsers/user-disabled".to_owned();
        users
            .disable_service_user(v1::DisableServiceUserRequest { name, expected_revision: 0 })
            .await
            .expect("disabled");
        let name = "tenants/acme/serviceUsers/user-deleted".to_owned();
        let request = v1::DeleteServiceUserRequest { name, force: true, expected_revision: 0 };
        users.delete_service_user(request).await.expect("deleted");
        let name = "tenants/tenant-disabled".to_owned();
        tenants.disable_tenant(v1::DisableTenantRequest { name, expected_revision: 0 }).await.expect("disabled");
        let name = "tenants/tenant-deleted".to_owned();
        let request = v1::DeleteTenantRequest { name, force: true, expected_revision: 0 };
        tenants.delete_tenant(request).await.expect("deleted");
    }

    /// Whether every replica answers what it should about everything.
    async fn is_right(&self, callers: &mut [Client]) -> bool {
        for caller in callers {
            for ending in &self.endings {
                if verdict(caller, &ending.secret).await != Some(ending.verdict) {
                    return false;
                }
            }
            if verdict(caller, &self.alive).await != Some(Verdict::Valid) {
                return false;
            }
        }
        true
    }

    /// What ended is ended in the tables again, by changes with audit events.
    async fn is_ended_in(&self, database: &DatabaseConnection) -> bool {
        let ids: Vec<&str> = self.keys.iter().filter_map(|key| key.name.rsplit('/').next()).collect();
        let conditions = [
            format!("SELECT count(*) FROM api_key WHERE id = '{}' AND state = 'REVOKED'", ids[0]),
            format!("SELECT count(*) FROM api_key WHERE id = '{}' AND state = 'DISABLED'", ids[1]),
            format!("SELECT count(*) FROM api_key WHERE id = '{}' AND delete_time IS NOT NULL", ids[2]),
            "SELECT count(*) FROM certificate_identity".to_owned(),
            "SELECT count(*) FROM certificate_identity WHERE name LIKE 'dns:stays%'".to_owned(),
            "SELECT count(*) FROM service_user WHERE id = 'user-disabled' AND state = 'DISABLED'".to_owned(),
            "SELECT count(*) FROM service_user WHERE id = 'user-deleted' AND delete_time IS NOT NULL".to_owned(),
            "SELECT count(*) FROM tenant WHERE id = 'tenant-disabled' AND state = 'DISABLED'".to_owned(),
            "SELECT count(*) FROM tenant WHERE id = 'tenant-deleted' AND delete_time IS NOT NULL".to_owned(),
        ];
        for sql in conditions {
            if select::<i64>(database, &sql).await != [1] {
                return false;
            }
        }
        true
    }
}

async fn verdict(caller: &mut Client, secret: &str) -> Option<Verdict> {
    let request = v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    caller.verification.verify(request).await.ok().map(|answer| answer.into_inner().verdict())
}

/// Asks about what ended, again and again, until told to stop; counts answers and wrong ones.
async fn watch(
    mut caller: Client,
    secrets: Vec<(&'static str, String)>,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
) {
    while !stop.load(Ordering::Relaxed) {
        for (what, secret) in &secrets {
            assert_ne!(verdict(&mut caller, secret).await, Some(Verdict::Valid), "{what} came back");
            asked.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn what_had_ended_never_comes_back(engine: Engine) {
    run(engine, 0).await;
}

async fn what_had_ended_never_comes_back_when_new_writes_overtook_the_lost_ones(engine: Engine) {
    run(engine, 100).await;
}

async fn run(engine: Engine, further: usize) {
    match engine {
        Engine::Sqlite => {
            let Some(app) = TestApp::start(engine).await else { return };
            let forks = async || {
                let answer = http::ask(app.http_address(), "GET", "/metrics", "").await;
                answer.body.lines().any(|line| line == "claviger_forks_total 1")
            };
            assert!(!forks().await);
            lose_and_heal(&app.place, vec![app.root().await], further).await;
            assert!(forks().await, "it was counted, once");
        }
        Engine::Postgres => {
            let Some(replicas) = Replicas::new(2).await else { return };
            let processes = replicas.start().await;
            let secret = replicas.root_secret();
            let callers = vec![processes[0].caller(Some(&secret)).await, processes[1].caller(Some(&secret)).await];
            lose_and_heal(&replicas.places[0], callers, further).await;
        }
    }
}

async fn lose_and_heal(place: &Place, mut callers: Vec<Client>, further: usize) {
    let database = database(place).await;
    let mut world = World::make(callers[0].clone()).await;
    let revision = save(&database).await;
    world.end().await;
    let (_, lost) = callers[0].create_key(&world.owner.clone(), &[]).await;
    assert_eq!(verdict(&mut callers[0], &lost).await, Some(Verdict::Valid));
    eventually(HEALED, "the ends are known everywhere", async || world.is_right(&mut callers).await).await;
    assert!(world.is_ended_in(&database).await);

    let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let secrets: Vec<_> = world.endings.iter().map(|ending| (ending.what, ending.secret.clone())).collect();
    let watchers: Vec<_> = callers
        .iter()
        .map(|caller| tokio::spawn(watch(caller.clone(), secrets.clone(), Arc::clone(&stop), Arc::clone(&asked))))
        .collect();
    lose_writes(&database, revision, further).await;
    let took = eventually(HEALED, "it is ended again", async || world.is_ended_in(&database).await).await;
    eventually(HEALED, "everybody is loaded anew", async || {
        let mut all = world.is_right(&mut callers).await;
        for caller in &mut callers {
            all &= verdict(caller, &lost).await == Some(Verdict::Unknown);
        }
        all
    })
    .await;
    sleep(Duration::from_millis(1_500)).await;
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        watcher.await.expect("nothing came back");
    }
    println!("ended again after {took:?}; {} answers meanwhile", asked.load(Ordering::Relaxed));

    let again = "SELECT count(*) FROM audit_event WHERE method = 'system' AND target = '%'";
    for target in world.keys.iter().map(|key| key.name.as_str()).chain(["tenants/tenant-deleted", "ends/again"]) {
        let events = select::<i64>(&database, &again.replace('%', target)).await[0];
        assert!(events >= 1, "{target}: {events} events");
    }
    let revoked = "SELECT revoke_reason FROM api_key WHERE state = 'REVOKED'";
    let reason = "revoked again: the database had lost the key's end";
    assert_eq!(select::<String>(&database, revoked).await, [reason]);
    for maker in 0..callers.len() {
        let (_, secret) = callers[maker].create_key(&world.owner.clone(), &[]).await;
        for caller in &mut callers {
            eventually(HEALED, "new keys work", async || verdict(caller, &secret).await == Some(Verdict::Valid)).await;
        }
    }
}
