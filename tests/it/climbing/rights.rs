//! Rights: granted, learned or brought back only by a caller that holds them.

use tonic::Code;

use super::*;
use crate::rpcs::{ADMIN, AUDIT, OWN, READ, REVEAL, TENANT_ADMIN, VERIFY, WRITE};

on_both_engines!(
    a_right_is_granted_only_by_a_caller_that_holds_it,
    a_key_with_more_is_not_rotated_enabled_or_edited,
    a_service_user_whose_keys_carry_more_is_not_enabled,
    nothing_that_only_looks_like_a_right_is_one,
    admin_is_only_for_keys_of_tenant_system,
    a_tenant_admin_reaches_no_other_tenant,
    a_caller_of_tenant_system_climbs_no_root_key,
);

/// What a caller with the first right may hand out: design 3, spelled out.
const MAY_GRANT: [(&str, &[&str]); 2] =
    [(TENANT_ADMIN, &[TENANT_ADMIN, WRITE, READ, OWN, VERIFY, AUDIT]), (WRITE, &[WRITE, READ])];
const GRANTABLE: [&str; 7] = [TENANT_ADMIN, WRITE, READ, OWN, REVEAL, VERIFY, AUDIT];

async fn a_right_is_granted_only_by_a_caller_that_holds_it(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    for (right, held) in MAY_GRANT {
        let mut caller = scene.caller(&[right]).await;
        for granted in GRANTABLE {
            let about = format!("{right} grants {granted}");
            let expected = if held.contains(&granted) { ALLOWED } else { NOT_HELD };
            let made = create(&mut caller, &scene.other, key(&["pay", granted])).await;
            if let Ok((made, _)) = &made {
                revoke(&mut caller, &made.name).await.expect("revoked");
            }
            assert_outcome(made, expected, &about);
            let (plain, _) = scene.root.create_key(&scene.other, &["pay"]).await;
            let edited = update(&mut caller, &plain.name, key(&["pay", granted]), &["scopes"]).await;
            assert_outcome(edited, expected, &format!("{about} by an edit"));
            revoke(&mut scene.root, &plain.name).await.expect("revoked");
        }
        let everything_else = create(&mut caller, &scene.other, key(&["*", "any:thing", "mcp:*"])).await;
        assert_outcome(everything_else, ALLOWED, "scopes that are no rights");
    }
}

async fn a_key_with_more_is_not_rotated_enabled_or_edited(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let mut writer = scene.caller(&[WRITE, VERIFY]).await;
    for (carried, expected) in [
        (AUDIT, NOT_HELD),
        (TENANT_ADMIN, NOT_HELD),
        (OWN, NOT_HELD),
        (VERIFY, ALLOWED),
        (READ, ALLOWED),
        ("*", ALLOWED),
    ] {
        let (target, _) = scene.root.create_key(&scene.other, &[carried]).await;
        let narrowed = update(&mut writer, &target.name, key(&[carried, "more"]), &["scopes"]).await;
        assert_outcome(narrowed, expected, &format!("edit the scopes beside {carried}"));
        let renamed = update(&mut writer, &target.name, key(&[]), &["display_name"]);
        assert_outcome(renamed.await, expected, &format!("rename {carried}"));
        disable(&mut writer, &target.name).await.expect("anybody's key may be stopped");
        assert_outcome(enable(&mut writer, &target.name).await, expected, &format!("enable {carried}"));
        enable(&mut scene.root, &target.name).await.expect("enabled");
        assert_outcome(rotate(&mut writer, &target.name, None).await, expected, &format!("rotate {carried}"));
        let emptied = update(&mut writer, &target.name, key(&[]), &["scopes"]).await.err().map(|status| status.code());
        assert!(emptied.is_some(), "{carried}: neither a right it doesn't hold nor a key that was replaced");
    }
}

async fn a_service_user_whose_keys_carry_more_is_not_enabled(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let mut writer = scene.caller(&[WRITE]).await;
    let other = scene.other.clone();
    let (wide, _) = scene.root.create_key(&other, &["pay", AUDIT]).await;
    disable_user(&mut writer, &other).await.expect("disabled");
    assert_outcome(enable_user(&mut writer, &other).await, NOT_HELD, "an enabled key with more");
    disable(&mut writer, &wide.name).await.expect("disabled");
    assert_outcome(enable_user(&mut writer, &other).await, NOT_HELD, "a disabled key with more");
    let mut holder = scene.caller(&[WRITE, AUDIT]).await;
    assert_outcome(enable_user(&mut holder, &other).await, ALLOWED, "a caller that holds it");
    disable_user(&mut writer, &other).await.expect("disabled");
    revoke(&mut writer, &wide.name).await.expect("revoked");
    assert_outcome(enable_user(&mut writer, &other).await, ALLOWED, "a dead key carries nothing");
}

