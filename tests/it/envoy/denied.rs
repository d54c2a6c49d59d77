//! Whoever may not pass: one answer for everything that is wrong with a key, and why in the log.

use claviger::proto::v1;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::{Scene, TENANT};

/// A secret of each kind that isn't good, and what the log calls it.
async fn bad_secrets(scene: &mut Scene) -> Vec<(&'static str, String)> {
    let mut bad = vec![("MALFORMED", String::new()), ("MALFORMED", "cvg_nonsense".to_owned())];
    let (deleted, unknown) = scene.key(|_| {}).await;
    let delete = v1::DeleteKeyRequest { name: deleted.name, ..Default::default() };
    scene.root.keys.delete_key(delete).await.expect("deleted");
    bad.push(("UNKNOWN", unknown));
    let (revoked, secret) = scene.key(|_| {}).await;
    let revoke = v1::RevokeKeyRequest { name: revoked.name, ..Default::default() };
    scene.root.keys.revoke_key(revoke).await.expect("revoked");
    bad.push(("REVOKED", secret));
    bad.push(("DISABLED", scene.key(|request| request.disabled = true).await.1));
    let soon = Timestamp { seconds: 1_800_000_010, nanos: 0 };
    bad.push(("EXPIRED", scene.key(|request| request.key.as_mut().expect("a key").expire_time = Some(soon)).await.1));
    scene.app.advance(chrono::TimeDelta::seconds(20));
    let elsewhere = vec!["192.0.2.0/24".to_owned()];
    let bound = scene.key(|request| request.key.as_mut().expect("a key").allowed_networks = elsewhere).await;
    bad.push(("ADDRESS_NOT_ALLOWED", bound.1));
    let off = scene.root.create_service_user(TENANT, "off").await;
    bad.push(("OWNER_DISABLED", scene.root.create_key(&off, &["reports:read"]).await.1));
    let disable = v1::DisableServiceUserRequest { name: off, ..Default::default() };
    scene.root.service_users.disable_service_user(disable).await.expect("disabled");
    let other = scene.root.create_tenant("other").await;
    let stranger = scene.root.create_service_user(&other, "stranger").await;
    bad.push(("UNKNOWN", scene.root.create_key(&stranger, &["reports:read"]).await.1));
    bad
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_a_key_is_one_answer_and_the_log_has_the_reason() {
    let Some(mut scene) = Scene::set().await else { return };
    let bad = bad_secrets(&mut scene).await;
    let mut answers = Vec::new();
    for (reason, secret) in &bad {
        // An empty header has to be asked for in another way.
        let header = if secret.is_empty() { "x-api-key;".to_owned() } else { format!("x-api-key: {secret}") };
        let answer = scene.envoy.get("/reports", &[&header]).await;
        assert_eq!(answer.status, 401, "{reason}");
        let headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
        answers.push((headers, answer.body));
        let logged = scene.envoy.access_log().await;
        let last = logged.last().expect("a line");
        assert_eq!((&last["verdict"], &last["status"]), (&json!(reason), &json!(401)));
        let is_nameless = ["MALFORMED", "UNKNOWN"].contains(reason);
        assert_eq!(last["key"] == Value::Null, is_nameless, "{reason}: {last}");
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let (headers, body) = &answers[0];
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(header("www-authenticate"), Some("Bearer realm=\"claviger\", error=\"invalid_token\""));
    assert_eq!(header("content-type"), Some("application/problem+json"));
    assert_eq!(header("cache-control"), Some("no-store"));
    let problem: Value = serde_json::from_str(body).expect("a problem");
    let expected = json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
        "detail": "Present a valid API key."});
    assert_eq!(problem, expected);
    let nothing = scene.envoy.get("/reports", &[]).await;
    assert_eq!((nothing.status, &nothing.body), (401, body));
    assert_eq!(nothing.header("www-authenticate"), Some("Bearer realm=\"claviger\""));
    assert_eq!(scene.envoy.access_log().await.last().expect("a line")["verdict"], "CREDENTIAL_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_without_the_scope_is_forbidden_and_told_which() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|request| request.key.as_mut().expect("a key").scopes = vec!["a:b".to_owned()]).await;
    let answer = scene.get("/reports", &secret).await;
    let said = "Bearer realm=\"claviger\", error=\"insufficient_scope\", scope=\"reports:read\"";
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, Some(said)));
    let problem: Value = serde_json::from_str(&answer.body).expect("a problem");
    assert_eq!((&problem["status"], &problem["title"]), (&json!(403), &json!("Forbidden")));
    assert_eq!(scene.envoy.access_log().await.last().expect("a line")["verdict"], "SCOPE_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_nobody_passes() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|_| {}).await;
    assert_eq!(scene.get("/reports", &secret).await.status, 200);
    scene.app.running.stop().await;
    assert_eq!(scene.envoy.get("/reports", &[&format!("x-api-key: {secret}")]).await.status, 503);
    assert_eq!(scene.envoy.get("/public", &[]).await.status, 200);
}

/// Envoy itself isn't let in, so nobody is.
#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_with_nobodys_key_lets_nobody_pass() {
    let key = "%ENVIRONMENT(CLAVIGER_ENVOY_KEY)%";
    let Some(mut scene) = Scene::set_with(&[], &[(key, "nobody")]).await else { return };
    let (_, secret) = scene.key(|_| {}).await;
    assert_eq!(scene.get("/reports", &secret).await.status, 503);
}
