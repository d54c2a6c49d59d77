//! The latest revocations, for whoever watches: a bounded log that knows since when it is complete.
//!
//! The follower writes it, look by look; watchers read it at their own pace from a [`Place`], and wake when something
//! happens. Between two looks nothing is visible, so whatever is told as of a revision leaves nothing before it out. A row
//! that changed again while a look was reading is told by that look, with its later revision: early, never late.

use std::collections::VecDeque;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::domain::{Revision, ids::TenantId, limits};

use super::position::Position;
use super::revocation::Revocation;

/// The log.
pub struct RevocationLog {
    log: RwLock<Log>,
    /// Counts what was written; the number itself says nothing.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    /// Of the log's life; a new one begins with each full load, and knows nothing of the one before.
    life: u64,
    /// The place of the first entry.
    start: u64,
    entries: VecDeque<Entry>,
    /// Everything after this revision is here.
    complete_after: Revision,
    /// The last revision that was seen of a history that the database lost; 0 = none. Whoever was told up to here, or less,
    /// may have been told of other changes than those that bear these revisions now.
    lost: Revision,
    /// `None` until the first load.
    position: Option<Position>,
}

struct Entry {
    /// What was told in full before the look that found this.
    told_before: Position,
    revocation: Revocation,
}

/// Where a watcher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    life: u64,
    next: u64,
    /// What it need not be told.
    after: Revision,
}

/// What a watcher is told next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In the order of revisions.
    pub revocations: Vec<Revocation>,
    /// Every change up to its revision is told with this.
    pub position: Position,
    /// Whether there is more to tell now.
    pub more: bool,
}

/// Why a watcher can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotTell {
    /// The log doesn't reach back that far, or began anew.
    #[error("the log does not reach back that far")]
    TooOld,
    /// The watcher was overtaken.
    #[error("the log was overwritten before it was read")]
    Lagged,
    /// The revision lies ahead of the mirror, or nothing is loaded.
    #[error("the mirror is not there yet")]
    Ahead,
}

impl Default for RevocationLog {
    fn default() -> Self {
        Self { log: RwLock::default(), written: watch::Sender::new(0) }
    }
}

impl RevocationLog {
    /// Begins anew after a full load, which read rows up to `highest`; whoever watches must forget what it remembers.
    /// `lost`: the last revision that was seen of a history that the database lost since the log began; 0 = none was.
    pub fn begin(&self, position: Position, highest: Revision, lost: Revision) {
        let mut log = self.log.write();
        *log = Log {
            life: log.life + 1,
            start: 0,
            entries: VecDeque::new(),
            complete_after: highest.max(position.revision),
            lost: log.lost.max(lost),
            position: Some(position),
        };
        drop(log);
        self.wake();
    }

    /// Writes what a look found, in any order, and how far it came.
    pub fn write(&self, mut found: Vec<Revocation>, position: Position) {
        found.sort_by_key(|revocation| revocation.revision);
        let found = without_those_below(found);
        let anything = !found.is_empty();
        let mut log = self.log.write();
        let told_before = log.position.unwrap_or(position);
        log.entries.extend(found.into_iter().map(|revocation| Entry { told_before, revocation }));
        log.position = Some(position);
        log.cut();
        drop(log);
        if anything {
            self.wake();
        }
    }

    /// The place of a watcher that wants everything after `revision`; `None` = from now on.
    pub fn place(&self, revision: Option<Revision>) -> Result<Place, CannotTell> {
        let log = self.log.read();
        if revision.is_some_and(|after| after <= log.lost) {
            return Err(CannotTell::TooOld);
        }
        // A load that met rows of later revisions knows of what came between only once it has caught up with them.
        let caught_up = log.position.filter(|position| position.revision >= log.complete_after);
        let position = caught_up.ok_or(CannotTell::Ahead)?;
        let Some(after) = revision else {
            return Ok(Place { life: log.life, next: log.end(), after: 0 });
        };
        if after < log.complete_after {
            return Err(CannotTell::TooOld);
        }
        if after > position.revision {
            return Err(CannotTell::Ahead);
        }
        Ok(Place { life: log.life, next: log.start, after })
    }

