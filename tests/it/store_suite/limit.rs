//! The limit of 10, by the program and by the schema.

use claviger::domain::{
    Span,
    key::{Key, KeyState},
    limits,
    text::RevokeReason,
};
use claviger::store::Target;

use super::database::*;

pub(super) async fn sixty_four_creators_make_exactly_ten(database: &Database) {
    let owner = database.furnish().await;
    let creates = (0..64).map(|_| {
        let key = key(&owner);
        async move { database.create(&key).await.expect("no error, ever") }
    });
    let made = futures_util::future::join_all(creates).await;
    assert_eq!(made.iter().filter(|made| **made).count(), limits::LIVE_KEYS);
    let write = database.store.write().await.expect("a write");
    assert_eq!(write.live_keys(&owner, now()).await.expect("a list").len(), limits::LIVE_KEYS);
}

pub(super) async fn a_slot_is_free_again_after_revoke_delete_and_expiry(database: &Database) {
    let owner = database.furnish().await;
    let mut keys: Vec<Key> = (0..limits::LIVE_KEYS).map(|_| key(&owner)).collect();
    keys[2].expire_time = Some(now() + days(1));
    for key in &keys {
        assert!(database.create(key).await.expect("a create"));
    }
    assert!(!database.create(&key(&owner)).await.expect("a refusal"));
    keys[0].state = KeyState::Revoked { time: now(), reason: RevokeReason::default() };
    keys[1].delete_time = Some(now());
    for ended in &keys[..2] {
        database.update(ended).await;
        assert!(database.create(&key(&owner)).await.expect("a create"));
        assert!(!database.create(&key(&owner)).await.expect("a refusal"));
    }
    let at = |time| Key { create_time: time, ..key(&owner) };
    assert!(!database.create(&at(now() + days(1) - Span::microseconds(1))).await.expect("not yet"));
    assert!(database.create(&at(now() + days(1))).await.expect("the instant itself is the end"));
    let expired = database.store.key(&keys[2].name).await.expect("a look").expect("still there");
    assert_eq!(expired.state, KeyState::Expired);
    assert_eq!(expired.update_time, keys[2].update_time);
    assert!(!database.create(&at(now() + days(2))).await.expect("a refusal"));
}

pub(super) async fn slots_that_one_change_gives_away_differ(database: &Database) {
    let owner = database.furnish().await;
    let mut keys: Vec<Key> = (0..limits::LIVE_KEYS).map(|_| key(&owner)).collect();
    keys[3].expire_time = Some(now() + days(1));
    for key in &keys[..9] {
        assert!(database.create(key).await.expect("a create"));
    }
    let write = database.store.write().await.expect("a write");
    let mut room = write.room(&owner).await.expect("a look").expect("its room");
    let mut rows = Vec::new();
    for _ in 0..2 {
        let slot = write.free_slot(&owner, &mut room, now() + days(1)).await.expect("a look").expect("a slot");
        rows.push(new_row(&key(&owner), slot, event(&write)));
    }
    assert_eq!(write.free_slot(&owner, &mut room, now() + days(1)).await.expect("a look"), None);
    let (first, ids) = (write.revision(), rows.iter().map(|row| row.key.name.clone()).collect::<Vec<_>>());
    let told = write.insert_keys(rows).await.expect("the schema has room for them");
    assert_eq!(write.commit_told(told).await.expect("a commit"), first + 1);
    for (name, revision) in ids.iter().zip(first..) {
        assert_eq!(database.store.key(name).await.expect("a look").expect("a key").revision, revision);
    }
}

pub(super) async fn the_schema_refuses_what_the_program_never_does(database: &Database) {
    let owner = database.furnish().await;
    let (first, second) = (key(&owner), key(&owner));
    assert!(database.create(&first).await.expect("a create") && database.create(&second).await.expect("a create"));
    let where_second = format!("WHERE id = '{}'", second.name.id);
    for change in [
        "slot = 0",
        "slot = 10",
        "slot = -1",
        "slot = NULL",
        "state = 'REVOKED', slot = NULL",
        "state = 'EXPIRED'",
        "state = 'enabled'",
        "revoke_reason = 'why'",
        "delete_time = create_time",
        "tenant_id = 'nobody'",
        "pepper_id = 'unknown'",
        "revision = 0",
        "lifetime_microseconds = 0",
        "secret_digest = (SELECT secret_digest FROM api_key ORDER BY slot LIMIT 1)",
    ] {
        let forced = database.execute(&format!("UPDATE api_key SET {change} {where_second}")).await;
        assert!(forced.is_err(), "{change}: {forced:?}");
    }
    let bytes = |hex: &str| match database.target {
        Target::Sqlite { .. } => format!("X'{hex}'"),
        Target::Postgres(_) => format!("'\\x{hex}'::bytea"),
    };
    for hex in ["ab".repeat(31), "ab".repeat(33)] {
        let forced =
            database.execute(&format!("UPDATE api_key SET secret_digest = {} {where_second}", bytes(&hex))).await;
        assert!(forced.is_err(), "{hex}");
    }
    assert!(database.execute("INSERT INTO revision (id, value) VALUES (2, 0)").await.is_err());
    assert!(database.execute("DELETE FROM service_user").await.is_err());
}
