//! What Verify needs of a key: everything that decides a verdict or stands in its answer, and nothing else.

use super::{
    Revision, Time,
    attributes::Attributes,
    ids::{KeyGroupId, KeyId, KeyName},
    key::is_expired,
    limits,
    network::Network,
    pepper::{PepperId, SecretDigest},
    scope::Scope,
};

/// A key, as far as Verify is concerned.
#[derive(Debug, Clone)]
pub struct VerifiableKey {
    /// Full name.
    pub name: KeyName,
    /// What was decided about it.
    pub standing: Standing,
    /// What it grants.
    pub scopes: Vec<Scope>,
    /// What it says of its bearer.
    pub attributes: Attributes,
    /// The group it is in, of its own tenant.
    pub key_group: Option<KeyGroupId>,
    /// Where it may be used from; empty = anywhere.
    pub networks: Vec<Network>,
    /// When it stops verifying; `None` = never.
    pub expire_time: Option<Time>,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// The key that replaced it.
    pub superseded_by: Option<KeyId>,
    /// What is stored of its secret.
    pub digest: SecretDigest,
    /// The pepper it was digested under.
    pub pepper: PepperId,
    /// Whether it was changed since it was made.
    pub is_edited: bool,
    /// The revision of its last change.
    pub revision: Revision,
}

/// What was decided about a key, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Verifies.
    Enabled,
    /// Doesn't, until enabled again.
    Disabled,
    /// Never again, by decision.
    Revoked {
        /// When.
        time: Time,
    },
    /// Never again, by time.
    Expired,
}

impl Standing {
    /// The standing at `now`: a live key past its expire_time is EXPIRED, whatever was decided before.
    #[must_use]
    pub fn at(self, expire_time: Option<Time>, now: Time) -> Self {
        match self {
            Self::Enabled | Self::Disabled if is_expired(expire_time, now) => Self::Expired,
            Self::Enabled | Self::Disabled | Self::Revoked { .. } | Self::Expired => self,
        }
    }
}

impl VerifiableKey {
    /// When Verify no longer tells it from a key that never was: 30 days after it was revoked, expired or deleted.
    #[must_use]
    pub fn forget_time(&self) -> Option<Time> {
        let revoked = match self.standing {
            Standing::Revoked { time } => Some(time),
            Standing::Enabled | Standing::Disabled | Standing::Expired => None,
        };
        let end = [self.delete_time, revoked, self.expire_time].into_iter().flatten().min();
        end.map(|end| end + limits::DEAD_KEYS_REMEMBERED)
    }
}
