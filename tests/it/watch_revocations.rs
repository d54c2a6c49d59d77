//! WatchRevocations: every change that can make an earlier VALID wrong is told, to whom it concerns, once.

mod reader;

use std::time::Duration;

use chrono::TimeDelta;
use claviger::domain::limits;
use claviger::proto::v1::{self, RevocationCause as Cause, Verdict, WatchRevocationsRequest, WatchRevocationsResponse};
use prost_types::FieldMask;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use crate::harness::{Client, Engine, TestApp, app::start_of_time, errors::bad_fields, errors::reason};
use crate::rig::{Replicas, eventually};
use crate::rpcs::{Place, VERIFY};

on_both_engines!(
    every_cause_is_told_once_with_name_and_revision,
    what_takes_nothing_away_is_not_told,
    an_owners_change_is_one_event,
    a_caller_hears_of_its_own_tenant_and_a_caller_of_system_of_all,
    a_watch_resumes_where_it_was_cut_off,
    a_watch_that_cannot_be_resumed_is_refused,
    a_watch_ends_with_its_callers_key_and_with_the_server,
);

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600;

/// A watch, and what it told so far.
struct Watch {
    messages: Streaming<WatchRevocationsResponse>,
    /// The revision of the last message.
    revision: i64,
}

type Event = (String, Cause);

impl Watch {
    /// Opens one; its first message is there.
    async fn open(caller: &mut Client, min_revision: i64) -> Self {
        let (watch, events) = Self::resume(caller, min_revision).await;
        assert_eq!(events, [], "nothing to tell yet");
        watch
    }

    /// Opens one; answers what its first message tells.
    async fn resume(caller: &mut Client, min_revision: i64) -> (Self, Vec<Event>) {
        let messages = try_open(caller, min_revision).await.expect("a watch");
        let mut watch = Self { messages, revision: 0 };
        let first = watch.next().await.expect("a message");
        (watch, first)
    }

    async fn next(&mut self) -> Result<Vec<Event>, Status> {
        let message = timeout(PATIENCE, self.messages.message()).await.expect("in time")?.expect("no end");
        assert!(message.revision >= self.revision, "it went back from {}: {message:?}", self.revision);
        assert!(message.revocations.is_sorted_by_key(|revocation| revocation.revision), "{message:?}");
        assert!(message.as_of.is_some() && message.send_time.is_some(), "{message:?}");
        assert!(message.revocations.len() <= limits::REVOCATIONS_PER_MESSAGE);
        self.revision = message.revision;
        Ok(message.revocations.into_iter().map(|revocation| (revocation.name.clone(), revocation.cause())).collect())
    }

    /// All events up to this revision.
    async fn until(&mut self, revision: i64) -> Vec<Event> {
        let mut events = Vec::new();
        while self.revision < revision {
            events.extend(self.next().await.expect("a message"));
        }
        events
    }

    /// How it ends.
    async fn end(&mut self) -> (Code, String) {
        loop {
            if let Err(status) = self.next().await {
                return (status.code(), reason(&status));
            }
        }
    }
}

async fn try_open(caller: &mut Client, min_revision: i64) -> Result<Streaming<WatchRevocationsResponse>, Status> {
    let request = WatchRevocationsRequest { min_revision };
    Ok(caller.verification.watch_revocations(request).await?.into_inner())
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

async fn revoke(root: &mut Client, name: &str) -> i64 {
    let request = v1::RevokeKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.revoke_key(request).await.expect("revoked").into_inner().key.expect("a key").revision
}

async fn disable(root: &mut Client, name: &str) -> i64 {
    let request = v1::DisableKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.disable_key(request).await.expect("disabled").into_inner().key.expect("a key").revision
}

async fn enable(root: &mut Client, name: &str) -> i64 {
    let request = v1::EnableKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.enable_key(request).await.expect("enabled").into_inner().key.expect("a key").revision
}

async fn update(root: &mut Client, key: v1::Key, path: &str) -> i64 {
    let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
    root.keys.update_key(request).await.expect("updated").into_inner().key.expect("a key").revision
}

async fn create(root: &mut Client, owner: &str, ttl: Option<i64>) -> v1::Key {
    let key = v1::Key {
        display_name: "a key".to_owned(),
        scopes: vec!["pay".to_owned(), "refund".to_owned()],
        allowed_networks: vec!["192.0.2.0/24".to_owned()],
        ..Default::default()
    };
    let ttl = ttl.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ttl, ..Default::default() };
    root.keys.create_key(request).await.expect("a key").into_inner().key.expect("a key")
}

