//! Around the data: the schema's version, several processes at once, poolers, lost connections, modes of files.

use claviger::domain::limits;
use claviger::store::{Store, StoreError, Target};

use super::database::*;

pub(super) async fn a_newer_database_is_used_until_something_is_taken_away(database: &Database) {
    assert_eq!(Store::migrate(&database.target).await, Ok(0));
    let applied = |name: &str| format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)");
    database.execute(&applied("m29990101_000001_future")).await.expect("a row");
    assert_eq!(Store::prepare_schema(&database.target).await, Ok(()));
    assert_eq!(Store::migrate(&database.target).await, Ok(0));
    database.execute(&applied("m29990102_000002_contract_keys")).await.expect("a row");
    expect_newer(database).await;
    // Two histories: one of ours is missing, and one that we don't know is there.
    let newest = claviger_migrations::known().pop().expect("one");
    let forget = format!("DELETE FROM seaql_migrations WHERE version LIKE '%contract%' OR version = '{newest}'");
    database.execute(&forget).await.expect("rows");
    expect_newer(database).await;
}

async fn expect_newer(database: &Database) {
    for refused in [Store::prepare_schema(&database.target).await, Store::migrate(&database.target).await.map(drop)] {
        assert!(matches!(&refused, Err(StoreError::Schema(why)) if why.contains("newer version")), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_prepare_one_empty_postgres_at_once() {
    let Some((target, (server, name))) = empty_postgres("four_processes_prepare_one_empty_postgres_at_once").await
    else {
        return;
    };
    for _ in 0..2 {
        let all = futures_util::future::join_all((0..4).map(|_| Store::prepare_schema(&target))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
    drop_database(&server, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_pooling_is_refused_and_session_pooling_works() {
    let test = "transaction_pooling_is_refused_and_session_pooling_works";
    let Some(database) = Database::postgres(test).await else { return };
    for (mode, allowed) in [("transaction", false), ("session", true)] {
        let Some(bouncer) = Bouncer::start(&database.target, mode, test) else { break };
        let outcome = loop {
            match Store::connect(&bouncer.target, "store_suite").await {
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(limits::POLL_SPACING).await,
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(store) => {
                assert!(allowed, "{mode}");
                assert!(store.write().await.is_ok());
                store.close().await;
            }
            Err(error) => assert!(!allowed && matches!(error, StoreError::Pooling(_)), "{mode}: {error:?}"),
        }
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_unavailable_or_unknown_and_then_all_is_well() {
    let Some(database) = Database::postgres("a_lost_connection_is_unavailable").await else { return };
    database.furnish().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'store_suite'
               AND datname = current_database()";
    let write = database.store.write().await.expect("a write");
    database.execute(cut).await.expect("cut");
    let failed = write.insert_tenant(&tenant("lost")).await.expect_err("cut");
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed:?}");
    drop(write);
    database.execute(cut).await.expect("cut");
    assert!(database.store.tenant(&tenant_id("lost")).await.expect("on a new connection").is_none());
    assert_eq!(database.store.feed().look(None).await.expect("on a new connection").revision, 1);
    let write = database.store.write().await.expect("on a new connection");
    assert_eq!(done(write).await, 2);
    database.remove().await;
}

/// The end of a commit is provoked inside of it, by a trigger that waits until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_unknown_when_the_session_ends_and_known_when_it_is_refused() {
    let Some(database) = Database::postgres("a_commit_is_unknown_when_the_session_ends").await else { return };
    for (body, unknown) in [("PERFORM pg_terminate_backend(pg_backend_pid())", true), ("RAISE 'no'", false)] {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;
             DROP TRIGGER IF EXISTS at_commit ON audit_event;
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON audit_event DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION at_commit()"
        );
        database.execute(&sql).await.expect("a trigger");
        let write = database.store.write().await.expect("a write");
        let event = event(&write);
        let failed = write.commit(event).await.expect_err("the trigger sees to it");
        assert_eq!(matches!(failed, StoreError::OutcomeUnknown(_)), unknown, "{failed:?}");
    }
    assert_eq!(database.store.feed().look(None).await.expect("a look").revision, 0);
    database.remove().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_sqlite_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = Database::sqlite().await;
    database.furnish().await;
    let Target::Sqlite { file } = &database.target else { return };
    for end in ["", "-wal", "-shm"] {
        let name = format!("{}{end}", file.display());
        let mode = std::fs::metadata(&name).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    database.remove().await;
}
