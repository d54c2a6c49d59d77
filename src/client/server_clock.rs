//! The server's clock as seen from here, for two questions: how old is what we know, and has a key expired? Pure.
//!
//! The clocks are never compared: what counts is only which event came before which. A watch's first message was sent after
//! we asked for it; from that follows the latest time that the server's clock can show now. Everything is judged by that
//! latest time, so errors (the way there, a server that was slow to begin, clocks that drift) make us ask again too early
//! and never answer too late.

use prost_types::Timestamp;

/// Microseconds of this machine's boot-time clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LocalTime(pub(super) i64);

/// Microseconds of the server's clock since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerTime(pub(super) i64);

impl From<Timestamp> for ServerTime {
    fn from(time: Timestamp) -> Self {
        Self(time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000))
    }
}

/// What one watch tells about the server's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerClock {
    /// The least that this machine's clock can be ahead of the server's, in microseconds.
    ahead: i64,
    /// Microseconds from the question to its first answer.
    first_delay: i64,
}

impl ServerClock {
    /// From a watch's first message.
    pub(super) fn new(asked: LocalTime, sent: ServerTime, received: LocalTime) -> Self {
        Self { ahead: asked.0.saturating_sub(sent.0), first_delay: received.0.saturating_sub(asked.0) }
    }

    /// Takes a further message in, which can't have come before it was sent. Answers by how many microseconds messages seem
    /// to take longer than the first one: the clocks drift apart, or we slept and read what had waited.
    pub(super) fn hear(&mut self, sent: ServerTime, received: LocalTime) -> i64 {
        self.ahead = self.ahead.min(received.0.saturating_sub(sent.0));
        let delay = received.0.saturating_sub(sent.0).saturating_sub(self.ahead);
        delay.saturating_sub(self.first_delay)
    }

    /// The latest time that the server's clock can show.
    pub(super) fn latest(&self, now: LocalTime) -> ServerTime {
        ServerTime(now.0.saturating_sub(self.ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn the_first_message_was_sent_after_it_was_asked_for() {
        let clock = ServerClock::new(LocalTime(10 * SECOND), ServerTime(500 * SECOND), LocalTime(11 * SECOND));
        assert_eq!(clock.latest(LocalTime(10 * SECOND)), ServerTime(500 * SECOND));
        assert_eq!(clock.latest(LocalTime(11 * SECOND)), ServerTime(501 * SECOND));
    }

    #[test]
    fn a_server_whose_clock_is_set_forward_is_followed() {
        let mut clock = ServerClock::new(LocalTime(0), ServerTime(500 * SECOND), LocalTime(1));
        clock.hear(ServerTime(560 * SECOND), LocalTime(SECOND));
        assert_eq!(clock.latest(LocalTime(SECOND)), ServerTime(560 * SECOND));
    }

    #[test]
    fn a_message_that_waited_is_not_taken_for_fresh() {
        let mut clock = ServerClock::new(LocalTime(0), ServerTime(500 * SECOND), LocalTime(SECOND / 10));
        assert!(clock.hear(ServerTime(501 * SECOND), LocalTime(SECOND + 1)) <= 0);
        assert_eq!(clock.hear(ServerTime(502 * SECOND), LocalTime(32 * SECOND)), 30 * SECOND - SECOND / 10);
        assert_eq!(clock.latest(LocalTime(32 * SECOND)), ServerTime(532 * SECOND));
    }

    #[test]
    fn absurd_times_overflow_nothing() {
        let mut clock = ServerClock::new(LocalTime(i64::MAX), ServerTime(i64::MIN), LocalTime(0));
        clock.hear(ServerTime(i64::MAX), LocalTime(i64::MIN));
        clock.latest(LocalTime(i64::MAX));
        assert_eq!(ServerTime::from(Timestamp { seconds: i64::MAX, nanos: 1 }), ServerTime(i64::MAX));
    }
}
