//! Days walked in this process with a manual clock.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use claviger::clock::Clock;
use claviger::domain::Time;
use claviger::notify::Report;
use claviger::proto::v1::NotificationKind;
use tempfile::TempDir;
use tokio::time::sleep;

use super::letters;
use super::schedule::{self, Precision, edges, fates, lives};
use super::world::{Deed, World};
use crate::harness::{Engine, TestApp, engine::long};

/// Long before the first 90 days are over, after which notifications aren't kept.
const READ_EVERY: TimeDelta = TimeDelta::days(40);

/// A service with a manual clock that writes its mails into a folder.
pub struct Ground {
    pub app: TestApp,
    pub world: World,
    mails: TempDir,
}

/// How closely the clock is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// The microsecond before each warning instant, the instant, and an hour later.
    AroundTheHour,
    /// Besides, every full hour.
    EveryHour,
}

impl Ground {
    pub async fn start(engine: Engine, now: Time) -> Option<Self> {
        let mails = tempfile::tempdir().expect("a folder");
        let url = format!("file:{}", mails.path().display());
        let further = [("CLAVIGER_SMTP_URL", url.as_str()), ("CLAVIGER_MAIL_FROM", "Claviger <keys@claviger.test>")];
        let app = TestApp::start_at_with(engine.place().await?, Clock::manual(now), &further).await;
        let world = World::new(app.root().await);
        Some(Self { app, world, mails })
    }

    /// Moves the clock, backwards too.
    pub fn go_to(&self, time: Time) {
        self.app.advance(time - self.app.clock.now());
    }

    /// Rings, and takes the mails. The service's own bell rings too, whenever it does.
    pub async fn ring(&mut self) -> Report {
        let report = loop {
            if let Some(outcome) = self.app.running.warnings().ring().await {
                break outcome.expect("a run");
            }
            sleep(Duration::from_millis(5)).await;
        };
        self.app.running.authority().record_expiry().await.expect("recorded");
        self.take_mails();
        report
    }

    /// Takes the mails that were written.
    pub fn take_mails(&mut self) {
        self.world.letters.extend(letters::take_from(self.mails.path()));
    }

    /// Does what is due at its time, and rings at each step.
    async fn walk(&mut self, from: Time, to: Time, steps: Steps, mut deeds: Vec<(Time, usize, Deed)>) {
        deeds.sort();
        let mut deeds = deeds.into_iter().peekable();
        let mut read = from;
        for ring in self.rings(from, to, steps) {
            while let Some((at, house, deed)) = deeds.next_if(|(at, ..)| *at <= ring) {
                self.go_to(at);
                self.world.act(house, deed).await;
            }
            self.go_to(ring);
            self.ring().await;
            if ring - read > READ_EVERY {
                self.world.read_notifications().await;
                read = ring;
            }
        }
        assert_eq!(deeds.next(), None, "all is done");
        self.world.read_notifications().await;
    }

    fn rings(&self, from: Time, to: Time, steps: Steps) -> Vec<Time> {
        let around = [TimeDelta::microseconds(-1), TimeDelta::zero(), TimeDelta::hours(1)];
        let instants = self.world.houses.iter().flat_map(|house| house.instants(from, to));
        let mut rings: Vec<Time> = instants.flat_map(|(_, at)| around.map(|off| at + off)).collect();
        if steps == Steps::EveryHour {
            rings.extend((0..(to - from).num_hours()).map(|hour| from + TimeDelta::hours(hour)));
        }
        rings.retain(|ring| (from..to).contains(ring));
        rings.push(to);
        rings.sort();
        rings.dedup();
        rings
    }
}

