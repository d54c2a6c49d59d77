//! Retrievable keys: revealed by whoever may, as often as they may be, as long as they are live.

mod ends;
mod keks;
mod rewrap;

use chrono::TimeDelta;
use claviger::proto::v1::{self, Verdict};
use futures_util::future::join_all;
use prost_types::FieldMask;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::policies::set_policy;
use crate::rig::{Change, Replicas, database, select};
use crate::rpcs::{AUDIT, OWN, Place, REVEAL, TENANT_ADMIN, WRITE};

on_both_engines!(
    a_retrievable_key_is_revealed_and_no_other,
    a_key_is_revealed_five_times_in_any_hour,
    of_twenty_reveals_at_once_five_succeed,
    a_successor_is_retrievable_too,
    the_policy_is_asked_when_a_key_is_made_and_never_again,
    who_reveals_holds_every_right_that_the_key_carries,
    each_reveal_is_audited_before_it_is_answered,
    what_is_moved_to_another_key_opens_for_neither,
    a_repeated_request_seals_one_secret,
);

/// A service, with the service user `billing` of tenant `acme`, whose policy allows retrievable keys.
struct Scene {
    app: TestApp,
    root: Client,
    tenant: String,
    owner: String,
    database: DatabaseConnection,
}

impl Scene {
    async fn set(engine: Engine) -> Option<Self> {
        Some(Self::at(TestApp::start(engine).await?).await)
    }

    async fn at(app: TestApp) -> Self {
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let database = database(&app.place).await;
        let mut scene = Self { app, root, tenant, owner, database };
        scene.allow(true).await;
        scene
    }

    /// The same after a restart with these settings.
    async fn restarted(self, settings: &[(&str, &str)]) -> Self {
        let Self { app, tenant, owner, database, .. } = self;
        app.running.stop().await;
        let app = TestApp::start_at_with(app.place, app.clock, settings).await;
        let root = app.root().await;
        Self { app, root, tenant, owner, database }
    }

    async fn allow(&mut self, allow_retrievable: bool) {
        let policy = v1::TenantPolicy { allow_retrievable, ..Default::default() };
        set_policy(&mut self.root, &self.tenant, policy).await.expect("set");
    }

    /// Name and secret of a new key of `billing`.
    async fn make(&mut self) -> (String, String) {
        let made = create(&mut self.root, &self.owner, &[]).await.expect("made");
        (made.key.expect("a key").name, made.secret)
    }

    async fn reveal(&mut self, name: &str) -> Result<String, Status> {
        reveal(&mut self.root, name).await
    }

    /// Ids of the keys whose secrets are kept.
    async fn kept(&self) -> Vec<String> {
        select(&self.database, "SELECT key_id FROM sealed_secret ORDER BY key_id").await
    }

