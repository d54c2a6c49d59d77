//! How many keys of which kind are in memory, counted by the one that follows the feed as it changes them: going through a
//! million keys for each scrape would take a tenth of a second.

use std::array;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::domain::{
    Time,
    ids::{KeyId, ServiceUserName},
    limits,
};

use super::record::Record;

/// Peppers at most: the current one and those retired.
const PEPPERS: usize = limits::RETIRED_PEPPERS + 1;

/// What a key in memory is, as it was last recorded: one whose time has come stays ENABLED here until that is written down,
/// within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Verifies.
    Enabled,
    /// Doesn't, for now.
    Disabled,
    /// Never again, by decision.
    Revoked,
    /// Never again, by time.
    Expired,
    /// Deleted, and remembered for a while.
    Deleted,
}

impl KeyState {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Enabled, Self::Disabled, Self::Revoked, Self::Expired, Self::Deleted];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

/// The counts.
pub(super) struct Census {
    /// By the place of the pepper, then by state.
    keys: [[AtomicU64; KeyState::ALL.len()]; PEPPERS],
    root: ServiceUserName,
    /// When the live root keys end that no other has superseded. There are few.
    root_keys: Mutex<HashMap<KeyId, Option<Time>>>,
}

impl Default for Census {
    fn default() -> Self {
        let keys = array::from_fn(|_| array::from_fn(|_| AtomicU64::default()));
        Self { keys, root: ServiceUserName::root(), root_keys: Mutex::default() }
    }
}

impl Census {
    /// A key came in.
    pub(super) fn arrive(&self, key: &Record) {
        if let Some(count) = self.count(key) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A superseded one is meant to end.
        if *key.owner().name() == self.root
            && key.state() == KeyState::Enabled
            && key.claims().superseded_by().is_none()
        {
            self.root_keys.lock().insert(key.id(), key.expire_time());
        }
    }

    /// A key left, or another one of its id takes its place.
    pub(super) fn leave(&self, key: &Record) {
        if let Some(count) = self.count(key) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if *key.owner().name() == self.root {
            self.root_keys.lock().remove(&key.id());
        }
    }

    /// How many keys are stored under the pepper at a place, by state.
    pub(super) fn keys(&self, pepper: u8) -> impl Iterator<Item = (KeyState, u64)> {
        let counts = self.keys.get(usize::from(pepper)).into_iter().flatten();
        KeyState::ALL.into_iter().zip(counts).map(|(state, count)| (state, count.load(Ordering::Relaxed)))
    }

    /// When the first of the live root keys ends; `None` = none of them does.
    pub(super) fn first_root_key_end(&self) -> Option<Time> {
        self.root_keys.lock().values().copied().flatten().min()
    }

    /// Gives its place to `fresh`.
    pub(super) fn replace_with(&self, fresh: Self) {
        for (count, fresh) in self.keys.iter().flatten().zip(fresh.keys.into_iter().flatten()) {
            count.store(fresh.into_inner(), Ordering::Relaxed);
        }
        *self.root_keys.lock() = fresh.root_keys.into_inner();
    }

    fn count(&self, key: &Record) -> Option<&AtomicU64> {
        self.keys.get(usize::from(key.pepper()))?.get(key.state() as usize)
    }
}