    /// What to tell a watcher of `tenant`, `None` = of all, at most 1,000; `place` moves behind it.
    pub fn tell(&self, place: &mut Place, tenant: Option<&TenantId>) -> Result<Told, CannotTell> {
        let log = self.log.read();
        let position = log.position.filter(|_| log.life == place.life).ok_or(CannotTell::TooOld)?;
        let skipped = place.next.checked_sub(log.start).ok_or(CannotTell::Lagged)?;
        let skipped = usize::try_from(skipped).map_err(|_| CannotTell::Lagged)?;
        let mut revocations = Vec::new();
        for entry in log.entries.range(skipped.min(log.entries.len())..) {
            let of_tenant = tenant.is_none_or(|tenant| entry.revocation.subject.tenant() == tenant);
            if of_tenant && entry.revocation.revision > place.after {
                if revocations.len() == limits::REVOCATIONS_PER_MESSAGE {
                    let revision = entry.told_before.revision.max(place.after);
                    return Ok(Told { revocations, position: Position { revision, ..entry.told_before }, more: true });
                }
                revocations.push(entry.revocation.clone());
            }
            place.next += 1;
        }
        Ok(Told { revocations, position, more: false })
    }

    /// Wakes when something was written after this call.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn wake(&self) {
        self.written.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Log {
    fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    fn cut(&mut self) {
        while self.entries.len() > limits::REVOCATIONS_KEPT {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.start += 1;
            self.complete_after = self.complete_after.max(oldest.revocation.revision);
        }
    }
}

/// An owner's change that takes its keys with it is told once, by the owner's name. `found` is in the order of revisions.
fn without_those_below(found: Vec<Revocation>) -> Vec<Revocation> {
    let mut kept: Vec<Revocation> = Vec::with_capacity(found.len());
    for same_revision in found.chunk_by(|one, other| one.revision == other.revision) {
        let owners: Vec<_> = same_revision.iter().filter(|one| one.subject.is_owner()).collect();
        let told = |one: &&Revocation| !owners.iter().any(|owner| one.subject.is_below(&owner.subject));
        kept.extend(same_revision.iter().filter(told).cloned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootTime;
    use crate::domain::Time;
    use crate::domain::ids::{KeyId, KeyName, ServiceUserName};
    use crate::verify::revocation::{Cause, Subject};

    fn owner(tenant: &str) -> ServiceUserName {
        ServiceUserName::parse(&format!("tenants/{tenant}/serviceUsers/billing")).expect("a name")
    }

    fn key(revision: Revision, tenant: &str) -> Revocation {
        let name = KeyName { owner: owner(tenant), id: KeyId::from_random([7; 16]) };
        Revocation { revision, subject: Subject::Key(name), cause: Cause::Revoked }
    }

    fn of(revision: Revision, subject: Subject) -> Revocation {
        Revocation { revision, subject, cause: Cause::Deleted }
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).expect("an id")
    }

    fn at(revision: Revision) -> Position {
        let as_of = Time::from_timestamp(revision, 0).expect("a time");
        Position { revision, as_of, looked: BootTime::from_microseconds(revision) }
    }

    fn revisions(told: &Told) -> Vec<Revision> {
        told.revocations.iter().map(|revocation| revocation.revision).collect()
    }

    fn begun(revision: Revision) -> RevocationLog {
        let log = RevocationLog::default();
        assert_eq!(log.place(None), Err(CannotTell::Ahead), "nothing is loaded");
        log.begin(at(revision), revision, 0);
        log
    }

    #[test]
    fn everything_after_the_place_is_told_once_and_to_whom_it_concerns() {
        let log = begun(10);
        let (mut all, mut own) = (log.place(None).expect("a place"), log.place(Some(10)).expect("a place"));
        log.write(vec![key(12, "acme"), key(11, "bolt")], at(12));
        log.write(Vec::new(), at(13));
        let told = log.tell(&mut all, None).expect("told");
        assert_eq!((revisions(&told), told.position, told.more), (vec![11, 12], at(13), false));
        assert_eq!(revisions(&log.tell(&mut own, Some(&tenant("acme"))).expect("told")), [12]);
        log.write(vec![key(14, "acme")], at(14));
        assert_eq!(revisions(&log.tell(&mut all, None).expect("told")), [14]);
        let mut later = log.place(Some(12)).expect("a place");
        assert_eq!(revisions(&log.tell(&mut later, None).expect("told")), [14]);
        assert_eq!(log.place(Some(9)), Err(CannotTell::TooOld));
        assert_eq!(log.place(Some(15)), Err(CannotTell::Ahead));
    }

    #[test]
    fn a_part_says_only_what_was_told_in_full() {
        let log = begun(10);
        let mut place = log.place(None).expect("a place");
        log.write(vec![key(11, "acme")], at(12));
        log.write(vec![key(13, "acme"); limits::REVOCATIONS_PER_MESSAGE], at(14));
        let told = log.tell(&mut place, None).expect("told");
        assert_eq!((told.revocations.len(), told.position, told.more), (limits::REVOCATIONS_PER_MESSAGE, at(12), true));
        let rest = log.tell(&mut place, None).expect("told");
        assert_eq!((revisions(&rest), rest.position, rest.more), (vec![13], at(14), false));
    }

    #[test]
    fn an_owner_that_takes_its_keys_with_it_is_told_alone() {
        let log = begun(1);
        let mut place = log.place(None).expect("a place");
        let user = of(3, Subject::ServiceUser(owner("acme")));
        let gone = of(4, Subject::Tenant(tenant("acme")));
        let found = vec![
            gone.clone(),
            user.clone(),
            of(4, Subject::ServiceUser(owner("acme"))),
            key(2, "acme"),
            key(3, "acme"),
            key(3, "bolt"),
            key(4, "acme"),
        ];
        log.write(found, at(4));
        let told = log.tell(&mut place, None).expect("told").revocations;
        assert_eq!(told, [key(2, "acme"), user, key(3, "bolt"), gone]);
    }

    #[test]
    fn what_was_overwritten_or_began_anew_is_not_passed_over_in_silence() {
        let log = begun(1);
        let (mut slow, revision) = (log.place(None).expect("a place"), 2);
        let kept = i64::try_from(limits::REVOCATIONS_KEPT).expect("a number");
        log.write((revision..=revision + kept).map(|revision| key(revision, "acme")).collect(), at(revision + kept));
        assert_eq!(log.tell(&mut slow, None), Err(CannotTell::Lagged));
        assert_eq!(log.place(Some(1)), Err(CannotTell::TooOld));
        let mut first = log.place(Some(2)).expect("a place");
        assert_eq!(revisions(&log.tell(&mut first, None).expect("told"))[0], 3);
        log.begin(at(5), 7, 0);
        assert_eq!(log.tell(&mut first, None), Err(CannotTell::TooOld));
        assert_eq!(log.place(None), Err(CannotTell::Ahead), "what came between 5 and 7 is not known");
        log.write(vec![key(8, "acme")], at(8));
        assert_eq!(log.place(Some(6)), Err(CannotTell::TooOld));
        let mut anew = log.place(Some(7)).expect("a place");
        assert_eq!(revisions(&log.tell(&mut anew, None).expect("told")), [8]);
    }

    #[test]
    fn only_news_wakes() {
        let log = begun(1);
        let mut wake = log.subscribe();
        log.write(Vec::new(), at(2));
        assert!(!wake.has_changed().expect("alive"));
        log.write(vec![key(3, "acme")], at(3));
        assert!(wake.has_changed().expect("alive"));
        wake.mark_unchanged();
        log.begin(at(4), 4, 0);
        assert!(wake.has_changed().expect("alive"));
    }
}
