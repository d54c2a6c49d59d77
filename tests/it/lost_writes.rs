//! A standby is promoted that lacks the last seconds: what had ended in them never verifies again on a replica that saw it.

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use claviger::client::{Options, Verifier};
use claviger::proto::v1::{RevokeKeyRequest, Verdict, WatchRevocationsRequest, WatchRevocationsResponse};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Streaming};

use crate::harness::{Client, errors::reason, http};
use crate::rig::eventually;
use crate::table_verdicts::about;
use scene::{Scene, World, verdict};

/// The promotion, a new connection, the ends and the load, on a busy machine.
const HEALED: Duration = Duration::from_secs(60);
const WATCHED_ON: Duration = Duration::from_secs(10);

/// Asks one replica about everything, again and again, and notes what it hears.
struct Listener {
    enough: Arc<AtomicBool>,
    heard: Arc<Heard>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    answers: AtomicUsize,
    no_answers: AtomicUsize,
    /// Something ended was VALID, something alive wasn't, or a lost key came back after it was gone.
    wrong: Mutex<Vec<String>>,
}

impl Listener {
    fn start(mut caller: Client, world: &World) -> Self {
        let (enough, heard) = (Arc::<AtomicBool>::default(), Arc::<Heard>::default());
        let (stop, noted, world) = (Arc::clone(&enough), Arc::clone(&heard), world.clone());
        let task = tokio::spawn(async move {
            let mut lost_is_gone = false;
            while !stop.load(Ordering::SeqCst) {
                for (what, secret) in world.secrets() {
                    let Some(told) = verdict(&mut caller, secret).await else {
                        noted.no_answers.fetch_add(1, Ordering::SeqCst);
                        continue;
                    };
                    noted.answers.fetch_add(1, Ordering::SeqCst);
                    let wrong = match what {
                        "alive" => told != Verdict::Valid,
                        "lost" => told != Verdict::Unknown && (lost_is_gone || told != Verdict::Valid),
                        _ => told == Verdict::Valid,
                    };
                    lost_is_gone |= what == "lost" && told == Verdict::Unknown;
                    if wrong {
                        noted.wrong.lock().push(format!("{what}: {told:?}"));
                    }
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
        Self { enough, heard, task }
    }

    /// What was wrong, and how many answers there were.
    async fn end(self) -> (Vec<String>, usize) {
        self.enough.store(true, Ordering::SeqCst);
        self.task.await.expect("no panic");
        println!("{} calls without a verdict", self.heard.no_answers.load(Ordering::SeqCst));
        let wrong = std::mem::take(&mut *self.heard.wrong.lock());
        (wrong, self.heard.answers.load(Ordering::SeqCst))
    }
}

async fn watch(caller: &mut Client, min_revision: i64) -> Result<Streaming<WatchRevocationsResponse>, tonic::Status> {
    let request = WatchRevocationsRequest { min_revision };
    Ok(caller.verification.watch_revocations(request).await?.into_inner())
}

/// How a watch ends, and what it told before.
async fn end_of(mut messages: Streaming<WatchRevocationsResponse>) -> (Code, String) {
    loop {
        match timeout(HEALED, messages.message()).await.expect("in time") {
            Ok(message) => drop(message.expect("no end without a status")),
            Err(status) => return (status.code(), reason(&status)),
        }
    }
}

async fn forks(scene: &Scene, number: usize) -> u64 {
    let answer = http::ask(scene.http(number), "GET", "/metrics", "").await;
    let line = answer.body.lines().find_map(|line| line.strip_prefix("claviger_forks_total ").map(str::to_owned));
    line.expect("it is there from the start").parse().expect("a number")
}

/// A client with a memory of its own, which has the key that will be lost in it.
async fn remembering(scene: &Scene, world: &World) -> Verifier {
    let channel = scene.callers[0].channel.clone();
    let options = Options { staleness_bound: Duration::from_secs(120), ..Options::default() };
    let verifier = Verifier::new(channel, &scene.secret, &options).expect("good options");
    let none: [&str; 0] = [];
    eventually(HEALED, "it remembers", async || {
        let hits = verifier.hits();
        verifier.verify(&world.lost, None, &none).await.expect("VALID");
        verifier.hits() > hits
    })
    .await;
    verifier
}

/// Every replica answers what the table says, about everything.
async fn all_equal_the_table(scene: &mut Scene, world: &World) {
    eventually(HEALED, "every replica answers what the table says", async || {
        let table = scene.table();
        for caller in &mut scene.callers {
            for (_, secret) in world.secrets() {
                if verdict(caller, secret).await != Some(about(&table, secret)) {
                    return false;
                }
            }
        }
        true
    })
    .await;
}

/// One event of each end that was made again, whoever of the replicas was first.
fn events_are_there(scene: &Scene, world: &World) {
    for target in world.ended_names() {
        let sql = format!("SELECT count(*) FROM audit_event WHERE method = 'system' AND target = '{target}'");
        assert_eq!(scene.standby.psql("postgres", &sql), "1", "{target}");
    }
    let reason =
        "SELECT count(*) FROM api_key WHERE revoke_reason = 'revoked again: the database had lost the key''s end'";
    assert_eq!(scene.standby.psql("postgres", reason), "2", "the revoked one and the rotated one");
}

async fn new_keys_work(scene: &mut Scene, world: &World) {
    for maker in 0..scene.callers.len() {
        let (_, secret) = scene.callers[maker].create_key(&world.new_owner, &[]).await;
        for caller in &mut scene.callers {
            eventually(HEALED, "VALID", async || verdict(caller, &secret).await == Some(Verdict::Valid)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_ended_comes_back_with_a_standby_that_lags() {
    let Some(mut scene) = Scene::set(3).await else { return };
    let mut world = scene.make_world().await;
    scene.let_the_standby_lag().await;
    scene.end_everything(&mut world).await;
    all_equal_the_table(&mut scene, &world).await;
    let verifier = remembering(&scene, &world).await;
    let listeners: Vec<_> = scene.callers.iter().map(|caller| Listener::start(caller.clone(), &world)).collect();
    let mut watches = Vec::new();
    for caller in &mut scene.callers {
        watches.push(tokio::spawn(end_of(watch(caller, 0).await.expect("a watch"))));
    }
    let begun = Instant::now();
    scene.fail_over().await;
    let ended = eventually(HEALED, "it is ended again", async || scene.is_ended(&world)).await;
    all_equal_the_table(&mut scene, &world).await;
    println!("promoted; ended again {ended:?} later, all loaded {:?} after the crash", begun.elapsed());
    for number in 0..scene.callers.len() {
        assert_eq!(verdict(&mut scene.callers[number], &world.lost).await, Some(Verdict::Unknown), "its row is lost");
        assert_eq!(forks(&scene, number).await, 1, "replica {number}");
    }
    for watch in watches {
        assert_eq!(watch.await.expect("no panic"), (Code::OutOfRange, "WATCH_TOO_OLD".to_owned()));
    }
    let none: [&str; 0] = [];
    let forgotten = async || verifier.verify(&world.lost, None, &none).await.is_err();
    eventually(HEALED, "who remembered the lost key forgets it", forgotten).await;
    new_keys_work(&mut scene, &world).await;
    sleep(WATCHED_ON.saturating_sub(begun.elapsed())).await;
    for listener in listeners {
        let (wrong, answers) = listener.end().await;
        assert!(wrong.is_empty(), "{} wrong of {answers}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        assert!(answers > 500, "{answers}");
        println!("{answers} answers, none wrong");
    }
    events_are_there(&scene, &world);
}

/// It can't know what was lost, and has what the others know as soon as they have ended it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_restarted_meanwhile_learns_from_the_others() {
    let Some(mut scene) = Scene::set(3).await else { return };
    let mut world = scene.make_world().await;
    scene.let_the_standby_lag().await;
    scene.end_everything(&mut world).await;
    all_equal_the_table(&mut scene, &world).await;
    let two = &scene.callers[..2];
    let listeners: Vec<_> = two.iter().map(|caller| Listener::start(caller.clone(), &world)).collect();
    scene.kill_replica(2).await;
    scene.fail_over().await;
    scene.start_replica(2).await;
    let begun = Instant::now();
    let mut came_back = None;
    eventually(HEALED, "it is ended again", async || {
        for (what, secret) in world.secrets().filter(|(what, _)| !["alive", "lost"].contains(what)) {
            let told = verdict(&mut scene.callers[2], secret).await;
            came_back = if told == Some(Verdict::Valid) { Some((what, begun.elapsed())) } else { came_back };
        }
        scene.is_ended(&world)
    })
    .await;
    all_equal_the_table(&mut scene, &world).await;
    println!("the restarted one last told a VALID that it should not: {came_back:?} after its start");
    let late = Listener::start(scene.callers[2].clone(), &world);
    let counts = (forks(&scene, 0).await, forks(&scene, 1).await, forks(&scene, 2).await);
    assert_eq!(counts, (1, 1, 0), "the restarted one has nothing to compare with");
    new_keys_work(&mut scene, &world).await;
    sleep(WATCHED_ON.saturating_sub(begun.elapsed())).await;
    for listener in listeners.into_iter().chain([late]) {
        let (wrong, answers) = listener.end().await;
        assert!(wrong.is_empty(), "{} wrong of {answers}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        println!("{answers} answers, none wrong");
    }
    events_are_there(&scene, &world);
}

/// Revisions of the lost history are given again in the new one. Whoever heard the lost ones hasn't heard these.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_the_lost_history_is_not_resumed_in_the_new_one() {
    let Some(mut scene) = Scene::set(1).await else { return };
    let mut world = scene.make_world().await;
    scene.let_the_standby_lag().await;
    scene.end_everything(&mut world).await;
    all_equal_the_table(&mut scene, &world).await;
    let heard = scene.revision_of(0).await;
    scene.fail_over().await;
    eventually(HEALED, "it is ended again", async || scene.is_ended(&world)).await;
    all_equal_the_table(&mut scene, &world).await;
    let root = &mut scene.callers[0];
    let mut told_too_old = false;
    for number in 0..200 {
        let (key, _) = root.create_key(&world.new_owner, &[]).await;
        let request = RevokeKeyRequest { name: key.name.clone(), ..Default::default() };
        let revision = root.keys.revoke_key(request).await.expect("revoked").into_inner().key.expect("a key").revision;
        match watch(root, heard).await {
            Err(status) => {
                let (code, why) = (status.code(), reason(&status));
                told_too_old = code == Code::OutOfRange;
                assert!(told_too_old || (code, &*why) == (Code::Unavailable, "STALE"), "{status:?}");
            }
            Ok(mut messages) => {
                let first = timeout(HEALED, messages.message()).await.expect("in time").expect("one").expect("one");
                let names: Vec<_> = first.revocations.iter().map(|revocation| &revocation.name).collect();
                let all = number + 1;
                assert_eq!(
                    names.len(),
                    all,
                    "resumed at {heard}, now at {revision}: {all} keys were revoked since the fork"
                );
            }
        }
        if revision > heard + 2 {
            break;
        }
    }
    assert!(told_too_old, "whoever heard of the lost history must forget what it remembers");
}
