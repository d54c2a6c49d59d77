//! The answer of the empty handlers: constants of the lengths that a real one has, so that the messages weigh the same.

use claviger::proto::v1::{Verdict, VerifyResponse};

/// An answer.
pub fn constant() -> VerifyResponse {
    VerifyResponse {
        verdict: Verdict::Valid.into(),
        key: "tenants/tenant-042/serviceUsers/user-0042042/keys/5ynjmQrviFtW6ISI9hzyrF".to_owned(),
        service_user: "tenants/tenant-042/serviceUsers/user-0042042".to_owned(),
        tenant: "tenants/tenant-042".to_owned(),
        scopes: ["invoices:read", "invoices:write", "user-42042:all"].map(str::to_owned).into(),
        role: "member".to_owned(),
        on_behalf_of: String::new(),
        key_group: String::new(),
        integration_type: String::new(),
        expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 123_456_000 }),
        expiring_soon: false,
        superseded_by: String::new(),
        revision: 1_000_000,
        as_of: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 987_654_000 }),
    }
}
