//! How old an answer may be: what a call demands, what the server's bound allows, and which clock counts.

use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::proto::v1::{self, Verdict, batch_verify_result::Result as Item};
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::harness::errors::{bad_fields, reason};
use crate::harness::{Client, Engine, FakedTime, Process, TestApp};
use crate::outage::{Outage, Scene};
use crate::rig::{Change, Replicas, eventually};

on_both_engines!(what_no_replica_can_know_is_refused, each_of_a_batch_has_its_own_demand);

/// What a call demands.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    min_revision: i64,
    milliseconds: Option<i64>,
}

fn question(secret: &str, demand: Demand) -> v1::VerifyRequest {
    let duration = |milliseconds: i64| prost_types::Duration {
        seconds: milliseconds / 1_000,
        nanos: i32::try_from(milliseconds % 1_000).expect("small") * 1_000_000,
    };
    v1::VerifyRequest {
        secret: secret.to_owned(),
        min_revision: demand.min_revision,
        max_staleness: demand.milliseconds.map(duration),
        ..Default::default()
    }
}

async fn ask(caller: &mut Client, secret: &str, demand: Demand) -> Result<v1::VerifyResponse, Status> {
    Ok(caller.verification.verify(question(secret, demand)).await?.into_inner())
}

/// The first verdict there is: on a busy machine a look may take longer than a call may wait for it.
async fn first_verdict(caller: &mut Client, secret: &str, demand: Demand) -> Verdict {
    let mut verdict = None;
    eventually(Duration::from_secs(20), "a verdict", async || {
        verdict = match ask(caller, secret, demand).await {
            Ok(answer) => Some(answer.verdict()),
            Err(status) => {
                assert!(["STALE", "DEADLINE_EXCEEDED"].contains(&&*reason(&status)), "{status:?}");
                None
            }
        };
        verdict.is_some()
    })
    .await;
    verdict.expect("a verdict")
}

fn expect_stale(answer: Result<v1::VerifyResponse, Status>) {
    let status = answer.expect_err("too old");
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "STALE".to_owned()), "{status:?}");
}

async fn what_no_replica_can_know_is_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (key, secret) = root.create_key(&owner, &["pay"]).await;
    for milliseconds in [None, Some(0), Some(1), Some(i64::from(i32::MAX) * 1_000)] {
        for min_revision in [0, 1, key.revision] {
            let demand = Demand { min_revision, milliseconds };
            assert_eq!(first_verdict(&mut root, &secret, demand).await, Verdict::Valid, "{demand:?}");
        }
        for min_revision in [key.revision + 1, i64::MAX] {
            let begun = Instant::now();
            expect_stale(ask(&mut root, &secret, Demand { min_revision, milliseconds }).await);
            assert!(begun.elapsed() < Duration::from_secs(5), "one look, not a wait for the future");
        }
    }
    for (min_revision, milliseconds, fields) in [
        (-1, None, vec!["min_revision"]),
        (0, Some(-1), vec!["max_staleness"]),
        (i64::MIN, Some(-5_000), vec!["min_revision", "max_staleness"]),
    ] {
        let refused = ask(&mut root, &secret, Demand { min_revision, milliseconds }).await.expect_err("negative");
        assert_eq!(
            (refused.code(), bad_fields(&refused)),
            (Code::InvalidArgument, fields.iter().map(|&field| field.into()).collect())
        );
    }
}

