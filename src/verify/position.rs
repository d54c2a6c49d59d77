//! How far the mirror is, published by the one task that follows the feed to every core that answers Verify.
//!
//! Readers take no lock and write nothing, so they never wait: not for each other, and not for a writer that is put to sleep
//! half-way. The writer fills the slot that nobody is pointed to and then moves the pointer, a version whose last bit says
//! which slot; a reader whose version is no longer the current one reads again.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};

use crate::clock::BootTime;
use crate::domain::{Revision, Time};

/// How far the mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Every change up to this revision is in.
    pub revision: Revision,
    /// The instant as of which this is so: start of the last good look.
    pub as_of: Time,
    /// The same instant by the boot-time clock: the mirror's age is counted from here.
    pub looked: BootTime,
}

/// The position for all to read.
#[derive(Debug)]
pub(super) struct Published {
    /// 0 = nothing was published yet.
    version: AtomicU64,
    slots: [Slot; 2],
    /// When the last look began, in boot time, if it failed; [`NEVER`] if it was good.
    failed_look: AtomicI64,
    /// The process slept, and no look that began afterwards has ended.
    slept: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    revision: AtomicI64,
    as_of: AtomicI64,
    looked: AtomicI64,
}

const NEVER: i64 = i64::MIN;

impl Default for Published {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            slots: Default::default(),
            failed_look: AtomicI64::new(NEVER),
            slept: AtomicBool::new(false),
        }
    }
}

impl Published {
    /// The position; `None` until one was published.
    pub(super) fn position(&self) -> Option<Position> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let slot = self.slot(version);
            let revision = slot.revision.load(Ordering::Relaxed);
            let as_of = slot.as_of.load(Ordering::Relaxed);
            let looked = BootTime::from_microseconds(slot.looked.load(Ordering::Relaxed));
            // Who has seen one number of a newer position sees a newer version too.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                let as_of = Time::from_timestamp_micros(as_of)?;
                return Some(Position { revision, as_of, looked });
            }
        }
    }

    /// Publishes a position, after a good look. For the one that follows: two at once would mix theirs.
    pub(super) fn publish(&self, position: Position) {
        let version = self.version.load(Ordering::Relaxed) + 1;
        let slot = self.slot(version);
        fence(Ordering::Release);
        slot.revision.store(position.revision, Ordering::Relaxed);
        slot.as_of.store(position.as_of.timestamp_micros(), Ordering::Relaxed);
        slot.looked.store(position.looked.microseconds(), Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
        self.failed_look.store(NEVER, Ordering::Relaxed);
        self.slept.store(false, Ordering::Relaxed);
    }

    /// Says that the last look, begun then, failed.
    pub(super) fn fail(&self, looked: BootTime) {
        self.failed_look.store(looked.microseconds(), Ordering::Relaxed);
        self.slept.store(false, Ordering::Relaxed);
    }

    /// Says that the process slept: what a look came to before says nothing about now.
    pub(super) fn sleep(&self) {
        self.slept.store(true, Ordering::Relaxed);
        self.failed_look.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the process slept, and no look that began afterwards has ended.
    pub(super) fn slept(&self) -> bool {
        self.slept.load(Ordering::Relaxed)
    }

    /// When the last look began, if it failed.
    pub(super) fn failed_look(&self) -> Option<BootTime> {
        let looked = self.failed_look.load(Ordering::Relaxed);
        (looked != NEVER).then(|| BootTime::from_microseconds(looked))
    }

    fn slot(&self, version: u64) -> &Slot {
        let [even, odd] = &self.slots;
        if version.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: i64) -> Position {
        let as_of = Time::from_timestamp_micros(number).expect("a time");
        Position { revision: number, as_of, looked: BootTime::from_microseconds(number) }
    }

    #[test]
    fn readers_never_see_half_of_one_position_and_half_of_another() {
        let (published, done) = (Published::default(), AtomicBool::new(false));
        assert_eq!(published.position(), None);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let Some(seen) = published.position() else { continue };
                        assert_eq!(seen, position(seen.revision));
                        assert!(seen.revision >= last, "never back");
                        last = seen.revision;
                    }
                });
            }
            for number in 1..200_000 {
                published.publish(position(number));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_failed_look_is_remembered_until_a_good_one() {
        let published = Published::default();
        published.fail(BootTime::from_microseconds(7));
        assert_eq!(published.failed_look(), Some(BootTime::from_microseconds(7)));
        published.publish(position(8));
        assert_eq!(published.failed_look(), None);
    }
}
