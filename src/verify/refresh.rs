//! Keeps the mirror equal to the store: one task that looks at the feed when poked and at least once a second.
//!
//! A poke says "look", never what changed. Whoever must be sure that nothing older than its own arrival is in the mirror
//! waits for a refresh that *started after* it asked; everybody who waits shares that one, and refreshes start at least
//! 5 ms apart, so a flood of wrong secrets costs the database a bounded number of queries.
//!
//! Each look asks whether the database still has what was seen before (see `history`). If not, it lost writes. Then the old
//! mirror goes on answering, with an honest `as_of`, while what it knows as ended is ended again in the database; only when
//! all of that is committed, everything is loaded into a new mirror, which takes the old one's place in one step. So no key
//! that this replica knew as ended verifies in between. What fails is tried again at the next look, from the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{BootTime, Clock};
use crate::domain::{Revision, Span, Time, ends::RememberedEnds, limits};
use crate::metrics::Metrics;
use crate::store::{Feed, Look, StoreError};

use super::history::Seen;
use super::intake::{Intake, lost_writes};
use super::mirror::Mirror;
use super::position::{Position, Published};
use super::revocation::Revocation;
use super::revocation_log::RevocationLog;

/// A round trip that took longer says too little about the database's clock: this process may have been paused.
const LONGEST_SAMPLE: Span = Span::seconds(1);

#[derive(Debug, Clone, Copy)]
struct Progress {
    finished: u64,
    succeeded: bool,
}

/// Ends again in the database what is remembered as ended; answers how much, or why it couldn't. Verify never writes, so
/// somebody else hands it in.
pub type EndAgain = Box<dyn Fn(RememberedEnds) -> BoxFuture<'static, Result<usize, String>> + Send + Sync>;

/// What a good look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It took in what changed since the last one.
    Followed,
    /// It loaded everything into a new mirror: what happened in between isn't known change by change.
    Reloaded,
}

/// Who finds that this much passed since he was last awake has slept.
const NAP: Span = Span::seconds(1);
/// How often a look under way is seen to be awake.
const TICK: std::time::Duration = std::time::Duration::from_millis(200);

/// A handle to the task.
#[derive(Clone)]
pub struct Refresher {
    feed: Feed,
    started: Arc<AtomicU64>,
    published: Arc<Published>,
    progress: watch::Receiver<Progress>,
    revocations: Arc<RevocationLog>,
    /// The revision that the last look found in the database.
    newest: Arc<AtomicI64>,
}

/// The refresh that was waited for failed: the store can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshFailed;

impl Refresher {
    /// Starts the task; it ends with `stop`.
    #[must_use]
    pub fn start(
        mirror: Arc<Mirror>,
        feed: Feed,
        clock: Clock,
        metrics: Arc<Metrics>,
        end_again: EndAgain,
        stop: CancellationToken,
    ) -> Self {
        let (started, published) = (Arc::new(AtomicU64::new(0)), Arc::<Published>::default());
        let newest = Arc::<AtomicI64>::default();
        let revocations = Arc::<RevocationLog>::default();
        let (sender, progress) = watch::channel(Progress { finished: 0, succeeded: false });
        let follower = Follower {
            mirror,
            feed: feed.clone(),
            clock,
            metrics,
            end_again,
            published: Arc::clone(&published),
            position: None,
            seen: None,
            is_forked: false,
            lost: 0,
            last_sweep: None,
            clock_is_wrong: false,
            revocations: Arc::clone(&revocations),
            found: Vec::new(),
            newest: Arc::clone(&newest),
        };
        let task = follower.run(Arc::clone(&started), sender);
        tokio::spawn(async move { stop.run_until_cancelled(task).await });
        Self { feed, started, published, progress, revocations, newest }
    }

    /// What the task found that can make an earlier VALID wrong.
    #[must_use]
    pub fn revocations(&self) -> &RevocationLog {
        &self.revocations
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

    /// How far the mirror is; `None` until the first load is complete. Takes no lock.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.published.position()
    }

    /// The revision that the last look found in the database, whether what it tells of is in the mirror yet or not.
    #[must_use]
    pub fn newest(&self) -> Revision {
        self.newest.load(Ordering::Relaxed)
    }

    /// When the last look began, if it failed. Takes no lock.
    #[must_use]
    pub fn failed_look(&self) -> Option<BootTime> {
        self.published.failed_look()
    }

