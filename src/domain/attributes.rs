//! What a key says of its bearer to the services behind Verify. Decided when the key is made, and never changed: who holds a
//! key can't become somebody else.

use super::{limits, text::OnBehalfOf};

/// What a key says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The role its bearer has.
    pub role: Role,
    /// Whom its bearer acts for.
    pub on_behalf_of: OnBehalfOf,
    /// What kind of integration it is for; `None` = none.
    pub integration_type: Option<IntegrationType>,
}

impl Attributes {
    /// The text of its kind of integration; empty = none.
    #[must_use]
    pub fn integration_type_text(&self) -> &str {
        self.integration_type.as_ref().map_or("", IntegrationType::as_str)
    }
}

/// A role: 1 to 64 of `[A-Za-z0-9._-]`, so that it fits a header as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role(String);

/// A kind of integration: 1 to 64 of `[A-Za-z0-9._-]`, so that it fits a header as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationType(String);

impl Role {
    /// The role of every key that wasn't given another.
    pub const MEMBER: &str = "member";

    /// Reads a role.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_label(text).map(|()| Self(text.to_owned()))
    }

    /// Takes a role as it was packed, without another check.
    #[must_use]
    pub fn from_packed(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).into_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Role {
    fn default() -> Self {
        Self(Self::MEMBER.to_owned())
    }
}

impl IntegrationType {
    /// Reads a kind of integration, or none from an empty text.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() { Ok(None) } else { Self::parse(text).map(Some) }
    }

    /// Reads a kind of integration.
    pub fn parse(text: &str) -> Result<Self, String> {
        check_label(text).map(|()| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(text: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=limits::LABEL_CHARACTERS).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(format!("must be 1 to {} letters, digits, dots, underscores or hyphens", limits::LABEL_CHARACTERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_headers() {
        for good in ["member", "Admin.v2", "a", "in_role-3", &"x".repeat(64)] {
            assert_eq!(Role::parse(good).map(|role| role.0), Ok(good.to_owned()));
            assert!(IntegrationType::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a\n", "a:b", &"x".repeat(65)] {
            assert!(Role::parse(bad).is_err() && IntegrationType::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Role::default().as_str(), "member");
    }
}
