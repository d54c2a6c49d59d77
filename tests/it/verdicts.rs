//! The verdicts of Verify: each one, their order, and what is told beside them.

mod batch;
mod reach;

use chrono::TimeDelta;
use claviger::proto::v1::{self, Verdict, VerifyRequest, VerifyResponse};

use crate::harness::{Client, Engine, TestApp};
use crate::rpcs::{Place, VERIFY};

on_both_engines!(
    of_several_verdicts_the_first_in_order_is_the_answer,
    a_deleted_key_or_owner_is_unknown_at_once,
    a_disabled_owner_stops_its_keys_until_it_is_enabled,
    a_key_that_matched_is_named_whatever_the_verdict,
    a_key_of_another_tenant_is_unknown_and_nameless,
    expiring_soon_begins_fourteen_days_before_the_end,
);

const HOUR: i64 = 3_600;

/// Asks about a secret, with everything else unsaid.
fn about(secret: &str) -> VerifyRequest {
    VerifyRequest { secret: secret.to_owned(), ..Default::default() }
}

/// Makes a key that grants `pay`, from 192.0.2.0/24, for an hour.
async fn fenced_key(root: &mut Client, owner: &str) -> (v1::Key, String) {
    let key = v1::Key {
        display_name: "fenced".to_owned(),
        scopes: vec!["pay".to_owned()],
        allowed_networks: vec!["192.0.2.0/24".to_owned()],
        ..Default::default()
    };
    let ttl = Some(prost_types::Duration { seconds: HOUR, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: owner.to_owned(), key: Some(key), ttl, ..Default::default() };
    let made = root.keys.create_key(request).await.expect("a key").into_inner();
    (made.key.expect("a key"), made.secret)
}

async fn set_user(root: &mut Client, name: &str, enabled: bool) {
    let (name, expected_revision) = (name.to_owned(), 0);
    let users = &mut root.service_users;
    match enabled {
        true => users.enable_service_user(v1::EnableServiceUserRequest { name, expected_revision }).await.map(drop),
        false => users.disable_service_user(v1::DisableServiceUserRequest { name, expected_revision }).await.map(drop),
    }
    .expect("changed");
}

async fn set_tenant(root: &mut Client, name: &str, enabled: bool) {
    let (name, expected_revision) = (name.to_owned(), 0);
    match enabled {
        true => root.tenants.enable_tenant(v1::EnableTenantRequest { name, expected_revision }).await.map(drop),
        false => root.tenants.disable_tenant(v1::DisableTenantRequest { name, expected_revision }).await.map(drop),
    }
    .expect("changed");
}

async fn disable_key(root: &mut Client, name: &str) {
    let request = v1::DisableKeyRequest { name: name.to_owned(), expected_revision: 0, wait_for_replicas: None };
    root.keys.disable_key(request).await.expect("disabled");
}

async fn revoke_key(root: &mut Client, name: &str) {
    let request = v1::RevokeKeyRequest { name: name.to_owned(), ..Default::default() };
    root.keys.revoke_key(request).await.expect("revoked");
}

/// Each step adds a reason that comes earlier in the order; all the later ones go on applying.
async fn of_several_verdicts_the_first_in_order_is_the_answer(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (key, secret) = fenced_key(&mut root, &place.owner).await;
    let (revoked, revoked_secret) = fenced_key(&mut root, &place.owner).await;
    let mut question = VerifyRequest { client_ip: "192.0.2.9".to_owned(), ..about(&secret) };
    question.required_scopes = vec!["pay".to_owned()];
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::Valid);
    question.required_scopes.push("refund".to_owned());
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::ScopeMissing);
    question.client_ip = "198.51.100.9".to_owned();
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::AddressNotAllowed);
    disable_key(&mut root, &key.name).await;
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::Disabled);
    set_user(&mut root, &place.owner, false).await;
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::OwnerDisabled);
    app.advance(TimeDelta::seconds(HOUR) - TimeDelta::microseconds(1));
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::OwnerDisabled);
    revoke_key(&mut root, &revoked.name).await;
    app.advance(TimeDelta::microseconds(1));
    assert_eq!(root.verify(question.clone()).await.verdict(), Verdict::Expired);
    assert_eq!(
        root.verify(VerifyRequest { secret: revoked_secret.clone(), ..question.clone() }).await.verdict(),
        Verdict::Revoked
    );
    let foreign = VerifyRequest { tenant: "tenants/system".to_owned(), secret: revoked_secret, ..question.clone() };
    assert_eq!(root.verify(foreign).await.verdict(), Verdict::Unknown);
    let malformed = VerifyRequest { secret: secret[..75].to_owned(), tenant: "tenants/system".to_owned(), ..question };
    assert_eq!(root.verify(malformed).await.verdict(), Verdict::Malformed);
}

