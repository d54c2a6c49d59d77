//! Blancco Management Portal: own and all keys, copied again later.

use std::collections::HashSet;

use serde_json::json;

use super::{OWNER, Shop, TENANT, admits, named, refused, text};

const READER: [&str; 1] = ["claviger:keys.read"];

#[tokio::test(flavor = "multi_thread")]
async fn line_1_all_lists_the_tenants_keys_with_creator_and_mine_lists_the_callers() {
    let Some(shop) = Shop::open().await else { return };
    let shipping = shop.make_service_user(TENANT, "shipping").await;
    let theirs = shop.make_owner("other", "billing").await;
    let (_, own) = shop.create(json!({"display_name": "mine", "scopes": ["claviger:keys.self"]})).await;
    let (_, reader) = shop.create(json!({"display_name": "reader", "scopes": READER})).await;
    for parent in [&shipping, &theirs] {
        shop.root("KeyService/CreateKey", json!({"parent": parent, "key": named("a key")})).await.expect("a key");
    }
    let all = format!("{TENANT}/serviceUsers/-");
    let listed = shop.list(&reader, &all).await.expect("all of the tenant");
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|key| key["createTime"].is_string() && key["creator"].is_string()));
    assert!(listed.iter().all(|key| text(&key["name"]).starts_with(TENANT)));
    assert_eq!(shop.list(&own, OWNER).await.expect("its own").len(), 2);
    assert_eq!(shop.list(&own, &all).await.expect_err("not all").reason, "RIGHT_MISSING");
    assert_eq!(shop.list(&reader, &theirs).await.expect_err("another tenant").reason, "RESOURCE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_2_a_name_and_a_description_of_1000_characters_and_not_one_more() {
    let Some(shop) = Shop::open().await else { return };
    let (key, _) = shop.create(json!({"display_name": "a key", "description": "é".repeat(1_000)})).await;
    assert_eq!(text(&key["description"]).chars().count(), 1_000);
    let longer = json!({"parent": OWNER, "key": {"display_name": "a key", "description": "é".repeat(1_001)}});
    assert_eq!(refused(shop.root("KeyService/CreateKey", longer).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_a_key_verifies_right_after_create() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    let told = shop.verify(json!({"secret": secret})).await;
    assert_eq!((super::verdict(&told), &told["key"]), ("VALID".to_owned(), &key["name"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_4_the_owner_copies_a_retrievable_key_again_and_no_key_that_is_shown_once() {
    let Some(shop) = Shop::open().await else { return };
    let policy = json!({"name": TENANT, "policy": {"allow_retrievable": true}});
    let allow = json!({"tenant": policy, "update_mask": {"paths": ["policy"]}});
    shop.root("TenantService/UpdateTenant", allow).await.expect("allowed");
    let owner = json!({"display_name": "owner", "scopes": ["claviger:keys.self", "claviger:keys.reveal"]});
    let (_, owner) = shop.create(owner).await;
    let (key, secret) = shop.create(json!({"display_name": "a key", "retrievable": true})).await;
    assert_eq!(key["retrievable"], true);
    for _ in 0..2 {
        let copied = shop.call(&owner, "KeyService/RevealKey", json!({"name": key["name"]})).await.expect("copied");
        assert_eq!(text(&copied["secret"]), secret);
    }
    let (once, _) = shop.create(named("shown once")).await;
    let again = shop.call(&owner, "KeyService/RevealKey", json!({"name": once["name"]})).await;
    assert_eq!(refused(again), "KEY_NOT_RETRIEVABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_5_name_and_description_are_edited_and_nothing_else_changes() {
    let Some(shop) = Shop::open().await else { return };
    let (_, own) = shop.create(json!({"display_name": "mine", "scopes": ["claviger:keys.self"]})).await;
    let (key, secret) = shop.create(json!({"display_name": "a key", "description": "old"})).await;
    let request = json!({
        "key": {"name": key["name"], "display_name": "another", "description": "new"},
        "update_mask": {"paths": ["display_name", "description"]}
    });
    let mut edited = shop.call(&own, "KeyService/UpdateKey", request).await.expect("its own key")["key"].clone();
    assert_eq!((text(&edited["displayName"]), text(&edited["description"])), ("another", "new"));
    for field in ["displayName", "description", "updateTime", "revision"] {
        edited[field] = key[field].clone();
    }
    assert_eq!(edited, key);
    assert_eq!(shop.verdict(&secret).await, "VALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_6_a_deleted_key_is_refused_at_once() {
    let Some(shop) = Shop::open().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    shop.act("DeleteKey", &key).await.expect("deleted");
    assert_eq!(shop.verdict(&secret).await, "UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_7_others_see_name_and_description_and_never_the_secret() {
    let Some(shop) = Shop::open().await else { return };
    let shipping = shop.make_service_user(TENANT, "shipping").await;
    let reader = json!({"parent": shipping, "key": {"display_name": "reader", "scopes": READER}});
    let reader = shop.root("KeyService/CreateKey", reader).await.expect("a key");
    let (key, secret) = shop.create(json!({"display_name": "a key", "description": "what it is for"})).await;
    let seen = shop.call(text(&reader["secret"]), "KeyService/GetKey", json!({"name": key["name"]})).await;
    let seen = seen.expect("seen");
    assert_eq!((text(&seen["key"]["displayName"]), text(&seen["key"]["description"])), ("a key", "what it is for"));
    assert!(!seen.to_string().contains(&secret[27..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn line_8_the_secret_verifies_its_name_does_not_and_no_two_are_equal() {
    let Some(shop) = Shop::open().await else { return };
    let mut secrets = HashSet::new();
    for _ in 0..10 {
        let (key, secret) = shop.create(named("always the same name")).await;
        assert_eq!([shop.verdict(&secret).await, shop.verdict(text(&key["name"])).await], ["VALID", "MALFORMED"]);
        secrets.insert(secret);
    }
    assert_eq!(secrets.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_9_the_header_x_blancco_api_key_admits_as_it_is() {
    let Some(shop) = Shop::open().await else { return };
    let Some(envoy) = shop.envoy().await else { return };
    let (key, secret) = shop.create(named("a key")).await;
    let told = admits(&envoy, "X-BLANCCO-API-KEY: ", &secret).await;
    assert_eq!((&told["key"], &told["x-blancco-api-key"]), (&key["name"], &json!(null)));
}
