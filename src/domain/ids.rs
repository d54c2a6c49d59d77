//! Resource ids and names. Parsed once, then trusted; compared byte by byte, never trimmed, never case-folded.

use std::fmt;
use std::sync::Arc;

use uuid::{Uuid, Variant, Version};

use super::{base62, limits, text::quote};

pub use super::key_group_ids::{KeyGroupId, KeyGroupName};
pub use super::people_ids::{NotificationName, SubscriberId, UserGroupId, UserGroupName};

/// The tenant that exists from the first start and whose keys may act on every tenant.
pub const SYSTEM_TENANT: &str = "system";
/// The service user of tenant `system` that owns the root keys.
pub const ROOT_SERVICE_USER: &str = "root";

/// The id of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// The id of a service user inside its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceUserId(Arc<str>);

/// The id of a key: a random UUID (RFC 9562, version 4), written as 22 base62 characters. Safe to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u128);

/// `tenants/{tenant}/serviceUsers/{service_user}`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceUserName {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its own id.
    pub id: ServiceUserId,
}

/// `tenants/{tenant}/serviceUsers/{service_user}/keys/{key}`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName {
    /// The owner.
    pub owner: ServiceUserName,
    /// Its own id.
    pub id: KeyId,
}

/// The parent of a list of keys: one service user, or `-` for all of the tenant (AIP-159).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParent {
    /// The tenant.
    pub tenant: TenantId,
    /// The service user, or all of them.
    pub service_user: Option<ServiceUserId>,
}

pub(super) fn check_id(text: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{} {what}", quote(text)));
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > limits::ID_CHARACTERS {
        return wrong("is longer than 63 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return wrong("must start with a lower-case letter");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return wrong("may contain only lower-case letters, digits and hyphens");
    }
    Ok(())
}

pub(super) fn check_new_id(text: &str) -> Result<(), String> {
    check_id(text)?;
    if text == SYSTEM_TENANT {
        return Err("\"system\" is reserved; choose another id".to_owned());
    }
    Ok(())
}

impl TenantId {
    /// Reads the id of a tenant that may exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_id(text).map(|()| Self(text.into()))
    }

    /// Reads the id for a new tenant: reserved ids are refused.
    pub fn parse_new(text: &str) -> Result<Self, String> {
        check_new_id(text).map(|()| Self(text.into()))
    }

    /// Reads `tenants/{tenant}`.
    pub fn parse_name(name: &str) -> Result<Self, String> {
        Self::check_name(name).map(|id| Self(id.into()))
    }

    /// Reads `tenants/{tenant}` and answers the id, borrowed.
    pub fn check_name(name: &str) -> Result<&str, String> {
        let id = name.strip_prefix("tenants/").filter(|id| !id.contains('/'));
        let id = id.ok_or_else(|| shape(name, "tenants/{tenant}"))?;
        check_id(id).map(|()| id)
    }

    /// The tenant `system`.
    #[must_use]
    pub fn system() -> Self {
        Self(SYSTEM_TENANT.into())
    }

    /// Whether this is the tenant `system`.
    #[must_use]
    pub fn is_system(&self) -> bool {
        &*self.0 == SYSTEM_TENANT
    }

    /// The id alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `tenants/{tenant}`.
    #[must_use]
    pub fn name(&self) -> String {
        ["tenants/", &self.0].concat()
    }
}

/// What the ids of service users and of groups have in common: 1 to 63 characters, checked as every resource's id is.
macro_rules! resource_id {
    ($id:ident) => {
        impl $id {
            /// Reads the id of a resource that may exist.
            pub fn parse(text: &str) -> Result<Self, String> {
                $crate::domain::ids::check_id(text).map(|()| Self(text.into()))
            }

            /// Reads the id for a new resource: reserved ids are refused.
            pub fn parse_new(text: &str) -> Result<Self, String> {
                $crate::domain::ids::check_new_id(text).map(|()| Self(text.into()))
            }

            /// The id alone.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(super) use resource_id;

resource_id!(ServiceUserId);

impl ServiceUserName {
    /// Reads `tenants/{tenant}/serviceUsers/{service_user}`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "serviceUsers", user] => {
                Ok(Self { tenant: TenantId::parse(tenant)?, id: ServiceUserId::parse(user)? })
            }
            _ => Err(shape(name, "tenants/{tenant}/serviceUsers/{service_user}")),
        }
    }

    /// `tenants/system/serviceUsers/root`.
    #[must_use]
    pub fn root() -> Self {
        Self { tenant: TenantId::system(), id: ServiceUserId(ROOT_SERVICE_USER.into()) }
    }

    /// The name of one of its keys.
    #[must_use]
    pub fn key(&self, id: KeyId) -> KeyName {
        KeyName { owner: self.clone(), id }
    }

    /// The full name as text. Faster than `to_string`: every Verify writes some.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_with("", "")
    }

    /// The full name as text of its key with this id.
    #[must_use]
    pub fn key_text(&self, id: &str) -> String {
        self.text_with("/keys/", id)
    }

    /// The full name in pieces, for whoever writes it somewhere.
    #[must_use]
    pub fn pieces(&self) -> [&str; 4] {
        ["tenants/", &self.tenant.0, "/serviceUsers/", &self.id.0]
    }

    fn text_with(&self, collection: &str, id: &str) -> String {
        let [tenants, tenant, service_users, service_user] = self.pieces();
        [tenants, tenant, service_users, service_user, collection, id].concat()
    }
}