fn in_seconds(seconds: i64) -> Option<prost_types::Timestamp> {
    let seconds = start_of_time().timestamp() + seconds;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

async fn every_cause_is_told_once_with_name_and_revision(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = Place::make(&mut root, "acme").await.owner;
    let mut watch = Watch::open(&mut root, 0).await;
    let key = create(&mut root, &owner, None).await;
    let named = |cause| vec![(key.name.clone(), cause)];
    let with = |change: fn(&mut v1::Key)| {
        let mut changed = v1::Key { name: key.name.clone(), ..Default::default() };
        change(&mut changed);
        changed
    };

    let revision = disable(&mut root, &key.name).await;
    assert_eq!(watch.until(revision).await, named(Cause::Disabled));
    let revision = enable(&mut root, &key.name).await;
    assert_eq!(watch.until(revision).await, []);
    let narrower = with(|key| key.scopes = vec!["pay".to_owned()]);
    let revision = update(&mut root, narrower, "scopes").await;
    assert_eq!(watch.until(revision).await, named(Cause::Narrowed));
    let narrower = with(|key| key.allowed_networks = vec!["192.0.2.0/25".to_owned()]);
    let revision = update(&mut root, narrower, "allowed_networks").await;
    assert_eq!(watch.until(revision).await, named(Cause::Narrowed));
    let sooner = v1::Key { expire_time: in_seconds(HOUR), ..with(|_| {}) };
    let revision = update(&mut root, sooner, "expire_time").await;
    assert_eq!(watch.until(revision).await, named(Cause::Narrowed));

    let rotate = v1::RotateKeyRequest { name: key.name.clone(), ..Default::default() };
    let rotated = root.keys.rotate_key(rotate).await.expect("rotated").into_inner();
    let successor = rotated.key.expect("a key");
    assert_eq!(watch.until(successor.revision).await, named(Cause::Superseded));
    // It ends sooner, is superseded and is revoked: one event.
    let prompt = v1::RotateKeyRequest {
        name: successor.name.clone(),
        grace_period: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let last = root.keys.rotate_key(prompt).await.expect("rotated").into_inner().key.expect("a key");
    assert_eq!(watch.until(last.revision).await, [(successor.name, Cause::Revoked)]);

    app.advance(TimeDelta::seconds(2 * HOUR));
    app.running.authority().record_expiry().await.expect("recorded");
    let mut expired = watch.next().await.expect("a message");
    while expired.is_empty() {
        expired = watch.next().await.expect("a message");
    }
    expired.sort_by_key(|event| event.0 != key.name);
    assert_eq!(expired, [(key.name.clone(), Cause::Expired), (last.name, Cause::Expired)]);
    let delete = v1::DeleteKeyRequest { name: key.name.clone(), expected_revision: 0 };
    let deleted = root.keys.delete_key(delete).await.expect("deleted").into_inner().key.expect("a key");
    assert_eq!(watch.until(deleted.revision).await, named(Cause::Deleted));
}

async fn what_takes_nothing_away_is_not_told(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let mut watch = Watch::open(&mut root, 0).await;
    let owner = Place::make(&mut root, "acme").await.owner;
    let name = create(&mut root, &owner, Some(HOUR)).await.name;
    let changed = |key: v1::Key| v1::Key { name: name.clone(), ..key };
    let wider = v1::Key { scopes: ["pay", "refund", "more"].map(str::to_owned).to_vec(), ..Default::default() };
    update(&mut root, changed(wider), "scopes").await;
    let everything = v1::Key { scopes: vec!["*".to_owned()], ..Default::default() };
    update(&mut root, changed(everything), "scopes").await;
    update(&mut root, changed(v1::Key::default()), "allowed_networks").await;
    let later = v1::Key { expire_time: in_seconds(2 * HOUR), ..Default::default() };
    update(&mut root, changed(later), "expire_time").await;
    update(&mut root, changed(v1::Key::default()), "expire_time").await;
    let renamed = v1::Key { display_name: "renamed".to_owned(), ..Default::default() };
    let revision = update(&mut root, changed(renamed), "display_name").await;
    assert_eq!(watch.until(revision).await, []);
}

async fn an_owners_change_is_one_event(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let (first, second) = (Place::inside(&mut root, &tenant, "a").await, Place::inside(&mut root, &tenant, "b").await);
    for _ in 0..3 {
        create(&mut root, &first.owner, None).await;
    }
    let mut watch = Watch::open(&mut root, 0).await;
    let (name, expected_revision) = (first.owner.clone(), 0);
    let off = v1::DisableServiceUserRequest { name: name.clone(), expected_revision };
    let off = root.service_users.disable_service_user(off).await.expect("disabled").into_inner();
    let revision = off.service_user.expect("one").revision;
    assert_eq!(watch.until(revision).await, [(first.owner.clone(), Cause::Disabled)]);
    let delete = v1::DeleteServiceUserRequest { name, force: true, expected_revision };
    let gone = root.service_users.delete_service_user(delete).await.expect("deleted").into_inner();
    let revision = gone.service_user.expect("one").revision;
    assert_eq!(watch.until(revision).await, [(first.owner, Cause::Deleted)]);
    let off = v1::DisableTenantRequest { name: tenant.clone(), expected_revision };
    let off = root.tenants.disable_tenant(off).await.expect("disabled").into_inner().tenant.expect("one");
    assert_eq!(watch.until(off.revision).await, [(tenant.clone(), Cause::Disabled)]);
    let delete = v1::DeleteTenantRequest { name: tenant.clone(), force: true, expected_revision };
    let gone = root.tenants.delete_tenant(delete).await.expect("deleted").into_inner().tenant.expect("one");
    assert_eq!(watch.until(gone.revision).await, [(tenant, Cause::Deleted)]);
    assert_eq!(root.verdict(&second.secret).await, Verdict::Unknown, "its key went with it");
}

async fn a_caller_hears_of_its_own_tenant_and_a_caller_of_system_of_all(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (Place::make(&mut root, "acme").await, Place::make(&mut root, "bolt").await);
    let verifier = root.create_key(&bolt.owner, &[VERIFY]).await.1;
    let (mut all, mut own) = (Watch::open(&mut root, 0).await, {
        let mut verifier = root.with(Some(&verifier));
        Watch::open(&mut verifier, 0).await
    });
    disable(&mut root, &acme.key).await;
    let off = v1::DisableTenantRequest { name: acme.tenant.clone(), expected_revision: 0 };
    root.tenants.disable_tenant(off).await.expect("disabled");
    let revision = revoke(&mut root, &bolt.key).await;
    let of_bolt = (bolt.key.clone(), Cause::Revoked);
    let of_acme = [(acme.key.clone(), Cause::Disabled), (acme.tenant, Cause::Disabled)];
    assert_eq!(all.until(revision).await, [&of_acme[..], std::slice::from_ref(&of_bolt)].concat());
    assert_eq!(own.until(revision).await, [of_bolt]);
}

async fn a_watch_resumes_where_it_was_cut_off(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = Place::make(&mut root, "acme").await.owner;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(create(&mut root, &owner, None).await.name);
    }
    let mut watch = Watch::open(&mut root, 0).await;
    let first = revoke(&mut root, &names[0]).await;
    assert_eq!(watch.until(first).await, [(names[0].clone(), Cause::Revoked)]);
    let heard = watch.revision;
    drop(watch);
    revoke(&mut root, &names[1]).await;
    let third = disable(&mut root, &names[2]).await;
    let missed = [(names[1].clone(), Cause::Revoked), (names[2].clone(), Cause::Disabled)];
    let (mut watch, events) = Watch::resume(&mut root, heard).await;
    assert_eq!(events, missed, "at once, and nothing twice");
    assert!(watch.revision >= third);
    let fourth = revoke(&mut root, &names[3]).await;
    assert_eq!(watch.until(fourth).await, [(names[3].clone(), Cause::Revoked)]);
    let (_, events) = Watch::resume(&mut root, third).await;
    assert_eq!(events, [(names[3].clone(), Cause::Revoked)]);
    Watch::open(&mut root, fourth).await;
}

async fn a_watch_that_cannot_be_resumed_is_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let revision = revoke(&mut root, &place.key).await;
    Watch::resume(&mut root, revision).await;
    for future in [revision + 1, i64::MAX] {
        let refused = try_open(&mut root, future).await.expect_err("a revision of the future");
        assert_eq!(told(&refused), (Code::Unavailable, "STALE".to_owned()), "{future}");
    }
    for negative in [-1, i64::MIN] {
        let refused = try_open(&mut root, negative).await.expect_err("a negative revision");
        assert_eq!(told(&refused), (Code::InvalidArgument, "FIELD_INVALID".to_owned()));
        assert_eq!(bad_fields(&refused), ["min_revision"]);
    }
    // What happened before this replica started, it doesn't know.
    let app = app.restart().await;
    let mut root = app.root().await;
    let refused = try_open(&mut root, revision - 1).await.expect_err("too old");
    assert_eq!(told(&refused), (Code::OutOfRange, "WATCH_TOO_OLD".to_owned()));
    Watch::open(&mut root, revision).await;
}