    async fn execute(&self, sql: &str) {
        self.database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

fn retrievable(scopes: &[&str]) -> v1::Key {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    v1::Key { display_name: "a key".to_owned(), scopes, retrievable: true, ..Default::default() }
}

/// Makes a retrievable key.
async fn create(caller: &mut Client, owner: &str, scopes: &[&str]) -> Result<v1::CreateKeyResponse, Status> {
    let request =
        v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(retrievable(scopes)), ..Default::default() };
    Ok(caller.keys.create_key(request).await?.into_inner())
}

async fn reveal(caller: &mut Client, name: &str) -> Result<String, Status> {
    Ok(caller.keys.reveal_key(v1::RevealKeyRequest { name: name.to_owned() }).await?.into_inner().secret)
}

async fn get(caller: &mut Client, name: &str) -> v1::Key {
    let got = caller.keys.get_key(v1::GetKeyRequest { name: name.to_owned() }).await.expect("a key");
    got.into_inner().key.expect("a key")
}

fn id_of(name: &str) -> &str {
    name.rsplit('/').next().expect("an id")
}

fn told<T: std::fmt::Debug>(refused: Result<T, Status>) -> (Code, String) {
    let status = refused.expect_err("refused");
    (status.code(), reason(&status))
}

/// What a key is refused for whose secret isn't kept.
fn precondition(reason: &str) -> (Code, String) {
    (Code::FailedPrecondition, reason.to_owned())
}

async fn a_retrievable_key_is_revealed_and_no_other(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    let before = get(&mut scene.root, &name).await;
    assert!(before.retrievable);
    assert_eq!(scene.reveal(&name).await.expect("revealed"), secret);
    assert_eq!(scene.root.verdict(&secret).await, Verdict::Valid);
    assert_eq!(get(&mut scene.root, &name).await, before, "the record is as it was");
    Change::Disable.make(&mut scene.root, &scene.owner, &name).await.expect("disabled");
    assert_eq!(scene.reveal(&name).await.expect("it is live still"), secret);

    let (plain, _) = scene.root.create_key(&scene.owner, &[]).await;
    assert!(!plain.retrievable);
    assert_eq!(told(scene.reveal(&plain.name).await), precondition("KEY_NOT_RETRIEVABLE"));
    Change::Revoke.make(&mut scene.root, &scene.owner, &plain.name).await.expect("revoked");
    assert_eq!(told(scene.reveal(&plain.name).await), precondition("KEY_NOT_RETRIEVABLE"), "whatever became of it");
    let missing = format!("{}/keys/{}", scene.owner, "0".repeat(22));
    assert_eq!(told(scene.reveal(&missing).await).0, Code::InvalidArgument);
    let missing = format!("{}/keys/{}", scene.owner, claviger::domain::ids::KeyId::from_random([7; 16]));
    assert_eq!(told(scene.reveal(&missing).await), (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned()));
    assert_eq!(scene.kept().await, [id_of(&name)]);
}

async fn a_key_is_revealed_five_times_in_any_hour(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    let (other, _) = scene.make().await;
    for minutes in [0, 10, 10, 10, 20] {
        scene.app.advance(TimeDelta::minutes(minutes));
        assert_eq!(scene.reveal(&name).await.expect("one of five"), secret);
    }
    // A restart forgets nothing, and what is refused doesn't count.
    scene = scene.restarted(&[]).await;
    for _ in 0..3 {
        let refused = scene.reveal(&name).await.expect_err("the sixth");
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "REVEAL_LIMIT_REACHED"));
        let details = refused.get_error_details();
        assert_eq!(details.quota_failure().expect("a QuotaFailure").violations[0].subject, name);
        let wait = details.retry_info().and_then(|retry| retry.retry_delay).expect("a delay");
        assert_eq!(wait, std::time::Duration::from_secs(600), "until the first is an hour old");
        let metadata = &details.error_info().expect("a reason").metadata;
        assert_eq!((metadata["key"].as_str(), metadata["limit"].as_str()), (name.as_str(), "5"));
    }
    scene.reveal(&other).await.expect("another key has an hour of its own");
    scene.app.advance(TimeDelta::microseconds(600_000_000 - 1));
    assert_eq!(told(scene.reveal(&name).await).0, Code::ResourceExhausted);
    scene.app.advance(TimeDelta::microseconds(1));
    assert_eq!(scene.reveal(&name).await.expect("one hour later"), secret);
    assert_eq!(told(scene.reveal(&name).await).0, Code::ResourceExhausted, "any hour, not one by the clock");
    scene.app.advance(TimeDelta::minutes(10));
    scene.reveal(&name).await.expect("the second is an hour old, too");
}

async fn of_twenty_reveals_at_once_five_succeed(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    for _ in 0..3 {
        let (name, secret) = scene.make().await;
        let callers: Vec<_> = (0..20).map(|_| scene.root.clone()).collect();
        let asked = callers.into_iter().map(|mut root| {
            let name = name.clone();
            async move { reveal(&mut root, &name).await }
        });
        let (answered, refused): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(Result::is_ok);
        assert_eq!(answered.into_iter().flatten().collect::<Vec<_>>(), vec![secret; 5]);
        for refused in refused {
            assert_eq!(told(refused), (Code::ResourceExhausted, "REVEAL_LIMIT_REACHED".to_owned()));
        }
    }
}

/// The write order counts, not the replica.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_count_together() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let place = Place::make(&mut processes[0].caller(Some(&secret)).await, "acme").await;
    let mut asked = Vec::new();
    for number in 0..20 {
        let mut root = processes[number % 2].caller(Some(&secret)).await;
        let name = place.key.clone();
        asked.push(async move { reveal(&mut root, &name).await });
    }
    let answered: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    assert_eq!(answered, vec![place.secret; 5]);
}