impl KeyName {
    /// Reads `tenants/{tenant}/serviceUsers/{service_user}/keys/{key}`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "serviceUsers", user, "keys", key] => Ok(Self {
                owner: ServiceUserName { tenant: TenantId::parse(tenant)?, id: ServiceUserId::parse(user)? },
                id: KeyId::parse(key).ok_or_else(|| format!("{} is not a key id of 22 characters", quote(key)))?,
            }),
            _ => Err(shape(name, "tenants/{tenant}/serviceUsers/{service_user}/keys/{key}")),
        }
    }

    /// The name of a key of the same service user.
    #[must_use]
    pub fn sibling(&self, id: KeyId) -> Self {
        self.owner.key(id)
    }
}

impl KeyParent {
    /// Reads `tenants/{tenant}/serviceUsers/{service_user}`, the last part perhaps `-`.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name.split('/').collect::<Vec<_>>()[..] {
            ["tenants", tenant, "serviceUsers", "-"] => {
                Ok(Self { tenant: TenantId::parse(tenant)?, service_user: None })
            }
            _ => ServiceUserName::parse(name).map(|owner| Self { tenant: owner.tenant, service_user: Some(owner.id) }),
        }
    }
}

impl KeyId {
    /// Makes an id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().as_u128())
    }

    /// The id as bytes, for whoever packs it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that [`to_bytes`](Self::to_bytes) gave away.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Reads 22 base62 characters; `None` unless they spell a version 4 UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text.as_bytes())
    }

    /// As [`parse`](Self::parse), from bytes that nobody has looked at.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let uuid = Uuid::from_u128(base62::decode(text)?);
        let random = uuid.get_version() == Some(Version::Random) && uuid.get_variant() == Variant::RFC4122;
        random.then(|| Self(uuid.as_u128()))
    }

    /// The bytes of the UUID.
    #[must_use]
    pub fn random_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// `cvg_`, the first 8 characters, `…`.
    #[must_use]
    pub fn hint(self) -> String {
        format!("cvg_{:.8}…", self.to_string())
    }
}

pub(super) fn shape(name: &str, wanted: &str) -> String {
    if name.is_empty() {
        format!("must not be empty; write {wanted}")
    } else {
        format!("{} is not of the form {wanted}", quote(name))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServiceUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&base62::encode::<22>(self.0)).unwrap_or_default())
    }
}

impl fmt::Display for ServiceUserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}/serviceUsers/{}", self.tenant, self.id)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}", self.owner, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_exact() {
        for good in ["a", "acme-2", &"a".repeat(63)] {
            assert!(TenantId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a_b", "a ", " a", "ä", "a/b", &"a".repeat(64)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
        assert!(TenantId::parse("system").is_ok());
        assert!(TenantId::parse_new("system").is_err());
    }

    #[test]
    fn key_ids_have_the_version_bits_of_a_random_uuid() {
        let id = KeyId::from_random([0xff; 16]);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(KeyId::parse(&"0".repeat(22)), None);
        assert_eq!(KeyId::parse(&"z".repeat(22)), None);
    }

    #[test]
    fn names_round_trip() {
        let id = KeyId::from_random([7; 16]);
        let name = format!("tenants/acme/serviceUsers/billing/keys/{id}");
        assert_eq!(KeyName::parse(&name).expect("a name").to_string(), name);
        assert!(KeyName::parse(&format!("{name}/")).is_err());
        assert!(KeyParent::parse("tenants/acme/serviceUsers/-").expect("a parent").service_user.is_none());
        assert!(KeyParent::parse("tenants/-/serviceUsers/-").is_err());
    }
}
