//! The key: its states, and the transitions between them as functions from value to value or refusal.
//!
//! | state | Enable | Disable | Revoke | Rotate | Update | Delete |
//! |---|---|---|---|---|---|---|
//! | ENABLED | no-op | DISABLED | REVOKED | successor | ok | gone |
//! | DISABLED | ENABLED | no-op | REVOKED | ✗ | ok | gone |
//! | REVOKED | ✗ | ✗ | no-op | ✗ | ✗ | gone |
//! | EXPIRED | ✗ | ✗ | ✗ | ✗ | ✗ | gone |

use super::{
    Refusal, Revision, Span, Time,
    actor::Actor,
    attributes::Attributes,
    calendar::is_due,
    ids::{KeyGroupId, KeyGroupName, KeyId, KeyName, TenantId},
    limits,
    network::Network,
    refusal::{DeadEnd, FieldViolation},
    rights::Right,
    scope::Scope,
    text::{Description, DisplayName, RevokeReason},
};

/// What a person decided about a key, with the time of the decision. Whether it has expired is computed: see
/// [`Key::state_at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Verifies.
    Enabled,
    /// Doesn't, until enabled again.
    Disabled,
    /// Never again, by decision.
    Revoked {
        /// When.
        time: Time,
        /// Why.
        reason: RevokeReason,
    },
    /// Never again, by time. Stored only to free the slot; the truth is `expire_time`.
    Expired,
}

/// The record of one key. Never contains the secret, nor its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Full name.
    pub name: KeyName,
    /// What people call it.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Description,
    /// What was decided about it.
    pub state: KeyState,
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
    /// The lifetime it was given at first, which a rotation gives again; `None` = never expires.
    pub lifetime: Option<Span>,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// Who made it; `None` for what Claviger made by itself.
    pub creator: Option<Actor>,
    /// The key it replaced.
    pub supersedes: Option<KeyId>,
    /// The key that replaced it.
    pub superseded_by: Option<KeyId>,
    /// Whether its secret is kept sealed as long as it is live, to be revealed.
    pub retrievable: bool,
    /// When it last verified as VALID, as far as it was written and asked for. Never written with the key.
    pub last_used: Option<Time>,
    /// The revision of its last change.
    pub revision: Revision,
}

/// What a caller decides about a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub display_name: DisplayName,
    /// What it is for.
    pub description: Description,
    /// What it grants.
    pub scopes: Vec<Scope>,
    /// What it says of its bearer.
    pub attributes: Attributes,
    /// The group it is in, of its own tenant.
    pub key_group: Option<KeyGroupId>,
    /// Where it may be used from.
    pub networks: Vec<Network>,
    /// When it expires, checked by [`check_expire_time`]; `None` = never.
    pub expire_time: Option<Time>,
    /// Whether it waits to be enabled.
    pub disabled: bool,
    /// Whether its secret is kept sealed, to be revealed.
    pub retrievable: bool,
}

/// An edit: `Some` for each field the mask names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyEdit {
    /// `display_name`
    pub display_name: Option<DisplayName>,
    /// `description`
    pub description: Option<Description>,
    /// `scopes`
    pub scopes: Option<Vec<Scope>>,
    /// `key_group`; the inner `None` = none.
    pub key_group: Option<Option<KeyGroupId>>,
    /// `allowed_networks`
    pub networks: Option<Vec<Network>>,
    /// `expire_time`; the inner `None` = never.
    pub expire_time: Option<Option<Time>>,
}

/// The outcome of a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// It already was so: answer it, write nothing.
    Unchanged(Key),
    /// Write this.
    Changed(Key),
}

/// Whether a key may be made to expire at `time`: in the future, and within 100 years.
pub fn check_expire_time(time: Time, now: Time) -> Result<(), String> {
    if time <= now {
        return Err("must lie in the future".to_owned());
    }
    if time - now > limits::LIFETIME {
        return Err("must lie within 100 years from now; leave it out for a key that never expires".to_owned());
    }
    Ok(())
}

