//! Verify: questions and answers.

use prost::encoding;

use crate::domain::{
    Refusal, Revision, ids::TenantId, key::expires_soon, limits, network, scope::RequiredScope, secret::id_text_in,
};
use crate::proto::v1;
use crate::verify::{
    Answer,
    freshness::Demand,
    verdict::{Question, Verdict},
};

use super::{
    fields::Fields,
    time,
    wire::{delimited, number, opened, text},
};

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

/// Writes a VerifyResponse about the text that was presented, byte for byte as prost would: making the texts of prost's
/// message costs as much as the look-up. The identity fields stay empty unless the secret matched.
pub fn encode(answer: &Answer, presented: &str, bytes: &mut Vec<u8>) {
    number(1, i32::from(write_verdict(answer.verdict)).into(), bytes);
    if let Some(key) = &answer.key {
        let owner = key.owner().name();
        let service_user @ [tenants, tenant, service_users, id] = owner.pieces();
        text(2, &[tenants, tenant, service_users, id, "/keys/", id_text_in(presented)], bytes);
        text(3, &service_user, bytes);
        text(4, &[tenants, tenant], bytes);
        key.claims().scopes().for_each(|scope| text(5, &[scope], bytes));
        let [role, on_behalf_of, key_group, integration_type] = key.claims().description();
        text(6, &[role], bytes);
        if !on_behalf_of.is_empty() {
            text(7, &[on_behalf_of], bytes);
        }
        if !key_group.is_empty() {
            text(8, &[tenants.as_bytes(), tenant.as_bytes(), b"/keyGroups/", key_group], bytes);
        }
        if !integration_type.is_empty() {
            text(9, &[integration_type], bytes);
        }
        let expire_time = key.expire_time();
        if let Some(time) = expire_time {
            encoding::message::encode(10, &time::write(time), bytes);
        }
        number(11, expires_soon(expire_time, answer.now).into(), bytes);
        if let Some(id) = key.claims().superseded_by() {
            text(12, &[&owner.key_text(&id.to_string())], bytes);
        }
    }
    number(13, answer.position.revision, bytes);
    encoding::message::encode(14, &time::write(answer.position.as_of), bytes);
}

/// Writes a VerifyStreamResponse, which is also the content of a BatchVerifyResult. `scratch` is emptied first.
pub fn encode_result(answer: &Answer, presented: &str, scratch: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    scratch.clear();
    encode(answer, presented, scratch);
    text(1, &[scratch], bytes);
}

/// Writes an answer as one of a BatchVerifyResponse. `scratch` is emptied first.
pub fn encode_batch_result(answer: &Answer, presented: &str, scratch: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    scratch.clear();
    encode(answer, presented, scratch);
    opened(1, delimited(scratch.len()), bytes);
    text(1, &[scratch], bytes);
}

/// The verdict of the contract.
pub fn write_verdict(verdict: Verdict) -> v1::Verdict {
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
