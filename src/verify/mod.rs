//! "Is this key good?", answered from memory.
//!
//! A well-formed secret that doesn't match — no such id, or a wrong secret: the same road — waits for one shared refresh
//! that started after the call arrived, and is then judged again: so a key just made on another replica verifies at once,
//! and UNKNOWN is never a guess. Keys in memory answer while the store is away, up to the bound of staleness.

pub mod mirror;
pub mod refresh;
pub mod rehash;
pub mod usage;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::Clock;
use crate::domain::{Span, Time, limits, pepper::Peppers, secret::Secret};

use mirror::{Found, KnownKey, LookUp, Mirror};
use refresh::{Position, Refresher};
use rehash::RehashQueue;
use usage::Usage;
use verdict::{Question, Verdict, exists, judge};

/// A mirror older than this, without a failed look since, belongs to a process that slept: look first.
const SLEPT: Span = Span::seconds(2);
/// How long a call waits for that look.
const WAKING: Duration = Duration::from_millis(100);

/// Answers Verify.
pub struct Verifier {
    mirror: Arc<Mirror>,
    refresher: Refresher,
    peppers: Arc<Peppers>,
    rehash: Arc<RehashQueue>,
    usage: Arc<Usage>,
    clock: Clock,
    staleness_bound: Span,
    /// The look that somebody waited for in vain.
    gave_up_on: AtomicU64,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The key, only when its secret matched.
    pub key: Option<Arc<KnownKey>>,
    /// How fresh the answer is.
    pub position: Position,
    /// The instant of the verdict.
    pub now: Time,
}

/// Why no verdict is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// The mirror isn't loaded yet, or is older than the bound.
    #[error("the mirror is older than the server's bound")]
    Stale,
    /// The key isn't in memory and the store can't be asked.
    #[error("the key is not in memory and the store can't be asked")]
    StoreUnavailable,
    /// The key's stored row can't be understood.
    #[error("the stored key can't be understood")]
    Unreadable,
}

impl Verifier {
    /// Puts the parts together. `staleness_bound`: how old the mirror may be and still answer.
    #[must_use]
    pub fn new(
        mirror: Arc<Mirror>,
        refresher: Refresher,
        peppers: Arc<Peppers>,
        rehash: Arc<RehashQueue>,
        usage: Arc<Usage>,
        clock: Clock,
        staleness_bound: Span,
    ) -> Self {
        Self { mirror, refresher, peppers, rehash, usage, clock, staleness_bound, gave_up_on: AtomicU64::new(0) }
    }

    /// Judges one presented text. Any text gets a verdict, unless none is possible.
    pub async fn verify(&self, text: &str, question: &Question) -> Result<Answer, NoVerdict> {
        let mut position = self.fresh_enough().await?;
        let now = self.clock.now();
        let Some(secret) = Secret::parse(text) else {
            return Ok(Answer { verdict: Verdict::Malformed, key: None, position, now });
        };
        let mut found = self.find(&secret, question, now)?;
        if found.is_none() {
            self.look_again().await?;
            position = self.refresher.position().ok_or(NoVerdict::Stale)?;
            found = self.find(&secret, question, now)?;
        }
        let Some(found) = found else {
            return Ok(Answer { verdict: Verdict::Unknown, key: None, position, now });
        };
        let verdict = judge(&found, question, now);
        if verdict == Verdict::Valid {
            self.rehash.offer(&secret, &found.known.stored.pepper);
            self.usage.note(secret.key_id(), &found.known.last_use, now);
        }
        Ok(Answer { verdict, key: Some(found.known), position, now })
    }

    /// Whether Verify can answer: loaded, and not older than the bound.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.refresher.position().is_some_and(|position| self.age(position) <= self.staleness_bound)
    }

    fn age(&self, position: Position) -> Span {
        self.clock.now() - position.as_of
    }

    async fn fresh_enough(&self) -> Result<Position, NoVerdict> {
        let position = self.refresher.position().ok_or(NoVerdict::Stale)?;
        if self.age(position) <= SLEPT {
            return Ok(position);
        }
        let look = self.refresher.look_number();
        if !self.refresher.is_failing() && self.gave_up_on.load(Ordering::Relaxed) != look {
            // Too slow or failed: the bound below decides with what there is, and nobody waits for this look again.
            if timeout(WAKING, self.refresher.refresh()).await.is_err() {
                self.gave_up_on.store(look, Ordering::Relaxed);
            }
        }
        let position = self.refresher.position().ok_or(NoVerdict::Stale)?;
        if self.age(position) <= self.staleness_bound { Ok(position) } else { Err(NoVerdict::Stale) }
    }

    async fn look_again(&self) -> Result<(), NoVerdict> {
        match timeout(limits::MISS_WAIT, self.refresher.refresh()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NoVerdict::StoreUnavailable),
        }
    }

    /// The key that this secret opens, if it exists for this question. An unknown id costs the same digest as a known one.
    fn find(&self, secret: &Secret, question: &Question, now: Time) -> Result<Option<Found>, NoVerdict> {
        let found = match self.mirror.look_up(secret.key_id()) {
            LookUp::Found(found) => Some(found).filter(|found| exists(found, question, now)),
            LookUp::Missing => None,
            LookUp::Unreadable => return Err(NoVerdict::Unreadable),
        };
        let pepper = match &found {
            Some(found) => self.peppers.get(&found.known.stored.pepper).ok_or(NoVerdict::Unreadable)?,
            None => self.peppers.current(),
        };
        let digest = pepper.digest(secret);
        Ok(found.filter(|found| found.known.stored.digest.matches(&digest)))
    }
}
