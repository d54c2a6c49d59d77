//! When keys were last used: noted in memory by Verify, written by a task of its own.
//!
//! A VALID verdict moves an atomic of its key; only the first one after a write takes a lock, to get in line. What is in
//! line is written in batches as bookkeeping, beside the key's own row: at most every 5 minutes a key in each replica, and
//! once more at the end. So a use that isn't written yet is 5 minutes old at most, 7 when the batches are many, and that
//! much is lost by a crash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Clock;
use crate::domain::{Time, ids::KeyId, limits};
use crate::store::{Store, StoreError};

use super::record::Record;

/// How often it is looked whose last use is due.
const LOOK: Duration = Duration::from_secs(10);
/// Between two batches, however few they are.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The last use of one key, as this process knows it. A million of them are in memory: times are in seconds since the epoch,
/// which last till 2106, rounded up, so that a key is never said to be unused since a time at which it was used.
#[derive(Debug, Default)]
pub struct LastUse {
    /// 0 = never.
    used: AtomicU32,
    /// When it was last written; 0 = never.
    written: AtomicU32,
    /// Whether its record is in line to be written.
    in_line: AtomicBool,
}

impl LastUse {
    /// For the record that takes the place of this one's. It has a place in line of its own: whoever notes a use in the old
    /// record at this moment does it for nobody.
    #[must_use]
    pub fn carried_over(&self) -> Self {
        Self {
            used: AtomicU32::new(self.used.load(Ordering::SeqCst)),
            written: AtomicU32::new(self.written.load(Ordering::Relaxed)),
            in_line: AtomicBool::new(false),
        }
    }

    /// Notes a use. Answers whether it must get in line.
    fn note(&self, now: Time) -> bool {
        let now = seconds(now);
        if self.in_line.load(Ordering::Relaxed) && self.used.load(Ordering::Relaxed) >= now {
            // A key that is used all the time, on every core: nothing is written that another core has in its cache.
            return false;
        }
        // In one order for all threads, as in `take`: else this could see the old place in line, and `take` the old time.
        self.used.fetch_max(now, Ordering::SeqCst);
        !self.in_line.load(Ordering::SeqCst) && !self.in_line.swap(true, Ordering::SeqCst)
    }

    /// In seconds since the epoch.
    fn used(&self) -> u32 {
        self.used.load(Ordering::SeqCst)
    }

    /// What was used by then is written. Answers whether it stays in line, because of a use that came in between.
    fn wrote(&self, used: u32, now: Time) -> bool {
        self.written.store(seconds(now), Ordering::Relaxed);
        // Leaves the line, and only then reads: whoever notes a use meanwhile sees that it left, or is seen here.
        self.in_line.store(false, Ordering::SeqCst);
        self.used() > used && !self.in_line.swap(true, Ordering::SeqCst)
    }

    fn is_due(&self, now: Time) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        written == 0 || now.timestamp() - i64::from(written) >= limits::USAGE_INTERVAL.num_seconds()
    }
}

/// Since the epoch, rounded up; never 0, which says that there is none.
fn seconds(time: Time) -> u32 {
    let begun = i64::from(time.timestamp_subsec_nanos() > 0);
    u32::try_from((time.timestamp() + begun).max(1)).unwrap_or(u32::MAX)
}

/// The keys whose last use isn't written. Each record is in line once; one that was replaced leaves when it is written.
#[derive(Default)]
struct Line {
    /// Those too that were written less than 5 minutes ago.
    waiting: Vec<Record>,
    /// To be written now, from the end.
    due: Vec<Record>,
}

/// Writes last uses. One for a process.
pub struct Usage {
    store: Store,
    clock: Clock,
    /// Got in line since the last look.
    noted: Mutex<Vec<Record>>,
    /// Locked by whoever writes, one at a time.
    line: tokio::sync::Mutex<Line>,
}

