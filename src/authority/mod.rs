//! The use cases of the control plane: authorise → domain → store, one file per resource.
//!
//! A change waits for its turn as long as its caller does. Once begun it runs in a task of its own, to its end, even when the
//! caller hangs up: nothing is ever half done, and expired work isn't started (reliability.md R32). Before it answers it
//! waits until this replica's own mirror has it.

pub mod audit;
pub mod call;
mod creations;
pub mod denials;
pub mod expiry;
pub mod first_start;
pub mod forks;
pub mod housekeeping;
pub mod key_groups;
pub mod keys;
mod line;
mod new_keys;
pub mod notifications;
pub mod reach;
pub mod replays;
pub mod reveal;
pub mod rewrap;
pub mod root_key;
pub mod rotation;
pub mod service_users;
pub mod tenants;
pub mod unsubscribe;
pub mod user_groups;

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::clock::Clock;
use crate::domain::{
    Refusal, Revision,
    caller::Caller,
    kek::{KekId, Keks},
    limits,
    page::PageTokens,
    pepper::Peppers,
    replica::ReplicaId,
};
use crate::random::NoRandomness;
use crate::store::{Grants, Store, StoreError, Write};

use call::Call;
use denials::Denials;
use replays::ReplaySeal;

/// The use cases, and what they need. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    peppers: Arc<Peppers>,
    keks: Option<Keks>,
    clock: Clock,
    changes: TaskTracker,
    replica: ReplicaId,
    denials: Denials,
    page_tokens: PageTokens,
    replay_seal: ReplaySeal,
    creations: creations::Line,
}

/// Why a use case didn't do it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No secret could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The caller's credential ended or was narrowed while it called.
    #[error("the caller's credential is not what it was when it called")]
    CallerEnded,
    /// A retrievable secret can't be sealed, or opened: this process hasn't got the KEK. `None`: it has none at all.
    #[error("the KEK {} isn't here", .0.as_ref().map_or("for new keys", KekId::as_str))]
    KekUnavailable(Option<KekId>),
    /// A defect of ours.
    #[error("defect: {0}")]
    Defect(String),
}

impl Authority {
    /// Puts the parts together. Without `keks` no key can be made retrievable, or revealed. `changes` tracks running changes,
    /// so that shutdown can wait for them; `replica` is this process.
    #[must_use]
    pub fn new(
        store: Store,
        peppers: Arc<Peppers>,
        keks: Option<Keks>,
        clock: Clock,
        changes: TaskTracker,
        replica: ReplicaId,
    ) -> Self {
        let page_tokens = PageTokens::new(&peppers);
        let replay_seal = ReplaySeal::new(&peppers);
        let (denials, creations) = (Denials::default(), creations::Line::new(limits::CREATES_PER_TURN));
        let shared =
            Shared { store, peppers, keks, clock, changes, replica, denials, page_tokens, replay_seal, creations };
        Self { shared: Arc::new(shared) }
    }

    /// Counts refusals.
    #[must_use]
    pub fn denials(&self) -> &Denials {
        &self.shared.denials
    }

    /// Makes and checks page tokens.
    #[must_use]
    pub fn page_tokens(&self) -> &PageTokens {
        &self.shared.page_tokens
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Waits for a turn to write, as long as the caller does; then runs the change to its end, whatever becomes of the
    /// caller, and brings it into this replica's mirror.
    ///
    /// The caller was recognised from the mirror, which may be a moment behind. In its turn, when nothing can overtake it
    /// any more, the change asks the store itself: a key revoked on another replica changes nothing after that, nor does a
    /// certificate whose name isn't mapped any more.
    async fn change<T, F>(&self, call: Call, change: impl FnOnce(Write, Call) -> F) -> Result<T, AuthorityError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Changed<T>, AuthorityError>> + Send + 'static,
    {
        let write = self.store().write().await?;
        require_unchanged(&write, &call).await?;
        self.finish(change(write, call)).await
    }

    /// Runs a change that has its turn to its end, whatever becomes of who waits for it, and brings it into this replica's
    /// mirror.
    async fn finish<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<Changed<T>, AuthorityError>> + Send + 'static,
    ) -> Result<T, AuthorityError> {
        let ended = self.shared.changes.spawn(change.instrument(Span::current())).await;
        let changed = ended.map_err(|error| AuthorityError::Defect(format!("a change panicked: {error}")))??;
        self.store().followed(changed.revision, limits::OWN_MIRROR_WAIT).await;
        Ok(changed.answer)
    }
}

/// Refuses a caller whose credential isn't, or doesn't grant, what it was recognised by.
async fn require_unchanged(write: &Write, call: &Call) -> Result<(), AuthorityError> {
    require_same_grants(write.grants(&call.caller.credential, call.now).await?.as_ref(), &call.caller)
}

/// The same, when it is known what the credential grants.
fn require_same_grants(found: Option<&Grants>, caller: &Caller) -> Result<(), AuthorityError> {
    match found {
        Some(found) if found.scopes == caller.scopes && found.networks == caller.networks => Ok(()),
        Some(_) | None => Err(AuthorityError::CallerEnded),
    }
}

/// What a change answers, and the revision from which on it is true: its own, or an earlier one when there was nothing to
/// change.
struct Changed<T> {
    answer: T,
    revision: Revision,
}

impl<T> Changed<T> {
    fn at(revision: Revision, answer: T) -> Self {
        Self { answer, revision }
    }
}
