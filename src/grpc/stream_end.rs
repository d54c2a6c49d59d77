//! What ends a stream from outside, however busy or idle it is: the server leaves, the caller's own deadline is over, or its
//! key is no longer valid.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::domain::limits;

use super::{
    caller::{Gate, Opening},
    layers, status,
};

/// One stream's end.
pub struct StreamEnd {
    gate: Gate,
    method: &'static str,
    /// The call that opened the stream: what its caller presented, and from where.
    opening: Request<()>,
    deadline: Option<Instant>,
    leaving: CancellationToken,
}

impl StreamEnd {
    /// The end of the stream that `request` opens, which was admitted just now by the right to verify.
    #[must_use]
    pub fn of<T>(gate: &Gate, request: &Request<T>, method: &'static str, leaving: &CancellationToken) -> Self {
        let mut opening = Request::new(());
        *opening.metadata_mut() = request.metadata().clone();
        *opening.extensions_mut() = request.extensions().clone();
        let given = layers::callers_deadline(request.metadata().as_ref());
        let deadline = given.and_then(|given: Duration| Instant::now().checked_add(given));
        Self { gate: gate.clone(), method, opening, deadline, leaving: leaving.clone() }
    }

    /// Waits for it; answers what the stream must end with.
    pub async fn reached(self) -> Status {
        tokio::select! {
            () = self.leaving.cancelled() => status::leaving(),
            () = self.too_late() => status::deadline_exceeded(),
            refused = self.caller_refused() => refused,
        }
    }

    async fn too_late(&self) {
        match self.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The caller is judged as at the beginning. While the mirror is too old to judge anybody the stream goes on: it says so
    /// itself in each of its answers.
    async fn caller_refused(&self) -> Status {
        loop {
            sleep(limits::CALLER_CHECK).await;
            match self.gate.admit_verification(Opening::of(&self.opening), self.method).await {
                Ok(_) => {}
                Err(refused) if status::is_stale(&refused) => {}
                Err(refused) => return refused,
            }
        }
    }
}
