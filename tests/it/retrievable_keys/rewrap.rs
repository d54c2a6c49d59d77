//! `claviger rewrap`: after a new KEK, the old one is needed no more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claviger::domain::{
    ids::{KeyId, KeyName},
    kek::{Keks, SealingChance},
    secret::Secret,
};
use claviger::random;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::keks::{id, setting, write};
use super::*;
use crate::harness::{NO_KEK, Place, process};
use crate::rig::{Replicas, pepper as kek};
use crate::warning_rows::bulk::{blob, quoted};

on_both_engines!(
    the_old_kek_is_needed_no_more,
    what_cannot_be_wrapped_anew_is_named_and_kept,
    many_are_wrapped_in_batches,
    one_that_was_killed_is_run_again,
);

async fn rewrap(place: &Place, file: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = process::command(place);
    command.arg("rewrap");
    if let Some(file) = file {
        command.env(NO_KEK.0, file);
    }
    process::run(command).await
}

fn own(place: &Place) -> String {
    std::fs::read_to_string(place.kek_file()).expect("a file")
}

/// Stops the service: with SQLite the command has the folder to itself.
async fn stopped(scene: Scene) -> (Place, claviger::clock::Clock) {
    let Scene { app, database, .. } = scene;
    app.running.stop().await;
    database.close().await.expect("closed");
    (app.place, app.clock)
}

async fn under(place: &Place) -> Vec<String> {
    select(&database(place).await, "SELECT DISTINCT kek_id FROM sealed_secret").await
}

async fn the_old_kek_is_needed_no_more(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(scene.make().await);
    }
    scene.reveal(&made[0].0).await.expect("one of five");
    let (old, new) = (own(&scene.app.place), kek());
    let (place, clock) = stopped(scene).await;
    let (code, _, said) = rewrap(&place, None).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("CLAVIGER_KEK_FILE isn't set"), "{said}");

    let both = write(&place, &[&new, &old]);
    let (code, out, said) = rewrap(&place, Some(&both)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains(&format!("3 data key(s) were wrapped anew, under the KEK {}", id(&new))), "{out}");
    assert!(out.contains("may be removed") && said.contains("3 of 3"), "{out}{said}");
    assert_eq!(under(&place).await, [id(&new)]);
    let (code, out, said) = rewrap(&place, Some(&both)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("0 data key(s)") && out.contains("may be removed") && said.is_empty(), "{out}{said}");

    let alone = write(&place, &[&new]);
    let app = TestApp::start_at_with(place, clock, &[setting(&alone)]).await;
    let mut root = app.root().await;
    for (name, secret) in &made {
        assert_eq!(reveal(&mut root, name).await.expect("revealed"), *secret);
    }
    for _ in 0..3 {
        reveal(&mut root, &made[0].0).await.expect("five in all");
    }
    assert_eq!(told(reveal(&mut root, &made[0].0).await).0, Code::ResourceExhausted, "the count goes on");
    if engine == Engine::Sqlite {
        let (code, _, said) = rewrap(&app.place, Some(&alone)).await;
        assert_eq!(code, Some(1));
        assert!(said.contains("is in use by another claviger process; stop that one first"), "{said}");
    }
}

