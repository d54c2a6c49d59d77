//! Backups with the databases' own tools, made while the service changes keys, and restored into a fresh place: every key is
//! as it was then, and nothing works without the pepper.

mod scene;

use std::process::{Command, Stdio};
use std::time::Duration;

use claviger::proto::v1::Verdict;
use tempfile::TempDir;

use crate::harness::{
    Client, Engine, Place, Process,
    cluster::postgres_program,
    engine::{create_database, tool, variable},
    http,
    process::{command, run},
};
use crate::rig::{Change, Replicas, database, eventually, pepper, select};
use scene::{Known, Writer};

/// Noticing takes a second, ending again and loading take their time on a busy machine.
const HEALED: Duration = Duration::from_secs(30);

/// Runs a tool to its good end.
fn done(mut tool: Command) {
    let ended = tool.env_remove("CLAVIGER_DATABASE_URL").stdin(Stdio::null()).output().expect("the tool runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{tool:?}: {said}");
}

/// An empty folder, and the database that a backup was restored into.
fn restored_place(database_url: Option<String>) -> Place {
    Place { folder: tempfile::tempdir().expect("a folder"), database_url }
}

/// Makes a backup by `back_up` while keys are made and revoked; `restore` brings it to a fresh place, on which a service must
/// know every key as it was.
async fn a_backup_holds_what_was_there(
    place: &Place,
    back_up: impl AsyncFn(&Place),
    restore: impl AsyncFn(&Place) -> Place,
) {
    let service = Process::start_with(place, &[("CLAVIGER_LOG", "warn")]).await;
    let root_secret = crate::harness::process::root_secret(place.folder.path());
    let writer = Writer::start(service.caller(Some(&root_secret)).await).await;
    writer.has_made(25).await;
    let before = writer.known();
    back_up(place).await;
    let after = writer.known();
    writer.has_made(after.keys.len() + 25).await;
    let last = writer.end().await;
    assert_eq!(service.terminate().await, Some(0));

    let restored = restore(place).await;
    refuses_without_its_pepper(&restored).await;
    std::fs::copy(place.folder.path().join("pepper"), restored.folder.path().join("pepper")).expect("copied");
    let service = Process::start_with(&restored, &[("CLAVIGER_LOG", "warn")]).await;
    let mut root = service.caller(Some(&root_secret)).await;
    expect_as_of_the_backup(&mut root, &before, &after, &last).await;
    let (_, secret) = root.create_key(&last.owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid, "it goes on");
}

/// `before`: what was known when the backup began, `after`: when it was done, `last`: at the end.
async fn expect_as_of_the_backup(root: &mut Client, before: &Known, after: &Known, last: &Known) {
    let mut came_back = 0;
    for (number, key) in last.keys.iter().enumerate() {
        let verdict = root.verdict(&key.secret).await;
        let is_in = |known: &Known| known.keys.get(number).is_some_and(|then| then.is_revoked);
        let expected = if is_in(before) {
            vec![Verdict::Revoked]
        } else if number < before.keys.len() {
            // Nobody who restores a backup knows of later changes.
            came_back += usize::from(key.is_revoked && !is_in(after) && verdict == Verdict::Valid);
            let under_way = is_in(after) || after.may_be_being_revoked(number);
            if under_way { vec![Verdict::Valid, Verdict::Revoked] } else { vec![Verdict::Valid] }
        } else if number <= after.keys.len() {
            vec![Verdict::Valid, Verdict::Revoked, Verdict::Unknown]
        } else {
            vec![Verdict::Unknown]
        };
        assert!(expected.contains(&verdict), "key {number}: {verdict:?}, and should be among {expected:?}");
    }
    assert!(before.keys.iter().any(|key| key.is_revoked), "something was revoked before the backup");
    assert!(came_back > 0, "something was revoked since, and verifies again");
}

/// It says which pepper is missing; with another one too.
async fn refuses_without_its_pepper(place: &Place) {
    let id = select::<String>(&database(place).await, "SELECT id FROM pepper").await.remove(0);
    let other = place.folder.path().join("other-pepper");
    std::fs::write(&other, pepper()).expect("written");
    for file in [None, Some(&other)] {
        let mut serve = command(place);
        serve.envs(file.map(|file| ("CLAVIGER_PEPPER_FILE", file)));
        let (code, _, err) = run(serve).await;
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(&id) && err.contains("give it as CLAVIGER_PEPPER_FILE, from the backup"), "{err}");
    }
}

