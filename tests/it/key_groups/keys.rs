//! Keys in groups: put in, moved, taken out, listed; by whom, and into which.

use v1::KeyState;

use super::*;
use crate::rpcs::{OWN, WRITE};

on_both_engines!(
    a_key_is_put_into_a_group_moved_and_taken_out,
    keys_of_a_group_are_listed_for_one_service_user_and_for_all,
    a_group_that_is_missing_or_anothers_takes_no_key,
    a_rotation_keeps_the_group,
    whoever_has_keys_self_groups_their_own_keys,
    verify_tells_the_group_of_the_moment,
);

/// Tries to make a key in this group.
pub async fn try_create_in(root: &mut Client, owner: &str, group: &str) -> Result<(v1::Key, String), Status> {
    let (display_name, key_group) = ("a key".to_owned(), group.to_owned());
    let key = Some(v1::Key { display_name, key_group, ..Default::default() });
    let made = root.keys.create_key(v1::CreateKeyRequest { parent: owner.to_owned(), key, ..Default::default() });
    let made = made.await?.into_inner();
    Ok((made.key.expect("a key"), made.secret))
}

/// Makes a key in this group.
pub async fn create_in(root: &mut Client, owner: &str, group: &str) -> (v1::Key, String) {
    try_create_in(root, owner, group).await.expect("a key")
}

