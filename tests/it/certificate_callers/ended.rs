//! Whoever was let in by a name is locked out when that ends, at once, on a connection that was open before.

use chrono::TimeDelta;
use claviger::authority::{AuthorityError, call::Call};
use claviger::domain::{
    attributes::Role,
    audit::event_id,
    calendar::Calendar,
    caller::{Caller, Credential},
    ids::{ServiceUserName, TenantId},
    peer_name::PeerName,
    policy::TenantPolicy,
    scope::Scope,
    text::{DisplayName, OnBehalfOf},
};
use claviger::random;
use tokio::time::{Duration, timeout};

use super::*;
use crate::harness::app::start_of_time;

on_both_engines!(
    a_name_that_stops_letting_in_locks_out_at_once,
    a_name_that_moves_is_somebody_elses_at_once,
    a_stream_ends_with_its_name,
    a_change_asks_the_store_itself,
);

async fn a_name_that_stops_letting_in_locks_out_at_once(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    scene.map(NAME, &[VERIFY]).await;
    let (owner, tenant) = (scene.owner.clone(), scene.tenant.clone());
    let mut holder = scene.holder().await;
    expect(verify(&mut holder).await, LET_IN, "at first");

    let (users, name) = (&mut scene.root.service_users, owner.clone());
    users.disable_service_user(v1::DisableServiceUserRequest { name, expected_revision: 0 }).await.expect("disabled");
    expect(verify(&mut holder).await, INVALID, "its service user disabled");
    expect(list(&mut holder, &owner).await, INVALID, "on both roads");
    let name = owner.clone();
    users.enable_service_user(v1::EnableServiceUserRequest { name, expected_revision: 0 }).await.expect("enabled");
    expect(verify(&mut holder).await, LET_IN, "enabled again");

    let (tenants, name) = (&mut scene.root.tenants, tenant.clone());
    tenants.disable_tenant(v1::DisableTenantRequest { name, expected_revision: 0 }).await.expect("disabled");
    expect(verify(&mut holder).await, INVALID, "its tenant disabled");
    let name = tenant.clone();
    tenants.enable_tenant(v1::EnableTenantRequest { name, expected_revision: 0 }).await.expect("enabled");
    expect(verify(&mut holder).await, LET_IN, "enabled again");

    scene.map(NAME, &[]).await;
    expect(verify(&mut holder).await, RIGHT_MISSING, "a right taken away");
    scene.map("spiffe://example.org/another", &[VERIFY]).await;
    expect(verify(&mut holder).await, INVALID, "the name taken away");
    scene.map(NAME, &[VERIFY]).await;
    expect(verify(&mut holder).await, LET_IN, "given back");

    let ending = Wanted {
        until: u64::try_from(start_of_time().timestamp()).expect("late") + 60,
        ..Wanted::client(&[NAME], &[])
    };
    let mut ending = scene.bearer_of(&scene.authority.sign(&ending), None).await;
    expect(verify(&mut ending).await, LET_IN, "its certificate is good for a minute");
    scene.app.advance(TimeDelta::seconds(61));
    expect(verify(&mut ending).await, INVALID, "its certificate has expired");
    expect(list(&mut ending, &owner).await, INVALID, "on both roads");
    expect(verify(&mut holder).await, LET_IN, "the other's has not");

    let delete = v1::DeleteServiceUserRequest { name: owner, force: false, expected_revision: 0 };
    scene.root.service_users.delete_service_user(delete).await.expect("deleted");
    expect(verify(&mut holder).await, INVALID, "its service user deleted");
    let delete = v1::DeleteTenantRequest { name: tenant, force: true, expected_revision: 0 };
    scene.root.tenants.delete_tenant(delete).await.expect("deleted");
    expect(verify(&mut holder).await, INVALID, "its tenant deleted");
}

async fn a_name_that_moves_is_somebody_elses_at_once(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let mut holder = scene.holder().await;
    let (one, tenant) = (scene.owner.clone(), scene.tenant.clone());
    let two = scene.root.create_service_user(&tenant, "two").await;
    for round in 0..10 {
        for (from, to) in [(&two, &one), (&one, &two)] {
            map(&mut scene.root, from, &[]).await.expect("taken away");
            expect(verify(&mut holder).await, INVALID, &format!("nobody's, round {round}"));
            map(&mut scene.root, to, &[identity(NAME, &["claviger:keys.self"])]).await.expect("given");
            let (own, others) = (list(&mut holder, to).await, list(&mut holder, from).await);
            expect(own, LET_IN, &format!("its own, round {round}"));
            expect(others, WIDER, &format!("another's, round {round}"));
        }
    }
}

