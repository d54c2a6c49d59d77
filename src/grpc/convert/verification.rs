//! Verify: questions and answers.

use crate::domain::{
    Refusal,
    caller::Caller,
    ids::TenantId,
    key::expires_soon,
    limits, network,
    scope::{RequiredScope, Scope},
};
use crate::proto::v1;
use crate::verify::{
    Answer,
    verdict::{Question, Verdict},
};

use super::{fields::Fields, time};

/// Reads everything of a VerifyRequest but the secret, which is taken as it is.
pub fn question(request: &v1::VerifyRequest, caller: &Caller) -> Result<Question, Refusal> {
    let mut fields = Fields::default();
    let required_scopes =
        fields.take_all("required_scopes", limits::SCOPES, &request.required_scopes, RequiredScope::parse);
    let client_ip = match request.client_ip.as_str() {
        "" => Some(None),
        text => fields.take("client_ip", network::parse_address(text)).map(Some),
    };
    let tenant = match request.tenant.as_str() {
        "" => Some(None),
        name => fields.take("tenant", TenantId::parse_name(name)).map(Some),
    };
    let complete = || {
        Some(Question {
            required_scopes: required_scopes?,
            client_ip: client_ip?,
            tenants: [caller.verifiable_tenant().cloned(), tenant?],
        })
    };
    fields.finish(complete())
}

/// Writes an answer. The identity fields stay empty unless the secret matched.
#[must_use]
pub fn write(answer: &Answer) -> v1::VerifyResponse {
    let empty = v1::VerifyResponse {
        verdict: write_verdict(answer.verdict).into(),
        revision: answer.position.revision,
        as_of: Some(time::write(answer.position.as_of)),
        ..v1::VerifyResponse::default()
    };
    let Some(known) = &answer.key else { return empty };
    let key = &known.stored.key;
    v1::VerifyResponse {
        key: key.name.to_string(),
        service_user: key.name.owner.to_string(),
        tenant: key.name.owner.tenant.name(),
        scopes: key.scopes.iter().map(Scope::to_string).collect(),
        expire_time: key.expire_time.map(time::write),
        expiring_soon: expires_soon(key.expire_time, answer.now),
        superseded_by: key.superseded_by.map_or_else(String::new, |id| key.name.sibling(id).to_string()),
        ..empty
    }
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
