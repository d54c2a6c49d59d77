//! Who did something, as it is remembered: who made a key, who made a change.

use std::fmt;

use super::ids::{KeyName, ServiceUserName};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The holder of this key.
    Key(KeyName),
    /// Whoever called as this service user by a client certificate, without a key.
    ServiceUser(ServiceUserName),
}

impl Actor {
    /// Reads its full name.
    pub fn parse(name: &str) -> Result<Self, String> {
        match ServiceUserName::parse(name) {
            Ok(service_user) => Ok(Self::ServiceUser(service_user)),
            Err(_) => KeyName::parse(name).map(Self::Key),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::ServiceUser(service_user) => service_user.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::KeyId;

    #[test]
    fn a_full_name_comes_back_and_nothing_else_is_one() {
        let key = ServiceUserName::root().key(KeyId::from_random([5; 16]));
        for actor in [Actor::Key(key), Actor::ServiceUser(ServiceUserName::root())] {
            assert_eq!(Actor::parse(&actor.to_string()), Ok(actor));
        }
        for bad in ["", "tenants/a", "tenants/a/serviceUsers/u/keys/x", "tenants/a/keyGroups/g"] {
            assert!(Actor::parse(bad).is_err(), "{bad}");
        }
    }
}
