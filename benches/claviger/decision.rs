//! What the empty handler of Check decides: a constant as long as a real decision.

use claviger::proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use claviger::proto::envoy::service::auth::v3::{CheckResponse, OkHttpResponse, check_response::HttpResponse};
use prost_types::{ListValue, Struct, Value, value::Kind};

const SCOPES: [&str; 3] = ["invoices:read", "invoices:write", "user-42042:all"];
const SAID: [(&str, &str, &str); 6] = [
    ("x-claviger-key", "key", "tenants/tenant-042/serviceUsers/user-0042042/keys/5ynjmQrviFtW6ISI9hzyrF"),
    ("x-claviger-service-user", "service_user", "tenants/tenant-042/serviceUsers/user-0042042"),
    ("x-claviger-tenant", "tenant", "tenants/tenant-042"),
    ("x-claviger-scopes", "scopes", "invoices:read invoices:write user-42042:all"),
    ("x-claviger-role", "role", "member"),
    ("x-claviger-expire-time", "expire_time", "2027-01-15T08:00:00.123456Z"),
];
const REMOVED: [&str; 6] = [
    "x-claviger-on-behalf-of",
    "x-claviger-key-group",
    "x-claviger-integration-type",
    "x-claviger-expiring-soon",
    "x-claviger-superseded-by",
    "x-api-key",
];

/// A decision of Check.
pub fn decision() -> CheckResponse {
    let header = |(name, _, value): (&str, &str, &str)| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let entry = |(_, name, value): (&str, &str, &str)| match name {
        "scopes" => {
            let list = ListValue { values: SCOPES.map(text).into() };
            (name.to_owned(), Value { kind: Some(Kind::ListValue(list)) })
        }
        _ => (name.to_owned(), text(value)),
    };
    let passing =
        OkHttpResponse { headers: SAID.map(header).into(), headers_to_remove: REMOVED.map(str::to_owned).into() };
    CheckResponse {
        status: Some(tonic_types::pb::Status::default()),
        http_response: Some(HttpResponse::OkResponse(passing)),
        dynamic_metadata: Some(Struct {
            fields: SAID.into_iter().map(entry).chain([("verdict".to_owned(), text("VALID"))]).collect(),
        }),
    }
}
