//! What people of a tenant are told in-app.

use uuid::Uuid;

use super::{
    Time,
    audit::event_id,
    calendar::{Day, TimeZone},
    ids::{KeyId, KeyName, TenantId},
    key::Key,
    text::DisplayName,
};

/// Something that people of a tenant should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// A version 7 UUID.
    pub id: Uuid,
    /// The tenant.
    pub tenant: TenantId,
    /// What it is about.
    pub subject: Subject,
    /// When it was made.
    pub create_time: Time,
    /// When somebody marked it as read, or it was settled by itself.
    pub read_time: Option<Time>,
}

/// What a notification is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A key expires soon; once a local day.
    KeyExpiring {
        /// The key.
        key: KeyFacts,
        /// The local day of the warning.
        day: Day,
        /// Local days to the day of expiry.
        days_left: i16,
    },
    /// A key has expired; once.
    KeyExpired(KeyFacts),
    /// A key was replaced; once.
    KeyRotated {
        /// The key that was replaced. Its end is the end of the grace period.
        key: KeyFacts,
        /// The key that replaced it.
        successor: KeyId,
    },
    /// Nobody gets the tenant's mails any more.
    LastSubscriberGone,
}

/// The kinds of subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key expires soon.
    KeyExpiring,
    /// A key has expired.
    KeyExpired,
    /// A key was replaced.
    KeyRotated,
    /// Nobody gets the tenant's mails any more.
    LastSubscriberGone,
}

/// What a notification keeps of a key, which may be gone when somebody reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Full name.
    pub name: KeyName,
    /// What people called it.
    pub display_name: DisplayName,
    /// When it expires or expired; for a key that was revoked by its rotation, then.
    pub expire_time: Time,
}

impl Subject {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::KeyExpiring { .. } => Kind::KeyExpiring,
            Self::KeyExpired(_) => Kind::KeyExpired,
            Self::KeyRotated { .. } => Kind::KeyRotated,
            Self::LastSubscriberGone => Kind::LastSubscriberGone,
        }
    }

    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> Option<&KeyFacts> {
        match self {
            Self::KeyExpiring { key, .. } | Self::KeyRotated { key, .. } | Self::KeyExpired(key) => Some(key),
            Self::LastSubscriberGone => None,
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::KeyExpiring, Self::KeyExpired, Self::KeyRotated, Self::LastSubscriberGone];

    /// Its name, as it is stored.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::KeyExpiring => "KEY_EXPIRING",
            Self::KeyExpired => "KEY_EXPIRED",
            Self::KeyRotated => "KEY_ROTATED",
            Self::LastSubscriberGone => "LAST_SUBSCRIBER_GONE",
        }
    }
}

impl KeyFacts {
    /// Of a key that ends at `expire_time`.
    #[must_use]
    pub fn of(key: &Key, expire_time: Time) -> Self {
        Self { name: key.name.clone(), display_name: key.display_name.clone(), expire_time }
    }
}

impl Notification {
    /// Warns that `key` expires at `expire_time`, on `day` of `zone`.
    #[must_use]
    pub fn expiring(key: &Key, expire_time: Time, zone: TimeZone, day: Day, now: Time) -> Self {
        let days_left = days_left(zone, day, expire_time);
        let days_left = i16::try_from(days_left).unwrap_or(i16::MAX);
        Self::about_key(key, Subject::KeyExpiring { key: KeyFacts::of(key, expire_time), day, days_left }, now)
    }

    /// Says that `key` has expired.
    #[must_use]
    pub fn expired(key: &Key, now: Time) -> Self {
        let end = key.expire_time.unwrap_or(now);
        Self::about_key(key, Subject::KeyExpired(KeyFacts::of(key, end)), now)
    }

    /// Says that `successor` replaced `key`, which ends at its expire_time, or ended now.
    #[must_use]
    pub fn rotated(key: &Key, successor: KeyId, now: Time) -> Self {
        let end = match key.state {
            super::key::KeyState::Revoked { time, .. } => time,
            super::key::KeyState::Enabled | super::key::KeyState::Disabled | super::key::KeyState::Expired => {
                key.expire_time.unwrap_or(now)
            }
        };
        Self::about_key(key, Subject::KeyRotated { key: KeyFacts::of(key, end), successor }, now)
    }

    /// Says that nobody gets the tenant's mails any more. `random` makes its id.
    #[must_use]
    pub fn last_subscriber_gone(tenant: TenantId, random: [u8; 10], now: Time) -> Self {
        Self {
            id: event_id(now, random),
            tenant,
            subject: Subject::LastSubscriberGone,
            create_time: now,
            read_time: None,
        }
    }

    /// What must not be told twice in a tenant.
    #[must_use]
    pub fn once(&self) -> String {
        let word = self.subject.kind().word();
        match &self.subject {
            Subject::KeyExpiring { key, day, .. } => format!("{word}/{}/{day}", key.name.id),
            Subject::KeyExpired(key) | Subject::KeyRotated { key, .. } => format!("{word}/{}", key.name.id),
            Subject::LastSubscriberGone => format!("{word}/{}", self.id),
        }
    }

    /// A key's id is random, so together with the kind and the time it makes an id that nobody else has.
    fn about_key(key: &Key, subject: Subject, now: Time) -> Self {
        let mut random = [0; 10];
        random.copy_from_slice(&key.name.id.random_bytes()[6..]);
        random[9] ^= subject.kind() as u8;
        let tenant = key.name.owner.tenant.clone();
        Self { id: event_id(now, random), tenant, subject, create_time: now, read_time: None }
    }
}

/// Local days from `day` to the day of `expire_time`: 0 = it expires that very day.
#[must_use]
pub fn days_left(zone: TimeZone, day: Day, expire_time: Time) -> i64 {
    day.days_until(zone.day(expire_time)).max(0)
}
