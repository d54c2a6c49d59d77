//! How last uses are written: seldom, in batches, the later one, and again when it failed.

use std::sync::Arc;

use claviger::app::target;
use claviger::clock::Clock;
use claviger::domain::{
    Span,
    ids::KeyId,
    pepper::{Pepper, Peppers},
    verifiable_key::VerifiableKey,
};
use claviger::store::{Cursor, Page, Store, StoreError};
use claviger::verify::claims::Claims;
use claviger::verify::mirror::{LookUp, Mirror};
use claviger::verify::owners::Owners;
use claviger::verify::record::Record;
use claviger::verify::usage::{LastUse, Usage};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, Value};

use super::*;
use crate::harness::app::settings;

on_both_engines!(
    a_key_is_written_at_most_every_five_minutes,
    of_two_replicas_the_later_use_stays,
    a_newer_row_keeps_what_is_known_of_the_use,
    what_failed_is_written_later,
    ten_thousand_uses_are_written_in_batches,
);

/// A database with one key, and nobody else at it.
struct Alone {
    store: Store,
    place: crate::harness::Place,
    raw: DatabaseConnection,
    mirror: Mirror,
    row: VerifiableKey,
    key: KeyId,
}

impl Alone {
    async fn start(engine: Engine) -> Option<Self> {
        let app = TestApp::start(engine).await?;
        let made = Place::make(&mut app.root().await, "acme").await;
        let target = target(&settings(&app.place, &[]), app.running.folder());
        let place = app.place;
        app.running.stop().await;
        let raw = database(&place).await;
        let store = Store::connect(&target, "last_used").await.expect("a store");
        let key = KeyId::parse(id(&made.key)).expect("an id");
        let (mirror, row) = in_memory(&store, key).await;
        Some(Self { store, place, raw, mirror, row, key })
    }

    /// The key as it is in memory.
    fn record(&self) -> Record {
        match self.mirror.look_up(self.key) {
            LookUp::Found(found) => found.key,
            LookUp::Missing | LookUp::Unreadable => panic!("the key is not found"),
        }
    }

    /// A record of another key, or one of the same key in another process.
    fn record_of(&self, id: KeyId) -> Record {
        let row = VerifiableKey { name: self.row.name.owner.key(id), ..self.row.clone() };
        let owner = Owners::default().service_user(&row.name.owner);
        Record::pack(&row, 0, owner, Claims::of(&row), LastUse::default())
    }

    /// As a replica whose clock is `minutes` on.
    fn usage(&self, minutes: i64) -> (Usage, Clock) {
        let clock = Clock::manual(start_of_time() + Span::minutes(minutes));
        (Usage::new(self.store.clone(), clock.clone()), clock)
    }

    /// Minutes from the start of time to the key's last use, as it is written.
    async fn written(&self) -> Option<i64> {
        let sql = format!("SELECT last_used_time FROM key_usage WHERE key_id = '{}'", self.key);
        let times = select::<Time>(&self.raw, &sql).await;
        times.first().map(|time| (*time - start_of_time()).num_minutes())
    }
}

/// A mirror that has the key, and the key's row.
async fn in_memory(store: &Store, key: KeyId) -> (Mirror, VerifiableKey) {
    let (feed, start) = (store.feed(), Cursor::start_after(0));
    let rows = readable(feed.keys(&start).await);
    let row = rows.into_iter().find(|row| row.name.id == key).expect("the key");
    let peppers = Peppers::single(Pepper::new(&[7; 32]));
    let row = VerifiableKey { pepper: peppers.current().id().clone(), ..row };
    let mirror = Mirror::new(Arc::new(peppers));
    for tenant in readable(feed.tenants(&start).await) {
        mirror.put_tenant(&tenant);
    }
    for service_user in readable(feed.service_users(&start).await) {
        mirror.put_service_user(&service_user);
    }
    mirror.put_key(&row);
    (mirror, row)
}

fn readable<T>(page: Result<Page<T>, StoreError>) -> Vec<T> {
    page.expect("a page").rows().map(|row| row.expect("a row").content.expect("readable")).collect()
}

async fn a_key_is_written_at_most_every_five_minutes(engine: Engine) {
    let Some(alone) = Alone::start(engine).await else { return };
    let (usage, clock) = alone.usage(0);
    let key = alone.record();
    usage.write_due().await;
    assert_eq!(alone.written().await, None);
    usage.note(&key, clock.now());
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(0), "the first use at once");
    for minute in [1, 2] {
        clock.advance(Span::minutes(1));
        usage.note(&key, clock.now());
        usage.write_due().await;
        assert_eq!(alone.written().await, Some(0), "minute {minute}");
    }
    clock.advance(Span::minutes(3) - Span::microseconds(1));
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(0), "a moment before");
    clock.advance(Span::seconds(1) + Span::microseconds(1));
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(2), "the latest of them");
    clock.advance(Span::minutes(1));
    usage.note(&key, clock.now());
    usage.write_all().await;
    assert_eq!(alone.written().await, Some(6), "at the end nothing waits");
}

