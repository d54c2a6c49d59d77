//! What goes on from day to day: refused addresses, and a mail server that is away.

use chrono::TimeDelta;
use claviger::proto::v1::{self, DeliveryState as State, NotificationKind};

use crate::harness::sink::Options;
use crate::harness::{Client, Engine, Sink, TestApp};
use crate::mail_rig::{
    counts, deliveries, hour, member, refused, ring_at, run_warnings, start, start_at, states, subscribe, write_members,
};

on_both_engines!(
    an_address_refused_on_three_days_gets_no_mail_until_its_group_is_written,
    a_good_day_forgives_refusals,
    three_days_without_a_mail_server_end_in_one_current_mail,
    a_run_by_hand_after_midnight_leaves_yesterdays_mail_alone,
);

const BAD: &str = "code-550@acme.test";
const GOOD: &str = "ada@acme.test";

/// The warning of the `day`-th day, from 1 on.
async fn nine(app: &TestApp, day: i64) {
    ring_at(app, hour(24 * (day - 1) + 1)).await;
}

async fn an_address_refused_on_three_days_gets_no_mail_until_its_group_is_written(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(engine, &sink, &[]).await else { return };
    let mut root = app.root().await;
    let tenant = subscribe(&mut root, "acme", &[BAD, GOOD]).await;
    let group = format!("{tenant}/userGroups/people-0");
    for day in 1..=3 {
        nine(&app, day).await;
        assert_eq!(refused(&sink, BAD), usize::try_from(day).expect("a number"), "day {day}");
        // Not again on this day.
        ring_at(&app, hour(24 * (day - 1) + 5)).await;
        assert_eq!(refused(&sink, BAD), usize::try_from(day).expect("a number"), "day {day}");
    }
    for day in 4..=5 {
        nine(&app, day).await;
        rename(&mut root, &group).await;
    }
    assert_eq!(refused(&sink, BAD), 3, "no mail on the fourth day and later");
    assert_eq!(states(&mut root, &tenant, BAD).await, [State::Refused; 3]);
    assert!(member(&mut root, &group, BAD).await.refusal.contains("550"), "one sees why");
    assert_eq!(counts(&sink), [(GOOD.to_owned(), 5)].into(), "the others are served");

    write_members(&mut root, &group, &[BAD, GOOD]).await;
    assert_eq!(member(&mut root, &group, BAD).await.refusal, "", "forgiven");
    nine(&app, 6).await;
    assert_eq!(refused(&sink, BAD), 4, "it is tried again");
    assert_eq!(counts(&sink), [(GOOD.to_owned(), 6)].into());
}

async fn rename(root: &mut Client, group: &str) {
    let user_group = Some(v1::UserGroup { name: group.to_owned(), display_name: "x".to_owned(), ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group, update_mask, expected_revision: 0 };
    root.user_groups.update_user_group(request).await.expect("updated");
}

async fn a_good_day_forgives_refusals(engine: Engine) {
    let refusing = Options { everybody: Some("code-550".to_owned()), ..Options::default() };
    let Some(bad) = Sink::start(refusing).await else { return };
    let Some(good) = Sink::start(Options::default()).await else { return };
    let Some(mut app) = start(engine, &bad, &[]).await else { return };
    let tenant = subscribe(&mut app.root().await, "acme", &[GOOD]).await;
    let group = format!("{tenant}/userGroups/people-0");
    for (day, sink) in (1..).zip([&bad, &bad, &good, &bad, &bad, &bad, &good]) {
        app.running.stop().await;
        app = start_at(app.place, app.clock, sink, &[]).await;
        nine(&app, day).await;
        let member = member(&mut app.root().await, &group, GOOD).await;
        assert_eq!(member.refusal.contains("550"), day != 3, "day {day}: {member:?}");
        assert_eq!(member.refuse_time.is_some(), day != 3, "day {day}: {member:?}");
    }
    assert_eq!((refused(&bad, GOOD), good.count()), (5, 1), "after three in a row there is no mail on the seventh day");
    let mut root = app.root().await;
    let (no, yes) = (State::Refused, State::Sent);
    assert_eq!(states(&mut root, &tenant, GOOD).await, [no, no, yes, no, no, no]);
}

async fn three_days_without_a_mail_server_end_in_one_current_mail(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(engine, &sink, &[]).await else { return };
    let mut root = app.root().await;
    let addresses = [GOOD, "bob@acme.test", "eve@acme.test"];
    let tenant = subscribe(&mut root, "acme", &addresses).await;
    sink.go_away();
    for hours in 1..(24 * 3) {
        ring_at(&app, hour(hours)).await;
    }
    assert_eq!(sink.count(), 0);
    sink.come_back();
    for hours in (24 * 3)..(24 * 4) {
        ring_at(&app, hour(hours)).await;
    }
    let mails = sink.mails();
    assert_eq!(mails.len(), addresses.len(), "one mail each, no burst");
    for mail in mails {
        // 2027-01-15 08:00 and 13 days; the mail is of the 18th.
        assert!(mail.message_id().starts_with("2027-01-18."), "{}", mail.message_id());
        assert!(mail.part("text/plain").contains("in 10 days"), "{}", mail.part("text/plain"));
        assert!(mail.subject().contains("10 days"), "{}", mail.subject());
    }
    for address in addresses {
        let (given_up, sent) = (State::GivenUp, State::Sent);
        assert_eq!(states(&mut root, &tenant, address).await, [given_up, given_up, given_up, sent]);
        let refusal = member(&mut root, &format!("{tenant}/userGroups/people-0"), address).await.refusal;
        assert_eq!(refusal, "", "an absent server refuses nobody");
    }
    let days_left = expiring(&mut root, &tenant).await;
    assert_eq!(days_left, [13, 12, 11, 10], "in-app, no day is left out");
    let away = deliveries(&mut root, &tenant).await.into_iter().filter(|one| one.state() == State::GivenUp);
    assert!(away.clone().all(|delivery| delivery.answer.contains("421")), "{:?}", away.collect::<Vec<_>>());
    // The clock has gone past the last retry of every day.
    assert_eq!(app.clock.now() - hour(0), TimeDelta::hours(95));
}

async fn a_run_by_hand_after_midnight_leaves_yesterdays_mail_alone(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(engine, &sink, &[]).await else { return };
    let mut root = app.root().await;
    let tenant = subscribe(&mut root, "acme", &[GOOD]).await;
    sink.go_away();
    nine(&app, 1).await;
    sink.come_back();
    app.advance(TimeDelta::hours(16));
    run_warnings(&mut root, &tenant).await.expect("a report");
    ring_at(&app, app.clock.now()).await;
    assert_eq!(states(&mut root, &tenant, GOOD).await, [State::GivenUp, State::Sent]);
    let mails = sink.mails();
    assert!(matches!(&mails[..], [mail] if mail.message_id().starts_with("2027-01-16.")), "{mails:?}");
}

/// The days left that notifications tell, the oldest first.
async fn expiring(root: &mut Client, tenant: &str) -> Vec<i32> {
    let request = v1::ListNotificationsRequest {
        parent: tenant.to_owned(),
        kind: NotificationKind::KeyExpiring.into(),
        page_size: 500,
        ..Default::default()
    };
    let listed = root.notifications.list_notifications(request).await.expect("a page").into_inner().notifications;
    listed.iter().rev().map(|notification| notification.days_left).collect()
}