async fn what_cannot_be_wrapped_anew_is_named_and_kept(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let made = [scene.make().await, scene.make().await, scene.make().await];
    let (damaged, unreadable) = (id_of(&made[0].0).to_owned(), id_of(&made[1].0).to_owned());
    scene.execute(&format!("UPDATE sealed_secret SET tenant_id = 'bolt' WHERE key_id = '{damaged}'")).await;
    scene.execute(&format!("UPDATE sealed_secret SET tenant_id = '-' WHERE key_id = '{unreadable}'")).await;
    let (old, new) = (own(&scene.app.place), kek());
    let (place, clock) = stopped(scene).await;
    let (code, out, said) = rewrap(&place, Some(&write(&place, &[&new]))).await;
    assert_eq!(code, Some(1), "the retired one isn't there");
    assert!(out.contains("0 data key(s)") && !out.contains("removed"), "{out}");
    assert!(said.contains(&format!("3 under {}", id(&old))) && said.contains("keep those KEKs"), "{said}");

    let both = write(&place, &[&new, &old]);
    let (code, out, said) = rewrap(&place, Some(&both)).await;
    assert_eq!(code, Some(1), "two can't be");
    assert!(out.contains("1 data key(s)") && !out.contains("removed"), "{out}");
    assert!(said.contains(&damaged) && said.contains(&unreadable), "{said}");
    assert!(said.contains(&format!("2 under {}", id(&old))), "{said}");
    let app = TestApp::start_at_with(place, clock, &[setting(&both)]).await;
    let mut root = app.root().await;
    assert_eq!(reveal(&mut root, &made[2].0).await.expect("revealed"), made[2].1);
    // The row's own word for its tenant isn't what a reveal asks.
    assert_eq!(reveal(&mut root, &made[0].0).await.expect("revealed"), made[0].1);
}

/// Sealed secrets of deleted keys, which no service would have kept: what counts here is how many.
async fn insert_many(scene: &Scene, count: usize) {
    let keks = Keks::parse(&own(&scene.app.place)).expect("KEKs");
    let pepper = select::<String>(&scene.database, "SELECT id FROM pepper").await.remove(0);
    let now = quoted(scene.app.clock.now());
    let (mut keys, mut sealed) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let key = KeyId::from_random(random::bytes().expect("randomness"));
        let name = KeyName::parse(&format!("{}/keys/{key}", scene.owner)).expect("a name");
        let secret = Secret::generate(key, random::fill).expect("a secret");
        let chance = SealingChance {
            data_key: Zeroizing::new(random::bytes().expect("randomness")),
            key_nonce: random::bytes().expect("randomness"),
            secret_nonce: random::bytes().expect("randomness"),
        };
        let stored = keks.seal(&name, &secret, &chance).expect("sealed");
        let digest = blob(&scene.database, &random::bytes::<32>().expect("randomness"));
        keys.push(format!(
            "('{key}', 'acme', 'billing', 'a key', '', 'ENABLED', '[]', '[]', {now}, {now}, {now}, {digest}, '{pepper}', 1, 1)"
        ));
        let (wrapped, bytes) = (blob(&scene.database, &stored.data_key.bytes), blob(&scene.database, &stored.bytes));
        sealed.push(format!("('{key}', 'acme', '{}', {wrapped}, {bytes}, '[]')", stored.data_key.kek.as_str()));
    }
    let columns = "id, tenant_id, service_user_id, display_name, description, state, scopes, networks, create_time, \
                   update_time, delete_time, secret_digest, pepper_id, revision, retrievable";
    for (table, rows) in [(format!("api_key ({columns})"), keys), ("sealed_secret".to_owned(), sealed)] {
        for some in rows.chunks(200) {
            scene.execute(&format!("INSERT INTO {table} VALUES {}", some.join(", "))).await;
        }
    }
}

async fn many_are_wrapped_in_batches(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    insert_many(&scene, 1_200).await;
    let (old, new) = (own(&scene.app.place), kek());
    let (place, clock) = stopped(scene).await;
    let both = write(&place, &[&new, &old]);
    let (code, out, said) = rewrap(&place, Some(&both)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("1201 data key(s)"), "{out}");
    let progress: Vec<&str> =
        said.lines().filter_map(|line| line.split_once(" of 1201 ").map(|(done, _)| done)).collect();
    assert_eq!(progress, ["500", "1000", "1201"]);
    assert_eq!(under(&place).await, [id(&new)]);
    let alone = write(&place, &[&new]);
    let app = TestApp::start_at_with(place, clock, &[setting(&alone)]).await;
    assert_eq!(reveal(&mut app.root().await, &name).await.expect("revealed"), secret);
}

