//! The warning calendar: when a tenant's people are told that a key is about to expire. Pure.
//!
//! Each local day has one warning instant: the tenant's warning hour in its time zone. A warning of a key is due at each
//! instant s with max(expire_time − 14 d, create_time) ≤ s < expire_time, so a 90-day key gets exactly 14 in UTC, and 13 to
//! 15 where the window crosses a change of daylight saving.

use std::fmt;

use chrono::{Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use super::{Time, limits, text::quote};

/// An IANA time zone, as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeZone(Tz);

/// The local hour of the warning instant, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarningHour(u8);

/// A local calendar day of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(NaiveDate);

/// When a tenant's people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// The zone of its days.
    pub zone: TimeZone,
    /// The hour at which a day's warnings are due.
    pub hour: WarningHour,
}

impl TimeZone {
    /// UTC.
    pub const UTC: Self = Self(Tz::UTC);

    /// Reads the name of a zone, exactly as IANA spells it.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{} is no IANA time zone, as Europe/Berlin or UTC", quote(text)))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The local date and time of an instant.
    #[must_use]
    pub fn local(self, time: Time) -> chrono::DateTime<Tz> {
        time.with_timezone(&self.0)
    }

    /// The local day of an instant.
    #[must_use]
    pub fn day(self, time: Time) -> Day {
        Day(self.local(time).date_naive())
    }

    /// The instant of a local time: the first of two, or the first after a gap.
    fn instant(self, local: NaiveDateTime) -> Time {
        // Gaps and overlaps are at most a day long (Samoa left out all of 2011-12-30) and begin and end at whole minutes.
        const LONGEST_GAP_MINUTES: i64 = 24 * 60;
        for minutes in 0..=LONGEST_GAP_MINUTES {
            match self.0.from_local_datetime(&(local + TimeDelta::minutes(minutes))) {
                LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => return instant.to_utc(),
                LocalResult::None => {}
            }
        }
        local.and_utc()
    }
}

impl WarningHour {
    /// 09:00.
    pub const DEFAULT: Self = Self(9);

    /// Reads an hour.
    pub fn parse(hour: i32) -> Result<Self, String> {
        let inside = u8::try_from(hour).ok().filter(|hour| (0..24).contains(hour));
        inside.map(Self).ok_or_else(|| "must be an hour, 0 to 23".to_owned())
    }

    /// The hour.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Day {
    /// Reads `2026-11-21`.
    pub fn parse(text: &str) -> Result<Self, String> {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").map(Self).map_err(|_| "is not a day, as 2026-11-21".to_owned())
    }

