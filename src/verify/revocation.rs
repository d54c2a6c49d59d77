//! What can make an earlier VALID wrong: a change that ends, stops or narrows a key, or stops its owner.

use std::fmt;

use crate::domain::{
    Revision, Time,
    ids::{KeyId, KeyName, ServiceUserName, TenantId},
    network::Network,
    scope::Scope,
    verifiable_key::{Standing, VerifiableKey},
};

use super::owners::OwnerStanding;

/// One such change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The change's revision.
    pub revision: Revision,
    /// What was changed: it, and everything below it.
    pub subject: Subject,
    /// What happened to it.
    pub cause: Cause,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One key.
    Key(KeyName),
    /// All keys of a service user.
    ServiceUser(ServiceUserName),
    /// All keys of a tenant.
    Tenant(TenantId),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Revoked for ever.
    Revoked,
    /// Disabled for now.
    Disabled,
    /// Its end was recorded.
    Expired,
    /// Deleted.
    Deleted,
    /// Replaced by a successor, and may end sooner.
    Superseded,
    /// It lost scopes or networks, or ends sooner.
    Narrowed,
}

impl Subject {
    /// The tenant that it is, or belongs to.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Key(name) => &name.owner.tenant,
            Self::ServiceUser(name) => &name.tenant,
            Self::Tenant(id) => id,
        }
    }

    /// Whether it has keys.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        match self {
            Self::ServiceUser(_) | Self::Tenant(_) => true,
            Self::Key(_) => false,
        }
    }

    /// Whether it lies below `owner`.
    #[must_use]
    pub fn is_below(&self, owner: &Self) -> bool {
        match (self, owner) {
            (Self::Key(key), Self::ServiceUser(name)) => key.owner == *name,
            (Self::Key(_) | Self::ServiceUser(_), Self::Tenant(id)) => self.tenant() == id,
            (Self::Key(_), Self::Key(_))
            | (Self::ServiceUser(_), Self::Key(_) | Self::ServiceUser(_))
            | (Self::Tenant(_), Self::Key(_) | Self::ServiceUser(_) | Self::Tenant(_)) => false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => name.fmt(f),
            Self::ServiceUser(name) => name.fmt(f),
            Self::Tenant(id) => f.write_str(&id.name()),
        }
    }
}

/// What of a key decides whether an earlier VALID still holds.
#[derive(Debug, Clone, Copy)]
pub struct KeyFacts<'a> {
    /// What was decided about it.
    pub state: Standing,
    /// Whether it was deleted.
    pub is_deleted: bool,
    /// The key that replaced it.
    pub superseded_by: Option<KeyId>,
    /// What it grants.
    pub scopes: &'a [Scope],
    /// Where it may be used from; empty = anywhere.
    pub networks: &'a [Network],
    /// When it stops verifying; `None` = never.
    pub expire_time: Option<Time>,
}

impl<'a> KeyFacts<'a> {
    /// Those of a key.
    #[must_use]
    pub fn of(key: &'a VerifiableKey) -> Self {
        Self {
            state: key.standing,
            is_deleted: key.delete_time.is_some(),
            superseded_by: key.superseded_by,
            scopes: &key.scopes,
            networks: &key.networks,
            expire_time: key.expire_time,
        }
    }

    /// What a VALID that was told of the `old` key may be wrong for, now that the key is so; `None` = it holds. When several
    /// apply, the first in the order of [`Cause`].
    #[must_use]
    pub fn revokes(&self, old: &KeyFacts<'_>) -> Option<Cause> {
        let entered = |is: fn(Standing) -> bool| is(self.state) && !is(old.state);
        let causes = [
            (entered(|state| matches!(state, Standing::Revoked { .. })), Cause::Revoked),
            (entered(|state| state == Standing::Disabled), Cause::Disabled),
            (entered(|state| state == Standing::Expired), Cause::Expired),
            (self.is_deleted && !old.is_deleted, Cause::Deleted),
            (self.superseded_by.is_some() && old.superseded_by.is_none(), Cause::Superseded),
            (self.is_narrower(old), Cause::Narrowed),
        ];
        causes.into_iter().find_map(|(applies, cause)| applies.then_some(cause))
    }

    /// The same for a key that is met for the first time: another replica may have told VALID before this one looked.
    /// `edited`: it was changed since it was made.
    #[must_use]
    pub fn revokes_unseen(&self, edited: bool) -> Option<Cause> {
        let newborn = KeyFacts { state: Standing::Enabled, is_deleted: false, superseded_by: None, ..*self };
        self.revokes(&newborn).or(edited.then_some(Cause::Narrowed))
    }

    fn is_narrower(&self, old: &KeyFacts<'_>) -> bool {
        let kept = |scope: &Scope| self.scopes.iter().any(|own| own.covers(scope));
        let ends_sooner = match (old.expire_time, self.expire_time) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) => new < old,
        };
        ends_sooner || !old.scopes.iter().all(kept) || !Network::all_within(old.networks, self.networks)
    }
}

