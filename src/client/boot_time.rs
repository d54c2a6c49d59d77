//! How long the machine has been running: the only place of the client that reads a clock.
//!
//! Not the time of day, which may be wrong and is moved; and not [`std::time::Instant`], which on Linux stands still while
//! the machine sleeps, so that a cache would take what it knew yesterday for fresh.

use rustix::time::{ClockId, clock_gettime};

use super::server_clock::LocalTime;

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// Counts sleep on the Apple systems; on other systems it may not.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Now.
pub(super) fn now() -> LocalTime {
    let time = clock_gettime(CLOCK);
    LocalTime(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000))
}
