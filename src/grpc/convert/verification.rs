//! Verify: questions and answers.

use crate::domain::{
    Refusal, Revision, ids::TenantId, key::expires_soon, limits, network, scope::RequiredScope, secret::id_text_in,
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
