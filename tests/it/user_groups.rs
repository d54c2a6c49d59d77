//! User groups: their life, their members, and what happens when the last subscriber goes.

mod members;
mod pages;
mod subscribers;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use claviger::proto::v1;
use futures_util::future::join_all;
use prost_types::{FieldMask, Timestamp};
use tonic::{Code, Status};

use crate::harness::{Client, Engine, TestApp, errors::reason};

on_both_engines!(
    a_group_lives_from_create_to_delete,
    a_group_belongs_to_its_tenant,
    of_updates_that_saw_the_same_revision_one_wins,
);

fn timestamp(app: &TestApp) -> Timestamp {
    let now = app.clock.now();
    Timestamp { seconds: now.timestamp(), nanos: i32::try_from(now.timestamp_subsec_nanos()).expect("nanos") }
}

fn member(email: &str) -> v1::UserGroupMember {
    v1::UserGroupMember { email: email.to_owned(), ..Default::default() }
}

async fn get(root: &mut Client, name: &str) -> Result<v1::UserGroup, Status> {
    let got = root.user_groups.get_user_group(v1::GetUserGroupRequest { name: name.to_owned() }).await?;
    Ok(got.into_inner().user_group.expect("a user group"))
}

async fn create(root: &mut Client, tenant: &str, id: &str, group: v1::UserGroup) -> Result<v1::UserGroup, Status> {
    let (parent, user_group_id) = (tenant.to_owned(), id.to_owned());
    let request = v1::CreateUserGroupRequest { parent, user_group_id, user_group: Some(group) };
    Ok(root.user_groups.create_user_group(request).await?.into_inner().user_group.expect("a user group"))
}

/// Writes these fields of a group.
async fn update(
    root: &mut Client,
    group: v1::UserGroup,
    paths: &[&str],
    expected_revision: i64,
) -> Result<v1::UserGroup, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
    let request = v1::UpdateUserGroupRequest { user_group: Some(group), update_mask, expected_revision };
    Ok(root.user_groups.update_user_group(request).await?.into_inner().user_group.expect("a user group"))
}

/// Writes the members of a group.
async fn set_members(root: &mut Client, name: &str, members: Vec<v1::UserGroupMember>) -> v1::UserGroup {
    let group = v1::UserGroup { name: name.to_owned(), members, ..Default::default() };
    update(root, group, &["members"], 0).await.expect("updated")
}

async fn delete(root: &mut Client, name: &str) -> Result<(), Status> {
    let request = v1::DeleteUserGroupRequest { name: name.to_owned(), expected_revision: 0 };
    root.user_groups.delete_user_group(request).await.map(drop)
}

/// Method, caller and revision of every event about a group, the last change first: this clock stands still, and events of
/// one millisecond come in any order.
async fn events(root: &mut Client, tenant: &str, target: &str) -> Vec<(String, String, i64)> {
    let (parent, target) = (tenant.to_owned(), target.to_owned());
    let request = v1::ListAuditEventsRequest { parent, target, ..Default::default() };
    let mut listed = root.audit.list_audit_events(request).await.expect("events").into_inner().audit_events;
    listed.sort_by_key(|event| std::cmp::Reverse(event.revision));
    listed.into_iter().map(|event| (event.method, event.caller, event.revision)).collect()
}

