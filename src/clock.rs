//! What time it is: the only place that reads the clock.
//!
//! On PostgreSQL it is the local clock plus the offset to the database's, measured at each look at the feed and kept while
//! the database is away, so that replicas whose clocks differ still agree on the instant of expiry.
//!
//! How long something took is another question: the boot-time clock answers it, which nobody sets, and which goes on while
//! the machine is suspended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::{Span, Time};

/// A clock that can be shared.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System { offset_microseconds: AtomicI64 },
    Manual { microseconds: AtomicI64, since_boot: AtomicI64 },
}

/// An instant of the boot-time clock, in microseconds since the machine started, time in suspend included. Only the span
/// between two of them means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(i64);

impl BootTime {
    /// From microseconds since the machine started.
    #[must_use]
    pub fn from_microseconds(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// Microseconds since the machine started.
    #[must_use]
    pub fn microseconds(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span::microseconds(self.0.saturating_sub(earlier.0))
    }
}

/// Now, by both clocks: read once for a call.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What time it is.
    pub time: Time,
    /// The same instant by the boot-time clock.
    pub boot_time: BootTime,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System { offset_microseconds: AtomicI64::new(0) }))
    }

    /// A clock that stands at `now` until it is moved: for tests.
    #[must_use]
    pub fn manual(now: Time) -> Self {
        let microseconds = AtomicI64::new(now.timestamp_micros());
        Self(Arc::new(Source::Manual { microseconds, since_boot: AtomicI64::new(0) }))
    }

    /// Now, in UTC, cut to microseconds.
    #[must_use]
    pub fn now(&self) -> Time {
        let microseconds = match &*self.0 {
            Source::System { offset_microseconds } => {
                local_microseconds() + offset_microseconds.load(Ordering::Relaxed)
            }
            Source::Manual { microseconds, .. } => microseconds.load(Ordering::Relaxed),
        };
        Time::from_timestamp_micros(microseconds).unwrap_or(Time::MAX_UTC)
    }

    /// Now, by both clocks.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { time: self.now(), boot_time: self.boot_time() }
    }

    /// Now, by the boot-time clock. Cheap: no system call on Linux.
    #[must_use]
    pub fn boot_time(&self) -> BootTime {
        match &*self.0 {
            Source::System { .. } => {
                let now = clock_gettime(ClockId::Boottime);
                BootTime(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
            }
            Source::Manual { since_boot, .. } => BootTime(since_boot.load(Ordering::Relaxed)),
        }
    }

    /// Follows another clock: `now()` will answer what that one shows. Answers how far the machine's own clock is behind
    /// it. A manual clock follows nobody and is never behind.
    pub fn follow(&self, other: Time) -> Span {
        let Source::System { offset_microseconds } = &*self.0 else { return Span::zero() };
        let behind = other.timestamp_micros() - local_microseconds();
        offset_microseconds.store(behind, Ordering::Relaxed);
        Span::microseconds(behind)
    }

    /// How far the machine's own clock is behind the one that it follows, as of the last measurement.
    #[must_use]
    pub fn offset(&self) -> Span {
        match &*self.0 {
            Source::System { offset_microseconds } => Span::microseconds(offset_microseconds.load(Ordering::Relaxed)),
            Source::Manual { .. } => Span::zero(),
        }
    }

    /// Moves a manual clock, the boot-time clock with it; the machine's isn't ours to move.
    pub fn advance(&self, span: Span) {
        if let Source::Manual { microseconds, since_boot } = &*self.0 {
            let span = span.num_microseconds().unwrap_or(0);
            microseconds.fetch_add(span, Ordering::Relaxed);
            since_boot.fetch_add(span, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn local_microseconds() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
