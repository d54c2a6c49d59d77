//! 10,000 subscribers and 100,000 expiring keys: how long their mails take, what memory, and what Verify feels of it.
//!
//! The figures count on a quiet machine with an optimised binary (`cargo test --release`); otherwise they are only told.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use claviger::clock::Clock;
use claviger::proto::v1;
use sea_orm::ConnectionTrait;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Client, Engine, Place, Process, Sink, engine,
    process::{command, root_secret},
    sink::Options,
};
use crate::rig::{database, eventually, select};
use crate::warning_rows::bulk::{Bulk, Keys, addresses};

on_both_engines!(
    ten_thousand_subscribers_of_one_tenant_are_told_in_time,
    ten_thousand_subscribers_of_a_thousand_tenants_are_told_in_time,
);

const SUBSCRIBERS: usize = 10_000;
const SERVICE_USERS: usize = 10_000;
const LONGEST: Duration = Duration::from_secs(180);
const GROWTH: u64 = 64 << 10;
/// Twice the idle p99 is asked for; other tests on the same machine need slack.
const SLACK: u32 = 3;
const VERIFY_EVERY: Duration = Duration::from_millis(10);
/// At which a tenant waits for its first look.
const EPOCH: &str = "'1970-01-01T00:00:00+00:00'";
/// The bell leaves everybody alone.
const LATER: &str = "UPDATE tenant SET next_warning_time = '2100-01-01T00:00:00+00:00'";
const IDLE_FOR: Duration = Duration::from_secs(10);

/// A running binary on a full database.
struct Scene {
    sink: Sink,
    place: Place,
    process: Process,
    secret: String,
}

/// What a run cost.
struct Cost {
    took: Duration,
    /// In KiB, beyond what it was before.
    growth: u64,
    idle: Latencies,
    busy: Latencies,
}

struct Latencies {
    calls: usize,
    median: Duration,
    p99: Duration,
    worst: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, median, p99, worst } = self;
        write!(f, "{calls} calls, median {median:?}, p99 {p99:?}, worst {worst:?}")
    }
}

async fn ten_thousand_subscribers_of_one_tenant_are_told_in_time(engine: Engine) {
    let Some(scene) = Scene::new(engine, async |bulk| fill_one(bulk).await).await else { return };
    let idle = scene.warm_up().await;
    let run = async |root: &mut Client| {
        let request = v1::RunWarningsRequest { tenant: "tenants/big".to_owned() };
        let report = root.notifications.run_warnings(request).await.expect("a report").into_inner();
        // The bell rings meanwhile, and helps.
        assert_eq!((report.planned, report.refused, report.retried), (100_000, 0, 0), "{report:?}");
    };
    scene.measure("one tenant", idle, run).await;
}

async fn ten_thousand_subscribers_of_a_thousand_tenants_are_told_in_time(engine: Engine) {
    let Some(scene) = Scene::new(engine, async |bulk| fill_many(bulk).await).await else { return };
    let idle = scene.warm_up().await;
    let database = database(&scene.place).await;
    let due = format!("UPDATE tenant SET next_warning_time = {EPOCH} WHERE id LIKE 'tenant-%'");
    database.execute_unprepared(&due).await.expect("due");
    let waiting = format!("SELECT count(*) FROM tenant WHERE id LIKE 'tenant-%' AND next_warning_time = {EPOCH}");
    eventually(Duration::from_secs(70), "the bell", async || select::<i64>(&database, &waiting).await[0] < 1_000).await;
    let run = async |_: &mut Client| {
        let sent = "SELECT count(*) FROM delivery WHERE state = 'SENT' AND tenant_id LIKE 'tenant-%'";
        let all = i64::try_from(SUBSCRIBERS).expect("64 bits");
        eventually(LONGEST * 4, "every mail", async || {
            sleep(Duration::from_millis(200)).await;
            select::<i64>(&database, sent).await[0] == all
        })
        .await;
    };
    scene.measure("1,000 tenants", idle, run).await;
}

async fn fill_one(bulk: &Bulk) {
    bulk.tenants(&["big".to_owned()]).await;
    bulk.service_users("big", SERVICE_USERS).await;
    let expire_time = Clock::system().now() + TimeDelta::days(3);
    bulk.keys(&Keys { tenant: "big", service_users: 0..SERVICE_USERS, slots: 0..10, expire_time }).await;
    for (number, members) in addresses("somebody", SUBSCRIBERS).chunks(1_000).enumerate() {
        bulk.user_group("big", &format!("group-{number}"), members).await;
    }
    bulk.execute(LATER).await;
}

async fn fill_many(bulk: &Bulk) {
    let tenants: Vec<String> = (0..1_000).map(|number| format!("tenant-{number}")).collect();
    bulk.tenants(&tenants).await;
    let expire_time = Clock::system().now() + TimeDelta::days(3);
    for tenant in &tenants {
        bulk.service_users(tenant, SERVICE_USERS / tenants.len()).await;
        let service_users = 0..SERVICE_USERS / tenants.len();
        bulk.keys(&Keys { tenant, service_users, slots: 0..10, expire_time }).await;
        bulk.user_group(tenant, "everybody", &addresses(&format!("{tenant}."), SUBSCRIBERS / tenants.len())).await;
    }
    bulk.execute(LATER).await;
}

