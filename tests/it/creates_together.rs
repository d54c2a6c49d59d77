//! Creates that wait for a turn have it together, and nobody can tell: each is a change of its own, and what becomes of one is
//! no other's business.

use std::time::Duration;

use claviger::proto::v1::{self, Verdict};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::harness::{Client, Engine, TestApp, errors::reason};
use crate::policies::set_policy;
use crate::rig::{database, hold_up_changes, list_keys, select, verdicts};

on_both_engines!(
    each_of_those_who_share_a_turn_is_a_change_of_its_own,
    more_than_one_turn_holds_are_made_all_the_same,
    one_that_is_refused_spoils_no_other,
    one_that_the_database_does_not_take_spoils_no_other,
    the_same_request_in_one_wait_makes_one_key,
    who_gives_up_while_it_waits_gets_no_key,
    an_unreadable_tenant_spoils_no_other,
    retrievable_ones_are_sealed_each,
);

/// In which even a busy machine brings some calls as far as the line.
const GATHERING: Duration = Duration::from_millis(500);

type Made = Result<(v1::Key, String), Status>;

fn create(owner: &str, display_name: &str) -> v1::CreateKeyRequest {
    let key = v1::Key { display_name: display_name.to_owned(), ..Default::default() };
    v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ..Default::default() }
}

/// Sends all of them while no change gets on, does what is to be done meanwhile, and lets go.
async fn wait_together(
    app: &TestApp,
    creates: Vec<(Client, v1::CreateKeyRequest)>,
    meanwhile: impl AsyncFnOnce(&DatabaseConnection),
) -> Vec<Made> {
    let lock = hold_up_changes(&app.place).await;
    let made = creates.into_iter().map(|(mut caller, request)| {
        tokio::spawn(async move {
            let made = caller.keys.create_key(request).await?.into_inner();
            Ok((made.key.expect("a key"), made.secret))
        })
    });
    let made: Vec<_> = made.collect();
    sleep(GATHERING).await;
    meanwhile(&lock).await;
    lock.execute_unprepared("COMMIT").await.expect("unlocked");
    join_all(made).await.into_iter().map(|made| made.expect("no panic")).collect()
}

async fn nothing(_: &DatabaseConnection) {}

async fn owners(root: &mut Client, count: usize) -> Vec<String> {
    let tenant = root.create_tenant("acme").await;
    let mut owners = Vec::new();
    for number in 0..count {
        owners.push(root.create_service_user(&tenant, &format!("user-{number}")).await);
    }
    owners
}

async fn database_revision(app: &TestApp) -> i64 {
    select(&database(&app.place).await, "SELECT value FROM revision").await[0]
}

/// The revisions above `revision` that the revision row was set to: at most two a turn.
async fn stops(app: &TestApp, revision: i64) -> Vec<i64> {
    let stops = format!("SELECT revision FROM revision_token WHERE revision > {revision} ORDER BY revision");
    select(&database(&app.place).await, &stops).await
}

fn reasons(made: &[Made]) -> Vec<String> {
    made.iter().map(|made| made.as_ref().map_or_else(reason, |_| "made".to_owned())).collect()
}

async fn each_of_those_who_share_a_turn_is_a_change_of_its_own(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 5).await;
    let creates = (0..20).map(|number| (root.clone(), create(&owners[number % 5], "a key"))).collect();
    let mut made: Vec<_> =
        wait_together(&app, creates, nothing).await.into_iter().map(|made| made.expect("a key")).collect();
    let secrets: Vec<_> = made.iter().map(|(_, secret)| secret.clone()).collect();
    assert_eq!(verdicts(&mut root, &secrets).await, [Verdict::Valid; 20]);

    made.sort_by_key(|(key, _)| key.revision);
    let first = made[0].0.revision;
    assert!(made.iter().map(|(key, _)| key.revision).eq(first..first + 20), "consecutive revisions, one each");
    let stops = stops(&app, first - 1).await;
    assert!(stops.len() < 20, "they shared turns");
    assert_eq!(stops.last(), Some(&(first + 19)), "the last revision has its token");
    assert_eq!(database_revision(&app).await, first + 19);
    let database = database(&app.place).await;
    for (key, _) in &made {
        let id = key.name.rsplit('/').next().expect("an id");
        let stored: Vec<i64> = select(&database, &format!("SELECT revision FROM api_key WHERE id = '{id}'")).await;
        let told = format!("SELECT revision FROM audit_event WHERE target = '{}'", key.name);
        assert_eq!(stored, [key.revision]);
        assert_eq!(select::<i64>(&database, &told).await, [key.revision], "one event, of the same revision");
    }
    let next = root.create_key(&owners[0], &[]).await.0;
    assert_eq!(next.revision, first + 20);
}