async fn nothing_that_only_looks_like_a_right_is_one(engine: Engine) {
    const REFUSED: [&str; 14] = [
        "claviger:*",
        "claviger:",
        "claviger",
        ":claviger:admin",
        "claviger::admin",
        "claviger:admin:*",
        "claviger:admin:x",
        "claviger:keys.*",
        "Claviger:admin",
        "claviger:ADMIN",
        "claviger:admin ",
        "*:admin",
        "claviger：admin",
        "clаviger:admin",
    ];
    const ACCEPTED: [&str; 6] =
        ["*", "claviger.admin", "claviger-admin", "clavige:*", "a:claviger:admin", "claviger_:*"];
    let Some(mut scene) = Scene::set(engine).await else { return };
    let system_user = scene.root.create_service_user("tenants/system", "ops").await;
    for parent in [scene.other.clone(), system_user.clone()] {
        for scope in REFUSED {
            assert_outcome(create(&mut scene.root, &parent, key(&[scope])).await, INVALID, scope);
        }
    }
    let (_, secret) = create(&mut scene.root, &system_user, key(&ACCEPTED)).await.expect("plain scopes");
    let mut caller = scene.root.with(Some(&secret));
    assert_outcome(create(&mut caller, &system_user, key(&[])).await, RIGHT_MISSING, "a key with all of them");
    assert_outcome(caller.tenants.list_tenants(v1::ListTenantsRequest::default()).await, RIGHT_MISSING, "all of them");
    for right in GRANTABLE {
        let required_scopes = vec![right.to_owned()];
        let question = v1::VerifyRequest { secret: secret.clone(), required_scopes, ..Default::default() };
        assert_eq!(scene.root.verify(question).await.verdict(), v1::Verdict::ScopeMissing, "{right}");
    }
}

async fn admin_is_only_for_keys_of_tenant_system(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let other = scene.other.clone();
    assert_outcome(create(&mut scene.root, &other, key(&["pay", ADMIN])).await, INVALID, "even for the root key");
    let (plain, _) = scene.root.create_key(&other, &["pay"]).await;
    assert_outcome(update(&mut scene.root, &plain.name, key(&[ADMIN]), &["scopes"]).await, INVALID, "by an edit");
    let ops = scene.root.create_service_user("tenants/system", "ops").await;
    let (_, secret) = create(&mut scene.root, &ops, key(&[ADMIN])).await.expect("in tenant system it may");
    let mut admin = scene.root.with(Some(&secret));
    assert_outcome(admin.tenants.list_tenants(v1::ListTenantsRequest::default()).await, ALLOWED, "a second admin");
}

async fn a_tenant_admin_reaches_no_other_tenant(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let mut admin = scene.caller(&[TENANT_ADMIN]).await;
    let tenant = scene.root.create_tenant("bolt").await;
    let user = scene.root.create_service_user(&tenant, "billing").await;
    let (target, _) = scene.root.create_key(&user, &[]).await;
    let missing = Some((Code::NotFound, "RESOURCE_NOT_FOUND"));
    for parent in [user.as_str(), "tenants/system/serviceUsers/root", "tenants/bolt/serviceUsers/nobody"] {
        assert_outcome(create(&mut admin, parent, key(&[])).await, missing, parent);
        assert_outcome(disable_user(&mut admin, parent).await, missing, parent);
        assert_outcome(enable_user(&mut admin, parent).await, missing, parent);
    }
    let renamed = update(&mut admin, &target.name, key(&[]), &["display_name"]).await;
    for outcome in [rotate(&mut admin, &target.name, None).await.map(drop), renamed.map(drop)] {
        assert_outcome(outcome, missing, "a key of another tenant");
    }
    for outcome in [
        enable(&mut admin, &target.name).await,
        disable(&mut admin, &target.name).await,
        revoke(&mut admin, &target.name).await,
    ] {
        assert_outcome(outcome, missing, "a key of another tenant");
    }
    // The same ids under the caller's own tenant are another name, and missing too.
    let moved = target.name.replace("tenants/bolt", "tenants/acme");
    assert_outcome(rotate(&mut admin, &moved, None).await, missing, "another tenant's key id under the own tenant");
    let listing = v1::ListKeysRequest { parent: format!("{}/serviceUsers/-", scene.tenant), ..Default::default() };
    let listed = admin.keys.list_keys(listing).await.expect("its own tenant").into_inner().keys;
    assert!(listed.iter().all(|key| key.name.starts_with("tenants/acme/")) && !listed.is_empty());
}

async fn a_caller_of_tenant_system_climbs_no_root_key(engine: Engine) {
    let Some(mut scene) = Scene::set(engine).await else { return };
    let root_user = "tenants/system/serviceUsers/root";
    let (_, secret) = scene.root.create_key(root_user, &[TENANT_ADMIN]).await;
    let (target, _) = scene.root.create_key(root_user, &[ADMIN]).await;
    let mut climber = scene.root.with(Some(&secret));
    assert_outcome(create(&mut climber, root_user, key(&[ADMIN])).await, NOT_HELD, "create");
    assert_outcome(rotate(&mut climber, &target.name, None).await, NOT_HELD, "rotate");
    assert_outcome(update(&mut climber, &target.name, key(&[]), &["scopes"]).await, NOT_HELD, "edit");
    disable(&mut scene.root, &target.name).await.expect("disabled");
    assert_outcome(enable(&mut climber, &target.name).await, NOT_HELD, "enable");
    let foreign = create(&mut climber, &scene.other, key(&[])).await;
    assert_outcome(foreign, Some((Code::NotFound, "RESOURCE_NOT_FOUND")), "another tenant");
    assert_outcome(create(&mut climber, root_user, key(&[TENANT_ADMIN])).await, ALLOWED, "what it holds");
}
