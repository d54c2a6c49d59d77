//! Key groups: their life, and the keys in them.

mod keys;
mod leaving;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use claviger::proto::v1;
use futures_util::future::join_all;
use prost_types::{FieldMask, Timestamp};
use sea_orm::ConnectionTrait;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Engine, TestApp, errors::bad_fields, errors::reason};
use crate::rig::database;
use crate::warning_rows::bulk::quoted;

on_both_engines!(
    a_group_lives_from_create_to_delete,
    a_group_belongs_to_its_tenant,
    of_updates_that_saw_the_same_revision_one_wins,
    bad_ids_and_names_are_refused,
    a_tenant_has_a_thousand_groups_and_no_more,
);

fn timestamp(app: &TestApp) -> Timestamp {
    let now = app.clock.now();
    Timestamp { seconds: now.timestamp(), nanos: i32::try_from(now.timestamp_subsec_nanos()).expect("nanos") }
}

fn group(display_name: &str, description: &str) -> v1::KeyGroup {
    let (display_name, description) = (display_name.to_owned(), description.to_owned());
    v1::KeyGroup { display_name, description, ..Default::default() }
}

async fn get(root: &mut Client, name: &str) -> Result<v1::KeyGroup, Status> {
    let got = root.key_groups.get_key_group(v1::GetKeyGroupRequest { name: name.to_owned() }).await?;
    Ok(got.into_inner().key_group.expect("a key group"))
}

async fn create(root: &mut Client, tenant: &str, id: &str, group: v1::KeyGroup) -> Result<v1::KeyGroup, Status> {
    let (parent, key_group_id) = (tenant.to_owned(), id.to_owned());
    let request = v1::CreateKeyGroupRequest { parent, key_group_id, key_group: Some(group) };
    Ok(root.key_groups.create_key_group(request).await?.into_inner().key_group.expect("a key group"))
}

/// Writes these fields of a group.
async fn update(
    root: &mut Client,
    group: v1::KeyGroup,
    paths: &[&str],
    expected_revision: i64,
) -> Result<v1::KeyGroup, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = v1::UpdateKeyGroupRequest { key_group: Some(group), update_mask, expected_revision };
    Ok(root.key_groups.update_key_group(request).await?.into_inner().key_group.expect("a key group"))
}

async fn delete(root: &mut Client, name: &str, force: bool) -> Result<(), Status> {
    let request = v1::DeleteKeyGroupRequest { name: name.to_owned(), force, expected_revision: 0 };
    root.key_groups.delete_key_group(request).await.map(drop)
}

/// The first page.
async fn list(root: &mut Client, parent: &str) -> Result<Vec<v1::KeyGroup>, Status> {
    let request = v1::ListKeyGroupsRequest { parent: parent.to_owned(), ..Default::default() };
    Ok(root.key_groups.list_key_groups(request).await?.into_inner().key_groups)
}

/// Method and revision of every event about a group, the last change first: this clock stands still, and events of one
/// millisecond come in any order.
async fn events(root: &mut Client, tenant: &str, target: &str) -> Vec<(String, i64)> {
    let (parent, target) = (tenant.to_owned(), target.to_owned());
    let request = v1::ListAuditEventsRequest { parent, target, ..Default::default() };
    let mut listed = root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events;
    listed.sort_by_key(|event| std::cmp::Reverse(event.revision));
    listed.into_iter().map(|event| (event.method, event.revision)).collect()
}

/// The code and the reason of a refusal.
fn told<T: std::fmt::Debug>(refused: Result<T, Status>) -> (Code, String) {
    let status = refused.expect_err("refused");
    (status.code(), reason(&status))
}

fn missing() -> (Code, String) {
    (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned())
}

