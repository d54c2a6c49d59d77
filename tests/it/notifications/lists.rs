//! ListNotifications: each kind says what happened; every entry once, the newest first, filtered.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::*;
use crate::harness::errors::{bad_fields, reason};

on_both_engines!(
    each_kind_says_what_happened,
    paging_visits_every_notification_once_and_tokens_fit_only_their_list,
    a_recipient_gets_everything_or_nothing,
);

async fn rotate(root: &mut Client, name: &str, grace: i64) -> v1::RotateKeyResponse {
    let grace_period = Some(prost_types::Duration { seconds: grace, nanos: 0 });
    let request = v1::RotateKeyRequest { name: name.to_owned(), grace_period, ..Default::default() };
    root.keys.rotate_key(request).await.expect("rotated").into_inner()
}

fn about(key: &v1::Key, kind: NotificationKind) -> v1::Notification {
    v1::Notification {
        kind: kind.into(),
        key: key.name.clone(),
        key_display_name: key.display_name.clone(),
        expire_time: key.expire_time,
        ..Default::default()
    }
}

fn nameless(notification: v1::Notification) -> v1::Notification {
    v1::Notification { name: String::new(), ..notification }
}

async fn each_kind_says_what_happened(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let group = root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    let soon = key(&mut root, &owner, "soon 'n' \"hostile\" <b>", 3 * DAY).await;
    let at_once = key(&mut root, &owner, "at once", 30 * DAY).await;
    let short = key(&mut root, &owner, "short", DAY).await;
    let never = root.create_key(&owner, &[]).await.0;
    let start = timestamp(app.clock.now());

    assert_eq!(run(&mut root, &tenant).await.planned, 2);
    let [first, second] = &told(&mut root, &tenant, NotificationKind::KeyExpiring).await[..] else { panic!("two") };
    let expiring = |key, days_left| v1::Notification {
        days_left,
        create_time: Some(start),
        ..about(key, NotificationKind::KeyExpiring)
    };
    let warned = BTreeSet::from([(&first.key, first.days_left), (&second.key, second.days_left)]);
    assert_eq!(warned, BTreeSet::from([(&soon.name, 3), (&short.name, 1)]));
    let of_soon = [first, second].into_iter().find(|warning| warning.key == soon.name).expect("a warning");
    assert_eq!(nameless(of_soon.clone()), expiring(&soon, 3));

    let mut expected = Vec::new();
    for (old, grace) in [(&at_once, 0), (&short, 7 * DAY), (&never, 2 * DAY)] {
        app.advance(TimeDelta::milliseconds(2));
        let rotated = rotate(&mut root, &old.name, grace).await;
        let (now, predecessor) = (timestamp(app.clock.now()), rotated.predecessor.expect("a key"));
        // The end of the grace period, never later than the key's own end; without grace, now.
        let end = if grace == 0 { Some(now) } else { predecessor.expire_time };
        let superseded_by = rotated.key.expect("a key").name;
        let told = about(old, NotificationKind::KeyRotated);
        expected.push(v1::Notification { expire_time: end, superseded_by, create_time: Some(now), ..told });
    }
    assert_eq!(expected[1].expire_time, short.expire_time);
    assert_eq!(expected[2].expire_time.expect("an end").seconds, app.clock.now().timestamp() + 2 * DAY);
    expected.reverse();
    let rotated = told(&mut root, &tenant, NotificationKind::KeyRotated).await;
    assert_eq!(rotated.into_iter().map(nameless).collect::<Vec<_>>(), expected, "the newest first");

    go_to(&app, time("2027-01-18T08:00:01Z"));
    for _ in 0..2 {
        app.running.authority().record_expiry().await.expect("recorded");
    }
    let expired = told(&mut root, &tenant, NotificationKind::KeyExpired).await;
    let names: BTreeSet<&String> = expired.iter().map(|expired| &expired.key).collect();
    assert_eq!(expired.len(), names.len(), "once each");
    let of_soon = expired.iter().find(|expired| expired.key == soon.name).expect("it has expired");
    let now = Some(timestamp(app.clock.now()));
    assert_eq!(
        nameless(of_soon.clone()),
        v1::Notification { create_time: now, ..about(&soon, NotificationKind::KeyExpired) }
    );

    app.advance(TimeDelta::milliseconds(2));
    delete_group(&mut root, &group).await;
    let newest = list(&mut root, all_of(&tenant)).await.remove(0);
    let create_time = Some(timestamp(app.clock.now()));
    let gone =
        v1::Notification { kind: NotificationKind::LastSubscriberGone.into(), create_time, ..Default::default() };
    assert!(newest.name.starts_with(&format!("{tenant}/notifications/")), "{}", newest.name);
    assert_eq!(nameless(newest), gone);
}

