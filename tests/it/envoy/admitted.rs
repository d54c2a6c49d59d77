//! Whoever may pass: the backend knows who it is, and never sees the secret.

use claviger::proto::v1;
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};

use super::{Scene, TENANT, told};

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_is_told_whose_key_it_was_and_never_sees_the_secret() {
    let Some(mut scene) = Scene::set().await else { return };
    let (key, secret) = scene.key(|_| {}).await;
    let expected = json!({
        "path": "/reports/1?x=y", "key": key.name, "service_user": scene.owner, "tenant": TENANT,
        "scopes": "reports:read", "role": "member", "on_behalf_of": null, "key_group": null, "integration_type": null,
        "expire_time": null, "expiring_soon": null, "superseded_by": null,
        "authorization": null, "x-api-key": null, "x-blancco-api-key": null,
    });
    for header in ["x-api-key: ", "X-Blancco-Api-Key: ", "authorization: rest_api_key=", "authorization: Bearer "] {
        let answer = scene.envoy.get("/reports/1?x=y", &[&format!("{header}{secret}")]).await;
        assert_eq!(told(&answer), expected, "{header}");
    }
    let logged = scene.envoy.access_log().await;
    let last = logged.last().expect("a line");
    assert_eq!((&last["verdict"], &last["key"]), (&json!("VALID"), &json!(key.name)));
    assert!(!format!("{logged:?}").contains(&secret[27..]), "Envoy's log holds the secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_key_says_of_its_bearer_is_told_and_fits_a_header() {
    let Some(mut scene) = Scene::set().await else { return };
    let policy = v1::TenantPolicy {
        allowed_roles: vec!["Analyst".to_owned()],
        integration_types: vec!["git.hub".to_owned()],
        ..Default::default()
    };
    let request = v1::UpdateTenantRequest {
        tenant: Some(v1::Tenant { name: TENANT.to_owned(), policy: Some(policy), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["policy".to_owned()] }),
        ..Default::default()
    };
    scene.root.tenants.update_tenant(request).await.expect("a policy");
    let group = scene.root.create_key_group(TENANT, "partners").await;
    let end = Timestamp { seconds: 1_800_000_600, nanos: 5_000_000 };
    let (_, secret) = scene
        .key(|request| {
            let key = request.key.as_mut().expect("a key");
            key.scopes.push("reports:write".to_owned());
            key.role = "Analyst".to_owned();
            key.on_behalf_of = "Zoë 100%".to_owned();
            key.integration_type = "git.hub".to_owned();
            key.key_group = group.clone();
            key.expire_time = Some(end);
        })
        .await;
    let told = told(&scene.get("/reports", &secret).await);
    for (name, expected) in [
        ("scopes", "reports:read reports:write"),
        ("role", "Analyst"),
        ("on_behalf_of", "Zo%C3%AB 100%25"),
        ("integration_type", "git.hub"),
        ("key_group", &group),
        ("expire_time", "2027-01-15T08:10:00.005Z"),
        ("expiring_soon", "true"),
    ] {
        assert_eq!(told[name], expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_its_grace_period_passes_and_names_its_successor() {
    let Some(mut scene) = Scene::set().await else { return };
    let (key, secret) = scene.key(|_| {}).await;
    let request = v1::RotateKeyRequest {
        name: key.name.clone(),
        grace_period: Some(Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let rotated = scene.root.keys.rotate_key(request).await.expect("rotated").into_inner();
    let successor = rotated.key.expect("a key");
    let old = told(&scene.get("/reports", &secret).await);
    assert_eq!((&old["superseded_by"], &old["expiring_soon"]), (&json!(successor.name), &json!("true")));
    let new = told(&scene.get("/reports", &rotated.secret).await);
    assert_eq!((&new["key"], &new["superseded_by"]), (&json!(successor.name), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_asks_nobody_is_open_and_one_without_scopes_wants_any_good_key() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|request| request.key.as_mut().expect("a key").scopes.clear()).await;
    assert_eq!(told(&scene.envoy.get("/public", &[]).await)["key"], Value::Null);
    assert!(told(&scene.get("/anything", &secret).await)["key"].is_string());
    assert_eq!(scene.envoy.get("/anything", &[]).await.status, 401);
}

/// As for a product whose clients say `Token`, and one with a header of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_setting_says_which_headers_hold_a_key() {
    let headers = [("CLAVIGER_CREDENTIAL_HEADERS", "X-Own-Key, authorization: Token")];
    let allowed = [("{ exact: x-api-key }", "{ exact: x-own-key }")];
    let Some(mut scene) = Scene::set_with(&headers, &allowed).await else { return };
    let (key, secret) = scene.key(|_| {}).await;
    for header in ["x-own-key: ", "Authorization: Token "] {
        let answer = scene.envoy.get("/reports", &[&format!("{header}{secret}")]).await;
        assert_eq!(told(&answer)["key"], json!(key.name), "{header}");
    }
    for header in ["x-api-key: ", "authorization: Bearer "] {
        assert_eq!(scene.envoy.get("/reports", &[&format!("{header}{secret}")]).await.status, 401, "{header}");
    }
}
