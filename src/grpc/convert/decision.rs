//! Envoy's Check: what is answered. That a request may pass is written byte for byte as prost would; the rest is seldom.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use chrono::SecondsFormat;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use tonic::Code;
use tonic_types::pb as rpc;

use crate::domain::{key::expires_soon, scope::RequiredScope};
use crate::proto::envoy::{
    HttpStatus, StatusCode,
    config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
    service::auth::v3::{CheckResponse, DeniedHttpResponse, check_response::HttpResponse},
};
use crate::verify::{Answer, NoVerdict, verdict::Verdict};

use super::verification::write_verdict;
use super::wire::{delimited, number, opened, text};

/// Longer than most decisions, so that most are written without moving.
pub const DECISION_BYTES: usize = 1_536;

/// Something that is said of a bearer.
struct Name {
    header: &'static str,
    metadata: &'static str,
}

const KEY: Name = Name { header: "x-claviger-key", metadata: "key" };
const SERVICE_USER: Name = Name { header: "x-claviger-service-user", metadata: "service_user" };
const TENANT: Name = Name { header: "x-claviger-tenant", metadata: "tenant" };
const SCOPES: Name = Name { header: "x-claviger-scopes", metadata: "scopes" };
const ROLE: Name = Name { header: "x-claviger-role", metadata: "role" };
const ON_BEHALF_OF: Name = Name { header: "x-claviger-on-behalf-of", metadata: "on_behalf_of" };
const KEY_GROUP: Name = Name { header: "x-claviger-key-group", metadata: "key_group" };
const INTEGRATION_TYPE: Name = Name { header: "x-claviger-integration-type", metadata: "integration_type" };
const EXPIRE_TIME: Name = Name { header: "x-claviger-expire-time", metadata: "expire_time" };
const EXPIRING_SOON: Name = Name { header: "x-claviger-expiring-soon", metadata: "expiring_soon" };
const SUPERSEDED_BY: Name = Name { header: "x-claviger-superseded-by", metadata: "superseded_by" };
const NAMES: [&Name; 11] = [
    &KEY,
    &SERVICE_USER,
    &TENANT,
    &SCOPES,
    &ROLE,
    &ON_BEHALF_OF,
    &KEY_GROUP,
    &INTEGRATION_TYPE,
    &EXPIRE_TIME,
    &EXPIRING_SOON,
    &SUPERSEDED_BY,
];
const VERDICT: &str = "verdict";

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It presents no key.
    CredentialMissing,
    /// It presents one header twice.
    CredentialUnclear,
    /// Its key isn't good, or not for this.
    Judged(Verdict),
    /// Nobody can tell.
    NoVerdict(NoVerdict),
}

impl Denial {
    /// What log and metadata call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CredentialMissing => "CREDENTIAL_MISSING",
            Self::CredentialUnclear => "CREDENTIAL_UNCLEAR",
            Self::Judged(verdict) => name_of(verdict),
            Self::NoVerdict(NoVerdict::Stale) => "STALE",
            Self::NoVerdict(NoVerdict::StoreUnavailable) => "STORE_UNAVAILABLE",
            Self::NoVerdict(NoVerdict::Unreadable) => "INTERNAL",
        }
    }
}

fn name_of(verdict: Verdict) -> &'static str {
    let name = write_verdict(verdict).as_str_name();
    name.strip_prefix("VERDICT_").unwrap_or(name)
}

/// What is known of a bearer: texts, one after the other. What is empty isn't said.
struct Identity {
    texts: Vec<u8>,
    said: Vec<(&'static Name, Range<usize>)>,
}

impl Identity {
    /// Of a key whose secret matched.
    fn of(answer: &Answer) -> Option<Self> {
        let key = answer.key.as_ref()?;
        let owner = key.owner().name();
        let [tenants, tenant, service_users, id] = owner.pieces();
        let [role, on_behalf_of, key_group, integration_type] = key.claims().description();
        let mut own = Self { texts: Vec::with_capacity(512), said: Vec::with_capacity(NAMES.len()) };
        own.say(&KEY, &[tenants, tenant, service_users, id, "/keys/", &key.id().to_string()]);
        own.say(&SERVICE_USER, &[tenants, tenant, service_users, id]);
        own.say(&TENANT, &[tenants, tenant]);
        own.say_scopes(key.claims().scopes());
        own.say(&ROLE, &[role]);
        own.say(&ON_BEHALF_OF, &[on_behalf_of]);
        if !key_group.is_empty() {
            own.say(&KEY_GROUP, &[tenants.as_bytes(), tenant.as_bytes(), b"/keyGroups/", key_group]);
        }
        own.say(&INTEGRATION_TYPE, &[integration_type]);
        if let Some(time) = key.expire_time() {
            own.say(&EXPIRE_TIME, &[time.to_rfc3339_opts(SecondsFormat::AutoSi, true)]);
        }
        if expires_soon(key.expire_time(), answer.now) {
            own.say(&EXPIRING_SOON, &["true"]);
        }
        if let Some(successor) = key.claims().superseded_by() {
            own.say(&SUPERSEDED_BY, &[owner.key_text(&successor.to_string())]);
        }
        Some(own)
    }

