//! The store's promises, each on SQLite and on PostgreSQL. Engines differ in nothing that the rest of the product can see.

mod bookkeeping;
mod database;
mod engines;
mod feed;
mod limit;

use std::collections::BTreeSet;

use claviger::domain::{
    Span,
    actor::Actor,
    ids::{KeyId, KeyName, KeyParent, ServiceUserName},
    key::{Key, KeyState},
    network::Network,
    owner::OwnerState,
    page::Page,
    scope::Scope,
    text::{Description, RevokeReason},
};
use claviger::store::{KeyFilter, KeyStateFilter, Store, StoreError, Target};

use bookkeeping::*;
use database::*;
use engines::*;
use feed::*;
use limit::*;

/// Runs each function on both engines.
macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let database = super::Database::sqlite().await;
                super::$name(&database).await;
                database.remove().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(database) = super::Database::postgres(stringify!($name)).await else { return };
                super::$name(&database).await;
                database.remove().await;
            })*
        }
    };
}

on_both_engines! {
    every_field_comes_back
    names_compare_and_sort_byte_by_byte
    revisions_follow_commits_and_a_rollback_burns_none
    sixty_four_creators_make_exactly_ten
    slots_that_one_change_gives_away_differ
    a_slot_is_free_again_after_revoke_delete_and_expiry
    the_schema_refuses_what_the_program_never_does
    lists_filter_by_the_state_of_now_and_page_without_gaps
    the_feed_has_no_holes_beside_writers
    the_feed_pages_through_one_big_revision
    one_corrupt_row_spoils_no_other
    purge_waits_thirty_days_and_takes_children_first
    replays_are_kept_until_they_expire
    audit_events_come_newest_first
    deleting_an_owner_deletes_what_it_owns
    rehash_touches_only_rows_under_the_old_pepper
    a_newer_database_is_used_until_something_is_taken_away
}

async fn every_field_comes_back(database: &Database) {
    let owner = database.furnish().await;
    let (store, moment) = (&database.store, now());
    let mut full = key(&owner);
    full.display_name = text("Ключ № 1 — \"quoted\"");
    full.description = Description::parse("two\nlines").expect("a description");
    full.scopes = ["*", "claviger:verify"].map(|scope| Scope::parse(scope).expect("a scope")).to_vec();
    full.networks = ["192.0.2.0/24", "2001:db8::/32"].map(|net| Network::parse(net).expect("a network")).to_vec();
    // Fractions of every length, because SQLite keeps times as text.
    full.expire_time = Some(moment + Span::microseconds(876_544));
    full.lifetime = Some(Span::microseconds(876_544));
    full.create_time = moment - Span::microseconds(456);
    full.update_time = moment + Span::microseconds(1);
    full.creator = Some(Actor::Key(owner_key(&owner)));
    full.supersedes = Some(key_id());
    assert!(database.create(&full).await.expect("a create"));
    full.revision = 2;
    assert_eq!(store.key(&full.name).await.expect("a look"), Some(full.clone()));
    full.superseded_by = Some(key_id());
    full.state = KeyState::Revoked { time: moment, reason: RevokeReason::parse("лост").expect("a reason") };
    full.lifetime = None;
    full.expire_time = None;
    database.update(&full).await;
    full.revision = 3;
    assert_eq!(store.key(&full.name).await.expect("a look"), Some(full.clone()));
    full.delete_time = Some(moment);
    database.update(&full).await;
    full.revision = 4;
    assert_eq!(store.key(&full.name).await.expect("a look"), None);
    let write = store.write().await.expect("a write");
    assert_eq!(write.key(&full.name).await.expect("a look"), Some(full));

    let (mut tenant, mut user) = (tenant("acme"), service_user(&owner));
    (tenant.state, user.state) = (OwnerState::Disabled, OwnerState::Disabled);
    user.description = Description::parse("what it is").expect("a description");
    write.update_tenant(&tenant).await.expect("an update");
    write.update_service_user(&user).await.expect("an update");
    (tenant.revision, user.revision) = (write.revision(), write.revision());
    assert_eq!(write.tenant(&tenant.id).await.expect("a look"), Some(tenant.clone()));
    done(write).await;
    assert_eq!(store.tenant(&tenant.id).await.expect("a look"), Some(tenant));
    assert_eq!(store.service_user(&owner).await.expect("a look"), Some(user));
    let registered = store.pepper_registrations().await.expect("a list");
    assert_eq!(registered, [(pepper().id().clone(), pepper().check_value())]);
}

