//! The real binary, its own scheduler and a real mail server, under a clock that jumps. Dates lie in the past, because of
//! what the harness says about libfaketime.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use claviger::domain::{Time, limits};
use claviger::proto::v1::NotificationKind;
use tokio::time::{Instant, sleep};

use super::letters::Letter;
use super::schedule::{Precision, fates, lives, quarters};
use super::world::{Deed, World};
use crate::harness::{
    Engine, FakedTime, Place, Process, Sink, engine::long, faked_postgres, faked_time::FakedPostgres, http,
    process::root_secret, sink::Options,
};

/// A ring comes within half a second, and the clock goes on meanwhile. Overloaded machines take their time.
const LATE: TimeDelta = TimeDelta::minutes(10);
const PATIENCE: Duration = Duration::from_secs(120);
/// Two periods of the watchdog and the look after them.
const SILENCE: Duration = Duration::from_secs(200);
const READ_EVERY: TimeDelta = TimeDelta::days(40);

/// A walk: where it begins, how long it is, and the tenants' calendars.
struct Walk {
    from: Time,
    days: i64,
    zones: &'static [(Tz, u32)],
    /// Whether everything happens that can, or a few keys are made.
    everything: bool,
}

impl Walk {
    /// Summer time begins in Berlin on 31 March 2024.
    fn short() -> Self {
        let from = "2024-03-24T00:00:10Z".parse().expect("an instant");
        Self { from, days: 17, zones: &[(Tz::UTC, 9), (Tz::Europe__Berlin, 11)], everything: false }
    }

    /// Across 29 February 2024, and the begin of summer time in New York and Berlin.
    fn spring() -> Self {
        let from = "2023-12-20T00:00:10Z".parse().expect("an instant");
        let zones = &[(Tz::UTC, 9), (Tz::Europe__Berlin, 2), (Tz::America__New_York, 2)];
        Self { from, days: 120, zones, everything: true }
    }

    /// Across the end of summer time in Berlin and New York, and its begin on Lord Howe.
    fn autumn() -> Self {
        let from = "2024-08-10T00:00:10Z".parse().expect("an instant");
        let zones = &[(Tz::Europe__Berlin, 2), (Tz::America__New_York, 1), (Tz::Australia__Lord_Howe, 2)];
        Self { from, days: 120, zones, everything: true }
    }

    fn to(&self) -> Time {
        self.from + TimeDelta::days(self.days)
    }

    fn deeds(&self, world: &World) -> Vec<(Time, usize, Deed)> {
        let of = |(number, house)| {
            let mut deeds = if self.everything {
                let (from, to) = (self.from, self.to());
                [lives(house, from, to, Precision::Coarse), fates(house, from, to), quarters(house, from, to)].concat()
            } else {
                let at = self.from + TimeDelta::hours(13);
                let lives = [("day", 1), ("window", 14), ("over-window", 15)];
                let keys = |day: i64| {
                    lives.map(|(owner, life)| {
                        (at + TimeDelta::days(day), Deed::Create(owner, Some(TimeDelta::days(life))))
                    })
                };
                [0, 1, 7].into_iter().flat_map(keys).collect()
            };
            // The clock goes on while things are done, so they keep away from warning instants.
            deeds.retain(|(at, _)| *at < self.to() - TimeDelta::hours(1));
            deeds.into_iter().map(move |(at, deed)| (at, number, deed)).collect::<Vec<_>>()
        };
        let mut deeds: Vec<_> = world.houses.iter().enumerate().flat_map(of).collect();
        deeds.sort();
        deeds
    }

    /// Where the clock jumps to and the bell is waited for: two minutes before each warning instant, and right after it.
    fn rings(&self, world: &World) -> Vec<Time> {
        // Half as many jumps for the short walk.
        let around = if self.everything { &[-120, 1][..] } else { &[1] };
        let instants = world.houses.iter().flat_map(|house| house.instants(self.from, self.to()));
        let mut rings: Vec<Time> =
            instants.flat_map(|(_, at)| around.iter().map(move |off| at + TimeDelta::seconds(*off))).collect();
        rings.retain(|ring| *ring > self.from);
        rings.push(self.to());
        rings.sort();
        rings.dedup();
        rings
    }
}

/// The binary's metrics.
struct Gauge(SocketAddr);

impl Gauge {
    /// When the last good run of warnings ended.
    async fn last_run(&self) -> f64 {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = http::send(self.0, request).await;
        let line = answer.body.lines().find(|line| line.starts_with("claviger_warning_run_last_success_timestamp"));
        line.and_then(|line| line.rsplit(' ').next()).expect("the metric").parse().expect("a number")
    }