async fn sqlite_backup(arguments: &str) {
    let Some(sqlite3) = tool("sqlite3") else { return };
    let place = Engine::Sqlite.place().await.expect("SQLite is always there");
    let backups = TempDir::new().expect("a folder");
    let file = backups.path().join("claviger.sqlite");
    let back_up = async |place: &Place| {
        let mut tool = Command::new(&sqlite3);
        tool.arg(place.sqlite_file()).arg(arguments.replace("FILE", file.to_str().expect("UTF-8")));
        done(tool);
    };
    let restore = async |_: &Place| {
        let restored = restored_place(None);
        std::fs::copy(&file, restored.sqlite_file()).expect("copied");
        let mut check = Command::new(&sqlite3);
        let checked = check.arg(restored.sqlite_file()).arg("PRAGMA integrity_check").output().expect("it runs");
        assert_eq!(checked.stdout, b"ok\n");
        restored
    };
    a_backup_holds_what_was_there(&place, back_up, restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_backup_of_sqlite_holds_what_was_there() {
    sqlite_backup(".backup 'FILE'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_into_a_file_holds_what_was_there() {
    sqlite_backup("VACUUM INTO 'FILE'").await;
}

/// A dump in PostgreSQL's own format.
fn pg_dump(place: &Place, file: &std::path::Path) {
    let mut dump = postgres_program("pg_dump").expect("it is there");
    dump.args(["--format=custom", "--no-owner", "--file"]).arg(file);
    done({
        dump.arg(place.database_url.as_deref().expect("PostgreSQL"));
        dump
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_postgres_holds_what_was_there() {
    let Some(place) = Engine::Postgres.place().await else { return };
    if postgres_program("pg_dump").is_none() {
        return;
    }
    let server = variable("CLAVIGER_TEST_POSTGRES_URL").expect("PostgreSQL is there");
    let backups = TempDir::new().expect("a folder");
    let file = backups.path().join("claviger.dump");
    let back_up = async |place: &Place| pg_dump(place, &file);
    let restore = async |_: &Place| {
        let url = create_database(&server).await;
        let mut restore = postgres_program("pg_restore").expect("it is there");
        restore.args(["--exit-on-error", "--no-owner", "--dbname", &url]).arg(&file);
        done(restore);
        restored_place(Some(url))
    };
    a_backup_holds_what_was_there(&place, back_up, restore).await;
}

/// What ended since the backup stays ended, as long as a replica runs that knows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_under_running_replicas_brings_nothing_back() {
    let Some(replicas) = Replicas::new(2).await else { return };
    if postgres_program("pg_dump").is_none() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let (dump, log) = (folder.path().join("claviger.dump"), folder.path().join("log"));
    let mut processes = Vec::new();
    for number in 0..2 {
        let log = std::fs::File::options().create(true).append(true).open(&log).expect("a file");
        processes.push(Process::start_logging(replicas.command(number), log.into()).await);
    }
    let secret = replicas.root_secret();
    let mut root = processes[0].caller(Some(&secret)).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let mut ended = Vec::new();
    for (change, verdict) in
        [(Change::Revoke, Verdict::Revoked), (Change::Disable, Verdict::Disabled), (Change::Delete, Verdict::Unknown)]
    {
        let (key, secret) = root.create_key(&owner, &[]).await;
        ended.push((change, key.name, secret, verdict));
    }
    let (_, alive) = root.create_key(&owner, &[]).await;
    pg_dump(&replicas.places[0], &dump);
    for (change, name, ..) in &ended {
        change.make(&mut root, &owner, name).await.expect("ended");
    }
    let (_, lost) = root.create_key(&owner, &[]).await;
    let mut other = processes[1].caller(Some(&secret)).await;
    eventually(HEALED, "both know it", async || other.verdict(&lost).await == Verdict::Valid).await;

    // In one transaction, so that nobody ever sees half of it.
    let mut restore = postgres_program("pg_restore").expect("it is there");
    restore.args(["--clean", "--if-exists", "--single-transaction", "--no-owner", "--dbname"]);
    restore.arg(replicas.places[0].database_url.as_deref().expect("PostgreSQL")).arg(&dump);
    done(restore);
    for caller in [&mut root, &mut other] {
        eventually(HEALED, "a key that the backup lacks is gone", async || {
            try_verdict(caller, &lost).await == Some(Verdict::Unknown)
        })
        .await;
        for (change, _, secret, verdict) in &ended {
            assert_eq!(caller.verdict(secret).await, *verdict, "{change:?}");
        }
        assert_eq!(caller.verdict(&alive).await, Verdict::Valid);
    }
    let again = "SELECT revoke_reason FROM api_key WHERE state = 'REVOKED'";
    let reasons = select::<String>(&database(&replicas.places[0]).await, again).await;
    assert_eq!(reasons, ["revoked again: the database had lost the key's end"]);
    for process in &processes {
        let metrics = http::ask(process.http_address, "GET", "/metrics", "").await.body;
        assert!(metrics.lines().any(|line| line == "claviger_forks_total 1"), "{metrics}");
    }
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("the database lost writes: an old backup was restored, or"), "{said}");
}

async fn try_verdict(caller: &mut Client, secret: &str) -> Option<Verdict> {
    let request = claviger::proto::v1::VerifyRequest { secret: secret.to_owned(), ..Default::default() };
    caller.verification.verify(request).await.ok().map(|answer| answer.into_inner().verdict())
}
