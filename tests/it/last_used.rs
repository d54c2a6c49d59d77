//! When a key was last used: only VALID counts, and noting it changes nothing else about the key.

mod writing;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{TimeDelta, Timelike};
use claviger::domain::Time;
use claviger::proto::v1::{self, Verdict};

use crate::harness::{Client, Engine, TestApp, app::start_of_time};
use crate::rig::{Change, database, eventually, list_keys, select};
use crate::rpcs::Place;

on_both_engines!(
    a_valid_verdict_is_a_use_and_nothing_else_of_the_key_changes,
    no_other_verdict_is_a_use,
    a_use_is_written_soon_and_the_next_one_when_five_minutes_are_over,
    a_successor_was_never_used_and_its_predecessor_stays_used,
    keys_are_listed_by_how_long_they_are_unused,
    a_purge_takes_the_last_use_away,
);

/// The writer looks every 10 s.
const WRITTEN: Duration = Duration::from_secs(30);

fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).expect("below a second");
    prost_types::Timestamp { seconds: time.timestamp(), nanos }
}

/// When a use at this time is said to have been: at the end of its second.
fn second_after(time: Time) -> Time {
    time.with_nanosecond(0).expect("a time") + TimeDelta::seconds(i64::from(time.nanosecond() > 0))
}

async fn get(root: &mut Client, name: &str) -> v1::Key {
    let answer = root.keys.get_key(v1::GetKeyRequest { name: name.to_owned() }).await;
    answer.expect("a key").into_inner().key.expect("a key")
}

fn id(name: &str) -> &str {
    name.rsplit('/').next().expect("an id")
}

async fn a_valid_verdict_is_a_use_and_nothing_else_of_the_key_changes(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let before = get(&mut root, &place.key).await;
    assert_eq!(before.last_used_time, None);
    let verified = root.verify(v1::VerifyRequest { secret: place.secret.clone(), ..Default::default() }).await;
    app.advance(TimeDelta::seconds(1));
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid);
    let used = Some(timestamp(second_after(app.clock.now())));
    let app = app.restart().await;
    let mut root = app.root().await;
    let expected = v1::Key { last_used_time: used, ..before };
    assert_eq!(get(&mut root, &place.key).await, expected, "the later of two uses, and nothing else");
    assert_eq!(list_keys(&mut root, &place.owner, false).await, [expected]);
    let again = root.verify(v1::VerifyRequest { secret: place.secret.clone(), ..Default::default() }).await;
    assert_eq!(again.revision, verified.revision, "nobody's revision moved");
    let renamed = Change::Rename(1).make(&mut root, &place.owner, &place.key).await.expect("renamed");
    assert_eq!(renamed.key.last_used_time, used, "an edit keeps it");
    let roots = list_keys(&mut root, "tenants/system/serviceUsers/root", false).await;
    assert!(roots[0].last_used_time.is_some(), "a caller's own key is used by calling");
}

/// A key that was never VALID, with what makes it so, and a question about it.
async fn unfit(root: &mut Client, app: &TestApp, owner: &str, verdict: Verdict) -> (String, v1::VerifyRequest) {
    let key = v1::Key {
        display_name: "a key".to_owned(),
        scopes: vec!["pay".to_owned()],
        allowed_networks: vec!["192.0.2.0/24".to_owned()],
        expire_time: Some(timestamp(
            app.clock.now() + TimeDelta::minutes(if verdict == Verdict::Expired { 1 } else { 90 }),
        )),
        ..Default::default()
    };
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ..Default::default() };
    let made = root.keys.create_key(request).await.expect("a key").into_inner();
    let name = made.key.expect("a key").name;
    let mut question =
        v1::VerifyRequest { secret: made.secret, client_ip: "192.0.2.1".to_owned(), ..Default::default() };
    match verdict {
        Verdict::Revoked => drop(Change::Revoke.make(root, owner, &name).await.expect("revoked")),
        Verdict::Disabled => drop(Change::Disable.make(root, owner, &name).await.expect("disabled")),
        Verdict::AddressNotAllowed => question.client_ip = "198.51.100.1".to_owned(),
        Verdict::ScopeMissing => question.required_scopes = vec!["refund".to_owned()],
        Verdict::Unknown => question.tenant = "tenants/system".to_owned(),
        Verdict::Expired | Verdict::OwnerDisabled => {}
        _ => panic!("{verdict:?}"),
    }
    (name, question)
}

