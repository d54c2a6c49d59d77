//! `claviger:keys.self`: its own service user's keys, never wider than the calling key, in any dimension.

use super::*;
use crate::rpcs::{OWN, READ, VERIFY, WRITE};

on_both_engines!(
    keys_self_makes_no_wider_key,
    keys_self_edits_no_key_to_a_wider_one,
    keys_self_rotates_no_wider_sibling,
    keys_self_stays_with_its_own_service_user,
    keys_self_does_not_outlive_itself_by_rotation,
);

const HOUR: i64 = 3_600;

/// A caller with a reach in each dimension: scopes, networks (it calls from loopback), an end.
fn calling() -> v1::Key {
    until(24 * HOUR, in_networks(&["127.0.0.0/8", "192.0.2.0/24"], key(&[OWN, VERIFY, "mcp:*", "pay"])))
}

/// Keys, and whether they are wider than the calling one.
fn siblings() -> Vec<(&'static str, v1::Key, Refused)> {
    let narrow = |scopes: &[&str]| until(HOUR, in_networks(&["127.0.0.1"], key(scopes)));
    let nets = |networks: &[&str]| until(HOUR, in_networks(networks, key(&[])));
    let end = |seconds| until(seconds, in_networks(&["127.0.0.1"], key(&[])));
    let never = in_networks(&["127.0.0.1"], key(&[]));
    vec![
        ("the same reach", v1::Key { display_name: "a key".to_owned(), ..calling() }, ALLOWED),
        ("fewer scopes", narrow(&["mcp:tools:*", "mcp:read", "pay"]), ALLOWED),
        ("its own rights", narrow(&[OWN, VERIFY]), ALLOWED),
        ("no scopes", narrow(&[]), ALLOWED),
        ("a foreign scope", narrow(&["pay", "refund"]), WIDER),
        ("every scope", narrow(&["*"]), WIDER),
        ("the stem of a wildcard", narrow(&["mcp"]), WIDER),
        ("a wildcard from a plain scope", narrow(&["pay:*"]), WIDER),
        ("a right it lacks", narrow(&[READ]), NOT_HELD),
        ("a stronger right", narrow(&[WRITE]), NOT_HELD),
        ("a smaller network", nets(&["127.0.0.0/24", "192.0.2.128/25"]), ALLOWED),
        ("a network spelled as IPv6", nets(&["::ffff:192.0.2.0/120"]), ALLOWED),
        ("any network", nets(&[]), WIDER),
        ("a foreign network", nets(&["127.0.0.1", "198.51.100.0/24"]), WIDER),
        ("a larger network", nets(&["192.0.0.0/16"]), WIDER),
        ("an IPv6 network", nets(&["::1"]), WIDER),
        ("the same end", end(24 * HOUR), ALLOWED),
        ("a later end", end(24 * HOUR + 1), WIDER),
        ("no end", never, WIDER),
    ]
}

async fn keys_self_makes_no_wider_key(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (_, mut caller) = scene.caller_like(calling()).await;
    for (about, wanted, expected) in siblings() {
        let made = create(&mut caller, &scene.own, wanted).await;
        if let Ok((made, _)) = &made {
            revoke(&mut caller, &made.name).await.expect("an own key may be revoked");
        }
        assert_outcome(made, expected, about);
    }
}

async fn keys_self_edits_no_key_to_a_wider_one(engine: Engine) {
    const ALL: [&str; 4] = ["display_name", "scopes", "allowed_networks", "expire_time"];
    let Some(mut scene) = Scene::set(engine).await else { return };
    for (about, wanted, expected) in siblings() {
        let (calling, mut caller) = scene.caller_like(calling()).await;
        let narrow = until(HOUR, in_networks(&["127.0.0.1"], key(&[])));
        let (sibling, _) = create(&mut caller, &scene.own, narrow).await.expect("a narrow key");
        let edited = update(&mut caller, &sibling.name, wanted.clone(), &ALL).await;
        assert_outcome(edited, expected, &format!("a sibling: {about}"));
        let edited = update(&mut caller, &calling.name, wanted, &ALL).await;
        assert_outcome(edited, expected, &format!("the calling key itself: {about}"));
        for name in [calling.name, sibling.name] {
            revoke(&mut scene.root, &name).await.expect("revoked");
        }
    }
}

async fn keys_self_rotates_no_wider_sibling(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (_, mut caller) = scene.caller_like(calling()).await;
    for (about, sibling, expected) in siblings() {
        let (sibling, _) = create(&mut scene.root, &scene.own.clone(), sibling).await.expect("a sibling");
        let renamed = update(&mut caller, &sibling.name, key(&[]), &["display_name"]).await;
        assert_outcome(renamed, expected, &format!("rename {about}"));
        // A lifetime that fits, so that only the copied reach decides; the end itself has a test of its own.
        let copied = if about.ends_with(" end") { ALLOWED } else { expected };
        let rotated = rotate(&mut caller, &sibling.name, Some(HOUR)).await;
        let live = rotated.as_ref().ok().and_then(|rotated| rotated.key.clone()).unwrap_or(sibling);
        assert_outcome(rotated, copied, &format!("rotate {about}"));
        revoke(&mut caller, &live.name).await.expect("even a wider sibling may be ended");
    }
}

async fn keys_self_stays_with_its_own_service_user(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let mut caller = scene.caller(&[OWN]).await;
    let (target, _) = scene.root.create_key(&scene.other, &[]).await;
    let other = scene.other.clone();
    assert_outcome(create(&mut caller, &other, key(&[])).await, WIDER, "create");
    assert_outcome(rotate(&mut caller, &target.name, None).await, WIDER, "rotate");
    assert_outcome(revoke(&mut caller, &target.name).await, WIDER, "revoke");
    assert_outcome(update(&mut caller, &target.name, key(&[]), &["display_name"]).await, WIDER, "update");
    let get = v1::GetKeyRequest { name: target.name.clone() };
    assert_outcome(caller.keys.get_key(get).await, WIDER, "get");
    for (parent, expected) in
        [(other, WIDER), (format!("{}/serviceUsers/-", scene.tenant), RIGHT_MISSING), (scene.own, ALLOWED)]
    {
        let list = v1::ListKeysRequest { parent: parent.clone(), ..Default::default() };
        assert_outcome(caller.keys.list_keys(list).await, expected, &format!("list {parent}"));
    }
    assert_outcome(enable(&mut caller, &target.name).await, RIGHT_MISSING, "enable");
    assert_outcome(disable(&mut caller, &target.name).await, RIGHT_MISSING, "disable");
}

async fn keys_self_does_not_outlive_itself_by_rotation(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (calling, mut caller) = scene.caller_like(calling()).await;
    scene.app.advance(chrono::TimeDelta::hours(1));
    assert_outcome(rotate(&mut caller, &calling.name, None).await, WIDER, "the original lifetime, from now");
    assert_outcome(rotate(&mut caller, &calling.name, Some(24 * HOUR)).await, WIDER, "an hour too long");
    let rotated = rotate(&mut caller, &calling.name, Some(23 * HOUR - 1)).await;
    let rotated = rotated.expect("an end before its own");
    let mut successor = scene.root.with(Some(&rotated.secret));
    let get = v1::GetKeyRequest { name: rotated.key.expect("a key").name };
    assert_outcome(successor.keys.get_key(get).await, ALLOWED, "the successor goes on");
}
