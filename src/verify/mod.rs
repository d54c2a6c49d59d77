//! "Is this key good?", answered from memory.
//!
//! A well-formed secret that doesn't match — no such id, or a wrong secret: the same road — waits for one shared refresh
//! that started after the call arrived, and is then judged again: so a key just made on another replica verifies at once,
//! and UNKNOWN is never a guess. Keys in memory answer while the store is away, up to the bound of staleness.

pub mod census;
pub mod claims;
pub mod freshness;
mod history;
pub mod identities;
mod intake;
pub mod lookahead;
pub mod mirror;
pub mod observe;
pub mod owners;
pub mod position;
pub mod recogniser;
pub mod record;
pub mod refresh;
pub mod rehash;
pub mod revocation;
pub mod revocation_log;
mod table;
pub mod tally;
pub mod usage;
pub mod verdict;

use std::sync::Arc;

use futures_util::{FutureExt, future::ready};
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::domain::{
    Span, Time, limits,
    peer_name::PeerName,
    pepper::Peppers,
    secret::{PresentedSecret, id_in},
};

use freshness::{Demand, Freshness};
use identities::Certified;
use lookahead::Lookahead;
use mirror::{Found, LookUp, Mirror};
use position::Position;
use recogniser::Recogniser;
use record::Record;
use refresh::Refresher;
use rehash::RehashQueue;
use usage::Usage;
use verdict::{Question, Verdict, exists, judge};

/// Answers Verify.
pub struct Verifier {
    mirror: Arc<Mirror>,
    refresher: Refresher,
    peppers: Arc<Peppers>,
    rehash: Arc<RehashQueue>,
    usage: Arc<Usage>,
    clock: Clock,
    freshness: Freshness,
    recogniser: Recogniser,
}

/// An answer.
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The key, only when its secret matched.
    pub key: Option<Record>,
    /// How fresh the answer is.
    pub position: Position,
    /// The instant of the verdict.
    pub now: Time,
}

/// Why no verdict is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// The mirror isn't loaded yet, or is older than the bound or than the call demands.
    #[error("the mirror is older than the server's bound, or than the call demands")]
    Stale,
    /// The key isn't in memory and the store can't be asked.
    #[error("the key is not in memory and the store can't be asked")]
    StoreUnavailable,
    /// The key's stored row can't be understood.
    #[error("the stored key can't be understood")]
    Unreadable,
}

impl NoVerdict {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Stale, Self::StoreUnavailable, Self::Unreadable];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::StoreUnavailable => "store_unavailable",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Verifier {
    /// Puts the parts together. `staleness_bound`: how old the mirror may be and still answer.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the answer")]
    #[must_use]
    pub fn new(
        mirror: Arc<Mirror>,
        refresher: Refresher,
        peppers: Arc<Peppers>,
        rehash: Arc<RehashQueue>,
        usage: Arc<Usage>,
        clock: Clock,
        staleness_bound: Span,
        recogniser: Recogniser,
    ) -> Self {
        let freshness = Freshness::new(refresher.clone(), clock.clone(), staleness_bound);
        Self { mirror, refresher, peppers, rehash, usage, clock, freshness, recogniser }
    }

    /// Announces a text that will be judged soon.
    pub fn announce(&self, text: &[u8], lookahead: &Lookahead) {
        lookahead.announce(text, &self.mirror);
    }