    fn say<T: AsRef<[u8]>>(&mut self, name: &'static Name, pieces: &[T]) {
        let start = self.texts.len();
        pieces.iter().for_each(|piece| self.texts.extend_from_slice(piece.as_ref()));
        self.close(name, start);
    }

    fn say_scopes<'a>(&mut self, scopes: impl Iterator<Item = &'a [u8]>) {
        let start = self.texts.len();
        for scope in scopes {
            if self.texts.len() > start {
                self.texts.push(b' ');
            }
            self.texts.extend_from_slice(scope);
        }
        self.close(&SCOPES, start);
    }

    fn close(&mut self, name: &'static Name, start: usize) {
        if self.texts.len() > start {
            self.said.push((name, start..self.texts.len()));
        }
    }

    fn all(&self) -> impl Iterator<Item = (&'static Name, &[u8])> {
        self.said.iter().map(|(name, range)| (*name, self.texts.get(range.clone()).unwrap_or_default()))
    }
}

/// Writes that a request may pass whose key is VALID. Of the headers to remove, those that are set here are overwritten
/// instead.
pub fn encode_allowed(answer: &Answer, headers_to_remove: &[Cow<'_, str>], bytes: &mut Vec<u8>) {
    let Some(identity) = Identity::of(answer) else {
        // A VALID is always about a key.
        return encode_denied(Denial::NoVerdict(NoVerdict::Unreadable), None, &[], bytes);
    };
    let mut passing = Vec::with_capacity(DECISION_BYTES);
    for (name, value) in identity.all() {
        encode_header(name.header, &as_header(value), &mut passing);
    }
    let unsaid =
        NAMES.iter().map(|name| name.header).filter(|header| !identity.all().any(|(name, _)| name.header == *header));
    let others = headers_to_remove.iter().map(|header| &**header);
    for header in unsaid.chain(others.filter(|header| NAMES.iter().all(|name| name.header != *header))) {
        text(5, &[header], &mut passing);
    }
    text(1, &[""], bytes);
    text(3, &[&passing], bytes);
    passing.clear();
    encode_text_entry(VERDICT, name_of(answer.verdict).as_bytes(), &mut passing);
    for (name, value) in identity.all() {
        if name.metadata == SCOPES.metadata {
            encode_list_entry(name.metadata, value.split(|byte| *byte == b' '), &mut passing);
        } else {
            encode_text_entry(name.metadata, value, &mut passing);
        }
    }
    text(4, &[&passing], bytes);
}

/// A HeaderValueOption, as field 2.
fn encode_header(name: &str, value: &[u8], bytes: &mut Vec<u8>) {
    let header = delimited(name.len()) + delimited(value.len());
    // The action is one byte behind one of its field's number.
    opened(2, delimited(header) + 2, bytes);
    opened(1, header, bytes);
    text(1, &[name], bytes);
    text(2, &[value], bytes);
    number(3, HeaderAppendAction::OverwriteIfExistsOrAdd as i64, bytes);
}

/// An entry of a Struct: a text.
fn encode_text_entry(name: &str, value: &[u8], bytes: &mut Vec<u8>) {
    let length = delimited(value.len());
    opened(1, delimited(name.len()) + delimited(length), bytes);
    text(1, &[name], bytes);
    opened(2, length, bytes);
    text(3, &[value], bytes);
}

/// An entry of a Struct: a list of texts.
fn encode_list_entry<'a>(name: &str, values: impl Iterator<Item = &'a [u8]> + Clone, bytes: &mut Vec<u8>) {
    let list = values.clone().map(|value| delimited(delimited(value.len()))).sum();
    opened(1, delimited(name.len()) + delimited(delimited(list)), bytes);
    text(1, &[name], bytes);
    opened(2, delimited(list), bytes);
    opened(6, list, bytes);
    for value in values {
        opened(1, delimited(value.len()), bytes);
        text(3, &[value], bytes);
    }
}

