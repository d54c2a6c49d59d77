//! Infoblox BloxOne: service users, 10 keys each, notices before a key expires.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{DAY, OWNER, Shop, TENANT, named, refused, text};
use crate::rig::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn line_1_create_needs_a_permission() {
    let Some(shop) = Shop::open().await else { return };
    let (_, reader) = shop.create(json!({"display_name": "reader", "scopes": ["claviger:keys.read"]})).await;
    let request = json!({"parent": OWNER, "key": named("a key")});
    let told = shop.call(&reader, "KeyService/CreateKey", request).await.expect_err("refused");
    assert_eq!((&*told.code, &*told.reason), ("7", "RIGHT_MISSING"), "PERMISSION_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_2_a_key_has_a_name_an_existing_service_user_and_an_end_to_the_second() {
    let Some(shop) = Shop::open().await else { return };
    let end = shop.after(90 * DAY + 3_661);
    let (key, _) = shop.create(json!({"display_name": "Invoices", "expire_time": end})).await;
    assert_eq!((text(&key["displayName"]), text(&key["expireTime"])), ("Invoices", &*end));
    let nobodys = json!({"parent": "tenants/acme/serviceUsers/nobody", "key": named("a key")});
    assert_eq!(refused(shop.root("KeyService/CreateKey", nobodys).await), "RESOURCE_NOT_FOUND");
    assert_eq!(refused(shop.root("KeyService/CreateKey", json!({"parent": OWNER, "key": {}})).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_ten_keys_pass_and_no_eleventh_however_many_try_at_once() {
    let Some(shop) = Shop::open().await else { return };
    for number in 1..=5 {
        shop.create(named(&format!("key {number}"))).await;
    }
    let request = || json!({"parent": OWNER, "key": named("one of twenty")});
    let made = join_all((0..20).map(async |_| shop.root("KeyService/CreateKey", request()).await)).await;
    let (passed, refusals): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((passed.len(), refusals.len()), (5, 15));
    assert!(refusals.into_iter().all(|answer| refused(answer) == "KEY_LIMIT_REACHED"));
    assert_eq!(shop.list(&shop.app.root_secret, OWNER).await.expect("keys").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_4_the_secret_is_in_the_create_response_and_in_no_later_one() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    let random = &secret[27..];
    assert!(!key.to_string().contains(random));
    let later = [
        shop.get(&key).await,
        shop.root("KeyService/ListKeys", json!({"parent": OWNER})).await.expect("keys"),
        shop.verify(json!({"secret": secret})).await,
        shop.root("AuditService/ListAuditEvents", json!({"parent": TENANT})).await.expect("events"),
        shop.act("DisableKey", &key).await.expect("disabled"),
        shop.act("RevokeKey", &key).await.expect("revoked"),
    ];
    assert!(later.iter().all(|answer| !answer.to_string().contains(random)), "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_5_one_notice_a_day_from_14_days_before_and_none_after_the_end() {
    let Some(shop) = Shop::open().await else { return };
    // At the hour of the warnings, each day: it is 08:00, and the hour is 9.
    shop.advance(3_600);
    shop.create(json!({"display_name": "a key", "expire_time": shop.after(17 * DAY)})).await;
    let (mut notices, mut before) = (Vec::new(), 0);
    for _ in 0..20 {
        // The service's own run, each minute, may have come first.
        shop.warn().await;
        let told = shop.told().await.len();
        notices.push(told - before);
        before = told;
        shop.advance(DAY);
    }
    let expected: Vec<usize> = (0..20).map(|day| usize::from((3..17).contains(&day))).collect();
    assert_eq!(notices, expected, "17, 16, 15 days before: none; 14 days to 1 day before: one each; afterwards none");
    assert_eq!(shop.told().await, (1..=14).collect::<Vec<i64>>(), "the last one first");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_6_notices_go_by_mail_and_in_app_to_groups_with_account_alerts_only() {
    let Some(shop) = Shop::open().await else { return };
    for (id, alerts) in [("ops", true), ("others", false)] {
        let members = json!([{"email": format!("{id}@example.com")}]);
        let group = json!({"display_name": id, "account_alerts": alerts, "members": members});
        let request = json!({"parent": TENANT, "user_group_id": id, "user_group": group});
        shop.root("UserGroupService/CreateUserGroup", request).await.expect("a group");
    }
    shop.create(json!({"display_name": "a key", "expire_time": shop.after(9 * DAY)})).await;
    shop.warn().await;
    let deliveries = shop.root("NotificationService/ListDeliveries", json!({"parent": TENANT})).await.expect("mails");
    let deliveries = deliveries["deliveries"].as_array().cloned().expect("one");
    let sent: Vec<_> = deliveries.iter().map(|mail| (text(&mail["recipient"]), text(&mail["state"]))).collect();
    assert_eq!(sent, [("ops@example.com", "DELIVERY_STATE_SENT")]);
    let mails: Vec<_> = std::fs::read_dir(shop.app.place.folder.path().join("mails")).expect("mails").collect();
    assert_eq!(mails.len(), 1);
    let listed = shop.root("NotificationService/ListNotifications", json!({"parent": TENANT})).await.expect("a feed");
    let name = &listed["notifications"][0]["name"];
    let read = shop.root("NotificationService/MarkNotificationRead", json!({"name": name})).await.expect("read");
    assert!(read["notification"]["readTime"].is_string(), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_7_at_its_end_a_key_is_expired_and_can_be_neither_enabled_nor_disabled() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(json!({"display_name": "a key", "expire_time": shop.after(60)})).await;
    assert_eq!(shop.verdict(&secret).await, "VALID");
    shop.advance(60);
    assert_eq!(shop.verdict(&secret).await, "EXPIRED");
    assert_eq!(shop.get(&key).await["state"], "KEY_STATE_EXPIRED");
    for method in ["EnableKey", "DisableKey"] {
        let told = shop.act(method, &key).await.expect_err(method);
        assert_eq!((&*told.code, &*told.reason), ("9", "KEY_EXPIRED"), "FAILED_PRECONDITION");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_8_enable_and_disable_change_what_verify_answers() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    for (method, state, expected) in [
        ("DisableKey", "KEY_STATE_DISABLED", "DISABLED"),
        ("EnableKey", "KEY_STATE_ENABLED", "VALID"),
        ("DisableKey", "KEY_STATE_DISABLED", "DISABLED"),
    ] {
        assert_eq!(shop.act(method, &key).await.expect("changed")["key"]["state"], state);
        assert_eq!(shop.verdict(&secret).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_9_a_key_is_replaced_without_interruption() {
    let Some(shop) = Shop::open().await else { return };
    let (_, old) = shop.create(named("old")).await;
    let (_, new) = shop.create(named("new")).await;
    assert_eq!([shop.verdict(&old).await, shop.verdict(&new).await], ["VALID", "VALID"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_10_the_list_tells_an_id_without_the_secret_times_and_the_creator() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    let listed = shop.list(&shop.app.root_secret, OWNER).await.expect("keys").remove(0);
    let hint = text(&listed["secretHint"]);
    let start = hint.strip_suffix('…').expect("it is cut");
    assert!(secret.starts_with(start) && start.len() == 12 && text(&key["name"]).ends_with(&secret[4..26]), "{hint}");
    for time in ["createTime", "updateTime"] {
        assert!(listed[time].is_string(), "{time}");
    }
    assert!(text(&listed["creator"]).starts_with("tenants/system/serviceUsers/root/keys/"));
    assert_eq!(listed.get("lastUsedTime"), None, "not used yet");
    shop.verdict(&secret).await;
    eventually(Duration::from_secs(60), "its last use is written", async || {
        let listed = shop.list(&shop.app.root_secret, OWNER).await.expect("keys").remove(0);
        listed["lastUsedTime"].is_string()
    })
    .await;
}