async fn a_deleted_key_or_owner_is_unknown_at_once(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let tenant = root.create_tenant("acme").await;
    let (first, second) = (Place::inside(&mut root, &tenant, "a").await, Place::inside(&mut root, &tenant, "b").await);
    let (third, fourth) = (Place::inside(&mut root, &tenant, "c").await, root.create_key(&second.owner, &[]).await.1);
    revoke_key(&mut root, &third.key).await;

    root.keys.delete_key(v1::DeleteKeyRequest { name: first.key, expected_revision: 0 }).await.expect("deleted");
    assert_eq!(root.verdict(&first.secret).await, Verdict::Unknown, "a deleted key");
    let delete = v1::DeleteServiceUserRequest { name: second.owner, force: true, expected_revision: 0 };
    root.service_users.delete_service_user(delete).await.expect("deleted");
    for secret in [&second.secret, &fourth] {
        assert_eq!(root.verdict(secret).await, Verdict::Unknown, "a key of a deleted service user");
    }
    assert_eq!(root.verdict(&third.secret).await, Verdict::Revoked, "its neighbour's");
    let delete = v1::DeleteTenantRequest { name: tenant, force: true, expected_revision: 0 };
    root.tenants.delete_tenant(delete).await.expect("deleted");
    assert_eq!(root.verdict(&third.secret).await, Verdict::Unknown, "a dead key of a deleted tenant");
}

async fn a_disabled_owner_stops_its_keys_until_it_is_enabled(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let neighbour = Place::inside(&mut root, &place.tenant, "neighbour").await;
    let stranger = Place::make(&mut root, "bolt").await;
    for _ in 0..2 {
        set_user(&mut root, &place.owner, false).await;
        let all = [(&place, Verdict::OwnerDisabled), (&neighbour, Verdict::Valid), (&stranger, Verdict::Valid)];
        for (place, expected) in all {
            assert_eq!(root.verdict(&place.secret).await, expected, "{}, a service user disabled", place.owner);
        }
        set_tenant(&mut root, &place.tenant, false).await;
        let all = [(&place, Verdict::OwnerDisabled), (&neighbour, Verdict::OwnerDisabled), (&stranger, Verdict::Valid)];
        for (place, expected) in all {
            assert_eq!(root.verdict(&place.secret).await, expected, "{}, its tenant disabled", place.owner);
        }
        set_user(&mut root, &place.owner, true).await;
        assert_eq!(root.verdict(&place.secret).await, Verdict::OwnerDisabled, "its tenant still is");
        set_tenant(&mut root, &place.tenant, true).await;
        for place in [&place, &neighbour, &stranger] {
            assert_eq!(root.verdict(&place.secret).await, Verdict::Valid, "{}, enabled again", place.owner);
        }
    }
}

