//! The KEK file: missing, wrong, bad, and with retired ones.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use claviger::domain::kek::Keks;

use super::*;
use crate::harness::{NO_KEK, Place, Process, process};
use crate::rig::{eventually, pepper as kek};

on_both_engines!(
    without_a_kek_everything_else_works,
    a_wrong_kek_reveals_nothing_and_verifies_everything,
    a_retired_kek_still_opens,
    a_start_says_once_which_keks_it_lacks,
);

pub fn id(kek: &str) -> String {
    Keks::parse(kek).expect("a KEK").current().as_str().to_owned()
}

/// A KEK file beside the place's own.
pub fn write(place: &Place, keks: &[&str]) -> PathBuf {
    let file = place.folder.path().join("other-keks");
    std::fs::write(&file, keks.join("\n")).expect("written");
    file
}

pub fn setting(file: &Path) -> (&str, &str) {
    (NO_KEK.0, file.to_str().expect("UTF-8"))
}

fn own(place: &Place) -> String {
    std::fs::read_to_string(place.kek_file()).expect("a file")
}

fn unavailable() -> (Code, String) {
    (Code::Unavailable, "KEK_UNAVAILABLE".to_owned())
}

async fn expect_no_reveal(scene: &mut Scene, name: &str, kek: &str) {
    let refused = scene.reveal(name).await.expect_err("no KEK");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().expect("a reason").metadata["kek"], id(kek));
    assert!(details.retry_info().is_some(), "another replica may have it");
    assert_eq!(told::<()>(Err(refused)), unavailable());
}

async fn without_a_kek_everything_else_works(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    scene = scene.restarted(&[NO_KEK]).await;
    assert_eq!(scene.root.verdict(&secret).await, Verdict::Valid);
    let before = get(&mut scene.root, &name).await;
    let kek = own(&scene.app.place);
    for _ in 0..6 {
        expect_no_reveal(&mut scene, &name, &kek).await;
    }
    let revision = select::<i64>(&scene.database, "SELECT value FROM revision").await;
    assert_eq!(told(create(&mut scene.root, &scene.owner, &[]).await), unavailable());
    for grace in [0, 60] {
        assert_eq!(told(Change::Rotate(grace).make(&mut scene.root, &scene.owner, &name).await), unavailable());
    }
    assert_eq!(select::<i64>(&scene.database, "SELECT value FROM revision").await, revision);
    assert_eq!(select::<i64>(&scene.database, "SELECT count(*) FROM api_key").await, [2], "the root key and this one");
    assert_eq!(get(&mut scene.root, &name).await, before, "nothing was changed");
    scene.allow(false).await;
    assert_eq!(
        told(create(&mut scene.root, &scene.owner, &[]).await),
        precondition("POLICY_VIOLATED"),
        "the policy first"
    );
    let (plain, _) = scene.root.create_key(&scene.owner, &[]).await;
    Change::Rotate(0).make(&mut scene.root, &scene.owner, &plain.name).await.expect("a plain key is rotated");
    Change::Rename(1).make(&mut scene.root, &scene.owner, &name).await.expect("renamed");
    // With the KEK again; nothing was counted.
    scene = scene.restarted(&[]).await;
    for _ in 0..5 {
        assert_eq!(scene.reveal(&name).await.expect("revealed"), secret);
    }
    scene = scene.restarted(&[NO_KEK]).await;
    Change::Revoke.make(&mut scene.root, &scene.owner, &name).await.expect("what is revoked needs no KEK");
    assert_eq!(scene.kept().await, Vec::<String>::new());
}

async fn a_wrong_kek_reveals_nothing_and_verifies_everything(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    let right = own(&scene.app.place);
    let file = write(&scene.app.place, &[&kek()]);
    scene = scene.restarted(&[setting(&file)]).await;
    assert_eq!(scene.root.verdict(&secret).await, Verdict::Valid);
    expect_no_reveal(&mut scene, &name, &right).await;
    let (other, second) = scene.make().await;
    assert_eq!(scene.reveal(&other).await.expect("sealed under the new one"), second);
    scene = scene.restarted(&[]).await;
    assert_eq!(scene.reveal(&name).await.expect("the right one again"), secret);
    assert_eq!(told(scene.reveal(&other).await), unavailable());
}

