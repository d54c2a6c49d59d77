//! What happens in a tenant during a walk: keys of every life, made at all times of the day, and everything that can end,
//! stop or re-arm their warnings.

use chrono::TimeDelta;
use claviger::domain::Time;

use super::oracle::House;
use super::world::Deed;

/// Service users, and how long their keys live.
pub const LIVES: [(&str, Option<TimeDelta>); 7] = [
    ("hour", Some(TimeDelta::hours(1))),
    ("day", Some(TimeDelta::days(1))),
    ("almost-window", Some(TimeDelta::seconds(14 * 86_400 - 60))),
    ("window", Some(TimeDelta::days(14))),
    ("over-window", Some(TimeDelta::seconds(14 * 86_400 + 1))),
    ("quarter", Some(TimeDelta::days(90))),
    ("for-ever", None),
];

/// Days on which a key of every life is made. No service user gets more than 10 live keys.
const DAYS: [usize; 15] = [0, 2, 3, 5, 9, 15, 16, 25, 33, 46, 60, 61, 75, 90, 104];
/// The last day on which a key that lives for so long is made: it ends within 120 days, or never.
const LAST_LONG_LIFE: usize = 25;

/// When a key is made, from that day's warning instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// To the microsecond: the clock stands still.
    Exact,
    /// To the minute: the clock goes on.
    Coarse,
}

impl Precision {
    fn offsets(self) -> Vec<TimeDelta> {
        // No life that is whole hours may end at the hour when the clock goes on: a run that comes a moment later is right to
        // say nothing. Nor may a change of daylight saving, which is 30 minutes on Lord Howe, bring that about.
        let mut offsets: Vec<TimeDelta> =
            [-33, 33, -61, 6 * 60, 12 * 60 + 34, -59, 22 * 60 + 30, 17 * 60 + 1].map(TimeDelta::minutes).to_vec();
        if self == Self::Exact {
            offsets.extend([-1, 1].map(TimeDelta::microseconds));
            offsets.push(TimeDelta::hours(-1));
        }
        offsets
    }
}

/// Keys of all lives, of a walk of so many days.
pub fn lives(house: &House, from: Time, to: Time, precision: Precision) -> Vec<(Time, Deed)> {
    let (instants, offsets) = (house.instants(from + TimeDelta::hours(2), to), precision.offsets());
    let mut deeds = Vec::new();
    for (turn, day) in DAYS.into_iter().enumerate() {
        let Some((_, instant)) = instants.get(day) else { break };
        for (number, (owner, life)) in LIVES.into_iter().enumerate() {
            let is_long = life.is_none_or(|life| life > TimeDelta::days(15));
            if !is_long || day <= LAST_LONG_LIFE {
                let offset = offsets[(turn * 3 + number * 5) % offsets.len()];
                deeds.push((*instant + offset, Deed::Create(owner, life)));
            }
        }
    }
    deeds
}

/// Keys whose windows begin and end exactly at a warning instant, or a microsecond off.
pub fn edges(house: &House, from: Time, to: Time) -> Vec<(Time, Deed)> {
    let instants = house.instants(from, to);
    let Some(((_, first), (_, last))) = instants.get(1).zip(instants.get(17)) else { return Vec::new() };
    let ends = [-1, 0, 1].map(|off| *last + TimeDelta::microseconds(off));
    let starts = [-1, 0, 1].map(|off| *last + TimeDelta::days(14) + TimeDelta::microseconds(off));
    let until = ends.into_iter().chain(starts);
    until.map(|expire| (*first + TimeDelta::minutes(40), Deed::CreateUntil("edge", expire))).collect()
}

/// Keys of 20 days to which something happens in the middle of their window.
pub fn fates(house: &House, from: Time, to: Time) -> Vec<(Time, Deed)> {
    let instants = house.instants(from + TimeDelta::hours(1), to);
    let Some(((_, first), (_, middle))) = instants.first().zip(instants.get(10)) else { return Vec::new() };
    let owners = ["revoked", "deleted", "rotated", "extended", "disabled", "back-again", "gone"];
    let made = *first + TimeDelta::minutes(50);
    let mut deeds: Vec<_> =
        owners.map(|owner| (made, Deed::Create(owner, Some(TimeDelta::days(20))))).into_iter().collect();
    let then = *middle + TimeDelta::hours(3);
    deeds.extend([
        (then, Deed::Revoke("revoked")),
        (then, Deed::Delete("deleted")),
        (then, Deed::Rotate("rotated")),
        (then, Deed::Extend("extended", TimeDelta::days(20))),
        (then, Deed::Disable("disabled")),
        (then, Deed::DisableOwner("back-again")),
        (then, Deed::DisableOwner("gone")),
        (then + TimeDelta::days(4), Deed::EnableOwner("back-again")),
    ]);
    deeds
}

/// 90-day keys that end within a quarter of an hour around the time of day at which they would be warned about if daylight
/// saving didn't change: where it does within their window, they get one warning more or less.
pub fn quarters(house: &House, from: Time, to: Time) -> Vec<(Time, Deed)> {
    let instants = house.instants(from + TimeDelta::hours(1), to);
    let days = [3, 15, 19].into_iter().filter_map(|day| instants.get(day));
    let around = [("quarter-before", -14), ("quarter-after", 14)];
    let deed = |at: Time| {
        around.map(|(owner, off)| (at + TimeDelta::minutes(off), Deed::Create(owner, Some(TimeDelta::days(90)))))
    };
    days.flat_map(|(_, at)| deed(*at)).collect()
}
