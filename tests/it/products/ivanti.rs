//! Ivanti: key groups, activated keys, on behalf of, in role, bound to tenant and addresses.

use serde_json::{Value, json};

use super::{DAY, OWNER, Shop, TENANT, admits, named, refused, text, verdict};

async fn make_group(shop: &Shop, id: &str) -> String {
    let group = json!({"display_name": id, "description": "keys of a partner"});
    let request = json!({"parent": TENANT, "key_group_id": id, "key_group": group});
    let made = shop.root("KeyGroupService/CreateKeyGroup", request).await.expect("a group");
    text(&made["keyGroup"]["name"]).to_owned()
}

async fn update(shop: &Shop, key: &Value, path: &str, value: Value) -> super::Answer {
    let request = json!({"key": {"name": key["name"], path: value}, "update_mask": {"paths": [path]}});
    shop.root("KeyService/UpdateKey", request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn line_1_a_key_belongs_to_one_group_that_exists_before_and_is_listed_by_it() {
    let Some(shop) = Shop::open().await else { return };
    let missing = format!("{TENANT}/keyGroups/partners");
    let request = json!({"parent": OWNER, "key": {"display_name": "a key", "key_group": missing}});
    assert_eq!(refused(shop.root("KeyService/CreateKey", request).await), "RESOURCE_NOT_FOUND");
    let group = make_group(&shop, "partners").await;
    let (key, secret) = shop.create(json!({"display_name": "a key", "key_group": group})).await;
    shop.create(named("of no group")).await;
    let all = format!("{TENANT}/serviceUsers/-");
    let list = json!({"parent": all, "key_group": group});
    let listed = shop.root("KeyService/ListKeys", list).await.expect("keys");
    assert_eq!(listed["keys"], json!([key]));
    assert_eq!(shop.verify(json!({"secret": secret})).await["keyGroup"], *group);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_2_the_reference_id_is_generated_and_is_the_key_itself() {
    let Some(shop) = Shop::open().await else { return };
    let (one, other) = (shop.create(named("a key")).await.1, shop.create(named("a key")).await.1);
    assert_ne!(one, other);
    assert_eq!(shop.verdict(&one).await, "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_a_key_that_is_not_activated_does_not_verify() {
    let Some(shop) = Shop::open().await else { return };
    let request = json!({"parent": OWNER, "key": named("a key"), "disabled": true});
    let made = shop.root("KeyService/CreateKey", request).await.expect("a key");
    let (key, secret) = (made["key"].clone(), text(&made["secret"]).to_owned());
    assert_eq!(shop.verdict(&secret).await, "DISABLED");
    for (method, expected) in [("EnableKey", "VALID"), ("DisableKey", "DISABLED")] {
        shop.act(method, &key).await.expect("changed");
        assert_eq!(shop.verdict(&secret).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_4_description_is_edited_and_verify_tells_on_behalf_of_and_in_role() {
    let Some(shop) = Shop::open().await else { return };
    let tenant = json!({"name": TENANT, "policy": {"allowed_roles": ["Analyst"]}});
    let request = json!({"tenant": tenant, "update_mask": {"paths": ["policy"]}});
    shop.root("TenantService/UpdateTenant", request).await.expect("a policy");
    let said = json!({"display_name": "a key", "role": "Analyst", "on_behalf_of": "ada@example.com"});
    let (key, secret) = shop.create(said).await;
    let edited = update(&shop, &key, "description", json!("for the audit")).await.expect("edited");
    assert_eq!(edited["key"]["description"], "for the audit");
    let told = shop.verify(json!({"secret": secret})).await;
    assert_eq!((text(&told["role"]), text(&told["onBehalfOf"])), ("Analyst", "ada@example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_5_a_key_presented_for_another_tenant_is_refused() {
    let Some(shop) = Shop::open().await else { return };
    shop.make_owner("other", "billing").await;
    let (_, secret) = shop.create(named("a key")).await;
    for (tenant, expected) in [(TENANT, "VALID"), ("tenants/other", "UNKNOWN")] {
        let told = shop.verify(json!({"secret": secret, "tenant": tenant})).await;
        assert_eq!(verdict(&told), expected, "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_6_addresses_are_added_to_a_key_and_others_are_refused() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(json!({"display_name": "a key", "allowed_networks": ["192.0.2.1"]})).await;
    let asked = |address: &str| json!({"secret": secret, "client_ip": address});
    assert_eq!(verdict(&shop.verify(asked("198.51.100.7")).await), "ADDRESS_NOT_ALLOWED");
    let more = json!(["192.0.2.1", "198.51.100.0/24"]);
    update(&shop, &key, "allowed_networks", more).await.expect("edited");
    for (address, expected) in
        [("192.0.2.1", "VALID"), ("198.51.100.7", "VALID"), ("203.0.113.9", "ADDRESS_NOT_ALLOWED")]
    {
        assert_eq!(verdict(&shop.verify(asked(address)).await), expected, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_7_a_key_never_expires_by_itself() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    shop.advance(10_000 * DAY);
    assert_eq!(shop.verdict(&secret).await, "VALID");
    assert_eq!((&shop.get(&key).await["state"], shop.warn().await), (&json!("KEY_STATE_ENABLED"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_8_keys_of_a_group_are_edited_and_deleted() {
    let Some(shop) = Shop::open().await else { return };
    let group = make_group(&shop, "partners").await;
    let (key, secret) = shop.create(json!({"display_name": "a key", "key_group": group})).await;
    let edited = update(&shop, &key, "display_name", json!("another name")).await.expect("edited");
    assert_eq!((text(&edited["key"]["displayName"]), text(&edited["key"]["keyGroup"])), ("another name", &*group));
    shop.act("DeleteKey", &key).await.expect("deleted");
    assert_eq!(shop.verdict(&secret).await, "UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_9_the_header_authorization_with_rest_api_key_admits() {
    let Some(shop) = Shop::open().await else { return };
    let Some(envoy) = shop.envoy().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    let told = admits(&envoy, "Authorization: rest_api_key=", &secret).await;
    assert_eq!((&told["key"], &told["authorization"]), (&key["name"], &json!(null)));
}

/// Line 6 again, as the bearer sees it.
#[tokio::test(flavor = "multi_thread")]
async fn line_6_a_wrong_tenant_and_a_wrong_address_are_one_public_error() {
    let Some(shop) = Shop::open().await else { return };
    let Some(envoy) = shop.envoy().await else { return };
    let elsewhere = json!({"display_name": "a key", "scopes": ["reports:read"], "allowed_networks": ["192.0.2.0/24"]});
    let (_, bound) = shop.create(elsewhere).await;
    let owner = shop.make_owner("other", "billing").await;
    let key = json!({"display_name": "a key", "scopes": ["reports:read"]});
    let made = shop.root("KeyService/CreateKey", json!({"parent": owner, "key": key})).await.expect("a key");
    let mut answers = Vec::new();
    for secret in [&bound, text(&made["secret"])] {
        // The route is of tenant acme.
        let answer = envoy.get("/reports", &[&format!("Authorization: rest_api_key={secret}")]).await;
        let headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
        answers.push((answer.status, headers, answer.body));
    }
    assert_eq!((answers[0].0, &answers[0]), (401, &answers[1]));
}