    /// Whether the process slept, and no look that began afterwards has ended. Takes no lock.
    #[must_use]
    pub fn slept(&self) -> bool {
        self.published.slept()
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

/// Does it to its end; answers also whether the process slept in its middle.
async fn watched<T>(clock: &Clock, work: impl Future<Output = T>) -> (T, bool) {
    let mut work = std::pin::pin!(work);
    let (mut slept, mut awake) = (false, clock.boot_time());
    loop {
        let done = timeout(TICK, &mut work).await;
        let now = clock.boot_time();
        slept |= now.since(awake) > NAP;
        awake = now;
        if let Ok(done) = done {
            return (done, slept);
        }
    }
}

struct Follower {
    mirror: Arc<Mirror>,
    feed: Feed,
    clock: Clock,
    metrics: Arc<Metrics>,
    end_again: EndAgain,
    published: Arc<Published>,
    position: Option<Position>,
    /// At least as far as any row in the mirror.
    seen: Option<Seen>,
    /// The database was found to have lost writes, and that isn't put right yet.
    is_forked: bool,
    /// The last revision that was seen of the history that was lost; 0 = none, or the log of revocations knows.
    lost: Revision,
    last_sweep: Option<BootTime>,
    clock_is_wrong: bool,
    revocations: Arc<RevocationLog>,
    /// What was found since the last good look.
    found: Vec<Revocation>,
    newest: Arc<AtomicI64>,
}

impl Follower {
    async fn run(mut self, started: Arc<AtomicU64>, progress: watch::Sender<Progress>) {
        let mut awake: Option<BootTime> = None;
        loop {
            let earliest = Instant::now() + limits::POLL_SPACING;
            let number = started.fetch_add(1, Ordering::SeqCst) + 1;
            let looked = self.clock.boot_time();
            if awake.is_some_and(|awake| looked.since(awake) > NAP * 2) {
                self.published.sleep();
            }
            let clock = self.clock.clone();
            let (outcome, slept) = watched(&clock, self.look()).await;
            awake = Some(self.clock.boot_time());
            let succeeded = match &outcome {
                Ok(Outcome::Followed) => true,
                Ok(Outcome::Reloaded) => {
                    tracing::info!(keys = self.mirror.len(), "the mirror is loaded");
                    true
                }
                Err(error) => {
                    // Its time-outs ran out in its sleep.
                    if slept {
                        self.published.sleep()
                    } else {
                        self.published.fail(looked)
                    }
                    tracing::warn!(%error, "the mirror could not be refreshed; answering from memory");
                    false
                }
            };
            progress.send_replace(Progress { finished: number, succeeded });
            if succeeded || !slept {
                let _ = timeout(limits::POLL_INTERVAL, self.feed.poked()).await;
            }
            sleep_until(earliest).await;
        }
    }

    /// Bounded statement by statement, not as a whole: a look that has much to catch up with must get through.
    async fn look(&mut self) -> Result<Outcome, StoreError> {
        let (looked, as_of) = (self.clock.boot_time(), self.clock.now());
        let look = self.feed.look(self.seen.as_ref().map(|seen| seen.revision)).await?;
        if let Some(time) = look.database_time {
            self.discipline_clock(as_of, time);
        }
        self.newest.store(look.revision, Ordering::Relaxed);
        let Some(position) = self.position else { return self.reload().await };
        let age = looked.since(position.looked);
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.was_lost(&look, age)) {
            self.lost = seen.revision;
            self.end_again(&look).await?;
            return self.reload().await;
        }
        self.is_forked = false;
        if age > limits::RELOAD_AFTER {
            return self.reload().await;
        }
        let mut seen = Seen::of(&look);
        let mut followed = Ok(());
        if look.revision > position.revision {
            let (feed, mirror, found) = (&self.feed, &self.mirror, Some(&mut self.found));
            let mut intake = Intake { feed, mirror, seen: Some(&mut seen), found, highest: 0 };
            followed = intake.follow(position.revision, look.owners).await;
        }
        // Also when it broke off: some rows may be in.
        self.seen = Some(seen);
        followed?;
        let position = Position { revision: look.revision, as_of, looked };
        // What a look found that broke off afterwards is told by the next one, which won't meet those rows as new.
        self.revocations.write(std::mem::take(&mut self.found), position);
        self.arrive(position);
        Ok(Outcome::Followed)
    }

    /// Loads everything into a new mirror, which then takes the old one's place: nobody ever meets an empty one.
    async fn reload(&mut self) -> Result<Outcome, StoreError> {
        let (looked, as_of) = (self.clock.boot_time(), self.clock.now());
        let first = self.feed.look(None).await?;
        let fresh = self.mirror.successor();
        let mut intake = Intake { feed: &self.feed, mirror: &fresh, seen: None, found: None, highest: 0 };
        intake.follow(0, Revision::MAX).await?;
        let highest = intake.highest;
        let last = self.feed.look(Some(first.revision)).await?;
        if Seen::of(&first).was_lost(&last, Span::zero()) {
            return Err(lost_writes());
        }
        self.mirror.replace_with(fresh);
        self.seen = Some(Seen::of(&last));
        self.is_forked = false;
        let position = Position { revision: first.revision, as_of, looked };
        self.found.clear();
        self.revocations.begin(position, highest, std::mem::take(&mut self.lost));
        self.arrive(position);
        Ok(Outcome::Reloaded)
    }

    /// Says once that the database lost writes, and ends again what the mirror remembers as ended.
    async fn end_again(&mut self, look: &Look) -> Result<(), StoreError> {
        if !self.is_forked {
            self.is_forked = true;
            self.metrics.forked();
            let (seen, now_at) = (self.seen.as_ref().map(|seen| seen.revision), look.revision);
            tracing::error!(
                seen,
                now_at,
                "the database lost writes: an old backup was restored, or a standby promoted that lagged behind; what this \
                 replica knows as ended is ended again"
            );
        }
        let ends = self.mirror.remembered_ends(self.clock.now());
        let ended = (self.end_again)(ends).await;
        let ended =
            ended.map_err(|why| StoreError::Unavailable(format!("what it lost can't be ended again: {why}")))?;
        tracing::warn!(ended, "everything that the database had alive again is ended again");
        Ok(())
    }

    fn arrive(&mut self, position: Position) {
        self.position = Some(position);
        self.published.publish(position);
        self.feed.see(position.revision);
        self.sweep(position);
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

    fn sweep(&mut self, position: Position) {
        if self.last_sweep.is_none_or(|last| position.looked.since(last) >= Span::hours(1)) {
            self.mirror.forget(position.as_of);
            self.last_sweep = Some(position.looked);
        }
    }
}
