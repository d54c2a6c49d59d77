//! What should happen, by the rule of the warning calendar and plain arithmetic. Nothing here asks the product.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, TimeDelta, Timelike};
use chrono_tz::Tz;
use claviger::domain::Time;

const WINDOW: TimeDelta = TimeDelta::days(14);

/// What people of one local day are told: the keys, each with the days that are left.
pub type Warned = BTreeMap<String, i64>;

/// What was done to a key.
#[derive(Debug, Clone)]
pub struct Life {
    pub name: String,
    pub owner: String,
    pub create: Time,
    /// Since when it expires when; `None` = never.
    pub ends: Vec<(Time, Option<Time>)>,
    /// Revoked, deleted or superseded: not warned about from here on.
    pub gone: Option<Time>,
    pub superseded: bool,
}

/// A tenant, and all that happened in it.
#[derive(Debug, Clone)]
pub struct House {
    pub name: String,
    pub zone: Tz,
    pub hour: u32,
    pub subscribers: BTreeSet<String>,
    pub keys: Vec<Life>,
    /// When each service user was disabled, and enabled again.
    pub away: BTreeMap<String, Vec<(Time, Option<Time>)>>,
}

impl Life {
    /// When it expires, as of `at`.
    pub fn expire(&self, at: Time) -> Option<Time> {
        self.ends.iter().rev().find(|(since, _)| *since <= at).and_then(|(_, expire)| *expire)
    }

    fn is_due(&self, at: Time) -> bool {
        let Some(expire) = self.expire(at) else { return false };
        (expire - WINDOW).max(self.create) <= at && at < expire && self.gone.is_none_or(|gone| at < gone)
    }
}

impl House {
    /// The warning instants within `from ≤ s < to`: of each local day the first instant at which a clock on the wall shows
    /// the hour or a later one. Every zone's clocks differ from UTC by quarters of an hour.
    pub fn instants(&self, from: Time, to: Time) -> Vec<(NaiveDate, Time)> {
        let quarter = TimeDelta::minutes(15);
        let mut now = (from - TimeDelta::days(2)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let mut found: Vec<(NaiveDate, Time)> = Vec::new();
        while now < to {
            let local = now.with_timezone(&self.zone);
            let is_new = found.last().is_none_or(|(day, _)| *day < local.date_naive());
            if is_new && local.hour() >= self.hour {
                found.push((local.date_naive(), now));
            }
            now += quarter;
        }
        found.retain(|(_, instant)| *instant >= from);
        found
    }

    /// What is to be told at the instant `at`.
    pub fn due(&self, at: Time) -> Warned {
        let is_away = |owner: &str| {
            let spans = self.away.get(owner).into_iter().flatten();
            spans.into_iter().any(|(from, to)| *from <= at && to.is_none_or(|to| at < to))
        };
        let due = self.keys.iter().filter(|key| key.is_due(at) && !is_away(&key.owner));
        let today = self.day(at);
        due.map(|key| (key.name.clone(), (self.day(key.expire(at).expect("due")) - today).num_days())).collect()
    }

    /// All that is to be told within `from ≤ s < to`, by the instant.
    pub fn calendar(&self, from: Time, to: Time) -> BTreeMap<Time, Warned> {
        let told = self.instants(from, to).into_iter().map(|(_, at)| (at, self.due(at)));
        told.filter(|(_, warned)| !warned.is_empty()).collect()
    }

    /// Keys whose end is to be told by `now`.
    pub fn expired(&self, now: Time) -> BTreeSet<String> {
        let lived_out = |key: &&Life| key.gone.is_none() || key.superseded;
        let ended = |key: &&Life| key.expire(now).is_some_and(|expire| expire <= now);
        self.keys.iter().filter(lived_out).filter(ended).map(|key| key.name.clone()).collect()
    }

    /// The local day of an instant.
    pub fn day(&self, at: Time) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }
}
