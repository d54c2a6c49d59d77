//! Check as Envoy sees it, message by message.

use std::collections::HashMap;

use claviger::proto::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress, address::Address as AddressKind,
    header_value_option::HeaderAppendAction,
};
use claviger::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, OkHttpResponse,
    attribute_context::{HttpRequest, Peer, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};
use prost::Message;
use prost_types::{Struct, value::Kind};
use tonic::{Code, Status};

use crate::harness::{
    Client, Engine, TestApp,
    errors::{reason, status_in},
};
use crate::raw;

const METHOD: &str = "envoy.service.auth.v3.Authorization/Check";

/// A request with these headers, from 192.0.2.7, on a route that says this.
pub fn asked(http: HttpRequest, context: &[(&str, &str)]) -> CheckRequest {
    let socket = SocketAddress { address: "192.0.2.7".to_owned() };
    let address = Address { address: Some(AddressKind::SocketAddress(socket)) };
    let context = context.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address: Some(address) }),
            request: Some(Request { http: Some(http) }),
            context_extensions: context.collect(),
        }),
    }
}

pub fn joined(headers: &[(&str, &str)]) -> HttpRequest {
    let headers: HashMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpRequest { headers, header_map: None }
}

fn raw_headers(headers: &[(&str, &[u8])]) -> HttpRequest {
    let header = |(name, value): &(&str, &[u8])| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.to_vec(),
        ..Default::default()
    };
    let headers = headers.iter().map(header).collect();
    HttpRequest { header_map: Some(HeaderMap { headers }), ..Default::default() }
}

struct Door {
    app: TestApp,
    root: Client,
    owner: String,
}

impl Door {
    async fn open() -> Option<Self> {
        let app = TestApp::start(Engine::Sqlite).await?;
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        Some(Self { app, root, owner })
    }

    async fn check(&self, request: &CheckRequest) -> Result<CheckResponse, Status> {
        let answer = raw::call_as(&self.root.channel, &self.app.root_secret, METHOD, request.encode_to_vec()).await?;
        let decoded = CheckResponse::decode(&answer[..]).expect("a CheckResponse");
        assert_eq!(decoded.encoded_len(), answer.len(), "it is written as prost would");
        Ok(decoded)
    }
}

