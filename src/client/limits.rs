//! Every number of the client, with its unit. The server's are in `domain::limits`, which the client is built without.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest time from a change to its refusal, when [`Options`](super::Options) doesn't say.
pub(super) const STALENESS_BOUND: Duration = Duration::from_secs(5);
/// What a staleness bound may be. Below 3 s ordinary heartbeats (one a second, about looks that are a second old) would
/// already look like an outage; above 5 minutes the server's own default bound is exceeded.
pub(super) const STALENESS_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(300);

/// Remembered answers, when [`Options`](super::Options) doesn't say.
pub(super) const CAPACITY: usize = 100_000;
/// How many answers may be remembered.
pub(super) const CAPACITIES: RangeInclusive<usize> = 2..=10_000_000;
/// How long an answer is remembered, even if nothing revokes it: Claviger notes a key's last use only when it is asked, and
/// tells a watch neither of wider scopes nor of a later `expire_time`.
pub(super) const ANSWER_LIFE: Duration = Duration::from_secs(300);
/// Names whose last change is remembered; with more, every answer from before is forgotten.
pub(super) const NAMES_TOLD: usize = 50_000;

/// Time for one question, a retry included: the server's own deadline of 250 ms twice, and the way.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
/// Pause before the one retry of an UNAVAILABLE that doesn't say how long to wait.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// First pause before a broken watch is opened again; each next one is twice as long. Half of it by chance.
pub(super) const WATCH_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a broken watch is opened again.
pub(super) const WATCH_PAUSE_LONGEST: Duration = Duration::from_secs(5);