/// What fits a header as it is: visible ASCII and spaces. Everything else, and `%`, is percent-encoded.
fn as_header(value: &[u8]) -> Cow<'_, [u8]> {
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
    if value.iter().copied().all(fits) {
        return Cow::Borrowed(value);
    }
    let mut encoded = String::with_capacity(value.len() * 3);
    for byte in value.iter().copied() {
        if fits(byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a String can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Cow::Owned(encoded.into_bytes())
}

/// Writes that a request may not pass. `required`: what its key must grant.
pub fn encode_denied(denial: Denial, answer: Option<&Answer>, required: &[RequiredScope<'_>], bytes: &mut Vec<u8>) {
    let refused = match denial {
        Denial::Judged(Verdict::ScopeMissing) => lacks_scope(required),
        // One for whatever is wrong with a key, so that nobody learns more by trying.
        Denial::Judged(_) | Denial::CredentialUnclear => unauthorized(", error=\"invalid_token\""),
        Denial::CredentialMissing => unauthorized(""),
        Denial::NoVerdict(_) => unavailable(),
    };
    let key = answer.and_then(Identity::of);
    let identity = key.iter().flat_map(Identity::all).filter(|(name, _)| name.metadata != SCOPES.metadata);
    let said = identity.map(|(name, value)| (name.metadata, String::from_utf8_lossy(value).into_owned()));
    let status = rpc::Status { code: refused.code.into(), message: denial.as_str().to_owned(), details: vec![] };
    encode_refused(refused, status, said.chain([(VERDICT, denial.as_str().to_owned())]), bytes);
}

/// Writes that a request may not pass because `status` is wrong with the question itself.
pub fn encode_misunderstood(status: rpc::Status, bytes: &mut Vec<u8>) {
    let said = [(VERDICT, "ROUTE_INVALID".to_owned()), ("problem", status.message.clone())];
    encode_refused(unavailable(), status, said, bytes);
}

fn encode_refused<'a>(
    refused: Refused,
    status: rpc::Status,
    said: impl IntoIterator<Item = (&'a str, String)>,
    bytes: &mut Vec<u8>,
) {
    let Refused { http, title, detail, header, .. } = refused;
    let body = serde_json::json!({"type": "about:blank", "title": title, "status": http as i32, "detail": detail});
    let kind = ("content-type", "application/problem+json".to_owned());
    let headers = [kind, ("cache-control", "no-store".to_owned()), header];
    let response = CheckResponse {
        status: Some(status),
        dynamic_metadata: Some(Struct { fields: said.into_iter().map(text_value).collect() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http.into() }),
            headers: headers.map(header_option).into(),
            body: body.to_string(),
        })),
    };
    response.encode_raw(bytes);
}

struct Refused {
    code: Code,
    http: StatusCode,
    title: &'static str,
    detail: &'static str,
    header: (&'static str, String),
}

/// RFC 6750, 3: nothing was said wrongly by who says nothing.
fn unauthorized(error: &str) -> Refused {
    Refused {
        code: Code::Unauthenticated,
        http: StatusCode::Unauthorized,
        title: "Unauthorized",
        detail: "Present a valid API key.",
        header: ("www-authenticate", format!("Bearer realm=\"claviger\"{error}")),
    }
}

fn lacks_scope(required: &[RequiredScope<'_>]) -> Refused {
    let scopes = required.iter().map(RequiredScope::as_str).collect::<Vec<_>>().join(" ");
    let error = format!("Bearer realm=\"claviger\", error=\"insufficient_scope\", scope=\"{scopes}\"");
    Refused {
        code: Code::PermissionDenied,
        http: StatusCode::Forbidden,
        title: "Forbidden",
        detail: "The API key lacks a scope that this needs.",
        header: ("www-authenticate", error),
    }
}

fn unavailable() -> Refused {
    Refused {
        code: Code::Unavailable,
        http: StatusCode::ServiceUnavailable,
        title: "Service Unavailable",
        detail: "The API key can't be checked at the moment; try again.",
        header: ("retry-after", "1".to_owned()),
    }
}

fn header_option((name, value): (&str, String)) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() };
    HeaderValueOption { header: Some(header), append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into() }
}

fn text_value((name, value): (&str, String)) -> (String, Value) {
    (name.to_owned(), Value { kind: Some(Kind::StringValue(value)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_visible_ascii_is_percent_encoded() {
        for (value, header) in [
            ("ada@example.com", "ada@example.com"),
            ("a b", "a b"),
            ("100 %", "100 %25"),
            ("Zoë", "Zo%C3%AB"),
            ("a\r\nb: c", "a%0D%0Ab: c"),
        ] {
            assert_eq!(as_header(value.as_bytes()), header.as_bytes());
        }
    }
}
