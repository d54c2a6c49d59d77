//! Policies of tenants.

use crate::domain::{
    attributes::{IntegrationType, Role},
    limits,
    policy::TenantPolicy,
};
use crate::proto::v1;

use super::{fields::Fields, time};

/// Reads a policy; none is one without rules.
pub fn read(fields: &mut Fields, policy: Option<&v1::TenantPolicy>) -> Option<TenantPolicy> {
    let absent = v1::TenantPolicy::default();
    let policy = policy.unwrap_or(&absent);
    let longest = policy.max_lifetime.as_ref().map(time::parse_ttl).transpose();
    let longest = fields.take("tenant.policy.max_lifetime", longest);
    let most = limits::POLICY_LABELS;
    let roles = fields.take_all("tenant.policy.allowed_roles", most, &policy.allowed_roles, Role::parse);
    let kinds = &policy.integration_types;
    let kinds = fields.take_all("tenant.policy.integration_types", most, kinds, IntegrationType::parse);
    Some(TenantPolicy {
        require_expiry: policy.require_expiry,
        max_lifetime: longest?,
        allowed_roles: roles?,
        integration_types: kinds?,
        require_networks: policy.require_networks,
        allow_retrievable: policy.allow_retrievable,
    })
}

/// Writes a policy; none is one without rules.
#[must_use]
pub fn write(policy: &TenantPolicy) -> Option<v1::TenantPolicy> {
    (*policy != TenantPolicy::default()).then(|| v1::TenantPolicy {
        require_expiry: policy.require_expiry,
        max_lifetime: policy.max_lifetime.map(time::write_span),
        allowed_roles: policy.allowed_roles.iter().map(|role| role.as_str().to_owned()).collect(),
        integration_types: policy.integration_types.iter().map(|kind| kind.as_str().to_owned()).collect(),
        require_networks: policy.require_networks,
        allow_retrievable: policy.allow_retrievable,
    })
}