async fn a_stream_ends_with_its_name(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    scene.map(NAME, &[VERIFY]).await;
    let mut holder = scene.holder().await;
    let (questions, asked) = tokio::sync::mpsc::channel(8);
    let request = v1::VerifyStreamRequest { request: Some(v1::VerifyRequest::default()) };
    questions.send(request.clone()).await.expect("room");
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut answers = holder.verification.verify_stream(asked).await.expect("a stream").into_inner();
    answers.message().await.expect("an answer").expect("an answer");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    questions.send(request).await.expect("room");
    answers.message().await.expect("it goes on").expect("an answer");
    scene.map(NAME, &[]).await;
    let ended = timeout(Duration::from_secs(10), answers.message()).await.expect("it ends");
    expect(ended, RIGHT_MISSING, "a right taken away");

    let watch = v1::WatchRevocationsRequest::default();
    expect(holder.verification.watch_revocations(watch).await, RIGHT_MISSING, "a watch");
    scene.map(NAME, &[VERIFY]).await;
    let mut messages = holder.verification.watch_revocations(watch).await.expect("a watch").into_inner();
    messages.message().await.expect("a message");
    scene.map("dns:another.example.org", &[]).await;
    let mut ended = Ok(());
    for _ in 0..20 {
        ended = timeout(Duration::from_secs(10), messages.message()).await.expect("in time").map(drop);
        if ended.is_err() {
            break;
        }
    }
    expect(ended, INVALID, "the name taken away");
}

/// A call as it was admitted by a mirror that is a moment behind.
fn admitted(name: &str, owner: &ServiceUserName, scopes: &[&str]) -> Call {
    let now = start_of_time();
    let name = PeerName::parse(name).expect("a name");
    Call {
        caller: Caller {
            credential: Credential::Certificate { service_user: owner.clone(), name },
            scopes: scopes.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect(),
            role: Role::default(),
            on_behalf_of: OnBehalfOf::default(),
            networks: Vec::new(),
            expire_time: None,
            address: None,
        },
        method: "claviger.v1.TenantService/CreateTenant",
        request_id: String::new(),
        now,
        event: event_id(now, random::bytes().expect("randomness")),
    }
}

async fn a_change_asks_the_store_itself(engine: Engine) {
    let Some(mut scene) = Scene::start(engine).await else { return };
    let root = ServiceUserName::root();
    let other = scene.root.create_service_user("tenants/system", "other").await;
    map(&mut scene.root, &root.to_string(), &[identity(NAME, &[ADMIN])]).await.expect("mapped");
    let authority = scene.app.running.authority();
    let create = async |id: &str, call: Call| {
        let called = DisplayName::parse(id).expect("a name");
        let id = TenantId::parse(id).expect("an id");
        authority.create_tenant(call, id, called, Calendar::DEFAULT, TenantPolicy::default()).await
    };
    create("good", admitted(NAME, &root, &[ADMIN])).await.expect("as it was admitted");
    let disabled = ServiceUserName::parse(&other).expect("a name");
    for (about, call) in [
        ("another name", admitted("dns:nobody.example.org", &root, &[ADMIN])),
        ("another's name", admitted(NAME, &disabled, &[ADMIN])),
        ("scopes that it had", admitted(NAME, &root, &[ADMIN, "pay"])),
    ] {
        let refused = create("bad", call).await;
        assert!(matches!(refused, Err(AuthorityError::CallerEnded)), "{about}: {refused:?}");
    }
    map(&mut scene.root, &root.to_string(), &[]).await.expect("taken away");
    map(&mut scene.root, &other, &[identity(NAME, &[ADMIN])]).await.expect("given");
    create("better", admitted(NAME, &disabled, &[ADMIN])).await.expect("now it is its own");
    let disable = v1::DisableServiceUserRequest { name: other, expected_revision: 0 };
    scene.root.service_users.disable_service_user(disable).await.expect("disabled");
    let refused = create("bad", admitted(NAME, &disabled, &[ADMIN])).await;
    assert!(matches!(refused, Err(AuthorityError::CallerEnded)), "disabled: {refused:?}");
}
