//! Answers remembered, and what the watch tells about them. Pure and synchronous: time is an argument.
//!
//! An answer counts only while these hold; each is asked at every look, so nothing has to be searched and removed when a
//! change is told, and an answer that arrives late can't undo one:
//!
//! 1. The watch is followed: what it told is at most the bound old.
//! 2. Nothing newer than the answer's revision was told of its key, its service user or its tenant. This holds whichever of
//!    the two came first, the change or the answer that doesn't know it.
//! 3. `expire_time` isn't reached by the server's clock.
//! 4. It was asked for within [`limits::ANSWER_LIFE`].
//!
//! Only VALID is remembered: the watch tells of what makes a VALID wrong, and not of keys that become good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::v1::Revocation;

use super::fingerprint::Fingerprint;
use super::server_clock::{LocalTime, ServerClock, ServerTime};
use super::{Identity, limits};

/// An answer VALID.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) identity: Arc<Identity>,
    /// Every change up to here is in it.
    pub(super) revision: i64,
    pub(super) expire_time: Option<ServerTime>,
    /// When it was asked for.
    pub(super) asked: LocalTime,
}

/// One message of the watch.
pub(super) struct News {
    /// Every change up to here was told.
    pub(super) revision: i64,
    pub(super) as_of: ServerTime,
    pub(super) revocations: Vec<Revocation>,
    /// The server's clock as of this message.
    pub(super) clock: ServerClock,
}

/// What the watch told so far.
struct Followed {
    revision: i64,
    /// What happened up to here isn't known any more: answers must be at least as new.
    floor: i64,
    as_of: ServerTime,
    clock: ServerClock,
    /// The revision of the last change of each name.
    told: HashMap<String, i64>,
}

/// The answers.
///
/// Two halves keep it within its capacity: new and used answers go to the young half; when that is full it becomes the old
/// one, and what wasn't used since is gone.
pub(super) struct Cache {
    /// In microseconds.
    bound: i64,
    half: usize,
    followed: Option<Followed>,
    young: HashMap<Fingerprint, Answer>,
    old: HashMap<Fingerprint, Answer>,
}

impl Cache {
    /// An empty one, which remembers nothing before the watch's first message.
    pub(super) fn new(bound: Duration, capacity: usize) -> Self {
        let half = (capacity / 2).max(1);
        Self { bound: microseconds(bound), half, followed: None, young: HashMap::new(), old: HashMap::new() }
    }

    /// The answer to a question, if one is remembered and counts.
    pub(super) fn look_up(&mut self, question: &Fingerprint, now: LocalTime) -> Option<Arc<Identity>> {
        self.drop_if_cut_off(now);
        let followed = self.followed.as_ref()?;
        if let Some(answer) = self.young.get(question) {
            return followed.counts(answer, now).then(|| answer.identity.clone());
        }
        let answer = self.old.remove(question).filter(|answer| followed.counts(answer, now))?;
        let identity = answer.identity.clone();
        self.put(*question, answer);
        Some(identity)
    }

    /// Remembers an answer, if it counts.
    pub(super) fn insert(&mut self, question: Fingerprint, answer: Answer, now: LocalTime) {
        self.drop_if_cut_off(now);
        if self.followed.as_ref().is_some_and(|followed| followed.counts(&answer, now)) {
            self.put(question, answer);
        }
    }

    /// Takes in what the watch told.
    pub(super) fn hear(&mut self, news: News, now: LocalTime) {
        self.drop_if_cut_off(now);
        match &mut self.followed {
            Some(followed) => followed.hear(news),
            None => {
                let News { revision, as_of, revocations: _, clock } = news;
                self.followed = Some(Followed { revision, floor: revision, as_of, clock, told: HashMap::new() });
            }
        }
    }

    /// Drops everything, until the watch tells something again.
    pub(super) fn forget(&mut self) {
        if self.followed.take().is_some() {
            self.young = HashMap::new();
            self.old = HashMap::new();
        }
    }

    /// Whether answers may be given from memory.
    pub(super) fn is_followed(&self, now: LocalTime) -> bool {
        self.followed.as_ref().is_some_and(|followed| followed.age(now) <= self.bound)
    }

    /// The revision from which a new watch has to go on; 0 when there is nothing to go on with.
    pub(super) fn resume_from(&mut self, now: LocalTime) -> i64 {
        self.drop_if_cut_off(now);
        self.followed.as_ref().map_or(0, |followed| followed.revision)
    }

    /// Once cut off, everything is dropped rather than kept for later: a watch that begins anew needs to know nothing of what
    /// happened meanwhile, not even whether the database lost writes and used their revisions again.
    fn drop_if_cut_off(&mut self, now: LocalTime) {
        if !self.is_followed(now) {
            self.forget();
        }
    }

