//! What time it is: the only place that reads the clock.
//!
//! On PostgreSQL it is the local clock plus the offset to the database's, measured at each look at the feed and kept while
//! the database is away, so that replicas whose clocks differ still agree on the instant of expiry.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::{Span, Time};

/// A clock that can be shared.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System { offset_microseconds: AtomicI64 },
    Manual { microseconds: AtomicI64 },
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
        Self(Arc::new(Source::Manual { microseconds: AtomicI64::new(now.timestamp_micros()) }))
    }

    /// Now, in UTC, cut to microseconds.
    #[must_use]
    pub fn now(&self) -> Time {
        let microseconds = match &*self.0 {
            Source::System { offset_microseconds } => {
                local_microseconds() + offset_microseconds.load(Ordering::Relaxed)
            }
            Source::Manual { microseconds } => microseconds.load(Ordering::Relaxed),
        };
        Time::from_timestamp_micros(microseconds).unwrap_or(Time::MAX_UTC)
    }

    /// Follows another clock: `now()` will answer what that one shows. Answers how far the machine's own clock is behind
    /// it. A manual clock follows nobody and is never behind.
    pub fn follow(&self, other: Time) -> Span {
        let Source::System { offset_microseconds } = &*self.0 else { return Span::zero() };
        let behind = other.timestamp_micros() - local_microseconds();
        offset_microseconds.store(behind, Ordering::Relaxed);
        Span::microseconds(behind)
    }

    /// Moves a manual clock; the machine's isn't ours to move.
    pub fn advance(&self, span: Span) {
        if let Source::Manual { microseconds } = &*self.0 {
            microseconds.fetch_add(span.num_microseconds().unwrap_or(0), Ordering::Relaxed);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn local_microseconds() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
