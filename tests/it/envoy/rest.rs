//! Claviger itself as REST, by Envoy's transcoder from our descriptors.

use serde_json::json;

use super::{Scene, TENANT};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_verified_listed_and_revoked_by_http() {
    let Some(scene) = Scene::set().await else { return };
    let (root, keys) = (scene.app.root_secret.clone(), format!("/v1/{}/keys", scene.owner));
    let body = json!({"displayName": "a key", "scopes": ["reports:read"], "expireTime": "2027-02-01T00:00:00+02:00"});
    let (status, made) = scene.envoy.call("POST", &keys, &root, Some(body)).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["key"]["expireTime"], "2027-01-31T22:00:00Z");
    let (name, secret) = (made["key"]["name"].as_str().expect("a name"), made["secret"].as_str().expect("a secret"));
    let question = json!({"secret": secret, "requiredScopes": ["reports:read"]});
    let (_, told) = scene.envoy.call("POST", "/v1:verify", &root, Some(question.clone())).await;
    assert_eq!((&told["verdict"], &told["key"]), (&json!("VERDICT_VALID"), &json!(name)));
    let (_, listed) = scene.envoy.call("GET", &format!("{keys}?pageSize=5"), &root, None).await;
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(1));
    let revoke = json!({"reason": "by REST"});
    let (_, revoked) = scene.envoy.call("POST", &format!("/v1/{name}:revoke"), &root, Some(revoke)).await;
    assert_eq!(revoked["key"]["state"], "KEY_STATE_REVOKED");
    let (_, told) = scene.envoy.call("POST", "/v1:verify", &root, Some(question)).await;
    assert_eq!(told["verdict"], "VERDICT_REVOKED");
    assert_eq!(scene.tenant, TENANT);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_json_with_its_reason_and_each_bad_field() {
    let Some(scene) = Scene::set().await else { return };
    let (root, keys) = (scene.app.root_secret.clone(), format!("/v1/{}/keys", scene.owner));
    let detail = |error: &serde_json::Value, kind: &str| {
        let details = error["details"].as_array().cloned().unwrap_or_default();
        let of_kind = |detail: &&serde_json::Value| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind));
        details.iter().find(of_kind).cloned().unwrap_or_else(|| panic!("no {kind} in {error}"))
    };
    let body = json!({"displayName": "", "scopes": ["NO"]});
    let (status, error) = scene.envoy.call("POST", &keys, &root, Some(body)).await;
    assert_eq!((status, &detail(&error, "ErrorInfo")["reason"]), (400, &json!("FIELD_INVALID")));
    let bad = detail(&error, "BadRequest")["fieldViolations"].as_array().map(Vec::len);
    assert_eq!(bad, Some(2), "{error}");
    let (status, error) = scene.envoy.call("GET", &format!("/v1/{TENANT}"), "nobody", None).await;
    assert_eq!((status, &detail(&error, "ErrorInfo")["reason"]), (401, &json!("CALLER_INVALID")));
    // A timestamp says where its clock stands, or it is none.
    let zoneless = json!({"displayName": "a key", "expireTime": "2027-02-01T00:00:00"});
    let (status, _) = scene.envoy.call("POST", &keys, &root, Some(zoneless)).await;
    assert_eq!(status, 400);
}