async fn a_key_that_matched_is_named_whatever_the_verdict(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let (key, secret) = fenced_key(&mut root, &place.owner).await;
    let named = |told: &VerifyResponse| VerifyResponse {
        key: key.name.clone(),
        service_user: place.owner.clone(),
        tenant: place.tenant.clone(),
        scopes: key.scopes.clone(),
        role: "member".to_owned(),
        on_behalf_of: String::new(),
        key_group: String::new(),
        integration_type: String::new(),
        expire_time: key.expire_time,
        expiring_soon: true,
        verdict: told.verdict,
        revision: told.revision,
        as_of: told.as_of,
        superseded_by: String::new(),
    };
    let told = root.verify(about(&secret)).await;
    assert_eq!((told.verdict(), &told), (Verdict::AddressNotAllowed, &named(&told)), "no address was given");
    disable_key(&mut root, &key.name).await;
    let told = root.verify(about(&secret)).await;
    assert_eq!((told.verdict(), &told), (Verdict::Disabled, &named(&told)));
    revoke_key(&mut root, &key.name).await;
    let told = root.verify(about(&secret)).await;
    assert_eq!((told.verdict(), &told), (Verdict::Revoked, &named(&told)));
    assert!(told.revision >= key.revision && told.as_of.is_some());
}

async fn a_key_of_another_tenant_is_unknown_and_nameless(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let (place, other) = (Place::make(&mut root, "acme").await, Place::make(&mut root, "bolt").await);
    let verifier = root.create_key(&other.owner, &[VERIFY]).await.1;
    let mut verifier = root.with(Some(&verifier));
    let asked = |tenant: &str| VerifyRequest { tenant: tenant.to_owned(), ..about(&place.secret) };
    let unknown = [
        root.verify(asked(&other.tenant)).await,
        root.verify(asked("tenants/nobody")).await,
        verifier.verify(asked("")).await,
        verifier.verify(asked(&place.tenant)).await,
        verifier.verify(asked(&other.tenant)).await,
    ];
    for told in unknown {
        let (verdict, revision, as_of) = (Verdict::Unknown.into(), told.revision, told.as_of);
        assert_eq!(told, VerifyResponse { verdict, revision, as_of, ..Default::default() });
    }
    for tenant in ["", &place.tenant] {
        assert_eq!(root.verify(asked(tenant)).await.verdict(), Verdict::Valid, "a caller of system, about {tenant:?}");
    }
    let own = VerifyRequest { tenant: other.tenant.clone(), ..about(&other.secret) };
    assert_eq!(verifier.verify(own).await.verdict(), Verdict::Valid, "its own tenant's");
}

async fn expiring_soon_begins_fourteen_days_before_the_end(engine: Engine) {
    let Some(app) = TestApp::start(engine).await else { return };
    let mut root = app.root().await;
    let place = Place::make(&mut root, "acme").await;
    let key = v1::Key { display_name: "a key".to_owned(), ..Default::default() };
    let ttl = Some(prost_types::Duration { seconds: 15 * 24 * HOUR, nanos: 0 });
    let request = v1::CreateKeyRequest { parent: place.owner, key: Some(key), ttl, ..Default::default() };
    let made = root.keys.create_key(request).await.expect("a key").into_inner();
    let steps = [(TimeDelta::zero(), false), (TimeDelta::days(1) - TimeDelta::microseconds(1), false)];
    for (step, soon) in steps.into_iter().chain([(TimeDelta::microseconds(1), true), (TimeDelta::days(13), true)]) {
        app.advance(step);
        let told = root.verify(about(&made.secret)).await;
        assert_eq!((told.verdict(), told.expiring_soon), (Verdict::Valid, soon), "after another {step}");
    }
    let never = root.verify(about(&place.secret)).await;
    assert_eq!((never.verdict(), never.expiring_soon, never.expire_time), (Verdict::Valid, false, None));
    let rotate = v1::RotateKeyRequest { name: made.key.expect("a key").name, ..Default::default() };
    let rotated = root.keys.rotate_key(rotate).await.expect("rotated").into_inner();
    let told = root.verify(about(&made.secret)).await;
    assert_eq!(told.superseded_by, rotated.key.expect("a key").name, "its holder is told to switch");
}
