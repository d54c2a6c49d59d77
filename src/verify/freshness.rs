//! Whether the mirror is fresh enough to answer: by the server's bound, and by what the call demands.
//!
//! The mirror's age is counted by the boot-time clock from the start of its last good look: a wall clock that is set makes
//! it neither older nor younger, and time in suspend counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::{BootTime, Clock};
use crate::domain::{Revision, Span, limits};

use super::NoVerdict;
use super::position::Position;
use super::refresh::Refresher;

/// A mirror older than this, without a failed look since, belongs to a process that slept: look first.
const SLEPT: Span = Span::seconds(2);
/// How long a call waits for that look.
const WAKING: Duration = Duration::from_millis(100);
/// A look that failed and began longer ago than this says nothing about now: the process slept since, or in its middle.
/// Longer than a look at a database that doesn't answer and the next one take together.
const FAILURE_COUNTS: Span = Span::seconds(15);

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// It must know every change up to this revision; 0 = don't care.
    pub min_revision: Revision,
    /// It may be this old; 0 = as of the call's arrival; `None`, or more than the server's bound = as old as that.
    pub max_staleness: Option<Span>,
}

/// Decides whether the mirror may answer.
pub struct Freshness {
    refresher: Refresher,
    clock: Clock,
    bound: Span,
    /// The look that somebody waited for in vain.
    gave_up_on: AtomicU64,
}

impl Freshness {
    /// `bound`: how old the mirror may be and still answer.
    #[must_use]
    pub fn new(refresher: Refresher, clock: Clock, bound: Span) -> Self {
        Self { refresher, clock, bound, gave_up_on: AtomicU64::new(0) }
    }

    /// Whether the mirror is loaded, and not older than the bound.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = self.clock.boot_time();
        self.refresher.position().is_some_and(|position| now.since(position.looked) <= self.bound)
    }

    /// The mirror's position, when it is fresh enough as it stands at `now`: costs no wait and no lock.
    #[must_use]
    pub fn as_it_stands(&self, demand: Demand, now: BootTime) -> Option<Position> {
        let position = self.refresher.position()?;
        let age = now.since(position.looked);
        let awake = age <= SLEPT || (age <= self.bound && self.failed_lately(now));
        (awake && age <= self.bound && meets(demand, position, age)).then_some(position)
    }

    /// The mirror's position after a look at the store, for whoever can't take it [as it stands](Self::as_it_stands). All
    /// that need one share it.
    pub async fn after_a_look(&self, demand: Demand) -> Result<Position, NoVerdict> {
        let before = self.refresher.position().ok_or(NoVerdict::Stale)?;
        let looked = if meets(demand, before, self.age(before)) {
            self.wake().await
        } else {
            matches!(timeout(limits::MISS_WAIT, self.refresher.refresh()).await, Ok(Ok(())))
        };
        if !looked && self.refresher.slept() {
            return Err(NoVerdict::Stale);
        }
        let position = self.refresher.position().ok_or(NoVerdict::Stale)?;
        // A look that began after the call arrived meets every demand about age.
        let most = demand.max_staleness.map_or(self.bound, |most| most.min(self.bound));
        let young = looked || (self.age(position) <= most && most > Span::zero());
        if young && position.revision >= demand.min_revision { Ok(position) } else { Err(NoVerdict::Stale) }
    }

    /// Waits for the look that a process makes which slept. Too slow or failed: the bound decides with what there is, and
    /// nobody waits for this look again. Answers whether it was made.
    async fn wake(&self) -> bool {
        let look = self.refresher.look_number();
        if self.failed_lately(self.clock.boot_time()) || self.gave_up_on.load(Ordering::Relaxed) == look {
            return false;
        }
        let outcome = timeout(WAKING, self.refresher.refresh()).await;
        if outcome.is_err() {
            self.gave_up_on.store(look, Ordering::Relaxed);
        }
        matches!(outcome, Ok(Ok(())))
    }

    fn failed_lately(&self, now: BootTime) -> bool {
        self.refresher.failed_look().is_some_and(|looked| now.since(looked) <= FAILURE_COUNTS)
    }

    fn age(&self, position: Position) -> Span {
        self.clock.boot_time().since(position.looked)
    }
}

/// Whether a mirror of this position and age is what the call itself demands. None is as of the call's arrival.
fn meets(demand: Demand, position: Position, age: Span) -> bool {
    let young = demand.max_staleness.is_none_or(|most| most > Span::zero() && age <= most);
    young && position.revision >= demand.min_revision
}
