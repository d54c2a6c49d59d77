//! Notifications are read by somebody, or by themselves when there is nothing left to do about them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use claviger::domain::Span;
use tonic::Code;

use super::*;
use crate::harness::errors::reason;

on_both_engines!(marking_again_keeps_the_first_time, a_warning_that_nobody_need_act_on_is_read_by_itself);

async fn marking_again_keeps_the_first_time(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (tenant, other) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let owner = root.create_service_user(&tenant, "billing").await;
    key(&mut root, &owner, "a key", DAY).await;
    key(&mut root, &owner, "another", DAY).await;
    run(&mut root, &tenant).await;
    let [unread, beside] = &list(&mut root, all_of(&tenant)).await[..] else { panic!("two") };
    assert_eq!(unread.read_time, None);
    app.advance(TimeDelta::minutes(1));
    let expected = v1::Notification { read_time: Some(timestamp(app.clock.now())), ..unread.clone() };
    for _ in 0..3 {
        assert_eq!(mark(&mut root, &unread.name).await.expect("marked"), expected);
        app.advance(TimeDelta::minutes(1));
    }
    let others = futures_util::future::join_all((0..8).map(|_| {
        let mut root = root.clone();
        let name = unread.name.clone();
        async move { mark(&mut root, &name).await.expect("marked") }
    }));
    assert!(others.await.into_iter().all(|marked| marked == expected));
    assert_eq!(list(&mut root, all_of(&tenant)).await, [expected, beside.clone()], "and no other");

    let id = unread.name.rsplit('/').next().expect("an id");
    for name in [
        format!("{other}/notifications/{id}"),
        format!("tenants/nobody/notifications/{id}"),
        format!("{tenant}/notifications/00000000-0000-7000-8000-000000000000"),
    ] {
        let status = mark(&mut root, &name).await.expect_err("missing");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"), "{name}");
    }
    for spelling in [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}"), format!(" {id}")] {
        let status =
            mark(&mut root, &format!("{tenant}/notifications/{spelling}")).await.expect_err("another spelling");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"), "{spelling}");
    }
}

/// Sets when a key expires.
async fn extend(root: &mut Client, name: &str, expire_time: Option<prost_types::Timestamp>) {
    let key = v1::Key { name: name.to_owned(), expire_time, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["expire_time".to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision: 0 };
    root.keys.update_key(request).await.expect("updated");
}

/// What is done to a key, and whether its warning is read then.
const DEEDS: [(&str, bool); 13] = [
    ("extended far", true),
    ("extended for ever", true),
    ("extended within", true),
    ("rotated", true),
    ("rotated with grace", true),
    ("revoked", true),
    ("deleted", true),
    ("expired", true),
    ("disabled", false),
    ("renamed", false),
    ("left alone", false),
    ("its owner deleted", true),
    ("its owner disabled", false),
];

async fn act(root: &mut Client, app: &TestApp, deed: &str, key: &v1::Key) {
    let name = key.name.clone();
    let owner = key.name.split("/keys/").next().expect("an owner").to_owned();
    let later = |days| Some(timestamp(app.clock.now() + Span::days(days)));
    let expected_revision = 0;
    match deed {
        "extended far" => extend(root, &name, later(60)).await,
        "extended for ever" => extend(root, &name, None).await,
        "extended within" => extend(root, &name, later(13)).await,
        "rotated" | "rotated with grace" => {
            let seconds = if deed == "rotated" { 0 } else { 3_600 };
            let grace_period = Some(prost_types::Duration { seconds, nanos: 0 });
            let request = v1::RotateKeyRequest { name, grace_period, ..Default::default() };
            root.keys.rotate_key(request).await.expect("rotated");
        }
        "revoked" => {
            let request = v1::RevokeKeyRequest { name, ..Default::default() };
            root.keys.revoke_key(request).await.expect("revoked");
        }
        "deleted" => {
            root.keys.delete_key(v1::DeleteKeyRequest { name, expected_revision }).await.expect("deleted");
        }
        "disabled" => {
            root.keys
                .disable_key(v1::DisableKeyRequest { name, expected_revision, wait_for_replicas: None })
                .await
                .expect("disabled");
        }
        "renamed" => {
            crate::rig::Change::Rename(1).make(root, &owner, &name).await.expect("renamed");
        }
        "its owner deleted" => {
            let request = v1::DeleteServiceUserRequest { name: owner, force: true, expected_revision };
            root.service_users.delete_service_user(request).await.expect("deleted");
        }
        "its owner disabled" => {
            let request = v1::DisableServiceUserRequest { name: owner, expected_revision };
            root.service_users.disable_service_user(request).await.expect("disabled");
        }
        // The clock does it.
        "expired" | "left alone" => {}
        deed => panic!("{deed}?"),
    }
}

async fn a_warning_that_nobody_need_act_on_is_read_by_itself(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (tenant, other) = (root.create_tenant("acme").await, root.create_tenant("acme-b").await);
    let mut keys = BTreeMap::new();
    for (number, (deed, _)) in DEEDS.iter().enumerate() {
        let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
        let seconds = if *deed == "expired" { 1_800 } else { 3 * DAY };
        keys.insert(*deed, key(&mut root, &owner, deed, seconds).await);
        // Names that begin alike, and the same service user in another tenant.
        for (parent, id) in [(&tenant, format!("user-{number}-b")), (&other, format!("user-{number}"))] {
            let owner = root.create_service_user(parent, &id).await;
            key(&mut root, &owner, "beside", 3 * DAY).await;
        }
    }
    assert_eq!((run(&mut root, &tenant).await.planned, run(&mut root, &other).await.planned), (26, 13));
    let before = told(&mut root, &tenant, NotificationKind::KeyExpiring).await;
    let by_hand = before.iter().find(|warning| warning.key == keys["revoked"].name).expect("a warning");
    let first_time = mark(&mut root, &by_hand.name).await.expect("marked").read_time;
    app.advance(TimeDelta::minutes(30));
    for (deed, _) in DEEDS {
        act(&mut root, &app, deed, &keys[deed]).await;
    }
    app.running.authority().record_expiry().await.expect("recorded");

    let after = told(&mut root, &tenant, NotificationKind::KeyExpiring).await;
    let now = Some(timestamp(app.clock.now()));
    for (deed, is_read) in DEEDS {
        let warning = after.iter().find(|warning| warning.key == keys[deed].name).expect("a warning");
        let expected = match (deed, is_read) {
            ("revoked", _) => first_time,
            (_, true) => now,
            (_, false) => None,
        };
        assert_eq!(warning.read_time, expected, "{deed}");
    }
    let read = after.iter().filter(|warning| warning.read_time.is_some()).count();
    assert_eq!(read, DEEDS.iter().filter(|(_, is_read)| *is_read).count(), "nobody beside");
    let others = told(&mut root, &other, NotificationKind::KeyExpiring).await;
    assert!(others.iter().all(|warning| warning.read_time.is_none()), "nobody of another tenant");
}
