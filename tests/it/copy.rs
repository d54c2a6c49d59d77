//! `claviger copy`: from SQLite to PostgreSQL, whole or not at all. Here an installation with something in every table is
//! moved and goes on; what differs, what is refused and what dies in the middle is in the files beside.

mod contents;
mod furnished;
mod refused;

use std::time::Duration;

use chrono::TimeDelta;
use claviger::proto::v1::{self, Verdict};
use tokio::process::Command;
use tonic::Code;

use crate::harness::{
    Engine, Place, TestApp,
    app::start_of_time,
    engine::{long, variable},
    errors::reason,
    http, process,
};
use crate::rig::{but_for_use, database, eventually, list_keys, select};
use crate::warning_rows::bulk::{Bulk, Keys};
use contents::{contents, tables};
use furnished::Furnished;

const START: Duration = Duration::from_secs(60);

/// The place of the same folder, with an empty PostgreSQL. `None` without PostgreSQL.
async fn target_of(place: Place) -> Option<Place> {
    let empty = Engine::Postgres.place().await?;
    Some(Place { folder: place.folder, database_url: empty.database_url })
}

/// The command, from the folder's SQLite file to the place's PostgreSQL.
fn copy(place: &Place) -> Command {
    let mut command = process::command(place);
    command.arg("copy");
    command
}

/// The tables as the command printed them: name, rows, digest.
fn printed_tables(out: &str) -> Vec<(String, u64, String)> {
    let lines = out.lines().skip(1).take_while(|line| !line.is_empty());
    let parse = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, rows, digest] = words[..] else { panic!("no table: {line}") };
        (name.to_owned(), rows.replace(',', "").parse().expect("a number"), digest.to_owned())
    };
    lines.map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_copied_and_goes_on_on_postgres() {
    if variable("CLAVIGER_TEST_POSTGRES_URL").is_none() {
        return drop(Engine::Postgres.place().await);
    }
    let mails = tempfile::tempdir().expect("a folder");
    let url = format!("file:{}", mails.path().display());
    let mails = furnished::mails(&url);
    let mut app = TestApp::start_with(Engine::Sqlite, &mails).await.expect("SQLite is always there");
    let mut furnished = Furnished::make(&mut app).await;
    let clock = app.clock.clone();
    let mut root = app.root().await;
    let keys = list_keys(&mut root, &furnished.every_owner(), true).await;
    app.running.stop().await;
    let sqlite = Place { folder: app.place.folder, database_url: None };
    furnished::fill_what_no_service_fills_on_sqlite(&sqlite).await;
    let before = contents(&database(&sqlite).await).await;
    let place = target_of(sqlite).await.expect("PostgreSQL is there");

    let (code, out, err) = process::run(copy(&place)).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let postgres = database(&place).await;
    let after = contents(&postgres).await;
    let printed = printed_tables(&out);
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "the test must have something in {table}");
        let copied = after.get(table).unwrap_or_else(|| panic!("PostgreSQL has no {table}"));
        assert!(rows == copied, "{table}: {rows:#?} became {copied:#?}");
        let line = printed.iter().find(|(name, ..)| name == table).unwrap_or_else(|| panic!("{table} not in {out}"));
        assert_eq!((line.1, line.2.len()), (rows.len() as u64, 64), "{out}");
    }
    assert_eq!((printed.len(), after.len()), (before.len(), before.len()), "and nothing else");
    assert!(err.contains("api_key: ") && err.contains("the same in both"), "{err}");
    for carried in ["pepper; keys are stored under", "the KEKs; secrets are sealed under", "root.key"] {
        assert!(out.contains(carried), "{carried} in {out}");
    }

    let app = TestApp::start_at_with(place, clock, &mails).await;
    assert!(app.running.new_root_key().is_none(), "it was no first start");
    let mut root = app.root().await;
    let now = list_keys(&mut root, &furnished.every_owner(), true).await;
    assert_eq!(
        now.into_iter().map(but_for_use).collect::<Vec<_>>(),
        keys.into_iter().map(but_for_use).collect::<Vec<_>>()
    );
    furnished.goes_on(&app).await;
    let metrics = http::ask(app.http_address(), "GET", "/metrics", "").await.body;
    assert!(metrics.lines().any(|line| line == "claviger_forks_total 0"), "no fork");
}