async fn a_retired_kek_still_opens(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    let (old, new) = (own(&scene.app.place), kek());
    let file = write(&scene.app.place, &[&new, "# retired", &old]);
    scene = scene.restarted(&[setting(&file)]).await;
    assert_eq!(scene.reveal(&name).await.expect("under the retired one"), secret);
    let (other, second) = scene.make().await;
    assert_eq!(scene.reveal(&other).await.expect("under the current one"), second);
    let mut under: Vec<String> = select(&scene.database, "SELECT DISTINCT kek_id FROM sealed_secret").await;
    under.sort();
    let mut both = vec![id(&old), id(&new)];
    both.sort();
    assert_eq!(under, both);
}

async fn a_start_says_once_which_keks_it_lacks(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    for _ in 0..3 {
        scene.make().await;
    }
    let Scene { app, database, .. } = scene;
    let (old, new) = (own(&app.place), kek());
    app.running.stop().await;
    database.close().await.expect("closed");
    for (keks, lacks) in [(&[][..], true), (&[new.as_str()], true), (&[&new, &old], false), (&[&old], false)] {
        let mut command = process::command(&app.place);
        command.env("CLAVIGER_LOG", "warn");
        if !keks.is_empty() {
            command.env(NO_KEK.0, write(&app.place, keks));
        }
        let said = said_by(command, lacks.then_some("can't be revealed")).await;
        let warnings: Vec<&str> = said.lines().filter(|line| line.contains("KEK")).collect();
        assert_eq!(warnings.len(), usize::from(lacks), "{said}");
        for warning in warnings {
            assert!(warning.contains(&id(&old)) && warning.contains("keys=3"), "{warning}");
        }
        assert!(!said.contains(&old) && !said.contains(&new), "{said}");
    }
}

/// What a service logs until it said this, or for a while.
async fn said_by(mut command: tokio::process::Command, wanted: Option<&str>) -> String {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let errors = log.reopen().expect("opened");
    command.stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().expect("it starts");
    let mut lines = tokio::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut first).await.expect("a line");
    assert!(first.contains("serves"), "{first}");
    let said = || std::fs::read_to_string(log.path()).expect("a log");
    match wanted {
        Some(wanted) => drop(eventually(Duration::from_secs(30), wanted, async || said().contains(wanted)).await),
        None => tokio::time::sleep(Duration::from_millis(500)).await,
    }
    child.kill().await.expect("killed");
    said()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_kek_file_is_refused_at_the_start_with_every_other_bad_setting() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let (good, short) = (kek(), kek()[..63].to_owned());
    let many = vec![good.as_str(); 17];
    for (keks, why) in [
        (None, "No such file"),
        (Some(vec![]), "holds no KEK"),
        (Some(vec!["# none yet"]), "holds no KEK"),
        (Some(vec![short.as_str()]), "not 64 hexadecimal characters"),
        (Some(vec![good.as_str(), "zz"]), "not 64 hexadecimal characters"),
        (Some(many), "holds 17 KEKs; at most 16"),
    ] {
        let file = place.folder.path().join("bad-keks");
        match &keks {
            Some(keks) => std::fs::write(&file, keks.join("\n")).expect("written"),
            None => drop(std::fs::remove_file(&file)),
        }
        for command in ["serve", "migrate", "root-key", "rewrap"] {
            let mut refused = process::command(&place);
            refused.arg(command).env(NO_KEK.0, &file).env("CLAVIGER_LOG_FORMAT", "loud");
            let (code, out, said) = process::run(refused).await;
            assert_eq!((code, out.as_str()), (Some(2), ""), "{command}: {said}");
            for part in ["kek_file: ", file.to_str().expect("UTF-8"), why, "log_format: "] {
                assert!(said.contains(part), "{command}: {part:?} isn't in {said}");
            }
            assert!(!said.contains(&good[..16]) && !said.contains(&short[..16]), "{said}");
        }
    }
    assert!(!place.sqlite_file().exists(), "nothing was opened");
    let served = Process::start_with(&place, &[setting(&write(&place, &[&good]))]).await;
    assert_eq!(served.terminate().await, Some(0));
}