/// Walks so many days with a tenant in each of these zones, and compares everything with the oracle.
async fn walk(engine: Engine, from: &str, days: i64, zones: &[(Tz, u32)], steps: Steps) -> Option<Ground> {
    let from: Time = from.parse().expect("an instant");
    let to = from + TimeDelta::days(days);
    let mut ground = Ground::start(engine, from).await?;
    let mut deeds = Vec::new();
    for (number, (zone, hour)) in zones.iter().enumerate() {
        let house = ground.world.add_house(&format!("house-{number}"), *zone, *hour).await;
        let book = &ground.world.houses[house];
        let all = [lives(book, from, to, Precision::Exact), edges(book, from, to), fates(book, from, to)];
        let all = all.into_iter().chain([schedule::quarters(book, from, to)]);
        deeds.extend(all.flatten().map(|(at, deed)| (at, house, deed)));
    }
    deeds.retain(|(at, ..)| *at < to);
    ground.walk(from, to, steps, deeds).await;
    let (warnings, mails) = ground.world.check(from, to, TimeDelta::zero());
    println!("{engine:?} {from} {days} days, {} tenants: {warnings} warnings, {mails} mails", zones.len());
    Some(ground)
}

/// How many warnings each 90-day key got.
fn quarters(ground: &Ground, house: usize) -> BTreeSet<usize> {
    let house = &ground.world.houses[house];
    let told = ground.world.notices(house, NotificationKind::KeyExpiring);
    let keys = house.keys.iter().filter(|key| key.owner.contains("/quarter"));
    keys.map(|key| told.iter().filter(|notice| notice.key == key.name).count()).collect()
}

/// Winter and spring: 29 February 2028; summer time begins in New York and Berlin and ends on Lord Howe.
pub async fn a_leap_day_and_the_spring(engine: Engine) {
    let mut zones =
        vec![(Tz::UTC, 9, &[14][..]), (Tz::Europe__Berlin, 2, &[14, 15]), (Tz::Australia__Lord_Howe, 2, &[13, 14])];
    if long() {
        zones.extend([(Tz::Europe__Berlin, 3, &[14, 15][..]), (Tz::America__New_York, 2, &[14, 15])]);
        zones.extend([(Tz::Asia__Kathmandu, 0, &[14][..]), (Tz::Pacific__Apia, 23, &[14])]);
    }
    walk_of_quarters(engine, "2027-12-20T00:00:00.25Z", &zones).await;
}

/// Autumn: summer time ends in Berlin and New York and begins on Lord Howe.
pub async fn the_autumn(engine: Engine) {
    let mut zones = vec![(Tz::Europe__Berlin, 3, &[13, 14][..]), (Tz::America__New_York, 1, &[13, 14])];
    if long() {
        zones.extend([(Tz::Europe__Berlin, 2, &[13, 14][..]), (Tz::America__New_York, 2, &[13, 14])]);
        zones.extend([(Tz::Asia__Kathmandu, 9, &[14][..]), (Tz::Pacific__Apia, 0, &[14]), (Tz::UTC, 0, &[14])]);
        zones.push((Tz::Australia__Lord_Howe, 2, &[14]));
    }
    walk_of_quarters(engine, "2028-07-20T00:00:00Z", &zones).await;
}

/// Walks 120 days; `zones` say what numbers of warnings 90-day keys get.
async fn walk_of_quarters(engine: Engine, from: &str, zones: &[(Tz, u32, &[usize])]) {
    let calendars: Vec<_> = zones.iter().map(|(zone, hour, _)| (*zone, *hour)).collect();
    let steps = if long() { Steps::EveryHour } else { Steps::AroundTheHour };
    let Some(ground) = walk(engine, from, 120, &calendars, steps).await else { return };
    for (house, (zone, hour, expected)) in zones.iter().enumerate() {
        let counts = Vec::from_iter(quarters(&ground, house));
        assert_eq!(counts, *expected, "{zone} {hour}");
    }
}

/// Samoa left out 30 December 2011.
pub async fn the_day_that_samoa_left_out(engine: Engine) {
    let zones = [(Tz::Pacific__Apia, 9), (Tz::Pacific__Apia, 0)];
    walk(engine, "2011-12-15T00:00:00Z", 25, &zones, Steps::AroundTheHour).await;
}