/// As when another writer, or a defect of ours, changed what was written.
#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_and_undone() {
    let Some((place, _)) = small_installation().await else { return };
    let mut migrate = process::command(&place);
    migrate.arg("migrate");
    assert_eq!(process::run(migrate).await.0, Some(0));
    let postgres = database(&place).await;
    for (spoil, table) in [
        ("NEW.display_name := NEW.display_name || ' '; RETURN NEW", "api_key"),
        ("IF NEW.id = 'system' THEN RETURN NEW; END IF; RETURN NULL", "service_user"),
        ("NEW.time := NEW.time + interval '1 microsecond'; RETURN NEW", "audit_event"),
    ] {
        let function = format!("CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {spoil}; END $$");
        let trigger = format!("CREATE TRIGGER spoil BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()");
        contents::execute(&postgres, &[&function, &trigger]).await;
        let (code, out, err) = process::run(copy(&place)).await;
        assert_eq!(code, Some(1), "{out}{err}");
        if table == "service_user" {
            // Its keys have no owner then.
            assert!(err.contains("table `api_key` can't be copied, so nothing was"), "{err}");
        } else {
            assert!(out.contains("NOT THE SAME") && out.contains("all of it was undone"), "{out}");
            assert!(err.contains(&format!("{table}: compared, NOT THE SAME")), "{err}");
        }
        assert_eq!(select::<i64>(&postgres, "SELECT count(*) FROM tenant").await, [0], "nothing was left");
        assert_eq!(select::<i64>(&postgres, "SELECT value FROM revision").await, [0]);
        contents::execute(&postgres, &[&format!("DROP TRIGGER spoil ON {table}"), "DROP FUNCTION spoil()"]).await;
    }
    let (code, out, err) = process::run(copy(&place)).await;
    assert_eq!(code, Some(0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_leaves_nothing_and_can_be_made_again() {
    let Some((place, bulk)) = small_installation().await else { return };
    let expire_time = start_of_time() + TimeDelta::days(400);
    bulk.service_users("acme", 3_000).await;
    bulk.keys(&Keys { tenant: "acme", service_users: 0..3_000, slots: 0..7, expire_time }).await;
    drop(bulk);
    let mut migrate = process::command(&place);
    migrate.arg("migrate");
    assert_eq!(process::run(migrate).await.0, Some(0));
    let postgres = database(&place).await;
    // So that it can't be done before it is killed: the last key never comes in.
    let stall = "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF (SELECT count(*) FROM api_key) > 20000 THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END'";
    let on = "CREATE TRIGGER stall AFTER INSERT ON api_key FOR EACH STATEMENT EXECUTE FUNCTION stall()";
    contents::execute(&postgres, &[stall, on]).await;
    let mut child = copy(&place).spawn().expect("it starts");
    let mut lines = tokio::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with("api_key: 10,000 of ") {
        line.clear();
        assert!(tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.expect("a line") > 0, "it ended");
    }
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    eventually(START, "it stalls", async || select::<i64>(&postgres, asleep).await == [1]).await;
    child.kill().await.expect("killed");
    let stalled = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'";
    assert_eq!(select::<bool>(&postgres, stalled).await, [true], "it was in the middle");
    for table in ["api_key", "service_user", "tenant"] {
        let left = select::<i64>(&postgres, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(left, [0], "{table}");
    }
    contents::execute(&postgres, &["DROP TRIGGER stall ON api_key", "DROP FUNCTION stall()"]).await;
    let (code, out, err) = process::run(copy(&place)).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let keys = printed_tables(&out).into_iter().find(|(name, ..)| name == "api_key").expect("keys");
    assert_eq!(keys.1, 21_001);
}

/// An installation with a root key and tenant `acme`, stopped; its rows; and PostgreSQL, empty. `None` without PostgreSQL.
async fn small_installation() -> Option<(Place, Bulk)> {
    let empty = Engine::Postgres.place().await?;
    let app = TestApp::start(Engine::Sqlite).await.expect("SQLite is always there");
    app.root().await.create_tenant("acme").await;
    app.running.stop().await;
    let bulk = Bulk::into(&app.place, start_of_time()).await;
    Some((Place { folder: app.place.folder, database_url: empty.database_url }, bulk))
}

/// Prints how long a copy takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_are_copied_within_minutes() {
    if !long() {
        return;
    }
    let Some((place, bulk)) = small_installation().await else { return };
    let expire_time = start_of_time() + TimeDelta::days(400);
    bulk.service_users("acme", 10_000).await;
    bulk.keys(&Keys { tenant: "acme", service_users: 0..10_000, slots: 0..10, expire_time }).await;
    drop(bulk);
    let begun = tokio::time::Instant::now();
    let (code, out, err) = process::run(copy(&place)).await;
    let took = begun.elapsed();
    assert_eq!(code, Some(0), "{out}{err}");
    println!("100,000 keys were copied in {took:.1?}");
    assert!(took < Duration::from_secs(180), "{took:?}");
}

/// What the test reads from the schema is what there is.
#[tokio::test]
async fn the_tables_of_both_engines_are_the_same() {
    let Some((place, bulk)) = small_installation().await else { return };
    let mut migrate = process::command(&place);
    migrate.arg("migrate");
    assert_eq!(process::run(migrate).await.0, Some(0));
    assert_eq!(tables(&bulk.database).await, tables(&database(&place).await).await);
}
