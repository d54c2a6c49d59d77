//! How often a retrievable secret may be read: at most [`limits::REVEALS`] times in any hour.

use super::{Span, Time, limits};

/// When a key was revealed lately, the oldest first; no more times than the limit needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reveals(Vec<Time>);

impl Reveals {
    /// Takes times as they were stored.
    #[must_use]
    pub fn from_stored(times: Vec<Time>) -> Self {
        Self(times)
    }

    /// The times to store.
    #[must_use]
    pub fn times(&self) -> &[Time] {
        &self.0
    }

    /// These and one more at `now`; or how long it must wait.
    ///
    /// Calls may come to their turn in another order than they came in, and clocks of replicas may differ a little: a
    /// reveal is noted no earlier than the one before it, so the hour is exact. A time that lies an hour ahead is the trace
    /// of a clock that was wrong, and doesn't count.
    pub fn and_one(mut self, now: Time) -> Result<Self, Span> {
        self.0.retain(|time| *time <= now + limits::REVEAL_WINDOW);
        let at = self.0.iter().copied().fold(now, Time::max);
        self.0.retain(|time| *time > at - limits::REVEAL_WINDOW);
        if let Some(first) = self.0.len().checked_sub(limits::REVEALS) {
            return Err(self.0[first] + limits::REVEAL_WINDOW - now);
        }
        self.0.push(at);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_800_000_000 + seconds, 0).expect("an instant")
    }

    #[test]
    fn the_sixth_waits_until_the_first_is_an_hour_old() {
        let mut reveals = Reveals::default();
        for seconds in [0, 10, 10, 20, 3_599] {
            reveals = reveals.and_one(at(seconds)).expect("one of five");
        }
        assert_eq!(reveals.clone().and_one(at(3_599)), Err(Span::seconds(1)));
        let reveals = reveals.and_one(at(3_600)).expect("the first is an hour old");
        assert_eq!(reveals.times().len(), limits::REVEALS);
        assert_eq!(reveals.clone().and_one(at(3_605)), Err(Span::seconds(5)));
        assert_eq!(reveals.and_one(at(8_000)).expect("an hour later").times(), [at(8_000)]);
    }

    #[test]
    fn a_clock_that_was_wrong_blocks_nobody_for_long() {
        let ahead = Reveals::from_stored(vec![at(100_000); limits::REVEALS]);
        assert_eq!(ahead.and_one(at(0)).expect("those don't count").times(), [at(0)]);
    }

    proptest! {
        /// However the calls are ordered when they get their turn.
        #[test]
        fn never_more_than_five_in_any_hour(calls in proptest::collection::vec((0_i64..400, -20_i64..=20), 1..120)) {
            let (mut reveals, mut told, mut clock) = (Reveals::default(), Vec::new(), 0);
            for (pause, jitter) in calls {
                clock += pause;
                if let Ok(more) = reveals.clone().and_one(at(clock + jitter)) {
                    told.extend(more.times().last().copied());
                    reveals = more;
                }
            }
            prop_assert!(told.is_sorted());
            for some in told.windows(limits::REVEALS + 1) {
                prop_assert!(some[limits::REVEALS] - some[0] >= limits::REVEAL_WINDOW);
            }
        }
    }
}
