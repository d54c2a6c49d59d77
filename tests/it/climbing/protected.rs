//! Tenant `system` and service user `root` stay, whoever asks.

use super::*;

on_both_engines!(tenant_system_and_service_user_root_are_protected);

async fn tenant_system_and_service_user_root_are_protected(engine: Engine) {
    const PROTECTED: Refused = Some((Code::FailedPrecondition, "PROTECTED"));
    let Some(mut scene) = Scene::set(engine).await else { return };
    let (root_user, system) = ("tenants/system/serviceUsers/root".to_owned(), "tenants/system".to_owned());
    assert_outcome(disable_user(&mut scene.root, &root_user).await, PROTECTED, "disable root");
    for force in [false, true] {
        let (name, expected_revision) = (root_user.clone(), 0);
        let delete = v1::DeleteServiceUserRequest { name, force, expected_revision };
        assert_outcome(scene.root.service_users.delete_service_user(delete).await, PROTECTED, "delete root");
        let delete = v1::DeleteTenantRequest { name: system.clone(), force, expected_revision };
        assert_outcome(scene.root.tenants.delete_tenant(delete).await, PROTECTED, "delete system");
    }
    let disable = v1::DisableTenantRequest { name: system.clone(), expected_revision: 0 };
    assert_outcome(scene.root.tenants.disable_tenant(disable).await, PROTECTED, "disable system");

    let ops = scene.root.create_service_user(&system, "ops").await;
    assert_outcome(disable_user(&mut scene.root, &ops).await, ALLOWED, "another service user of system");
    let delete = v1::DeleteServiceUserRequest { name: ops, force: false, expected_revision: 0 };
    assert_outcome(scene.root.service_users.delete_service_user(delete).await, ALLOWED, "and delete it");
    let namesake = scene.root.create_service_user(&scene.tenant, "root").await;
    assert_outcome(disable_user(&mut scene.root, &namesake).await, ALLOWED, "a namesake in another tenant");
}