async fn a_successor_is_retrievable_too(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    let rotated = Change::Rotate(3_600).make(&mut scene.root, &scene.owner, &name).await.expect("rotated");
    let (successor, second) = (rotated.key.name, rotated.secret.expect("a secret"));
    assert!(rotated.key.retrievable);
    assert_eq!(scene.reveal(&successor).await.expect("revealed"), second);
    assert_eq!(scene.reveal(&name).await.expect("in its grace period"), secret);
    let rotated = Change::Rotate(0).make(&mut scene.root, &scene.owner, &successor).await.expect("rotated");
    assert_eq!(told(scene.reveal(&successor).await), precondition("KEY_REVOKED"));
    assert_eq!(scene.reveal(&rotated.key.name).await.expect("revealed"), rotated.secret.expect("a secret"));
    let mut kept = vec![id_of(&name).to_owned(), id_of(&rotated.key.name).to_owned()];
    kept.sort();
    assert_eq!(scene.kept().await, kept);
}

async fn the_policy_is_asked_when_a_key_is_made_and_never_again(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    scene.allow(false).await;
    let refused = create(&mut scene.root, &scene.owner, &[]).await.expect_err("not allowed");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "POLICY_VIOLATED"));
    let details = refused.get_error_details();
    assert_eq!(details.error_info().expect("a reason").metadata["rules"], "allow_retrievable");
    assert_eq!(details.precondition_failure().expect("rules").violations[0].r#type, "allow_retrievable");
    assert_eq!(scene.reveal(&name).await.expect("never retroactive"), secret);
    let rotated = Change::Rotate(0).make(&mut scene.root, &scene.owner, &name).await.expect("a key can be rotated");
    assert_eq!(scene.reveal(&rotated.key.name).await.expect("revealed"), rotated.secret.expect("a secret"));
    let mask = Some(FieldMask { paths: vec!["retrievable".to_owned()] });
    let plain = v1::Key { name: rotated.key.name, ..Default::default() };
    let request = v1::UpdateKeyRequest { key: Some(plain), update_mask: mask, expected_revision: 0 };
    assert_eq!(told(scene.root.keys.update_key(request).await).0, Code::InvalidArgument, "fixed at creation");
}

async fn who_reveals_holds_every_right_that_the_key_carries(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let owner = scene.owner.clone();
    let plain = create(&mut scene.root, &owner, &["*", "pay"]).await.expect("made").key.expect("a key").name;
    let auditor = create(&mut scene.root, &owner, &[AUDIT]).await.expect("made").key.expect("a key").name;
    let denied = |reason: &str| (Code::PermissionDenied, reason.to_owned());
    for (scopes, of_plain, of_auditor) in [
        (&[TENANT_ADMIN][..], Some("RIGHT_MISSING"), Some("RIGHT_MISSING")),
        (&[WRITE, OWN], Some("RIGHT_MISSING"), Some("RIGHT_MISSING")),
        (&["*"], Some("RIGHT_MISSING"), Some("RIGHT_MISSING")),
        (&[REVEAL], None, Some("RIGHT_NOT_HELD")),
        (&[REVEAL, AUDIT], None, None),
        (&[REVEAL, TENANT_ADMIN], None, None),
    ] {
        let (key, secret) = scene.root.create_key(&owner, scopes).await;
        let mut caller = scene.root.with(Some(&secret));
        for (name, wanted) in [(&plain, of_plain), (&auditor, of_auditor)] {
            let answered = reveal(&mut caller, name).await;
            match wanted {
                None => drop(answered.unwrap_or_else(|refused| panic!("{scopes:?} of {name}: {refused:?}"))),
                Some(reason) => assert_eq!(told(answered), denied(reason), "{scopes:?} of {name}"),
            }
        }
        Change::Revoke.make(&mut scene.root, &owner, &key.name).await.expect("revoked");
    }
}

async fn events(scene: &mut Scene, target: &str) -> Vec<v1::AuditEvent> {
    let (parent, target) = (scene.tenant.clone(), target.to_owned());
    let request = v1::ListAuditEventsRequest { parent, target, page_size: 500, ..Default::default() };
    let listed = scene.root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events;
    listed.into_iter().filter(|event| event.method == "claviger.v1.KeyService/RevealKey").collect()
}

