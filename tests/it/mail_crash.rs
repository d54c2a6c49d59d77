//! The sender dies, leaves or is suspended in the middle of a run: everybody gets their mail, and what is repeated is what
//! was under way, with the same Message-ID (that nothing at all is repeated is impossible: RFC 1047).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::domain::Time;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::harness::engine::long;
use crate::harness::sink::Options;
use crate::harness::{Engine, FakedTime, Place, Process, Sink, faked_postgres, process};
use crate::mail_rig::{self, expect_one_each, people, received, run_warnings, settings, subscribe};
use crate::rig::{Chance, database, eventually, select};

/// The default of CLAVIGER_SMTP_CONNECTIONS, which is how many mails are under way at once.
const SENDERS: usize = 8;
/// A claim lasts for 60 s.
const LAPSE: TimeDelta = TimeDelta::seconds(61);
/// Between two checks of how far a run is.
const GLANCE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(600);
/// How long the last mails may take until it is recorded that they are sent.
const SETTLING: Duration = Duration::from_secs(30);
const TENANT: &str = "tenants/acme";

/// A noon in the past, so that the day is long enough.
fn noon() -> Time {
    Time::from_timestamp(1_700_049_600, 0).expect("an instant")
}

/// A noon in the future. Behind the machine's clock, PostgreSQL's own time-outs come too early now and then, and end
/// transactions that are well; ahead of it they come too late, and these tests need none.
fn noon_ahead() -> Time {
    let today = Clock::system().now().date_naive();
    (today + TimeDelta::days(2)).and_hms_opt(12, 0, 0).expect("a time").and_utc()
}

/// A run under a clock that the test moves, and what is needed to begin it again.
struct Run {
    time: FakedTime,
    now: Time,
    place: Place,
    sink: Sink,
    people: Vec<String>,
}

impl Run {
    async fn prepare(time: FakedTime, now: Time, place: Place, count: usize) -> Option<Self> {
        let sink = Sink::start(Options::default()).await?;
        let run = Self { time, now, place, sink, people: people(count) };
        let process = run.start().await;
        subscribe(&mut process.caller(Some(&run.secret())).await, "acme", &run.people).await;
        assert_eq!(process.terminate().await, Some(0));
        Some(run)
    }

    async fn start(&self) -> Process {
        let url = self.sink.url();
        self.time.start(&self.place, &settings(&url, &[("CLAVIGER_LOG", "warn")])).await
    }

    fn secret(&self) -> String {
        process::root_secret(self.place.folder.path())
    }

    /// The minutes of claims that nobody settles any more are over.
    async fn lapse(&mut self) {
        // The clock goes on by itself too; it is only ever moved forward.
        self.now += LAPSE;
        self.time.set(self.now);
        sleep(Duration::from_millis(if self.place.database_url.is_some() { 1_500 } else { 0 })).await;
    }

    /// The claims that nobody settled, each as the address and the number of its attempt.
    async fn claims(&self) -> BTreeSet<String> {
        let database = database(&self.place).await;
        if self.place.database_url.is_some() {
            let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
            eventually(Duration::from_secs(60), "the dead one's statements end", async || {
                select::<i64>(&database, others).await == [0]
            })
            .await;
        }
        let sql = "SELECT email || ' ' || delivery.attempts FROM subscriber JOIN delivery ON delivery.subscriber_id = subscriber.id
            WHERE delivery.state = 'SENDING'";
        select::<String>(&database, sql).await.into_iter().collect()
    }

    async fn states(&self) -> BTreeMap<String, usize> {
        let states = select::<String>(&database(&self.place).await, "SELECT state FROM delivery").await;
        states.into_iter().fold(BTreeMap::new(), |mut counts, state| {
            *counts.entry(state).or_default() += 1;
            counts
        })
    }
}

/// Asks for a run, in a task of its own, because whoever serves it may die.
async fn begin(process: &Process, secret: &str) -> JoinHandle<()> {
    let mut root = process.caller(Some(secret)).await;
    tokio::spawn(async move { drop(run_warnings(&mut root, TENANT).await) })
}

