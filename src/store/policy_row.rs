//! A tenant's policy as the JSON text of its column, both ways. What a rule lacks in the text it lacks in the policy, so that
//! rows of the version before read as policies without rules. A rule that this version doesn't know makes the row unreadable
//! to whoever would judge a key by it; Verify never asks.

use serde::{Deserialize, Serialize};

use crate::domain::{
    Span,
    attributes::{IntegrationType, Role},
    policy::TenantPolicy,
};

use super::{
    StoreError,
    row::{column, json, microseconds},
};

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Text {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    require_expiry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lifetime_microseconds: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    integration_types: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    require_networks: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    allow_retrievable: bool,
}

/// Writes a policy.
pub(super) fn write(policy: &TenantPolicy) -> Result<String, StoreError> {
    json(&Text {
        require_expiry: policy.require_expiry,
        max_lifetime_microseconds: policy.max_lifetime.map(microseconds).transpose()?,
        allowed_roles: policy.allowed_roles.iter().map(|role| role.as_str().to_owned()).collect(),
        integration_types: policy.integration_types.iter().map(|kind| kind.as_str().to_owned()).collect(),
        require_networks: policy.require_networks,
        allow_retrievable: policy.allow_retrievable,
    })
}

/// Reads what [`write`] wrote.
pub(super) fn read(text: &str) -> Result<TenantPolicy, String> {
    let text: Text = column("policy", serde_json::from_str(text).map_err(|error| error.to_string()))?;
    let roles = text.allowed_roles.iter().map(|role| Role::parse(role)).collect();
    let kinds = text.integration_types.iter().map(|kind| IntegrationType::parse(kind)).collect();
    Ok(TenantPolicy {
        require_expiry: text.require_expiry,
        max_lifetime: text.max_lifetime_microseconds.map(Span::microseconds),
        allowed_roles: column("policy", roles)?,
        integration_types: column("policy", kinds)?,
        require_networks: text.require_networks,
        allow_retrievable: text.allow_retrievable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_comes_back_and_no_policy_is_an_empty_one() {
        let policy = TenantPolicy {
            require_expiry: true,
            max_lifetime: Some(Span::days(90)),
            allowed_roles: vec![Role::parse("admin").expect("a role")],
            integration_types: vec![IntegrationType::parse("github").expect("a kind")],
            require_networks: true,
            allow_retrievable: true,
        };
        assert_eq!(read(&write(&policy).expect("written")), Ok(policy));
        assert_eq!(write(&TenantPolicy::default()).expect("written"), "{}");
        assert_eq!(read("{}"), Ok(TenantPolicy::default()));
        assert!(read(r#"{"require_moon_phase":true}"#).is_err());
    }
}
