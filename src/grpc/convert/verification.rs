//! Verify: questions and answers.

use prost::length_delimiter_len;

use crate::domain::{
    Refusal, Revision, Time, ids::TenantId, key::expires_soon, limits, network, scope::RequiredScope,
    secret::id_text_in,
};
use crate::proto::v1;
use crate::verify::{
    Answer,
    freshness::Demand,
    verdict::{Question, Verdict},
};

use super::{fields::Fields, time};

/// Reads everything of a VerifyRequest but the secret, which is taken as it is. `caller_tenant`: the id of the only tenant
/// that the caller may ask about, if there is one.
pub fn question<'a>(request: &'a v1::VerifyRequest, caller_tenant: Option<&'a str>) -> Result<Question<'a>, Refusal> {
    let mut fields = Fields::default();
    let required_scopes =
        fields.take_all("required_scopes", limits::SCOPES, &request.required_scopes, RequiredScope::parse);
    let client_ip = match request.client_ip.as_str() {
        "" => Some(None),
        text => fields.take("client_ip", network::parse_address(text)).map(Some),
    };
    let tenant = match request.tenant.as_str() {
        "" => Some(None),
        name => fields.take("tenant", TenantId::check_name(name)).map(Some),
    };
    let min_revision = fields.take("min_revision", parse_min_revision(request.min_revision));
    let max_staleness = match &request.max_staleness {
        None => Some(None),
        Some(duration) => fields.take("max_staleness", time::parse_staleness(duration)).map(Some),
    };
    let complete = || {
        Some(Question {
            required_scopes: required_scopes?,
            client_ip: client_ip?,
            tenants: [caller_tenant, tenant?],
            demand: Demand { min_revision: min_revision?, max_staleness: max_staleness? },
        })
    };
    fields.finish(complete())
}

fn parse_min_revision(revision: Revision) -> Result<Revision, String> {
    if revision >= 0 { Ok(revision) } else { Err("must be 0 or more; 0 for any".to_owned()) }
}

/// Writes an answer about the text that was presented. The identity fields stay empty unless the secret matched.
#[must_use]
pub fn write(answer: &Answer, presented: &str) -> v1::VerifyResponse {
    let empty = v1::VerifyResponse {
        verdict: write_verdict(answer.verdict).into(),
        revision: answer.position.revision,
        as_of: Some(time::write(answer.position.as_of)),
        ..v1::VerifyResponse::default()
    };
    let Some(key) = &answer.key else { return empty };
    let owner = key.owner().name();
    let expire_time = key.expire_time();
    v1::VerifyResponse {
        // The text has the id already; making it anew costs as much as the look-up.
        key: owner.key_text(id_text_in(presented)),
        service_user: owner.text(),
        tenant: owner.tenant.name(),
        scopes: key.scopes().map(str::to_owned).collect(),
        expire_time: expire_time.map(time::write),
        expiring_soon: expires_soon(expire_time, answer.now),
        superseded_by: key.superseded_by().map_or_else(String::new, |id| owner.key_text(&id.to_string())),
        ..empty
    }
}

/// Writes an answer as the bytes that prost makes of what [`write`] makes of it, without the texts in between: making them
/// costs as much as the look-up.
pub fn encode(answer: &Answer, presented: &str, bytes: &mut Vec<u8>) {
    number(1, i32::from(write_verdict(answer.verdict)).into(), bytes);
    if let Some(key) = &answer.key {
        let owner = key.owner().name();
        let service_user @ [tenants, tenant, service_users, id] = owner.pieces();
        text(2, &[tenants, tenant, service_users, id, "/keys/", id_text_in(presented)], bytes);
        text(3, &service_user, bytes);
        text(4, &[tenants, tenant], bytes);
        key.scopes().for_each(|scope| text(5, &[scope], bytes));
        let expire_time = key.expire_time();
        if let Some(time) = expire_time {
            timestamp(10, time, bytes);
        }
        number(11, expires_soon(expire_time, answer.now).into(), bytes);
        if let Some(id) = key.superseded_by() {
            text(12, &[&owner.key_text(&id.to_string())], bytes);
        }
    }
    number(13, answer.position.revision, bytes);
    timestamp(14, answer.position.as_of, bytes);
}

/// Writes an answer as one of a BatchVerifyResponse. `scratch` is emptied first.
pub fn encode_result(answer: &Answer, presented: &str, scratch: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    scratch.clear();
    encode(answer, presented, scratch);
    let length = scratch.len();
    key(1, LENGTH_DELIMITED, bytes);
    varint((1 + length_delimiter_len(length) + length) as u64, bytes);
    key(1, LENGTH_DELIMITED, bytes);
    varint(length as u64, bytes);
    bytes.extend_from_slice(scratch);
}

/// Wire types (protobuf encoding, "Message Structure").
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// A number; zero is what isn't written.
fn number(field: u32, value: i64, bytes: &mut Vec<u8>) {
    if value != 0 {
        key(field, VARINT, bytes);
        varint(value.cast_unsigned(), bytes);
    }
}

fn text(field: u32, pieces: &[&str], bytes: &mut Vec<u8>) {
    key(field, LENGTH_DELIMITED, bytes);
    varint(pieces.iter().map(|piece| piece.len() as u64).sum(), bytes);
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece.as_bytes()));
}

fn timestamp(field: u32, instant: Time, bytes: &mut Vec<u8>) {
    let timestamp = time::write(instant);
    key(field, LENGTH_DELIMITED, bytes);
    // It is shorter than 128 bytes, so its length is one byte.
    let start = bytes.len() + 1;
    bytes.push(0);
    number(1, timestamp.seconds, bytes);
    number(2, timestamp.nanos.into(), bytes);
    bytes[start - 1] = u8::try_from(bytes.len() - start).unwrap_or_default();
}

fn key(field: u32, wire_type: u32, bytes: &mut Vec<u8>) {
    varint((field << 3 | wire_type).into(), bytes);
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn write_verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Valid => v1::Verdict::Valid,
        Verdict::Malformed => v1::Verdict::Malformed,
        Verdict::Unknown => v1::Verdict::Unknown,
        Verdict::Revoked => v1::Verdict::Revoked,
        Verdict::Expired => v1::Verdict::Expired,
        Verdict::OwnerDisabled => v1::Verdict::OwnerDisabled,
        Verdict::Disabled => v1::Verdict::Disabled,
        Verdict::AddressNotAllowed => v1::Verdict::AddressNotAllowed,
        Verdict::ScopeMissing => v1::Verdict::ScopeMissing,
    }
}
