//! PreviewWarnings: what it says is what then happens, and asking changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use claviger::domain::Span;

use super::*;
use crate::rig::{database, select};

on_both_engines!(
    a_preview_is_what_then_happens,
    a_preview_changes_nothing,
    a_preview_spans_what_was_asked_for,
    a_preview_says_who_is_not_told,
    what_is_too_much_to_list_is_counted,
);

/// What happens on one day: which keys are told in-app with how many days left, and who gets a mail.
#[derive(Debug, Default, PartialEq, Eq)]
struct Happening {
    told: BTreeSet<(String, i32)>,
    mailed: BTreeSet<String>,
}

fn promised(preview: &v1::PreviewWarningsResponse) -> BTreeMap<String, Happening> {
    let recipients: BTreeSet<String> = preview.recipients.iter().cloned().collect();
    let happening = |day: &v1::WarningDay| Happening {
        told: day.warnings.iter().map(|warning| (warning.key.clone(), warning.days_left)).collect(),
        mailed: recipients.clone(),
    };
    preview.days.iter().map(|day| (day.day.clone(), happening(day))).collect()
}

/// Keys of every kind, of which some are warned about.
async fn keys(root: &mut Client, tenant: &str) {
    let owner = root.create_service_user(tenant, "billing").await;
    let lives = [3_600, DAY, 5 * DAY + 7_200, 14 * DAY, 14 * DAY + 1, 17 * DAY + 30, 20 * DAY, 33 * DAY, 90 * DAY];
    for (number, seconds) in lives.into_iter().enumerate() {
        key(root, &owner, &format!("life {number}"), seconds).await;
    }
    let other = root.create_service_user(tenant, "shop").await;
    root.create_key(&other, &[]).await;
    // To the microsecond: the last warning instant before an end, and the first within 14 days of it.
    for (edge, microseconds) in [("2027-01-20", 0), ("2027-01-20", 1), ("2027-02-01", 0), ("2027-02-01", 1)] {
        let end = time(&format!("{edge}T01:30:00Z")) + Span::microseconds(microseconds);
        let key =
            v1::Key { display_name: format!("until {end}"), expire_time: Some(timestamp(end)), ..Default::default() };
        let request = v1::CreateKeyRequest { parent: other.clone(), key: Some(key), ..Default::default() };
        root.keys.create_key(request).await.expect("a key");
    }
    let disabled = key(root, &other, "disabled", 8 * DAY).await;
    root.keys
        .disable_key(v1::DisableKeyRequest { name: disabled.name, expected_revision: 0, wait_for_replicas: None })
        .await
        .expect("disabled");
    let revoked = key(root, &other, "revoked", 8 * DAY).await;
    root.keys.revoke_key(v1::RevokeKeyRequest { name: revoked.name, ..Default::default() }).await.expect("revoked");
    let rotated = key(root, &other, "rotated", 18 * DAY).await;
    let grace_period = Some(prost_types::Duration { seconds: 9 * DAY, nanos: 0 });
    let rotate = v1::RotateKeyRequest { name: rotated.name, grace_period, ..Default::default() };
    root.keys.rotate_key(rotate).await.expect("rotated");
    let asleep = root.create_service_user(tenant, "asleep").await;
    key(root, &asleep, "of a disabled owner", 6 * DAY).await;
    let disable = v1::DisableServiceUserRequest { name: asleep, expected_revision: 0 };
    root.service_users.disable_service_user(disable).await.expect("disabled");
}

