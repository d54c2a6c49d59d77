//! What is written down while it happens: changes, answers, troubles, and the pool of secrets that verifiers draw from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use claviger::clock::Clock;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::outage::unknown_secret;
use crate::rig::Chance;

use super::judge::{Answer, Change, Flaw, Heard, Log, Moment, Subject, Trouble};

/// How many of the keys that were changed last are asked about more often.
const RECENT: usize = 30;

/// Secrets to ask about, by the number of their key.
#[derive(Default)]
pub struct Pool {
    all: Vec<(usize, String)>,
    recent: VecDeque<usize>,
}

impl Pool {
    /// Half of them any key, some changed lately, some that nobody made.
    fn draw(&self, chance: &mut Chance) -> (Option<usize>, String) {
        let place = match chance.below(10) {
            0 => return (None, unknown_secret()),
            1..5 if !self.recent.is_empty() => self.recent[chance.below(self.recent.len())],
            _ => chance.below(self.all.len()),
        };
        let (key, secret) = &self.all[place];
        (Some(*key), secret.clone())
    }

    fn touch(&mut self, key: usize) {
        if let Some(place) = self.all.iter().position(|(number, _)| *number == key) {
            self.recent.push_back(place);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
    }
}

/// Shared by all who act in a scenario.
pub struct Record {
    begun: Instant,
    /// The time of day at which it began, in microseconds.
    time_of_day: i64,
    log: Mutex<Log>,
    pool: Mutex<Pool>,
    keys: AtomicUsize,
    /// Changes by outcome, and refusals that nothing explains.
    pub outcomes: Mutex<BTreeMap<&'static str, usize>>,
    pub surprises: Mutex<Vec<String>>,
}

/// Changes under way: places in the log.
pub struct Begun(std::ops::Range<usize>);

impl Record {
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            time_of_day: Clock::system().now().timestamp_micros(),
            log: Mutex::default(),
            pool: Mutex::default(),
            keys: AtomicUsize::new(0),
            outcomes: Mutex::default(),
            surprises: Mutex::default(),
        }
    }

    pub fn now(&self) -> Moment {
        Moment::try_from(self.begun.elapsed().as_micros()).expect("not for ever")
    }

    /// A time of day as a moment.
    pub fn moment(&self, time: prost_types::Timestamp) -> Moment {
        time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000 - self.time_of_day
    }

    /// A number for a key that is going to be made.
    pub fn new_key(&self, owner: usize) -> usize {
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        self.log.lock().owners.insert(key, owner);
        key
    }

    pub fn change(&self, flaws: &[(Subject, Flaw, bool)]) -> Begun {
        let start = self.now();
        let mut log = self.log.lock();
        let from = log.changes.len();
        log.changes.extend(flaws.iter().map(|&(subject, flaw, comes)| Change {
            subject,
            flaw,
            comes,
            start,
            end: None,
        }));
        Begun(from..log.changes.len())
    }

    /// They were made, by now.
    pub fn made(&self, begun: &Begun) {
        let now = self.now();
        let mut log = self.log.lock();
        let mut pool = self.pool.lock();
        for change in &mut log.changes[begun.0.clone()] {
            change.end = Some(now);
            if let Subject::Key(key) = change.subject {
                pool.touch(key);
            }
        }
    }

    /// They were not made: never, or after the end of all times.
    pub fn not_made(&self, begun: &Begun) {
        for change in &mut self.log.lock().changes[begun.0.clone()] {
            (change.start, change.end) = (Moment::MAX, None);
        }
    }

    /// A flaw that a key had from its beginning.
    pub fn was_so(&self, subject: Subject, flaw: Flaw) {
        let (start, end) = (Moment::MIN, Some(Moment::MIN));
        self.log.lock().changes.push(Change { subject, flaw, comes: true, start, end });
    }

    pub fn add(&self, key: usize, secret: String) {
        let mut pool = self.pool.lock();
        pool.all.push((key, secret));
        pool.touch(key);
    }

    pub fn draw(&self, chance: &mut Chance) -> (Option<usize>, String) {
        self.pool.lock().draw(chance)
    }

    pub fn secrets(&self) -> Vec<(usize, String)> {
        self.pool.lock().all.clone()
    }

    pub fn answer(&self, answer: Answer) {
        self.log.lock().answers.push(answer);
    }

    /// How many answers with this reason or verdict there are, of one replica, since a moment.
    pub fn count(&self, replica: usize, since: Moment, counts: impl Fn(&Heard) -> bool) -> usize {
        let log = self.log.lock();
        let counted = |it: &&Answer| it.replica == replica && it.start >= since && counts(&it.heard);
        log.answers.iter().filter(counted).count()
    }

    /// A trouble begins; answers its place.
    pub fn trouble(&self, replica: Option<usize>, is_stop: bool) -> usize {
        let from = self.now();
        let mut log = self.log.lock();
        log.troubles.push(Trouble { replica, from, until: Moment::MAX / 2, is_stop });
        log.troubles.len() - 1
    }

    pub fn trouble_ends(&self, place: usize) {
        let now = self.now();
        self.log.lock().troubles[place].until = now;
    }

    pub fn outcome(&self, outcome: &'static str) {
        *self.outcomes.lock().entry(outcome).or_default() += 1;
    }

    pub fn made_count(&self) -> usize {
        self.outcomes.lock().get("made").copied().unwrap_or(0)
    }

    pub fn surprise(&self, what: String) {
        self.surprises.lock().push(what);
    }

    /// Looks at the log; nothing is written meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock())
    }
}