    fn put(&mut self, question: Fingerprint, answer: Answer) {
        if self.young.len() >= self.half && !self.young.contains_key(&question) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&question);
        self.young.insert(question, answer);
    }
}

impl Followed {
    fn hear(&mut self, news: News) {
        self.revision = self.revision.max(news.revision);
        self.as_of = news.as_of;
        self.clock = news.clock;
        for revocation in news.revocations {
            let last = self.told.entry(revocation.name).or_insert(revocation.revision);
            *last = (*last).max(revocation.revision);
        }
        if self.told.len() > limits::NAMES_TOLD {
            self.told = HashMap::new();
            self.floor = self.revision;
        }
    }

    fn counts(&self, answer: &Answer, now: LocalTime) -> bool {
        let Identity { key, service_user, tenant, .. } = &*answer.identity;
        let is_told = [key, service_user, tenant]
            .into_iter()
            .any(|name| self.told.get(name).is_some_and(|&changed| changed > answer.revision));
        let is_expired = answer.expire_time.is_some_and(|time| self.clock.latest(now) >= time);
        let is_old = now.0.saturating_sub(answer.asked.0) >= microseconds(limits::ANSWER_LIFE);
        answer.revision >= self.floor && !is_told && !is_expired && !is_old
    }

    /// How old what was told may be by now, in microseconds: the server's own lag included.
    fn age(&self, now: LocalTime) -> i64 {
        self.clock.latest(now).0.saturating_sub(self.as_of.0)
    }
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    /// What the server's clock shows when ours shows 0.
    const EPOCH: i64 = 1_800_000_000 * SECOND;
    const OWNER: &str = "tenants/acme/serviceUsers/billing";

    fn cache() -> Cache {
        Cache::new(Duration::from_secs(5), 8)
    }

    fn at(seconds: i64) -> LocalTime {
        LocalTime(seconds * SECOND)
    }

    /// A message that was sent and received at `seconds`, and is as of then.
    fn hear(cache: &mut Cache, seconds: i64, revision: i64, changes: &[(&str, i64)]) {
        hear_with_lag(cache, seconds, 0, revision, changes);
    }

    fn hear_with_lag(cache: &mut Cache, seconds: i64, lag: i64, revision: i64, changes: &[(&str, i64)]) {
        let clock = ServerClock::new(LocalTime(0), ServerTime(EPOCH), LocalTime(0));
        let change =
            |&(name, revision): &(&str, i64)| Revocation { name: name.to_owned(), revision, ..Revocation::default() };
        let as_of = ServerTime(EPOCH + (seconds - lag) * SECOND);
        let revocations = changes.iter().map(change).collect();
        cache.hear(News { revision, as_of, revocations, clock }, at(seconds));
    }

    fn question(n: usize) -> Fingerprint {
        Fingerprint::new(&n.to_string(), None, &[""; 0])
    }

    /// Question `n` is about key `n`.
    fn answer(n: usize, revision: i64, asked: LocalTime) -> Answer {
        let identity = Identity {
            key: format!("{OWNER}/keys/{n}"),
            service_user: OWNER.to_owned(),
            tenant: "tenants/acme".to_owned(),
            scopes: Vec::new(),
            role: "member".to_owned(),
            on_behalf_of: None,
            key_group: None,
            integration_type: None,
            expire_time: None,
            expiring_soon: false,
            superseded_by: None,
        };
        Answer { identity: Arc::new(identity), revision, expire_time: None, asked }
    }

    fn insert(cache: &mut Cache, n: usize, revision: i64, seconds: i64) {
        cache.insert(question(n), answer(n, revision, at(seconds)), at(seconds));
    }

    fn remembers(cache: &mut Cache, n: usize, seconds: i64) -> bool {
        cache.look_up(&question(n), at(seconds)).is_some()
    }

    #[test]
    fn nothing_is_remembered_before_the_watch_told_something() {
        let mut cache = cache();
        insert(&mut cache, 1, 10, 0);
        hear(&mut cache, 0, 10, &[]);
        assert!(!remembers(&mut cache, 1, 0));
        insert(&mut cache, 1, 10, 0);
        assert!(remembers(&mut cache, 1, 0));
        assert!(!remembers(&mut cache, 2, 0));
    }