impl Usage {
    /// Nothing in line.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, noted: Mutex::default(), line: tokio::sync::Mutex::default() }
    }

    /// Notes that a key was used at `now`.
    pub fn note(&self, key: &Record, now: Time) {
        if key.last_use().note(now) {
            self.noted.lock().push(key.clone());
        }
    }

    /// Looks every 10 s and writes what is due, for ever. Many batches are spread over two minutes at most: each of them
    /// keeps other writers waiting, and the database's disk busy.
    pub async fn run(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let batches = u32::try_from(self.find_due().await.div_ceil(limits::USAGE_BATCH)).unwrap_or(u32::MAX);
            self.write(LONGEST_PAUSE.min(limits::USAGE_SPREAD / batches.max(1))).await;
        }
    }

    /// Writes the last uses of keys that were never written, or 5 minutes ago or earlier.
    pub async fn write_due(&self) {
        self.find_due().await;
        self.write(Duration::ZERO).await;
    }

    /// Writes everything in line: for the end.
    pub async fn write_all(&self) {
        self.find(|_| true).await;
        self.write(Duration::ZERO).await;
    }

    async fn find_due(&self) -> usize {
        let now = self.clock.now();
        self.find(|last_use| last_use.is_due(now)).await
    }

    /// Marks those in line that are to be written now, and answers how many they are.
    async fn find(&self, is_wanted: impl Fn(&LastUse) -> bool) -> usize {
        let mut line = self.line.lock().await;
        // They may be all keys there are: nothing is copied that needn't be.
        let mut wanted = std::mem::take(&mut *self.noted.lock());
        append(&mut wanted, std::mem::take(&mut line.waiting));
        line.waiting = wanted.extract_if(.., |key| !is_wanted(key.last_use())).collect();
        append(&mut line.due, wanted);
        line.due.len()
    }

    /// Writes what is due, batch by batch. What can't be written stays in line for the next look.
    async fn write(&self, pause: Duration) {
        loop {
            let mut line = self.line.lock().await;
            if line.due.is_empty() {
                return;
            }
            if let Err(error) = self.write_batch(&mut line).await {
                let waiting = line.due.len() + line.waiting.len();
                tracing::warn!(%error, waiting, "last uses of keys could not be written; tried again soon");
                return;
            }
            drop(line);
            sleep(pause).await;
        }
    }

    async fn write_batch(&self, line: &mut Line) -> Result<(), StoreError> {
        let start = line.due.len().saturating_sub(limits::USAGE_BATCH);
        let batch: Vec<_> = line.due[start..].iter().map(|key| (key.clone(), key.last_use().used())).collect();
        let bookkeeping = self.store.bookkeeping().await?;
        bookkeeping.write_last_uses(&latest(&batch)).await?;
        bookkeeping.commit().await?;
        let now = self.clock.now();
        line.due.truncate(start);
        line.waiting
            .extend(batch.into_iter().filter(|(key, used)| key.last_use().wrote(*used, now)).map(|(key, _)| key));
        Ok(())
    }
}

fn append(all: &mut Vec<Record>, mut more: Vec<Record>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
}

/// The last use of each key, which may be there twice: a replaced record and the one in its place.
fn latest(uses: &[(Record, u32)]) -> Vec<(KeyId, Time)> {
    let mut latest = BTreeMap::new();
    for (key, used) in uses {
        let latest = latest.entry(key.id()).or_insert(0);
        *latest = *used.max(latest);
    }
    let time = |seconds| Time::from_timestamp(i64::from(seconds), 0);
    latest.into_iter().filter_map(|(key, used)| Some((key, time(used)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Span;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).expect("a time")
    }

    #[test]
    fn only_the_first_use_after_a_write_gets_in_line_and_time_never_goes_back() {
        let last_use = LastUse::default();
        assert_eq!([3, 2, 4].map(|second| last_use.note(at(second))), [true, false, false]);
        assert_eq!(last_use.used(), 4);
        assert!(!last_use.wrote(last_use.used(), at(4)), "out of line");
        assert_eq!([1, 5].map(|second| last_use.note(at(second))), [true, false]);
        assert_eq!(last_use.used(), 5);
    }

    #[test]
    fn a_use_that_comes_while_another_is_written_stays_in_line() {
        let last_use = LastUse::default();
        let noted = [1, 3].map(|second| last_use.note(at(second)));
        assert_eq!((noted, last_use.wrote(1, at(3))), ([true, false], true));
        assert!(!last_use.note(at(5)), "it is in line already");
    }

    #[test]
    fn a_use_is_as_late_as_the_second_it_lies_in_ends() {
        let last_use = LastUse::default();
        let half = Span::milliseconds(500);
        assert_eq!([at(7) + half, at(7), at(8)].map(|time| last_use.note(time)), [true, false, false]);
        assert_eq!(last_use.used(), 8);
        assert!(!last_use.note(at(8) + half));
        assert_eq!(last_use.used(), 9);
    }
}
