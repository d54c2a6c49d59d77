//! Connections: how many there are, what becomes of one that stands still, and a server that isn't there.

use std::time::Duration;

use chrono::TimeDelta;
use claviger::proto::v1::DeliveryState as State;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::harness::sink::Options;
use crate::harness::{Engine, Sink, TestApp};
use crate::mail_rig::{
    counts, deliveries, expect_one_each, hour, people, ring, ring_at, run_warnings, settings, start, states, subscribe,
};

/// What an attempt may take, and what a busy machine adds.
const ATTEMPT: Duration = Duration::from_secs(30);
const SLACK: Duration = Duration::from_secs(8);

/// Side by side, because they wait for most of the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_stands_still_harms_no_other_mail() {
    tokio::join!(
        an_attempt_that_stands_still_is_over_in_time_and_its_connection_never_used_again(),
        slow_recipients_keep_nobody_else_waiting_and_are_given_up_at_the_end_of_the_day(),
    );
}

async fn an_attempt_that_stands_still_is_over_in_time_and_its_connection_never_used_again() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(Engine::Sqlite, &sink, &[("CLAVIGER_SMTP_CONNECTIONS", "1")]).await else { return };
    let mut root = app.root().await;
    let slow = "stall-dot@acme.test";
    let good = people(5);
    let addresses: Vec<&str> = good.iter().map(String::as_str).chain([slow]).collect();
    let acme = subscribe(&mut root, "acme", &addresses).await;
    let bolt = subscribe(&mut root, "bolt", &["ada@bolt.test", "bob@bolt.test"]).await;
    app.advance(TimeDelta::hours(1));
    let begun = Instant::now();
    run_warnings(&mut root, &acme).await.expect("a report");
    // The scheduler's bell may have had some of them.
    ring(&app).await;
    let took = begun.elapsed();
    assert!(took < ATTEMPT + SLACK, "{took:?}");
    run_warnings(&mut root, &bolt).await.expect("a report");

    let refusals = sink.refusals();
    let [stalled] = refusals.as_slice() else { panic!("{refusals:?}") };
    let later: Vec<_> = sink.mails().into_iter().filter(|mail| mail.time > stalled.time).collect();
    assert!(later.len() >= 2, "the second tenant's at least");
    assert!(later.iter().all(|mail| mail.peer != stalled.peer), "on another connection");
    let mut everybody = good;
    everybody.extend(["ada@bolt.test".to_owned(), "bob@bolt.test".to_owned()]);
    expect_one_each(&sink, &everybody);
    let stalled = &deliveries(&mut root, &acme).await.into_iter().find(|one| one.recipient == slow).expect("one");
    assert_eq!((stalled.state(), stalled.attempts), (State::Pending, 1));
    assert!(!stalled.answer.is_empty());
}

async fn slow_recipients_keep_nobody_else_waiting_and_are_given_up_at_the_end_of_the_day() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(Engine::Sqlite, &sink, &[]).await else { return };
    let mut root = app.root().await;
    let slow = ["stall-data@acme.test", "stall-dot@acme.test", "stall-dot.2@acme.test", "trickle@acme.test"];
    let good = people(30);
    let addresses: Vec<&str> = good.iter().map(String::as_str).chain(slow).collect();
    let tenant = subscribe(&mut root, "acme", &addresses).await;
    let begun = Instant::now();
    let ringing = ring_at(&app, hour(1));
    let served = async {
        sink.wait_for(good.len(), Duration::from_secs(20)).await;
        begun.elapsed()
    };
    let (_, served) = tokio::join!(ringing, served);
    let took = begun.elapsed();
    assert!(took < ATTEMPT + SLACK, "{took:?}");
    assert!(served < Duration::from_secs(20), "{served:?}");
    expect_one_each(&sink, &good);
    for address in slow {
        assert_eq!(states(&mut root, &tenant, address).await, [State::Pending]);
    }
    ring_at(&app, hour(17)).await;
    for address in slow {
        assert_eq!(states(&mut root, &tenant, address).await, [State::GivenUp], "nothing is tried after the day");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_connections_than_allowed() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(Engine::Sqlite, &sink, &[("CLAVIGER_SMTP_CONNECTIONS", "3")]).await else { return };
    let mut root = app.root().await;
    let (mut everybody, mut tenants) = (Vec::new(), Vec::new());
    for id in ["acme", "bolt", "cord", "dune"] {
        let addresses: Vec<String> = (0..50).map(|number| format!("person-{number}@{id}.test")).collect();
        tenants.push(subscribe(&mut root, id, &addresses).await);
        everybody.extend(addresses);
    }
    app.advance(TimeDelta::hours(1));
    let running = tenants.iter().map(|tenant| {
        let mut root = root.clone();
        async move { run_warnings(&mut root, tenant).await.expect("a report") }
    });
    let (_, _) = tokio::join!(ring(&app), join_all(running));
    expect_one_each(&sink, &everybody);
    assert_eq!(sink.most_connections(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_left_alone_after_a_few_tries() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("smtp://{}", free.local_addr().expect("an address"));
    drop(free);
    let Some(app) = TestApp::start_with(Engine::Sqlite, &settings(&url, &[])).await else { return };
    let mut root = app.root().await;
    let tenant = subscribe(&mut root, "acme", &people(500)).await;
    let begun = Instant::now();
    let report = ring_at(&app, hour(1)).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(report.left, 500, "{report:?}");
    let tried = |deliveries: &[claviger::proto::v1::Delivery]| deliveries.iter().filter(|one| one.attempts > 0).count();
    let listed = deliveries(&mut root, &tenant).await;
    assert_eq!((listed.len(), listed.iter().all(|one| one.state() == State::Pending)), (500, true));
    assert!((16..24).contains(&tried(&listed)), "{}", tried(&listed));
    assert!(listed.iter().filter(|one| one.attempts > 0).all(|one| !one.answer.is_empty()));
    // The next minute begins with those who weren't tried.
    ring_at(&app, hour(1) + TimeDelta::minutes(1)).await;
    let listed = deliveries(&mut root, &tenant).await;
    assert!((32..48).contains(&tried(&listed)), "{}", tried(&listed));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_close_the_conversation_starve_nobody() {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(Engine::Sqlite, &sink, &[]).await else { return };
    let mut root = app.root().await;
    let bad: Vec<String> = (0..60).map(|number| format!("code-421.{number}@acme.test")).collect();
    let good = people(20);
    let addresses: Vec<String> = bad.iter().chain(&good).cloned().collect();
    subscribe(&mut root, "acme", &addresses).await;
    for minutes in 0..30 {
        ring_at(&app, hour(1) + TimeDelta::minutes(minutes)).await;
        if counts(&sink).len() == good.len() {
            break;
        }
    }
    expect_one_each(&sink, &good);
}