    /// Judges one text that was presented at `arrival`; waits only for a look at the store, if it needs one. Any text gets a
    /// verdict, unless none is possible. What waits is behind a pointer: it is seldom, and everybody who verifies would carry
    /// its weight.
    pub fn verify<'a>(
        &'a self,
        text: &'a str,
        question: &'a Question<'a>,
        arrival: Moment,
    ) -> impl Future<Output = Result<Answer, NoVerdict>> + Send + 'a {
        match self.verify_now(text, question, arrival) {
            Ok(answer) => ready(answer).left_future(),
            Err(Wanted::Look) => self.verify_after_a_look(text, question).boxed().right_future(),
            Err(Wanted::Refresh) => self.verify_refreshed(text, question, arrival.time).boxed().right_future(),
        }
    }

    /// As [`verify`](Self::verify), from memory alone, with no lock held across anything; or what is wanted for a verdict.
    pub fn verify_now(
        &self,
        text: &str,
        question: &Question<'_>,
        arrival: Moment,
    ) -> Result<Result<Answer, NoVerdict>, Wanted> {
        // Before the look-up: an answer may know more than its revision says, never less.
        let position = self.freshness.as_it_stands(question.demand, arrival.boot_time).ok_or(Wanted::Look)?;
        match self.find(text, question, arrival.time) {
            Ok(Search::Missing) => Err(Wanted::Refresh),
            Ok(search) => Ok(Ok(self.answer(text, search, question, position, arrival.time))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Who calls, at `arrival`, by a certificate with these names; waits only for a look at the store, if it needs one: as
    /// for a secret that isn't known, so a name just mapped on another replica is known at once, and certificates without a
    /// mapped name share their looks. `Missing` is final.
    pub fn certify<'a>(
        &'a self,
        names: &'a [PeerName],
        arrival: Moment,
    ) -> impl Future<Output = Result<Certified, NoVerdict>> + Send + 'a {
        match self.freshness.as_it_stands(Demand::default(), arrival.boot_time).map(|_| self.mirror.certify(names)) {
            None => self.certify_after_a_look(names).boxed().right_future(),
            Some(Ok(Certified::Missing)) => self.certify_refreshed(names).boxed().right_future(),
            Some(certified) => ready(certified).left_future(),
        }
    }

    async fn certify_after_a_look(&self, names: &[PeerName]) -> Result<Certified, NoVerdict> {
        self.freshness.after_a_look(Demand::default()).await?;
        match self.mirror.certify(names)? {
            Certified::Missing => self.certify_refreshed(names).await,
            certified @ (Certified::Good(_) | Certified::OwnerDisabled | Certified::Ambiguous) => Ok(certified),
        }
    }

    async fn certify_refreshed(&self, names: &[PeerName]) -> Result<Certified, NoVerdict> {
        self.refreshed().await?;
        self.mirror.certify(names)
    }

    async fn verify_after_a_look(&self, text: &str, question: &Question<'_>) -> Result<Answer, NoVerdict> {
        let position = self.freshness.after_a_look(question.demand).await?;
        let now = self.clock.now();
        match self.find(text, question, now)? {
            Search::Missing => self.verify_refreshed(text, question, now).await,
            search @ (Search::Malformed | Search::Found(_)) => Ok(self.answer(text, search, question, position, now)),
        }
    }

    async fn verify_refreshed(&self, text: &str, question: &Question<'_>, now: Time) -> Result<Answer, NoVerdict> {
        let position = self.refreshed().await?;
        let search = self.find(text, question, now)?;
        Ok(self.answer(text, search, question, position, now))
    }

    /// Waits for one shared look that starts after this call.
    async fn refreshed(&self) -> Result<Position, NoVerdict> {
        match timeout(limits::MISS_WAIT, self.refresher.refresh()).await {
            Ok(Ok(())) => self.refresher.position().ok_or(NoVerdict::Stale),
            Ok(Err(_)) | Err(_) => Err(NoVerdict::StoreUnavailable),
        }
    }

    /// Whether Verify can answer: loaded, and not older than the bound.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.freshness.is_ready()
    }

    fn answer(&self, text: &str, search: Search, question: &Question<'_>, position: Position, now: Time) -> Answer {
        let found = match search {
            Search::Found(found) => found,
            Search::Malformed => return Answer { verdict: Verdict::Malformed, key: None, position, now },
            Search::Missing => return Answer { verdict: Verdict::Unknown, key: None, position, now },
        };
        let verdict = judge(&found, question, now);
        let key = found.key;
        if verdict == Verdict::Valid {
            self.move_to_current_pepper(text, &key);
            self.usage.note(&key, now);
        }
        Answer { verdict, key: Some(key), position, now }
    }

    fn move_to_current_pepper(&self, text: &str, key: &Record) {
        if key.pepper() == 0 {
            return;
        }
        if let (Some(retired), Some(secret)) = (self.peppers.at(key.pepper()), PresentedSecret::parse(text)) {
            self.rehash.offer(secret, retired.id());
        }
    }

    /// The key that this text opens, if it exists for this question. An unknown id costs as much as a known one.
    fn find(&self, text: &str, question: &Question<'_>, now: Time) -> Result<Search, NoVerdict> {
        let Some(id) = id_in(text.as_bytes()) else { return Ok(Search::Malformed) };
        let found = match self.mirror.look_up(id) {
            LookUp::Found(found) => Some(found).filter(|found| exists(found, question, now)),
            LookUp::Missing => None,
            LookUp::Unreadable if PresentedSecret::parse(text).is_none() => return Ok(Search::Malformed),
            LookUp::Unreadable => return Err(NoVerdict::Unreadable),
        };
        let fingerprint = self.recogniser.fingerprint(text);
        let found = match found {
            Some(found) if found.key.recognises(fingerprint) => return Ok(Search::Found(found)),
            found => found,
        };
        let Some(secret) = PresentedSecret::parse(text) else { return Ok(Search::Malformed) };
        let pepper = match &found {
            Some(found) => self.peppers.at(found.key.pepper()).ok_or(NoVerdict::Unreadable)?,
            None => self.peppers.current(),
        };
        let digest = pepper.digest(secret);
        Ok(match found.filter(|found| found.key.digest().matches(&digest)) {
            Some(found) => {
                found.key.remember(fingerprint);
                Search::Found(found)
            }
            None => Search::Missing,
        })
    }
}

/// What a verdict needs that memory alone doesn't give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A look at the store: what is in memory is too old.
    Look,
    /// A refresh: no key that it knows is opened by this text.
    Refresh,
}

/// What a text opens.
enum Search {
    /// It cannot be a secret.
    Malformed,
    /// Nothing, as far as memory knows.
    Missing,
    /// This key.
    Found(Found),
}
