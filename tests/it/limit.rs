//! Never more than ten live keys, whoever asks at once for whatever.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::proto::v1::{self, Verdict};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, engine, errors::reason};
use crate::rig::{Chance, Change, Replicas, eventually, is_live, list_keys, verdicts};

on_both_engines!(
    a_thousand_creates_at_once_make_exactly_ten,
    changes_in_any_mix_never_make_an_eleventh_key_nor_lose_a_slot,
    expired_keys_never_block_a_create,
    rotations_at_ten_swap_in_place_or_are_refused,
);

const TEN: usize = 10;

/// What a rush of creates came to.
struct Rush {
    names: Vec<String>,
    secrets: Vec<String>,
    refused: usize,
}

/// `count` creates at once, spread over these connections. Whatever isn't made must be refused for the limit alone.
async fn rush(connections: &[Client], owner: &str, count: usize) -> Rush {
    let mut creates = JoinSet::new();
    for number in 0..count {
        let (mut caller, owner) = (connections[number % connections.len()].clone(), owner.to_owned());
        creates.spawn(async move { caller.try_create_key(&owner, &["pay"]).await });
    }
    let mut rush = Rush { names: Vec::new(), secrets: Vec::new(), refused: 0 };
    for outcome in creates.join_all().await {
        match outcome {
            Ok((key, secret)) => {
                rush.names.push(key.name);
                rush.secrets.push(secret);
            }
            Err(status) => {
                expect_limit(&status, owner);
                rush.refused += 1;
            }
        }
    }
    rush
}

fn expect_limit(status: &Status, owner: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(status), "KEY_LIMIT_REACHED");
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    assert_eq!(quota.violations.iter().map(|it| it.subject.as_str()).collect::<Vec<_>>(), [owner]);
}

async fn fifty_connections(app: &TestApp) -> Vec<Client> {
    join_all((0..50).map(|_| app.root())).await
}

async fn an_owner(root: &mut Client) -> String {
    let tenant = root.create_tenant("acme").await;
    root.create_service_user(&tenant, "billing").await
}

async fn a_thousand_creates_at_once_make_exactly_ten(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let connections = fifty_connections(&app).await;
    let mut root = connections[0].clone();
    let owner = an_owner(&mut root).await;
    let first = rush(&connections, &owner, 1_000).await;
    assert_eq!((first.names.len(), first.refused), (TEN, 990));
    assert_eq!(verdicts(&mut root, &first.secrets).await, [Verdict::Valid; TEN]);
    Change::Revoke.make(&mut root, &owner, &first.names[4]).await.expect("revoked");
    let second = rush(&connections, &owner, 50).await;
    assert_eq!((second.names.len(), second.refused), (1, 49), "one was revoked, one more fits");
    assert_eq!(list_keys(&mut root, &owner, true).await.iter().filter(|key| is_live(key)).count(), TEN);
}

async fn expired_keys_never_block_a_create(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let connections = fifty_connections(&app).await;
    let mut root = connections[0].clone();
    let owner = an_owner(&mut root).await;
    for number in 0..10 {
        let key = v1::Key { display_name: "short".to_owned(), ..Default::default() };
        let ttl = Some(prost_types::Duration { seconds: 60 + number % 2, nanos: 0 });
        let request = v1::CreateKeyRequest { parent: owner.clone(), key: Some(key), ttl, ..Default::default() };
        root.keys.create_key(request).await.expect("a key");
    }
    for (seconds, fit) in [(59, 0), (1, 5), (1, 5)] {
        app.advance(TimeDelta::seconds(seconds));
        settle(&mut root).await;
        assert_eq!(rush(&connections, &owner, 50).await.names.len(), fit, "after {seconds} s more");
    }
    let states: Vec<_> = list_keys(&mut root, &owner, true).await.iter().map(v1::Key::state).collect();
    assert_eq!(states.iter().filter(|state| **state == v1::KeyState::Expired).count(), 10);
}

async fn rotations_at_ten_swap_in_place_or_are_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let connections = fifty_connections(&app).await;
    let mut root = connections[0].clone();
    let owner = an_owner(&mut root).await;
    let made = rush(&connections, &owner, TEN).await;
    let rotate = |grace: i64| {
        let rotations = made.names.iter().zip(&connections).map(|(name, caller)| {
            let (mut caller, owner) = (caller.clone(), owner.clone());
            async move { Change::Rotate(grace).make(&mut caller, &owner, name).await }
        });
        join_all(rotations)
    };
    for refused in rotate(3_600).await {
        let status = refused.expect_err("ten and their successors don't fit");
        expect_limit(&status, &owner);
        assert!(status.message().contains("grace_period 0"), "the way out: {}", status.message());
    }
    let secrets: Vec<String> =
        rotate(0).await.into_iter().filter_map(|swapped| swapped.expect("a swap").secret).collect();
    assert_eq!(verdicts(&mut root, &secrets).await, [Verdict::Valid; TEN]);
    assert_eq!(verdicts(&mut root, &made.secrets).await, [Verdict::Revoked; TEN]);
    assert_eq!(rush(&connections, &owner, 20).await.refused, 20);
}

/// After the clock was moved the service first looks at its store again.
async fn settle(root: &mut Client) {
    eventually(Duration::from_secs(10), "the mirror is fresh", async || {
        root.verification.verify(v1::VerifyRequest::default()).await.is_ok()
    })
    .await;
}

