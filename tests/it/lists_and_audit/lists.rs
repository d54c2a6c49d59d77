//! Lists: every entry once, in order, filtered by what is true now.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use v1::KeyState;

use super::*;

on_both_engines!(
    paging_visits_every_entry_once_in_order,
    keys_are_listed_by_the_state_they_are_in_now,
    keys_are_listed_by_when_they_expire,
    deleted_entries_are_listed_only_when_asked_for,
    a_list_of_nothing_there_is_not_found,
);

/// What is paged through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Keys,
    AllKeys,
    ServiceUsers,
    KeyGroups,
    UserGroups,
    Tenants,
    Events,
}

/// One page: the names on it, and the next token.
async fn page(root: &mut Client, list: List, at: &Place, size: i32, token: String) -> (Vec<String>, String) {
    let (page_size, page_token) = (size, token);
    let tenant = at.tenant.clone();
    match list {
        List::Keys | List::AllKeys => {
            let parent = if list == List::Keys { at.owner.clone() } else { format!("{tenant}/serviceUsers/-") };
            let request = v1::ListKeysRequest { parent, page_size, page_token, ..Default::default() };
            let page = root.keys.list_keys(request).await.expect("a page").into_inner();
            (page.keys.into_iter().map(|key| key.name).collect(), page.next_page_token)
        }
        List::ServiceUsers => {
            let request = v1::ListServiceUsersRequest { parent: tenant, page_size, page_token, show_deleted: false };
            let page = root.service_users.list_service_users(request).await.expect("a page").into_inner();
            (page.service_users.into_iter().map(|user| user.name).collect(), page.next_page_token)
        }
        List::KeyGroups => {
            let request = v1::ListKeyGroupsRequest { parent: tenant, page_size, page_token };
            let page = root.key_groups.list_key_groups(request).await.expect("a page").into_inner();
            (page.key_groups.into_iter().map(|group| group.name).collect(), page.next_page_token)
        }
        List::UserGroups => {
            let request = v1::ListUserGroupsRequest { parent: tenant, page_size, page_token };
            let page = root.user_groups.list_user_groups(request).await.expect("a page").into_inner();
            (page.user_groups.into_iter().map(|group| group.name).collect(), page.next_page_token)
        }
        List::Tenants => {
            let request = v1::ListTenantsRequest { page_size, page_token, show_deleted: false };
            let page = root.tenants.list_tenants(request).await.expect("a page").into_inner();
            (page.tenants.into_iter().map(|tenant| tenant.name).collect(), page.next_page_token)
        }
        List::Events => {
            let request = v1::ListAuditEventsRequest { parent: tenant, page_size, page_token, target: String::new() };
            let page = root.audit.list_audit_events(request).await.expect("a page").into_inner();
            (page.audit_events.into_iter().map(|event| event.name).collect(), page.next_page_token)
        }
    }
}

/// More pages than any list of this test has.
const MOST_PAGES: usize = 100;

/// Every name, and how many pages it took. No page is longer than asked for.
async fn pages(root: &mut Client, list: List, at: &Place, size: i32) -> (Vec<String>, usize) {
    let (mut names, mut token, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let (some, next) = page(root, list, at, size, token).await;
        assert!(some.len() <= usize::try_from(size).expect("a size"), "{list:?}: a page too long");
        names.extend(some);
        count += 1;
        assert!(count <= MOST_PAGES, "{list:?} in pages of {size} has no end");
        if next.is_empty() {
            return (names, count);
        }
        token = next;
    }
}

/// Ids whose order differs between ways of comparing text.
const IDS: [&str; 7] = ["a", "a-b", "a0", "aa", "ab", "a-a", "b"];

