//! Whatever the moment of death: what was acknowledged is there, what wasn't is whole or absent.

use std::collections::BTreeMap;

use claviger::proto::v1::{self, KeyState, Verdict};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, Place, Process, TestApp, engine, process};
use crate::rig::{Chance, Change, Changed, database, is_live, list_keys, renamed, select, start, verdicts};

on_both_engines!(
    a_kill_at_any_moment_leaves_every_change_whole_or_absent,
    a_kill_during_the_first_start_never_loses_the_root_key,
    a_cancelled_create_is_whole_or_absent_and_its_repetition_makes_one_key,
);

const WORKERS: usize = 6;

fn kills() -> u64 {
    if engine::long() { 100 } else { 10 }
}

async fn a_kill_at_any_moment_leaves_every_change_whole_or_absent(engine: Engine) {
    let Some(place) = engine.place().await else { return };
    let mut running = start(&place).await;
    let secret = process::root_secret(place.folder.path());
    let mut workers = hire(&running, &secret).await;
    let mut chance = Chance::of(kills());
    for kill in 0..kills() {
        let mut working = JoinSet::new();
        for worker in workers.drain(..) {
            let root = running.caller(Some(&secret)).await;
            working.spawn(worker.work(root));
        }
        sleep(chance.milliseconds(20, 500)).await;
        running.kill().await;
        workers = working.join_all().await;
        running = start(&place).await;
        let mut root = running.caller(Some(&secret)).await;
        for worker in &mut workers {
            worker.compare(&mut root, kill).await;
        }
        expect_sound_database(&place).await;
    }
    assert!(workers.iter().any(|worker| worker.doubts > 0), "kills found changes under way");
    let mut root = running.caller(Some(&secret)).await;
    for worker in &workers {
        expect_slots_for_ten(&mut root, &worker.owner).await;
    }
}

async fn hire(running: &Process, secret: &str) -> Vec<Worker> {
    let mut root = running.caller(Some(secret)).await;
    let tenant = root.create_tenant("acme").await;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
        let chance = Chance::of(number as u64);
        workers.push(Worker { owner, keys: BTreeMap::new(), chance, doubt: None, doubts: 0 });
    }
    workers
}

/// Changes the keys of one service user, one at a time, and remembers what was acknowledged.
struct Worker {
    owner: String,
    /// Every key that ever was, by name, with its secret if it was told.
    keys: BTreeMap<String, (v1::Key, Option<String>)>,
    chance: Chance,
    /// The change without an answer, and the key it was for.
    doubt: Option<(Change, String)>,
    doubts: usize,
}

impl Worker {
    /// Until the connection breaks.
    async fn work(mut self, mut root: Client) -> Self {
        loop {
            let (change, name) = self.choose();
            match change.make(&mut root, &self.owner, &name).await {
                Ok(changed) => self.keep(changed),
                Err(status) if is_refusal(&status) => {}
                Err(_) => {
                    self.doubt = Some((change, name));
                    return self;
                }
            }
        }
    }

    fn choose(&mut self) -> (Change, String) {
        let living: Vec<&String> =
            self.keys.iter().filter(|(_, (key, _))| is_live(key)).map(|(name, _)| name).collect();
        let chosen = self.chance.below(living.len().max(1));
        let name = living.get(chosen).map(|name| (*name).clone()).unwrap_or_default();
        let change = match self.chance.below(10) {
            _ if name.is_empty() => Change::Create,
            0..3 => Change::Create,
            3 => Change::Rotate(0),
            4 => Change::Rotate(86_400),
            5 => Change::Disable,
            6 => Change::Enable,
            7 => Change::Revoke,
            8 => Change::Rename(self.chance.below(1_000_000)),
            _ => Change::Delete,
        };
        (change, name)
    }

    fn keep(&mut self, changed: Changed) {
        for (key, told) in changed.predecessor.into_iter().map(|key| (key, None)).chain([(changed.key, changed.secret)])
        {
            let known = self.keys.get(&key.name).and_then(|(_, secret)| secret.clone());
            self.keys.insert(key.name.clone(), (key, told.or(known)));
        }
    }

