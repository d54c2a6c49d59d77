//! Keeps the mirror equal to the store: one task that looks at the feed when poked and at least once a second.
//!
//! A poke says "look", never what changed. Whoever must be sure that nothing older than its own arrival is in the mirror
//! waits for a refresh that *started after* it asked; everybody who waits shares that one, and refreshes start at least
//! 5 ms apart, so a flood of wrong secrets costs the database a bounded number of queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::{
    Revision, Span, Time,
    ids::{KeyId, ServiceUserName, TenantId},
    limits,
};
use crate::store::{Cursor, Feed, FeedRow, StoreError};

use super::mirror::Mirror;

/// A round trip that took longer says too little about the database's clock: this process may have been paused.
const LONGEST_SAMPLE: Span = Span::seconds(1);

/// How far the mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Every change up to this revision is in.
    pub revision: Revision,
    /// The instant as of which this is so: start of the last good look.
    pub as_of: Time,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    finished: u64,
    succeeded: bool,
    /// `None` until the first load is complete.
    position: Option<Position>,
}

/// A handle to the task.
#[derive(Clone)]
pub struct Refresher {
    feed: Feed,
    started: Arc<AtomicU64>,
    progress: watch::Receiver<Progress>,
}

/// The refresh that was waited for failed: the store can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshFailed;

impl Refresher {
    /// Starts the task; it ends with `stop`.
    #[must_use]
    pub fn start(mirror: Arc<Mirror>, feed: Feed, clock: Clock, stop: CancellationToken) -> Self {
        let started = Arc::new(AtomicU64::new(0));
        let (sender, progress) = watch::channel(Progress { finished: 0, succeeded: false, position: None });
        let follower =
            Follower { mirror, feed: feed.clone(), clock, position: None, last_sweep: None, clock_is_wrong: false };
        let task = follower.run(Arc::clone(&started), sender);
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
        Self { feed, started, progress }
    }

    /// Waits for one refresh that started after this call.
    pub async fn refresh(&self) -> Result<(), RefreshFailed> {
        let wanted = self.started.load(Ordering::SeqCst) + 1;
        self.feed.poke();
        let mut progress = self.progress.clone();
        let finished = progress.wait_for(|progress| progress.finished >= wanted).await.map_err(|_| RefreshFailed)?;
        if finished.succeeded { Ok(()) } else { Err(RefreshFailed) }
    }

    /// The number of the look that runs now, or ran last.
    #[must_use]
    pub fn look_number(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// How far the mirror is; `None` until the first load is complete.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.progress.borrow().position
    }

