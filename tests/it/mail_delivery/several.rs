//! Several replicas on one PostgreSQL: one mail each, whoever rings.

use std::time::Duration;

use chrono::{TimeDelta, Timelike};
use claviger::app::{self, Running};
use claviger::clock::Clock;
use claviger::proto::v1;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use tokio::time::sleep;

use crate::harness::app::start_of_time;
use crate::harness::sink::Options;
use crate::harness::{Client, FakedTime, Process, Sink};
use crate::mail_rig::{create_expiring_key, expect_one_each, people, run_warnings, settings, subscribe};
use crate::rig::{Replicas, database};

const SUBSCRIBERS: usize = 300;
const BELL: Duration = Duration::from_secs(60);

/// The clocks differ by less than a claim lasts longer than an attempt, which is as far as claims by themselves go.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_ring_at_once_send_one_mail_each() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(replicas) = Replicas::new(3).await else { return };
    let (url, pepper) = (sink.url(), replicas.pepper_file());
    let further = [("CLAVIGER_PEPPER_FILE", pepper.to_str().expect("UTF-8"))];
    let settings = settings(&url, &further);
    let clocks = [-10, 0, 10].map(|seconds| Clock::manual(start_of_time() + TimeDelta::seconds(seconds)));
    let mut running = Vec::new();
    for (place, clock) in replicas.places.iter().zip(&clocks) {
        let settings = crate::harness::app::settings(place, &settings);
        running.push(app::start(&settings, clock.clone()).await.expect("it starts"));
    }
    let mut root = Client::connect(running[0].address(), Some(&replicas.root_secret())).await;
    let (one, other) = (people(SUBSCRIBERS), ["ada@bolt.test", "bob@bolt.test"]);
    subscribe(&mut root, "acme", &one).await;
    subscribe(&mut root, "bolt", &other).await;
    for clock in &clocks {
        clock.advance(TimeDelta::hours(1) + TimeDelta::minutes(1));
    }
    for _ in 0..3 {
        join_all(running.iter().map(|replica| replica.warnings().ring())).await;
    }
    finish(&running).await;
    let everybody: Vec<String> = one.into_iter().chain(other.map(str::to_owned)).collect();
    expect_one_each(&sink, &everybody);

    // By hand, with one clock: what one has planned is due to all at once.
    for (clock, seconds) in clocks.iter().zip([20, 10, 0]) {
        clock.advance(TimeDelta::seconds(seconds));
    }
    let more: Vec<String> = (0..SUBSCRIBERS).map(|number| format!("person-{number}@cord.test")).collect();
    let cord = subscribe(&mut root, "cord", &more).await;
    let secret = replicas.root_secret();
    let asked = running.iter().map(|replica| {
        let (address, secret, cord) = (replica.address(), &secret, &cord);
        async move { run_warnings(&mut Client::connect(address, Some(secret)).await, cord).await.expect("a report") }
    });
    let reports = join_all(asked).await;
    // The schedulers' bells may have had some of them.
    assert!(reports.iter().filter(|report| report.sent > 0).count() > 1, "several took part: {reports:?}");
    finish(&running).await;
    expect_one_each(&sink, &everybody.into_iter().chain(more).collect::<Vec<_>>());
    for replica in running {
        replica.stop().await;
    }
}

/// Until nothing is left.
async fn finish(running: &[Running]) {
    for replica in running {
        while replica.warnings().ring().await.is_none_or(|report| report.expect("a run").left > 0) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The clocks of the machines differ by minutes; they all follow the database's.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_clocks_are_wrong_send_one_mail_each() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(replicas) = Replicas::new(3).await else { return };
    let everybody = people(SUBSCRIBERS);
    let first = Process::start_command(replicas.command(0)).await;
    let secret = replicas.root_secret();
    make_due(&mut first.caller(Some(&secret)).await, &everybody).await;
    first.terminate().await;
    // Behind the service's back, because what is younger than today's warning isn't due.
    let sql = "UPDATE api_key SET create_time = create_time - interval '2 days'";
    database(&replicas.places[0]).await.execute_unprepared(sql).await.expect("older");

    let (url, pepper) = (sink.url(), replicas.pepper_file());
    let further = [("CLAVIGER_PEPPER_FILE", pepper.to_str().expect("UTF-8")), ("CLAVIGER_LOG", "warn")];
    let further = settings(&url, &further);
    // The bells ring at the full minute of each clock: all at once, a few seconds after the start.
    let now = Clock::system().now();
    let now = now + TimeDelta::seconds(52 - i64::from(now.second()));
    let mut times = Vec::new();
    for minutes in [-5, 0, 5] {
        let Some(time) = FakedTime::new(now + TimeDelta::minutes(minutes)) else { return };
        times.push(time);
    }
    let starting = replicas.places.iter().zip(&times).map(|(place, time)| time.start(place, &further));
    let running = join_all(starting).await;
    sink.wait_for(SUBSCRIBERS, BELL + Duration::from_secs(30)).await;
    for replica in running {
        assert_eq!(replica.terminate().await, Some(0));
    }
    expect_one_each(&sink, &everybody);
}

/// A tenant whose day's warning instant has passed, and isn't about to end.
async fn make_due(root: &mut Client, addresses: &[String]) {
    let noon = 12 - i64::from(Clock::system().now().hour());
    // The sign of these names is POSIX's: the other way round.
    let time_zone = format!("Etc/GMT{:+}", -noon);
    let time_zone = if noon == 0 { "UTC".to_owned() } else { time_zone };
    let tenant = v1::Tenant { display_name: "acme".to_owned(), time_zone, warning_hour: Some(0), ..Default::default() };
    let request = v1::CreateTenantRequest { tenant_id: "acme".to_owned(), tenant: Some(tenant) };
    root.tenants.create_tenant(request).await.expect("a tenant");
    let owner = root.create_service_user("tenants/acme", "billing").await;
    create_expiring_key(root, &owner, TimeDelta::days(10)).await;
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    root.create_user_group("tenants/acme", "people", &addresses).await;
}
