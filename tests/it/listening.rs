//! Replicas are told of changes by PostgreSQL's LISTEN and NOTIFY: at once, whatever happens to the connection that listens,
//! and on one connection each.

use std::collections::BTreeMap;
use std::time::Duration;

use claviger::proto::v1::Verdict;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::time::{Instant, sleep};

use crate::harness::{Client, Engine, Place, TestApp, app::start_of_time, engine::long, http};
use crate::postgres_wire::PostgresWire;
use crate::rig::{Change, Replicas, database, eventually, select};

/// The timer looks once a second; the rest is for a slow machine.
const SEEN: Duration = Duration::from_secs(5);
const LISTENERS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'claviger listen' \
                         AND datname = current_database() ORDER BY pid";

async fn listeners(database: &DatabaseConnection) -> Vec<i32> {
    select(database, LISTENERS).await
}

async fn an_owner(root: &mut Client) -> String {
    let tenant = root.create_tenant("acme").await;
    root.create_service_user(&tenant, "billing").await
}

/// Revokes a new key on one; answers how long it still verified on the other.
async fn revoke_and_watch(one: &mut Client, other: &mut Client, owner: &str) -> Duration {
    let (key, secret) = one.create_key(owner, &[]).await;
    eventually(SEEN, "it verifies on the other", async || other.verdict(&secret).await == Verdict::Valid).await;
    Change::Revoke.make(one, owner, &key.name).await.expect("revoked");
    let slow =
        eventually(SEEN, "it is revoked on the other", async || other.verdict(&secret).await == Verdict::Revoked).await;
    Change::Delete.make(one, owner, &key.name).await.expect("deleted");
    slow
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How the function is called that names each revision when it is committed.
const NAMES_REVISIONS: &str = "SELECT pg_get_functiondef('claviger_note_revision'::regproc)";

/// The timer alone takes half a second on average, on top of what the machine takes for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_by_the_others_without_waiting_for_the_timer() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let (mut one, mut other) = (processes[0].caller(Some(&secret)).await, processes[1].caller(Some(&secret)).await);
    let owner = an_owner(&mut one).await;
    let database = database(&replicas.places[0]).await;
    let telling = select::<String>(&database, NAMES_REVISIONS).await.remove(0);
    let silent = telling.replace("pg_notify", "concat");
    assert_ne!(silent, telling);
    let (mut told, mut by_the_timer) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        for (function, times) in [(&telling, &mut told), (&silent, &mut by_the_timer)] {
            database.execute_unprepared(function).await.expect("replaced");
            times.push(revoke_and_watch(&mut one, &mut other, &owner).await);
        }
    }
    let (told, by_the_timer) = (median(told), median(by_the_timer));
    println!("seen by the other after {told:?} (median), by the timer after {by_the_timer:?}");
    assert!(told * 5 < by_the_timer * 4, "{told:?}, {by_the_timer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_listeners_are_terminated_and_one_each_is_left() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let (mut one, mut other) = (processes[0].caller(Some(&secret)).await, processes[1].caller(Some(&secret)).await);
    let owner = an_owner(&mut one).await;
    let database = database(&replicas.places[0]).await;
    let terminate = format!("SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) AS listening");
    let mut terminated = 0;
    let terminating = async {
        loop {
            terminated += select::<bool>(&database, &terminate).await.len();
            sleep(Duration::from_millis(500)).await;
        }
    };
    let changing = async {
        for _ in 0..if long() { 1_000 } else { 60 } {
            revoke_and_watch(&mut one, &mut other, &owner).await;
        }
    };
    tokio::select! {
        () = changing => {}
        () = terminating => {}
    }
    println!("{terminated} listeners were terminated");
    assert!(terminated >= 4);
    eventually(SEEN, "each listens again", async || listeners(&database).await.len() == 2).await;
    let before = listeners(&database).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(listeners(&database).await, before, "the same connections go on");
}

/// A service in this process, behind a wire.
async fn behind_a_wire() -> Option<(TestApp, PostgresWire, DatabaseConnection)> {
    let mut place = Engine::Postgres.place().await?;
    let direct = Place { folder: tempfile::tempdir().expect("a folder"), database_url: place.database_url.clone() };
    let wire = PostgresWire::before(&mut place).await;
    let app = TestApp::start_at(place, claviger::clock::Clock::manual(start_of_time())).await;
    let database = database(&direct).await;
    Some((app, wire, database))
}

async fn metric(app: &TestApp, name: &str) -> u64 {
    let text = http::ask(app.http_address(), "GET", "/metrics", "").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_hears_nothing_any_more_is_replaced_and_its_session_ended() {
    let Some((app, wire, database)) = behind_a_wire().await else { return };
    eventually(SEEN, "it listens", async || listeners(&database).await.len() == 1).await;
    assert_eq!(metric(&app, "claviger_listener_reconnects_total").await, 0);
    for round in 1..=2 {
        // Longer than the interval and the wait of an echo: a healthy one stays.
        sleep(Duration::from_secs(2)).await;
        let before = listeners(&database).await;
        assert_eq!(before.len(), 1, "{before:?}");
        let reconnects = metric(&app, "claviger_listener_reconnects_total").await;
        wire.silence_listeners();
        let noticed = eventually(SEEN, "another one listens", async || {
            let now = listeners(&database).await;
            now.len() == 1 && now != before
        })
        .await;
        println!("round {round}: a deaf listener was replaced after {noticed:?}");
        assert!(metric(&app, "claviger_listener_reconnects_total").await > reconnects);
    }
    let mut root = app.root().await;
    let owner = an_owner(&mut root).await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_service_writes_nothing_but_its_heartbeat() {
    let begun = Instant::now();
    let Some((app, _wire, database)) = behind_a_wire().await else { return };
    let written = async || -> BTreeMap<String, i64> {
        let sql = "SELECT json_object_agg(relname, n_tup_ins + n_tup_upd + n_tup_del)::text FROM pg_stat_user_tables";
        database.execute_unprepared("SELECT pg_stat_clear_snapshot()").await.expect("cleared");
        serde_json::from_str(&select::<String>(&database, sql).await[0]).expect("an object")
    };
    // PostgreSQL counts with a delay, of up to a minute while it is busy: so several looks, of which one must be quiet.
    let mut noise = Vec::new();
    let quiet = eventually(Duration::from_secs(100), "nothing but heartbeats is written", async || {
        let mut before = written().await;
        sleep(Duration::from_secs(6)).await;
        let mut after = written().await;
        let all_beats = after.remove("replica").expect("a table");
        let beats = all_beats - before.remove("replica").expect("a table");
        let longest = i64::try_from(begun.elapsed().as_secs()).expect("few") + 3;
        assert!(all_beats <= longest, "{all_beats} heartbeats in {:?}", begun.elapsed());
        noise.push((beats, before == after));
        beats >= 2 && before == after
    })
    .await;
    println!("quiet after {quiet:?}: {noise:?}");
    app.running.stop().await;
}