async fn more_than_one_turn_holds_are_made_all_the_same(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 25).await;
    let creates = (0..200).map(|number| (root.clone(), create(&owners[number % 25], "a key"))).collect();
    let made = wait_together(&app, creates, nothing).await;
    let mut revisions: Vec<_> = made.into_iter().map(|made| made.expect("a key").0.revision).collect();
    revisions.sort_unstable();
    assert!(revisions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{revisions:?}");
    for owner in &owners {
        assert_eq!(list_keys(&mut root, owner, true).await.len(), 8);
    }
}

async fn one_that_is_refused_spoils_no_other(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 3).await;
    for _ in 0..9 {
        root.create_key(&owners[1], &[]).await;
    }
    let (calling, secret) = root.create_key(&owners[2], &["claviger:keys.write"]).await;
    let (_, still) = root.create_key(&owners[2], &["claviger:keys.write"]).await;
    let (ended, other) = (root.with(Some(&secret)), root.with(Some(&still)));
    let group = |group: &str| {
        let mut request = create(&owners[0], "in a group");
        request.key.as_mut().expect("a key").key_group = format!("tenants/acme/keyGroups/{group}");
        request
    };
    root.create_key_group("tenants/acme", "there").await;
    let creates = vec![
        (root.clone(), create(&owners[0], "a key")),
        (root.clone(), create("tenants/acme/serviceUsers/nobody", "a key")),
        (root.clone(), group("nowhere")),
        (root.clone(), group("there")),
        (ended, create(&owners[0], "a key")),
        (other, create(&owners[0], "a key")),
        (root.clone(), create(&owners[1], "the tenth")),
        (root.clone(), create(&owners[1], "or this one")),
        (root.clone(), create(&owners[1], "or this one")),
    ];
    let id = calling.name.rsplit('/').next().expect("an id").to_owned();
    let made = wait_together(&app, creates, async |lock| {
        // As another replica would.
        let revoke = format!(
            "UPDATE revision SET value = value + 1; UPDATE api_key SET state = 'REVOKED', slot = NULL,
             revoke_time = create_time, revoke_reason = '', revision = (SELECT value FROM revision) WHERE id = '{id}'"
        );
        lock.execute_unprepared(&revoke).await.expect("revoked");
    })
    .await;
    let mut outcomes = reasons(&made);
    outcomes[6..].sort_unstable();
    assert_eq!(
        outcomes,
        [
            "made",
            "RESOURCE_NOT_FOUND",
            "RESOURCE_NOT_FOUND",
            "made",
            "CALLER_INVALID",
            "made",
            "KEY_LIMIT_REACHED",
            "KEY_LIMIT_REACHED",
            "made"
        ]
    );
    assert_eq!(list_keys(&mut root, &owners[0], true).await.len(), 3);
    assert_eq!(list_keys(&mut root, &owners[1], true).await.len(), 10);
    let secrets: Vec<_> = made.into_iter().flatten().map(|(_, secret)| secret).collect();
    assert_eq!(verdicts(&mut root, &secrets).await, [Verdict::Valid; 4]);
}

async fn one_that_the_database_does_not_take_spoils_no_other(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 3).await;
    let database = database(&app.place).await;
    let refuse = if database.get_database_backend() == DbBackend::Sqlite {
        "CREATE TRIGGER poisoned BEFORE INSERT ON api_key WHEN NEW.display_name = 'poison'
         BEGIN SELECT RAISE(ABORT, 'no'); END"
    } else {
        "CREATE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER poisoned BEFORE INSERT ON api_key FOR EACH ROW WHEN (NEW.display_name = 'poison')
         EXECUTE FUNCTION poisoned()"
    };
    database.execute_unprepared(refuse).await.expect("a trigger");
    let name = |number: usize| if number == 4 { "poison" } else { "a key" };
    let creates = (0..9).map(|number| (root.clone(), create(&owners[number % 3], name(number)))).collect();
    let made = wait_together(&app, creates, nothing).await;
    let outcomes = reasons(&made);
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "made").count(), 8, "{outcomes:?}");
    assert_eq!(outcomes[4], "INTERNAL");
    let secrets: Vec<_> = made.into_iter().flatten().map(|(_, secret)| secret).collect();
    assert_eq!(verdicts(&mut root, &secrets).await, [Verdict::Valid; 8]);
}