async fn paging_visits_every_entry_once_in_order(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    Place::make(&mut root, "acme-not").await;
    let mut keys = BTreeSet::from([place.key.clone()]);
    let mut all_keys = keys.clone();
    for id in IDS {
        app.advance(TimeDelta::milliseconds(1));
        root.create_tenant(id).await;
        let owner = root.create_service_user(&place.tenant, id).await;
        root.create_user_group(&place.tenant, id, &[]).await;
        root.create_key_group(&place.tenant, id).await;
        all_keys.insert(root.create_key(&owner, &[]).await.0.name);
        keys.insert(root.create_key(&place.owner, &[]).await.0.name);
    }
    all_keys.extend(keys.iter().cloned());
    let named = |prefix: &str, more: &[&str]| IDS.iter().chain(more).map(|id| format!("{prefix}{id}")).collect();
    let users: BTreeSet<String> = named("tenants/acme/serviceUsers/", &["billing"]);
    let groups: BTreeSet<String> = named("tenants/acme/userGroups/", &["billing"]);
    let key_groups: BTreeSet<String> = named("tenants/acme/keyGroups/", &["billing"]);
    let tenants: BTreeSet<String> = named("tenants/", &["acme", "acme-not", "system"]);
    let by_id = |names: BTreeSet<String>| {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by_key(|name| name.rsplit('/').next().map(ToOwned::to_owned));
        names
    };
    let lists = [
        (List::Keys, keys),
        (List::AllKeys, all_keys),
        (List::ServiceUsers, users),
        (List::KeyGroups, key_groups),
        (List::UserGroups, groups),
        (List::Tenants, tenants),
    ];
    for (list, expected) in lists {
        for size in [1, 2, 500] {
            let (names, count) = pages(&mut root, list, &place, size).await;
            assert_eq!(names, by_id(expected.clone()), "{list:?} in pages of {size}");
            assert_eq!(count, expected.len().div_ceil(usize::try_from(size).expect("a size")), "{list:?}: pages");
        }
    }
    let (whole, _) = pages(&mut root, List::Events, &place, 500).await;
    assert_eq!(whole.len(), 7 + 5 * IDS.len(), "one event for each change of this tenant");
    assert!(whole.is_sorted_by(|newer, older| newer > older), "newest first");
    for size in [1, 2] {
        assert_eq!(pages(&mut root, List::Events, &place, size).await.0, whole, "events in pages of {size}");
    }
}

async fn names_in(root: &mut Client, request: v1::ListKeysRequest) -> BTreeSet<String> {
    let listed = root.keys.list_keys(request).await.expect("keys").into_inner().keys;
    listed.into_iter().map(|key| key.name).collect()
}

async fn keys_are_listed_by_the_state_they_are_in_now(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let [enabled, disabled, revoked] = [
        key_for(&mut root, &place.owner, 3_600).await.name,
        key_for(&mut root, &place.owner, 3_600).await.name,
        key_for(&mut root, &place.owner, 3_600).await.name,
    ];
    disable_key(&mut root, &disabled).await;
    revoke_key(&mut root, &revoked).await;
    let never = place.key.clone();
    let set = |names: &[&String]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
    let before = [set(&[&never, &enabled]), set(&[&disabled]), set(&[&revoked]), set(&[])];
    let after = [set(&[&never]), set(&[]), set(&[&revoked]), set(&[&enabled, &disabled])];
    let almost = TimeDelta::seconds(3_600) - TimeDelta::microseconds(1);
    for (step, expected) in [(almost, before), (TimeDelta::microseconds(1), after)] {
        app.advance(step);
        let states = [KeyState::Enabled, KeyState::Disabled, KeyState::Revoked, KeyState::Expired];
        for (state, expected) in states.into_iter().zip(expected) {
            let parent = place.owner.clone();
            let request = v1::ListKeysRequest { parent, state: state.into(), ..Default::default() };
            let listed = root.keys.list_keys(request).await.expect("keys").into_inner().keys;
            assert!(listed.iter().all(|key| key.state() == state), "each says so itself");
            assert_eq!(listed.into_iter().map(|key| key.name).collect::<BTreeSet<_>>(), expected, "{state:?}");
        }
        let any = v1::ListKeysRequest { parent: place.owner.clone(), ..Default::default() };
        assert_eq!(names_in(&mut root, any).await.len(), 4, "any state");
    }
}

