//! The id and the name of a key group; see [`ids`](super::ids) for all others.

use std::fmt;
use std::sync::Arc;

use super::ids::{TenantId, resource_id, shape};

/// The id of a key group inside its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyGroupId(Arc<str>);

/// `tenants/{tenant}/keyGroups/{key_group}`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyGroupName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its own id.
    pub id: KeyGroupId,
}

resource_id!(KeyGroupId);

impl KeyGroupName {
    /// Reads `tenants/{tenant}/keyGroups/{key_group}`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "keyGroups", group] => {
                Ok(Self { tenant: TenantId::parse(tenant)?, id: KeyGroupId::parse(group)? })
            }
            _ => Err(shape(name, "tenants/{tenant}/keyGroups/{key_group}")),
        }
    }

    /// Refuses a group of another tenant than `tenant`: whatever else that one has, nothing crosses it.
    pub fn require_of(self, tenant: &TenantId) -> Result<Self, String> {
        if self.tenant == *tenant { Ok(self) } else { Err(format!("must be a group of {}", tenant.name())) }
    }
}

impl fmt::Display for KeyGroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/keyGroups/{}", self.tenant, self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_round_trips_and_knows_its_tenant() {
        let text = "tenants/acme/keyGroups/live";
        let name = KeyGroupName::parse(text).expect("a name");
        assert_eq!(name.to_string(), text);
        for bad in ["", "tenants/acme/keyGroups", "tenants/acme/userGroups/live", "tenants/acme/keyGroups/-"] {
            assert!(KeyGroupName::parse(bad).is_err(), "{bad}");
        }
        assert!(name.clone().require_of(&name.tenant).is_ok());
        assert!(name.require_of(&TenantId::system()).is_err());
        assert!(KeyGroupId::parse_new("system").is_err());
    }
}