/// Puts a key into this group.
pub async fn put(root: &mut Client, key: &str, group: &str, expected_revision: i64) -> Result<v1::Key, Status> {
    let key = v1::Key { name: key.to_owned(), key_group: group.to_owned(), ..Default::default() };
    let update_mask = Some(FieldMask { paths: vec!["key_group".to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, expected_revision };
    Ok(root.keys.update_key(request).await?.into_inner().key.expect("a key"))
}

pub async fn key(root: &mut Client, name: &str) -> v1::Key {
    let got = root.keys.get_key(v1::GetKeyRequest { name: name.to_owned() }).await;
    got.expect("a key").into_inner().key.expect("a key")
}

fn in_group(parent: &str, group: &str) -> v1::ListKeysRequest {
    v1::ListKeysRequest { parent: parent.to_owned(), key_group: group.to_owned(), ..Default::default() }
}

/// Every name, in pages of one.
async fn names(root: &mut Client, request: v1::ListKeysRequest) -> BTreeSet<String> {
    let mut request = v1::ListKeysRequest { page_size: 1, ..request };
    let mut names = BTreeSet::new();
    for _ in 0..100 {
        let page = root.keys.list_keys(request.clone()).await.expect("a page").into_inner();
        names.extend(page.keys.into_iter().map(|key| key.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return names;
        }
    }
    panic!("the list has no end");
}

fn set(keys: &[&v1::Key]) -> BTreeSet<String> {
    keys.iter().map(|key| key.name.clone()).collect()
}

async fn a_key_is_put_into_a_group_moved_and_taken_out(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (live, test) = (root.create_key_group(&tenant, "live").await, root.create_key_group(&tenant, "test").await);
    assert_eq!(root.create_key(&owner, &[]).await.0.key_group, "");
    let (made, secret) = create_in(&mut root, &owner, &live).await;
    assert_eq!(made.key_group, live);
    assert_eq!(key(&mut root, &made.name).await, made);

    app.advance(TimeDelta::hours(1));
    let moved = put(&mut root, &made.name, &test, made.revision).await.expect("moved");
    let (update_time, revision) = (Some(timestamp(&app)), moved.revision);
    assert!(revision > made.revision);
    assert_eq!(moved, v1::Key { key_group: test.clone(), update_time, revision, ..made.clone() });
    assert_eq!(put(&mut root, &made.name, &test, 0).await.expect("a no-op"), moved);
    let late = put(&mut root, &made.name, &live, made.revision).await;
    assert_eq!(told(late), (Code::Aborted, "REVISION_MISMATCH".to_owned()));
    let cleared = put(&mut root, &made.name, "", 0).await.expect("cleared");
    assert_eq!((cleared.key_group.as_str(), cleared.display_name.as_str()), ("", "a key"));
    assert_eq!(key(&mut root, &made.name).await, cleared);
    assert_eq!(root.verdict(&secret).await, v1::Verdict::Valid);
    let (method, _) = events(&mut root, &tenant, &made.name).await.remove(0);
    assert_eq!(method, "claviger.v1.KeyService/UpdateKey");

    let disable = v1::DisableKeyRequest { name: made.name.clone(), ..Default::default() };
    root.keys.disable_key(disable).await.expect("disabled");
    assert_eq!(put(&mut root, &made.name, &live, 0).await.expect("a live key is edited").key_group, live);
    let revoke = v1::RevokeKeyRequest { name: made.name.clone(), ..Default::default() };
    root.keys.revoke_key(revoke).await.expect("revoked");
    let dead = put(&mut root, &made.name, "", 0).await;
    assert_eq!(told(dead), (Code::FailedPrecondition, "KEY_REVOKED".to_owned()));
    assert_eq!(key(&mut root, &made.name).await.key_group, live, "it ended in there");
}

async fn keys_of_a_group_are_listed_for_one_service_user_and_for_all(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let all = format!("{tenant}/serviceUsers/-");
    let (one, two) = (root.create_service_user(&tenant, "one").await, root.create_service_user(&tenant, "two").await);
    let (live, test) = (root.create_key_group(&tenant, "live").await, root.create_key_group(&tenant, "test").await);
    let bolt = root.create_tenant("bolt").await;
    let theirs = root.create_service_user(&bolt, "one").await;
    let their_group = root.create_key_group(&bolt, "live").await;
    create_in(&mut root, &theirs, &their_group).await;
    let mut keys = Vec::new();
    for (owner, group) in [(&one, &*live), (&one, &live), (&one, &test), (&one, ""), (&two, &live), (&two, &test)] {
        keys.push(create_in(&mut root, owner, group).await.0);
    }
    let [a, b, c, d, e, f] = &keys[..] else { panic!("six keys") };
    assert_eq!(names(&mut root, in_group(&one, &live)).await, set(&[a, b]));
    assert_eq!(names(&mut root, in_group(&all, &live)).await, set(&[a, b, e]));
    assert_eq!(names(&mut root, in_group(&all, &test)).await, set(&[c, f]));
    assert_eq!(names(&mut root, in_group(&all, "")).await, set(&[a, b, c, d, e, f]), "of any and of none");

    let disable = v1::DisableKeyRequest { name: b.name.clone(), ..Default::default() };
    root.keys.disable_key(disable).await.expect("disabled");
    let delete = v1::DeleteKeyRequest { name: e.name.clone(), ..Default::default() };
    root.keys.delete_key(delete).await.expect("deleted");
    let disabled = v1::ListKeysRequest { state: KeyState::Disabled.into(), ..in_group(&all, &live) };
    assert_eq!(names(&mut root, disabled).await, set(&[b]), "both filters hold");
    assert_eq!(names(&mut root, in_group(&all, &live)).await, set(&[a, b]));
    let deleted = v1::ListKeysRequest { show_deleted: true, ..in_group(&all, &live) };
    assert_eq!(names(&mut root, deleted).await, set(&[a, b, e]));

    let first = v1::ListKeysRequest { page_size: 1, ..in_group(&one, &live) };
    let page_token = root.keys.list_keys(first.clone()).await.expect("a page").into_inner().next_page_token;
    for key_group in [test, String::new()] {
        let next = v1::ListKeysRequest { page_token: page_token.clone(), key_group, ..first.clone() };
        assert_eq!(bad_fields(&root.keys.list_keys(next).await.expect_err("another filter")), ["page_token"]);
    }
}

/// What creating in, moving to and listing this group is answered, as the holder of this secret.
async fn tries(root: &Client, secret: &str, owner: &str, key: &str, group: &str) -> [Status; 3] {
    let mut caller = root.with(Some(secret));
    [
        try_create_in(&mut caller, owner, group).await.expect_err("refused"),
        put(&mut caller, key, group, 0).await.expect_err("refused"),
        caller.keys.list_keys(in_group(owner, group)).await.expect_err("refused"),
    ]
}

async fn a_group_that_is_missing_or_anothers_takes_no_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (acme, bolt) = (root.create_tenant("acme").await, root.create_tenant("bolt").await);
    let owner = root.create_service_user(&acme, "billing").await;
    let theirs = root.create_key_group(&bolt, "live").await;
    let (ours, secret) = root.create_key(&owner, &[WRITE]).await;
    let writer = secret;
    let missing_group = format!("{acme}/keyGroups/live");
    for secret in [&app.root_secret, &writer] {
        for status in tries(&root, secret, &owner, &ours.name, &missing_group).await {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
            let resource = status.get_details_resource_info().expect("ResourceInfo");
            assert_eq!(
                (resource.resource_type.as_str(), resource.resource_name),
                ("claviger.v1.KeyGroup", missing_group.clone())
            );
        }
        // The request alone says that it is wrong: there or not, the answer is the same to the byte.
        let nowhere = theirs.replace("bolt", "nobody");
        let (there, not) = (
            tries(&root, secret, &owner, &ours.name, &theirs).await,
            tries(&root, secret, &owner, &ours.name, &nowhere).await,
        );
        let fields = ["key.key_group", "key.key_group", "key_group"];
        for ((there, not), field) in there.iter().zip(&not).zip(fields) {
            assert_eq!((there.code(), bad_fields(there)), (Code::InvalidArgument, vec![field.to_owned()]));
            assert_eq!((there.message(), there.details()), (not.message(), not.details()));
        }
    }
    let mut stranger = root.with(Some(&writer));
    assert_eq!(told(get(&mut stranger, &theirs).await), missing());
    assert_eq!(told(delete(&mut stranger, &theirs, true).await), missing());
    assert_eq!(names(&mut root, in_group(&owner, "")).await, set(&[&ours]), "nothing was made");
    assert_eq!(key(&mut root, &ours.name).await, ours, "nothing was changed");
}

async fn a_rotation_keeps_the_group(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let live = root.create_key_group(&tenant, "live").await;
    for seconds in [0, 3_600] {
        let (made, _) = create_in(&mut root, &owner, &live).await;
        let grace_period = Some(prost_types::Duration { seconds, nanos: 0 });
        let rotate = v1::RotateKeyRequest { name: made.name.clone(), grace_period, ..Default::default() };
        let rotated = root.keys.rotate_key(rotate).await.expect("rotated").into_inner();
        let (successor, predecessor) = (rotated.key.expect("a key"), rotated.predecessor.expect("a key"));
        assert_eq!((&successor.key_group, &predecessor.key_group), (&live, &live), "grace {seconds}");
        assert_eq!(key(&mut root, &successor.name).await, successor);
        let listed = names(&mut root, in_group(&owner, &live)).await;
        assert!(listed.is_superset(&set(&[&successor, &predecessor])), "grace {seconds}");
    }
}

async fn whoever_has_keys_self_groups_their_own_keys(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let other = root.create_service_user(&tenant, "other").await;
    let (live, test) = (root.create_key_group(&tenant, "live").await, root.create_key_group(&tenant, "test").await);
    let (foreign, _) = create_in(&mut root, &other, &live).await;
    let secret = root.create_key(&owner, &[OWN]).await.1;
    let mut own = root.with(Some(&secret));
    let (made, _) = create_in(&mut own, &owner, &live).await;
    let moved = put(&mut own, &made.name, &test, 0).await.expect("moved");
    assert_eq!(moved.key_group, test);
    assert_eq!(names(&mut own, in_group(&owner, &test)).await, set(&[&moved]));
    let beyond = (Code::PermissionDenied, "WIDER_THAN_CALLER".to_owned());
    assert_eq!(told(put(&mut own, &foreign.name, &test, 0).await), beyond);
    assert_eq!(told(own.keys.list_keys(in_group(&other, &live)).await), beyond);
    let denied = (Code::PermissionDenied, "RIGHT_MISSING".to_owned());
    assert_eq!(told(get(&mut own, &live).await), denied);
    assert_eq!(told(delete(&mut own, &live, true).await), denied);
}

async fn verify_tells_the_group_of_the_moment(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (live, test) = (root.create_key_group(&tenant, "live").await, root.create_key_group(&tenant, "test").await);
    let (made, secret) = create_in(&mut root, &owner, &live).await;
    // Fresh as of the call, so that no answer is from before the change.
    let question = || v1::VerifyRequest {
        secret: secret.clone(),
        max_staleness: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    assert_eq!(root.verify(question()).await.key_group, live);
    put(&mut root, &made.name, &test, 0).await.expect("moved");
    assert_eq!(root.verify(question()).await.key_group, test);
    delete(&mut root, &test, true).await.expect("deleted by force");
    let answer = root.verify(question()).await;
    assert_eq!((answer.verdict(), &*answer.key_group), (v1::Verdict::Valid, ""));
}
