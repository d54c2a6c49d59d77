//! Days on which the bell didn't ring when it should, and clocks and calendars that move.

use chrono::TimeDelta;
use chrono_tz::Tz;
use claviger::domain::Time;
use claviger::proto::v1;
use prost_types::FieldMask;

use super::walk::Ground;
use super::world::Deed;
use crate::harness::Engine;

/// What a mail says in one line: its day, and the days left of each key.
type Told = Vec<(String, Vec<i64>)>;

fn at(text: &str) -> Time {
    text.parse().expect("an instant")
}

/// One tenant with one subscriber and one key, made on 1 June 2027 at 12:00 UTC for 20 days.
async fn ground(engine: Engine, zone: Tz, hour: u32) -> Option<Ground> {
    let mut ground = Ground::start(engine, at("2027-06-01T12:00:00Z")).await?;
    let house = ground.world.add_house("acme", zone, hour).await;
    ground.world.act(house, Deed::Create("billing", Some(TimeDelta::days(20)))).await;
    Some(ground)
}

/// Rings at this time; answers the mails.
async fn told(ground: &mut Ground, time: &str) -> Told {
    ground.go_to(at(time));
    ground.ring().await;
    take(ground)
}

fn take(ground: &mut Ground) -> Told {
    let letters = std::mem::take(&mut ground.world.letters);
    let told = letters.into_iter().map(|letter| {
        // Names are random, so the keys of a mail come in any order.
        let mut left: Vec<i64> = letter.keys.into_values().collect();
        left.sort_unstable();
        (letter.day, left)
    });
    told.collect()
}

/// Local days to the expiry of the key, for each day on which there was a notification.
async fn notified(ground: &mut Ground) -> Vec<i32> {
    ground.world.read_notifications().await;
    let notices = ground.world.notices(&ground.world.houses[0], v1::NotificationKind::KeyExpiring);
    let mut left: Vec<i32> = notices.iter().map(|notice| notice.days_left).collect();
    left.sort_unstable_by(|one, other| other.cmp(one));
    left
}

fn mail(day: &str, left: i64) -> Told {
    vec![(day.to_owned(), vec![left])]
}

async fn set_calendar(ground: &mut Ground, zone: Tz, hour: i32) {
    ground.world.wake().await;
    let tenant = v1::Tenant {
        name: "tenants/acme".to_owned(),
        time_zone: zone.name().to_owned(),
        warning_hour: Some(hour),
        ..Default::default()
    };
    let update_mask = Some(FieldMask { paths: vec!["time_zone".to_owned(), "warning_hour".to_owned()] });
    let request = v1::UpdateTenantRequest { tenant: Some(tenant), update_mask, expected_revision: 0 };
    ground.world.root.tenants.update_tenant(request).await.expect("updated");
}

async fn run_now(ground: &mut Ground) -> v1::RunWarningsResponse {
    ground.world.wake().await;
    let request = v1::RunWarningsRequest { tenant: "tenants/acme".to_owned() };
    ground.world.root.notifications.run_warnings(request).await.expect("a report").into_inner()
}

pub async fn what_was_missed_is_made_up_once(engine: Engine) {
    let Some(mut ground) = ground(engine, Tz::UTC, 9).await else { return };
    assert_eq!(told(&mut ground, "2027-06-08T09:00:00Z").await, mail("2027-06-08", 13));
    assert_eq!(told(&mut ground, "2027-06-09T17:30:00Z").await, mail("2027-06-09", 12), "hours late, the same day");
    assert_eq!(told(&mut ground, "2027-06-09T18:00:00Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-13T08:59:59Z").await, [], "three days are over");
    assert_eq!(told(&mut ground, "2027-06-13T09:00:00Z").await, mail("2027-06-13", 8));
    assert_eq!(told(&mut ground, "2027-06-17T14:00:00Z").await, mail("2027-06-17", 4), "one, not four");
    assert_eq!(told(&mut ground, "2027-06-17T14:01:00Z").await, []);
    ground.app = ground.app.restart().await;
    assert_eq!(told(&mut ground, "2027-06-17T14:02:00Z").await, [], "a restart sends nothing again");
    assert_eq!(told(&mut ground, "2027-06-18T09:00:00Z").await, mail("2027-06-18", 3));
    ground.world.root = ground.app.root().await;
    assert_eq!(notified(&mut ground).await, [13, 12, 8, 4, 3]);
    assert_eq!(told(&mut ground, "2027-06-21T12:00:00Z").await, [], "it has expired since the hour");
}

pub async fn a_day_ends_at_its_midnight(engine: Engine) {
    let Some(mut ground) = ground(engine, Tz::Europe__Berlin, 9).await else { return };
    assert_eq!(told(&mut ground, "2027-06-08T21:59:59.999999Z").await, mail("2027-06-08", 13), "23:59 in Berlin");
    assert_eq!(told(&mut ground, "2027-06-08T22:00:00Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-08T22:01:00Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-09T22:00:00Z").await, [], "9 June is over");
    assert_eq!(told(&mut ground, "2027-06-10T06:59:59.999999Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-10T07:00:00Z").await, mail("2027-06-10", 11));
    assert_eq!(notified(&mut ground).await, [13, 11]);
}