async fn no_other_verdict_is_a_use(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let disabled = root.create_service_user(&place.tenant, "disabled").await;
    let mut cases = Vec::new();
    for verdict in [
        Verdict::Revoked,
        Verdict::Expired,
        Verdict::OwnerDisabled,
        Verdict::Disabled,
        Verdict::AddressNotAllowed,
        Verdict::ScopeMissing,
        Verdict::Unknown,
    ] {
        let owner = if verdict == Verdict::OwnerDisabled { &disabled } else { &place.owner };
        cases.push((verdict, unfit(&mut root, &app, owner, verdict).await));
    }
    let request = v1::DisableServiceUserRequest { name: disabled, expected_revision: 0 };
    root.service_users.disable_service_user(request).await.expect("disabled");
    app.advance(TimeDelta::minutes(1));
    for (verdict, (_, question)) in &cases {
        assert_eq!(root.verify(question.clone()).await.verdict(), *verdict);
    }
    assert_eq!(root.verdict(&place.secret).await, Verdict::Valid, "so that there is something to write");
    let app = app.restart().await;
    let mut root = app.root().await;
    assert!(get(&mut root, &place.key).await.last_used_time.is_some());
    for (verdict, (name, _)) in &cases {
        assert_eq!(get(&mut root, name).await.last_used_time, None, "{verdict:?}");
    }
}

async fn a_use_is_written_soon_and_the_next_one_when_five_minutes_are_over(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    root.verdict(&place.secret).await;
    let first = Some(timestamp(second_after(start_of_time())));
    let mut watcher = root.clone();
    eventually(WRITTEN, "the first use is written", async || {
        get(&mut watcher, &place.key).await.last_used_time == first
    })
    .await;
    app.advance(TimeDelta::minutes(1));
    root.verdict(&place.secret).await;
    assert_eq!(get(&mut root, &place.key).await.last_used_time, first, "not yet");
    app.advance(TimeDelta::minutes(4) + TimeDelta::seconds(1));
    let second = Some(timestamp(second_after(start_of_time() + TimeDelta::minutes(1))));
    eventually(WRITTEN, "the last use is, though no other came", async || {
        get(&mut watcher, &place.key).await.last_used_time == second
    })
    .await;
}

async fn a_successor_was_never_used_and_its_predecessor_stays_used(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    root.verdict(&place.secret).await;
    let used = Some(timestamp(second_after(app.clock.now())));
    let app = app.restart().await;
    let mut root = app.root().await;
    let request = v1::RotateKeyRequest {
        name: place.key.clone(),
        request_id: "01234567-89ab-4def-8123-456789abcdef".to_owned(),
        ..Default::default()
    };
    let rotated = root.keys.rotate_key(request.clone()).await.expect("rotated").into_inner();
    let successor = rotated.key.clone().expect("a key");
    assert_eq!((successor.last_used_time, rotated.predecessor.clone().expect("a key").last_used_time), (None, used));
    assert_eq!(get(&mut root, &successor.name).await, successor);
    assert_eq!(root.keys.rotate_key(request).await.expect("a replay").into_inner(), rotated);
}

/// Names of the keys that are unused since `time`, page by page.
async fn unused(root: &mut Client, parent: &str, time: Time) -> BTreeSet<String> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let unused_since = Some(timestamp(time));
        let parent = parent.to_owned();
        let request = v1::ListKeysRequest { parent, page_size: 1, page_token, unused_since, ..Default::default() };
        let page = root.keys.list_keys(request).await.expect("a page").into_inner();
        names.extend(page.keys.into_iter().map(|key| key.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            let once: BTreeSet<String> = names.iter().cloned().collect();
            assert_eq!(once.len(), names.len(), "each once");
            return once;
        }
    }
}

async fn keys_are_listed_by_how_long_they_are_unused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (early, early_secret) = root.create_key(&place.owner, &[]).await;
    let (late, late_secret) = root.create_key(&place.owner, &[]).await;
    app.advance(TimeDelta::hours(1));
    root.verdict(&early_secret).await;
    app.advance(TimeDelta::hours(1));
    root.verdict(&late_secret).await;
    let young = root.create_key(&place.owner, &[]).await.0;
    let app = app.restart().await;
    let mut root = app.root().await;
    let moment = TimeDelta::microseconds(1);
    let made = start_of_time();
    let [used_early, used_late] = [1, 2].map(|hours| second_after(made + TimeDelta::hours(hours)));
    for (since, expected) in [
        (made, &[][..]),
        (made + moment, &[&place.key]),
        (used_early, &[&place.key]),
        (used_early + moment, &[&place.key, &early.name]),
        (used_late, &[&place.key, &early.name, &young.name]),
        (used_late + moment, &[&place.key, &early.name, &late.name, &young.name]),
    ] {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).clone()).collect();
        for parent in [&place.owner, &format!("{}/serviceUsers/-", place.tenant)] {
            assert_eq!(unused(&mut root, parent, since).await, expected, "since {since} of {parent}");
        }
    }
}

async fn a_purge_takes_the_last_use_away(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    root.verdict(&place.secret).await;
    Change::Delete.make(&mut root, &place.owner, &place.key).await.expect("deleted");
    let app = app.restart().await;
    let database = database(&app.place).await;
    let rows = format!("SELECT count(*) FROM key_usage WHERE key_id = '{}'", id(&place.key));
    assert_eq!(select::<i64>(&database, &rows).await, [1]);
    app.advance(TimeDelta::days(30));
    assert_eq!(app.running.authority().housekeep().await.expect("purged").keys, 1);
    assert_eq!(select::<i64>(&database, &rows).await, [0]);
}
