//! A caller whose key ends is locked out at once, on a connection that was open before.

use super::*;
use crate::rpcs::{TENANT_ADMIN, WRITE};

on_both_engines!(a_caller_whose_key_stops_verifying_is_locked_out_at_once, a_caller_is_bound_to_its_networks);

const LOCKED_OUT: Refused = Some((Code::Unauthenticated, "CALLER_INVALID"));

/// The caller tries what it may do; answers how that went.
async fn attempt(caller: &mut Client, parent: &str) -> Result<(), Status> {
    let list = v1::ListKeysRequest { parent: parent.to_owned(), ..Default::default() };
    caller.keys.list_keys(list).await.map(drop)
}

async fn set_tenant(root: &mut Client, tenant: &str, enabled: bool) {
    let (name, expected_revision) = (tenant.to_owned(), 0);
    match enabled {
        true => root.tenants.enable_tenant(v1::EnableTenantRequest { name, expected_revision }).await.map(drop),
        false => root.tenants.disable_tenant(v1::DisableTenantRequest { name, expected_revision }).await.map(drop),
    }
    .expect("changed");
}

async fn a_caller_whose_key_stops_verifying_is_locked_out_at_once(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (own, tenant) = (scene.own.clone(), scene.tenant.clone());
    let (calling, mut caller) = scene.caller_like(until(3_600, key(&[TENANT_ADMIN]))).await;
    assert_outcome(attempt(&mut caller, &own).await, ALLOWED, "at first");

    disable(&mut scene.root, &calling.name).await.expect("disabled");
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "its key disabled");
    assert_outcome(enable(&mut caller, &calling.name).await, LOCKED_OUT, "it can't enable itself");
    enable(&mut scene.root, &calling.name).await.expect("enabled");
    assert_outcome(attempt(&mut caller, &own).await, ALLOWED, "enabled again");

    disable_user(&mut scene.root, &own).await.expect("disabled");
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "its service user disabled");
    enable_user(&mut scene.root, &own).await.expect("enabled");
    set_tenant(&mut caller, &tenant, false).await;
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "its tenant disabled, by itself");
    set_tenant(&mut scene.root, &tenant, true).await;
    assert_outcome(attempt(&mut caller, &own).await, ALLOWED, "let in again");

    update(&mut scene.root, &calling.name, key(&[WRITE]), &["scopes"]).await.expect("edited");
    let get = v1::GetTenantRequest { name: tenant };
    assert_outcome(caller.tenants.get_tenant(get).await, RIGHT_MISSING, "a right taken away");
    scene.app.advance(chrono::TimeDelta::seconds(3_600));
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "expired");

    let (revoked, mut caller) = scene.caller_like(key(&[WRITE])).await;
    revoke(&mut caller, &revoked.name).await.expect("it may revoke itself");
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "revoked");
    let (deleted, mut caller) = scene.caller_like(key(&[WRITE])).await;
    let delete = v1::DeleteKeyRequest { name: deleted.name, expected_revision: 0 };
    caller.keys.delete_key(delete).await.expect("it may delete itself");
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "deleted");
}

async fn a_caller_is_bound_to_its_networks(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let own = scene.own.clone();
    let inside = ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.0/104"].map(|network| (network, ALLOWED));
    let outside = ["192.0.2.0/24", "::1", "127.0.0.2", "::ffff:127.0.0.2/128"].map(|network| (network, LOCKED_OUT));
    for (network, expected) in inside.into_iter().chain(outside) {
        let (calling, mut caller) = scene.caller_like(in_networks(&[network], key(&[WRITE]))).await;
        assert_outcome(attempt(&mut caller, &own).await, expected, network);
        revoke(&mut scene.root, &calling.name).await.expect("revoked");
    }
    let (calling, mut caller) = scene.caller_like(key(&[WRITE])).await;
    let fenced = in_networks(&["192.0.2.0/24"], key(&[]));
    update(&mut scene.root, &calling.name, fenced, &["allowed_networks"]).await.expect("edited");
    assert_outcome(attempt(&mut caller, &own).await, LOCKED_OUT, "fenced in while connected");
}
