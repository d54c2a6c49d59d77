//! RunWarnings: today's mails now, once each, with a report that adds up.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::rig::eventually;

on_both_engines!(
    a_run_reports_what_it_did_and_the_next_finds_nothing_to_do,
    what_comes_after_a_run_is_told_next,
    a_run_that_may_not_send_says_so,
    runs_at_once_send_each_mail_once,
);

async fn a_run_reports_what_it_did_and_the_next_finds_nothing_to_do(engine: Engine) {
    between_bells().await;
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    for (name, days) in [("one", 1), ("two", 2), ("fourteen", 14), ("fifteen", 15)] {
        key(&mut root, &owner, name, days * DAY).await;
    }
    let addresses = ["a@example.com", "b@example.com", "code-550@example.com", "code-450@example.com"];
    root.create_user_group(&tenant, "ops", &addresses).await;
    let first = run(&mut root, &tenant).await;
    let expected = v1::RunWarningsResponse {
        planned: 3,
        claimed: 4,
        sent: 2,
        refused: 1,
        retried: 1,
        left: 1,
        ..Default::default()
    };
    assert_eq!(first, expected);
    assert_eq!(recipients(&sink), ["a@example.com", "b@example.com"]);
    let again = run(&mut root, &tenant).await;
    assert_eq!(again, v1::RunWarningsResponse { left: 1, ..Default::default() }, "what is left waits for its time");
    app.advance(TimeDelta::minutes(2));
    let later = run(&mut root, &tenant).await;
    assert_eq!(later, v1::RunWarningsResponse { claimed: 1, retried: 1, left: 1, ..Default::default() });

    // The hour comes, and finds everything done.
    go_to(&app, time("2027-01-15T09:00:00Z"));
    ring(&app).await;
    go_to(&app, time("2027-01-15T23:59:00Z"));
    ring(&app).await;
    assert_eq!(recipients(&sink), ["a@example.com", "b@example.com"], "one mail a day");
    assert_eq!(told(&mut root, &tenant, NotificationKind::KeyExpiring).await.len(), 3, "one warning a key and day");
    let quiet = root.create_tenant("quiet").await;
    assert_eq!(run(&mut root, &quiet).await, v1::RunWarningsResponse::default(), "nothing to warn about");
}

async fn what_comes_after_a_run_is_told_next(engine: Engine) {
    between_bells().await;
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "early", 2 * DAY).await;
    let group = root.create_user_group(&tenant, "ops", &["a@example.com", "then-ok-1@example.com"]).await;
    let report = run(&mut root, &tenant).await;
    assert_eq!((report.sent, report.retried), (1, 1));
    app.advance(TimeDelta::minutes(5));
    key(&mut root, &owner, "late", 2 * DAY).await;
    let report = run(&mut root, &tenant).await;
    assert_eq!((report.planned, report.claimed, report.sent), (1, 1, 1), "in-app at once, and the mail that was left");
    app.advance(TimeDelta::minutes(5));
    set_members(&mut root, &group, &["a@example.com", "new@example.com"]).await;
    let report = run(&mut root, &tenant).await;
    assert_eq!((report.planned, report.claimed, report.sent), (0, 1, 1), "the new subscriber");
    go_to(&app, time("2027-01-15T09:00:00Z"));
    ring(&app).await;
    let subjects = |recipient: &str| {
        let to = |mail: &crate::harness::Mail| mail.recipients == [recipient.to_owned()];
        let text = |mail: &crate::harness::Mail| {
            (mail.part("text/plain").contains("early"), mail.part("text/plain").contains("late"))
        };
        sink.mails().iter().filter(|mail| to(mail)).map(text).collect::<Vec<_>>()
    };
    assert_eq!(subjects("a@example.com"), [(true, false)]);
    assert_eq!(subjects("then-ok-1@example.com"), [(true, false)], "it says what was due when it was planned");
    assert_eq!(subjects("new@example.com"), [(true, true)]);
    go_to(&app, time("2027-01-16T09:00:00Z"));
    ring(&app).await;
    assert_eq!(subjects("a@example.com"), [(true, false), (true, true)], "tomorrow's");
}