/// Waits until the server has taken this many mails. `false` when `running` ended first.
async fn reaches(sink: &Sink, count: usize, running: &JoinHandle<()>) -> bool {
    let begun = Instant::now();
    loop {
        let over = running.is_finished();
        if sink.count() >= count {
            return true;
        }
        if over {
            return false;
        }
        assert!(begun.elapsed() < PATIENCE, "{} of {count}", sink.count());
        sleep(GLANCE).await;
    }
}

/// How often, and whose, mails came again; each with the same Message-ID.
fn repeated(sink: &Sink, people: &[String]) -> BTreeMap<String, usize> {
    let received = received(sink);
    let nobody: Vec<_> = people.iter().filter(|person| !received.contains_key(*person)).collect();
    assert!(nobody.is_empty(), "without a mail: {nobody:?}");
    assert_eq!(received.len(), people.len(), "only they");
    for (person, ids) in &received {
        assert!(ids.iter().all(|id| id == &ids[0]), "{person}: {ids:?}");
    }
    received.into_iter().filter(|(_, ids)| ids.len() > 1).map(|(person, ids)| (person, ids.len() - 1)).collect()
}

async fn kill_again_and_again(mut run: Run, kills: usize) {
    let begun = Instant::now();
    let secret = run.secret();
    let (mut chance, mut claims) = (Chance::of(5), BTreeSet::new());
    let step = run.people.len() / (kills + 1);
    for kill in 1..=kills {
        let process = run.start().await;
        let running = begin(&process, &secret).await;
        assert!(
            reaches(&run.sink, kill * step + chance.below(step / 2), &running).await,
            "kill {kill} is in the middle"
        );
        process.kill().await;
        running.await.expect("it ends");
        // Claims that have lapsed come after those that nobody has tried, so that older ones are still there.
        let known = claims.len();
        claims.extend(run.claims().await);
        assert!(claims.len() - known <= SENDERS, "kill {kill}: {claims:?}");
        run.lapse().await;
    }
    let process = run.start().await;
    let all_sent = [("SENT".to_owned(), run.people.len())].into();
    let last = Instant::now();
    // A run that the bell began may have the last of them in its hands; another then ends at once.
    while run.states().await != all_sent && last.elapsed() < SETTLING {
        begin(&process, &secret).await.await.expect("it ends");
        sleep(GLANCE).await;
    }
    assert_eq!(run.states().await, all_sent);
    assert_eq!(process.terminate().await, Some(0));
    let repeated = repeated(&run.sink, &run.people);
    let again: usize = repeated.values().sum();
    eprintln!(
        "{} mails, {kills} kills: {again} repeated of {} under way, {:?}",
        run.people.len(),
        claims.len(),
        begun.elapsed()
    );
    assert!(again <= kills * SENDERS, "{again}");
    for (person, times) in repeated {
        let known = claims.iter().filter(|claim| claim.starts_with(&format!("{person} "))).count();
        assert!(times <= known, "{person}: {times} times again, and under way at {known} kills");
    }
}