pub fn said(metadata: &Struct) -> HashMap<String, String> {
    let text = |kind: &Option<Kind>| match kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::ListValue(list)) => format!("{:?}", list.values.iter().map(|one| &one.kind).collect::<Vec<_>>()),
        other => panic!("{other:?}"),
    };
    metadata.fields.iter().map(|(name, value)| (name.clone(), text(&value.kind))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_sets_and_removes_headers_and_is_told_as_metadata() {
    let Some(mut door) = Door::open().await else { return };
    let (key, secret) = door.root.create_key(&door.owner, &["reports:read", "mcp:*"]).await;
    let headers = [("x-api-key", secret.as_str()), ("x-claviger-key", "forged"), ("x-claviger-x", "forged")];
    let answer = door.check(&asked(joined(&headers), &[("required_scopes", "reports:read, mcp:a")])).await;
    let answer = answer.expect("a decision");
    assert_eq!(answer.status.as_ref().map(|status| status.code), Some(0));
    let Some(HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove })) = answer.http_response else {
        panic!("{answer:?}")
    };
    let set: HashMap<_, _> = headers
        .into_iter()
        .map(|option| {
            assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = option.header.expect("a header");
            (header.key, header.value)
        })
        .collect();
    let expected = [
        ("x-claviger-key", key.name.as_str()),
        ("x-claviger-service-user", &door.owner),
        ("x-claviger-tenant", "tenants/acme"),
        ("x-claviger-scopes", "reports:read mcp:*"),
        ("x-claviger-role", "member"),
    ];
    let expected: HashMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(set, expected);
    for removed in ["x-api-key", "x-claviger-x", "x-claviger-on-behalf-of", "x-claviger-superseded-by"] {
        assert!(headers_to_remove.iter().any(|name| name == removed), "{removed}: {headers_to_remove:?}");
    }
    // Envoy sets before it removes.
    assert!(!headers_to_remove.iter().any(|name| set.contains_key(name)), "{headers_to_remove:?}");
    let told = said(&answer.dynamic_metadata.expect("metadata"));
    assert_eq!((told["verdict"].as_str(), &told["key"], told.len()), ("VALID", &key.name, 6));
    assert!(told["scopes"].contains("reports:read") && told["scopes"].starts_with('['), "{}", told["scopes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_the_connections_and_raw_headers_are_read_one_by_one() {
    let Some(mut door) = Door::open().await else { return };
    let (_, secret) = door.root.create_key(&door.owner, &[]).await;
    let code = |answer: Result<CheckResponse, Status>| answer.expect("a decision").status.expect("a status").code;
    for (headers, expected) in [
        (&[("authorization", format!("Bearer {secret}").into_bytes())][..], Code::Ok),
        (
            &[("x-api-key", secret.clone().into_bytes()), ("x-api-key", secret.clone().into_bytes())],
            Code::Unauthenticated,
        ),
        (&[("x-api-key", b"\xff\xfe".to_vec())], Code::Unauthenticated),
        (&[("x-api-key", format!("{secret}\n").into_bytes())], Code::Unauthenticated),
        (&[], Code::Unauthenticated),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        assert_eq!(code(door.check(&asked(raw_headers(&headers), &[])).await), expected as i32, "{headers:?}");
    }
    let pair = format!("{secret},{secret}");
    assert_eq!(code(door.check(&asked(joined(&[("x-api-key", &pair)]), &[])).await), Code::Unauthenticated as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_denied_and_the_status_names_each_bad_field() {
    let Some(door) = Door::open().await else { return };
    let context = [("required_scopes", "a b:*"), ("tenant", "acme"), ("scopes", "x")];
    let (status, told) = misunderstood(door.check(&asked(joined(&[]), &context)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    let fields = crate::harness::errors::bad_fields(&status);
    assert_eq!(fields.len(), 3, "{fields:?}");
    assert_eq!((&*told["verdict"], &*told["problem"]), ("ROUTE_INVALID", status.message()));
    for empty in [CheckRequest::default(), CheckRequest { attributes: Some(AttributeContext::default()) }] {
        let (status, _) = misunderstood(door.check(&empty).await);
        assert_eq!(crate::harness::errors::bad_fields(&status), ["attributes.request.http"]);
    }
}

/// The status inside a decision that denies with 503, and what Envoy's log gets.
pub fn misunderstood(answer: Result<CheckResponse, Status>) -> (Status, HashMap<String, String>) {
    let CheckResponse { status, dynamic_metadata, http_response } = answer.expect("a decision");
    let Some(HttpResponse::DeniedResponse(denied)) = http_response else { panic!("not denied") };
    assert_eq!(denied.status.map(|status| status.code), Some(503));
    let header = |option: HeaderValueOption| option.header.map(|header| (header.key, header.value));
    let headers: HashMap<_, _> = denied.headers.into_iter().filter_map(header).collect();
    assert_eq!(headers["retry-after"], "1");
    let status = status_in(&status.expect("a status"));
    (status, said(&dynamic_metadata.expect("metadata")))
}

/// The caller's own tenant bounds what it may ask about, whatever the route says.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_a_tenant_knows_that_tenants_keys_only() {
    let Some(mut door) = Door::open().await else { return };
    let (_, secret) = door.root.create_key(&door.owner, &[]).await;
    let other = door.root.create_tenant("other").await;
    let stranger = door.root.create_service_user(&other, "gateway").await;
    let (_, strangers) = door.root.create_key(&stranger, &["claviger:verify"]).await;
    let (_, own) = door.root.create_key(&door.owner, &["claviger:verify"]).await;
    for (caller, context, expected) in [
        (&strangers, &[][..], "UNKNOWN"),
        (&strangers, &[("tenant", "tenants/acme")], "UNKNOWN"),
        (&own, &[("tenant", "tenants/acme")], "VALID"),
        (&own, &[("tenant", "tenants/other")], "UNKNOWN"),
    ] {
        let request = asked(joined(&[("x-api-key", &secret)]), context).encode_to_vec();
        let answer = raw::call_as(&door.root.channel, caller, METHOD, request).await.expect("a decision");
        let told = said(&CheckResponse::decode(&answer[..]).expect("an answer").dynamic_metadata.expect("metadata"));
        assert_eq!(told["verdict"], expected, "{context:?}");
    }
}

/// By the generated client too, as another Envoy's library would.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_credential_is_unauthenticated() {
    let Some(door) = Door::open().await else { return };
    let mut client = AuthorizationClient::new(door.root.channel.clone());
    let status = client.check(asked(joined(&[]), &[])).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CALLER_MISSING"));
}
