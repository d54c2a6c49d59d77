//! Create and Rotate with a `request_id`: the same request within 10 minutes answers the same key and secret.

use chrono::TimeDelta;
use tonic::Code;

use super::*;
use crate::rpcs::{TENANT_ADMIN, WRITE};

on_both_engines!(
    a_repeated_create_answers_the_same_for_ten_minutes,
    a_repeated_rotate_answers_the_same_for_ten_minutes,
    a_request_id_belongs_to_its_caller_and_its_request,
    a_create_repeated_by_many_at_once_makes_one_key,
);

const ID: &str = "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21";
const OTHER_ID: &str = "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d22";

fn create(parent: &str, display_name: &str, request_id: &str) -> v1::CreateKeyRequest {
    let key = v1::Key { display_name: display_name.to_owned(), ..Default::default() };
    let (parent, request_id) = (parent.to_owned(), request_id.to_owned());
    v1::CreateKeyRequest { parent, key: Some(key), request_id, ..Default::default() }
}

/// The key's name and its secret.
async fn made(caller: &mut Client, request: &v1::CreateKeyRequest) -> Result<(String, String), Status> {
    let made = caller.keys.create_key(request.clone()).await?.into_inner();
    Ok((made.key.expect("a key").name, made.secret))
}

async fn count(root: &mut Client, parent: &str) -> usize {
    let request = v1::ListKeysRequest { parent: parent.to_owned(), show_deleted: true, ..Default::default() };
    root.keys.list_keys(request).await.expect("keys").into_inner().keys.len()
}

async fn a_repeated_create_answers_the_same_for_ten_minutes(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let owner = Place::make(&mut root, "acme").await.owner;
    let request = create(&owner, "a key", ID);
    let first = made(&mut root, &request).await.expect("a key");
    app.advance(TimeDelta::minutes(10) - TimeDelta::microseconds(1));
    assert_eq!(made(&mut root, &request).await.expect("the same"), first);
    assert_eq!(root.verdict(&first.1).await, v1::Verdict::Valid);
    assert_eq!(events(&mut root, "tenants/acme", &first.0).await.len(), 1, "a replay is no change");
    let app = app.restart().await;
    let mut root = app.root().await;
    assert_eq!(made(&mut root, &request).await.expect("the same, after a restart"), first);
    app.advance(TimeDelta::microseconds(1));
    let second = made(&mut root, &request).await.expect("a new key");
    assert!(second.0 != first.0 && second.1 != first.1);
    assert_eq!(made(&mut root, &request).await.expect("the new one again"), second);
    assert_eq!(count(&mut root, &owner).await, 3);
}

async fn a_repeated_rotate_answers_the_same_for_ten_minutes(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let get = v1::GetKeyRequest { name: place.key.clone() };
    let revision = root.keys.get_key(get).await.expect("a key").into_inner().key.expect("a key").revision;
    let request = v1::RotateKeyRequest {
        name: place.key.clone(),
        request_id: ID.to_owned(),
        expected_revision: revision,
        ..Default::default()
    };
    let first = root.keys.rotate_key(request.clone()).await.expect("rotated").into_inner();
    app.advance(TimeDelta::minutes(10) - TimeDelta::microseconds(1));
    let again = root.keys.rotate_key(request.clone()).await.expect("the same").into_inner();
    assert_eq!(again, first, "key, secret and predecessor");
    assert_eq!(count(&mut root, &place.owner).await, 2);
    app.advance(TimeDelta::microseconds(1));
    let late = root.keys.rotate_key(request.clone()).await.expect_err("a new request about an old revision");
    assert_eq!(reason(&late), "REVISION_MISMATCH");
    let late = v1::RotateKeyRequest { expected_revision: 0, ..request };
    assert_eq!(reason(&root.keys.rotate_key(late).await.expect_err("rotated before")), "KEY_SUPERSEDED");
}

async fn a_request_id_belongs_to_its_caller_and_its_request(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let first = made(&mut root, &create(&place.owner, "a key", ID)).await.expect("a key");
    let other_owner = root.create_service_user(&place.tenant, "other").await;
    for different in [create(&place.owner, "b key", ID), create(&other_owner, "a key", ID)] {
        let status = made(&mut root, &different).await.expect_err("another request");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
        assert!(!format!("{status:?}").contains(&first.1[27..]), "the first answer stays untold");
    }
    let rotate = v1::RotateKeyRequest { name: first.0.clone(), request_id: ID.to_owned(), ..Default::default() };
    assert_eq!(reason(&root.keys.rotate_key(rotate).await.expect_err("another method")), "REQUEST_ID_REUSED");
    let fresh = made(&mut root, &create(&place.owner, "a key", OTHER_ID)).await.expect("another id, another key");
    assert_ne!(fresh, first);

    let mut answers = vec![first, fresh];
    for right in [TENANT_ADMIN, WRITE] {
        let secret = root.create_key(&other_owner, &[right]).await.1;
        let mut caller = root.with(Some(&secret));
        let own = made(&mut caller, &create(&place.owner, "a key", ID)).await.expect("a key of its own");
        assert!(!answers.contains(&own), "{right}: another caller's request is another");
        answers.push(own);
    }
}

async fn a_create_repeated_by_many_at_once_makes_one_key(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let request = create(&place.owner, "a key", ID);
    let calls = (0..20).map(|_| {
        let (mut caller, request) = (root.clone(), request.clone());
        tokio::spawn(async move { made(&mut caller, &request).await.expect("a key") })
    });
    let answers = futures_util::future::join_all(calls).await;
    let answers: std::collections::BTreeSet<_> = answers.into_iter().map(|answer| answer.expect("no panic")).collect();
    assert_eq!((answers.len(), count(&mut root, &place.owner).await), (1, 2));
}