async fn sqlite(count: usize) -> Option<Run> {
    let place = Engine::Sqlite.place().await?;
    Run::prepare(FakedTime::new(noon())?, noon(), place, count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sender_repeats_at_most_what_was_under_way_on_sqlite() {
    let (mails, kills) = if long() { (10_000, 50) } else { (400, 4) };
    let Some(run) = sqlite(mails).await else { return };
    kill_again_and_again(run, kills).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sender_repeats_at_most_what_was_under_way_on_postgres() {
    let (mails, kills) = if long() { (10_000, 50) } else { (200, 2) };
    let Some(time) = FakedTime::new(noon_ahead()) else { return };
    let Some(postgres) = faked_postgres(&time).await else { return };
    let place = postgres.place().await;
    let Some(run) = Run::prepare(time, noon_ahead(), place, mails).await else { return };
    kill_again_and_again(run, kills).await;
}

on_both_engines!(
    a_sender_that_is_asked_to_leave_repeats_nothing,
    what_the_bell_began_is_settled_before_the_service_ends
);

async fn what_the_bell_began_is_settled_before_the_service_ends(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = mail_rig::start(engine, &sink, &[]).await else { return };
    subscribe(&mut app.root().await, "acme", &people(300)).await;
    app.advance(TimeDelta::hours(1));
    let warnings = app.running.warnings().clone();
    let running = tokio::spawn(async move { while warnings.ring().await.is_none() {} });
    assert!(reaches(&sink, 50, &running).await);
    app.running.stop().await;
    let sql = "SELECT state FROM delivery WHERE state <> 'PENDING'";
    let states = select::<String>(&database(&app.place).await, sql).await;
    assert!(states.iter().all(|state| state == "SENT"), "nothing is left under way: {states:?}");
    assert_eq!(states.len(), sink.count(), "what was sent is written");
    assert!(states.len() < 300, "in the middle");
}

async fn a_sender_that_is_asked_to_leave_repeats_nothing(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(place) = engine.place().await else { return };
    let (url, everybody) = (sink.url(), people(300));
    let settings = settings(&url, &[("CLAVIGER_LOG", "warn")]);
    let mut process = Process::start_with(&place, &settings).await;
    let secret = process::root_secret(place.folder.path());
    subscribe(&mut process.caller(Some(&secret)).await, "acme", &everybody).await;
    for count in [50, 150, 250] {
        let running = begin(&process, &secret).await;
        assert!(reaches(&sink, count, &running).await);
        assert_eq!(process.terminate().await, Some(0));
        running.await.expect("it ends");
        let sql = "SELECT count(*) FROM delivery WHERE state = 'SENDING'";
        assert_eq!(select::<i64>(&database(&place).await, sql).await, [0], "nothing is left under way");
        let sql = "SELECT count(*) FROM delivery WHERE state = 'SENT'";
        let sent = usize::try_from(select::<i64>(&database(&place).await, sql).await[0]).expect("a number");
        assert_eq!(sent, sink.count(), "what was sent is written");
        assert!(sent < everybody.len(), "in the middle");
        process = Process::start_with(&place, &settings).await;
    }
    begin(&process, &secret).await.await.expect("it ends");
    // A bell may have had some of them.
    sink.wait_for(everybody.len(), PATIENCE).await;
    assert_eq!(process.terminate().await, Some(0));
    expect_one_each(&sink, &everybody);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_suspended_for_longer_than_its_claims_repeats_at_most_what_was_under_way() {
    let Some(time) = FakedTime::new(noon()) else { return };
    let Some(postgres) = faked_postgres(&time).await else { return };
    let place = postgres.place().await;
    let Some(mut run) = Run::prepare(time, noon(), place, 300).await else { return };
    let secret = run.secret();
    let (suspended, other) = (run.start().await, run.start().await);
    let running = begin(&suspended, &secret).await;
    assert!(reaches(&run.sink, 60, &running).await);
    signal(&suspended, "-STOP").await;
    let under_way = run.states().await.get("SENDING").copied().unwrap_or(0);
    assert!(under_way <= SENDERS, "{under_way}");
    run.lapse().await;
    // If it stands inside a transaction, PostgreSQL ends that first: this clock must not be ahead of the machine's.
    eventually(Duration::from_secs(60), "the other one takes over", async || {
        begin(&other, &secret).await.await.expect("it ends");
        run.states().await.get("SENT") == Some(&run.people.len())
    })
    .await;
    let before = run.sink.count();
    signal(&suspended, "-CONT").await;
    running.await.expect("it ends");
    begin(&suspended, &secret).await.await.expect("it ends");
    assert_eq!(run.states().await, [("SENT".to_owned(), run.people.len())].into());
    let again: usize = repeated(&run.sink, &run.people).values().sum();
    eprintln!("{under_way} were under way; {again} repeated, {} of them after it woke up", run.sink.count() - before);
    assert!(again <= SENDERS, "{again}");
    assert_eq!(other.terminate().await, Some(0));
    assert_eq!(suspended.terminate().await, Some(0));
}

async fn signal(process: &Process, signal: &str) {
    let pid = process.child.id().expect("running").to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.expect("kill runs").success());
}
