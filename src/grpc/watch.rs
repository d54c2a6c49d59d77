//! WatchRevocations: each watch is a task that reads the log of revocations at its reader's pace. When it ends, what its
//! reader hasn't taken is taken back: a reader that doesn't read holds no memory while its stream still hangs about.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use crate::clock::Clock;
use crate::domain::{Refusal, Revision, ids::TenantId, limits, refusal::FieldViolation};
use crate::proto::v1::{self, WatchRevocationsRequest, WatchRevocationsResponse};
use crate::verify::{
    NoVerdict,
    refresh::Refresher,
    revocation::{Cause, Revocation},
    revocation_log::{CannotTell, Place, Told},
};

use super::{convert::time, status, stream_end::StreamEnd};

/// The messages of one watch.
pub struct Messages(Queue);

type Queue = Arc<Mutex<Receiver<Queued>>>;

struct Queued {
    /// What was told before this.
    before: Revision,
    message: Result<WatchRevocationsResponse, Status>,
}

impl Stream for Messages {
    type Item = Result<WatchRevocationsResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_recv(context).map(|queued| queued.map(|queued| queued.message))
    }
}

/// Opens watches. Cheap to clone.
#[derive(Clone)]
pub struct Watches {
    refresher: Refresher,
    clock: Clock,
    places: Arc<Semaphore>,
}

impl Watches {
    /// Watches of what `refresher` finds.
    #[must_use]
    pub fn new(refresher: Refresher, clock: Clock) -> Self {
        Self { refresher, clock, places: Arc::new(Semaphore::new(limits::WATCHES)) }
    }

    /// Opens one for a caller who may know of `tenant`, `None` = of all. It lives until `end`, or its reader leaves.
    pub async fn open(
        &self,
        request: &WatchRevocationsRequest,
        tenant: Option<TenantId>,
        end: StreamEnd,
    ) -> Result<Messages, Status> {
        let after = read(request.min_revision).map_err(|refusal| status::from_refusal(&refusal))?;
        let open = Arc::clone(&self.places).try_acquire_owned().map_err(|_| status::too_many_watches())?;
        // Subscribed before the place is taken: what is written in between wakes.
        let wake = self.refresher.revocations().subscribe();
        let place = self.place(after).await?;
        let (sender, receiver) = mpsc::channel(limits::WATCH_MESSAGES + 1);
        let queue = Arc::new(Mutex::new(receiver));
        // Kept for the last word, which must find room when the reader is too slow.
        let Ok(last_word) = sender.clone().try_reserve_owned() else { return Ok(Messages(queue)) };
        let sent = after.unwrap_or(0);
        let (refresher, clock) = (self.refresher.clone(), self.clock.clone());
        let untaken = Arc::downgrade(&queue);
        let watch = Watch { refresher, clock, tenant, place, wake, sent, untaken, _open: open };
        tokio::spawn(watch.run(sender, last_word, end));
        Ok(Messages(queue))
    }

    /// A revision that this replica hasn't seen is looked for once.
    async fn place(&self, after: Option<Revision>) -> Result<Place, Status> {
        let log = self.refresher.revocations();
        let found = match log.place(after) {
            Err(CannotTell::Ahead) => {
                // Failed or too late: the second look at the log decides.
                let _ = timeout(limits::MISS_WAIT, self.refresher.refresh()).await;
                log.place(after)
            }
            found => found,
        };
        found.map_err(|error| refused(error, after.unwrap_or(0)))
    }
}

struct Watch {
    refresher: Refresher,
    clock: Clock,
    tenant: Option<TenantId>,
    place: Place,
    wake: watch::Receiver<u64>,
    /// The revision of the last message.
    sent: Revision,
    /// The queue of its messages; gone when its reader is.
    untaken: Weak<Mutex<Receiver<Queued>>>,
    _open: OwnedSemaphorePermit,
}