async fn a_group_lives_from_create_to_delete(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let name = format!("{tenant}/userGroups/ops");
    let wanted = v1::UserGroup {
        display_name: "Operations".to_owned(),
        account_alerts: true,
        members: vec![
            v1::UserGroupMember { display_name: "Żaneta, \"the\" boss".to_owned(), ..member("Z.O'Neill@Example.COM") },
            member("ops@example.com"),
        ],
        ..Default::default()
    };
    let made = create(&mut root, &tenant, "ops", wanted.clone()).await.expect("a user group");
    let now = Some(timestamp(&app));
    let expected =
        v1::UserGroup { name: name.clone(), create_time: now, update_time: now, revision: made.revision, ..wanted };
    assert_eq!(made, expected);
    assert_eq!(get(&mut root, &name).await.expect("a user group"), made);
    let status = create(&mut root, &tenant, "ops", made.clone()).await.expect_err("taken");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "ID_TAKEN"));

    app.advance(TimeDelta::hours(1));
    let edit = v1::UserGroup { name: name.clone(), display_name: "Ops".to_owned(), ..Default::default() };
    let edited = update(&mut root, edit, &["display_name", "account_alerts"], made.revision).await.expect("updated");
    assert!(edited.revision > made.revision);
    let expected = v1::UserGroup {
        display_name: "Ops".to_owned(),
        account_alerts: false,
        update_time: Some(timestamp(&app)),
        revision: edited.revision,
        ..made.clone()
    };
    assert_eq!(edited, expected);
    assert_eq!(get(&mut root, &name).await.expect("a user group"), edited);
    let turned: Vec<_> = edited.members.iter().rev().cloned().collect();
    let edited_again = set_members(&mut root, &name, turned.clone()).await;
    assert_eq!(edited_again.members, turned, "the order is the caller's");

    delete(&mut root, &name).await.expect("deleted");
    for status in [get(&mut root, &name).await.map(drop), delete(&mut root, &name).await] {
        assert_eq!(reason(&status.expect_err("it is gone")), "RESOURCE_NOT_FOUND");
    }
    let empty = v1::UserGroup { display_name: "Other people".to_owned(), ..Default::default() };
    let new = create(&mut root, &tenant, "ops", empty).await.expect("the id is free");
    assert_eq!(new.members, [], "nobody came along");

    let told = events(&mut root, &tenant, &name).await;
    let methods = ["CreateUserGroup", "DeleteUserGroup", "UpdateUserGroup", "UpdateUserGroup", "CreateUserGroup"];
    let expected = methods.map(|method| format!("claviger.v1.UserGroupService/{method}"));
    assert_eq!(told.iter().map(|(method, ..)| method.clone()).collect::<Vec<_>>(), expected);
    assert!(told.iter().all(|(_, caller, _)| caller.starts_with("tenants/system/serviceUsers/root/keys/")));
    let revisions: BTreeSet<i64> = told.iter().map(|(.., revision)| *revision).collect();
    let known = [made.revision, edited.revision, edited_again.revision, new.revision];
    assert!(revisions.len() == 5 && known.iter().all(|revision| revisions.contains(revision)));
}

async fn a_group_belongs_to_its_tenant(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let ours = root.create_user_group(&acme, "ops", &["ours@example.com"]).await;
    let theirs = root.create_user_group(&bolt, "ops", &["theirs@example.com"]).await;
    root.create_user_group(&bolt, "more", &["ours@example.com"]).await;
    set_members(&mut root, &ours, vec![member("changed@example.com")]).await;
    assert_eq!(get(&mut root, &theirs).await.expect("theirs").members, [member("theirs@example.com")]);
    let list = v1::ListUserGroupsRequest { parent: acme.clone(), ..Default::default() };
    let listed = root.user_groups.list_user_groups(list.clone()).await.expect("a list").into_inner().user_groups;
    assert_eq!(listed, [get(&mut root, &ours).await.expect("ours")]);

    let request = v1::DeleteTenantRequest { name: acme.clone(), force: true, expected_revision: 0 };
    root.tenants.delete_tenant(request).await.expect("deleted");
    let edit = v1::UserGroup { name: ours.clone(), display_name: "late".to_owned(), ..Default::default() };
    let late = [
        get(&mut root, &ours).await.map(drop),
        root.user_groups.list_user_groups(list).await.map(drop),
        update(&mut root, edit.clone(), &["display_name"], 0).await.map(drop),
        create(&mut root, &acme, "late", edit).await.map(drop),
        delete(&mut root, &ours).await,
    ];
    for status in late {
        assert_eq!(reason(&status.expect_err("its tenant is gone")), "RESOURCE_NOT_FOUND");
    }
    app.advance(TimeDelta::days(31));
    assert_eq!(app.running.authority().housekeep().await.expect("purged").tenants, 1);
    let tenant = root.create_tenant("acme").await;
    assert_eq!(reason(&get(&mut root, &ours).await.expect_err("purged")), "RESOURCE_NOT_FOUND");
    root.create_user_group(&tenant, "ops", &["ours@example.com"]).await;
}

async fn of_updates_that_saw_the_same_revision_one_wins(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let name = root.create_user_group(&tenant, "ops", &["ops@example.com"]).await;
    let seen = get(&mut root, &name).await.expect("a user group").revision;
    let updates = (0..20).map(|number| {
        let (mut root, name) = (root.clone(), name.clone());
        let members = (0..=number).map(|index| member(&format!("{number}-{index}@example.com"))).collect();
        async move {
            let group = v1::UserGroup { name, display_name: format!("number {number}"), members, ..Default::default() };
            update(&mut root, group, &["display_name", "members"], seen).await
        }
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(updates).await.into_iter().partition(Result::is_ok);
    let [Ok(winner)] = &won[..] else { panic!("one winner, not {}", won.len()) };
    assert!(lost.iter().all(|status| status.as_ref().is_err_and(|it| reason(it) == "REVISION_MISMATCH")));
    assert_eq!(get(&mut root, &name).await.expect("a user group"), *winner, "whole and unmixed");
}
