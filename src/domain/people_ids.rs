//! Ids and names of user groups, their people and what these are told; see [`ids`](super::ids) for all others.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    ids::{KeyId, TenantId, resource_id, shape},
    text::quote,
};

/// The id of a user group inside its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserGroupId(Arc<str>);

/// Stands for a tenant's subscriber where the address must not: in links and Message-IDs. Random, 22 base62 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriberId(Arc<str>);

/// `tenants/{tenant}/userGroups/{user_group}`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserGroupName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its own id.
    pub id: UserGroupId,
}

/// `tenants/{tenant}/notifications/{notification}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its own id.
    pub id: Uuid,
}

resource_id!(UserGroupId);

impl UserGroupName {
    /// Reads `tenants/{tenant}/userGroups/{user_group}`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "userGroups", group] => {
                Ok(Self { tenant: TenantId::parse(tenant)?, id: UserGroupId::parse(group)? })
            }
            _ => Err(shape(name, "tenants/{tenant}/userGroups/{user_group}")),
        }
    }
}

impl NotificationName {
    /// Reads `tenants/{tenant}/notifications/{notification}`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "notifications", id] => {
                let tenant = TenantId::parse(tenant)?;
                // Exactly as it is written in a list: the parser would take other spellings too.
                let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id);
                let id = uuid.ok_or_else(|| format!("{} is not the id of a notification", quote(id)))?;
                Ok(Self { tenant, id })
            }
            _ => Err(shape(name, "tenants/{tenant}/notifications/{notification}")),
        }
    }
}

impl SubscriberId {
    /// Makes an id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(KeyId::from_random(bytes).to_string().into())
    }

    /// Reads an id; `None` unless it could be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        KeyId::parse(text).map(|_| Self(text.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserGroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/userGroups/{}", self.tenant, self.id.as_str())
    }
}

impl fmt::Display for NotificationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/notifications/{}", self.tenant, self.id)
    }
}