    /// What is stored is what was acknowledged, but for the one change in doubt, which is whole or absent.
    async fn compare(&mut self, root: &mut Client, kill: u64) {
        let doubt = self.doubt.take();
        self.doubts += usize::from(doubt.is_some());
        let listed = list_keys(root, &self.owner, true).await;
        let mut stored: BTreeMap<_, _> = listed.into_iter().map(|key| (key.name.clone(), key)).collect();
        let mut changed = None;
        for (name, (key, _)) in &mut self.keys {
            let found = stored.remove(name).unwrap_or_else(|| panic!("kill {kill}: {name} is lost"));
            if found == *key {
                continue;
            }
            let (change, about) = doubt.as_ref().unwrap_or_else(|| panic!("kill {kill}: {key:?} became {found:?}"));
            assert!(
                about == name && is_whole(*change, key, &found),
                "kill {kill}: {doubt:?}: {key:?} became {found:?}"
            );
            changed = Some(found.clone());
            *key = found;
        }
        self.expect_explained(stored.into_values().collect(), doubt.map(|(change, _)| change), changed.as_ref());
        self.expect_verdicts(root).await;
    }

    /// A key that wasn't acknowledged is the new one of the change in doubt.
    fn expect_explained(&mut self, unknown: Vec<v1::Key>, doubt: Option<Change>, predecessor: Option<&v1::Key>) {
        match (unknown.as_slice(), doubt) {
            ([], Some(Change::Rotate(_))) => assert_eq!(predecessor, None, "half a rotation"),
            ([], _) => {}
            ([made], Some(Change::Create)) => assert!(made.supersedes.is_empty(), "{made:?}"),
            ([made], Some(Change::Rotate(_))) => {
                let old = predecessor.expect("both keys of a rotation");
                assert_eq!((&made.supersedes, &old.superseded_by), (&old.name, &made.name));
                assert_eq!(made.revision, old.revision);
            }
            _ => panic!("{doubt:?} doesn't explain {unknown:?}"),
        }
        self.keys.extend(unknown.into_iter().map(|key| (key.name.clone(), (key, None))));
    }

    async fn expect_verdicts(&self, root: &mut Client) {
        let known = self.keys.values().filter_map(|(key, secret)| Some((key, secret.clone()?)));
        let (keys, secrets): (Vec<&v1::Key>, Vec<String>) = known.unzip();
        for (key, verdict) in keys.iter().zip(verdicts(root, &secrets).await) {
            let expected = match key.state() {
                _ if key.delete_time.is_some() => Verdict::Unknown,
                KeyState::Enabled => Verdict::Valid,
                KeyState::Disabled => Verdict::Disabled,
                KeyState::Revoked => Verdict::Revoked,
                KeyState::Expired | KeyState::Unspecified => Verdict::Expired,
            };
            assert_eq!(verdict, expected, "{key:?}");
        }
    }
}

/// Whether the service said no, which it does only when nothing was changed.
fn is_refusal(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    assert_ne!(reason.as_deref(), Some("INTERNAL"), "{status:?}");
    reason.is_some_and(|reason| reason.starts_with("KEY_") || reason == "RESOURCE_NOT_FOUND")
}

fn is_whole(change: Change, before: &v1::Key, after: &v1::Key) -> bool {
    let all = match change {
        Change::Create => false,
        Change::Rotate(0) => !after.superseded_by.is_empty() && after.revoke_reason == "rotated",
        Change::Rotate(_) => !after.superseded_by.is_empty() && after.expire_time.is_some(),
        Change::Enable => after.state() == KeyState::Enabled,
        Change::Disable => after.state() == KeyState::Disabled,
        Change::Revoke => after.revoke_reason == "a test" && after.revoke_time.is_some(),
        Change::Rename(number) => after.display_name == renamed(number),
        Change::Delete => after.delete_time.is_some() && after.purge_time.is_some(),
    };
    all && after.revision > before.revision
}

/// Each query counts what must not be.
const UNSOUND: [&str; 6] = [
    "SELECT count(*) FROM api_key WHERE revision NOT IN (SELECT revision FROM audit_event WHERE outcome = 'DONE')",
    "SELECT count(*) FROM service_user WHERE revision NOT IN (SELECT revision FROM audit_event WHERE outcome = 'DONE')",
    "SELECT count(*) FROM audit_event WHERE method LIKE 'claviger.v1.KeyService/%' AND outcome = 'DONE' AND NOT EXISTS (
        SELECT 1 FROM api_key WHERE api_key.revision >= audit_event.revision
        AND target = 'tenants/' || api_key.tenant_id || '/serviceUsers/' || service_user_id || '/keys/' || api_key.id)",
    "SELECT count(*) FROM api_key made LEFT JOIN api_key old ON old.id = made.supersedes
        WHERE made.supersedes IS NOT NULL AND (old.superseded_by IS NULL OR old.superseded_by <> made.id)",
    "SELECT count(*) FROM api_key old LEFT JOIN api_key made ON made.id = old.superseded_by
        WHERE old.superseded_by IS NOT NULL AND (made.supersedes IS NULL OR made.supersedes <> old.id)",
    // One event for each revision there ever was.
    "SELECT abs(value - (SELECT count(DISTINCT revision) FROM audit_event WHERE revision BETWEEN 1 AND value))
        + (SELECT count(*) FROM audit_event WHERE revision > value) FROM revision",
];

