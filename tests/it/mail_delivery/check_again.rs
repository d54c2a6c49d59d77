//! Between plan and send the world changes: what isn't true or wanted any more isn't sent.

use chrono::TimeDelta;
use claviger::proto::v1::{self, DeliveryState as State};
use prost_types::{FieldMask, Timestamp};

use crate::harness::sink::Options;
use crate::harness::{Client, Engine, Sink, TestApp, http};
use crate::mail_rig::{
    counts, create_expiring_key, deliveries_to, expect_one_each, group, hour, instant, link_path, member, ring_at,
    start, states, subscribe, write_members,
};
use crate::rig::{Change, list_keys};

on_both_engines!(what_has_changed_since_the_plan_is_not_sent, one_click_unsubscribes_and_a_look_at_the_link_does_not);

const BASE: &str = "https://keys.claviger.test";
const UNCHANGED: [&str; 2] = ["unchanged", "half"];
/// What happens to each tenant between plan and send; its id says it.
const CHANGED: [&str; 11] = [
    "revoked",
    "rotated",
    "deleted",
    "extended",
    "tenant-disabled",
    "tenant-deleted",
    "user-disabled",
    "member-removed",
    "group-deleted",
    "alerts-off",
    "marked-unsubscribed",
];

async fn what_has_changed_since_the_plan_is_not_sent(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(engine, &sink, &[]).await else { return };
    let mut root = app.root().await;
    for id in CHANGED.into_iter().chain(UNCHANGED) {
        subscribe(&mut root, id, &[format!("ada@{id}.test")]).await;
    }
    let half = create_expiring_key(&mut root, "tenants/half/serviceUsers/billing", TimeDelta::days(2)).await;
    sink.go_away();
    ring_at(&app, hour(1)).await;
    for id in CHANGED {
        let planned = states(&mut root, &format!("tenants/{id}"), &format!("ada@{id}.test")).await;
        assert_eq!(planned, [State::Pending], "{id}");
        change(&app, &mut root, id).await;
    }
    Change::Revoke.make(&mut root, "", &half.name).await.expect("revoked");
    sink.come_back();
    ring_at(&app, hour(1) + TimeDelta::minutes(2)).await;
    ring_at(&app, hour(1) + TimeDelta::minutes(10)).await;

    expect_one_each(&sink, &UNCHANGED.map(|id| format!("ada@{id}.test")));
    for id in CHANGED {
        // A deleted tenant answers no questions.
        if id != "tenant-deleted" {
            let became = deliveries_to(&mut root, &format!("tenants/{id}"), &format!("ada@{id}.test")).await;
            let became: Vec<_> = became.iter().map(|one| (one.state(), one.answer.as_str())).collect();
            assert!(matches!(became[..], [(State::Skipped, why)] if !why.is_empty()), "{id}: {became:?}");
        }
    }
    let half = deliveries_to(&mut root, "tenants/half", "ada@half.test").await;
    assert_eq!(half[0].key_count, 1, "only what is still true is told");
}

async fn change(app: &TestApp, root: &mut Client, id: &str) {
    let (tenant, expected_revision) = (format!("tenants/{id}"), 0);
    let owner = format!("{tenant}/serviceUsers/billing");
    let people = format!("{tenant}/userGroups/people-0");
    let key = list_keys(root, &owner, false).await[0].name.clone();
    match id {
        "revoked" => drop(Change::Revoke.make(root, &owner, &key).await.expect("revoked")),
        "rotated" => rotate(root, key).await,
        "deleted" => drop(Change::Delete.make(root, &owner, &key).await.expect("deleted")),
        "extended" => extend(app, root, key).await,
        "tenant-disabled" => {
            let request = v1::DisableTenantRequest { name: tenant, expected_revision };
            root.tenants.disable_tenant(request).await.expect("disabled");
        }
        "tenant-deleted" => {
            let disable = v1::DisableTenantRequest { name: tenant.clone(), expected_revision };
            root.tenants.disable_tenant(disable).await.expect("disabled");
            let request = v1::DeleteTenantRequest { name: tenant, expected_revision, force: true };
            root.tenants.delete_tenant(request).await.expect("deleted");
        }
        "user-disabled" => {
            let request = v1::DisableServiceUserRequest { name: owner, expected_revision };
            root.service_users.disable_service_user(request).await.expect("disabled");
        }
        "member-removed" => write_members(root, &people, &["bob@member-removed.test"]).await,
        "group-deleted" => {
            let request = v1::DeleteUserGroupRequest { name: people, expected_revision };
            root.user_groups.delete_user_group(request).await.expect("deleted");
        }
        "alerts-off" => update(root, v1::UserGroup { name: people, ..Default::default() }, "account_alerts").await,
        _ => {
            let mut found = group(root, &people).await;
            found.members[0].unsubscribe_time = Some(Timestamp::default());
            update(root, found, "members").await;
        }
    }
}