/// Whether something that ends at `expire_time` has ended: the instant itself is already the end. The only place that
/// says so.
#[must_use]
pub fn is_expired(expire_time: Option<Time>, now: Time) -> bool {
    expire_time.is_some_and(|end| now >= end)
}

/// Whether a key that expires at `expire_time` does so within the warning window.
#[must_use]
pub fn expires_soon(expire_time: Option<Time>, now: Time) -> bool {
    expire_time.is_some_and(|end| end - now <= limits::EXPIRING_SOON)
}

impl Key {
    /// Makes a key from what a caller decided.
    pub fn create(name: KeyName, new: NewKey, creator: Option<Actor>, now: Time) -> Result<Self, Refusal> {
        check_admin_scopes(&name.owner.tenant, &new.scopes).map_err(Refusal::Invalid)?;
        Ok(Self {
            name,
            display_name: new.display_name,
            description: new.description,
            state: if new.disabled { KeyState::Disabled } else { KeyState::Enabled },
            scopes: new.scopes,
            attributes: new.attributes,
            key_group: new.key_group,
            networks: new.networks,
            expire_time: new.expire_time,
            lifetime: new.expire_time.map(|end| end - now),
            create_time: now,
            update_time: now,
            delete_time: None,
            creator,
            supersedes: None,
            superseded_by: None,
            retrievable: new.retrievable,
            last_used: None,
            revision: 0,
        })
    }

    /// The full name of the group it is in.
    #[must_use]
    pub fn key_group_name(&self) -> Option<KeyGroupName> {
        let tenant = &self.name.owner.tenant;
        self.key_group.clone().map(|id| KeyGroupName { tenant: tenant.clone(), id })
    }

    /// The state at `now`: a live key past its expire_time is EXPIRED, whatever is stored.
    #[must_use]
    pub fn state_at(&self, now: Time) -> KeyState {
        match self.state {
            KeyState::Enabled | KeyState::Disabled if is_expired(self.expire_time, now) => KeyState::Expired,
            KeyState::Enabled | KeyState::Disabled | KeyState::Revoked { .. } | KeyState::Expired => self.state.clone(),
        }
    }

    /// Whether a warning about this key would be due at `now`, were it the hour and its owners enabled.
    #[must_use]
    pub fn is_warned_about(&self, now: Time) -> bool {
        let may_verify = match self.state_at(now) {
            KeyState::Enabled | KeyState::Disabled => self.delete_time.is_none() && self.superseded_by.is_none(),
            KeyState::Revoked { .. } | KeyState::Expired => false,
        };
        may_verify && self.expire_time.is_some_and(|end| is_due(self.create_time, end, now))
    }

    /// DISABLED → ENABLED.
    pub fn enable(self, now: Time) -> Result<Transition, Refusal> {
        match self.state_at(now) {
            KeyState::Enabled => Ok(Transition::Unchanged(self)),
            KeyState::Disabled => Ok(self.changed_to(KeyState::Enabled, now)),
            KeyState::Revoked { .. } => Err(self.refuse(DeadEnd::Revoked)),
            KeyState::Expired => Err(self.refuse(DeadEnd::Expired)),
        }
    }

    /// ENABLED → DISABLED.
    pub fn disable(self, now: Time) -> Result<Transition, Refusal> {
        match self.state_at(now) {
            KeyState::Enabled => Ok(self.changed_to(KeyState::Disabled, now)),
            KeyState::Disabled => Ok(Transition::Unchanged(self)),
            KeyState::Revoked { .. } => Err(self.refuse(DeadEnd::Revoked)),
            KeyState::Expired => Err(self.refuse(DeadEnd::Expired)),
        }
    }

    /// ENABLED or DISABLED → REVOKED.
    pub fn revoke(self, reason: RevokeReason, now: Time) -> Result<Transition, Refusal> {
        match self.state_at(now) {
            KeyState::Enabled | KeyState::Disabled => Ok(self.changed_to(KeyState::Revoked { time: now, reason }, now)),
            KeyState::Revoked { .. } => Ok(Transition::Unchanged(self)),
            KeyState::Expired => Err(self.refuse(DeadEnd::Expired)),
        }
    }

