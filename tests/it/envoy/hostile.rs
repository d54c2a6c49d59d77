//! Bad input, through a real Envoy.

use serde_json::Value;

use super::{Scene, told};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_secret_itself_in_one_header_opens() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|_| {}).await;
    let (_, other) = scene.key(|_| {}).await;
    let twice = format!("x-api-key: {secret}");
    let long = format!("x-api-key: {}", "a".repeat(16 << 10));
    let in_query = format!("/reports?x-api-key={secret}&access_token={secret}");
    let [upper, lower] = [secret.to_uppercase(), secret.to_lowercase()];
    for headers in [
        &["x-api-key;"][..],
        &[&long],
        &[&format!("x-api-key: {upper}")],
        &[&format!("x-api-key: {lower}")],
        &[&format!("x-api-key: {secret}=")],
        &[&format!("x-api-key: \"{secret}\"")],
        &[&format!("x-api-key: {secret}\\n")],
        &[&format!("x-api-key: {secret}%0A")],
        &[&format!("x-api-key: Bearer {secret}")],
        &[&twice, &twice],
        &[&twice, &format!("X-API-KEY: {other}")],
        &[&format!("x-api-key: {secret},{secret}")],
        &["x-api-key: wrong", &format!("authorization: Bearer {secret}")],
        &[&format!("authorization: Bearer {secret}"), "authorization: Bearer x"],
        &[&format!("authorization: Bearer  {secret}")],
        &[&format!("authorization: {secret}")],
        &[&format!("authorization: Basic {secret}")],
        &[&format!("authorization: rest_api_key= {secret}")],
        &[&format!("cookie: x-api-key={secret}")],
        &[],
    ] {
        let path = if headers.is_empty() { &in_query } else { "/reports" };
        let answer = scene.envoy.get(path, headers).await;
        assert_eq!(answer.status, 401, "{headers:?}");
        assert!(!answer.body.contains(&secret[27..]), "{headers:?}");
    }
    // The scheme's name may be in any case, and blanks around a header's value aren't part of it (RFC 9110).
    for good in [format!("authorization: BEARER {secret}"), format!("x-api-key:   {secret}  ")] {
        assert_eq!(scene.envoy.get("/reports", &[&good]).await.status, 200, "{good}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_in_our_name_is_believed_on_no_route() {
    let Some(mut scene) = Scene::set().await else { return };
    let (key, secret) = scene.key(|_| {}).await;
    let forged = [
        "x-claviger-key: forged",
        "X-Claviger-Key: forged",
        "x-claviger-tenant: tenants/forged",
        "x-claviger-scopes: *",
        "x-claviger-role: admin",
        "x-claviger-on-behalf-of: root",
        "x-claviger-superseded-by: forged",
        "x-claviger-anything: forged",
        "x_claviger_key: forged",
    ];
    let credential = format!("x-api-key: {secret}");
    for path in ["/public", "/reports", "/anything"] {
        let headers: Vec<&str> = forged.into_iter().chain([credential.as_str()]).collect();
        let told = told(&scene.envoy.get(path, &headers).await);
        assert!(!told.to_string().contains("forged"), "{path}: {told}");
        let expected = if path == "/public" { Value::Null } else { key.name.clone().into() };
        assert_eq!(told["key"], expected, "{path}");
        assert_eq!(told["on_behalf_of"], Value::Null, "{path}");
        assert_eq!(told["x-api-key"], Value::Null, "{path}: nobody there needs the secret");
    }
    assert_eq!(scene.envoy.get("/reports", &forged).await.status, 401);
}

/// Without the early removal of the example, what the filter itself is told still hinders forging where it guards.
#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_route_overwrites_or_removes_what_it_is_not_told() {
    let prefix = "key_matcher: { prefix: x-claviger-, ignore_case: true }";
    let Some(mut scene) = Scene::set_with(&[], &[(prefix, "key_matcher: { exact: x-nothing }")]).await else { return };
    let (key, secret) = scene.key(|_| {}).await;
    let credential = format!("x-api-key: {secret}");
    let headers = ["x-claviger-key: forged", "x-claviger-key: again", "x-claviger-on-behalf-of: forged", &credential];
    let told = told(&scene.envoy.get("/reports", &headers).await);
    assert_eq!((told["key"].as_str(), &told["on_behalf_of"]), (Some(&*key.name), &Value::Null));
}

/// Every spelling of a path leads to the route of what the backend would make of it, or nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_walks_around_a_route() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|request| request.key.as_mut().expect("a key").scopes.clear()).await;
    let credential = format!("x-api-key: {secret}");
    for path in [
        "/public/../reports",
        "/public/./../reports",
        "//public/../reports",
        "/publications",
        "/public-admin",
        "/reports",
    ] {
        assert_eq!(scene.envoy.get(path, &[]).await.status, 401, "{path}, without a key");
    }
    for path in
        ["/reports", "//reports", "/./reports", "/x/../reports", "/report%73", "/%72eports", "/reports/", "/reports?x"]
    {
        assert_eq!(scene.envoy.get(path, &[&credential]).await.status, 403, "{path}, without the scope");
    }
    for path in ["/public%2f..%2freports", "/public/..%2Freports", "/public%5c..%5creports", "/reports%2f"] {
        assert_eq!(scene.envoy.get(path, &[&credential]).await.status, 400, "{path}");
    }
    for path in ["/public", "/public/", "/public/x", "/public?x"] {
        assert_eq!(scene.envoy.get(path, &[]).await.status, 200, "{path}");
    }
}

/// A second secret in another header would reach the backend.
#[tokio::test(flavor = "multi_thread")]
async fn no_header_that_may_hold_a_secret_reaches_the_backend() {
    let Some(mut scene) = Scene::set().await else { return };
    let (_, secret) = scene.key(|_| {}).await;
    let headers = [
        &format!("x-api-key: {secret}"),
        &format!("x-blancco-api-key: {secret}"),
        &format!("authorization: Bearer {secret}"),
    ];
    let told = told(&scene.envoy.get("/reports", &headers.map(String::as_str)).await);
    for header in ["x-api-key", "x-blancco-api-key", "authorization"] {
        assert_eq!(told[header], Value::Null, "{header}");
    }
    let basic = [&format!("x-api-key: {secret}"), "authorization: Basic Zm9v"];
    let told = super::told(&scene.envoy.get("/reports", &basic).await);
    assert_eq!(told["authorization"], "Basic Zm9v", "what is no key of ours is the backend's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_demands_what_nobody_understands_is_closed() {
    let demand = "{ required_scopes: \"reports:read\", tenant: tenants/acme }";
    for wrong in [
        "{ required_scope: \"reports:read\" }",
        "{ required_scopes: \"\" }",
        "{ required_scopes: \"reports:*\" }",
        "{ tenant: acme }",
    ] {
        let Some(mut scene) = Scene::set_with(&[], &[(demand, wrong)]).await else { return };
        let (_, secret) = scene.key(|_| {}).await;
        let answer = scene.get("/reports", &secret).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{wrong}");
        let logged = scene.envoy.access_log().await;
        assert_eq!(logged.last().expect("a line")["verdict"], "ROUTE_INVALID", "{wrong}");
        assert_eq!(scene.get("/anything", &secret).await.status, 200, "{wrong}");
    }
}
