//! Names that were mapped, moved or taken away on another replica; and what unknown names cost.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::harness::Process;
use crate::hostile_streams::settled_looks;
use crate::rig::{Replicas, eventually};

/// The timer looks at the feed every second; the rest is for a slow machine.
const SEEN: Duration = Duration::from_secs(10);
/// A call waits a moment for a look at the feed, and on a slow machine in vain.
const LATE: [&str; 2] = ["STORE_UNAVAILABLE", "DEADLINE_EXCEEDED"];

/// What a call is answered, once it isn't late.
async fn in_time<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(status) if LATE.contains(&&*reason(&status)) && begun.elapsed() < SEEN => {}
            answered => return answered,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_mapped_on_one_replica_is_known_on_the_other_at_once() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let files = Files::write();
    let start = |number| {
        let mut command = replicas.command(number);
        command.envs(files.settings());
        Process::start_command(command)
    };
    let processes = join_all((0..2).map(start)).await;
    let secret = replicas.root_secret();
    let mut roots = Vec::new();
    for process in &processes {
        roots.push(Client::over(channel(&files.authority, process.address, None).await, Some(&secret)));
    }
    let tenant = roots[0].create_tenant("acme").await;
    let owners =
        [roots[0].create_service_user(&tenant, "one").await, roots[0].create_service_user(&tenant, "two").await];
    let own = files.authority.sign(&Wanted::client(&[NAME], &[]));
    let mut holder = Client::over(channel(&files.authority, processes[1].address, Some(&own)).await, None);
    expect(verify(&mut holder).await, INVALID, "nobody's");
    for round in 0..20 {
        let (to, from) = (&owners[round % 2], &owners[(round + 1) % 2]);
        map(&mut roots[0], to, &[identity(NAME, &[VERIFY, "claviger:keys.self"])]).await.expect("mapped");
        expect(
            in_time(async || verify(&mut holder).await).await,
            LET_IN,
            &format!("the very next call, round {round}"),
        );
        expect(in_time(async || list(&mut holder, to).await).await, LET_IN, &format!("as who it is, round {round}"));
        expect(
            in_time(async || list(&mut holder, from).await).await,
            WIDER,
            &format!("not as who it was, round {round}"),
        );
        map(&mut roots[0], to, &[]).await.expect("taken away");
        let locked_out = async || verify(&mut holder).await.is_err_and(|status| !LATE.contains(&&*reason(&status)));
        eventually(SEEN, "locked out", locked_out).await;
        expect(in_time(async || verify(&mut holder).await).await, INVALID, &format!("nobody's, round {round}"));
    }
}

/// Each unknown name waits for a look that starts after its call; all that wait share one.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_names_shares_its_looks() {
    const HOLDERS: i64 = 20;
    const ROUNDS: i64 = 50;
    let Some(scene) = Scene::start(Engine::Postgres).await else { return };
    let mut holders = Vec::new();
    for number in 0..HOLDERS {
        let name = format!("spiffe://example.org/stranger-{number}");
        holders.push(scene.holder_with(&[&name], &[], None).await);
    }
    let before = settled_looks(&scene.app.place).await;
    let floods = holders.into_iter().map(|mut holder| async move {
        for _ in 0..ROUNDS {
            let refused = reason(&verify(&mut holder).await.expect_err("a stranger"));
            assert!(refused == "CALLER_INVALID" || LATE.contains(&&*refused), "{refused}");
        }
    });
    join_all(floods).await;
    let looks = settled_looks(&scene.app.place).await - before;
    println!("{looks} looks for {} calls", HOLDERS * ROUNDS);
    assert!(looks < HOLDERS * ROUNDS / 4, "they share looks: {looks}");
}