async fn each_of_a_batch_has_its_own_demand(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let secret = app.root_secret.clone();
    let demands = [(0, None), (i64::MAX, None), (0, Some(0)), (-1, None), (1, Some(60_000))];
    let requests =
        demands.map(|(min_revision, milliseconds)| question(&secret, Demand { min_revision, milliseconds })).to_vec();
    let answer = root.verification.batch_verify(v1::BatchVerifyRequest { requests }).await.expect("answers");
    let told = answer.into_inner().results.into_iter().map(|item| match item.result.expect("a result") {
        Item::Response(response) => Ok(response.verdict()),
        Item::Error(error) => Err(Code::from(error.code)),
    });
    let valid = Ok(Verdict::Valid);
    let expected = [valid, Err(Code::Unavailable), valid, Err(Code::InvalidArgument), valid];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

/// Two replicas, a caller of each, and an owner.
async fn two() -> Option<(Replicas, Vec<Process>, Client, Client, String)> {
    let replicas = Replicas::new(2).await?;
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let mut here = processes[0].caller(Some(&secret)).await;
    let there = processes[1].caller(Some(&secret)).await;
    let tenant = here.create_tenant("acme").await;
    let owner = here.create_service_user(&tenant, "billing").await;
    Some((replicas, processes, here, there, owner))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_sees_at_once_what_was_changed_on_another_replica() {
    let Some((_replicas, _processes, mut here, mut there, owner)) = two().await else { return };
    for round in 0..20 {
        let (key, secret) = here.create_key(&owner, &[]).await;
        assert_eq!(
            first_verdict(&mut there, &secret, Demand { milliseconds: Some(0), ..Demand::default() }).await,
            Verdict::Valid
        );
        let revoked = Change::Revoke.make(&mut here, &owner, &key.name).await.expect("revoked").key;
        let demand = match round % 3 {
            0 => Demand { milliseconds: Some(0), ..Demand::default() },
            1 => Demand { min_revision: revoked.revision, ..Demand::default() },
            _ => Demand { min_revision: revoked.revision, milliseconds: Some(0) },
        };
        assert_eq!(first_verdict(&mut there, &secret, demand).await, Verdict::Revoked, "round {round}: {demand:?}");
    }
}

async fn signal(process: &Process, name: &str) {
    let pid = process.child.id().expect("running").to_string();
    assert!(Command::new("kill").args([name, &pid]).status().await.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_knows_of_revocations_when_it_first_answers() {
    let Some((_replicas, processes, mut here, mut there, owner)) = two().await else { return };
    let (mut proven, mut round) = (0, 0);
    // A look that takes longer than a call waits for it proves nothing: the machine is busy, and it's tried again.
    while round < 4 || proven < 2 {
        round += 1;
        assert!(round <= 12, "{proven} rounds were quick enough to prove it");
        let (key, secret) = here.create_key(&owner, &[]).await;
        assert_eq!(first_verdict(&mut there, &secret, Demand::default()).await, Verdict::Valid);
        signal(&processes[1], "-STOP").await;
        Change::Revoke.make(&mut here, &owner, &key.name).await.expect("revoked");
        sleep(Duration::from_millis(3_000)).await;
        signal(&processes[1], "-CONT").await;
        let begun = Instant::now();
        let verdict = first_verdict(&mut there, &secret, Demand::default()).await;
        if begun.elapsed() < Duration::from_millis(90) {
            assert_eq!(verdict, Verdict::Revoked, "round {round}");
            proven += 1;
        }
    }
    println!("{proven} of {round} rounds were quick enough to prove it");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_demands_less_age_is_refused_earlier_while_the_store_is_away() {
    let Some(mut scene) = Scene::set("60s").await else { return };
    let secret = scene.secret.clone();
    let demand = Demand { milliseconds: Some(2_500), ..Demand::default() };
    assert_eq!(first_verdict(&mut scene.root, &secret, demand).await, Verdict::Valid);
    scene.cable.cut(Outage::Refused).await;
    let cut = Instant::now();
    let mut refused = None;
    eventually(Duration::from_secs(10), "too old for the one who demands", async || {
        match ask(&mut scene.root, &secret, demand).await {
            Ok(answer) => assert_eq!(answer.verdict(), Verdict::Valid),
            Err(status) => {
                expect_stale(Err(status));
                refused = Some(cut.elapsed());
            }
        }
        refused.is_some()
    })
    .await;
    let refused = refused.expect("a moment");
    assert!(refused > Duration::from_millis(1_400), "it had the age that was allowed: {refused:?}");
    expect_stale(ask(&mut scene.root, &secret, Demand { milliseconds: Some(0), ..Demand::default() }).await);
    let loose = Demand { milliseconds: Some(3_600_000), ..Demand::default() };
    for demand in [Demand::default(), loose] {
        let answer = ask(&mut scene.root, &secret, demand).await.expect("within the server's bound");
        assert_eq!(answer.verdict(), Verdict::Valid);
    }
    scene.cable.mend().await;
    assert_eq!(first_verdict(&mut scene.root, &secret, demand).await, Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_makes_a_mirror_neither_stale_nor_fresh() {
    let machine = Clock::system().now();
    let Some(time) = FakedTime::new(machine) else { return };
    let Some(mut scene) = Scene::set_with("8s", time.environment()).await else { return };
    let secret = scene.secret.clone();
    scene.cable.cut(Outage::Refused).await;
    let cut = Instant::now();
    sleep(Duration::from_millis(1_500)).await;
    time.set(machine + TimeDelta::hours(1));
    let answer = ask(&mut scene.root, &secret, Demand::default()).await.expect("not stale by a jump ahead");
    assert_eq!(answer.verdict(), Verdict::Valid);
    time.set(machine - TimeDelta::hours(1));
    eventually(Duration::from_secs(12), "stale, whatever the wall clock says", async || {
        match ask(&mut scene.root, &secret, Demand::default()).await {
            Ok(_) => false,
            Err(status) => {
                expect_stale(Err(status));
                true
            }
        }
    })
    .await;
    assert!(cut.elapsed() > Duration::from_secs(6), "it had its bound: {:?}", cut.elapsed());
}