async fn each_reveal_is_audited_before_it_is_answered(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    for count in 1..=2 {
        scene.reveal(&name).await.expect("revealed");
        let told = events(&mut scene, &name).await;
        assert_eq!(told.len(), count);
        let root_key = format!("tenants/system/serviceUsers/root/keys/{}", &scene.app.root_secret[4..26]);
        assert_eq!((told[0].caller.as_str(), told[0].outcome()), (root_key.as_str(), v1::AuditOutcome::Done));
        assert!(told[0].revision > get(&mut scene.root, &name).await.revision, "a revision of its own");
    }
    // No audit, no secret.
    let (full, emptied) = match engine {
        Engine::Sqlite => (
            "CREATE TRIGGER full BEFORE INSERT ON audit_event WHEN NEW.method LIKE '%RevealKey'
             BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
            "DROP TRIGGER full",
        ),
        Engine::Postgres => (
            "ALTER TABLE audit_event ADD CONSTRAINT disk_is_full CHECK (method NOT LIKE '%RevealKey') NOT VALID",
            "ALTER TABLE audit_event DROP CONSTRAINT disk_is_full",
        ),
    };
    scene.execute(full).await;
    for _ in 0..3 {
        let refused = scene.reveal(&name).await.expect_err("it can't be written down");
        assert_eq!(refused.code(), Code::Internal);
        assert!(!format!("{refused:?}").contains(&secret[27..]));
    }
    scene.execute(emptied).await;
    for _ in 0..3 {
        scene.reveal(&name).await.expect("what wasn't answered didn't count");
    }
    assert_eq!(told(scene.reveal(&name).await).0, Code::ResourceExhausted);
    assert_eq!(events(&mut scene, &name).await.len(), 5);
    scene.app.running.authority().write_denials_now().await;
    let parent = "tenants/system".to_owned();
    let request = v1::ListAuditEventsRequest { parent, page_size: 500, ..Default::default() };
    let listed = scene.root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events;
    assert!(listed.iter().any(|event| event.reason == "REVEAL_LIMIT_REACHED" && event.count == 1), "{listed:#?}");
}

async fn what_is_moved_to_another_key_opens_for_neither(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (one, two) = (scene.make().await, scene.make().await);
    scene.execute("CREATE TABLE kept AS SELECT * FROM sealed_secret").await;
    for columns in [&["sealed"][..], &["wrapped_key"], &["wrapped_key", "sealed"]] {
        for column in columns {
            let other = format!("(SELECT {column} FROM kept WHERE kept.key_id <> sealed_secret.key_id)");
            scene.execute(&format!("UPDATE sealed_secret SET {column} = {other}")).await;
        }
        for (name, _) in [&one, &two] {
            assert_eq!(told(scene.reveal(name).await), (Code::Internal, "INTERNAL".to_owned()), "{columns:?}");
        }
        let own = |column| format!("{column} = (SELECT {column} FROM kept WHERE kept.key_id = sealed_secret.key_id)");
        scene.execute(&format!("UPDATE sealed_secret SET {}, {}", own("wrapped_key"), own("sealed"))).await;
    }
    // Put back it opens, and nothing was counted.
    for (name, secret) in [&one, &two] {
        for _ in 0..5 {
            assert_eq!(scene.reveal(name).await.expect("put back"), *secret);
        }
        assert_eq!(scene.root.verdict(secret).await, Verdict::Valid);
    }
    scene.execute("UPDATE sealed_secret SET reveal_times = 'x'").await;
    assert_eq!(told(scene.reveal(&one.0).await), (Code::Internal, "INTERNAL".to_owned()));
    scene.execute("DELETE FROM sealed_secret").await;
    assert_eq!(told(scene.reveal(&one.0).await), (Code::Internal, "INTERNAL".to_owned()));
}

async fn a_repeated_request_seals_one_secret(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let request = v1::CreateKeyRequest {
        parent: scene.owner.clone(),
        key: Some(retrievable(&[])),
        request_id: "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21".to_owned(),
        ..Default::default()
    };
    let made = scene.root.keys.create_key(request.clone()).await.expect("made").into_inner();
    let again = scene.root.keys.create_key(request).await.expect("the same").into_inner();
    assert_eq!(again, made);
    let name = made.key.expect("a key").name;
    assert_eq!(scene.kept().await, [id_of(&name)]);
    assert_eq!(scene.reveal(&name).await.expect("revealed"), made.secret);
}