    /// Any state → gone.
    #[must_use]
    pub fn delete(mut self, now: Time) -> Transition {
        if self.delete_time.is_some() {
            return Transition::Unchanged(self);
        }
        self.delete_time = Some(now);
        self.update_time = now;
        Transition::Changed(self)
    }

    /// Edits an ENABLED or DISABLED key. An edit that changes nothing is a no-op.
    pub fn edit(self, edit: KeyEdit, now: Time) -> Result<Transition, Refusal> {
        self.require_live(now)?;
        let mut edited = self.clone();
        edited.display_name = edit.display_name.unwrap_or(edited.display_name);
        edited.description = edit.description.unwrap_or(edited.description);
        edited.scopes = edit.scopes.unwrap_or(edited.scopes);
        edited.key_group = edit.key_group.unwrap_or(edited.key_group);
        edited.networks = edit.networks.unwrap_or(edited.networks);
        check_admin_scopes(&edited.name.owner.tenant, &edited.scopes).map_err(Refusal::Invalid)?;
        if let Some(expire_time) = edit.expire_time {
            edited.set_expire_time(expire_time, now)?;
        }
        if edited == self {
            return Ok(Transition::Unchanged(self));
        }
        edited.update_time = now;
        Ok(Transition::Changed(edited))
    }

    /// The original lifetime stays what it was, but "never" is a lifetime too: a key edited to or from never follows.
    fn set_expire_time(&mut self, expire_time: Option<Time>, now: Time) -> Result<(), Refusal> {
        if expire_time == self.expire_time {
            return Ok(());
        }
        if let Some(time) = expire_time {
            check_expire_time(time, now)
                .map_err(|why| Refusal::Invalid(vec![FieldViolation::new("key.expire_time", why)]))?;
        }
        let extends = match (self.expire_time, expire_time) {
            (Some(old), Some(new)) => new > old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if extends && self.superseded_by.is_some() {
            return Err(self.refuse(DeadEnd::Superseded));
        }
        self.lifetime = expire_time.map(|time| self.lifetime.unwrap_or(time - now));
        self.expire_time = expire_time;
        Ok(())
    }

    /// Refuses to reveal a key whose secret isn't kept: it never was, or the key has ended.
    pub fn require_revealable(&self, now: Time) -> Result<(), Refusal> {
        if self.retrievable { self.require_live(now) } else { Err(Refusal::NotRetrievable(self.name.clone())) }
    }

    fn require_live(&self, now: Time) -> Result<(), Refusal> {
        match self.state_at(now) {
            KeyState::Enabled | KeyState::Disabled => Ok(()),
            KeyState::Revoked { .. } => Err(self.refuse(DeadEnd::Revoked)),
            KeyState::Expired => Err(self.refuse(DeadEnd::Expired)),
        }
    }

    pub(super) fn refuse(&self, state: DeadEnd) -> Refusal {
        Refusal::KeyState { key: self.name.clone(), state }
    }

    fn changed_to(mut self, state: KeyState, now: Time) -> Transition {
        self.state = state;
        self.update_time = now;
        Transition::Changed(self)
    }
}

/// `claviger:admin` is only for keys of tenant `system`: every such scope elsewhere is named.
pub fn check_admin_scopes(tenant: &TenantId, scopes: &[Scope]) -> Result<(), Vec<FieldViolation>> {
    let violations = admin_scopes_outside_system(tenant, scopes, "key.scopes");
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Every `claviger:admin` among scopes that stand in this field, unless it is tenant `system` that they are for.
pub(super) fn admin_scopes_outside_system(tenant: &TenantId, scopes: &[Scope], field: &str) -> Vec<FieldViolation> {
    if tenant.is_system() {
        return Vec::new();
    }
    let admin = |(index, scope): (usize, &Scope)| (scope.right() == Some(Right::Admin)).then_some(index);
    let why = "claviger:admin is only for keys and certificates of tenant system";
    scopes.iter().enumerate().filter_map(admin).map(|at| FieldViolation::new(format!("{field}[{at}]"), why)).collect()
}