async fn a_group_lives_from_create_to_delete(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let name = format!("{tenant}/keyGroups/live");
    let wanted = group("Live, \"the\" one", "What pays us.\nSince 2019.");
    let made = create(&mut root, &tenant, "live", wanted.clone()).await.expect("a key group");
    let now = Some(timestamp(&app));
    let expected =
        v1::KeyGroup { name: name.clone(), create_time: now, update_time: now, revision: made.revision, ..wanted };
    assert_eq!(made, expected);
    assert_eq!(get(&mut root, &name).await.expect("a key group"), made);
    let taken = create(&mut root, &tenant, "live", group("other", "")).await;
    assert_eq!(told(taken), (Code::AlreadyExists, "ID_TAKEN".to_owned()));

    app.advance(TimeDelta::hours(1));
    let edit = v1::KeyGroup { name: name.clone(), ..group("Live", "not in the mask") };
    let edited = update(&mut root, edit.clone(), &["display_name"], made.revision).await.expect("updated");
    let (update_time, revision) = (Some(timestamp(&app)), edited.revision);
    assert!(revision > made.revision);
    assert_eq!(edited, v1::KeyGroup { display_name: "Live".to_owned(), update_time, revision, ..made.clone() });
    assert_eq!(get(&mut root, &name).await.expect("a key group"), edited);
    assert_eq!(update(&mut root, edit, &["display_name"], 0).await.expect("a no-op"), edited);
    let cleared = v1::KeyGroup { name: name.clone(), ..Default::default() };
    let cleared = update(&mut root, cleared, &["description"], 0).await.expect("updated");
    assert_eq!((cleared.display_name.as_str(), cleared.description.as_str()), ("Live", ""));

    delete(&mut root, &name, false).await.expect("deleted");
    assert_eq!(told(get(&mut root, &name).await), missing());
    for force in [false, true] {
        assert_eq!(told(delete(&mut root, &name, force).await), missing());
    }
    let new = create(&mut root, &tenant, "live", group("Other keys", "")).await.expect("the id is free");
    assert_eq!(list(&mut root, &tenant).await.expect("a list"), std::slice::from_ref(&new));

    let told = events(&mut root, &tenant, &name).await;
    let methods = ["CreateKeyGroup", "DeleteKeyGroup", "UpdateKeyGroup", "UpdateKeyGroup", "CreateKeyGroup"];
    let expected = methods.map(|method| format!("claviger.v1.KeyGroupService/{method}"));
    assert_eq!(told.iter().map(|(method, _)| method.clone()).collect::<Vec<_>>(), expected);
    let revisions: BTreeSet<i64> = told.iter().map(|(_, revision)| *revision).collect();
    let known = [made.revision, edited.revision, cleared.revision, new.revision];
    assert!(revisions.len() == 5 && known.iter().all(|revision| revisions.contains(revision)));
}

async fn a_group_belongs_to_its_tenant(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let (ours, theirs) = (root.create_key_group(&acme, "live").await, root.create_key_group(&bolt, "live").await);
    root.create_key_group(&bolt, "more").await;
    let edit = v1::KeyGroup { name: ours.clone(), ..group("changed", "") };
    update(&mut root, edit.clone(), &["display_name"], 0).await.expect("updated");
    assert_eq!(get(&mut root, &theirs).await.expect("theirs").display_name, "live");
    assert_eq!(list(&mut root, &acme).await.expect("a list"), [get(&mut root, &ours).await.expect("ours")]);

    let request = v1::DeleteTenantRequest { name: acme.clone(), force: true, expected_revision: 0 };
    root.tenants.delete_tenant(request).await.expect("deleted");
    let late = [
        get(&mut root, &ours).await.map(drop),
        list(&mut root, &acme).await.map(drop),
        update(&mut root, edit.clone(), &["display_name"], 0).await.map(drop),
        create(&mut root, &acme, "late", edit).await.map(drop),
        delete(&mut root, &ours, true).await,
    ];
    for late in late {
        assert_eq!(told(late), missing(), "its tenant is gone");
    }
    app.advance(TimeDelta::days(31));
    let purged = app.running.authority().housekeep().await.expect("purged");
    assert_eq!((purged.tenants, purged.key_groups), (1, 1));
    let acme = root.create_tenant("acme").await;
    assert_eq!(told(get(&mut root, &ours).await), missing(), "purged");
    root.create_key_group(&acme, "live").await;
    assert_eq!(list(&mut root, &bolt).await.expect("a list").len(), 2, "nobody else's are");
}