async fn a_preview_is_what_then_happens(engine: Engine) {
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = v1::Tenant {
        display_name: "Acme".to_owned(),
        time_zone: "America/St_Johns".to_owned(),
        warning_hour: Some(22),
        ..Default::default()
    };
    let request = v1::CreateTenantRequest { tenant_id: "acme".to_owned(), tenant: Some(tenant) };
    let tenant =
        root.tenants.create_tenant(request).await.expect("a tenant").into_inner().tenant.expect("a tenant").name;
    keys(&mut root, &tenant).await;
    root.create_user_group(&tenant, "ops", &["a@example.com", "B@Example.com"]).await;
    root.create_user_group(&tenant, "dev", &["b@example.com", "c@example.com", "a@EXAMPLE.com"]).await;
    let start = app.clock.now();
    let foreseen = preview(&mut root, &tenant, None, Some(start + Span::days(20))).await;
    assert_eq!(foreseen.recipients, ["B@Example.com", "a@EXAMPLE.com", "b@example.com", "c@example.com"]);

    let mut happened = BTreeMap::new();
    let (mut mails, mut told_before) = (0, BTreeSet::new());
    for day in 0..20 {
        // 22:00 there is 01:30 UTC of the next day.
        go_to(&app, time("2027-01-16T01:30:00Z") + Span::days(day));
        app.running.authority().record_expiry().await.expect("recorded");
        ring(&app).await;
        let notifications = told(&mut root, &tenant, NotificationKind::KeyExpiring).await;
        let new: Vec<_> = notifications.iter().filter(|one| !told_before.contains(&one.name)).collect();
        let told = new.iter().map(|one| (one.key.clone(), one.days_left)).collect();
        told_before.extend(new.iter().map(|one| one.name.clone()));
        let sent = sink.mails();
        let mailed = sent[mails..].iter().flat_map(|mail| mail.recipients.clone()).collect();
        for mail in &sent[mails..] {
            assert_lists(&mail.part("text/plain"), &new);
        }
        mails = sent.len();
        let happening = Happening { told, mailed };
        if happening != Happening::default() {
            happened.insert((start + Span::days(day)).format("%F").to_string(), happening);
        }
    }
    assert_eq!(happened, promised(&foreseen));
    assert_eq!((happened.len(), mails), (20, 80), "something every day, one mail each");
    let counted: i32 = foreseen.days.iter().map(|day| day.key_count).sum();
    assert_eq!(usize::try_from(counted).expect("a count"), told_before.len());
}

/// The mail's text names exactly these keys.
fn assert_lists(text: &str, warnings: &[&v1::Notification]) {
    let listed = text.matches("KeyService/RotateKey").count();
    assert_eq!(listed, warnings.len(), "{text}");
    for warning in warnings {
        assert!(text.contains(&warning.key), "{} isn't in {text}", warning.key);
    }
}

/// How much there is in each table, and the revision.
async fn everything(app: &TestApp) -> Vec<i64> {
    let database = database(&app.place).await;
    let mut counts = select(&database, "SELECT value FROM revision").await;
    for table in [
        "api_key",
        "audit_event",
        "delivery",
        "notification",
        "request_replay",
        "service_user",
        "subscriber",
        "tenant",
        "user_group",
        "user_group_member",
    ] {
        counts.extend(select::<i64>(&database, &format!("SELECT COUNT(*) FROM {table}")).await);
    }
    counts
}

async fn a_preview_changes_nothing(engine: Engine) {
    let Some(Ground { app, mut root, sink }) = ground(engine).await else { return };
    let tenant = root.create_tenant("acme").await;
    keys(&mut root, &tenant).await;
    root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    let before = everything(&app).await;
    for days in [1, 14, 31] {
        let foreseen = preview(&mut root, &tenant, None, Some(app.clock.now() + Span::days(days))).await;
        assert!(!foreseen.days.is_empty());
    }
    assert_eq!(everything(&app).await, before);
    assert_eq!(sink.count(), 0);
    assert!(run(&mut root, &tenant).await.planned > 0);
    assert_ne!(everything(&app).await, before, "this test sees what a run changes");
}

fn instants(foreseen: &v1::PreviewWarningsResponse) -> Vec<(String, i64)> {
    foreseen.days.iter().map(|day| (day.day.clone(), day.time.expect("an instant").seconds)).collect()
}