async fn an_unreadable_tenant_spoils_no_other(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 2).await;
    let other = root.create_tenant("other").await;
    let other = root.create_service_user(&other, "user").await;
    let database = database(&app.place).await;
    // As a later version may have written it.
    let spoil = r#"UPDATE tenant SET policy = '{"require_moon_phase":true}' WHERE id = 'other'"#;
    database.execute_unprepared(spoil).await.expect("spoilt");
    let mut creates: Vec<_> = (0..8).map(|number| (root.clone(), create(&owners[number % 2], "a key"))).collect();
    creates.extend([(root.clone(), create(&other, "a key")), (root.clone(), create(&other, "a key"))]);
    let before = database_revision(&app).await;
    let outcomes = reasons(&wait_together(&app, creates, nothing).await);
    assert!(outcomes[..8].iter().all(|outcome| outcome == "made"), "{outcomes:?}");
    assert_eq!(outcomes[8..], ["INTERNAL", "INTERNAL"]);
    assert!(stops(&app, before).await.len() < 8, "the others shared turns all the same");
}

async fn retrievable_ones_are_sealed_each(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 2).await;
    let policy = v1::TenantPolicy { allow_retrievable: true, ..Default::default() };
    set_policy(&mut root, "tenants/acme", policy).await.expect("set");
    let creates = (0..8).map(|number| {
        let mut request = create(&owners[number % 2], "a key");
        request.key.as_mut().expect("a key").retrievable = number % 4 < 2;
        (root.clone(), request)
    });
    for (key, secret) in wait_together(&app, creates.collect(), nothing).await.into_iter().flatten() {
        let revealed = root.keys.reveal_key(v1::RevealKeyRequest { name: key.name.clone() }).await;
        match revealed {
            Ok(revealed) => assert!(key.retrievable && revealed.into_inner().secret == secret),
            Err(refused) => assert!(!key.retrievable && reason(&refused) == "KEY_NOT_RETRIEVABLE", "{refused:?}"),
        }
    }
    let sealed: Vec<String> = select(&database(&app.place).await, "SELECT key_id FROM sealed_secret").await;
    assert_eq!(sealed.len(), 4);
}

async fn the_same_request_in_one_wait_makes_one_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = owners(&mut root, 1).await.remove(0);
    let (_, other) = root.create_key(&owner, &["claviger:keys.write"]).await;
    let other = root.with(Some(&other));
    let with_id = |display_name: &str| v1::CreateKeyRequest {
        request_id: "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21".to_owned(),
        ..create(&owner, display_name)
    };
    let mut creates = vec![(root.clone(), with_id("one")), (root.clone(), with_id("one"))];
    creates.extend((0..7).map(|_| (root.clone(), create(&owner, "without"))));
    creates.extend([(root.clone(), with_id("one")), (other, create(&owner, "by another"))]);
    creates[10].1.request_id = with_id("").request_id;
    let before = database_revision(&app).await;
    let made: Vec<_> =
        wait_together(&app, creates, nothing).await.into_iter().map(|made| made.expect("a key")).collect();
    assert_eq!((&made[0], &made[0]), (&made[1], &made[9]));
    assert_eq!(list_keys(&mut root, &owner, true).await.len(), 10, "one, seven, somebody else's, and its own");
    assert!(stops(&app, before).await.len() < 8, "the others shared turns all the same");
    let late = root.keys.create_key(with_id("another")).await.expect_err("another request");
    assert_eq!(reason(&late), "REQUEST_ID_REUSED");
}

async fn who_gives_up_while_it_waits_gets_no_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owners = owners(&mut root, 2).await;
    let lock = hold_up_changes(&app.place).await;
    let mut hasty = root.clone();
    let mut patient = root.clone();
    let stays = create(&owners[1], "a key");
    let stays = tokio::spawn(async move { patient.keys.create_key(stays).await });
    let hurried = hasty.keys.create_key(create(&owners[0], "a key"));
    assert!(timeout(GATHERING, hurried).await.is_err(), "it waits for the lock");
    // The service hears of it.
    sleep(GATHERING).await;
    lock.execute_unprepared("COMMIT").await.expect("unlocked");
    stays.await.expect("no panic").expect("a key");
    assert_eq!(list_keys(&mut root, &owners[0], true).await.len(), 0);
    assert_eq!(list_keys(&mut root, &owners[1], true).await.len(), 1);
}