async fn update(root: &mut Client, group: v1::UserGroup, path: &str) {
    let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group: Some(group), update_mask, expected_revision: 0 };
    root.user_groups.update_user_group(request).await.expect("updated");
}

/// The new key lives for 90 days.
async fn rotate(root: &mut Client, name: String) {
    let ttl = Some(prost_types::Duration { seconds: 90 * 86_400, nanos: 0 });
    root.keys.rotate_key(v1::RotateKeyRequest { name, ttl, ..Default::default() }).await.expect("rotated");
}

async fn extend(app: &TestApp, root: &mut Client, name: String) {
    let expire_time = Some(Timestamp { seconds: (app.clock.now() + TimeDelta::days(60)).timestamp(), nanos: 0 });
    let key = Some(v1::Key { name, expire_time, ..Default::default() });
    let update_mask = Some(FieldMask { paths: vec!["expire_time".to_owned()] });
    root.keys.update_key(v1::UpdateKeyRequest { key, update_mask, expected_revision: 0 }).await.expect("extended");
}

async fn one_click_unsubscribes_and_a_look_at_the_link_does_not(engine: Engine) {
    let Some(sink) = Sink::start(Options::default()).await else { return };
    let Some(app) = start(engine, &sink, &[("CLAVIGER_PUBLIC_URL", BASE)]).await else { return };
    let mut root = app.root().await;
    let (ada, bob) = ("ada@acme.test", "bob@acme.test");
    let tenant = subscribe(&mut root, "acme", &[ada, bob]).await;
    let people = format!("{tenant}/userGroups/people-0");
    ring_at(&app, hour(1)).await;
    let mails = sink.mails();
    let mail = mails.iter().find(|mail| mail.recipients == [ada]).expect("a mail to Ada");
    assert_eq!(mail.header("list-unsubscribe-post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let path = link_path(mail, BASE);
    assert!(!path.contains("ada"), "{path}");

    sink.go_away();
    ring_at(&app, hour(25)).await;
    assert_eq!(http::ask(app.http_address(), "GET", &path, "").await.status, 200);
    assert_eq!(member(&mut root, &people, ada).await.unsubscribe_time, None, "a look changes nothing");
    assert_eq!(http::ask(app.http_address(), "POST", &path, "List-Unsubscribe=One-Click").await.status, 200);
    assert_eq!(instant(member(&mut root, &people, ada).await.unsubscribe_time), app.clock.now());
    assert_eq!(member(&mut root, &people, bob).await.unsubscribe_time, None);
    sink.come_back();
    ring_at(&app, hour(25) + TimeDelta::minutes(2)).await;
    let (sent, skipped) = (State::Sent, State::Skipped);
    assert_eq!(states(&mut root, &tenant, ada).await, [sent, skipped]);
    assert_eq!(states(&mut root, &tenant, bob).await, [sent, sent]);

    ring_at(&app, hour(49)).await;
    assert_eq!(counts(&sink), [(ada.to_owned(), 1), (bob.to_owned(), 3)].into());
    write_members(&mut root, &people, &[ada, bob]).await;
    assert_eq!(member(&mut root, &people, ada).await.unsubscribe_time, None);
    ring_at(&app, hour(73)).await;
    assert_eq!(counts(&sink), [(ada.to_owned(), 2), (bob.to_owned(), 4)].into());
}
