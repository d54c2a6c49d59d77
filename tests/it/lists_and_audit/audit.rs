//! The audit trail: one event for each change, none for what changed nothing, and refusals counted.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor};
use v1::AuditOutcome;

use super::*;
use crate::raw;
use crate::rpcs::{Foreign, OWN, READ, WRITE, rows};

on_both_engines!(
    each_change_leaves_one_event_that_says_everything,
    the_end_of_a_tenant_can_still_be_read,
    what_changed_nothing_leaves_no_event,
    refusals_are_counted_for_each_caller_method_and_reason,
    refusals_are_counted_on_while_the_first_are_written,
);

/// Methods that change nothing or keep books only (notifications), and four whose events have tests of their own (below,
/// key_groups.rs, retrievable_keys.rs and user_groups.rs).
const LEFT_OUT: [&str; 13] = [
    "Get",
    "List",
    "Verify",
    "BatchVerify",
    "Check",
    "Watch",
    "Mark",
    "Preview",
    "Run",
    "Reveal",
    "DeleteTenant",
    "DeleteKeyGroup",
    "DeleteUserGroup",
];

/// Name and revision of the resource that an answer holds; a rotation's is the predecessor.
fn changed(rpc: &str, answer: &[u8]) -> (String, i64) {
    let message = DynamicMessage::decode(raw::rpc(rpc).output(), answer).expect("an answer");
    let wanted = |field: &FieldDescriptor| match rpc.ends_with("RotateKey") {
        true => field.name() == "predecessor",
        false => field.kind().as_message().is_some(),
    };
    let (_, resource) = message.fields().find(|(field, _)| wanted(field)).expect("a resource");
    let resource = resource.as_message().expect("a message");
    let name = resource.get_field_by_name("name").expect("a name").as_str().expect("a text").to_owned();
    (name, resource.get_field_by_name("revision").expect("a revision").as_i64().expect("a number"))
}

async fn each_change_leaves_one_event_that_says_everything(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let bearer = format!("Bearer {}", app.root_secret);
    let root_key = format!("tenants/system/serviceUsers/root/keys/{}", &app.root_secret[4..26]);
    let mut changes = 0;
    for (number, row) in rows().iter().enumerate() {
        let method = row.rpc.rsplit_once('/').expect("a method").1;
        if LEFT_OUT.iter().any(|left_out| method.starts_with(left_out)) {
            continue;
        }
        changes += 1;
        let place = Place::make(&mut root, &format!("acme-{number}")).await;
        let request_id = format!("change-{number}");
        if method.starts_with("Enable") {
            let disable = crate::rpcs::row(&row.rpc.replace("/Enable", "/Disable"));
            raw::call_as(&root.channel, &app.root_secret, disable.rpc, (disable.request)(&place))
                .await
                .expect("disabled");
        }
        let metadata = [("authorization", bearer.as_str()), ("x-request-id", request_id.as_str())];
        let answer = raw::call(&root.channel, row.rpc, &metadata, (row.request)(&place)).await.expect(row.rpc);
        let (target, revision) = changed(row.rpc, &answer);
        let tenant = target.split('/').take(2).collect::<Vec<_>>().join("/");
        let told = events(&mut root, &tenant, "").await;
        let told: Vec<_> = told.into_iter().filter(|event| event.request_id == request_id).collect();
        let [event] = &told[..] else { panic!("{}: one event, not {told:#?}", row.rpc) };
        let said = (event.caller.as_str(), event.method.as_str(), event.target.as_str(), event.revision);
        assert_eq!(said, (root_key.as_str(), row.rpc, target.as_str(), revision));
        let expected = done(event.clone(), now(&app));
        assert_eq!(*event, expected, "{}", row.rpc);
        assert!(event.name.starts_with(&format!("{tenant}/auditEvents/")), "{}", event.name);
        let of_target = events(&mut root, &tenant, &target).await;
        assert!(of_target.contains(event) && of_target.iter().all(|event| event.target == target), "{}", row.rpc);
    }
    assert_eq!(changes, 20, "every change but three");
}

