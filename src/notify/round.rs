//! What the workers of one run share: the report, what a tenant's mails say, and how the mail server behaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{Revision, Time, delivery::Delivery, ids::TenantId, limits};
use crate::store::{Due, Store, StoreError};

use super::{
    PostOffice, Report,
    digest::Digest,
    mailer::Sending,
    message::{ComposeError, Words},
};

/// One run.
pub(super) struct Round<'a> {
    pub(super) post: &'a PostOffice,
    pub(super) tenant: Option<&'a TenantId>,
    deadline: Instant,
    report: Mutex<Report>,
    /// Failures in a row that no recipient is to blame for.
    failures: AtomicUsize,
    trouble: Mutex<Option<String>>,
    facts: Mutex<Option<Facts>>,
}

/// What the mails of one tenant and instant say, as of a revision.
struct Facts {
    tenant: TenantId,
    due_time: Time,
    revision: Revision,
    counted: Instant,
    letter: Arc<Letter>,
}

/// What everybody of a tenant is written.
pub(super) struct Letter {
    pub(super) digest: Digest,
    pub(super) words: Result<Words, ComposeError>,
}

impl<'a> Round<'a> {
    pub(super) fn new(post: &'a PostOffice, tenant: Option<&'a TenantId>, deadline: Instant, report: Report) -> Self {
        let (failures, trouble, facts) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        Self { post, tenant, deadline, report: Mutex::new(report), failures, trouble, facts }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.report.lock());
    }

    pub(super) fn report(&self) -> Report {
        *self.report.lock()
    }

    /// The mail server's words when it, and no recipient, was the problem.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    pub(super) fn note(&self, sending: &Sending) {
        match sending {
            Sending::Trouble(answer) => {
                self.note_failure();
                self.trouble.lock().get_or_insert_with(|| without_addresses(answer));
            }
            Sending::Taken(_) | Sending::Refused(_) | Sending::NotNow(_) => self.failures.store(0, Ordering::Relaxed),
        }
    }

    pub(super) fn note_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there is no sense in going on for now.
    pub(super) fn has_failed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= limits::FAILURES
    }

    /// What a mail says, as of now; `None` when nothing is left to say. Nothing that a change could have made untrue is
    /// used again, but for the count of those keys that aren't listed, which may be 30 s old.
    pub(super) async fn letter(
        &self,
        store: &Store,
        delivery: &Delivery,
        now: Time,
    ) -> Result<Option<Arc<Letter>>, StoreError> {
        let revision = store.revision().await?;
        let known = {
            let facts = self.facts.lock();
            let same = facts.as_ref().filter(|known| known.is_of(delivery));
            same.map(|known| (known.is_true(revision, now), known.counted, Arc::clone(&known.letter)))
        };
        if let Some((true, _, letter)) = known {
            return Ok(Some(letter));
        }
        let Some(tenant) = store.tenant(&delivery.tenant).await? else { return Ok(None) };
        let due = Due { tenant: tenant.id.clone(), at: delivery.due_time, now };
        let (keys, more) = store.first_warned_keys(&due, limits::DIGEST_KEYS).await?;
        if keys.is_empty() {
            return Ok(None);
        }
        let recent = known.filter(|(_, counted, _)| counted.elapsed() < limits::COUNT_AGE);
        let (counted, key_count) = match (more, recent) {
            (false, _) => (Instant::now(), keys.len() as u64),
            (true, Some((_, counted, letter))) => (counted, letter.digest.key_count),
            (true, None) => (Instant::now(), store.warned_key_count(&due).await?),
        };
        let digest = Digest {
            tenant: tenant.id.clone(),
            tenant_display_name: tenant.display_name,
            zone: tenant.calendar.zone,
            day: delivery.day,
            now,
            keys,
            key_count,
        };
        let words = self.post.letterhead.words(&digest);
        let letter = Arc::new(Letter { digest, words });
        let facts =
            Facts { tenant: tenant.id, due_time: delivery.due_time, revision, counted, letter: Arc::clone(&letter) };
        *self.facts.lock() = Some(facts);
        Ok(Some(letter))
    }
}

impl Facts {
    fn is_of(&self, delivery: &Delivery) -> bool {
        self.tenant == delivery.tenant && self.due_time == delivery.due_time
    }

    fn is_true(&self, revision: Revision, now: Time) -> bool {
        let nearest = self.letter.digest.keys.first();
        self.revision == revision && nearest.is_some_and(|nearest| nearest.expire_time > now)
    }
}

/// For the log, where people's addresses have no place.
fn without_addresses(answer: &str) -> String {
    let words = answer.split_whitespace().map(|word| if word.contains('@') { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
