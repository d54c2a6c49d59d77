//! What `claviger copy` refuses: each time one sentence, exit code 1, and nothing is changed.

use claviger_migrations::Migrator;
use sea_orm_migration::MigratorTrait;

use super::*;

/// The sentence; nothing was printed as if it had been done.
async fn refusal(command: Command) -> String {
    let (code, out, err) = process::run(command).await;
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.starts_with("claviger: ") && err.trim_end().lines().count() == 1, "one sentence: {err}");
    err
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_not_copied() {
    let Some(empty) = Engine::Postgres.place().await else { return };
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    let mut command = copy(&app.place);
    command.env("CLAVIGER_DATABASE_URL", empty.database_url.as_deref().expect("PostgreSQL"));
    assert!(refusal(command).await.contains("is in use by another claviger process; stop that one first"));
    assert!(tables(&database(&empty).await).await.is_empty(), "not even a schema was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_must_be_something_to_copy_and_somewhere_to_put_it() {
    let Some(empty) = Engine::Postgres.place().await else { return };
    let nothing = refusal(copy(&empty)).await;
    assert!(nothing.contains("there is nothing to copy in") && nothing.contains("check CLAVIGER_DATA"), "{nothing}");
    let missing = empty.folder.path().join("not/there");
    let mut command = copy(&empty);
    command.env("CLAVIGER_DATA", &missing);
    assert!(refusal(command).await.contains("there is nothing to copy in"));
    assert!(!missing.exists(), "a misspelt folder isn't made");

    let sqlite = Engine::Sqlite.place().await.expect("SQLite is always there");
    assert!(refusal(copy(&sqlite)).await.contains("CLAVIGER_DATABASE_URL isn't set"));
    let mut migrate = process::command(&sqlite);
    migrate.arg("migrate");
    assert_eq!(process::run(migrate).await.0, Some(0));
    let unused = Place { folder: sqlite.folder, database_url: empty.database_url.clone() };
    assert!(refusal(copy(&unused)).await.contains("no service was ever started on it"));
    assert!(tables(&database(&empty).await).await.is_empty(), "not even a schema was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_empty_is_refused_by_name() {
    let Some((place, _)) = small_installation().await else { return };
    let postgres = database(&place).await;
    contents::execute(&postgres, &["CREATE TABLE orders (id bigint)"]).await;
    let foreign = refusal(copy(&place)).await;
    assert!(foreign.contains("has a table `orders`, which isn't Claviger's"), "{foreign}");
    assert_eq!(tables(&postgres).await, ["orders"], "nothing was made beside it");
    contents::execute(&postgres, &["DROP TABLE orders"]).await;

    let (code, out, err) = process::run(copy(&place)).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let again = refusal(copy(&place)).await;
    assert!(again.contains("isn't empty") && again.contains("copy into a new database"), "{again}");
    // Nothing but one row that nobody took a revision for.
    contents::execute(
        &postgres,
        &[
            "TRUNCATE tenant, pepper, audit_event, request_replay, revision_token CASCADE",
            "UPDATE revision SET value = 0",
            "INSERT INTO pepper VALUES ('0011223344556677', decode(repeat('00', 32), 'hex'), now())",
        ],
    )
    .await;
    let one_row = refusal(copy(&place)).await;
    assert!(one_row.contains("its table `pepper` has rows"), "{one_row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_schemas_must_be_of_this_version() {
    let Some((place, bulk)) = small_installation().await else { return };
    let future = |name: &str| format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)");
    let forget = |name: &str| format!("DELETE FROM seaql_migrations WHERE version = '{name}'");
    let (added, newest) = ("m29990101_000001_more", claviger_migrations::known().pop().expect("one"));
    contents::execute(&bulk.database, &[&future(added)]).await;
    let newer = refusal(copy(&place)).await;
    assert!(newer.contains("a newer version of claviger made its schema; copy with that version"), "{newer}");
    contents::execute(&bulk.database, &[&forget(added), &forget(&newest)]).await;
    let older = refusal(copy(&place)).await;
    assert!(older.contains("it lacks 1 change(s)") && older.contains("`claviger migrate` without"), "{older}");
    contents::execute(&bulk.database, &[&future(&newest)]).await;

    let postgres = database(&place).await;
    Migrator::up(&postgres, Some(1)).await.expect("migrated");
    contents::execute(&postgres, &["UPDATE revision SET value = 1"]).await;
    let older = refusal(copy(&place)).await;
    assert!(older.contains("lacks") && older.contains("make a backup and run `claviger migrate`"), "{older}");
    contents::execute(&postgres, &["UPDATE revision SET value = 0"]).await;
    let (code, out, err) = process::run(copy(&place)).await;
    assert_eq!(code, Some(0), "an unused schema is brought to this version: {out}{err}");
}
