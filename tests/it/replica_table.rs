//! `wait_for_replicas`: who has applied a change, who may not have, and how long that takes.

use std::time::Duration;

use claviger::proto::v1::{self, Verdict};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::harness::{Client, Engine, Process, TestApp, engine::skip};
use crate::postgres_wire::PostgresWire;
use crate::rig::{Replicas, database, eventually, select};

on_both_engines!(one_process_lists_itself, without_a_wait_nobody_is_listed);

/// What was confirmed, what wasn't, and how long it took.
struct Reach {
    confirmed: Vec<String>,
    unconfirmed: Vec<String>,
    took: Duration,
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn revoke(root: &mut Client, name: &str, wait_for_replicas: Option<prost_types::Duration>) -> Reach {
    let begun = Instant::now();
    let request = v1::RevokeKeyRequest { name: name.to_owned(), wait_for_replicas, ..Default::default() };
    let answer = root.keys.revoke_key(request).await.expect("revoked").into_inner();
    assert_eq!(answer.key.expect("a key").state(), v1::KeyState::Revoked);
    let (confirmed, unconfirmed) = (answer.confirmed_replicas, answer.unconfirmed_replicas);
    assert!(confirmed.is_sorted() && unconfirmed.is_sorted());
    Reach { confirmed, unconfirmed, took: begun.elapsed() }
}

async fn disable(root: &mut Client, name: &str, wait_for_replicas: Option<prost_types::Duration>) -> Reach {
    let begun = Instant::now();
    let request = v1::DisableKeyRequest { name: name.to_owned(), wait_for_replicas, ..Default::default() };
    let answer = root.keys.disable_key(request).await.expect("disabled").into_inner();
    assert_eq!(answer.key.expect("a key").state(), v1::KeyState::Disabled);
    let (confirmed, unconfirmed) = (answer.confirmed_replicas, answer.unconfirmed_replicas);
    Reach { confirmed, unconfirmed, took: begun.elapsed() }
}

async fn an_owner(root: &mut Client) -> String {
    let tenant = root.create_tenant("acme").await;
    root.create_service_user(&tenant, "billing").await
}

async fn one_process_lists_itself(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = an_owner(&mut root).await;
    let (key, _) = root.create_key(&owner, &[]).await;
    let disabled = disable(&mut root, &key.name, seconds(5)).await;
    let revoked = revoke(&mut root, &key.name, seconds(5)).await;
    let again = revoke(&mut root, &key.name, seconds(5)).await;
    for reach in [&disabled, &revoked, &again] {
        assert_eq!((&reach.confirmed, reach.unconfirmed.len()), (&disabled.confirmed, 0));
        assert!(reach.took < Duration::from_secs(4), "{:?}", reach.took);
    }
    let [id] = &disabled.confirmed[..] else { panic!("one replica: {:?}", disabled.confirmed) };
    let (machine, random) = id.rsplit_once('-').expect("a name and chance");
    assert!(!machine.is_empty() && random.len() == 8 && id.len() <= 72, "{id}");
}

async fn without_a_wait_nobody_is_listed(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = an_owner(&mut root).await;
    for wait in [None, seconds(0)] {
        let (key, _) = root.create_key(&owner, &[]).await;
        let disabled = disable(&mut root, &key.name, wait).await;
        let revoked = revoke(&mut root, &key.name, wait).await;
        for reach in [disabled, revoked] {
            assert!(reach.confirmed.is_empty() && reach.unconfirmed.is_empty());
        }
    }
}

/// Three replicas, and a caller with the root key on each.
struct Three {
    replicas: Replicas,
    processes: Vec<Process>,
    callers: Vec<Client>,
    owner: String,
    wire: PostgresWire,
}

impl Three {
    /// The first one is behind a wire. They may answer from memory for a second.
    async fn start() -> Option<Self> {
        let mut replicas = Replicas::new(3).await?;
        let wire = PostgresWire::before(&mut replicas.places[0]).await;
        let start = |number| {
            let mut command = replicas.command(number);
            command.env("CLAVIGER_STALENESS_BOUND", "3s");
            Process::start_command(command)
        };
        let processes = join_all((0..3).map(start)).await;
        let secret = replicas.root_secret();
        let mut callers = join_all(processes.iter().map(|process| process.caller(Some(&secret)))).await;
        let owner = an_owner(&mut callers[0]).await;
        Some(Self { replicas, processes, callers, owner, wire })
    }