pub async fn a_clock_that_goes_back_sends_nothing_again(engine: Engine) {
    let Some(mut ground) = ground(engine, Tz::UTC, 9).await else { return };
    assert_eq!(told(&mut ground, "2027-06-08T09:00:00Z").await, mail("2027-06-08", 13));
    assert_eq!(told(&mut ground, "2027-06-09T09:00:00Z").await, mail("2027-06-09", 12));
    for time in ["2027-06-08T10:00:00Z", "2027-06-09T08:00:00Z", "2027-06-09T09:00:00Z", "2027-06-09T10:00:00Z"] {
        assert_eq!(told(&mut ground, time).await, [], "{time} again");
    }
    assert_eq!(told(&mut ground, "2027-06-10T09:00:00Z").await, mail("2027-06-10", 11));
    // A clock that was days ahead for a moment: the look that was noted then isn't waited for.
    assert_eq!(told(&mut ground, "2027-06-15T09:00:00Z").await, mail("2027-06-15", 6));
    assert_eq!(told(&mut ground, "2027-06-10T10:00:00Z").await, []);
    for (day, left) in [("2027-06-11", 10), ("2027-06-12", 9), ("2027-06-13", 8), ("2027-06-14", 7)] {
        assert_eq!(told(&mut ground, &format!("{day}T09:00:00Z")).await, mail(day, left), "set right again");
    }
    assert_eq!(told(&mut ground, "2027-06-15T09:00:00Z").await, [], "that day has its mail");
    assert_eq!(told(&mut ground, "2027-06-16T09:00:00Z").await, mail("2027-06-16", 5));
    assert_eq!(notified(&mut ground).await, [13, 12, 11, 10, 9, 8, 7, 6, 5]);
}

pub async fn a_run_before_the_hour_is_the_days_run(engine: Engine) {
    let Some(mut ground) = ground(engine, Tz::UTC, 9).await else { return };
    ground.go_to(at("2027-06-08T06:00:00Z"));
    let report = run_now(&mut ground).await;
    assert_eq!((report.planned, report.claimed, report.sent, report.left), (1, 1, 1, 0), "{report:?}");
    ground.take_mails();
    assert_eq!(take(&mut ground), mail("2027-06-08", 13));
    let again = run_now(&mut ground).await;
    assert_eq!(again, v1::RunWarningsResponse::default(), "it is done");
    ground.world.act(0, Deed::Create("late", Some(TimeDelta::days(5)))).await;
    for time in ["2027-06-08T08:59:00Z", "2027-06-08T09:00:00Z", "2027-06-08T12:00:00Z", "2027-06-08T23:59:59Z"] {
        assert_eq!(told(&mut ground, time).await, [], "{time}");
    }
    assert_eq!(notified(&mut ground).await, [13, 5], "in-app, the new key is told at its hour");
    assert_eq!(told(&mut ground, "2027-06-09T09:00:00Z").await, [("2027-06-09".to_owned(), vec![4, 12])]);
}

pub async fn a_new_calendar_counts_at_once(engine: Engine) {
    let Some(mut ground) = ground(engine, Tz::UTC, 9).await else { return };
    assert_eq!(told(&mut ground, "2027-06-08T09:00:00Z").await, mail("2027-06-08", 13));
    set_calendar(&mut ground, Tz::UTC, 15).await;
    assert_eq!(told(&mut ground, "2027-06-08T15:00:00Z").await, [], "the day has its mail");
    assert_eq!(told(&mut ground, "2027-06-09T09:00:00Z").await, [], "15:00 isn't yet");
    set_calendar(&mut ground, Tz::UTC, 8).await;
    assert_eq!(told(&mut ground, "2027-06-09T09:01:00Z").await, mail("2027-06-09", 12), "8:00 is over");
    assert_eq!(told(&mut ground, "2027-06-09T15:00:00Z").await, []);

    // 09:00 UTC is 23:00 on Kiritimati and 22:00 of the day before on Midway.
    assert_eq!(told(&mut ground, "2027-06-10T08:00:00Z").await, mail("2027-06-10", 11));
    set_calendar(&mut ground, Tz::Pacific__Kiritimati, 9).await;
    assert_eq!(told(&mut ground, "2027-06-10T09:00:00Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-10T18:59:59Z").await, []);
    assert_eq!(told(&mut ground, "2027-06-10T19:00:00Z").await, mail("2027-06-11", 11), "it expires on the 22nd there");
    set_calendar(&mut ground, Tz::Pacific__Midway, 9).await;
    for time in ["2027-06-10T20:00:00Z", "2027-06-11T08:00:00Z", "2027-06-11T20:00:00Z"] {
        assert_eq!(told(&mut ground, time).await, [], "{time}: 10 and 11 June have their mails");
    }
    assert_eq!(told(&mut ground, "2027-06-12T20:00:00Z").await, mail("2027-06-12", 9));
}
