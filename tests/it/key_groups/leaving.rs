//! What becomes of the keys when their group is deleted.

use super::keys::{create_in, key, put, try_create_in};
use super::*;

on_both_engines!(
    a_group_with_a_key_in_any_state_is_deleted_only_by_force,
    keys_go_on_without_a_group_that_was_deleted_by_force,
    no_key_is_left_in_a_group_that_goes_while_keys_come,
    a_repeated_create_answers_though_its_group_is_gone,
);

async fn revoke(root: &mut Client, name: &str) {
    let request = v1::RevokeKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.revoke_key(request).await.expect("revoked");
}

async fn delete_key(root: &mut Client, name: &str) {
    let request = v1::DeleteKeyRequest { name: name.to_owned(), expected_revision: 0 };
    root.keys.delete_key(request).await.expect("deleted");
}

/// Every key of a tenant, deleted ones too.
async fn all_keys(root: &mut Client, tenant: &str) -> Vec<v1::Key> {
    let parent = format!("{tenant}/serviceUsers/-");
    let request = v1::ListKeysRequest { parent, page_size: 500, show_deleted: true, ..Default::default() };
    root.keys.list_keys(request).await.expect("keys").into_inner().keys
}

async fn expect_not_empty(root: &mut Client, name: &str, about: &str) {
    let status = delete(root, name, false).await.expect_err(about);
    let told = (status.code(), reason(&status));
    assert_eq!(told, (Code::FailedPrecondition, "KEY_GROUP_NOT_EMPTY".to_owned()), "{about}");
    let violations = status.get_details_precondition_failure().expect("PreconditionFailure").violations;
    let said: Vec<_> = violations.iter().map(|it| (it.r#type.as_str(), it.subject.as_str())).collect();
    assert_eq!(said, [("KEY_GROUP_NOT_EMPTY", name)], "{about}");
}

async fn a_group_with_a_key_in_any_state_is_deleted_only_by_force(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    for state in ["enabled", "disabled", "revoked", "expired", "deleted"] {
        let group = root.create_key_group(&tenant, state).await;
        let (made, _) = create_in(&mut root, &owner, &group).await;
        match state {
            "disabled" => {
                let request = v1::DisableKeyRequest { name: made.name.clone(), ..Default::default() };
                root.keys.disable_key(request).await.expect("disabled");
            }
            "revoked" => revoke(&mut root, &made.name).await,
            "expired" => {
                let (seconds, name) = (timestamp(&app).seconds + 60, made.name.clone());
                let expire_time = Some(Timestamp { seconds, nanos: 0 });
                let key = Some(v1::Key { name, expire_time, ..Default::default() });
                let update_mask = Some(FieldMask { paths: vec!["expire_time".to_owned()] });
                let request = v1::UpdateKeyRequest { key, update_mask, expected_revision: 0 };
                root.keys.update_key(request).await.expect("updated");
                app.advance(TimeDelta::minutes(2));
            }
            _ => {}
        }
        expect_not_empty(&mut root, &group, state).await;
        if state == "deleted" {
            delete_key(&mut root, &made.name).await;
            delete(&mut root, &group, false).await.expect("nothing is in it");
        } else {
            assert_eq!(key(&mut root, &made.name).await.key_group, group, "nothing was changed");
            delete(&mut root, &group, true).await.expect("by force");
        }
        assert_eq!(told(get(&mut root, &group).await), missing());
    }
    assert!(all_keys(&mut root, &tenant).await.iter().all(|key| key.key_group.is_empty()));
}

async fn keys_go_on_without_a_group_that_was_deleted_by_force(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let (one, two) = (root.create_service_user(&tenant, "one").await, root.create_service_user(&tenant, "two").await);
    let (live, test) = (root.create_key_group(&tenant, "live").await, root.create_key_group(&tenant, "test").await);
    let bolt = root.create_tenant("bolt").await;
    let their_owner = root.create_service_user(&bolt, "one").await;
    let their_group = root.create_key_group(&bolt, "live").await;
    let (theirs, _) = create_in(&mut root, &their_owner, &their_group).await;
    let ((a, a_secret), (b, b_secret)) =
        (create_in(&mut root, &one, &live).await, create_in(&mut root, &two, &live).await);
    let (revoked, _) = create_in(&mut root, &one, &live).await;
    revoke(&mut root, &revoked.name).await;
    let (gone, _) = create_in(&mut root, &one, &live).await;
    delete_key(&mut root, &gone.name).await;
    let (beside, _) = create_in(&mut root, &one, &test).await;
    let before = all_keys(&mut root, &tenant).await;

    app.advance(TimeDelta::hours(1));
    delete(&mut root, &live, true).await.expect("by force");
    let told = events(&mut root, &tenant, &live).await;
    let (method, revision) = &told[0];
    assert_eq!(method, "claviger.v1.KeyGroupService/DeleteKeyGroup");
    let left = |key: &v1::Key| {
        let (key_group, update_time) = (String::new(), Some(timestamp(&app)));
        v1::Key { key_group, update_time, revision: *revision, ..key.clone() }
    };
    let expected: Vec<_> =
        before.iter().map(|key| if key.key_group == live { left(key) } else { key.clone() }).collect();
    assert_eq!(all_keys(&mut root, &tenant).await, expected, "nothing else of them changed");
    assert_eq!(expected.iter().filter(|key| key.revision == *revision).count(), 4, "the deleted one too");
    assert_eq!(key(&mut root, &beside.name).await, beside);
    assert_eq!(key(&mut root, &theirs.name).await, theirs, "another tenant has a group of this id");
    for secret in [&a_secret, &b_secret] {
        assert_eq!(root.verdict(secret).await, v1::Verdict::Valid);
    }

    root.create_key_group(&tenant, "live").await;
    let parent = format!("{tenant}/serviceUsers/-");
    let request = v1::ListKeysRequest { parent, key_group: live.clone(), show_deleted: true, ..Default::default() };
    assert_eq!(root.keys.list_keys(request).await.expect("keys").into_inner().keys, [], "nobody came along");
    put(&mut root, &a.name, &live, 0).await.expect("put back");
    let app = app.restart().await;
    let mut root = app.root().await;
    assert_eq!(key(&mut root, &b.name).await.key_group, "");
    assert_eq!(root.verdict(&b_secret).await, v1::Verdict::Valid);
}

async fn no_key_is_left_in_a_group_that_goes_while_keys_come(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let live = root.create_key_group(&tenant, "live").await;
    let mut owners = Vec::new();
    for number in 0..8 {
        let owner = root.create_service_user(&tenant, &format!("user-{number}")).await;
        let outside = root.create_key(&owner, &[]).await.0;
        owners.push((owner, outside.name));
    }
    let comings = owners.iter().flat_map(|(owner, outside)| {
        let (mut creator, mut mover, live) = (root.clone(), root.clone(), &live);
        let create = async move { try_create_in(&mut creator, owner, live).await.map(|(key, _)| key) };
        let put = async move { put(&mut mover, outside, live, 0).await };
        [futures_util::future::Either::Left(create), futures_util::future::Either::Right(put)]
    });
    let mut deleter = root.clone();
    let (came, deleted) = tokio::join!(join_all(comings), delete(&mut deleter, &live, true));
    deleted.expect("by force");
    for refused in came.into_iter().filter(Result::is_err) {
        assert_eq!(told(refused), missing(), "too late");
    }
    let left: Vec<_> = all_keys(&mut root, &tenant).await.into_iter().filter(|key| !key.key_group.is_empty()).collect();
    assert_eq!(left, []);
}

async fn a_repeated_create_answers_though_its_group_is_gone(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let parent = root.create_service_user(&tenant, "billing").await;
    let key_group = root.create_key_group(&tenant, "live").await;
    let key = v1::Key { display_name: "a key".to_owned(), key_group: key_group.clone(), ..Default::default() };
    let request_id = "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21".to_owned();
    let request = v1::CreateKeyRequest { parent, key: Some(key), request_id, ..Default::default() };
    let first = root.keys.create_key(request.clone()).await.expect("a key").into_inner();
    delete(&mut root, &key_group, true).await.expect("by force");
    let again = root.keys.create_key(request).await.expect("the same").into_inner();
    assert_eq!(again.secret, first.secret);
    let (again, first) = (again.key.expect("a key"), first.key.expect("a key"));
    assert_eq!((again.name, again.key_group.as_str()), (first.name, ""));
}