    async fn key(&mut self) -> (String, String) {
        let (key, secret) = self.callers[0].create_key(&self.owner, &[]).await;
        (key.name, secret)
    }

    /// Ends a new key by one of the three, and waits for all; answers how long that took.
    async fn confirm_and_refuse(&mut self, round: usize) -> Duration {
        let (name, secret) = self.key().await;
        for caller in &mut self.callers {
            assert_eq!(caller.verdict(&secret).await, Verdict::Valid);
        }
        let asked = &mut self.callers[round % 3];
        let (reach, verdict) = if round.is_multiple_of(2) {
            (revoke(asked, &name, seconds(5)).await, Verdict::Revoked)
        } else {
            (disable(asked, &name, seconds(5)).await, Verdict::Disabled)
        };
        assert_eq!((reach.confirmed.len(), reach.unconfirmed.len()), (3, 0), "{:?}", reach.unconfirmed);
        for caller in &mut self.callers {
            assert_eq!(caller.verdict(&secret).await, verdict, "it was confirmed");
        }
        self.delete(name).await;
        reach.took
    }

    /// Revokes a new key without waiting; answers how long it took until every heartbeat had told.
    async fn revoke_and_watch_the_table(&mut self, round: usize, database: &DatabaseConnection) -> Duration {
        let (name, _) = self.key().await;
        let begun = Instant::now();
        revoke(&mut self.callers[round % 3], &name, None).await;
        let sql = "SELECT count(*) FROM replica WHERE applied_revision >= (SELECT value FROM revision)";
        eventually(Duration::from_secs(20), "all have told", async || select::<i64>(database, sql).await == [3]).await;
        let took = begun.elapsed();
        self.delete(name).await;
        took
    }

    async fn delete(&mut self, name: String) {
        let delete = v1::DeleteKeyRequest { name, expected_revision: 0 };
        self.callers[0].keys.delete_key(delete).await.expect("deleted");
    }

    async fn signal(&self, number: usize, signal: &str) {
        let pid = self.processes[number].child.id().expect("running").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.expect("kill runs").success());
    }
}

