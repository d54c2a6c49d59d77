//! Who presented a secret.

use std::time::SystemTime;

use crate::proto::v1::VerifyResponse;

/// Who presented a secret: the key that it belongs to, and what is known of it. Names are full resource names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// `tenants/{tenant}/serviceUsers/{service_user}/keys/{key}`; safe to log.
    pub key: String,
    /// `tenants/{tenant}/serviceUsers/{service_user}`
    pub service_user: String,
    /// `tenants/{tenant}`
    pub tenant: String,
    /// What the key grants, as stored; a pattern such as `invoices:*` may be among them.
    pub scopes: Vec<String>,
    /// The role its bearer has: `member`, unless the key was given another.
    pub role: String,
    /// The person or system that its bearer acts for.
    pub on_behalf_of: Option<String>,
    /// The group the key is in, by its full name.
    pub key_group: Option<String>,
    /// What kind of integration it is for.
    pub integration_type: Option<String>,
    /// When it expires; `None` = never, or beyond what the machine's clock can show.
    pub expire_time: Option<SystemTime>,
    /// It expires within 14 days, as of the answer: tell its holder.
    pub expiring_soon: bool,
    /// The key that replaced it, if any: tell its holder to switch.
    pub superseded_by: Option<String>,
}

impl Identity {
    /// `None` for an answer that names no key: the secret matched none.
    pub(super) fn from_answer(answer: VerifyResponse) -> Option<Self> {
        (!answer.key.is_empty()).then(|| Self {
            key: answer.key,
            service_user: answer.service_user,
            tenant: answer.tenant,
            scopes: answer.scopes,
            role: answer.role,
            on_behalf_of: given(answer.on_behalf_of),
            key_group: given(answer.key_group),
            integration_type: given(answer.integration_type),
            expire_time: answer.expire_time.and_then(|time| SystemTime::try_from(time).ok()),
            expiring_soon: answer.expiring_soon,
            superseded_by: given(answer.superseded_by),
        })
    }
}

/// An empty text says that there is nothing.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
