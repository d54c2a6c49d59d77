//! One replica is cut off or stopped; the others go on, and it says nothing wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use claviger::proto::v1::Verdict;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::harness::Client;
use crate::outage::Outage;
use crate::rig::{Change, eventually};

use super::judge::{Flaw, Heard, SECOND, Subject};
use super::load::{SCOPES, ask, reason_of};
use super::scene::{REPLICAS, Scene, Settings};
use super::signals::Stopped;
use super::{AGAIN, is_stale, is_valid, settings, times};

/// The replica in trouble.
const LAST: usize = REPLICAS - 1;

#[tokio::test(flavor = "multi_thread")]
async fn while_one_replica_is_cut_off_for_longer_than_its_bound() {
    let Some(scene) = Scene::set(Settings { staleness: 3, cable: true, ..settings("cut off") }).await else { return };
    scene
        .run(async |scene| {
            for outage in [Outage::Silent, Outage::Refused].into_iter().cycle().take(times(1, 4)) {
                scene.avoid(LAST);
                let (trouble, begun) = (scene.record.trouble(Some(LAST), false), scene.record.now());
                scene.cable.as_mut().expect("a cable").cut(outage).await;
                sleep(Duration::from_secs(7)).await;
                let valid = scene.record.count(LAST, begun + SECOND, is_valid);
                assert!(valid > 0, "{outage:?}: it answers until its bound");
                let at_the_end = begun + 6 * SECOND;
                assert!(scene.record.count(LAST, at_the_end, is_stale) > 0, "{outage:?}: beyond its bound");
                assert_eq!(scene.record.count(LAST, at_the_end, |heard| matches!(heard, Heard::Verdict(..))), 0);
                scene.cable.as_mut().expect("a cable").mend().await;
                scene.record.trouble_ends(trouble);
                let mended = scene.record.now();
                let follows = async || scene.record.count(LAST, mended, is_valid) > 0;
                println!("{outage:?}: caught up after {:?}", eventually(AGAIN, "it catches up", follows).await);
                scene.avoid(usize::MAX);
                sleep(Duration::from_secs(6)).await;
            }
        })
        .await;
}

/// Makes a hundred keys of service users of their own; answers names, numbers and secrets.
async fn a_hundred(scene: &mut Scene, round: usize) -> Vec<(String, usize, String)> {
    let mut root = scene.callers[0].clone();
    let mut made = Vec::new();
    for user in 0..10 {
        let owner = root.create_service_user("tenants/acme", &format!("round-{round}-{user}")).await;
        for _ in 0..10 {
            let number = scene.record.new_key(1_000 + round * 10 + user);
            let begun = scene.record.change(&[(Subject::Key(number), Flaw::Absent, false)]);
            let (key, secret) = root.create_key(&owner, &SCOPES).await;
            scene.record.made(&begun);
            made.push((key.name, number, secret));
        }
    }
    made
}

/// Whoever sleeps may hold the write lock, which PostgreSQL takes away in 5 s. Till then changes may be refused, but only as
/// what wasn't made and may be tried again.
async fn revoke(root: &mut Client, name: &str) {
    let revoked = async || match Change::Revoke.make(root, "", name).await {
        Ok(_) => true,
        Err(status) => {
            assert!(["STORE_UNAVAILABLE", "OVERLOADED"].contains(&&*reason_of(&status)), "{status:?}");
            false
        }
    };
    eventually(AGAIN, "revoked", revoked).await;
}