    /// Whether the last look failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        let progress = self.progress.borrow();
        progress.finished > 0 && !progress.succeeded
    }

    /// Waits for the next look to end, good or bad.
    pub async fn looked(&mut self) {
        // An error means that the task has ended; then nothing will change any more.
        if self.progress.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

struct Follower {
    mirror: Arc<Mirror>,
    feed: Feed,
    clock: Clock,
    position: Option<Position>,
    last_sweep: Option<Time>,
    clock_is_wrong: bool,
}

impl Follower {
    async fn run(mut self, started: Arc<AtomicU64>, progress: watch::Sender<Progress>) {
        loop {
            let earliest = Instant::now() + limits::POLL_SPACING;
            let number = started.fetch_add(1, Ordering::SeqCst) + 1;
            let outcome = self.look().await;
            let succeeded = match &outcome {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%error, "the mirror could not be refreshed; answering from memory");
                    false
                }
            };
            progress.send_replace(Progress { finished: number, succeeded, position: self.position });
            let _ = timeout(limits::POLL_INTERVAL, self.feed.poked()).await;
            sleep_until(earliest).await;
        }
    }

    /// Bounded statement by statement, not as a whole: a look that has much to catch up with must get through.
    async fn look(&mut self) -> Result<(), StoreError> {
        let as_of = self.clock.now();
        let look = self.feed.look().await?;
        if let Some(time) = look.database_time {
            self.discipline_clock(as_of, time);
        }
        let seen = self.seen(as_of);
        if look.revision < seen {
            let why = format!("the database went back from revision {seen} to {}: it lost changes", look.revision);
            return Err(StoreError::Unavailable(why));
        }
        if look.revision > seen || self.position.is_none() {
            self.follow(seen).await?;
        }
        self.position = Some(Position { revision: look.revision, as_of });
        self.feed.see(look.revision);
        self.sweep(as_of);
        Ok(())
    }

    /// The revision up to which rows are in; after a day without a look everything is loaded anew, because rows may have
    /// been purged in between.
    fn seen(&mut self, now: Time) -> Revision {
        match self.position {
            Some(position) if now - position.as_of > Span::hours(24) => {
                self.mirror.clear();
                self.position = None;
                0
            }
            Some(position) => position.revision,
            None => 0,
        }
    }

    /// Owners before keys. No upper bound: a row that changes again meanwhile moves to the end and is met there.
    async fn follow(&self, seen: Revision) -> Result<(), StoreError> {
        let mut cursor = Cursor::start_after(seen);
        loop {
            let rows = self.feed.tenants(&cursor).await?;
            let Some(last) = rows.last() else { break };
            cursor = Cursor::after(last);
            rows.into_iter().for_each(|row| self.put_tenant(row));
        }
        cursor = Cursor::start_after(seen);
        loop {
            let rows = self.feed.service_users(&cursor).await?;
            let Some(last) = rows.last() else { break };
            cursor = Cursor::after(last);
            rows.into_iter().for_each(|row| self.put_service_user(row));
        }
        cursor = Cursor::start_after(seen);
        loop {
            let rows = self.feed.keys(&cursor).await?;
            let Some(last) = rows.last() else { break };
            cursor = Cursor::after(last);
            rows.into_iter().for_each(|row| self.put_key(row));
        }
        Ok(())
    }

    fn put_tenant(&self, row: FeedRow<crate::domain::owner::Tenant>) {
        match (row.content, TenantId::parse(&row.id)) {
            (Ok(tenant), _) => self.mirror.put_tenant(tenant),
            (Err(error), Ok(id)) => {
                alarm(&error);
                self.mirror.spoil_tenant(id, row.revision);
            }
            (Err(error), Err(_)) => alarm(&error),
        }
    }

    fn put_service_user(&self, row: FeedRow<crate::domain::owner::ServiceUser>) {
        match (row.content, ServiceUserName::parse(&row.id)) {
            (Ok(service_user), _) => self.mirror.put_service_user(service_user),
            (Err(error), Ok(name)) => {
                alarm(&error);
                self.mirror.spoil_service_user(name, row.revision);
            }
            (Err(error), Err(_)) => alarm(&error),
        }
    }

    fn put_key(&self, row: FeedRow<crate::store::StoredKey>) {
        match (row.content, KeyId::parse(&row.id)) {
            (Ok(stored), _) => self.mirror.put_key(stored.key.name.id, row.revision, Some(stored)),
            (Err(error), Some(id)) => {
                alarm(&error);
                self.mirror.put_key(id, row.revision, None);
            }
            (Err(error), None) => alarm(&error),
        }
    }

    /// `before` and now are the two ends of the round trip; the database's answer is taken for its middle. The alarm is
    /// raised once, and again after it was over.
    fn discipline_clock(&mut self, before: Time, database: Time) {
        let round_trip = self.clock.now() - before;
        if round_trip > LONGEST_SAMPLE {
            return;
        }
        let behind = self.clock.follow(database + round_trip / 2);
        let wrong = behind.abs() > limits::CLOCK_OFFSET_ALARM;
        if wrong && !self.clock_is_wrong {
            let milliseconds = behind.num_milliseconds();
            tracing::error!(milliseconds, "this machine's clock is behind the database's; the database's is followed");
        }
        self.clock_is_wrong = wrong;
    }

    fn sweep(&mut self, now: Time) {
        if self.last_sweep.is_none_or(|last| now - last >= Span::hours(1)) {
            self.mirror.forget(now);
            self.last_sweep = Some(now);
        }
    }
}

/// One unreadable row is put aside; it never stops the others (reliability.md R25).
fn alarm(error: &StoreError) {
    tracing::error!(%error, "a stored row can't be understood; its keys can't be verified until a change repairs it");
}
