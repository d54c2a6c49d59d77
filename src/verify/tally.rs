//! How often Verify gave which verdict. Counted for each core apart: two cores that add to one number spend more time on
//! handing it to and fro than on the verdict.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::metrics::Metrics;

use super::NoVerdict;
use super::verdict::Verdict;

/// Places to count in. Threads beyond share them.
pub const PLACES: usize = 16;
/// What is counted: each verdict, and why there was none.
const OUTCOMES: usize = Verdict::ALL.len() + NoVerdict::ALL.len();

/// The counts.
#[derive(Default)]
pub struct Tally {
    places: [Place; PLACES],
}

/// On cache lines of its own.
#[repr(align(128))]
struct Place([AtomicU64; OUTCOMES]);

impl Default for Place {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Tally {
    /// Counts an outcome.
    pub fn count(&self, outcome: &Result<Verdict, NoVerdict>) {
        let index = match outcome {
            Ok(verdict) => *verdict as usize,
            Err(why) => Verdict::ALL.len() + *why as usize,
        };
        self.places[own_place()].0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// From now on shows the counts among the metrics.
    pub fn show(self: &Arc<Self>, metrics: &Metrics) {
        let (verdicts, failures) = (Arc::clone(self), Arc::clone(self));
        metrics.observe_counts("claviger_verdicts", "Verdicts of Verify, by which.", "verdict", move || {
            verdicts.verdicts().map(|(verdict, count)| (verdict.as_str(), count)).collect::<Vec<_>>()
        });
        let description = "Questions of Verify that no verdict was possible for, by why.";
        metrics.observe_counts("claviger_verify_failures", description, "reason", move || {
            failures.failures().map(|(why, count)| (why.as_str(), count)).collect::<Vec<_>>()
        });
    }

    /// How often each verdict was given.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(0..).map(|(verdict, index)| (verdict, self.sum(index)))
    }

    /// How often no verdict was possible, by why.
    pub fn failures(&self) -> impl Iterator<Item = (NoVerdict, u64)> {
        NoVerdict::ALL.into_iter().zip(Verdict::ALL.len()..).map(|(why, index)| (why, self.sum(index)))
    }

    fn sum(&self, index: usize) -> u64 {
        self.places.iter().map(|place| place.0[index].load(Ordering::Relaxed)).sum()
    }
}

/// The place of this thread: the next one, in turn.
#[must_use]
pub fn own_place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_apart_whatever_thread_it_happened_in() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for (times, verdict) in (1..).zip(Verdict::ALL) {
                        (0..times).for_each(|_| tally.count(&Ok(verdict)));
                    }
                    tally.count(&Err(NoVerdict::Stale));
                });
            }
        });
        let expected: Vec<_> = Verdict::ALL.into_iter().zip((1..).map(|times| times * 20)).collect();
        assert_eq!(tally.verdicts().collect::<Vec<_>>(), expected);
        let expected = [(NoVerdict::Stale, 20), (NoVerdict::StoreUnavailable, 0), (NoVerdict::Unreadable, 0)];
        assert_eq!(tally.failures().collect::<Vec<_>>(), expected);
    }
}