/// What a VALID that was told of an owner's keys may be wrong for, now that it stands so; as [`KeyFacts::revokes`].
#[must_use]
pub fn owner_revokes(old: OwnerStanding, new: OwnerStanding) -> Option<Cause> {
    match new {
        _ if old == new => None,
        OwnerStanding::Deleted => Some(Cause::Deleted),
        OwnerStanding::Disabled => Some(Cause::Disabled),
        // Its keys verify no more until a change repairs it.
        OwnerStanding::Unreadable => Some(Cause::Disabled),
        OwnerStanding::Missing | OwnerStanding::Enabled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: KeyFacts<'static> = KeyFacts {
        state: Standing::Enabled,
        is_deleted: false,
        superseded_by: None,
        scopes: &[],
        networks: &[],
        expire_time: None,
    };

    const REVOKED: Standing = Standing::Revoked { time: Time::UNIX_EPOCH };

    fn at(seconds: i64) -> Option<Time> {
        Time::from_timestamp(seconds, 0)
    }

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|text| Scope::parse(text).expect("a scope")).collect()
    }

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| Network::parse(text).expect("a network")).collect()
    }

    #[test]
    fn each_state_that_is_entered_is_a_cause_once() {
        let (live, old) = (NOBODY, NOBODY);
        let superseded_by = Some(KeyId::from_random([1; 16]));
        let cases = [
            (KeyFacts { state: REVOKED, ..live }, Cause::Revoked),
            (KeyFacts { state: Standing::Disabled, ..live }, Cause::Disabled),
            (KeyFacts { state: Standing::Expired, ..live }, Cause::Expired),
            (KeyFacts { is_deleted: true, ..live }, Cause::Deleted),
            (KeyFacts { superseded_by, ..live }, Cause::Superseded),
            (KeyFacts { expire_time: at(9), ..live }, Cause::Narrowed),
        ];
        for (number, (new, cause)) in cases.iter().enumerate() {
            assert_eq!(new.revokes(&old), Some(*cause));
            assert_eq!(new.revokes(new), None, "{cause:?} was told already");
            assert_eq!(old.revokes(new), None, "{cause:?} was taken back");
            assert_eq!(new.revokes_unseen(false), (*cause != Cause::Narrowed).then_some(*cause));
            for (later, _) in &cases[number + 1..] {
                let both = KeyFacts {
                    state: if number < 3 { new.state } else { later.state },
                    is_deleted: new.is_deleted || later.is_deleted,
                    superseded_by: new.superseded_by.or(later.superseded_by),
                    expire_time: new.expire_time.or(later.expire_time),
                    ..live
                };
                assert_eq!(both.revokes(&old), Some(*cause), "the first of two is told");
            }
        }
        assert_eq!(live.revokes_unseen(false), None);
        assert_eq!(live.revokes_unseen(true), Some(Cause::Narrowed));
    }

    #[test]
    fn less_is_narrower_and_more_is_not() {
        let expiring = |seconds| KeyFacts { expire_time: at(seconds), ..NOBODY };
        assert_eq!(expiring(9).revokes(&expiring(10)), Some(Cause::Narrowed));
        assert_eq!(expiring(10).revokes(&expiring(9)), None);
        assert_eq!(NOBODY.revokes(&expiring(9)), None);
        for (old, new, narrower) in [
            (&["a", "b"][..], &["a"][..], true),
            (&["a"], &["a", "b"], false),
            (&["a:b", "a:c:d"], &["a:*"], false),
            (&["a:*"], &["a:b"], true),
            (&["*"], &["a:*"], true),
            (&["claviger:verify"], &["claviger:tenant.admin"], false),
            (&["claviger:tenant.admin"], &["claviger:verify"], true),
            (&[], &[], false),
        ] {
            let (before, after) = (scopes(old), scopes(new));
            let told = KeyFacts { scopes: &after, ..NOBODY }.revokes(&KeyFacts { scopes: &before, ..NOBODY });
            assert_eq!(told.is_some(), narrower, "{old:?} to {new:?}");
        }
        for (old, new, narrower) in [
            (&[][..], &["10.0.0.0/8"][..], true),
            (&["10.0.0.0/8"], &[], false),
            (&["10.0.0.0/8"], &["10.0.0.0/16"], true),
            (&["10.0.0.0/16"], &["10.0.0.0/8", "192.0.2.0/24"], false),
            (&["10.0.0.0/8", "192.0.2.0/24"], &["10.0.0.0/8"], true),
        ] {
            let (before, after) = (networks(old), networks(new));
            let told = KeyFacts { networks: &after, ..NOBODY }.revokes(&KeyFacts { networks: &before, ..NOBODY });
            assert_eq!(told.is_some(), narrower, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn an_owner_is_told_of_when_it_stops_and_not_when_it_goes_on() {
        use OwnerStanding::{Deleted, Disabled, Enabled, Missing, Unreadable};
        for (old, new, cause) in [
            (Enabled, Disabled, Some(Cause::Disabled)),
            (Enabled, Deleted, Some(Cause::Deleted)),
            (Disabled, Deleted, Some(Cause::Deleted)),
            (Enabled, Unreadable, Some(Cause::Disabled)),
            (Disabled, Enabled, None),
            (Disabled, Disabled, None),
            (Deleted, Deleted, None),
            (Unreadable, Enabled, None),
            (Missing, Enabled, None),
            (Missing, Disabled, Some(Cause::Disabled)),
            (Missing, Deleted, Some(Cause::Deleted)),
        ] {
            assert_eq!(owner_revokes(old, new), cause, "{old:?} to {new:?}");
        }
    }
}