async fn one_that_was_killed_is_run_again(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (name, secret) = scene.make().await;
    insert_many(&scene, 2_000).await;
    let (old, new) = (own(&scene.app.place), kek());
    let (place, clock) = stopped(scene).await;
    let both = write(&place, &[&new, &old]);
    let mut command = process::command(&place);
    let mut killed = command.arg("rewrap").env(NO_KEK.0, &both).spawn().expect("it starts");
    let mut said = BufReader::new(killed.stderr.take().expect("a pipe")).lines();
    said.next_line().await.expect("a line").expect("progress");
    killed.kill().await.expect("killed");
    let left = format!("SELECT count(*) FROM sealed_secret WHERE kek_id = '{}'", id(&old));
    let left = select::<i64>(&database(&place).await, &left).await[0];
    assert!(left < 2_001);
    let (code, out, said) = rewrap(&place, Some(&both)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains(&format!("{left} data key(s)")) && out.contains("may be removed"), "{out}");
    let alone = write(&place, &[&new]);
    let app = TestApp::start_at_with(place, clock, &[setting(&alone)]).await;
    assert_eq!(reveal(&mut app.root().await, &name).await.expect("revealed"), secret);
}

/// Beside two replicas that reveal and make keys meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn beside_replicas_that_serve_nothing_fails() {
    let Some(replicas) = Replicas::new(2).await else { return };
    let (old, new) = (kek(), kek());
    replicas.write_keks(&[old.clone(), new.clone()]);
    let processes = replicas.start().await;
    let secret = replicas.root_secret();
    let mut root = Client::connect(processes[0].address, Some(&secret)).await;
    let mut made = Vec::new();
    let place = crate::rpcs::Place::make(&mut root, "acme").await;
    for number in 0..12 {
        let owner = root.create_service_user(&place.tenant, &format!("user-{number}")).await;
        let created = create(&mut root, &owner, &[]).await.expect("made");
        made.push((created.key.expect("a key").name, created.secret));
    }
    assert_eq!(under(&replicas.places[0]).await, [id(&old)]);
    drop(processes);
    replicas.write_keks(&[new.clone(), old.clone()]);
    let processes = replicas.start().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut asking = Vec::new();
    for (number, some) in made.chunks(6).enumerate() {
        let (over, some) = (Arc::clone(&over), some.to_vec());
        let mut root = Client::connect(processes[number].address, Some(&secret)).await;
        let owner = root.create_service_user(&place.tenant, &format!("maker-{number}")).await;
        asking.push(tokio::spawn(async move {
            for asked in 0..5 * some.len() {
                let (name, secret) = &some[asked % some.len()];
                assert_eq!(reveal(&mut root, name).await.expect("revealed"), *secret);
                if asked < 10 {
                    create(&mut root, &owner, &[]).await.expect("made");
                }
                if over.load(Ordering::Relaxed) && asked >= some.len() {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    let (code, out, said) = rewrap(&replicas.places[0], Some(&replicas.kek_file())).await;
    over.store(true, Ordering::Relaxed);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("13 data key(s)") && out.contains("may be removed"), "{out}");
    for asking in asking {
        asking.await.expect("nothing failed");
    }
    drop(processes);
    assert_eq!(under(&replicas.places[0]).await, [id(&new)]);
    replicas.write_keks(&[new]);
    let processes = replicas.start().await;
    let mut root = Client::connect(processes[1].address, Some(&secret)).await;
    assert_eq!(reveal(&mut root, &place.key).await.expect("without the old one"), place.secret);
}

/// A wrong folder or database must not look like one in which nothing is left to do.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_ever_started_it_says_so() {
    let Some(place) = Engine::Sqlite.place().await else { return };
    let file = write(&place, &[&kek()]);
    let (code, out, said) = rewrap(&place, Some(&file)).await;
    assert_eq!((code, &*out), (Some(1), ""), "{said}");
    assert!(said.contains("no service was ever started on this database"), "{said}");
}