    /// Waits for a run at `time` or later.
    async fn wait_for(&self, time: Time) {
        let begun = Instant::now();
        while self.last_run().await < time.timestamp_micros() as f64 / 1e6 {
            assert!(begun.elapsed() < PATIENCE, "the scheduler doesn't ring at {time}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sets the clock and waits for a run that begins at `time` or later, and for one more ring. The first run that ends
    /// after a jump may have begun before it; the next one can't have.
    async fn ring(&self, clock: &FakedTime, time: Time) {
        for time in [time, time + limits::WARNING_PERIOD] {
            clock.set(time);
            self.wait_for(time).await;
        }
    }
}

async fn start(clock: &FakedTime, place: &Place, sink: &Sink) -> (Process, Gauge) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let (url, http_address) = (sink.url(), free.to_string());
    let further = [
        ("CLAVIGER_SMTP_URL", url.as_str()),
        ("CLAVIGER_SMTP_INSECURE", "true"),
        ("CLAVIGER_MAIL_FROM", "Claviger <keys@claviger.test>"),
        ("CLAVIGER_HTTP_LISTEN", http_address.as_str()),
        ("CLAVIGER_LOG", "warn"),
    ];
    (clock.start(place, &further).await, Gauge(free))
}

async fn walk(ground: &Ground, walk: &Walk, name: &str) {
    let Ground { clock, place, .. } = ground;
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let begun = Instant::now();
    let (service, gauge) = start(clock, place, &sink).await;
    let mut world = World::new(service.caller(Some(&root_secret(place.folder.path()))).await);
    for (number, (zone, hour)) in walk.zones.iter().enumerate() {
        world.add_house(&format!("house-{number}"), *zone, *hour).await;
    }
    let (rings, mut deeds) = (walk.rings(&world), walk.deeds(&world).into_iter().peekable());
    let (mut jumps, mut read) = (0, walk.from);
    for ring in rings {
        let mut last = None;
        while let Some((at, house, deed)) = deeds.next_if(|(at, ..)| *at <= ring) {
            if last.replace(at) != Some(at) {
                clock.set(at);
            }
            world.act(house, deed).await;
        }
        gauge.ring(clock, ring).await;
        jumps += 1;
        if ring - read > READ_EVERY {
            world.read_notifications().await;
            read = ring;
        }
    }
    assert_eq!(deeds.next(), None, "all is done");
    // Ends are recorded in the half minute.
    gauge.ring(clock, walk.to() + limits::WARNING_PERIOD * 2).await;
    sleep(Duration::from_secs(2)).await;
    world.read_notifications().await;
    world.letters = sink.mails().iter().map(Letter::read).collect();
    let (warnings, mails) = world.check(walk.from, walk.to(), LATE);
    if walk.everything {
        check_quarters(&world, walk);
    }
    assert!(sink.refusals().is_empty());
    assert_eq!(service.terminate().await, Some(0));
    let took = begun.elapsed();
    println!("{name}: {} days, {jumps} jumps, {warnings} warnings, {mails} mails in {took:?}", walk.days);
}

fn check_quarters(world: &World, walk: &Walk) {
    for (house, (zone, hour)) in world.houses.iter().zip(walk.zones) {
        let told = world.notices(house, NotificationKind::KeyExpiring);
        let keys = house.keys.iter().filter(|key| key.owner.contains("/quarter"));
        let counts: Vec<usize> = keys.map(|key| told.iter().filter(|notice| notice.key == key.name).count()).collect();
        println!("{zone} {hour}: {counts:?}");
        let few_and_many = if *zone == Tz::UTC { 14..=14 } else { 13..=15 };
        assert!(counts.len() == 14 && counts.iter().all(|count| few_and_many.contains(count)), "{zone}: {counts:?}");
    }
}

/// A faked clock, and a place for data whose database goes by it.
struct Ground {
    clock: FakedTime,
    place: Place,
    /// Gone with it.
    _postgres: Option<FakedPostgres>,
}

async fn ground(engine: Engine, now: Time) -> Option<Ground> {
    let clock = FakedTime::new(now)?;
    let (place, postgres) = match engine {
        Engine::Sqlite => (engine.place().await?, None),
        Engine::Postgres => {
            let postgres = faked_postgres(&clock).await?;
            (postgres.place().await, Some(postgres))
        }
    };
    Some(Ground { clock, place, _postgres: postgres })
}

async fn on(engine: Engine, days: &Walk) {
    let Some(ground) = ground(engine, days.from).await else { return };
    walk(&ground, days, &format!("{engine:?}")).await;
}

pub async fn the_binary_keeps_the_calendar(engine: Engine) {
    on(engine, &Walk::short()).await;
}

/// 120 days with everything; minutes long.
pub async fn the_binary_keeps_the_calendar_of_a_spring(engine: Engine) {
    if long() {
        on(engine, &Walk::spring()).await;
    }
}

/// The same in autumn.
pub async fn the_binary_keeps_the_calendar_of_an_autumn(engine: Engine) {
    if long() {
        on(engine, &Walk::autumn()).await;
    }
}

/// A machine whose clock was days ahead for a moment, and was set right: the scheduler's next tick lies days ahead then,
/// and it must not be waited for.
pub async fn the_scheduler_survives_a_clock_that_goes_back(engine: Engine) {
    if !long() {
        return;
    }
    let start_time: Time = "2024-03-24T12:00:10Z".parse().expect("an instant");
    let Some(Ground { clock, place, _postgres }) = ground(engine, start_time).await else { return };
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let (service, gauge) = start(&clock, &place, &sink).await;
    let mut world = World::new(service.caller(Some(&root_secret(place.folder.path()))).await);
    let house = world.add_house("acme", Tz::UTC, 9).await;
    world.act(house, Deed::Create("billing", Some(TimeDelta::days(20)))).await;
    let day = |days: i64| start_time + TimeDelta::days(days) - TimeDelta::hours(3) + TimeDelta::minutes(1);
    for days in [8, 13] {
        gauge.ring(&clock, day(days)).await;
    }
    assert_eq!(sink.count(), 2);
    clock.set(day(9));
    let begun = Instant::now();
    while gauge.last_run().await > day(10).timestamp() as f64 {
        assert!(begun.elapsed() < SILENCE, "no run within {SILENCE:?}");
        sleep(Duration::from_millis(500)).await;
    }
    println!("{engine:?}: it rang after {:?}", begun.elapsed());
    let letters: Vec<_> = sink.wait_for(3, SILENCE).await.iter().map(|mail| Letter::read(mail).day).collect();
    assert_eq!(letters, ["2024-04-01", "2024-04-06", "2024-04-02"]);
}
