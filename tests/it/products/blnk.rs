//! Blnk Cloud: scopes, a recognisable prefix, keys that are revoked and kept, and keys that never expire.

use serde_json::json;

use super::{DAY, OWNER, Shop, named, refused, text, verdict};

#[tokio::test(flavor = "multi_thread")]
async fn line_1_the_role_is_always_member_and_the_end_may_be_never() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(json!({"display_name": "a key", "scopes": ["mcp:read"]})).await;
    assert_eq!((text(&key["role"]), key.get("expireTime")), ("member", None));
    assert_eq!(shop.verify(json!({"secret": secret})).await["role"], "member");
    let other = json!({"parent": OWNER, "key": {"display_name": "a key", "role": "admin"}});
    let told = shop.root("KeyService/CreateKey", other).await.expect_err("refused");
    assert_eq!(told.reason, "POLICY_VIOLATED");
    assert!(told.text.contains("allowed_roles"), "{}", told.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_2_a_star_grants_every_scope_and_two_scopes_grant_those_two() {
    let Some(shop) = Shop::open().await else { return };
    let (_, all) = shop.create(json!({"display_name": "all", "scopes": ["*"]})).await;
    let (_, two) = shop.create(json!({"display_name": "two", "scopes": ["mcp:read", "mcp:write"]})).await;
    for (scope, of_two) in [
        ("mcp:read", "VALID"),
        ("mcp:write", "VALID"),
        ("mcp", "SCOPE_MISSING"),
        ("mcp:read:all", "SCOPE_MISSING"),
        ("ledger:read", "SCOPE_MISSING"),
    ] {
        let ask = |secret: &str| json!({"secret": secret, "required_scopes": [scope]});
        assert_eq!(verdict(&shop.verify(ask(&all)).await), "VALID", "{scope}");
        assert_eq!(verdict(&shop.verify(ask(&two)).await), of_two, "{scope}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_the_list_shows_a_partial_identifier_and_never_the_key() {
    let Some(shop) = Shop::open().await else { return };
    let (_, secret) = shop.create(named("a key")).await;
    let listed = shop.list(&shop.app.root_secret, OWNER).await.expect("keys").remove(0);
    assert_eq!(text(&listed["secretHint"]), format!("{}…", &secret[..12]));
    assert!(!listed.to_string().contains(&secret[27..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_4_the_full_key_is_shown_once() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    assert_eq!(secret.len(), 76);
    assert!(!shop.get(&key).await.to_string().contains(&secret[27..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_5_a_revoked_key_is_refused_stays_listed_and_never_comes_back() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    shop.act("RevokeKey", &key).await.expect("revoked");
    assert_eq!(shop.verdict(&secret).await, "REVOKED");
    let listed = shop.list(&shop.app.root_secret, OWNER).await.expect("keys");
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("KEY_STATE_REVOKED")));
    assert_eq!(refused(shop.act("EnableKey", &key).await), "KEY_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_6_keys_that_never_expire_are_in_no_notice() {
    let Some(shop) = Shop::open().await else { return };
    shop.create(named("never")).await;
    for _ in 0..3 {
        shop.advance(400 * DAY);
        assert_eq!(shop.warn().await, 0);
    }
    assert!(shop.told().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn line_7_the_status_is_in_the_list_and_in_the_details() {
    let Some(shop) = Shop::open().await else { return };
    let (key, _) = shop.create(named("a key")).await;
    for (method, state) in [("DisableKey", "KEY_STATE_DISABLED"), ("RevokeKey", "KEY_STATE_REVOKED")] {
        shop.act(method, &key).await.expect("changed");
        let listed = shop.list(&shop.app.root_secret, OWNER).await.expect("keys").remove(0);
        assert_eq!([&listed["state"], &shop.get(&key).await["state"]], [state, state]);
    }
}
