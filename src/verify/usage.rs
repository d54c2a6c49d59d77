//! When keys were last used: noted in memory by Verify, written by a task of its own.
//!
//! A VALID verdict moves an atomic of its key; only the first one after a write takes a lock, to get in line. What is in
//! line is written in batches as bookkeeping, beside the key's own row: at most every 5 minutes a key in each replica, and
//! once more at the end. So a use that isn't written yet is 5 minutes old at most, 7 when the batches are many, and that much is
//! lost by a crash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Clock;
use crate::domain::{Time, ids::KeyId, limits};
use crate::store::{Store, StoreError};

use super::record::Record;

/// How often it is looked whose last use is due.
const LOOK: Duration = Duration::from_secs(10);
/// Between two batches.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// A use this soon after another one isn't noted, in microseconds: last uses are exact to a second.
const PRECISION: i64 = 1_000_000;
/// Before the earliest time there is.
const NEVER: i64 = i64::MIN;

/// The last use of one key, as this process knows it.
#[derive(Debug)]
pub struct LastUse {
    /// Microseconds since the epoch.
    used: AtomicI64,
    /// Whether it is in line to be written.
    in_line: AtomicBool,
    /// When it was last written, in seconds since the epoch; 0 = never.
    written: AtomicU32,
}

impl Default for LastUse {
    fn default() -> Self {
        Self { used: AtomicI64::new(NEVER), in_line: AtomicBool::new(false), written: AtomicU32::new(0) }
    }
}

impl LastUse {
    /// For the record that takes the place of this one's. It has a place in line of its own: whoever notes a use in the old
    /// record at this moment does it for nobody.
    #[must_use]
    pub fn carried_over(&self) -> Self {
        Self {
            used: AtomicI64::new(self.used.load(Ordering::SeqCst)),
            in_line: AtomicBool::new(false),
            written: AtomicU32::new(self.written.load(Ordering::Relaxed)),
        }
    }

    /// Notes a use. Answers whether it must get in line.
    fn note(&self, now: Time) -> bool {
        let now = now.timestamp_micros();
        if self.in_line.load(Ordering::Relaxed) && now.saturating_sub(self.used.load(Ordering::Relaxed)) < PRECISION {
            // A key that is used all the time, on every core: nothing is written that another core has in its cache.
            return false;
        }
        // In one order for all threads, as in `take`: else this could see the old place in line, and `take` the old time.
        self.used.fetch_max(now, Ordering::SeqCst);
        !self.in_line.load(Ordering::SeqCst) && !self.in_line.swap(true, Ordering::SeqCst)
    }

    /// Leaves the line, and only then reads: a use that comes in between gets in line again.
    fn take(&self) -> Option<Time> {
        self.in_line.store(false, Ordering::SeqCst);
        Time::from_timestamp_micros(self.used.load(Ordering::SeqCst))
    }

    fn is_due(&self, now: Time) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        written == 0 || now.timestamp() - i64::from(written) >= limits::USAGE_INTERVAL.num_seconds()
    }

    fn set_written(&self, now: Time) {
        // Rounded up: a second late rather than early.
        self.written.store(u32::try_from(now.timestamp() + 1).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

type Line = HashMap<KeyId, Record>;

/// Writes last uses. One for a process.
pub struct Usage {
    store: Store,
    clock: Clock,
    /// Got in line since the last look. No longer than there are records, as each is in line once.
    noted: Mutex<Vec<Record>>,
    /// In line, those too that were written less than 5 minutes ago. Locked by whoever writes, one at a time.
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

    /// Looks every 10 s and writes what is due, for ever. Many batches are spread over two minutes at most: each of them keeps
    /// other writers waiting, and the database's disk busy.
    pub async fn run(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let due = self.due().await;
            let batches = due.chunks(limits::USAGE_BATCH);
            let count = u32::try_from(batches.len()).unwrap_or(u32::MAX).max(1);
            let pause = LONGEST_PAUSE.min(limits::USAGE_SPREAD / count);
            for batch in batches {
                if !self.write_batch(batch).await {
                    break;
                }
                sleep(pause).await;
            }
        }
    }

    /// Writes the last uses of keys that were never written, or 5 minutes ago or earlier.
    pub async fn write_due(&self) {
        self.write(&self.due().await).await;
    }

    /// Writes everything in line: for the end.
    pub async fn write_all(&self) {
        self.write(&self.in_line(|_| true).await).await;
    }

    async fn due(&self) -> Vec<KeyId> {
        let now = self.clock.now();
        self.in_line(|last_use| last_use.is_due(now)).await
    }

    async fn in_line(&self, is_wanted: impl Fn(&LastUse) -> bool) -> Vec<KeyId> {
        let mut line = self.line.lock().await;
        let noted = std::mem::take(&mut *self.noted.lock());
        for key in noted {
            if let Some(replaced) = line.insert(key.id(), key) {
                // Another record of the key; should that be the one in the mirror, its next use gets in line again.
                replaced.last_use().in_line.store(false, Ordering::SeqCst);
            }
        }
        line.iter().filter(|(_, key)| is_wanted(key.last_use())).map(|(id, _)| *id).collect()
    }

    async fn write(&self, ids: &[KeyId]) {
        for batch in ids.chunks(limits::USAGE_BATCH) {
            if !self.write_batch(batch).await {
                return;
            }
        }
    }

    /// Answers whether it went well. What can't be written stays in line for the next look.
    async fn write_batch(&self, ids: &[KeyId]) -> bool {
        let mut line = self.line.lock().await;
        let written = self.try_write_batch(&mut line, ids).await;
        if let Err(error) = &written {
            tracing::warn!(%error, waiting = line.len(), "last uses of keys could not be written; tried again soon");
        }
        written.is_ok()
    }

    async fn try_write_batch(&self, line: &mut Line, ids: &[KeyId]) -> Result<(), StoreError> {
        let bookkeeping = self.store.bookkeeping().await?;
        let use_of = |id: &KeyId| line.get(id).and_then(|key| key.last_use().take()).map(|time| (*id, time));
        let uses: Vec<_> = ids.iter().filter_map(use_of).collect();
        bookkeeping.write_last_uses(&uses).await?;
        bookkeeping.commit().await?;
        let now = self.clock.now();
        for key in ids.iter().filter_map(|id| line.remove(id)) {
            key.last_use().set_written(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: i64) -> Time {
        Time::from_timestamp_micros(microseconds).expect("a time")
    }

    #[test]
    fn only_the_first_use_after_a_write_gets_in_line_and_time_never_goes_back() {
        let last_use = LastUse::default();
        assert_eq!([3, 2, 4].map(|second| last_use.note(at(second * PRECISION))), [true, false, false]);
        assert_eq!(last_use.take(), Some(at(4 * PRECISION)));
        assert_eq!([1, 5].map(|second| last_use.note(at(second * PRECISION))), [true, false]);
        assert_eq!(last_use.take(), Some(at(5 * PRECISION)));
    }

    #[test]
    fn uses_within_a_second_are_one() {
        let last_use = LastUse::default();
        assert_eq!([7, 8, 6 + PRECISION].map(|time| last_use.note(at(time))), [true, false, false]);
        assert_eq!(last_use.take(), Some(at(7)));
    }
}
