//! The scene: three replicas on one PostgreSQL of our own, verifiers and mutators at work, and the oracle at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use claviger::proto::v1::Verdict;
use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, Cluster, Engine, Place, Process, engine::long, process};
use crate::outage::Cable;
use crate::rig::Chance;

use super::judge::{Bounds, Heard, Log, Moment, Oracle, SECOND, longest_late_valid};
use super::load::{ask, verify};
use super::mutator::{KEYS, Mutator, Owner};
use super::record::Record;

const RULES: &str = "host all all 127.0.0.1/32 trust";
pub const REPLICAS: usize = 3;
/// Connections of verifiers to each replica.
const VERIFIERS: usize = 2;
const MUTATORS: usize = 4;
const OWNERS: usize = 6;
/// Until every load has ended.
const ENDED: Duration = Duration::from_secs(90);

/// Three replicas and their loads need the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Scenarios that every run plays. The others stop processes and watch the clock closely; beside a whole test suite on two
/// cores one of them was red now and then.
const ALWAYS: [&str; 2] = ["restarted", "together"];

/// What a scene is set with.
#[derive(Clone, Copy)]
pub struct Settings {
    pub name: &'static str,
    /// Of the replicas, in seconds.
    pub staleness: i64,
    /// How late a change may be seen, in milliseconds.
    pub reachable: i64,
    /// The last replica reaches the database through a cable.
    pub cable: bool,
}

pub struct Scene {
    settings: Settings,
    pub processes: Vec<Process>,
    pub record: Arc<Record>,
    /// With the root key, of each replica.
    pub callers: Vec<Client>,
    pub avoided: Arc<AtomicUsize>,
    pub cable: Option<Cable>,
    pub cluster: Cluster,
    pub chance: Chance,
    mutators: Vec<Mutator>,
    secret: String,
    mutators_stop: CancellationToken,
    _places: Vec<Place>,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// `None` for a scenario of the long run, when this is a short one.
    pub async fn set(settings: Settings) -> Option<Self> {
        if !long() && !ALWAYS.contains(&settings.name) {
            println!("{}: only in the long run", settings.name);
            return None;
        }
        let turn = ONE_AT_A_TIME.lock().await;
        let cluster = Cluster::start(RULES, &[], |_| {}).await?;
        let server = format!("127.0.0.1:{}", cluster.port);
        let cable = if settings.cable { Some(Cable::to(&server).await) } else { None };
        let mut places = Vec::new();
        for number in 0..REPLICAS {
            let last = number + 1 == REPLICAS;
            let way = cable.as_ref().filter(|_| last).map_or(server.clone(), |cable| cable.address.to_string());
            let mut place = Engine::Sqlite.place().await?;
            cluster.psql("postgres", &format!("CREATE ROLE replica{number} SUPERUSER LOGIN"));
            place.database_url = Some(format!("postgres://replica{number}@{way}/postgres"));
            places.push(place);
        }
        let processes = start(&places, settings.staleness).await;
        let secret = process::root_secret(places[0].folder.path());
        let callers = join_all(processes.iter().map(|process| process.caller(Some(&secret)))).await;
        let seed: [u8; 4] = claviger::random::bytes().expect("randomness");
        let seed = u64::from(u32::from_be_bytes(seed));
        println!("{}: seed {seed}", settings.name);
        let mut scene = Self {
            settings,
            processes,
            record: Arc::new(Record::begin()),
            callers,
            avoided: Arc::new(AtomicUsize::new(usize::MAX)),
            cable,
            cluster,
            chance: Chance::of(seed),
            mutators: Vec::new(),
            secret,
            mutators_stop: CancellationToken::new(),
            _places: places,
            _turn: turn,
        };
        scene.populate().await;
        Some(scene)
    }

    async fn populate(&mut self) {
        let mut root = self.callers[0].clone();
        let tenant = root.create_tenant("acme").await;
        let spare = root.create_service_user(&tenant, "spare").await;
        let mut filling = JoinSet::new();
        for number in 0..MUTATORS {
            let mut owners = Vec::new();
            for place in 0..OWNERS {
                let name = root.create_service_user(&tenant, &format!("user-{number}-{place}")).await;
                owners.push(Owner { number: number * OWNERS + place, name });
            }
            let mut mutator = Mutator {
                callers: self.callers.clone(),
                avoided: Arc::clone(&self.avoided),
                record: Arc::clone(&self.record),
                chance: Chance::of(self.chance.below(1 << 30) as u64),
                owners,
                keys: Vec::new(),
                last_in_line: root.create_key(&spare, &[]).await.0.name,
                stop: self.mutators_stop.clone(),
            };
            filling.spawn(async move {
                for _ in 0..KEYS {
                    for owner in 0..OWNERS {
                        mutator.create(owner).await;
                    }
                }
                mutator
            });
        }
        self.mutators = filling.join_all().await;
    }

    /// Lets the loads work while `fault` does what it does, and panics when the oracle finds anything wrong.
    pub async fn run(mut self, fault: impl AsyncFnOnce(&mut Self)) -> Self {
        let verifiers_stop = CancellationToken::new();
        let mut verifying = JoinSet::new();
        for number in 0..REPLICAS * VERIFIERS {
            let (replica, chance) = (number % REPLICAS, Chance::of(self.chance.below(1 << 30) as u64));
            let caller = self.processes[replica].caller(Some(&self.secret)).await;
            verifying.spawn(verify(caller, replica, Arc::clone(&self.record), chance, verifiers_stop.clone()));
        }
        let mutating: JoinSet<Mutator> = self.mutators.drain(..).map(Mutator::work).collect();
        sleep(Duration::from_secs(1)).await;
        fault(&mut self).await;
        self.mutators_stop.cancel();
        self.mutators = timeout(ENDED, mutating.join_all()).await.expect("the mutators end");
        sleep(Duration::from_millis(self.settings.reachable.unsigned_abs() + 500)).await;
        verifiers_stop.cancel();
        timeout(ENDED, verifying.join_all()).await.expect("the verifiers end");
        self.ask_about_all().await;
        self.judge();
        self
    }