async fn of_two_replicas_the_later_use_stays(engine: Engine) {
    let Some(alone) = Alone::start(engine).await else { return };
    for (minute, stays) in [(3, 3), (1, 3), (4, 4)] {
        let (replica, clock) = alone.usage(minute);
        replica.note(&alone.record_of(alone.key), clock.now());
        replica.write_due().await;
        assert_eq!(alone.written().await, Some(stays), "after minute {minute}");
    }
}

async fn a_newer_row_keeps_what_is_known_of_the_use(engine: Engine) {
    let Some(alone) = Alone::start(engine).await else { return };
    let (usage, clock) = alone.usage(0);
    let put =
        |changes| alone.mirror.put_key(&VerifiableKey { revision: alone.row.revision + changes, ..alone.row.clone() });
    let old = alone.record();
    usage.note(&old, clock.now());
    usage.write_due().await;
    clock.advance(Span::minutes(1));
    usage.note(&old, clock.now());
    put(1);
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(0), "written a minute ago");
    clock.advance(Span::minutes(4) + Span::seconds(1));
    usage.note(&alone.record(), clock.now());
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(5), "the new record's");
    // A reader that still has the old record gets in line after the new one; the key's next use is not lost by that.
    clock.advance(Span::minutes(1));
    let old = alone.record();
    put(2);
    usage.note(&alone.record(), clock.now());
    usage.note(&old, clock.now());
    usage.write_all().await;
    clock.advance(Span::minutes(6));
    usage.note(&alone.record(), clock.now());
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(12));
}

async fn what_failed_is_written_later(engine: Engine) {
    let Some(alone) = Alone::start(engine).await else { return };
    let (usage, clock) = alone.usage(0);
    let key = alone.record();
    usage.note(&key, clock.now());
    alone.raw.execute_unprepared("ALTER TABLE key_usage RENAME TO away").await.expect("away");
    usage.write_due().await;
    clock.advance(Span::minutes(1));
    usage.note(&key, clock.now());
    usage.write_due().await;
    alone.raw.execute_unprepared("ALTER TABLE away RENAME TO key_usage").await.expect("back");
    usage.write_due().await;
    assert_eq!(alone.written().await, Some(1));
}

/// Copies of the key under ids of their own, expired so that they take no slot.
async fn copies(alone: &Alone, count: usize) -> Vec<KeyId> {
    let ids: Vec<KeyId> =
        (0..count).map(|_| KeyId::from_random(claviger::random::bytes().expect("randomness"))).collect();
    for some in ids.chunks(500) {
        let digest = |id: &KeyId| format!("{:-<32}", id.to_string()).into_bytes();
        let values: Vec<Value> = some.iter().flat_map(|id| [id.to_string().into(), digest(id).into()]).collect();
        let rows: Vec<String> = (0..some.len()).map(|row| format!("(${}, ${})", row * 2 + 1, row * 2 + 2)).collect();
        let sql = format!(
            "INSERT INTO api_key (id, tenant_id, service_user_id, display_name, description, state, scopes, networks,
                create_time, update_time, secret_digest, pepper_id, revision)
             SELECT copy.column1, tenant_id, service_user_id, display_name, description, 'EXPIRED', scopes, networks,
                create_time, update_time, copy.column2, pepper_id, revision
             FROM api_key, (VALUES {}) AS copy WHERE api_key.id = '{}'",
            rows.join(", "),
            alone.key
        );
        let statement = Statement::from_sql_and_values(alone.raw.get_database_backend(), sql, values);
        alone.raw.execute_raw(statement).await.expect("copies");
    }
    ids
}

async fn ten_thousand_uses_are_written_in_batches(engine: Engine) {
    let Some(alone) = Alone::start(engine).await else { return };
    let ids = copies(&alone, 10_000).await;
    alone.raw.execute_unprepared("DELETE FROM key_usage").await.expect("empty");
    let (usage, clock) = alone.usage(0);
    // Purged before their uses are written: nobody's batch fails for that.
    let purged = (0..100).map(|_| KeyId::from_random(claviger::random::bytes().expect("randomness")));
    for id in ids.iter().copied().chain(purged) {
        usage.note(&alone.record_of(id), clock.now());
    }
    usage.write_due().await;
    assert_eq!(select::<i64>(&alone.raw, "SELECT count(*) FROM key_usage").await, [10_000]);
    if alone.place.database_url.is_some() {
        let transactions = select::<i64>(&alone.raw, "SELECT count(DISTINCT xmin::text) FROM key_usage").await;
        assert_eq!(transactions, [21], "10,100 uses, 500 at a time");
    }
}