/// The event, with what it must say besides who, how, what and which revision.
fn done(event: v1::AuditEvent, now: prost_types::Timestamp) -> v1::AuditEvent {
    v1::AuditEvent {
        event_time: Some(now),
        outcome: AuditOutcome::Done.into(),
        reason: String::new(),
        client_address: "127.0.0.1".to_owned(),
        count: 1,
        ..event
    }
}

fn now(app: &TestApp) -> prost_types::Timestamp {
    let now = app.clock.now();
    prost_types::Timestamp {
        seconds: now.timestamp(),
        nanos: i32::try_from(now.timestamp_subsec_nanos()).expect("nanos"),
    }
}

async fn the_end_of_a_tenant_can_still_be_read(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let delete = v1::DeleteTenantRequest { name: place.tenant.clone(), force: true, expected_revision: 0 };
    let deleted = root.tenants.delete_tenant(delete).await.expect("deleted").into_inner().tenant.expect("a tenant");
    let request = v1::ListAuditEventsRequest { parent: place.tenant, ..Default::default() };
    let listed = root.audit.list_audit_events(request).await.expect("the trail of a deleted tenant").into_inner();
    let ends = listed.audit_events.iter().filter(|event| event.revision == deleted.revision);
    assert_eq!(ends.map(|event| event.method.as_str()).collect::<Vec<_>>(), ["claviger.v1.TenantService/DeleteTenant"]);
}

