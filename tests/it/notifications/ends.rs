//! The end of a key becomes visible: at once in what callers see, and soon in what is stored. Verify waits for neither.

use chrono::TimeDelta;
use v1::{KeyState, Verdict};

use super::*;
use crate::rig::{database, list_keys, select};

on_both_engines!(
    an_end_is_seen_at_once_and_recorded_once,
    a_create_that_needs_the_slot_records_the_end_too,
    many_ends_at_once_are_recorded_in_steps,
);

async fn revision(app: &TestApp) -> i64 {
    select(&database(&app.place).await, "SELECT value FROM revision").await[0]
}

/// How many keys have a slot in the schema.
async fn slots(app: &TestApp, tenant: &str) -> i64 {
    let id = tenant.rsplit('/').next().expect("an id");
    let sql = format!("SELECT COUNT(*) FROM api_key WHERE tenant_id = '{id}' AND slot IS NOT NULL");
    select(&database(&app.place).await, &sql).await[0]
}

async fn events(root: &mut Client, tenant: &str, target: &str) -> Vec<v1::AuditEvent> {
    let (parent, target) = (tenant.to_owned(), target.to_owned());
    let request = v1::ListAuditEventsRequest { parent, target, page_size: 500, ..Default::default() };
    root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events
}

async fn an_end_is_seen_at_once_and_recorded_once(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (made, secret) = key_and_secret(&mut root, &owner, "short", 3_600).await;
    let (disabled, _) = key_and_secret(&mut root, &owner, "disabled", 3_600).await;
    let disable = v1::DisableKeyRequest { name: disabled.name.clone(), expected_revision: 0, wait_for_replicas: None };
    root.keys.disable_key(disable).await.expect("disabled");
    let stays = key(&mut root, &owner, "longer", 3_601).await;
    app.advance(TimeDelta::hours(1) - TimeDelta::microseconds(1));
    assert_eq!(app.running.authority().record_expiry().await.expect("nothing to do"), 0);
    assert_eq!((root.verdict(&secret).await, slots(&app, &tenant).await), (Verdict::Valid, 3));
    let before = revision(&app).await;

    app.advance(TimeDelta::microseconds(1));
    assert_eq!(root.verdict(&secret).await, Verdict::Expired, "before anybody has recorded it");
    assert_eq!(get_key(&mut root, &made.name).await.state(), KeyState::Expired);
    let listed = list_keys(&mut root, &owner, false).await;
    assert_eq!(listed.iter().filter(|key| key.state() == KeyState::Expired).count(), 2);

    for _ in 0..2 {
        app.running.authority().record_expiry().await.expect("recorded");
    }
    let after = get_key(&mut root, &made.name).await;
    assert_eq!((revision(&app).await, after.revision), (before + 1, before + 1), "one change");
    let update_time = made.update_time;
    assert_eq!(
        after,
        v1::Key {
            state: KeyState::Expired.into(),
            revision: before + 1,
            last_used_time: after.last_used_time,
            ..made.clone()
        }
    );
    assert_eq!((after.update_time, root.verdict(&secret).await), (update_time, Verdict::Expired));
    let expired = v1::ListKeysRequest { parent: owner.clone(), state: KeyState::Expired.into(), ..Default::default() };
    assert_eq!(root.keys.list_keys(expired).await.expect("keys").into_inner().keys.len(), 2);
    assert_eq!(get_key(&mut root, &stays.name).await, stays);
    assert_eq!(slots(&app, &tenant).await, 1);
    let told = told(&mut root, &tenant, NotificationKind::KeyExpired).await;
    assert_eq!(told.len(), 2, "once each");
    let of_made = told.iter().find(|one| one.key == made.name).expect("it has expired");
    assert_eq!((of_made.expire_time, of_made.create_time), (made.expire_time, Some(timestamp(app.clock.now()))));
    let events = events(&mut root, &tenant, &made.name).await;
    let by_us: Vec<_> = events.iter().filter(|event| event.method == "system").collect();
    let [event] = by_us[..] else { panic!("one event of our own, not {events:#?}") };
    assert_eq!((event.revision, event.target.as_str()), (before + 1, made.name.as_str()));
}

async fn a_create_that_needs_the_slot_records_the_end_too(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (first, secret) = key_and_secret(&mut root, &owner, "first", 3_600).await;
    for number in 1..10 {
        key(&mut root, &owner, &format!("key {number}"), DAY).await;
    }
    root.try_create_key(&owner, &[]).await.expect_err("ten are live");
    assert_eq!(run(&mut root, &tenant).await.planned, 10);
    app.advance(TimeDelta::hours(1));
    let eleventh = root.create_key(&owner, &[]).await.0;
    assert_eq!(eleventh.state(), KeyState::Enabled);
    let told = told(&mut root, &tenant, NotificationKind::KeyExpired).await;
    assert_eq!(told.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), [first.name.as_str()]);
    let warnings = list(&mut root, v1::ListNotificationsRequest { kind: 1, unread: true, ..all_of(&tenant) }).await;
    assert!(warnings.len() == 9 && warnings.iter().all(|one| one.key != first.name), "its warning is read");
    assert_eq!(slots(&app, &tenant).await, 10);
    assert_eq!(root.verdict(&secret).await, Verdict::Expired);
    root.try_create_key(&owner, &[]).await.expect_err("ten are live again");
    app.running.authority().record_expiry().await.expect("nothing to do");
    assert_eq!(super::told(&mut root, &tenant, NotificationKind::KeyExpired).await.len(), 1, "not told again");
}

async fn many_ends_at_once_are_recorded_in_steps(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    many_keys(&root, &tenant, 120, 3_600).await;
    assert_eq!(slots(&app, &tenant).await, 1_200);
    let before = revision(&app).await;
    app.advance(TimeDelta::hours(1));
    let recorded = app.running.authority().record_expiry().await.expect("recorded");
    assert!(recorded <= 1_200 && slots(&app, &tenant).await == 0, "{recorded}");
    let of_system = events(&mut root, "tenants/system", "").await;
    let steps = of_system.iter().filter(|event| event.target == "keys/expired").count();
    assert_eq!(revision(&app).await - before, i64::try_from(steps).expect("a count"), "one change each");
    // The scheduler's own bell may have taken a step at the same time.
    assert!((3..=4).contains(&steps), "{steps} steps of at most 500");
    assert_eq!(told(&mut root, &tenant, NotificationKind::KeyExpired).await.len(), 1_200);
    assert_eq!(app.running.authority().record_expiry().await.expect("nothing to do"), 0);
}