async fn a_preview_spans_what_was_asked_for(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let key = key(&mut root, &owner, "a key", 40 * DAY).await;
    let end = app.clock.now() + Span::days(40);
    let first = time("2027-02-10T09:00:00Z");
    let by_day = |days: std::ops::Range<i64>| {
        days.map(|day| first + Span::days(day)).map(|s| (s.format("%F").to_string(), s.timestamp())).collect::<Vec<_>>()
    };
    assert_eq!(instants(&preview(&mut root, &tenant, None, None).await), [], "14 days from now, and it has 40");
    let whole = preview(&mut root, &tenant, Some(end - Span::days(14)), None).await;
    assert_eq!(instants(&whole), by_day(0..14), "14 days if nothing else is said");
    let left: Vec<i32> = whole.days.iter().flat_map(|day| day.warnings.iter().map(|it| it.days_left)).collect();
    assert_eq!(left, (1..=14).rev().collect::<Vec<_>>());
    let warnings = whole.days.iter().flat_map(|day| &day.warnings);
    assert!(warnings.clone().all(|it| it.key == key.name && it.expire_time == key.expire_time));
    let tiny = Span::microseconds(1);
    for (from, to, expected) in [
        (first, first + tiny, by_day(0..1)),
        (first + tiny, first + Span::days(1), vec![]),
        (first - tiny, first, vec![]),
        (first + Span::days(2), first + Span::days(4), by_day(2..4)),
        (end, end + Span::days(31), vec![]),
        (end - Span::days(31), end, by_day(0..14)),
    ] {
        let foreseen = preview(&mut root, &tenant, Some(from), Some(to)).await;
        assert_eq!(instants(&foreseen), expected, "{from} {to}");
    }
    // From the defaults alone, once the window has come.
    go_to(&app, first + Span::days(3));
    assert_eq!(instants(&preview(&mut root, &tenant, None, None).await), by_day(3..14));
    for far in ["1970-01-01T00:00:00Z", "9000-12-31T23:59:59.999999Z", "2111-02-28T00:00:00Z"] {
        let foreseen = preview(&mut root, &tenant, Some(time(far)), None).await;
        assert_eq!(instants(&foreseen), [], "{far}");
    }
}

async fn a_preview_says_who_is_not_told(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let quiet = preview(&mut root, &tenant, None, None).await;
    assert_eq!(quiet, v1::PreviewWarningsResponse { without_mail: true, ..Default::default() }, "nothing to tell");
    key(&mut root, &owner, "a key", 5 * DAY).await;
    let alone = preview(&mut root, &tenant, None, None).await;
    assert!(alone.without_subscribers && alone.without_mail && alone.days.len() == 5, "{alone:?}");
    root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    let heard = preview(&mut root, &tenant, None, None).await;
    let recipients = vec!["a@example.com".to_owned()];
    assert_eq!(
        heard,
        v1::PreviewWarningsResponse { without_subscribers: false, recipients, recipient_count: 1, ..alone }
    );
    let Some(mut with_mail) = ground(engine).await else { return };
    let tenant = with_mail.root.create_tenant("acme").await;
    let quiet = preview(&mut with_mail.root, &tenant, None, None).await;
    assert_eq!(quiet, v1::PreviewWarningsResponse::default());
}

async fn what_is_too_much_to_list_is_counted(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    many_keys(&root, &tenant, 11, 2 * DAY).await;
    app.advance(TimeDelta::minutes(-1));
    let owner = root.create_service_user(&tenant, "first").await;
    let first = key(&mut root, &owner, "the first to expire", 2 * DAY).await;
    app.advance(TimeDelta::minutes(1));
    for (group, numbers) in [("a", 0..600), ("b", 500..1_100)] {
        let addresses: Vec<String> = numbers.map(|number| format!("{number:04}@example.com")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        root.create_user_group(&tenant, group, &addresses).await;
    }
    let foreseen = preview(&mut root, &tenant, None, None).await;
    let lengths: Vec<_> = foreseen.days.iter().map(|day| (day.key_count, day.warnings.len())).collect();
    assert_eq!(lengths, [(111, 100), (111, 100)]);
    assert!(foreseen.days.iter().all(|day| day.warnings[0].key == first.name), "nearest expiry first");
    let expected: Vec<String> = (0..1_000).map(|number| format!("{number:04}@example.com")).collect();
    assert!(foreseen.recipients == expected && foreseen.recipient_count == 1_100, "{}", foreseen.recipient_count);
}