async fn a_run_that_may_not_send_says_so(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "a key", DAY).await;
    let without =
        v1::RunWarningsResponse { planned: 1, without_subscribers: true, without_mail: true, ..Default::default() };
    assert_eq!(run(&mut root, &tenant).await, without);
    root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    let again = v1::RunWarningsResponse { without_mail: true, ..Default::default() };
    assert_eq!(run(&mut root, &tenant).await, again);
    assert_eq!(deliveries(&mut root, mails_of(&tenant)).await, []);

    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "a key", DAY).await;
    let alone = v1::RunWarningsResponse { planned: 1, without_subscribers: true, ..Default::default() };
    assert_eq!(run(&mut root, &tenant).await, alone);
    root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    let disable = v1::DisableTenantRequest { name: tenant.clone(), expected_revision: 0 };
    root.tenants.disable_tenant(disable).await.expect("disabled");
    assert_eq!(run(&mut root, &tenant).await, v1::RunWarningsResponse::default(), "a disabled tenant");
    go_to(&app, time("2027-01-15T10:00:00Z"));
    ring(&app).await;
    assert_eq!(sink.count(), 0);
    let enable = v1::EnableTenantRequest { name: tenant.clone(), expected_revision: 0 };
    root.tenants.enable_tenant(enable).await.expect("enabled");
    ring(&app).await;
    assert_eq!(recipients(&sink), ["a@example.com"], "today's, once it is enabled again");
}

async fn runs_at_once_send_each_mail_once(engine: Engine) {
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    for number in 0..5 {
        key(&mut root, &owner, &format!("key {number}"), DAY).await;
    }
    let addresses: Vec<String> = (0..40).map(|number| format!("{number:02}@example.com")).collect();
    let members: Vec<&str> = addresses.iter().map(String::as_str).collect();
    root.create_user_group(&tenant, "ops", &members).await;
    let runs = (0..4).map(|_| {
        let (mut root, tenant) = (root.clone(), tenant.clone());
        async move { run(&mut root, &tenant).await }
    });
    let (reports, bell) = tokio::join!(join_all(runs), ring(&app));
    let sum = |part: fn(&v1::RunWarningsResponse) -> i32| reports.iter().map(part).sum::<i32>();
    let in_bell = |count: u64| i32::try_from(count).expect("a count");
    assert_eq!(sum(|report| report.planned) + in_bell(bell.planned), 5);
    // The scheduler's own bell may have sent some of them.
    assert!(sum(|report| report.sent) + in_bell(bell.sent) <= 40);
    assert_eq!(sum(|report| report.refused + report.retried + report.skipped), 0);
    eventually(Duration::from_secs(10), "every mail", async || sink.count() == 40).await;
    assert_eq!(recipients(&sink), addresses, "one each");
}

/// A mail server that takes its time: longer than the deadline of any other call.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_take_long_and_ends_though_its_caller_has_gone() {
    let Some(Ground { app, mut root, sink }) = ground(Engine::Sqlite).await else { return };
    let mut tenants = Vec::new();
    for id in ["patient", "hasty"] {
        let tenant = root.create_tenant(id).await;
        let owner = root.create_service_user(&tenant, "billing").await;
        key(&mut root, &owner, "a key", DAY).await;
        root.create_user_group(&tenant, "ops", &["stall-dot@example.com", &format!("{id}@example.com")]).await;
        tenants.push(tenant);
    }
    let [patient, hasty] = &tenants[..] else { unreachable!("two") };
    let (mut caller, tenant) = (root.clone(), hasty.clone());
    let hanging_up = tokio::spawn(async move { run(&mut caller, &tenant).await });
    eventually(Duration::from_secs(10), "it is sending", async || {
        let open = deliveries(&mut root.clone(), mails_of(hasty)).await;
        open.iter().any(|mail| mail.state() == v1::DeliveryState::Sending && mail.attempts == 1)
    })
    .await;
    hanging_up.abort();

    let begun = Instant::now();
    let report = run(&mut root, patient).await;
    assert!(begun.elapsed() > Duration::from_secs(12), "longer than every other call may take: {:?}", begun.elapsed());
    assert_eq!((report.claimed, report.sent, report.retried, report.left), (2, 1, 1, 1));
    eventually(Duration::from_secs(30), "nobody waits for it, and it ends", async || {
        let ended = deliveries(&mut root.clone(), mails_of(hasty)).await;
        let states: BTreeSet<_> =
            ended.iter().map(|mail| (mail.recipient.clone(), mail.state().as_str_name())).collect();
        let expected =
            [("hasty@example.com", "DELIVERY_STATE_SENT"), ("stall-dot@example.com", "DELIVERY_STATE_PENDING")];
        states == expected.map(|(recipient, state)| (recipient.to_owned(), state)).into()
    })
    .await;
    assert_eq!(recipients(&sink), ["hasty@example.com", "patient@example.com"]);
    drop(app);
}