    #[test]
    fn an_answer_older_than_the_watch_is_not_remembered() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 9, 0);
        assert!(!remembers(&mut cache, 1, 0));
    }

    #[test]
    fn a_change_drops_the_key_or_everything_below_its_owner() {
        for (name, drops_the_other) in [("keys/1", false), (OWNER, true), ("tenants/acme", true)] {
            let mut cache = cache();
            hear(&mut cache, 0, 10, &[]);
            insert(&mut cache, 1, 10, 0);
            insert(&mut cache, 2, 10, 0);
            let name = if name == "keys/1" { format!("{OWNER}/keys/1") } else { name.to_owned() };
            hear(&mut cache, 1, 11, &[(&name, 11)]);
            assert!(!remembers(&mut cache, 1, 1), "{name}");
            assert_eq!(remembers(&mut cache, 2, 1), !drops_the_other, "{name}");
            // An answer that knows the change is remembered again.
            insert(&mut cache, 1, 11, 1);
            assert!(remembers(&mut cache, 1, 1), "{name}");
        }
    }

    #[test]
    fn an_answer_that_began_before_a_change_is_not_remembered_after_it() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        hear(&mut cache, 1, 12, &[(&format!("{OWNER}/keys/1"), 12)]);
        insert(&mut cache, 1, 11, 1);
        assert!(!remembers(&mut cache, 1, 1));
        // Told twice, and the older one last: the newer one stays.
        hear(&mut cache, 1, 12, &[(&format!("{OWNER}/keys/1"), 11)]);
        insert(&mut cache, 1, 11, 1);
        assert!(!remembers(&mut cache, 1, 1));
        insert(&mut cache, 2, 11, 1);
        assert!(remembers(&mut cache, 2, 1), "the change was another key's");
    }

    #[test]
    fn dead_at_the_instant() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        let answer = Answer { expire_time: Some(ServerTime(EPOCH + 2 * SECOND)), ..answer(1, 10, at(0)) };
        cache.insert(question(1), answer, at(0));
        assert!(cache.look_up(&question(1), LocalTime(2 * SECOND - 1)).is_some());
        assert!(cache.look_up(&question(1), LocalTime(2 * SECOND)).is_none());
    }

    #[test]
    fn cut_off_for_longer_than_the_bound_drops_everything_for_good() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        assert!(remembers(&mut cache, 1, 5));
        assert_eq!(cache.resume_from(at(5)), 10);
        assert!(cache.look_up(&question(1), LocalTime(5 * SECOND + 1)).is_none());
        assert!(!cache.is_followed(at(6)));
        assert_eq!(cache.resume_from(at(6)), 0);
        hear(&mut cache, 7, 10, &[]);
        assert!(!remembers(&mut cache, 1, 7));
        insert(&mut cache, 1, 10, 7);
        assert!(remembers(&mut cache, 1, 7));
    }

    #[test]
    fn cut_off_without_anybody_looking_drops_everything_too() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        hear(&mut cache, 6, 10, &[]);
        assert!(!remembers(&mut cache, 1, 6));
        assert!(cache.is_followed(at(6)));
    }

    #[test]
    fn a_server_that_lags_counts_as_cut_off() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        hear_with_lag(&mut cache, 4, 4, 10, &[]);
        assert!(remembers(&mut cache, 1, 5));
        hear_with_lag(&mut cache, 6, 6, 10, &[]);
        assert!(!remembers(&mut cache, 1, 6));
    }

    #[test]
    fn too_old_to_resume_forgets_everything() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        cache.forget();
        assert_eq!(cache.resume_from(at(1)), 0);
        hear(&mut cache, 1, 20, &[]);
        assert!(!remembers(&mut cache, 1, 1));
    }

    #[test]
    fn an_answer_has_a_longest_life() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        for second in 1..300 {
            hear(&mut cache, second, 10, &[]);
            assert!(remembers(&mut cache, 1, second));
        }
        assert!(!remembers(&mut cache, 1, 300));
    }

    #[test]
    fn it_never_holds_more_than_its_capacity_and_keeps_what_is_used() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        for n in 0..1_000 {
            insert(&mut cache, n, 10, 0);
            assert!(cache.young.len() + cache.old.len() <= 8);
            assert!(remembers(&mut cache, 0, 0), "used all the time, after {n}");
        }
        assert!(remembers(&mut cache, 999, 0));
        assert!(!remembers(&mut cache, 500, 0));
    }

    #[test]
    fn very_many_changes_are_not_all_remembered_and_none_is_missed() {
        let mut cache = cache();
        hear(&mut cache, 0, 10, &[]);
        insert(&mut cache, 1, 10, 0);
        let names: Vec<String> = (0..=limits::NAMES_TOLD).map(|n| format!("{OWNER}/keys/other-{n}")).collect();
        let changes: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 11)).collect();
        hear(&mut cache, 1, 11, &changes);
        assert!(cache.followed.as_ref().is_some_and(|followed| followed.told.is_empty()));
        assert!(!remembers(&mut cache, 1, 1), "it could be one of those that aren't known any more");
        insert(&mut cache, 1, 10, 1);
        assert!(!remembers(&mut cache, 1, 1));
        insert(&mut cache, 1, 11, 1);
        assert!(remembers(&mut cache, 1, 1));
    }
}
