//! The feed: no holes, no end to a page that a row could fall behind, no row that spoils another.

use std::collections::{BTreeMap, BTreeSet};

use claviger::domain::{
    limits,
    pepper::{Pepper, SecretDigest},
    verifiable_key::VerifiableKey,
};
use claviger::store::{Cursor, FeedRow, Page, Rehash, Store, StoreError};

use super::database::*;

fn rows<T>(page: Page<T>) -> Vec<FeedRow<T>> {
    let rows: Vec<_> = page.rows().collect::<Result<_, _>>().expect("rows");
    assert!(rows.len() as u64 <= limits::FEED_PAGE);
    rows
}

/// Follows the feed of keys to its end.
async fn follow(store: &Store, start: Cursor) -> Vec<FeedRow<VerifiableKey>> {
    let (mut all, mut next) = (Vec::new(), Some(start));
    while let Some(cursor) = next {
        let page = store.feed().keys(&cursor).await.expect("a page");
        next = page.next().cloned();
        all.extend(rows(page));
    }
    all
}

pub(super) async fn the_feed_has_no_holes_beside_writers(database: &Database) {
    database.furnish().await;
    let owners: Vec<_> = (0..16).map(|n| service_user_name("acme", &format!("user-{n}"))).collect();
    let write = database.store.write().await.expect("a write");
    for owner in &owners {
        write.insert_service_user(&service_user(owner)).await.expect("a service user");
    }
    let start = done(write).await;
    let writers = owners.iter().map(|owner| async move {
        for _ in 0..limits::LIVE_KEYS {
            assert!(database.create(&key(owner)).await.expect("a create"));
        }
    });
    let expected = owners.len() * limits::LIVE_KEYS;
    let reader = async {
        let mut seen = BTreeMap::new();
        let mut known = start;
        while seen.len() < expected {
            let look = database.store.feed().look(None).await.expect("a look");
            for row in follow(&database.store, Cursor::start_after(known)).await {
                let stored = row.content.expect("readable");
                assert_eq!(stored.revision, row.revision);
                assert!(stored.digest.matches(&digest(stored.name.id)) && stored.pepper == *pepper().id());
                seen.insert(row.revision, stored.name.id);
            }
            // Whatever is seen later must lie above: this is what "no holes" means.
            known = look.revision;
            let complete = seen.range(..=known).count() as i64;
            assert_eq!(complete, known - start, "a revision up to {known} was missed");
        }
    };
    tokio::join!(futures_util::future::join_all(writers), reader);
}

pub(super) async fn the_feed_pages_through_one_big_revision(database: &Database) {
    database.furnish().await;
    const ROWS: usize = 2_500;
    let write = database.store.write().await.expect("a write");
    for number in 0..ROWS {
        write.insert_tenant(&tenant(&format!("t-{number}"))).await.expect("a tenant");
        let name = service_user_name(&format!("t-{number}"), "same-id-everywhere");
        write.insert_service_user(&service_user(&name)).await.expect("a service user");
    }
    let revision = done(write).await;
    let feed = database.store.feed();
    let (mut tenants, mut users) = (BTreeSet::new(), BTreeSet::new());
    let mut next = Some(Cursor::start_after(revision - 1));
    while let Some(cursor) = next {
        let page = feed.tenants(&cursor).await.expect("a page");
        next = page.next().cloned();
        assert!(
            rows(page)
                .into_iter()
                .all(|row| row.revision == revision && tenants.insert(row.content.expect("readable").id))
        );
    }
    next = Some(Cursor::start_after(revision - 1));
    while let Some(cursor) = next {
        let page = feed.service_users(&cursor).await.expect("a page");
        next = page.next().cloned();
        assert!(rows(page).into_iter().all(|row| users.insert(row.content.expect("readable").name)));
    }
    assert_eq!((tenants.len(), users.len()), (ROWS, ROWS));
    assert!(feed.tenants(&Cursor::start_after(revision)).await.expect("a page").is_empty());
}

pub(super) async fn one_corrupt_row_spoils_no_other(database: &Database) {
    let owner = database.furnish().await;
    let keys = [key(&owner), key(&owner), key(&owner)];
    for key in &keys {
        assert!(database.create(key).await.expect("a create"));
    }
    let bad = &keys[1].name;
    let spoil = format!("UPDATE api_key SET scopes = '[\"NO SCOPE\"]' WHERE id = '{}'", bad.id);
    assert_eq!(database.execute(&spoil).await.expect("the schema can't know"), 1);
    database.execute("UPDATE service_user SET display_name = ''").await.expect("the schema can't know");
    let keys = follow(&database.store, Cursor::start_after(0)).await;
    assert_eq!(keys.len(), 3);
    for row in keys {
        match row.content {
            Ok(stored) => assert_ne!(stored.name, *bad),
            Err(StoreError::Corrupt { table, id, why }) => {
                assert_eq!((table, id), ("api_key", bad.id.to_string()));
                assert!(why.starts_with("scopes: "), "{why}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let users = rows(database.store.feed().service_users(&Cursor::start_after(0)).await.expect("a page"));
    let Err(StoreError::Corrupt { table: "service_user", id, .. }) = &users[0].content else { panic!("{users:?}") };
    assert_eq!(*id, owner.to_string());
    let direct = database.store.key(bad).await.expect_err("not to be understood");
    assert!(matches!(direct, StoreError::Corrupt { .. }));
}

pub(super) async fn rehash_touches_only_rows_under_the_old_pepper(database: &Database) {
    let owner = database.furnish().await;
    let (old, new) = (pepper(), Pepper::new(&[8; 32]));
    let keys = [key(&owner), key(&owner), key(&owner)];
    for key in &keys {
        assert!(database.create(key).await.expect("a create"));
    }
    let rehash = |index: usize, from: &Pepper| Rehash {
        id: keys[index].name.id,
        from: from.id().clone(),
        digest: SecretDigest::from_stored(&[index as u8; 32]).expect("32 bytes"),
    };
    let write = database.store.write().await.expect("a write");
    write.register_pepper(&new, now()).await.expect("a pepper");
    let rows = [rehash(0, &old), rehash(1, &Pepper::new(&[9; 32])), rehash(2, &old)];
    assert_eq!(write.rehash(&rows, new.id()).await.expect("a change"), 2);
    assert_eq!(write.rehash(&[], new.id()).await.expect("nothing"), 0);
    let revision = done(write).await;
    let changed = follow(&database.store, Cursor::start_after(revision - 1)).await;
    let changed: Vec<_> = changed.into_iter().map(|row| row.content.expect("readable")).collect();
    let ids: BTreeSet<_> = changed.iter().map(|stored| stored.name.id).collect();
    assert_eq!(ids, BTreeSet::from([keys[0].name.id, keys[2].name.id]));
    for stored in changed {
        assert_eq!(stored.pepper, *new.id());
        let index = usize::from(stored.name.id == keys[2].name.id) * 2;
        assert!(stored.digest.matches(&rehash(index, &old).digest));
        assert_eq!((stored.revision, stored.name), (revision, keys[index].name.clone()));
    }
}