fn owner_key(owner: &ServiceUserName) -> KeyName {
    KeyName { owner: owner.clone(), id: key_id() }
}

/// Two ids that differ in case alone, and one of another tenant.
async fn names_compare_and_sort_byte_by_byte(database: &Database) {
    let owner = database.furnish().await;
    let lower =
        KeyId::parse("4aaaaaaaaaaaaaaaaaaaaa").into_iter().chain((0..=u8::MAX).map(|n| KeyId::from_random([n; 16])));
    let pair = lower.filter_map(|id| KeyId::parse(&swap_case(&id.to_string())).map(|other| (id, other))).next();
    let (one, other) = pair.expect("two ids that differ in case");
    for id in [one, other] {
        assert!(database.create(&key_named(KeyName { owner: owner.clone(), id })).await.expect("a create"));
    }
    let listed = list(&database.store, &filter(&owner), 10).await;
    let mut sorted = [one.to_string(), other.to_string()];
    sorted.sort();
    assert_eq!(listed, sorted);
    let foreign = KeyName { owner: service_user_name("other", "billing"), id: one };
    assert_eq!(database.store.key(&foreign).await.expect("a look"), None);
    let write = database.store.write().await.expect("a write");
    for id in ["a-b", "ab", "a0", "a"] {
        write.insert_tenant(&tenant(id)).await.expect("a tenant");
    }
    done(write).await;
    let page = database.store.tenants(&Page { size: 10, after: None }, false).await.expect("a list");
    let ids: Vec<_> = page.entries.iter().map(|tenant| tenant.id.as_str()).collect();
    assert_eq!(ids, ["a", "a-b", "a0", "ab", "acme"]);
}

fn swap_case(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
}

async fn revisions_follow_commits_and_a_rollback_burns_none(database: &Database) {
    database.furnish().await;
    let feed = database.store.feed();
    let before = feed.look(None).await.expect("a look");
    assert_eq!(before.database_time.is_some(), matches!(database.target, Target::Postgres(_)));
    for _ in 0..5 {
        let write = database.store.write().await.expect("a write");
        assert_eq!(write.revision(), before.revision + 1);
        write.insert_tenant(&tenant("never")).await.expect("a tenant");
    }
    assert_eq!(feed.look(None).await.expect("a look").revision, before.revision);
    let write = database.store.write().await.expect("a write");
    let failed = write.insert_tenant(&tenant("acme")).await.expect_err("the id is taken");
    assert!(matches!(failed, StoreError::Bug(_)), "{failed:?}");
    drop(write);
    let write = database.store.write().await.expect("a write");
    assert_eq!(done(write).await, before.revision + 1);
    assert_eq!(feed.look(None).await.expect("a look").revision, before.revision + 1);
}

fn filter(owner: &ServiceUserName) -> KeyFilter {
    let parent = KeyParent { tenant: owner.tenant.clone(), service_user: Some(owner.id.clone()) };
    KeyFilter { parent, state: None, key_group: None, expiring_before: None, unused_since: None, show_deleted: false }
}

/// Every id, page by page.
async fn list(store: &Store, filter: &KeyFilter, size: u64) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.keys(filter, &Page { size, after }, now()).await.expect("a page");
        assert!(page.entries.len() as u64 <= size);
        ids.extend(page.entries.iter().map(|key| key.name.id.to_string()));
        let Some(next) = page.next else { return ids };
        after = Some(next);
    }
}

