//! Rights over Claviger itself: scopes whose first segment is `claviger`.

use super::scope::Scope;

/// One right. The table of what implies what is the design's, section 3; beyond it, `tenant.admin` implies `keys.self`,
/// because it may do all of its own tenant and must be able to hand that right out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Everything, every tenant. Only keys of tenant `system` can carry it.
    Admin,
    /// All of its own tenant, except creating and deleting tenants, their policy, and Reveal.
    TenantAdmin,
    /// Change keys and service users of its tenant.
    KeysWrite,
    /// Read them.
    KeysRead,
    /// List, create, edit, rotate and revoke keys of its own service user, never wider than the calling key.
    KeysSelf,
    /// Reveal retrievable keys.
    KeysReveal,
    /// Verify, within its tenant, or everywhere for keys of tenant `system`.
    Verify,
    /// List audit events.
    AuditRead,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::TenantAdmin,
        Self::KeysWrite,
        Self::KeysRead,
        Self::KeysSelf,
        Self::KeysReveal,
        Self::Verify,
        Self::AuditRead,
    ];

    /// The scope that is this right.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Admin => "claviger:admin",
            Self::TenantAdmin => "claviger:tenant.admin",
            Self::KeysWrite => "claviger:keys.write",
            Self::KeysRead => "claviger:keys.read",
            Self::KeysSelf => "claviger:keys.self",
            Self::KeysReveal => "claviger:keys.reveal",
            Self::Verify => "claviger:verify",
            Self::AuditRead => "claviger:audit.read",
        }
    }

    /// The right of this scope.
    #[must_use]
    pub fn parse(scope: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.scope() == scope)
    }

    /// Every scope that is a right, for a person to read.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::scope).join(", ")
    }

    /// Whether one of these scopes is this right, or implies it.
    #[must_use]
    pub fn is_granted_by(self, scopes: &[Scope]) -> bool {
        scopes.iter().filter_map(Scope::right).any(|own| own.implies(self))
    }

    /// Whether whoever has this right also has `other`.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        self == other
            || match self {
                Self::Admin => true,
                Self::TenantAdmin => {
                    matches!(other, Self::KeysWrite | Self::KeysRead | Self::KeysSelf | Self::Verify | Self::AuditRead)
                }
                Self::KeysWrite => other == Self::KeysRead,
                Self::KeysRead | Self::KeysSelf | Self::KeysReveal | Self::Verify | Self::AuditRead => false,
            }
    }
}
