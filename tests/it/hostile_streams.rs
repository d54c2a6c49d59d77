//! Streams that nobody reads, or slowly, or that vanish, and demands nobody can meet: memory stays bounded, places come
//! back, and everybody else is served.

mod places;
mod readers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use claviger::proto::v1::{
    self, Verdict, VerifyRequest, VerifyStreamRequest, VerifyStreamResponse, verify_stream_response::Result as Item,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use crate::harness::{Client, Engine, Place, Process, TestApp, engine, errors::reason, process::root_secret};
use crate::rig::{database, eventually, select};

const PATIENCE: Duration = Duration::from_secs(60);
/// A good caller's call, on a machine that does much else. Long beside the 250 ms of its deadline.
const SERVED: Duration = Duration::from_secs(2);
const MIB: u64 = 1 << 20;

/// The real binary on SQLite, with one key to ask about.
struct Scene {
    process: Process,
    place: Place,
    root: Client,
    root_secret: String,
    secret: String,
}

impl Scene {
    async fn set() -> Self {
        let place = Engine::Sqlite.place().await.expect("a folder");
        let process = Process::start_with(&place, &[("CLAVIGER_LOG", "error")]).await;
        let root_secret = root_secret(place.folder.path());
        let mut root = process.caller(Some(&root_secret)).await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let (_, secret) = root.create_key(&owner, &[]).await;
        Self { process, place, root, root_secret, secret }
    }

    /// What the process holds in memory, in bytes.
    fn resident(&self) -> u64 {
        resident(self.process.child.id().expect("it runs"))
    }

    /// A caller on a connection of its own, each of whose streams lets 64 KiB come.
    async fn narrow(&self) -> Client {
        Client::over(self.channel().await, Some(&self.root_secret))
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.process.address)).expect("an address");
        endpoint.initial_stream_window_size(65_535).connect().await.expect("connected")
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// Verifies all the time on a connection of its own, in time; notes how much memory there was at most.
struct GoodCaller {
    enough: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    task: JoinHandle<(usize, Duration)>,
}

impl GoodCaller {
    async fn start(scene: &Scene) -> Self {
        let (enough, highest) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, most, pid) = (Arc::clone(&enough), Arc::clone(&highest), scene.process.child.id().expect("it runs"));
        let (mut caller, secret) = (scene.process.caller(Some(&scene.root_secret)).await, scene.secret.clone());
        let task = tokio::spawn(async move {
            let (mut calls, mut slowest) = (0, Duration::ZERO);
            // Some calls at least, however quick the hostile part was.
            while calls < 50 || !stop.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let request = VerifyRequest { secret: secret.clone(), ..Default::default() };
                let answer = timeout(SERVED, caller.verification.verify(request)).await.expect("served in time");
                assert_eq!(answer.expect("an answer").into_inner().verdict(), Verdict::Valid);
                slowest = slowest.max(begun.elapsed());
                calls += 1;
                most.fetch_max(resident(pid), Ordering::SeqCst);
                sleep(Duration::from_millis(10)).await;
            }
            (calls, slowest)
        });
        Self { enough, highest, task }
    }

    /// The most memory that there was, in bytes.
    async fn end(self) -> u64 {
        self.enough.store(true, Ordering::SeqCst);
        let (calls, slowest) = self.task.await.expect("a good caller is served");
        println!("a good caller: {calls} calls, the slowest {slowest:?}");
        self.highest.load(Ordering::SeqCst)
    }
}

fn about(secret: &str) -> VerifyStreamRequest {
    VerifyStreamRequest { request: Some(VerifyRequest { secret: secret.to_owned(), ..Default::default() }) }
}

type Questions = mpsc::Sender<VerifyStreamRequest>;

async fn open(caller: &mut Client) -> (Questions, Streaming<VerifyStreamResponse>) {
    let (sender, receiver) = mpsc::channel(16);
    let opened = timeout(PATIENCE, caller.verification.verify_stream(ReceiverStream::new(receiver))).await;
    (sender, opened.expect("in time").expect("a stream").into_inner())
}