async fn lists_filter_by_the_state_of_now_and_page_without_gaps(database: &Database) {
    let owner = database.furnish().await;
    let mut keys: Vec<Key> = (0..6).map(|_| key(&owner)).collect();
    keys[1].state = KeyState::Disabled;
    keys[2].expire_time = Some(now());
    keys[3].expire_time = Some(now() + Span::microseconds(1));
    for key in &keys {
        assert!(database.create(key).await.expect("a create"));
    }
    keys[4].state = KeyState::Revoked { time: now(), reason: RevokeReason::default() };
    keys[5].delete_time = Some(now());
    database.update(&keys[4]).await;
    database.update(&keys[5]).await;
    let expect = |indexes: &[usize]| indexes.iter().map(|i| keys[*i].name.id.to_string()).collect::<BTreeSet<_>>();
    let all = filter(&owner);
    let in_state = |state| KeyFilter { state: Some(state), ..all.clone() };
    let whole = KeyFilter { parent: KeyParent { service_user: None, ..all.parent.clone() }, ..all.clone() };
    for (filter, wanted) in [
        (all.clone(), &[0, 1, 2, 3, 4][..]),
        (whole, &[0, 1, 2, 3, 4]),
        (KeyFilter { show_deleted: true, ..all.clone() }, &[0, 1, 2, 3, 4, 5]),
        (in_state(KeyStateFilter::Enabled), &[0, 3]),
        (in_state(KeyStateFilter::Disabled), &[1]),
        (in_state(KeyStateFilter::Expired), &[2]),
        (in_state(KeyStateFilter::Revoked), &[4]),
        (KeyFilter { expiring_before: Some(now() + Span::microseconds(1)), ..all.clone() }, &[2]),
    ] {
        for size in [1, 2, 5, 500] {
            let listed = list(&database.store, &filter, size).await;
            assert!(listed.is_sorted(), "{filter:?}");
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expect(wanted), "{filter:?}");
        }
    }
}

async fn deleting_an_owner_deletes_what_it_owns(database: &Database) {
    let owner = database.furnish().await;
    let neighbour = service_user_name("acme", "shipping");
    let write = database.store.write().await.expect("a write");
    write.insert_service_user(&service_user(&neighbour)).await.expect("a service user");
    done(write).await;
    let mut keys = [key(&owner), key(&owner), key(&neighbour)];
    keys[0].scopes = ["claviger:verify", "a:b"].map(|scope| Scope::parse(scope).expect("a scope")).to_vec();
    keys[1].scopes = vec![Scope::parse("claviger:keys.read").expect("a scope")];
    keys[1].expire_time = Some(now() + days(1));
    for key in &keys {
        assert!(database.create(key).await.expect("a create"));
    }
    let write = database.store.write().await.expect("a write");
    let scopes = |time| write.live_scopes(&owner.tenant, None, time);
    let texts = |scopes: Vec<Scope>| scopes.iter().map(Scope::to_string).collect::<Vec<_>>();
    assert_eq!(texts(scopes(now()).await.expect("a list")), ["claviger:keys.read", "claviger:verify"]);
    assert_eq!(texts(scopes(now() + days(1)).await.expect("a list")), ["claviger:verify"]);
    let of_neighbour = write.live_scopes(&owner.tenant, Some(&neighbour.id), now()).await.expect("a list");
    assert!(of_neighbour.is_empty());
    assert_eq!(write.delete_owned(&owner.tenant, Some(&owner.id), now()).await.expect("a delete"), 2);
    assert!(!write.has_live_keys(&owner.tenant, Some(&owner.id), now()).await.expect("a look"));
    assert!(write.has_live_keys(&owner.tenant, None, now()).await.expect("a look"));
    done(write).await;
    assert_eq!(database.store.key(&keys[0].name).await.expect("a look"), None);
    assert!(database.store.key(&keys[2].name).await.expect("a look").is_some());
    let page = Page { size: 10, after: None };
    assert_eq!(database.store.service_users(&owner.tenant, &page, false).await.expect("a list").entries.len(), 2);
    let write = database.store.write().await.expect("a write");
    assert_eq!(write.delete_owned(&owner.tenant, None, now()).await.expect("a delete"), 1);
    done(write).await;
    assert_eq!(database.store.service_users(&owner.tenant, &page, false).await.expect("a list").entries.len(), 0);
    assert_eq!(database.store.service_users(&owner.tenant, &page, true).await.expect("a list").entries.len(), 2);
}
