//! What is kept for a while: deleted rows, replayed answers, audit events.

use std::slice::from_ref;

use claviger::domain::{Span, Time, audit::Outcome, limits, page::Page};
use claviger::store::Replay;

use super::database::*;

pub(super) async fn purge_waits_thirty_days_and_takes_children_first(database: &Database) {
    let owner = database.furnish().await;
    assert!(database.create(&key(&owner)).await.expect("a create"));
    let write = database.store.write().await.expect("a write");
    assert_eq!(write.delete_owned(&owner.tenant, None, now()).await.expect("a delete"), 1);
    let mut gone = tenant("acme");
    gone.delete_time = Some(now());
    write.update_tenant(&gone).await.expect("an update");
    let revision = done(write).await;
    let before = now() + limits::PURGE_AFTER - Span::microseconds(1);
    let bookkeeping = database.store.bookkeeping().await.expect("a turn");
    assert!(bookkeeping.purge(before).await.expect("a purge").is_empty());
    let purged = bookkeeping.purge(now() + limits::PURGE_AFTER).await.expect("a purge");
    assert_eq!((purged.keys, purged.service_users, purged.tenants), (1, 1, 1));
    bookkeeping.commit().await.expect("a commit");
    assert_eq!(database.store.feed().look(None).await.expect("a look").revision, revision);
    // The id is free again.
    let write = database.store.write().await.expect("a write");
    assert_eq!(write.tenant(&gone.id).await.expect("a look"), None);
    write.insert_tenant(&tenant("acme")).await.expect("a tenant");
    done(write).await;
}

pub(super) async fn replays_are_kept_until_they_expire(database: &Database) {
    database.furnish().await;
    let replay = Replay {
        caller: "tenants/acme/serviceUsers/billing/keys/x".to_owned(),
        request_id: "Request".to_owned(),
        fingerprint: [1; 32],
        sealed: vec![0, 1, 255],
        expire_time: now() + limits::REPLAY_WINDOW,
    };
    let write = database.store.write().await.expect("a write");
    let of = |caller: &str, id: &str| (caller.to_owned(), id.to_owned());
    let (right, other_case) = (of(&replay.caller, "Request"), of(&replay.caller, "request"));
    let foreign = of("somebody else", "Request");
    write.insert_replays(from_ref(&replay), now()).await.expect("stored");
    assert_eq!(write.replays(&[foreign.clone(), right]).await.expect("a look"), from_ref(&replay));
    assert_eq!(write.replays(&[foreign, other_case]).await.expect("a look"), []);
    assert_eq!(write.replays(&[]).await.expect("a look"), []);
    done(write).await;
    let write = database.store.write().await.expect("a write");
    let fresh = Replay { request_id: "another".to_owned(), ..replay.clone() };
    assert!(write.insert_replays(&[fresh, replay.clone()], now()).await.is_err(), "one is there");
    drop(write);
    let write = database.store.write().await.expect("a write");
    let later =
        Replay { fingerprint: [2; 32], expire_time: replay.expire_time + limits::REPLAY_WINDOW, ..replay.clone() };
    write.insert_replays(from_ref(&later), replay.expire_time).await.expect("takes the place of the expired one");
    assert_eq!(write.replays(&[of(&replay.caller, "Request")]).await.expect("a look"), from_ref(&later));
    done(write).await;
    let bookkeeping = database.store.bookkeeping().await.expect("a turn");
    assert_eq!(bookkeeping.delete_expired_replays(replay.expire_time).await.expect("none"), 0);
    assert_eq!(bookkeeping.delete_expired_replays(later.expire_time).await.expect("one"), 1);
    bookkeeping.commit().await.expect("a commit");
}

pub(super) async fn audit_events_come_newest_first(database: &Database) {
    database.furnish().await;
    let mut events: Vec<_> = (100..1_300).map(|number| event_of("other", number)).collect();
    for event in events.iter_mut().step_by(2) {
        event.target = String::new();
        event.outcome = Outcome::Denied("RIGHT_MISSING".to_owned());
        event.count = 7;
    }
    let bookkeeping = database.store.bookkeeping().await.expect("a turn");
    bookkeeping.insert_audit_events(&events).await.expect("written");
    bookkeeping.insert_audit_events(&[]).await.expect("nothing to write");
    bookkeeping.commit().await.expect("a commit");
    events.reverse();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = Page { size: 500, after };
        let page =
            database.store.audit_events(&tenant_id("other"), Time::UNIX_EPOCH, None, &page).await.expect("a page");
        listed.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, events);
    let page = Page { size: 500, after: None };
    let own =
        database.store.audit_events(&tenant_id("acme"), Time::UNIX_EPOCH, None, &page).await.expect("a page").entries;
    assert_eq!((own.len(), own[0].revision), (1, 1));
    let one = database
        .store
        .audit_events(&tenant_id("other"), Time::UNIX_EPOCH, Some("tenants/other"), &page)
        .await
        .expect("a page");
    assert!(one.next.is_some() && one.entries.iter().all(|event| event.target == "tenants/other"));
}
