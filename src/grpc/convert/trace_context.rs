//! The trace that a request belongs to which Envoy asks about. Envoy says so in the metadata of its call only when it traces
//! itself; the request's own headers say it in any case.

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use prost::Message;

use crate::proto::envoy::service::auth::v3::CheckRequest;
use crate::telemetry::{self, TRACEPARENT};

use super::check;

const TRACESTATE: &str = "tracestate";

/// What the headers of such a request say.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// Nothing, or nothing clear.
    Nothing,
    /// Whoever traces it doesn't record it.
    NotRecorded,
    /// It is recorded; these headers say as what.
    Recorded(HeaderMap),
}

/// Reads the message of a Check. It is read as a message only when its bytes look like a trace that is recorded: whoever
/// isn't traced pays for a search at most.
#[must_use]
pub fn told(message: &[u8]) -> Told {
    let Some(value) = first_value(message) else { return Told::Nothing };
    if !telemetry::is_recorded(value) {
        return Told::NotRecorded;
    }
    CheckRequest::decode(message).map_or(Told::Nothing, |request| recorded(&request))
}

fn recorded(request: &CheckRequest) -> Told {
    let http = request.attributes.as_ref().and_then(|known| known.request.as_ref()?.http.as_ref());
    let value = |name| http.and_then(|http| HeaderValue::from_str(check::once(http, name)?).ok());
    let Some(parent) = value(TRACEPARENT) else { return Told::Nothing };
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(TRACEPARENT), parent);
    if let Some(state) = value(TRACESTATE) {
        headers.insert(HeaderName::from_static(TRACESTATE), state);
    }
    Told::Recorded(headers)
}

/// What stands behind the name where it comes first: in Protocol Buffers a text follows its field's key and its length, which
/// is a single byte here.
fn first_value(message: &[u8]) -> Option<&[u8]> {
    let name = memmem::find(message, TRACEPARENT.as_bytes())?;
    let [_field, length, rest @ ..] = message.get(name + TRACEPARENT.len()..)? else { return None };
    rest.get(..usize::from(*length))
}

#[cfg(test)]
mod tests {
    use crate::proto::envoy::{
        config::core::v3::{HeaderMap as RawHeaders, HeaderValue as RawHeader},
        service::auth::v3::{AttributeContext, attribute_context},
    };

    use super::*;

    const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn message(headers: &[(&str, &str)], raw: Option<&[(&str, &str)]>) -> Vec<u8> {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let raw = raw.map(|raw| RawHeaders {
            headers: raw
                .iter()
                .map(text)
                .map(|(key, value)| RawHeader { key, raw_value: value.into_bytes(), ..Default::default() })
                .collect(),
        });
        let http = attribute_context::HttpRequest { headers: headers.iter().map(text).collect(), header_map: raw };
        let request = attribute_context::Request { http: Some(http) };
        let attributes = AttributeContext { request: Some(request), ..Default::default() };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    }

    #[test]
    fn both_ways_in_which_envoy_writes_headers_are_understood() {
        let both = [("x", "y"), (TRACEPARENT, RECORDED), (TRACESTATE, "a=b")];
        for message in [message(&both, None), message(&[], Some(&both))] {
            let Told::Recorded(headers) = told(&message) else { panic!("it is recorded") };
            assert_eq!(headers[TRACEPARENT], RECORDED);
            assert_eq!(headers[TRACESTATE], "a=b");
        }
        let not = [(TRACEPARENT, NOT_RECORDED)];
        assert_eq!(told(&message(&not, None)), Told::NotRecorded);
        assert_eq!(told(&message(&[], Some(&not))), Told::NotRecorded);
    }

    #[test]
    fn what_only_looks_like_it_says_nothing() {
        let twice = [(TRACEPARENT, RECORDED), (TRACEPARENT, RECORDED)];
        for message in [
            message(&[("x-api-key", "secret")], None),
            message(&[("x", &format!("traceparent  {RECORDED}"))], None),
            message(&[], Some(&twice)),
            b"traceparent".to_vec(),
            format!("traceparent\x12\x37{RECORDED}").into_bytes(),
            Vec::new(),
        ] {
            assert!(!matches!(told(&message), Told::Recorded(_)), "{message:?}");
        }
    }
}