/// How a watch ends by itself.
enum Stop {
    Refused(CannotTell),
    Lagged,
}

impl Watch {
    async fn run(mut self, sender: Sender<Queued>, last_word: OwnedPermit<Queued>, end: StreamEnd) {
        let stop = tokio::select! {
            status = end.reached() => Err(status),
            stop = self.tell(&sender) => Ok(stop),
            () = sender.closed() => return,
        };
        self.take_back();
        let status = stop.map_or_else(
            |status| status,
            |stop| match stop {
                Stop::Refused(error) => refused(error, self.sent),
                Stop::Lagged => status::watch_lagged(self.sent),
            },
        );
        last_word.send(Queued { before: self.sent, message: Err(status) });
    }

    /// Drops what the reader hasn't taken: it was not told that.
    fn take_back(&mut self) {
        let Some(queue) = self.untaken.upgrade() else { return };
        let mut queue = queue.lock();
        if let Ok(first) = queue.try_recv() {
            self.sent = first.before;
        }
        while queue.try_recv().is_ok() {}
    }

    /// Tells until it can't.
    async fn tell(&mut self, sender: &Sender<Queued>) -> Stop {
        let mut heartbeat = Instant::now();
        loop {
            let told = match self.refresher.revocations().tell(&mut self.place, self.tenant.as_ref()) {
                Ok(told) => told,
                Err(error) => return Stop::Refused(error),
            };
            let more = told.more;
            if !told.revocations.is_empty() || Instant::now() >= heartbeat {
                let (revision, message) = (told.position.revision, self.message(told));
                let queued = Queued { before: self.sent, message: Ok(message) };
                if timeout(limits::WATCH_PATIENCE, sender.send(queued)).await.is_err() {
                    return Stop::Lagged;
                }
                self.sent = revision;
                heartbeat = Instant::now() + limits::WATCH_HEARTBEAT;
            }
            if !more {
                self.news(heartbeat).await;
            }
        }
    }

    /// Waits for something to be written, until `heartbeat` at most.
    async fn news(&mut self, heartbeat: Instant) {
        tokio::select! {
            // An error means that the log is gone; then only heartbeats are left.
            Ok(()) = self.wake.changed() => {}
            () = sleep_until(heartbeat) => {}
        }
    }

    fn message(&self, told: Told) -> WatchRevocationsResponse {
        WatchRevocationsResponse {
            revision: told.position.revision,
            as_of: Some(time::write(told.position.as_of)),
            send_time: Some(time::write(self.clock.now())),
            revocations: told.revocations.iter().map(write).collect(),
        }
    }
}

fn read(min_revision: i64) -> Result<Option<Revision>, Refusal> {
    if min_revision < 0 {
        let why = "must not be negative; 0 = from now on";
        return Err(Refusal::Invalid(vec![FieldViolation::new("min_revision", why)]));
    }
    Ok((min_revision > 0).then_some(min_revision))
}

fn refused(error: CannotTell, revision: Revision) -> Status {
    match error {
        CannotTell::TooOld => status::watch_too_old(),
        CannotTell::Lagged => status::watch_lagged(revision),
        CannotTell::Ahead => status::from_no_verdict(NoVerdict::Stale),
    }
}

fn write(revocation: &Revocation) -> v1::Revocation {
    v1::Revocation {
        name: revocation.subject.to_string(),
        cause: write_cause(revocation.cause).into(),
        revision: revocation.revision,
    }
}

fn write_cause(cause: Cause) -> v1::RevocationCause {
    match cause {
        Cause::Revoked => v1::RevocationCause::Revoked,
        Cause::Disabled => v1::RevocationCause::Disabled,
        Cause::Expired => v1::RevocationCause::Expired,
        Cause::Deleted => v1::RevocationCause::Deleted,
        Cause::Superseded => v1::RevocationCause::Superseded,
        Cause::Narrowed => v1::RevocationCause::Narrowed,
    }
}
