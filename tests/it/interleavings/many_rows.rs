//! One revision on five thousand rows: five pages of the feed, and none is lost, while other writers go on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claviger::domain::{ids::KeyId, pepper::Peppers, secret::Secret};
use claviger::proto::v1::{self, Verdict};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::task::JoinHandle;

use super::{Scene, ask, batch};
use crate::harness::{Client, engine};
use crate::rig::{Chance, Change, database, select};

const USERS: usize = 500;
const TEN: usize = 10;
const STAMP: &str = "UPDATE revision SET value = value + 1 WHERE id = 1";

/// A tenant `many` with 500 service users of ten keys each, written under one revision; answers the secrets.
async fn five_thousand(scene: &mut Scene, database: &DatabaseConnection) -> Vec<String> {
    let peppers = std::fs::read_to_string(scene.replicas.pepper_file()).expect("peppers");
    let peppers = Peppers::parse(&peppers).expect("peppers");
    scene.callers[0].create_tenant("many").await;
    let mut script = format!(
        "BEGIN; {STAMP};
         INSERT INTO service_user (tenant_id, id, display_name, description, state, create_time, update_time, revision)
         SELECT 'many', 'u-' || n, 'a user', '', 'ENABLED', now(), now(), (SELECT value FROM revision)
         FROM generate_series(0, {}) AS n;
         INSERT INTO api_key (id, tenant_id, service_user_id, display_name, description, state, scopes, networks,
             create_time, update_time, slot, secret_digest, pepper_id, revision)
         SELECT id, 'many', 'u-' || owner, 'a key', '', 'ENABLED', '[]', '[]', now(), now(), slot, decode(digest, 'hex'),
             '{}', (SELECT value FROM revision) FROM (VALUES ",
        USERS - 1,
        peppers.current().id().as_str()
    );
    let mut secrets = Vec::new();
    for number in 0..USERS * TEN {
        let id = KeyId::from_random(claviger::random::bytes().expect("randomness"));
        let secret = Secret::generate(id, claviger::random::fill).expect("randomness");
        let digest = peppers.current().digest(secret.presented());
        let digest: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let comma = if number == 0 { "" } else { "," };
        write!(script, "{comma}('{id}', {}, {}, '{digest}')", number / TEN, number % TEN).expect("written");
        secrets.push(secret.reveal().to_owned());
    }
    script.push_str(") AS made (id, owner, slot, digest); COMMIT");
    database.execute_unprepared(&script).await.expect("5,000 keys");
    secrets
}

/// Stamps all of them with one revision, as one change does; answers it.
async fn stamp(database: &DatabaseConnection, state: &str) -> i64 {
    let script = format!(
        "BEGIN; {STAMP};
         UPDATE api_key SET state = '{state}', revision = (SELECT value FROM revision) WHERE tenant_id = 'many'; COMMIT"
    );
    database.execute_unprepared(&script).await.expect("stamped");
    let revisions: Vec<i64> = select(database, "SELECT DISTINCT revision FROM api_key WHERE tenant_id = 'many'").await;
    assert_eq!(revisions.len(), 1, "one revision");
    revisions[0]
}

/// Asks one replica about some of them, again and again; answers all that it heard.
fn listen(
    mut caller: Client,
    secrets: Vec<String>,
    seed: u64,
    enough: Arc<AtomicBool>,
) -> JoinHandle<Vec<(Verdict, i64)>> {
    tokio::spawn(async move {
        let (mut chance, mut heard) = (Chance::of(seed), Vec::new());
        while !enough.load(Ordering::SeqCst) {
            let question = |secret: &String| v1::VerifyRequest { secret: secret.clone(), ..Default::default() };
            let requests = (0..50).map(|_| question(&secrets[chance.below(secrets.len())])).collect();
            let told = batch(&mut caller, v1::BatchVerifyRequest { requests }).await.into_iter().flatten();
            heard.extend(told.map(|told| (told.verdict(), told.revision)));
        }
        heard
    })
}

/// Other changes meanwhile, through one replica.
fn write_on(mut caller: Client, number: usize, enough: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let owner = caller.create_service_user("tenants/acme", &format!("user-{number}")).await;
        let mut changes = 0;
        while !enough.load(Ordering::SeqCst) {
            let Ok((key, _)) = caller.try_create_key(&owner, &[]).await else { continue };
            // Not in time is no matter here: the tables decide.
            Change::Delete.make(&mut caller, &owner, &key.name).await.ok();
            changes += 2;
        }
        changes
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_stamps_five_thousand_rows_with_one_revision_loses_none() {
    let phases = if engine::long() { 40 } else { 4 };
    let Some(mut scene) = Scene::set().await else { return };
    let database = database(&scene.replicas.places[0]).await;
    let secrets = five_thousand(&mut scene, &database).await;
    scene.callers[0].create_tenant("acme").await;
    let done = Arc::<AtomicBool>::default();
    let writers: Vec<_> = scene
        .callers
        .iter()
        .enumerate()
        .map(|(number, caller)| write_on(caller.clone(), number, Arc::clone(&done)))
        .collect();
    let (mut held, mut early) = (0, 0);
    for phase in 0..phases {
        let (state, verdict) =
            if phase % 2 == 0 { ("DISABLED", Verdict::Disabled) } else { ("ENABLED", Verdict::Valid) };
        let enough = Arc::<AtomicBool>::default();
        let listeners: Vec<_> = (0..)
            .zip(&scene.callers)
            .map(|(seed, caller)| listen(caller.clone(), secrets.clone(), seed, Arc::clone(&enough)))
            .collect();
        let revision = stamp(&database, state).await;
        for (number, caller) in scene.callers.iter_mut().enumerate() {
            let told = ask(caller, &secrets, revision).await;
            let wrong = told.iter().filter(|told| told.verdict() != verdict).count();
            assert_eq!(wrong, 0, "phase {phase}: replica {number} has lost {wrong} of 5,000");
        }
        enough.store(true, Ordering::SeqCst);
        for listener in listeners {
            for (told, as_of) in listener.await.expect("no panic") {
                assert!(
                    as_of < revision || told == verdict,
                    "phase {phase}: {told:?} as of {as_of}, stamped {revision}"
                );
                if as_of < revision { early += 1 } else { held += 1 }
            }
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut others = 0;
    for writer in writers {
        others += writer.await.expect("no panic");
    }
    println!(
        "{phases} times 5,000 rows: {held} answers as of the change or later, {early} before; {others} other changes"
    );
    assert!(held > 100 && others > 20, "{held} {others}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_with_five_thousand_keys_takes_all_of_them_with_it() {
    let Some(mut scene) = Scene::set().await else { return };
    let database = database(&scene.replicas.places[0]).await;
    let secrets = five_thousand(&mut scene, &database).await;
    let written = select::<i64>(&database, "SELECT value FROM revision").await[0];
    expect(&mut scene, &secrets, written, Verdict::Valid).await;
    let mut root = scene.callers[0].clone();
    let (name, expected_revision) = ("tenants/many/serviceUsers/u-7".to_owned(), 0);
    let request = v1::DeleteServiceUserRequest { name, force: true, expected_revision };
    let gone = root.service_users.delete_service_user(request).await.expect("deleted").into_inner();
    let revision = gone.service_user.expect("one").revision;
    expect(&mut scene, &secrets[7 * TEN..8 * TEN], revision, Verdict::Unknown).await;
    expect(&mut scene, &secrets[8 * TEN..], revision, Verdict::Valid).await;

    let name = "tenants/many".to_owned();
    let request = v1::DisableTenantRequest { name: name.clone(), expected_revision };
    let off = root.tenants.disable_tenant(request).await.expect("disabled").into_inner().tenant.expect("one");
    expect(&mut scene, &secrets[8 * TEN..], off.revision, Verdict::OwnerDisabled).await;
    let request = v1::EnableTenantRequest { name: name.clone(), expected_revision };
    let on = root.tenants.enable_tenant(request).await.expect("enabled").into_inner().tenant.expect("one");
    expect(&mut scene, &secrets[8 * TEN..], on.revision, Verdict::Valid).await;
    let request = v1::DeleteTenantRequest { name, force: true, expected_revision };
    let gone = root.tenants.delete_tenant(request).await.expect("deleted").into_inner().tenant.expect("one");
    expect(&mut scene, &secrets, gone.revision, Verdict::Unknown).await;
    let left = "SELECT count(*) FROM api_key WHERE tenant_id = 'many' AND delete_time IS NULL";
    assert_eq!(select::<i64>(&database, left).await, [0]);
}

/// Every replica that has this revision says so of each.
async fn expect(scene: &mut Scene, secrets: &[String], revision: i64, verdict: Verdict) {
    for (number, caller) in scene.callers.iter_mut().enumerate() {
        let told = ask(caller, secrets, revision).await;
        let wrong = told.iter().filter(|told| told.verdict() != verdict).count();
        assert_eq!(wrong, 0, "replica {number}: {wrong} of {} aren't {verdict:?} as of {revision}", secrets.len());
    }
}
