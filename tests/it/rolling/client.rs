//! A gRPC client that honours GOAWAY: calls go round the replicas; one that was never sent goes to the next.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;
use tonic::{ConnectError, Status};

use crate::harness::Client;

/// How long a replica is left alone that can't be connected to; gRPC's own clients wait a second at first.
const ASIDE: Duration = Duration::from_millis(100);
/// A call that could be sent to nobody for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection to each replica.
pub struct Balanced {
    replicas: Vec<Replica>,
    next: AtomicUsize,
    elsewhere: AtomicUsize,
}

struct Replica {
    caller: Client,
    /// Left alone until then.
    aside: Mutex<Instant>,
}

impl Balanced {
    pub fn of(addresses: &[String], secret: &str) -> Self {
        let replica = |address: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
            Replica { caller: Client::over(endpoint.connect_lazy(), Some(secret)), aside: Mutex::new(Instant::now()) }
        };
        let replicas = addresses.iter().map(replica).collect();
        Self { replicas, next: AtomicUsize::new(0), elsewhere: AtomicUsize::new(0) }
    }

    /// A caller of each replica.
    pub fn callers(&self) -> impl Iterator<Item = Client> {
        self.replicas.iter().map(|replica| replica.caller.clone())
    }

    /// How many calls went to another replica because the first one couldn't be sent them.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// Makes a call; answers what its server says, or why it failed.
    pub async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let begun = Instant::now();
        loop {
            let replica = self.pick();
            match call(replica.caller.clone()).await {
                Err(status) if was_never_sent(&status) && begun.elapsed() < PATIENCE => {
                    *replica.aside.lock() = Instant::now() + ASIDE;
                    self.elsewhere.fetch_add(1, Ordering::Relaxed);
                }
                answered => return answered,
            }
            if self.replicas.iter().all(Replica::is_aside) {
                sleep(ASIDE / 10).await;
            }
        }
    }

    /// The next one that isn't left alone, or the next one.
    fn pick(&self) -> &Replica {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = |step: usize| &self.replicas[(next + step) % self.replicas.len()];
        (0..self.replicas.len()).map(in_turn).find(|replica| !replica.is_aside()).unwrap_or_else(|| in_turn(0))
    }
}

impl Replica {
    fn is_aside(&self) -> bool {
        *self.aside.lock() > Instant::now()
    }
}

/// What h2 says of a call that came after the last one that the server's GOAWAY says it processes.
const REFUSED_BY_GOAWAY: &str = "connection error received: not a result of an error";

/// Whether the call can't have been heard: there was no connection; or it was closed before the call was written to it, which
/// hyper calls "cancelled", and hands the request back; or the server's GOAWAY says that it won't process it.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let unsent = error.is::<ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled);
        if unsent || error.to_string().ends_with(REFUSED_BY_GOAWAY) {
            return true;
        }
        cause = error.source();
    }
    false
}
