//! Requests, ready to send but for their secrets; and whether an answer says what it should.

use prost::Message;

use claviger::domain::secret_text::CHARACTERS;
use claviger::proto::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address};
use claviger::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Peer, Request},
    check_response::HttpResponse,
};
use claviger::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, Verdict, VerifyRequest, VerifyResponse, VerifyStreamRequest,
    VerifyStreamResponse, batch_verify_result::Result as BatchItem, verify_stream_response::Result as StreamItem,
};

use crate::Outcome;
use crate::load::{Load, Method, Secrets, Shape};
use crate::secrets::{Family, Numbers, malformed, secret};

/// Distinct secrets that are asked about at most.
const DISTINCT: u64 = 200_000;
/// Stands for a secret in the template; no other text of a request has this character.
const PLACEHOLDER: &str = "#";
/// Bytes before a gRPC message: not compressed, and its length.
pub const PREFIX: usize = 5;
/// The first field of a message, length-delimited.
const INSIDE: u8 = 0x0a;
/// The first field of a message, a number.
const VERDICT: u8 = 0x08;
/// What a CheckResponse begins with that lets a request pass: a status without a code, and the third field.
const PASSES: [u8; 3] = [0x0a, 0x00, 0x1a];

/// Makes requests and judges answers.
pub struct Messages {
    method: Method,
    template: Vec<u8>,
    places: Vec<usize>,
    secrets: Vec<u8>,
    numbers: Numbers,
    verdict: Verdict,
}

impl Messages {
    /// Those of this shape that `load` asks for.
    pub fn new(load: &Load, shape: Shape) -> Outcome<Self> {
        let template = template(shape.method);
        let placeholder = PLACEHOLDER.as_bytes().repeat(CHARACTERS);
        let is_place = |start: &usize| template[*start..].starts_with(&placeholder);
        let places = (0..template.len()).filter(is_place).collect();
        let (secrets, verdict) = texts(load, shape.secrets)?;
        let numbers = Numbers::from_start(u64::from(load.server) ^ 0xc1a5);
        Ok(Self { method: shape.method, template, places, secrets, numbers, verdict })
    }

    /// Bytes of a request with its gRPC prefix.
    pub fn request_bytes(&self) -> usize {
        self.template.len()
    }

    /// Writes the next request, its secrets drawn anew.
    pub fn put_next(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(&self.template);
        let distinct = (self.secrets.len() / CHARACTERS) as u64;
        for place in &self.places {
            let at = self.numbers.below(distinct) as usize * CHARACTERS;
            let place = start + place;
            out[place..place + CHARACTERS].copy_from_slice(&self.secrets[at..at + CHARACTERS]);
        }
    }

    /// Whether a whole answer, prefix included, has the right length and the right verdicts: read from its first bytes.
    pub fn is_right(&self, answer: &[u8]) -> bool {
        let Some((prefix, message)) = answer.split_first_chunk::<PREFIX>() else { return false };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if prefix[0] != 0 || message.len() != length {
            return false;
        }
        match self.method {
            Method::Verify => self.is_right_response(message),
            Method::VerifyStream => inside(message).is_some_and(|(response, _)| self.is_right_response(response)),
            Method::BatchVerify => self.is_right_batch(message),
            Method::Check => message.starts_with(&PASSES),
        }
    }

    /// The same by decoding all of it; for the first answers, as the short way trusts the order of the fields.
    pub fn is_right_in_full(&self, answer: &[u8]) -> bool {
        let message = answer.get(PREFIX..).unwrap_or_default();
        let is_right = |response: &VerifyResponse| {
            let named = !response.key.is_empty() && !response.scopes.is_empty();
            response.verdict() == self.verdict && named == (self.verdict == Verdict::Valid)
        };
        match self.method {
            Method::Verify => VerifyResponse::decode(message).is_ok_and(|response| is_right(&response)),
            Method::VerifyStream => VerifyStreamResponse::decode(message).is_ok_and(|response| match response.result {
                Some(StreamItem::Response(response)) => is_right(&response),
                Some(StreamItem::Error(_)) | None => false,
            }),
            Method::Check => CheckResponse::decode(message).is_ok_and(|response| match response.http_response {
                Some(HttpResponse::OkResponse(passing)) => {
                    passing.headers.len() >= 6 && response.dynamic_metadata.is_some_and(|said| said.fields.len() >= 7)
                }
                Some(HttpResponse::DeniedResponse(_)) | None => false,
            }),
            Method::BatchVerify => BatchVerifyResponse::decode(message).is_ok_and(|response| {
                response.results.iter().all(|result| match &result.result {
                    Some(BatchItem::Response(response)) => is_right(response),
                    Some(BatchItem::Error(_)) | None => false,
                })
            }),
        }
    }

