//! BluBracket: integration keys, and a credential file whose token is used as Bearer.

use serde_json::{Value, json};

use super::{OWNER, Shop, TENANT, admits, refused, text, verdict};

/// A shop whose tenant has the integration types `github` and `slack`.
async fn open() -> Option<Shop> {
    let shop = Shop::open().await?;
    let tenant = json!({"name": TENANT, "policy": {"integration_types": ["github", "slack"]}});
    let request = json!({"tenant": tenant, "update_mask": {"paths": ["policy"]}});
    shop.root("TenantService/UpdateTenant", request).await.expect("a policy");
    Some(shop)
}

async fn create(shop: &Shop, key: Value, format: &str) -> super::Answer {
    let format = format!("CREDENTIAL_FILE_FORMAT_{format}");
    shop.root("KeyService/CreateKey", json!({"parent": OWNER, "key": key, "credential_file_format": format})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn line_1_a_key_has_a_name_and_an_integration_type_from_a_list() {
    let Some(shop) = open().await else { return };
    let made = shop.create(json!({"display_name": "CI", "integration_type": "github"})).await;
    assert_eq!(made.0["integrationType"], "github");
    assert_eq!(shop.verify(json!({"secret": made.1})).await["integrationType"], "github");
    let other = json!({"parent": OWNER, "key": {"display_name": "CI", "integration_type": "gitlab"}});
    assert_eq!(refused(shop.root("KeyService/CreateKey", other).await), "POLICY_VIOLATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_2_the_result_is_a_file_with_id_key_and_token_for_each_host() {
    let Some(shop) = open().await else { return };
    let host = shop.app.address().to_string();
    for format in ["JSON", "CSV"] {
        let made = create(&shop, json!({"display_name": "CI"}), format).await.expect("a key");
        let (secret, content) = (text(&made["secret"]), text(&made["credentialFile"]["content"]));
        let (id, key) = (&secret[4..26], &secret[27..]);
        if format == "JSON" {
            let file: Value = serde_json::from_str(content).expect("JSON");
            assert_eq!(file, json!({"api_keys": {&*host: {"id": id, "key": key, "token": secret}}}));
        } else {
            assert_eq!(content, format!("host,id,key,token\r\n{host},{id},{key},{secret}\r\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_the_token_alone_authenticates_and_the_id_alone_does_not() {
    let Some(shop) = open().await else { return };
    let key = json!({"display_name": "CI", "scopes": ["claviger:keys.self"]});
    let made = create(&shop, key, "JSON").await.expect("a key");
    let file: Value = serde_json::from_str(text(&made["credentialFile"]["content"])).expect("JSON");
    let credential = &file["api_keys"][shop.app.address().to_string()];
    assert_eq!(shop.list(text(&credential["token"]), OWNER).await.expect("its own keys").len(), 1);
    for part in ["id", "key"] {
        let told = shop.list(text(&credential[part]), OWNER).await.expect_err(part);
        assert_eq!((&*told.code, &*told.reason), ("16", "CALLER_INVALID"), "UNAUTHENTICATED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_3_the_token_as_bearer_admits_at_the_gateway_and_the_id_does_not() {
    let Some(shop) = open().await else { return };
    let Some(envoy) = shop.envoy().await else { return };
    let made = create(&shop, json!({"display_name": "CI"}), "JSON").await.expect("a key");
    let secret = text(&made["secret"]);
    assert_eq!(admits(&envoy, "Authorization: Bearer ", secret).await["key"], made["key"]["name"]);
    assert_eq!(envoy.get("/", &[&format!("Authorization: Bearer {}", &secret[4..26])]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn line_4_id_key_and_token_differ_and_the_id_is_safe_to_log() {
    let Some(shop) = open().await else { return };
    let made = create(&shop, json!({"display_name": "CI"}), "JSON").await.expect("a key");
    let file: Value = serde_json::from_str(text(&made["credentialFile"]["content"])).expect("JSON");
    let credential = &file["api_keys"][shop.app.address().to_string()];
    let [id, key, token] = ["id", "key", "token"].map(|part| text(&credential[part]));
    assert!(id != key && key != token && id != token);
    assert!(text(&made["key"]["name"]).ends_with(id), "the id is the key's public name");
    for (part, expected) in [(id, "MALFORMED"), (key, "MALFORMED"), (token, "VALID")] {
        assert_eq!(verdict(&shop.verify(json!({"secret": part})).await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_5_times_carry_their_zone_and_one_without_is_refused() {
    let Some(shop) = open().await else { return };
    let (key, _) = shop.create(json!({"display_name": "CI", "expire_time": "2027-06-01T12:00:00+00:00"})).await;
    assert_eq!(key["expireTime"], "2027-06-01T12:00:00Z");
    for time in ["createTime", "updateTime"] {
        assert!(text(&key[time]).ends_with('Z'), "{time}");
    }
    let Some(envoy) = shop.envoy().await else { return };
    let path = format!("/v1/{OWNER}/keys");
    for (time, expected) in [("2027-06-01T12:00:00", 400), ("2027-06-01", 400), ("2027-06-01T12:00:00Z", 200)] {
        let key = json!({"displayName": "CI", "expireTime": time});
        let (status, answer) = envoy.call("POST", &path, &shop.app.root_secret, Some(key)).await;
        assert_eq!(status, expected, "{time}: {answer}");
    }
}
