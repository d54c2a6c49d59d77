//! Timestamps and durations (google.protobuf): no value of either can panic (reliability.md R24).

use prost_types::{Duration, Timestamp};

use crate::domain::{Span, Time, limits};

/// 0001-01-01 and 9999-12-31: what a Timestamp may say by its own definition.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Reads a timestamp, cut to microseconds.
pub fn parse(timestamp: &Timestamp) -> Result<Time, String> {
    let wrong = || "is not a timestamp: years 1 to 9999, nanos 0 to 999,999,999".to_owned();
    let nanos = u32::try_from(timestamp.nanos).ok().filter(|&nanos| nanos < 1_000_000_000).ok_or_else(wrong)?;
    if !SECONDS.contains(&timestamp.seconds) {
        return Err(wrong());
    }
    Time::from_timestamp(timestamp.seconds, nanos / 1_000 * 1_000).ok_or_else(wrong)
}

/// Writes a timestamp.
#[must_use]
pub fn write(time: Time) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0) }
}

/// Writes a length of time.
#[must_use]
pub fn write_span(span: Span) -> Duration {
    Duration { seconds: span.num_seconds(), nanos: span.subsec_nanos() }
}

/// Reads a `ttl`: 1 s to 100 years.
pub fn parse_ttl(duration: &Duration) -> Result<Span, String> {
    parse_span(duration, limits::SHORTEST_LIFETIME, limits::LIFETIME, "1 second to 100 years")
}

/// Reads a `grace_period`: 0 to 30 days.
pub fn parse_grace(duration: &Duration) -> Result<Span, String> {
    parse_span(duration, Span::zero(), limits::GRACE_PERIOD, "0 to 30 days")
}

/// Reads a `wait_for_replicas`: 0 to 5 s, and 0 is `None`.
pub fn parse_replica_wait(duration: &Duration) -> Result<Option<std::time::Duration>, String> {
    let wait = parse_span(duration, Span::zero(), limits::REPLICA_WAIT, "0 to 5 seconds")?;
    Ok(wait.to_std().ok().filter(|wait| !wait.is_zero()))
}

/// Reads a `max_staleness`: 0 or more, as far as a Duration reaches.
pub fn parse_staleness(duration: &Duration) -> Result<Span, String> {
    parse_span(duration, Span::zero(), Span::seconds(315_576_000_000), "0 or more; leave it out for the server's bound")
}

fn parse_span(duration: &Duration, least: Span, most: Span, range: &str) -> Result<Span, String> {
    let wrong = || format!("must be {range}");
    // Seconds and nanos must not have opposite signs; a span that may not be negative needs neither.
    let nanos = u32::try_from(duration.nanos).ok().filter(|&nanos| nanos < 1_000_000_000).ok_or_else(wrong)?;
    let span = Span::new(duration.seconds, nanos / 1_000 * 1_000).ok_or_else(wrong)?;
    if (least..=most).contains(&span) { Ok(span) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_panics(seconds: i64, nanos: i32) {
            let _ = parse(&Timestamp { seconds, nanos }).map(write);
            let _ = parse_ttl(&Duration { seconds, nanos });
            let _ = parse_grace(&Duration { seconds, nanos });
            let _ = parse_replica_wait(&Duration { seconds, nanos });
            let _ = parse_staleness(&Duration { seconds, nanos });
        }
    }

    #[test]
    fn the_ends_are_exact() {
        assert!(parse_grace(&Duration { seconds: 30 * 86_400, nanos: 0 }).is_ok());
        assert!(parse_grace(&Duration { seconds: 30 * 86_400, nanos: 1_000 }).is_err());
        assert!(parse_grace(&Duration { seconds: -1, nanos: 0 }).is_err());
        assert!(parse_staleness(&Duration { seconds: 0, nanos: 0 }).is_ok());
        assert!(parse_staleness(&Duration { seconds: 315_576_000_000, nanos: 0 }).is_ok());
        assert!(parse_staleness(&Duration { seconds: 0, nanos: -1 }).is_err());
        assert!(parse_staleness(&Duration { seconds: -1, nanos: 0 }).is_err());
        assert!(parse_ttl(&Duration { seconds: 0, nanos: 999_999_999 }).is_err());
        assert!(parse(&Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 }).is_ok());
        assert!(parse(&Timestamp { seconds: 253_402_300_800, nanos: 0 }).is_err());
        assert!(parse(&Timestamp { seconds: 0, nanos: -1 }).is_err());
    }
}