    fn is_right_response(&self, response: &[u8]) -> bool {
        response.first() == Some(&VERDICT) && response.get(1).map(|&byte| i32::from(byte)) == Some(self.verdict.into())
    }

    fn is_right_batch(&self, mut message: &[u8]) -> bool {
        for _ in 0..self.method.questions() {
            let Some((result, rest)) = inside(message) else { return false };
            if !inside(result).is_some_and(|(response, _)| self.is_right_response(response)) {
                return false;
            }
            message = rest;
        }
        message.is_empty()
    }
}

/// The content of the length-delimited first field that `message` begins with, and what follows it.
fn inside(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = message.strip_prefix(&[INSIDE])?;
    let length = prost::encoding::decode_varint(&mut rest).ok()?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn template(method: Method) -> Vec<u8> {
    let question = || VerifyRequest {
        secret: PLACEHOLDER.repeat(CHARACTERS),
        required_scopes: vec!["invoices:read".to_owned()],
        client_ip: "203.0.113.7".to_owned(),
        ..VerifyRequest::default()
    };
    let message = match method {
        Method::Verify => question().encode_to_vec(),
        Method::VerifyStream => VerifyStreamRequest { request: Some(question()) }.encode_to_vec(),
        Method::Check => check().encode_to_vec(),
        Method::BatchVerify => {
            BatchVerifyRequest { requests: (0..method.questions()).map(|_| question()).collect() }.encode_to_vec()
        }
    };
    with_prefix(&message)
}

/// As Envoy asks with the configuration of `examples/envoy`.
fn check() -> CheckRequest {
    let header = |(key, value): (&str, String)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.into_bytes(),
        ..HeaderValue::default()
    };
    let headers = [
        (":authority", "api.example.com".to_owned()),
        (":path", "/reports/2026/11?format=csv".to_owned()),
        (":method", "GET".to_owned()),
        ("x-forwarded-for", "203.0.113.7".to_owned()),
        ("x-api-key", PLACEHOLDER.repeat(CHARACTERS)),
    ];
    let headers = headers.map(header).into();
    let http = HttpRequest { header_map: Some(HeaderMap { headers }), ..HttpRequest::default() };
    let socket = SocketAddress { address: "203.0.113.7".to_owned() };
    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address: Some(address) }),
            request: Some(Request { http: Some(http) }),
            context_extensions: [("required_scopes".to_owned(), "invoices:read".to_owned())].into(),
        }),
    }
}

/// A message as gRPC sends it.
pub fn with_prefix(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed
}

/// The secrets, one behind the other, and the verdict about them.
fn texts(load: &Load, secrets: Secrets) -> Outcome<(Vec<u8>, Verdict)> {
    let mut texts = Vec::new();
    let distinct = DISTINCT.min(load.keys);
    let verdict = match secrets {
        Secrets::Random => {
            // Spread over all keys.
            for number in 0..distinct {
                texts.extend(secret(Family::Seeded, number * (load.keys / distinct))?.reveal().bytes());
            }
            Verdict::Valid
        }
        Secrets::Hot => {
            texts.extend(secret(Family::Seeded, load.keys / 2)?.reveal().bytes());
            Verdict::Valid
        }
        Secrets::Unknown => {
            for number in 0..DISTINCT {
                texts.extend(secret(Family::Unknown, number)?.reveal().bytes());
            }
            Verdict::Unknown
        }
        Secrets::Malformed => {
            for number in 0..distinct {
                texts.extend(malformed(number)?.bytes());
            }
            Verdict::Malformed
        }
    };
    Ok((texts, verdict))
}