/// What an item is, in one word.
fn word(answer: VerifyStreamResponse) -> String {
    match answer.result.expect("a result") {
        Item::Response(response) => response.verdict().as_str_name().to_owned(),
        Item::Error(error) => format!("{:?}", Code::from(error.code)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_that_cannot_be_met_is_the_answer_to_its_question_alone() {
    let Some(app) = TestApp::start(Engine::Sqlite).await else { return };
    let (secret, mut root) = (app.root_secret.clone(), app.root().await);
    let with = |min_revision, seconds: Option<i64>| {
        let max_staleness = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let request = VerifyRequest { secret: secret.clone(), min_revision, max_staleness, ..Default::default() };
        VerifyStreamRequest { request: Some(request) }
    };
    let cases = [
        (with(0, None), "VERDICT_VALID"),
        (with(0, Some(-1)), "InvalidArgument"),
        (with(i64::MAX, None), "Unavailable"),
        (with(i64::MAX, Some(0)), "Unavailable"),
        (with(-1, None), "InvalidArgument"),
        (with(i64::MIN, Some(i64::MIN)), "InvalidArgument"),
        (with(1, Some(60)), "VERDICT_VALID"),
    ];
    let questions: Vec<_> = cases.iter().map(|(question, _)| question.clone()).collect();
    let mut answers =
        root.verification.verify_stream(tokio_stream::iter(questions)).await.expect("a stream").into_inner();
    for (number, (_, expected)) in cases.into_iter().enumerate() {
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time").expect("no end").expect("an answer");
        assert_eq!(word(answer), expected, "question {number}");
    }
}

/// How often PostgreSQL was asked for the revision, which each look does once.
async fn looks(place: &Place) -> i64 {
    let sql = "SELECT (seq_scan + coalesce(idx_scan, 0))::bigint FROM pg_stat_user_tables WHERE relname = 'revision'";
    select::<i64>(&database(place).await, sql).await[0]
}

/// The server tells its counts about once a second, as soon as it is asked something.
pub async fn settled_looks(place: &Place) -> i64 {
    sleep(Duration::from_millis(2_500)).await;
    looks(place).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_the_future_costs_one_look_however_many_ask() {
    const ALONE: i64 = 100;
    const TOGETHER: i64 = 2_000;
    let Some(app) = TestApp::start(Engine::Postgres).await else { return };
    let mut root = app.root().await;
    let question = VerifyRequest { secret: app.root_secret.clone(), min_revision: i64::MAX, ..Default::default() };
    let before = settled_looks(&app.place).await;
    let begun = Instant::now();
    for _ in 0..ALONE {
        let refused = root.verification.verify(question.clone()).await.expect_err("nobody knows the future");
        assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "STALE"), "{refused:?}");
    }
    let one_by_one = settled_looks(&app.place).await - before;
    // One look a second is made in any case.
    let own = i64::try_from(begun.elapsed().as_secs()).expect("few") + 3;
    println!("{one_by_one} looks for {ALONE} calls one by one, {own} of them perhaps our own");
    assert!(one_by_one <= ALONE + own && one_by_one >= ALONE / 2, "{one_by_one}");

    let before = looks(&app.place).await;
    let mut asking = JoinSet::new();
    for lane in 0..20 {
        let (caller, question) = (app.root().await, question.clone());
        for _ in 0..TOGETHER / 20 {
            let (mut caller, question) = (caller.clone(), question.clone());
            asking.spawn(async move {
                let refused = caller.verification.verify(question).await.expect_err("nobody knows the future");
                assert!(["STALE", "DEADLINE_EXCEEDED"].contains(&&*reason(&refused)), "lane {lane}: {refused:?}");
            });
        }
    }
    asking.join_all().await;
    let together = settled_looks(&app.place).await - before;
    println!("{together} looks for {TOGETHER} calls at once");
    assert!(together < TOGETHER / 4, "they share looks: {together}");
}