async fn expect_sound_database(place: &Place) {
    let database = database(place).await;
    for sql in UNSOUND {
        assert_eq!(select::<i64>(&database, sql).await, [0], "{sql}");
    }
    if place.database_url.is_none() {
        assert_eq!(select::<String>(&database, "PRAGMA integrity_check").await, ["ok"]);
        assert!(select::<String>(&database, "PRAGMA foreign_key_check").await.is_empty());
    }
    database.close().await.expect("closed");
}

async fn expect_slots_for_ten(root: &mut Client, owner: &str) {
    let live = list_keys(root, owner, false).await.iter().filter(|key| is_live(key)).count();
    for _ in live..10 {
        root.create_key(owner, &[]).await;
    }
    root.try_create_key(owner, &[]).await.expect_err("an eleventh");
}

async fn a_kill_during_the_first_start_never_loses_the_root_key(engine: Engine) {
    let mut chance = Chance::of(7);
    for kill in 0..kills() {
        let Some(place) = engine.place().await else { return };
        let mut starting = process::command(&place).spawn().expect("it starts");
        let moment = chance.milliseconds(1, 400);
        sleep(moment).await;
        starting.kill().await.expect("killed");
        let running = start(&place).await;
        let mut root = running.caller(Some(&process::root_secret(place.folder.path()))).await;
        let (_, made) = {
            let tenant = root.create_tenant("acme").await;
            let owner = root.create_service_user(&tenant, "billing").await;
            root.create_key(&owner, &[]).await
        };
        assert_eq!(root.verdict(&made).await, Verdict::Valid, "kill {kill} after {moment:?}");
        let files = std::fs::read_dir(place.folder.path()).expect("a folder");
        let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        let pending: Vec<String> = names.filter(|name| name.contains("pending")).collect();
        assert!(pending.is_empty(), "kill {kill} after {moment:?}: {pending:?}");
        expect_sound_database(&place).await;
    }
}

async fn a_cancelled_create_is_whole_or_absent_and_its_repetition_makes_one_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let lanes = (0..4).map(|lane| {
        let (mut root, tenant) = (root.clone(), tenant.clone());
        async move {
            let owner = root.create_service_user(&tenant, &format!("user-{lane}")).await;
            let mut caller = Cancelling { root, owner, chance: Chance::of(lane) };
            let mut cancelled = 0;
            for number in 0..50 {
                cancelled += usize::from(caller.cancel_and_repeat(lane * 1_000 + number).await);
            }
            cancelled
        }
    });
    let cancelled: usize = join_all(lanes).await.into_iter().sum();
    assert!(cancelled > 20, "only {cancelled} of 200 were cancelled in time");
    expect_sound_database(&app.place).await;
}

struct Cancelling {
    root: Client,
    owner: String,
    chance: Chance,
}

impl Cancelling {
    /// Answers whether it was cancelled before its answer came.
    async fn cancel_and_repeat(&mut self, number: u64) -> bool {
        let key = v1::Key { display_name: "a key".to_owned(), ..Default::default() };
        let request_id = format!("00000000-0000-4000-8000-{number:012}");
        let parent = self.owner.clone();
        let create = v1::CreateKeyRequest { parent, key: Some(key), request_id, ..Default::default() };
        let patience = self.chance.milliseconds(1, 21);
        let mut first = Request::new(create.clone());
        // By the deadline that the service is told of, or by hanging up.
        if self.chance.below(2) == 0 {
            first.set_timeout(patience);
        }
        let given_up = !matches!(timeout(patience, self.root.keys.create_key(first)).await, Ok(Ok(_)));
        let made = self.root.keys.create_key(create).await.expect("a repetition").into_inner();
        let key = made.key.expect("a key");
        let listed = list_keys(&mut self.root, &self.owner, false).await;
        assert_eq!(listed.iter().map(|key| &key.name).collect::<Vec<_>>(), [&key.name], "one key per request_id");
        assert_eq!(self.root.verdict(&made.secret).await, Verdict::Valid);
        Change::Delete.make(&mut self.root, &self.owner, &key.name).await.expect("deleted");
        given_up
    }
}