async fn ask_all(caller: &Client, scene: &Scene, keys: &[(String, usize, String)]) -> Vec<Heard> {
    let asking = keys.iter().map(async |(_, number, secret)| {
        ask(&mut caller.clone(), LAST, &scene.record, Some(*number), secret.clone(), true).await
    });
    join_all(asking).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_replica_sleeps_through_a_hundred_revocations() {
    let Some(scene) = Scene::set(Settings { reachable: 2_500, ..settings("asleep") }).await else { return };
    let mut valid = 0;
    let valid_count = &mut valid;
    scene
        .run(async |scene| {
            for round in 0..times(1, 10) {
                let keys = a_hundred(scene, round).await;
                let caller = scene.callers[LAST].clone();
                let before = ask_all(&caller, scene, &keys).await;
                assert!(before.iter().all(is_valid), "{before:?}");
                scene.avoid(LAST);
                let trouble = scene.record.trouble(Some(LAST), true);
                let stopped = Stopped::stop(vec![scene.processes[LAST].child.id().expect("it runs")]);
                let begun = Instant::now();
                let mut root = scene.callers[round % LAST].clone();
                for (name, number, _) in &keys {
                    let begun = scene.record.change(&[(Subject::Key(*number), Flaw::Revoked, true)]);
                    revoke(&mut root, name).await;
                    scene.record.made(&begun);
                }
                // Within two seconds it can't know that it slept.
                sleep(Duration::from_millis(2_500).saturating_sub(begun.elapsed())).await;
                let awake = async {
                    sleep(scene.chance.clone().milliseconds(50, 300)).await;
                    drop(stopped);
                };
                let asked = scene.record.now();
                let (first, ()) = tokio::join!(ask_all(&caller, scene, &keys), awake);
                scene.record.trouble_ends(trouble);
                scene.avoid(usize::MAX);
                let (revoked, living) = (count(&first, is_revoked), count(&first, is_valid));
                let (slept, woke) = (begun.elapsed(), (scene.record.now() - asked) / 1_000);
                println!(
                    "round {round}: slept {slept:?}; REVOKED {revoked}, VALID {living} of 100, all within {woke} ms"
                );
                *valid_count += living;
            }
        })
        .await;
    assert_eq!(valid, 0, "first answers about keys that were revoked meanwhile");
}

fn is_revoked(heard: &Heard) -> bool {
    matches!(heard, Heard::Verdict(Verdict::Revoked, _))
}

fn count(heard: &[Heard], counts: impl Fn(&Heard) -> bool) -> usize {
    heard.iter().filter(|heard| counts(heard)).count()
}

/// Whether a writer of the last replica waits for it in the middle of a change.
fn holds_the_row(scene: &Scene) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE usename = 'replica{LAST}' \
         AND state = 'idle in transaction' AND locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"
    );
    scene.cluster.psql("postgres", &sql) != "0"
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_replica_is_stopped_with_the_write_lock_in_its_hand() {
    let Some(scene) = Scene::set(Settings { reachable: 2_500, ..settings("holds the lock") }).await else { return };
    scene
        .run(async |scene| {
            for round in 0..times(1, 5) {
                let (mut tries, begun) = (0, Instant::now());
                let (stopped, trouble) = loop {
                    assert!(begun.elapsed() < Duration::from_secs(60), "never in the middle of a change");
                    tries += 1;
                    let trouble = scene.record.trouble(Some(LAST), true);
                    let stopped = Stopped::stop(vec![scene.processes[LAST].child.id().expect("it runs")]);
                    sleep(Duration::from_millis(30)).await;
                    if holds_the_row(scene) {
                        break (stopped, trouble);
                    }
                    drop(stopped);
                    scene.record.trouble_ends(trouble);
                    sleep(scene.chance.milliseconds(5, 100)).await;
                };
                scene.avoided.store(LAST, Ordering::SeqCst);
                let again = scene.changes(1, Duration::from_secs(15)).await;
                let further = scene.changes(5, AGAIN).await;
                println!(
                    "round {round}: held at try {tries}; changes again after {again:?}, five more {further:?} later"
                );
                assert!(again < Duration::from_secs(8), "{again:?}");
                drop(stopped);
                scene.record.trouble_ends(trouble);
                scene.avoid(usize::MAX);
                scene.changes(20, AGAIN).await;
            }
        })
        .await;
}