async fn a_watch_ends_with_its_callers_key_and_with_the_server(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (key, secret) = root.create_key(&place.owner, &[VERIFY]).await;
    let mut ending = Watch::open(&mut root.with(Some(&secret)), 0).await;
    let mut staying = Watch::open(&mut root, 0).await;
    revoke(&mut root, &key.name).await;
    assert_eq!(ending.end().await, (Code::Unauthenticated, "CALLER_INVALID".to_owned()));
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(staying.end(), app.running.stop());
    assert_eq!(ended, (Code::Unavailable, "LEAVING".to_owned()));
    assert!(begun.elapsed() < limits::DRAIN, "nobody waited for the watch");
}

/// A watch on one replica hears of what happens through another, and resumes on any of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_hears_of_every_replica() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let services = replicas.start().await;
    let secret = replicas.root_secret();
    let mut one = Client::connect(services[0].address, Some(&secret)).await;
    let mut other = Client::connect(services[1].address, Some(&secret)).await;
    let place = Place::make(&mut one, "acme").await;
    let begin = revision_of(&mut one, &place).await;
    let mut opened = try_open(&mut other, begin).await;
    eventually(PATIENCE, "the other replica follows", async || {
        opened = try_open(&mut other, begin).await;
        opened.is_ok()
    })
    .await;
    let mut watch = Watch { messages: opened.expect("a watch"), revision: 0 };
    let revision = revoke(&mut one, &place.key).await;
    assert_eq!(watch.until(revision).await, [(place.key.clone(), Cause::Revoked)]);
    // Seen for the first time when it was revoked already: it may have been VALID elsewhere.
    for _ in 0..20 {
        let (name, _) = one.create_key(&place.owner, &[]).await;
        let revision = revoke(&mut one, &name.name).await;
        assert_eq!(watch.until(revision).await, [(name.name, Cause::Revoked)]);
    }
    let resumed = Watch::resume(&mut one, begin).await.1;
    assert_eq!((resumed.len(), &resumed[0]), (21, &(place.key, Cause::Revoked)), "by the replica that made them");
}

async fn revision_of(root: &mut Client, place: &Place) -> i64 {
    let request = v1::GetKeyRequest { name: place.key.clone() };
    root.keys.get_key(request).await.expect("a key").into_inner().key.expect("a key").revision
}