impl Scene {
    async fn new(engine: Engine, fill: impl AsyncFn(&Bulk)) -> Option<Self> {
        if !engine::long() {
            return None;
        }
        let place = engine.place().await?;
        let sink = Sink::start(Options { forget: true, ..Options::default() }).await?;
        let process = start(&place, &sink).await;
        let mut root = process.caller(Some(&root_secret(place.folder.path()))).await;
        let tenant = root.create_tenant("small").await;
        let owner = root.create_service_user(&tenant, "one").await;
        let secret = root.create_key(&owner, &[]).await.1;
        process.terminate().await;
        let bulk = Bulk::into(&place, Clock::system().now()).await;
        fill_small(&bulk).await;
        fill(&bulk).await;
        if engine == Engine::Postgres {
            bulk.execute("ANALYZE").await;
        }
        let process = start(&place, &sink).await;
        Some(Self { sink, place, process, secret })
    }

    /// A first run, and what Verify takes while nothing else goes on.
    async fn warm_up(&self) -> Latencies {
        let mut root = self.process.caller(Some(&root_secret(self.place.folder.path()))).await;
        let request = v1::RunWarningsRequest { tenant: "tenants/small".to_owned() };
        let small = root.notifications.run_warnings(request).await.expect("a report").into_inner();
        assert_eq!((small.planned, small.sent), (100, 10), "{small:?}");
        let idle = Verifying::start(root, &self.secret);
        sleep(IDLE_FOR).await;
        idle.end().await
    }

    async fn measure(self, what: &str, idle: Latencies, run: impl AsyncFnOnce(&mut Client)) {
        let mut root = self.process.caller(Some(&root_secret(self.place.folder.path()))).await;
        let pid = self.process.child.id().expect("running");
        let (before, worked, watch) = (resident(pid), processor_time(pid), Watch::start(pid));
        let busy = Verifying::start(root.clone(), &self.secret);
        let begun = Instant::now();
        run(&mut root).await;
        let everybody = async || {
            sleep(Duration::from_millis(200)).await;
            self.sink.count() == SUBSCRIBERS + 10
        };
        eventually(LONGEST, "the last mails", everybody).await;
        let (took, worked) = (begun.elapsed(), processor_time(pid) - worked);
        let growth = watch.end().await.saturating_sub(before);
        let cost = Cost { took, growth, idle, busy: busy.end().await };
        eprintln!("{what}: {took:?}, of a processor {worked:?}, {} MiB on top of {} MiB", growth >> 10, before >> 10);
        eprintln!("Verify: {}; idle: {}", cost.busy, cost.idle);
        let told: HashSet<String> = self.sink.mails().into_iter().flat_map(|mail| mail.recipients).collect();
        assert_eq!(told.len(), SUBSCRIBERS + 10, "everybody");
        assert_eq!(self.sink.count(), SUBSCRIBERS + 10, "once");
        cost.check();
    }
}

impl Cost {
    fn check(&self) {
        assert!(self.growth <= GROWTH, "{} KiB", self.growth);
        if cfg!(debug_assertions) {
            return;
        }
        assert!(self.took <= LONGEST, "{:?}", self.took);
        assert!(self.busy.p99 <= self.idle.p99.max(Duration::from_millis(1)) * 2 * SLACK, "{}", self.busy);
    }
}

async fn start(place: &Place, sink: &Sink) -> Process {
    let mut command = command(place);
    command.env("CLAVIGER_LOG", "warn").env("CLAVIGER_SMTP_URL", sink.url()).env("CLAVIGER_SMTP_INSECURE", "true");
    command.env("CLAVIGER_MAIL_FROM", "Claviger <keys@example.com>");
    Process::start_command(command).await
}

/// For a first run, after which the memory is measured.
async fn fill_small(bulk: &Bulk) {
    bulk.service_users("small", 10).await;
    let expire_time = Clock::system().now() + TimeDelta::days(3);
    bulk.keys(&Keys { tenant: "small", service_users: 0..10, slots: 0..10, expire_time }).await;
    bulk.user_group("small", "everybody", &addresses("small", 10)).await;
}

/// What a process holds in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What a process has had of processors: what its run costs, however busy the machine is.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // After the name in parentheses: user and system time, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let hundredths = |field: usize| fields[field].parse::<u64>().expect("a number");
    Duration::from_millis((hundredths(11) + hundredths(12)) * 10)
}

/// Looks for the most that a process holds.
struct Watch {
    stop: CancellationToken,
    task: JoinHandle<u64>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut most = 0;
            while !stopped.is_cancelled() {
                most = most.max(resident(pid));
                sleep(Duration::from_millis(100)).await;
            }
            most
        });
        Self { stop, task }
    }

    async fn end(self) -> u64 {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }
}

/// A Verify every 10 ms, however long the ones before take.
struct Verifying {
    stop: CancellationToken,
    task: JoinHandle<Vec<Duration>>,
}

impl Verifying {
    fn start(caller: Client, secret: &str) -> Self {
        let (secret, stop) = (secret.to_owned(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut calls, mut ticks) = (JoinSet::new(), interval(VERIFY_EVERY));
            while !stopped.is_cancelled() {
                ticks.tick().await;
                let (mut caller, secret) = (caller.clone(), secret.clone());
                calls.spawn(async move {
                    let begun = Instant::now();
                    // On an overloaded machine an answer may be too late; it counts with the time it took.
                    let question = v1::VerifyRequest { secret, ..Default::default() };
                    if let Ok(answer) = caller.verification.verify(question).await {
                        assert_eq!(answer.into_inner().verdict(), v1::Verdict::Valid);
                    }
                    begun.elapsed()
                });
            }
            calls.join_all().await
        });
        Self { stop, task }
    }

    async fn end(self) -> Latencies {
        self.stop.cancel();
        let mut latencies = self.task.await.expect("no panic");
        latencies.sort_unstable();
        let calls = latencies.len();
        Latencies { calls, median: latencies[calls / 2], p99: latencies[calls * 99 / 100], worst: latencies[calls - 1] }
    }
}