async fn what_changed_nothing_leaves_no_event(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let disabled = disable_key(&mut root, &place.key).await;
    let before = events(&mut root, &place.tenant, "").await;
    assert_eq!(
        before.len(),
        8,
        "tenant, service user, key, a user group made and deleted, another, a key group, and the key's disabling"
    );
    assert_eq!(disable_key(&mut root, &place.key).await, disabled, "a no-op");
    let same = v1::Key { name: place.key.clone(), display_name: disabled.display_name, ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned(), "scopes".to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(same), update_mask, expected_revision: 0 };
    root.keys.update_key(request).await.expect("a no-op");
    let enable = v1::EnableServiceUserRequest { name: place.owner.clone(), expected_revision: 0 };
    root.service_users.enable_service_user(enable).await.expect("a no-op");
    let enable = v1::EnableTenantRequest { name: place.tenant.clone(), expected_revision: 0 };
    root.tenants.enable_tenant(enable).await.expect("a no-op");
    let same = v1::UserGroup { name: place.group.clone(), display_name: "billing".to_owned(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
    let request = v1::UpdateUserGroupRequest { user_group: Some(same), update_mask, expected_revision: 0 };
    root.user_groups.update_user_group(request).await.expect("a no-op");
    let same = v1::KeyGroup { name: place.key_group.clone(), display_name: "billing".to_owned(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned(), "description".to_owned()] });
    let request = v1::UpdateKeyGroupRequest { key_group: Some(same), update_mask, expected_revision: 0 };
    root.key_groups.update_key_group(request).await.expect("a no-op");
    let rotate = v1::RotateKeyRequest { name: place.key.clone(), ..Default::default() };
    root.keys.rotate_key(rotate).await.expect_err("disabled");
    let lost = v1::RevokeKeyRequest {
        name: place.key.clone(),
        reason: String::new(),
        expected_revision: 1,
        wait_for_replicas: None,
    };
    root.keys.revoke_key(lost).await.expect_err("a lost race");
    let bad = v1::RevokeKeyRequest {
        name: place.key.clone(),
        reason: "\0".to_owned(),
        expected_revision: 0,
        wait_for_replicas: None,
    };
    root.keys.revoke_key(bad).await.expect_err("a bad reason");
    let taken = v1::ServiceUser { display_name: "taken".to_owned(), ..Default::default() };
    let (parent, service_user_id) = (place.tenant.clone(), "billing".to_owned());
    let taken = v1::CreateServiceUserRequest { parent, service_user_id, service_user: Some(taken) };
    root.service_users.create_service_user(taken).await.expect_err("taken");
    app.running.authority().write_denials_now().await;
    assert_eq!(events(&mut root, &place.tenant, "").await, before);
    assert_eq!(app.running.authority().denials().take().len(), 0, "none of these is a denial");
}

/// Counted refusals of a tenant, by caller, method and reason; each seen once.
async fn denials(app: &TestApp, root: &mut Client, tenant: &str) -> BTreeMap<(String, String, String), i64> {
    app.running.authority().write_denials_now().await;
    let mut counts = BTreeMap::new();
    for event in events(root, tenant, "").await.into_iter().filter(|event| event.outcome() == AuditOutcome::Denied) {
        assert_eq!((event.revision, event.target.as_str(), event.client_address.as_str()), (0, "", "127.0.0.1"));
        let twice = counts.insert((event.caller, event.method, event.reason), event.count);
        assert_eq!(twice, None, "equal refusals are one event");
    }
    counts
}

async fn refusals_are_counted_for_each_caller_method_and_reason(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (place, foreign) = (Place::make(&mut root, "acme").await, Place::make(&mut root, "bolt").await);
    let other = root.create_service_user(&place.tenant, "other").await;
    let mut expected = BTreeMap::new();
    for (right, wrong) in [(READ, "RIGHT_MISSING"), (OWN, "WIDER_THAN_CALLER"), (WRITE, "RIGHT_NOT_HELD")] {
        let (key, secret) = root.create_key(&place.owner, &[right]).await;
        let mut caller = root.with(Some(&secret));
        for _ in 0..3 {
            let scopes: &[&str] = if right == WRITE { &["claviger:verify"] } else { &[] };
            caller.try_create_key(&other, scopes).await.expect_err("refused");
        }
        expected.insert((key.name.clone(), "claviger.v1.KeyService/CreateKey".to_owned(), wrong.to_owned()), 3);
        for row in rows().iter().filter(|row| row.foreign == Foreign::NotFound && row.rights.contains(&right)) {
            raw::call_as(&root.channel, &secret, row.rpc, (row.request)(&foreign)).await.expect_err("foreign");
            expected.insert((key.name.clone(), row.rpc.to_owned(), "RESOURCE_NOT_FOUND".to_owned()), 1);
        }
    }
    assert_eq!(denials(&app, &mut root, &place.tenant).await, expected);
    assert_eq!(
        denials(&app, &mut root, &foreign.tenant).await,
        BTreeMap::new(),
        "a stranger's tries aren't told there"
    );

    for wrong in [None, None, Some("nothing"), Some(&place.secret[..75])] {
        let caller = root.with(wrong);
        caller.clone().try_create_key(&other, &[]).await.expect_err("unknown");
    }
    let unknown = |reason: &str| (String::new(), "claviger.v1.KeyService/CreateKey".to_owned(), reason.to_owned());
    let expected = BTreeMap::from([(unknown("CALLER_MISSING"), 2), (unknown("CALLER_INVALID"), 2)]);
    assert_eq!(denials(&app, &mut root, "tenants/system").await, expected, "unknown callers are told to system");
}

async fn refusals_are_counted_on_while_the_first_are_written(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let secret = root.create_key(&place.owner, &[READ]).await.1;
    for _ in 0..2 {
        let calls = (0..25).map(|_| {
            let (mut caller, owner) = (root.with(Some(&secret)), place.owner.clone());
            tokio::spawn(async move { caller.try_create_key(&owner, &[]).await.map(drop).expect_err("refused") })
        });
        futures_util::future::join_all(calls).await;
        app.running.authority().write_denials_now().await;
    }
    let written = events(&mut root, &place.tenant, "").await;
    let counts: Vec<i64> =
        written.iter().filter(|event| event.outcome() == AuditOutcome::Denied).map(|event| event.count).collect();
    assert_eq!(counts, [25, 25], "one event for each time they were written");
}
