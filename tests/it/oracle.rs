//! No wrong answer, whatever happens to the database, to the ways that lead to it and to a replica: three replicas on one
//! PostgreSQL under load, and an oracle that knows when each key was valid.

mod judge;
mod load;
mod mutator;
mod planted;
mod record;
mod replicas_in_trouble;
mod scene;
mod signals;
mod together;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::engine::long;

use claviger::proto::v1::Verdict;
use judge::{Heard, SECOND};
use scene::{REPLICAS, Scene, Settings};
use signals::{Firewall, Stopped};

/// Changes are made again, on a busy machine.
const AGAIN: Duration = Duration::from_secs(20);
const LISTENERS: &str = "FROM pg_stat_activity WHERE application_name = 'claviger listen'";

fn settings(name: &'static str) -> Settings {
    Settings { name, staleness: 30, reachable: 1_500, cable: false }
}

/// Short, and as long as is asked for.
fn times(short: usize, full: usize) -> usize {
    if long() { full } else { short }
}

fn is_valid(heard: &Heard) -> bool {
    matches!(heard, Heard::Verdict(Verdict::Valid, _))
}

fn is_stale(heard: &Heard) -> bool {
    *heard == Heard::Error("STALE".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_restarted() {
    let Some(scene) = Scene::set(settings("restarted")).await else { return };
    scene
        .run(async |scene| {
            for _ in 0..times(2, 10) {
                let trouble = scene.record.trouble(None, false);
                scene.cluster.restart().await;
                scene.record.trouble_ends(trouble);
                scene.changes(20, AGAIN).await;
                sleep(scene.chance.milliseconds(100, 2_000)).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_killed() {
    let Some(scene) = Scene::set(settings("killed")).await else { return };
    scene
        .run(async |scene| {
            for _ in 0..times(2, 8) {
                let trouble = scene.record.trouble(None, false);
                scene.cluster.kill_postmaster();
                sleep(scene.chance.milliseconds(1, 500)).await;
                scene.cluster.start_again().await;
                scene.record.trouble_ends(trouble);
                scene.changes(20, AGAIN).await;
                sleep(scene.chance.milliseconds(100, 2_000)).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_stands_still() {
    let staleness = if long() { 20 } else { 3 };
    let Some(scene) = Scene::set(Settings { staleness, ..settings("stands still") }).await else { return };
    scene
        .run(async |scene| {
            let stands = Duration::from_secs(if long() { 30 } else { 5 });
            let (trouble, begun) = (scene.record.trouble(None, false), scene.record.now());
            let stopped = Stopped::stop(scene.cluster.processes());
            sleep(stands).await;
            drop(stopped);
            scene.record.trouble_ends(trouble);
            for replica in 0..REPLICAS {
                // A look may have begun up to a second before.
                let most = begun + (staleness - 2) * SECOND;
                let shortly_before = scene.record.count(replica, most - SECOND / 2, is_valid);
                assert!(shortly_before > 0, "replica {replica} verifies until its bound");
                let stale = scene.record.count(replica, begun, is_stale);
                assert!(stale > 0, "replica {replica} answers nothing beyond its bound");
            }
            println!("changes again after {:?}", scene.changes(20, AGAIN).await);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_listeners_are_terminated() {
    let Some(scene) = Scene::set(Settings { reachable: 2_000, ..settings("terminated") }).await else { return };
    scene
        .run(async |scene| {
            let begun = Instant::now();
            let mut terminated = 0;
            while begun.elapsed() < Duration::from_secs(if long() { 60 } else { 6 }) {
                let listening =
                    scene.cluster.psql("postgres", &format!("SELECT pg_terminate_backend(pid) {LISTENERS}"));
                terminated += listening.lines().filter(|line| *line == "t").count();
                sleep(Duration::from_millis(500)).await;
            }
            println!("{terminated} listeners were terminated");
            assert!(terminated >= 6, "{terminated}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_firewall_forgets_the_listeners() {
    if !long() {
        // It changes the machine's firewall, which few machines allow; `listening.rs` has the same fault by a proxy.
        return;
    }
    let Some(firewall) = Firewall::new() else { return };
    let Some(scene) = Scene::set(Settings { reachable: 2_000, ..settings("forgotten") }).await else { return };
    let port = scene.cluster.port;
    let ports = |scene: &Scene| -> Vec<u16> {
        let ports = scene.cluster.psql("postgres", &format!("SELECT client_port {LISTENERS} ORDER BY 1"));
        ports.lines().map(|port| port.parse().expect("a port")).collect()
    };
    scene
        .run(async |scene| {
            for round in 0..times(2, 10) {
                let before = ports(scene);
                assert_eq!(before.len(), REPLICAS, "each listens");
                before.iter().for_each(|listener| firewall.drop_between(*listener, port));
                let replaced = crate::rig::eventually(AGAIN, "each listens again", async || {
                    let now = ports(scene);
                    now.len() == REPLICAS && now.iter().all(|port| !before.contains(port))
                })
                .await;
                println!("round {round}: deaf listeners were replaced after {replaced:?}");
                sleep(Duration::from_secs(1)).await;
            }
        })
        .await;
}
