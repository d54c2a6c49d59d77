//! How far a caller by certificate reaches: no further than the scopes of its name, and never into another name's.

use super::*;
use crate::rpcs::{AUDIT, OWN};

on_both_engines!(keys_of_ones_own_are_never_wider_than_the_name, of_two_names_neither_gets_what_the_other_asked_for,);

async fn create(caller: &mut Client, request: v1::CreateKeyRequest) -> Result<(v1::Key, String), Status> {
    let made = caller.keys.create_key(request).await?.into_inner();
    Ok((made.key.expect("a key"), made.secret))
}

fn key(owner: &str, scopes: &[&str]) -> v1::CreateKeyRequest {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    let key = v1::Key { display_name: "a key".to_owned(), scopes, ..Default::default() };
    v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ..Default::default() }
}

async fn keys_of_ones_own_are_never_wider_than_the_name(engine: Engine) {
    const NOT_HELD: Refused = Some((Code::PermissionDenied, "RIGHT_NOT_HELD"));
    let Some(mut scene) = Scene::start(engine).await else { return };
    scene.map(NAME, &[OWN, "pay:*", VERIFY]).await;
    let (owner, tenant) = (scene.owner.clone(), scene.tenant.clone());
    let other = scene.root.create_service_user(&tenant, "other").await;
    let mut holder = scene.holder().await;
    for (scopes, expected) in [
        (&["pay:in", "pay:*"][..], LET_IN),
        (&[OWN, VERIFY], LET_IN),
        (&[], LET_IN),
        (&["pay"], WIDER),
        (&["*"], WIDER),
        (&["pay:in", "other"], WIDER),
        (&[AUDIT], NOT_HELD),
        (&[WRITE], NOT_HELD),
    ] {
        expect(create(&mut holder, key(&owner, scopes)).await, expected, &format!("{scopes:?}"));
    }
    expect(create(&mut holder, key(&other, &[])).await, WIDER, "another service user");
    let acting = |on_behalf_of: &str| {
        let mut request = key(&owner, &[]);
        request.key.as_mut().expect("a key").on_behalf_of = on_behalf_of.to_owned();
        request
    };
    expect(create(&mut holder, acting("Ada")).await, WIDER, "for somebody else");
    let (wide, _) = scene.root.create_key(&owner, &["other"]).await;
    let rotate = v1::RotateKeyRequest { name: wide.name.clone(), ..Default::default() };
    expect(holder.keys.rotate_key(rotate).await, WIDER, "a wider key's secret");
    let revoke = v1::RevokeKeyRequest { name: wide.name, ..Default::default() };
    expect(holder.keys.revoke_key(revoke).await, LET_IN, "it may end its own, as a key may");
}

async fn of_two_names_neither_gets_what_the_other_asked_for(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let (owner, dns) = (scene.owner.clone(), format!("dns:{DNS}"));
    let names = [identity(NAME, &[WRITE]), identity(&dns, &[WRITE])];
    map(&mut scene.root, &owner, &names).await.expect("mapped");
    let mut one = scene.holder().await;
    let mut two = scene.holder_with(&[], &[DNS], None).await;

    let request =
        v1::CreateKeyRequest { request_id: "8c6f4b1e-2f4a-4a53-9d3e-4b7c5f0a9d21".to_owned(), ..key(&owner, &[]) };
    let first = create(&mut one, request.clone()).await.expect("made");
    assert_eq!(create(&mut one, request.clone()).await.expect("the same again"), first);
    let others = create(&mut two, request).await.expect("its own request");
    assert_ne!(others.1, first.1, "the secret of another name's request");

    let page = |token: &str| v1::ListKeysRequest {
        parent: owner.clone(),
        page_size: 1,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let token = one.keys.list_keys(page("")).await.expect("a page").into_inner().next_page_token;
    expect(one.keys.list_keys(page(&token)).await, LET_IN, "its own page");
    let invalid = Some((Code::InvalidArgument, "FIELD_INVALID"));
    expect(two.keys.list_keys(page(&token)).await, invalid, "another's page");
    expect(scene.root.keys.list_keys(page(&token)).await, invalid, "a key's page");
}