    /// The day after; the same one at the end of time.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add_days(Days::new(1)).unwrap_or(self.0))
    }

    /// Days from `self` to `later`; negative when it lies before.
    #[must_use]
    pub fn days_until(self, later: Self) -> i64 {
        (later.0 - self.0).num_days()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl Calendar {
    /// UTC, 09:00.
    pub const DEFAULT: Self = Self { zone: TimeZone::UTC, hour: WarningHour::DEFAULT };

    /// The local day of an instant.
    #[must_use]
    pub fn day(&self, time: Time) -> Day {
        self.zone.day(time)
    }

    /// The warning instant of a day. An hour that the day lacks is the first instant after the gap; one that it has twice is
    /// the first of the two.
    #[must_use]
    pub fn instant(&self, day: Day) -> Time {
        self.zone.instant(day.0.and_time(NaiveTime::MIN) + TimeDelta::hours(self.hour.0.into()))
    }

    /// The end of a day: the first instant of the next.
    #[must_use]
    pub fn end(&self, day: Day) -> Time {
        self.zone.instant(day.next().0.and_time(NaiveTime::MIN))
    }

    /// Today's warning instant, if it has passed: what a run acts on. Earlier days are over.
    #[must_use]
    pub fn passed_today(&self, now: Time) -> Option<(Day, Time)> {
        let day = self.day(now);
        let instant = self.instant(day);
        (instant <= now).then_some((day, instant))
    }

    /// The next warning instant after `now`.
    #[must_use]
    pub fn next(&self, now: Time) -> Time {
        self.from(self.day(now)).find(|&(_, instant)| instant > now).map_or(Time::MAX_UTC, |(_, instant)| instant)
    }

    /// The warning instants within `from ≤ s < to`, with their days.
    pub fn between(&self, from: Time, to: Time) -> impl Iterator<Item = (Day, Time)> {
        self.from(self.day(from)).skip_while(move |&(_, s)| s < from).take_while(move |&(_, s)| s < to)
    }

    /// Days that a zone left out have no instant of their own.
    fn from(&self, first: Day) -> impl Iterator<Item = (Day, Time)> {
        let calendar = *self;
        let following = move |day: &Day| Some(day.next()).filter(|next| next != day);
        let days = std::iter::successors(Some(first), following);
        days.map(move |day| (day, calendar.instant(day))).filter(move |&(day, instant)| calendar.day(instant) == day)
    }
}

/// Whether a warning of a key is due at the instant `at`.
#[must_use]
pub fn is_due(create_time: Time, expire_time: Time, at: Time) -> bool {
    at >= create_time && at < expire_time && expire_time - at <= limits::EXPIRING_SOON
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect("an instant")
    }

    fn calendar(zone: &str, hour: i32) -> Calendar {
        Calendar { zone: TimeZone::parse(zone).expect("a zone"), hour: WarningHour::parse(hour).expect("an hour") }
    }

    fn warnings(calendar: Calendar, create: Time, life: TimeDelta) -> Vec<Time> {
        let expire = create + life;
        let all = calendar.between(create - TimeDelta::days(1), expire + TimeDelta::days(1));
        all.map(|(_, s)| s).filter(|&s| is_due(create, expire, s)).collect()
    }

    #[test]
    fn a_life_gets_the_warnings_it_should() {
        let utc = Calendar::DEFAULT;
        for minute in (0..24 * 60).step_by(7) {
            let create = time("2027-01-01T00:00:00Z") + TimeDelta::minutes(minute);
            assert_eq!(warnings(utc, create, TimeDelta::days(90)).len(), 14);
            assert_eq!(warnings(utc, create, TimeDelta::days(14)).len(), 14);
            assert_eq!(warnings(utc, create, TimeDelta::days(14) + TimeDelta::seconds(1)).len(), 14);
            assert_eq!(warnings(utc, create, TimeDelta::days(1)).len(), 1);
            assert!(warnings(utc, create, TimeDelta::hours(1)).len() <= 1);
            assert!((13..=14).contains(&warnings(utc, create, TimeDelta::days(14) - TimeDelta::minutes(1)).len()));
        }
    }

    #[test]
    fn both_ends_of_the_window_are_exact() {
        let (create, expire) = (time("2027-01-01T09:00:00Z"), time("2027-04-01T09:00:00Z"));
        let found = warnings(Calendar::DEFAULT, create, expire - create);
        assert_eq!(found.first(), Some(&time("2027-03-18T09:00:00Z")));
        assert_eq!(found.last(), Some(&time("2027-03-31T09:00:00Z")));
        assert!(is_due(create, create + TimeDelta::days(14), create));
        assert!(!is_due(create, expire, expire));
    }

    #[test]
    fn daylight_saving_moves_the_instant_and_never_loses_a_day() {
        let berlin = calendar("Europe/Berlin", 2);
        // 02:00 doesn't exist on 2027-03-28, and exists twice on 2027-10-31.
        assert_eq!(berlin.instant(Day::parse("2027-03-28").expect("a day")), time("2027-03-28T01:00:00Z"));
        assert_eq!(berlin.instant(Day::parse("2027-10-31").expect("a day")), time("2027-10-31T00:00:00Z"));
        for start in ["2027-03-01T01:30:00Z", "2027-10-01T00:30:00Z"] {
            let count = warnings(berlin, time(start), TimeDelta::days(30)).len();
            assert!((13..=15).contains(&count), "{count}");
        }
        let days: Vec<Day> =
            berlin.between(time("2027-03-26T00:00:00Z"), time("2027-03-31T00:00:00Z")).map(|(d, _)| d).collect();
        assert_eq!(days.len(), 5);
    }

    #[test]
    fn odd_zones_work() {
        // Samoa left out 2011-12-30; Beirut's day begins at 01:00 when summer time comes.
        let apia = calendar("Pacific/Apia", 9);
        let days: Vec<String> = apia
            .between(time("2011-12-28T00:00:00Z"), time("2012-01-02T00:00:00Z"))
            .map(|(day, _)| day.to_string())
            .collect();
        assert_eq!(days, ["2011-12-28", "2011-12-29", "2011-12-31", "2012-01-01", "2012-01-02"]);
        let beirut = calendar("Asia/Beirut", 0);
        let day = Day::parse("2027-03-28").expect("a day");
        assert_eq!(beirut.day(beirut.instant(day)), day);
        assert!(beirut.end(Day::parse("2027-03-27").expect("a day")) <= beirut.instant(day));
        assert!(TimeZone::parse("europe/berlin").is_err());
        assert!(TimeZone::parse("+01:00").is_err());
    }

    #[test]
    fn only_today_counts() {
        let utc = Calendar::DEFAULT;
        assert_eq!(utc.passed_today(time("2028-02-29T08:59:59.999999Z")), None);
        let passed = utc.passed_today(time("2028-02-29T09:00:00Z")).expect("passed");
        assert_eq!((passed.0.to_string().as_str(), passed.1), ("2028-02-29", time("2028-02-29T09:00:00Z")));
        assert_eq!(utc.next(time("2028-02-29T09:00:00Z")), time("2028-03-01T09:00:00Z"));
        assert_eq!(utc.next(time("2028-02-29T08:00:00Z")), time("2028-02-29T09:00:00Z"));
    }
}