/// By their heartbeats alone it takes three quarters of a second on average, on top of what the machine takes for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_confirm_at_once_and_then_refuse() {
    let Some(mut three) = Three::start().await else { return };
    let database = database(&three.replicas.places[1]).await;
    let (mut called, mut by_heartbeat) = (Vec::new(), Vec::new());
    for round in 0..20 {
        called.push(three.confirm_and_refuse(round).await);
        by_heartbeat.push(three.revoke_and_watch_the_table(round, &database).await);
    }
    called.sort();
    by_heartbeat.sort();
    println!("confirmed by three after {:?} (median), by heartbeats after {:?}", called[10], by_heartbeat[10]);
    assert!(called[10] * 5 < by_heartbeat[10] * 4, "{called:?}, {by_heartbeat:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_replica_is_unconfirmed_and_confirms_when_it_goes_on() {
    let Some(mut three) = Three::start().await else { return };
    let (name, _) = three.key().await;
    three.signal(2, "-STOP").await;
    let reach = revoke(&mut three.callers[0], &name, seconds(2)).await;
    assert_eq!((reach.confirmed.len(), reach.unconfirmed.len()), (2, 1));
    let waited = Duration::from_millis(1_990)..Duration::from_secs(5);
    assert!(waited.contains(&reach.took), "{:?}", reach.took);
    three.signal(2, "-CONT").await;
    let again = revoke(&mut three.callers[0], &name, seconds(5)).await;
    assert_eq!((again.confirmed.len(), again.unconfirmed.len()), (3, 0));
    assert!(again.confirmed.contains(&reach.unconfirmed[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stopped_is_not_listed_and_a_dead_one_until_it_could_answer_no_more() {
    let Some(mut three) = Three::start().await else { return };
    let (name, _) = three.key().await;
    let all = revoke(&mut three.callers[0], &name, seconds(5)).await.confirmed;
    assert_eq!(all.len(), 3);
    assert_eq!(three.processes.pop().expect("a process").terminate().await, Some(0));
    let two = revoke(&mut three.callers[0], &name, seconds(5)).await;
    assert_eq!((two.confirmed.len(), two.unconfirmed.len()), (2, 0), "no waiting for who has stopped");
    let (name, _) = three.key().await;
    three.processes.pop().expect("a process").kill().await;
    let killed = Instant::now();
    let one = revoke(&mut three.callers[0], &name, seconds(1)).await;
    assert_eq!((one.confirmed.len(), one.unconfirmed.len()), (1, 1));
    eventually(Duration::from_secs(20), "the dead one counts no more", async || {
        revoke(&mut three.callers[0], &name, seconds(1)).await.unconfirmed.is_empty()
    })
    .await;
    assert!(killed.elapsed() > Duration::from_secs(3), "as long as a living one might have answered");
    let database = database(&three.replicas.places[1]).await;
    assert_eq!(
        select::<i64>(&database, "SELECT count(*) FROM replica").await,
        [2],
        "the dead one's row is kept a while"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_goes_away_while_a_call_waits_and_the_revoke_is_answered() {
    let Some(mut three) = Three::start().await else { return };
    let (name, secret) = three.key().await;
    assert_eq!(three.callers[1].verdict(&secret).await, Verdict::Valid);
    three.signal(2, "-STOP").await;
    let cut = async {
        sleep(Duration::from_millis(700)).await;
        three.wire.silence_all();
    };
    let (reach, ()) = tokio::join!(revoke(&mut three.callers[0], &name, seconds(2)), cut);
    assert!(reach.took < Duration::from_secs(5), "{:?}", reach.took);
    assert_eq!(reach.confirmed.len() + reach.unconfirmed.len(), 3);
    assert!(!reach.unconfirmed.is_empty(), "the suspended one at least");
    assert!(!reach.confirmed.is_empty(), "the one that was asked at least");
    // Cut off for longer than it may answer, the first one counts no more: but until then it does.
    let (name, _) = {
        let (key, secret) = three.callers[1].create_key(&three.owner, &[]).await;
        (key.name, secret)
    };
    let other = revoke(&mut three.callers[1], &name, seconds(1)).await;
    assert_eq!((other.confirmed.len(), other.unconfirmed.len()), (1, 2), "cut off, and suspended");
    three.signal(2, "-CONT").await;
}

/// PostgreSQL compiles a statement that it takes for expensive, and a heartbeat cost 40 ms of a core that way: as often as it
/// ran. A session that has compiled has the compiler in its memory.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_of_the_service_compiles_its_statements() {
    let Some(three) = Three::start().await else { return };
    let database = database(&three.replicas.places[1]).await;
    if select::<bool>(&database, "SELECT pg_jit_available()").await != [true] {
        return skip("no compiler of statements: this PostgreSQL has no llvmjit");
    }
    let beaten = "SELECT count(*) FROM replica WHERE heartbeat_time > clock_timestamp() - interval '1 second'";
    for _ in 0..3 {
        eventually(Duration::from_secs(20), "beaten", async || select::<i64>(&database, beaten).await == [3]).await;
        sleep(Duration::from_secs(1)).await;
    }
    let sessions = "SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name LIKE 'claviger%'";
    let sessions: Vec<i32> = select(&database, sessions).await;
    assert!(sessions.len() >= 6, "a listener and a heartbeat of each: {sessions:?}");
    let compiling: Vec<i32> = sessions.into_iter().filter(|pid| has_compiler(*pid)).collect();
    assert!(compiling.is_empty(), "{compiling:?}");
    // And it would be seen.
    database.execute_unprepared("SET jit_above_cost = 0").await.expect("set");
    select::<i64>(&database, "SELECT count(*) FROM replica").await;
    assert!(has_compiler(select::<i32>(&database, "SELECT pg_backend_pid()").await[0]));
}

fn has_compiler(session: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{session}/maps")).expect("a process of this machine").contains("llvmjit")
}