async fn keys_are_listed_by_when_they_expire(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let hour = key_for(&mut root, &place.owner, 3_600).await;
    let day = key_for(&mut root, &place.owner, 86_400).await;
    let end = hour.expire_time.expect("an end");
    let just_after = prost_types::Timestamp { nanos: end.nanos + 1_000, ..end };
    let far = prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 };
    let cases = [
        (end, BTreeSet::new()),
        (just_after, BTreeSet::from([hour.name.clone()])),
        (far, BTreeSet::from([hour.name.clone(), day.name])),
    ];
    for (before, expected) in cases {
        let request =
            v1::ListKeysRequest { parent: place.owner.clone(), expiring_before: Some(before), ..Default::default() };
        assert_eq!(names_in(&mut root, request).await, expected, "before {before:?}");
    }
    app.advance(TimeDelta::hours(1));
    let state = KeyState::Enabled.into();
    let request =
        v1::ListKeysRequest { parent: place.owner, expiring_before: Some(just_after), state, ..Default::default() };
    assert_eq!(names_in(&mut root, request).await, BTreeSet::new(), "it has expired: both filters hold");
}

async fn deleted_entries_are_listed_only_when_asked_for(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let gone = delete_key(&mut root, &place.key).await;
    assert_eq!(gone.purge_time.expect("a time").seconds - gone.delete_time.expect("a time").seconds, 30 * 86_400);
    for (show_deleted, count) in [(false, 0), (true, 1)] {
        for parent in [place.owner.clone(), format!("{}/serviceUsers/-", place.tenant)] {
            let request = v1::ListKeysRequest { parent, show_deleted, ..Default::default() };
            assert_eq!(names_in(&mut root, request).await.len(), count, "keys, show_deleted {show_deleted}");
        }
    }
    let delete = v1::DeleteServiceUserRequest { name: place.owner, force: false, expected_revision: 0 };
    root.service_users.delete_service_user(delete).await.expect("deleted");
    for (show_deleted, count) in [(false, 0), (true, 1)] {
        let request = v1::ListServiceUsersRequest { parent: place.tenant.clone(), show_deleted, ..Default::default() };
        let listed = root.service_users.list_service_users(request).await.expect("users").into_inner().service_users;
        assert_eq!(listed.len(), count, "service users, show_deleted {show_deleted}");
    }
    let delete = v1::DeleteTenantRequest { name: place.tenant, force: false, expected_revision: 0 };
    root.tenants.delete_tenant(delete).await.expect("deleted");
    for (show_deleted, count) in [(false, 1), (true, 2)] {
        let request = v1::ListTenantsRequest { show_deleted, ..Default::default() };
        let listed = root.tenants.list_tenants(request).await.expect("tenants").into_inner().tenants;
        assert_eq!(listed.len(), count, "tenants, show_deleted {show_deleted}");
    }
}

async fn a_list_of_nothing_there_is_not_found(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let parents =
        ["tenants/nobody/serviceUsers/-", "tenants/nobody/serviceUsers/billing", "tenants/acme/serviceUsers/nobody"];
    for parent in parents.map(String::from) {
        let status =
            root.keys.list_keys(v1::ListKeysRequest { parent, ..Default::default() }).await.expect_err("missing");
        assert_eq!(reason(&status), "RESOURCE_NOT_FOUND");
    }
    let parent = "tenants/nobody".to_owned();
    let users = v1::ListServiceUsersRequest { parent: parent.clone(), ..Default::default() };
    assert_eq!(reason(&root.service_users.list_service_users(users).await.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let groups = v1::ListUserGroupsRequest { parent: parent.clone(), ..Default::default() };
    assert_eq!(reason(&root.user_groups.list_user_groups(groups).await.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let groups = v1::ListKeyGroupsRequest { parent: parent.clone(), ..Default::default() };
    assert_eq!(reason(&root.key_groups.list_key_groups(groups).await.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let notifications = v1::ListNotificationsRequest { parent: parent.clone(), ..Default::default() };
    let listed = root.notifications.list_notifications(notifications).await;
    assert_eq!(reason(&listed.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let deliveries = v1::ListDeliveriesRequest { parent: parent.clone(), ..Default::default() };
    let listed = root.notifications.list_deliveries(deliveries).await;
    assert_eq!(reason(&listed.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let events = v1::ListAuditEventsRequest { parent, ..Default::default() };
    assert_eq!(reason(&root.audit.list_audit_events(events).await.expect_err("missing")), "RESOURCE_NOT_FOUND");
    let empty = root.create_service_user(&place.tenant, "empty").await;
    assert_eq!(names_in(&mut root, v1::ListKeysRequest { parent: empty, ..Default::default() }).await, BTreeSet::new());
}
