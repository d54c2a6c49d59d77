//! Envoy's Check: what is asked.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::domain::{
    Refusal,
    credential::{CredentialHeaders, Held, IDENTITY_PREFIX, Presented},
    forwarded::client_address,
    ids::TenantId,
    limits, network,
    scope::RequiredScope,
};
use crate::proto::envoy::{
    config::core::v3::{HeaderValue, address::Address},
    service::auth::v3::{AttributeContext, CheckRequest, attribute_context::HttpRequest},
};
use crate::verify::{freshness::Demand, verdict::Question};

use super::fields::Fields;

const FORWARDED_FOR: &str = "x-forwarded-for";
const REQUIRED_SCOPES: &str = "required_scopes";
const TENANT: &str = "tenant";

/// How requests that Envoy asks about are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where their keys are.
    pub credentials: CredentialHeaders,
    /// How many proxies before Envoy are believed about whom they were called by.
    pub trusted_hops: u8,
}

/// A request that Envoy asks about.
pub struct Asked<'a> {
    /// What it presents.
    pub presented: Presented<'a>,
    /// What its key must be good for.
    pub question: Question<'a>,
    /// Headers that nobody behind Envoy may see: those that may hold a secret, and what only Claviger says. A name may come
    /// twice.
    pub headers_to_remove: Vec<Cow<'a, str>>,
}

impl Reading {
    /// Reads a request. `caller_tenant`: the id of the only tenant that the caller may ask about, if there is one.
    pub fn read<'a>(&'a self, request: &'a CheckRequest, caller_tenant: Option<&'a str>) -> Result<Asked<'a>, Refusal> {
        let mut fields = Fields::default();
        let attributes = request.attributes.as_ref();
        let http = attributes.and_then(|known| known.request.as_ref()?.http.as_ref());
        let http = fields.take("attributes.request.http", http.ok_or_else(|| "is needed".to_owned()));
        let context = attributes.and_then(|known| read_context(&mut fields, known));
        let (http, (required_scopes, tenant)) = fields.finish(http.zip(context))?;
        let held = |name: &str| held(http, name);
        let forwarded = joined(http, FORWARDED_FOR);
        let client_ip = client_address(attributes.and_then(peer), forwarded.as_deref(), self.trusted_hops);
        let secrets = self.credentials.all_in(held).map(Cow::Borrowed);
        Ok(Asked {
            presented: self.credentials.find(held),
            question: Question {
                required_scopes,
                client_ip,
                tenants: [caller_tenant, tenant],
                demand: Demand::default(),
            },
            headers_to_remove: secrets.chain(forged(http)).collect(),
        })
    }
}

/// What the route demands. Every name is known, so that a misspelt one doesn't open it.
fn read_context<'a>(
    fields: &mut Fields,
    attributes: &'a AttributeContext,
) -> Option<(Vec<RequiredScope<'a>>, Option<&'a str>)> {
    let (mut scopes, mut tenant) = (Some(Vec::new()), Some(None));
    for (name, value) in &attributes.context_extensions {
        let field = format!("attributes.context_extensions[{name:?}]");
        match name.as_str() {
            REQUIRED_SCOPES => scopes = fields.take(&field, parse_scopes(value)),
            TENANT => tenant = fields.take(&field, TenantId::check_name(value)).map(Some),
            _ => drop(fields.take::<()>(&field, Err(format!("is unknown; write {REQUIRED_SCOPES} or {TENANT}")))),
        }
    }
    scopes.zip(tenant)
}

fn parse_scopes(text: &str) -> Result<Vec<RequiredScope<'_>>, String> {
    let scopes: Vec<_> = text.split([' ', ',']).filter(|scope| !scope.is_empty()).collect();
    if !(1..=limits::SCOPES).contains(&scopes.len()) {
        return Err(format!("has {} scopes; write 1 to {}, or leave it out", scopes.len(), limits::SCOPES));
    }
    scopes.into_iter().map(RequiredScope::parse).collect()
}

fn peer(attributes: &AttributeContext) -> Option<IpAddr> {
    let Address::SocketAddress(socket) = attributes.source.as_ref()?.address.as_ref()?.address.as_ref()?;
    network::parse_address(&socket.address).ok()
}

/// What the request holds under a name in lower case.
fn held<'a>(http: &'a HttpRequest, name: &str) -> Held<'a> {
    match &http.header_map {
        Some(map) => {
            let mut values = map.headers.iter().filter(|header| header.key == name);
            match (values.next(), values.next()) {
                (None, _) => Held::Nothing,
                (Some(header), None) => value(header).map_or(Held::Unclear, Held::Once),
                (Some(_), Some(_)) => Held::Unclear,
            }
        }
        None => http.headers.get(name).map_or(Held::Nothing, |value| Held::Once(value)),
    }
}

/// What the request has under a name in lower case, if it has it once.
pub(super) fn once<'a>(http: &'a HttpRequest, name: &str) -> Option<&'a str> {
    match held(http, name) {
        Held::Once(value) => Some(value),
        Held::Nothing | Held::Unclear => None,
    }
}

/// All values under a name, joined by commas. `None`: there is none, or one that isn't text.
fn joined<'a>(http: &'a HttpRequest, name: &str) -> Option<Cow<'a, str>> {
    let Some(map) = &http.header_map else { return http.headers.get(name).map(|value| value.into()) };
    let mut values = map.headers.iter().filter(|header| header.key == name).map(value);
    let first = values.next()??;
    values.try_fold(Cow::Borrowed(first), |before, next| Some(format!("{before},{}", next?).into()))
}

fn value(header: &HeaderValue) -> Option<&str> {
    if header.raw_value.is_empty() { Some(&header.value) } else { std::str::from_utf8(&header.raw_value).ok() }
}

/// What the client says in Claviger's name.
fn forged(http: &HttpRequest) -> impl Iterator<Item = Cow<'_, str>> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| &header.key);
    let names = http.headers.keys().chain(raw).filter(|name| name.starts_with(IDENTITY_PREFIX));
    names.map(|name| Cow::Borrowed(name.as_str()))
}