async fn of_updates_that_saw_the_same_revision_one_wins(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let name = root.create_key_group(&tenant, "live").await;
    let seen = get(&mut root, &name).await.expect("a key group").revision;
    let updates = (0..20).map(|number| {
        let (mut root, name) = (root.clone(), name.clone());
        async move {
            let text = format!("number {number}");
            let group = v1::KeyGroup { name, ..group(&text, &text) };
            update(&mut root, group, &["display_name", "description"], seen).await
        }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(updates).await.into_iter().partition(Result::is_ok);
    let [Ok(winner)] = &won[..] else { panic!("one winner, not {}", won.len()) };
    let aborted = (Code::Aborted, "REVISION_MISMATCH".to_owned());
    assert!(lost.into_iter().all(|lost| told(lost) == aborted));
    assert_eq!(get(&mut root, &name).await.expect("a key group"), *winner, "whole and unmixed");
    let request = v1::DeleteKeyGroupRequest { name: name.clone(), force: true, expected_revision: seen };
    assert_eq!(told(root.key_groups.delete_key_group(request).await), aborted);
    let request = v1::DeleteKeyGroupRequest { name, force: false, expected_revision: winner.revision };
    root.key_groups.delete_key_group(request).await.expect("deleted");
}

async fn bad_ids_and_names_are_refused(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    for id in ["", "-", "Live", "1live", "system", "li/ve", &"a".repeat(64)] {
        let status = create(&mut root, &tenant, id, group("Live", "")).await.expect_err("a bad id");
        assert_eq!(bad_fields(&status), ["key_group_id"], "{id}");
    }
    let status = create(&mut root, "tenants/Acme", "1", group("", &"x".repeat(1_001))).await.expect_err("all bad");
    let all = ["parent", "key_group_id", "key_group.display_name", "key_group.description"];
    assert_eq!(bad_fields(&status), all);
    for name in ["", "tenants/acme", "tenants/acme/keyGroups/-", "tenants/acme/userGroups/live"] {
        assert_eq!(bad_fields(&get(&mut root, name).await.expect_err("a bad name")), ["name"], "{name}");
        assert_eq!(bad_fields(&delete(&mut root, name, true).await.expect_err("a bad name")), ["name"], "{name}");
    }
    assert_eq!(list(&mut root, &tenant).await.expect("a list"), []);
}

const MOST: usize = 1_000;

async fn a_tenant_has_a_thousand_groups_and_no_more(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let now = quoted(app.clock.now());
    let row = |number: usize| format!("('acme', 'g{number:03}', 'A group', '', {now}, {now}, 1)");
    let rows: Vec<String> = (2..MOST).map(row).collect();
    let into = "key_group (tenant_id, id, display_name, description, create_time, update_time, revision)";
    let connection = database(&app.place).await;
    connection.execute_unprepared(&format!("INSERT INTO {into} VALUES {}", rows.join(", "))).await.expect("rows");
    let creates = (0..8).map(|number| {
        let (mut root, tenant) = (root.clone(), tenant.clone());
        async move { create(&mut root, &tenant, &format!("late-{number}"), group("late", "")).await }
    });
    let (made, refused): (Vec<_>, Vec<_>) = join_all(creates).await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (2, 6));
    for refused in refused {
        let status = refused.expect_err("one too many");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "KEY_GROUP_LIMIT_REACHED"));
        let quota = status.get_details_quota_failure().expect("QuotaFailure");
        assert_eq!(quota.violations[0].subject, tenant);
    }
    delete(&mut root, &format!("{tenant}/keyGroups/g500"), false).await.expect("deleted");
    create(&mut root, &tenant, "room", group("room", "")).await.expect("one went");
    let bolt = root.create_tenant("bolt").await;
    root.create_key_group(&bolt, "live").await;
}