/// A service user under many hands.
struct Owner {
    name: String,
    /// Name and secret of every key that was ever made.
    known: Mutex<Vec<(String, String)>>,
}

async fn changes_in_any_mix_never_make_an_eleventh_key_nor_lose_a_slot(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let connections: Vec<Client> = join_all((0..8).map(|_| app.root())).await;
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let seeds = if engine::long() { 1_000 } else { 40 };
    for seed in 0..seeds {
        let _told = ToldWhenPanicking(seed);
        let name = root.create_service_user(&tenant, &format!("user-{seed}")).await;
        let owner = Arc::new(Owner { name, known: Mutex::default() });
        for round in 0..3 {
            race(&connections, &mut root, &owner, seed * 3 + round).await;
            expect_at_most_ten(&mut root, &owner).await;
            app.advance(TimeDelta::seconds(1_800));
            settle(&mut root).await;
            expect_at_most_ten(&mut root, &owner).await;
        }
        expect_no_slot_lost(&mut root, &owner.name).await;
    }
}

struct ToldWhenPanicking(u64);

impl Drop for ToldWhenPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// One change each by eight callers, again and again, while somebody counts.
async fn race(connections: &[Client], root: &mut Client, owner: &Arc<Owner>, seed: u64) {
    let mut hands = JoinSet::new();
    for (number, caller) in connections.iter().enumerate() {
        let (mut caller, owner) = (caller.clone(), Arc::clone(owner));
        let mut chance = Chance::of(seed * 8 + number as u64);
        hands.spawn(async move {
            for _ in 0..3 {
                change_something(&mut caller, &owner, &mut chance).await;
            }
        });
    }
    while !hands.is_empty() {
        let live = list_keys(root, &owner.name, false).await.iter().filter(|key| is_live(key)).count();
        assert!(live <= TEN, "{live} live keys at one moment");
        while let Some(ended) = hands.try_join_next() {
            ended.expect("no panic");
        }
    }
}

async fn change_something(caller: &mut Client, owner: &Owner, chance: &mut Chance) {
    let known: Vec<String> = owner.known.lock().iter().map(|(name, _)| name.clone()).collect();
    // The latest keys are the ones still alive.
    let latest = known.len().saturating_sub(14);
    let name = known.get(latest + chance.below(14)).or(known.last()).cloned().unwrap_or_default();
    let change = match chance.below(16) {
        _ if name.is_empty() => Change::Create,
        0..8 => Change::Create,
        8 | 9 => Change::Rotate(0),
        10 | 11 => Change::Rotate(3_600),
        12 => Change::Disable,
        13 => Change::Enable,
        14 => Change::Revoke,
        _ => Change::Delete,
    };
    match change.make(caller, &owner.name, &name).await {
        Ok(made) => owner.known.lock().extend(made.secret.map(|secret| (made.key.name, secret))),
        Err(status) if status.code() == Code::ResourceExhausted => expect_limit(&status, &owner.name),
        Err(status) => {
            let expected = ["KEY_DISABLED", "KEY_REVOKED", "KEY_EXPIRED", "KEY_SUPERSEDED", "RESOURCE_NOT_FOUND"];
            assert!(expected.contains(&reason(&status).as_str()), "{change:?}: {status:?}");
        }
    }
}

/// What is listed and what verifies agree, key by key.
async fn expect_at_most_ten(root: &mut Client, owner: &Owner) {
    let (names, secrets): (Vec<String>, Vec<String>) = owner.known.lock().iter().cloned().unzip();
    let listed = list_keys(root, &owner.name, true).await;
    assert_eq!(listed.len(), names.len(), "no key that nobody was told of");
    assert!(listed.iter().filter(|key| is_live(key)).count() <= TEN);
    for (name, verdict) in names.iter().zip(verdicts(root, &secrets).await) {
        let key = listed.iter().find(|key| key.name == *name).expect("it is listed");
        let expected = match key.state() {
            _ if key.delete_time.is_some() => Verdict::Unknown,
            v1::KeyState::Enabled => Verdict::Valid,
            v1::KeyState::Disabled => Verdict::Disabled,
            v1::KeyState::Revoked => Verdict::Revoked,
            v1::KeyState::Expired => Verdict::Expired,
            v1::KeyState::Unspecified => Verdict::Unspecified,
        };
        assert_eq!(verdict, expected, "{key:?}");
    }
}

async fn expect_no_slot_lost(root: &mut Client, owner: &str) {
    for key in list_keys(root, owner, false).await {
        Change::Delete.make(root, owner, &key.name).await.expect("deleted");
    }
    let connections: Vec<Client> = (0..4).map(|_| root.clone()).collect();
    let rush = rush(&connections, owner, TEN + 2).await;
    assert_eq!((rush.names.len(), rush.refused), (TEN, 2), "after everything was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_creates_over_three_replicas_make_exactly_ten() {
    let Some(replicas) = Replicas::new(3).await else { return };
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let connections = join_all((0..51).map(|number| processes[number % 3].caller(Some(&secret)))).await;
    let mut root = connections[0].clone();
    let owner = an_owner(&mut root).await;
    let made = rush(&connections, &owner, 1_000).await;
    assert_eq!((made.names.len(), made.refused), (TEN, 990));
    for mut replica in connections.into_iter().take(3) {
        assert_eq!(verdicts(&mut replica, &made.secrets).await, [Verdict::Valid; TEN], "at once, everywhere");
    }
}