    /// Nothing changes any more, so each replica must be exact about every key that ever was.
    async fn ask_about_all(&mut self) {
        let (record, secrets) = (&self.record, self.record.secrets());
        let everywhere = self.callers.iter_mut().enumerate().map(async |(replica, caller)| {
            for (key, secret) in &secrets {
                ask(caller, replica, record, Some(*key), secret.clone(), true).await;
            }
        });
        join_all(everywhere).await;
    }

    fn judge(&self) {
        let Settings { name, staleness, reachable, .. } = self.settings;
        let bounds = Bounds { reachable: reachable * 1_000, staleness: staleness * SECOND };
        self.record.read(|log| {
            let wrong = Oracle::new(log, bounds).wrong();
            summarise(name, log, &self.record, wrong.len());
            for (answer, why) in wrong.iter().take(10) {
                println!("WRONG: {why}: {answer:?}\n  {}", history(log, answer.key));
            }
            assert!(wrong.is_empty(), "{name}: {} wrong answers", wrong.len());
            expect_substance(log);
        });
        let surprises = self.record.surprises.lock();
        assert!(surprises.is_empty(), "{name}: {surprises:?}");
    }

    /// The root key.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Waits until the mutators made this many changes more.
    pub async fn changes(&self, count: usize, bound: Duration) -> Duration {
        let wanted = self.record.made_count() + count;
        crate::rig::eventually(bound, "changes are made again", async || self.record.made_count() >= wanted).await
    }

    /// The mutators ask this replica no more; `usize::MAX` = they ask all.
    pub fn avoid(&self, replica: usize) {
        self.avoided.store(replica, Ordering::SeqCst);
    }
}

/// The first one makes the pepper.
async fn start(places: &[Place], staleness: i64) -> Vec<Process> {
    let bound = format!("{staleness}s");
    let pepper = places[0].folder.path().join("pepper");
    let settings = [("CLAVIGER_STALENESS_BOUND", &*bound), ("CLAVIGER_LOG", "error")];
    let pepper = ("CLAVIGER_PEPPER_FILE", pepper.to_str().expect("UTF-8"));
    let first = Process::start_with(&places[0], &settings).await;
    let others =
        places[1..].iter().map(async |place| Process::start_with(place, &[settings[0], settings[1], pepper]).await);
    std::iter::once(first).chain(join_all(others).await).collect()
}

fn summarise(name: &str, log: &Log, record: &Record, wrong: usize) {
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    let (mut oldest, mut slowest) = (0, 0);
    for answer in &log.answers {
        slowest = slowest.max(answer.end - answer.start);
        *heard
            .entry(match &answer.heard {
                Heard::Verdict(verdict, as_of) => {
                    oldest = oldest.max(answer.end - as_of);
                    format!("{verdict:?}")
                }
                Heard::Error(reason) => reason.clone(),
            })
            .or_default() += 1;
    }
    let (seconds, late) = (|it: Moment| it as f64 / SECOND as f64, longest_late_valid(log));
    println!(
        "{name}: {} answers {heard:?}; changes {:?}; {wrong} wrong; last VALID {:.3} s after an acknowledged end; \
         oldest answer {:.3} s, slowest {:.3} s",
        log.answers.len(),
        record.outcomes.lock(),
        seconds(late),
        seconds(oldest),
        seconds(slowest),
    );
}

/// What happened to a key and its owner.
fn history(log: &Log, key: Option<usize>) -> String {
    use super::judge::Subject;
    let Some(key) = key else { return "nobody made it".to_owned() };
    let owner = Subject::Owner(log.owners[&key]);
    let about = log.changes.iter().filter(|it| it.subject == Subject::Key(key) || it.subject == owner);
    let told =
        about.map(|it| format!("{:?} {} {}..{:?}", it.flaw, if it.comes { "comes" } else { "goes" }, it.start, it.end));
    format!("{}; troubles {:?}", told.collect::<Vec<_>>().join(", "), log.troubles)
}

/// A scenario in which little happened proves little.
fn expect_substance(log: &Log) {
    let late = log.answers.iter().filter(|it| it.heard == Heard::Error("DEADLINE_EXCEEDED".to_owned())).count();
    assert!(late <= 5 + log.answers.len() / 500, "{late} late answers");
    for replica in 0..REPLICAS {
        let count = log.answers.iter().filter(|it| it.replica == replica).count();
        assert!(count >= 500, "{count} answers of replica {replica}");
    }
    let kinds = [
        Verdict::Valid,
        Verdict::Unknown,
        Verdict::Revoked,
        Verdict::Disabled,
        Verdict::OwnerDisabled,
        Verdict::ScopeMissing,
    ];
    for kind in kinds {
        let count =
            log.answers.iter().filter(|it| matches!(it.heard, Heard::Verdict(verdict, _) if verdict == kind)).count();
        assert!(count >= 10, "{count} answers {kind:?}");
    }
}
