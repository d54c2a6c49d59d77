//! Follows WatchRevocations, for as long as the verifier lives.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::proto::v1::{WatchRevocationsRequest, WatchRevocationsResponse};
use crate::random;

use super::cache::{Cache, News};
use super::caller::Caller;
use super::server_clock::{LocalTime, ServerClock, ServerTime};
use super::{boot_time, limits};

/// The task that follows.
pub(super) struct Watch {
    caller: Caller,
    cache: Arc<Mutex<Cache>>,
    /// How long we wait for a message, and how late messages may seem, before we open the watch again: half of the bound, so
    /// that a new watch can be in time.
    patience: Duration,
}

/// Why a watch ended.
enum End {
    /// The server ended it, or couldn't be reached.
    Broken(Status),
    /// Nothing came for too long: the connection may be half open.
    Silent,
    /// Messages come later and later by the server's clock: only a new watch tells a drift from a delay.
    Late,
}

impl Watch {
    pub(super) fn new(caller: Caller, cache: Arc<Mutex<Cache>>, bound: Duration) -> Self {
        Self { caller, cache, patience: bound / 2 }
    }

    /// Never ends; who started it ends it.
    pub(super) async fn follow(self) {
        let mut failures = 0;
        loop {
            let mut is_first = true;
            let end = self.follow_one(&mut is_first).await;
            failures = if is_first { failures + 1 } else { 0 };
            match &end {
                End::Broken(status) => {
                    let (code, message) = (status.code(), status.message());
                    tracing::warn!(?code, message, "the watch of revocations ended; it is opened again");
                    if code == Code::OutOfRange {
                        self.cache.lock().forget();
                    }
                }
                End::Silent => tracing::warn!("the watch of revocations is silent; it is opened again"),
                End::Late => tracing::debug!("the watch of revocations seems late; it is opened again"),
            }
            sleep(pause(failures)).await;
        }
    }

    /// Follows one stream to its end. After ABORTED we go on where *we* stopped, which is not after the revision that the
    /// server names: told twice is harmless, not told isn't.
    async fn follow_one(&self, is_first: &mut bool) -> End {
        let asked = boot_time::now();
        let request = WatchRevocationsRequest { min_revision: self.cache.lock().resume_from(asked) };
        let mut stub = self.caller.stub();
        let mut stream = match timeout(self.patience, stub.watch_revocations(self.caller.request(request))).await {
            Ok(Ok(opened)) => opened.into_inner(),
            Ok(Err(status)) => return End::Broken(status),
            Err(_) => return End::Silent,
        };
        let mut clock = None;
        loop {
            let message = match timeout(self.patience, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return End::Broken(Status::unavailable("the server ended the watch")),
                Ok(Err(status)) => return End::Broken(status),
                Err(_) => return End::Silent,
            };
            match self.take_in(message, asked, &mut clock) {
                Some(delay) if delay > self.patience => return End::Late,
                Some(_) => *is_first = false,
                None => return End::Broken(Status::internal("a message of the watch has no times")),
            }
        }
    }

    /// Answers how much later than the first message this one seems to have come; `None` if it can't be understood.
    fn take_in(
        &self,
        message: WatchRevocationsResponse,
        asked: LocalTime,
        clock: &mut Option<ServerClock>,
    ) -> Option<Duration> {
        let received = boot_time::now();
        let (as_of, sent) = (ServerTime::from(message.as_of?), ServerTime::from(message.send_time?));
        let first = ServerClock::new(asked, sent, received);
        let clock = clock.get_or_insert(first);
        let delay = clock.hear(sent, received);
        let news = News { revision: message.revision, as_of, revocations: message.revocations, clock: *clock };
        self.cache.lock().hear(news, received);
        Some(Duration::from_micros(u64::try_from(delay).unwrap_or(0)))
    }
}

/// Twice as long after each failure, and half of it by chance: many clients don't come back in step.
fn pause(failures: u32) -> Duration {
    let longest = limits::WATCH_PAUSE.saturating_mul(1 << failures.min(16)).min(limits::WATCH_PAUSE_LONGEST);
    let chance = random::bytes::<1>().map_or(0.5, |[byte]| f64::from(byte) / 255.0);
    longest.mul_f64(0.5 + chance / 2.0)
}