async fn paging_visits_every_notification_once_and_tokens_fit_only_their_list(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (tenant, other) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let owner = root.create_service_user(&other, "billing").await;
    key(&mut root, &owner, "theirs", DAY).await;
    many_keys(&root, &tenant, 31, 5 * DAY).await;
    assert_eq!((run(&mut root, &tenant).await.planned, run(&mut root, &other).await.planned), (310, 1));
    app.advance(TimeDelta::seconds(1));
    let group = root.create_user_group(&tenant, "ops", &["a@example.com"]).await;
    delete_group(&mut root, &group).await;

    let (whole, count) = pages(&mut root, v1::ListNotificationsRequest { page_size: 500, ..all_of(&tenant) }).await;
    assert_eq!((whole.len(), count), (311, 1));
    assert!(whole.is_sorted_by(|newer, older| newer.name > older.name), "the newest first");
    let keys: BTreeSet<&String> = whole.iter().map(|notification| &notification.key).collect();
    assert_eq!(keys.len(), 311, "each key once, and what is about no key");
    for (page_size, expected) in [(0, 4), (7, 45), (311, 1), (310, 2)] {
        let (listed, count) = pages(&mut root, v1::ListNotificationsRequest { page_size, ..all_of(&tenant) }).await;
        assert!(listed == whole && count == expected, "in pages of {page_size}: {} in {count}", listed.len());
    }
    for notification in whole.iter().step_by(3) {
        mark(&mut root, &notification.name).await.expect("marked");
    }
    let unread = v1::ListNotificationsRequest { unread: true, page_size: 50, ..all_of(&tenant) };
    let names = |listed: &[v1::Notification]| listed.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let expected: Vec<_> =
        whole.iter().enumerate().filter(|(place, _)| place % 3 != 0).map(|(_, one)| one.name.clone()).collect();
    assert_eq!(names(&list(&mut root, unread.clone()).await), expected, "unread");
    let gone = NotificationKind::LastSubscriberGone;
    assert_eq!(told(&mut root, &tenant, gone).await.len(), 1);
    let both = v1::ListNotificationsRequest { kind: gone.into(), ..unread.clone() };
    assert_eq!(list(&mut root, both).await, [], "it was marked: both filters hold");
    assert_eq!(names(&list(&mut root, all_of(&other)).await).len(), 1, "of its own tenant alone");

    let page_token = root.notifications.list_notifications(unread.clone()).await.expect("a page");
    let page_token = page_token.into_inner().next_page_token;
    let next = v1::ListNotificationsRequest { page_token: page_token.clone(), ..unread.clone() };
    let wrong = [
        v1::ListNotificationsRequest { parent: other.clone(), ..next.clone() },
        v1::ListNotificationsRequest { unread: false, ..next.clone() },
        v1::ListNotificationsRequest { kind: 1, ..next.clone() },
        v1::ListNotificationsRequest { recipient: "a@example.com".to_owned(), ..next.clone() },
    ];
    for wrong in wrong {
        let refused = root.notifications.list_notifications(wrong.clone()).await;
        assert_eq!(bad_fields(&refused.expect_err("another list")), ["page_token"], "{wrong:?}");
    }
    let secret = root.create_key("tenants/system/serviceUsers/root", &["claviger:admin"]).await.1;
    let refused = app.caller(Some(&secret)).await.notifications.list_notifications(next.clone()).await;
    assert_eq!(bad_fields(&refused.expect_err("another caller")), ["page_token"]);
    let deliveries = v1::ListDeliveriesRequest { page_token, ..mails_of(&tenant) };
    let refused = root.notifications.list_deliveries(deliveries).await;
    assert_eq!(bad_fields(&refused.expect_err("another method")), ["page_token"]);
    root.notifications.list_notifications(next).await.expect("the same list");
}

async fn a_recipient_gets_everything_or_nothing(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (tenant, other) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let owner = root.create_service_user(&tenant, "billing").await;
    for number in 0..3 {
        key(&mut root, &owner, &format!("key {number}"), DAY).await;
    }
    root.create_user_group(&tenant, "ops", &["Ada@example.com", "both@example.com"]).await;
    root.create_user_group(&other, "ops", &["theirs@example.com"]).await;
    let member = |email: &str, unsubscribe_time| v1::UserGroupMember {
        email: email.to_owned(),
        unsubscribe_time,
        ..Default::default()
    };
    let gone = Some(prost_types::Timestamp::default());
    for (id, account_alerts, members) in [
        ("quiet", false, vec![member("quiet@example.com", None), member("both@example.com", None)]),
        ("unsubscribed", true, vec![member("gone@example.com", gone)]),
    ] {
        let group = v1::UserGroup { display_name: id.to_owned(), account_alerts, members, ..Default::default() };
        let (parent, user_group_id) = (tenant.clone(), id.to_owned());
        let request = v1::CreateUserGroupRequest { parent, user_group_id, user_group: Some(group) };
        root.user_groups.create_user_group(request).await.expect("a user group");
    }
    assert_eq!(run(&mut root, &tenant).await.planned, 3);
    let everything = list(&mut root, all_of(&tenant)).await;
    assert_eq!(everything.len(), 3);
    for (recipient, gets) in [
        ("Ada@example.com", true),
        ("Ada@EXAMPLE.Com", true),
        ("both@example.com", true),
        ("ada@example.com", false),
        ("quiet@example.com", false),
        ("gone@example.com", false),
        ("theirs@example.com", false),
        ("nobody@example.com", false),
    ] {
        let request = v1::ListNotificationsRequest { recipient: recipient.to_owned(), ..all_of(&tenant) };
        let expected = if gets { everything.clone() } else { Vec::new() };
        assert_eq!(list(&mut root, request).await, expected, "{recipient}");
    }
    let paged = v1::ListNotificationsRequest {
        recipient: "ada@x.test".to_owned(),
        parent: "tenants/nobody".to_owned(),
        ..Default::default()
    };
    let missing = root.notifications.list_notifications(paged).await.expect_err("no such tenant");
    assert_eq!(reason(&missing), "RESOURCE_NOT_FOUND");
}
