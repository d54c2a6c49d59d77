//! Asks the authority, or remembers what it said.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::proto::v1::{Verdict, VerifyRequest, VerifyResponse};

use super::cache::{Answer, Cache};
use super::caller::Caller;
use super::fingerprint::Fingerprint;
use super::server_clock::ServerTime;
use super::watch::Watch;
use super::{Identity, StartError, VerifyError, boot_time, limits};

/// How a [`Verifier`] remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How old what the watch told may be while answers are given from memory: the longest time in which a revoked key can
    /// still be found VALID when this client is cut off. 3 s to 5 min; 5 s unless you say otherwise. A client that isn't cut
    /// off learns of a change as soon as the replica that it watches does.
    pub staleness_bound: Duration,
    /// How many answers are remembered, of about half a kilobyte each. 2 to 10,000,000; 100,000 unless you say otherwise.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { staleness_bound: limits::STALENESS_BOUND, capacity: limits::CAPACITY }
    }
}

impl Options {
    fn check(&self) -> Result<(), StartError> {
        if !limits::STALENESS_BOUNDS.contains(&self.staleness_bound) {
            return Err(StartError::BoundOutOfRange);
        }
        if !limits::CAPACITIES.contains(&self.capacity) {
            return Err(StartError::CapacityOutOfRange);
        }
        Ok(())
    }
}

/// Asks the authority about secrets, and remembers the VALID ones for as long as it watches for their revocation.
///
/// Clones are cheap and share everything. The watch ends with the last of them.
#[derive(Clone)]
pub struct Verifier(Arc<Shared>);

struct Shared {
    caller: Caller,
    cache: Arc<Mutex<Cache>>,
    hits: AtomicU64,
    misses: AtomicU64,
    watch: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("hits", &self.hits()).field("misses", &self.misses()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Begins to watch. `secret` is the caller's own, whose key has the right `claviger:verify`; a secret read from a file
    /// must be without its last line break.
    ///
    /// The channel may be lazy, balanced or encrypted, as you build it. With
    /// [`http2_keep_alive_interval`](tonic::transport::Endpoint::http2_keep_alive_interval) and `keep_alive_while_idle` a
    /// connection that was silently cut is replaced within seconds.
    ///
    /// # Errors
    ///
    /// When an argument is out of its range, and outside of a tokio runtime. The authority isn't asked yet.
    pub fn new(channel: Channel, secret: &str, options: &Options) -> Result<Self, StartError> {
        options.check()?;
        let caller = Caller::new(channel, secret)?;
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let cache = Arc::new(Mutex::new(Cache::new(options.staleness_bound, options.capacity)));
        let watch = Watch::new(caller.clone(), cache.clone(), options.staleness_bound);
        let watch = runtime.spawn(watch.follow());
        Ok(Self(Arc::new(Shared { caller, cache, hits: AtomicU64::new(0), misses: AtomicU64::new(0), watch })))
    }

    /// Whose secret this is, if its key may do all of `required_scopes` now and from `client_ip`; a key with
    /// `allowed_networks` is refused without an address.
    ///
    /// Only VALID is remembered. A refusal is asked for again each time, because a key that becomes good, by being enabled or
    /// given a scope, is not something that the watch tells.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Refused`] for every verdict but VALID, [`VerifyError::NoVerdict`] when there is none within a second.
    /// UNAVAILABLE was tried once more by then, after the pause that the server asked for; and so was a question whose
    /// connection ended, as it does when a server leaves.
    pub async fn verify(
        &self,
        secret: &str,
        client_ip: Option<IpAddr>,
        required_scopes: &[impl AsRef<str>],
    ) -> Result<Arc<Identity>, VerifyError> {
        // As the server sees them: ::ffff:192.0.2.1 is 192.0.2.1.
        let client_ip = client_ip.map(|address| address.to_canonical());
        let question = Fingerprint::new(secret, client_ip, required_scopes);
        let asked = boot_time::now();
        if let Some(identity) = self.0.cache.lock().look_up(&question, asked) {
            self.0.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(identity);
        }
        self.0.misses.fetch_add(1, Ordering::Relaxed);
        let request = VerifyRequest {
            secret: secret.to_owned(),
            required_scopes: required_scopes.iter().map(|scope| scope.as_ref().to_owned()).collect(),
            client_ip: client_ip.map_or_else(String::new, |address| address.to_string()),
            ..VerifyRequest::default()
        };
        let response = self.ask(request).await.map_err(VerifyError::NoVerdict)?;
        let (verdict, revision) = (response.verdict(), response.revision);
        let expire_time = response.expire_time.map(ServerTime::from);
        let identity = Identity::from_answer(response).map(Arc::new);
        let (Verdict::Valid, Some(identity)) = (verdict, &identity) else {
            return Err(VerifyError::Refused { verdict, identity });
        };
        let answer = Answer { identity: identity.clone(), revision, expire_time, asked };
        self.0.cache.lock().insert(question, answer, boot_time::now());
        Ok(identity.clone())
    }

    /// How many questions were answered from memory.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// How many questions were put to the authority.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.0.misses.load(Ordering::Relaxed)
    }

    /// Whether answers may be given from memory now. `false` at first, and while cut off for longer than the bound; then
    /// every question is put to the authority.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.0.cache.lock().is_followed(boot_time::now())
    }

    async fn ask(&self, request: VerifyRequest) -> Result<VerifyResponse, Status> {
        let asking = async {
            match self.ask_once(request.clone()).await {
                Err(status) if may_be_asked_again(&status) => {
                    let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
                    sleep(told.unwrap_or(limits::RETRY_PAUSE)).await;
                    self.ask_once(request).await
                }
                other => other,
            }
        };
        let late = |_| Err(Status::deadline_exceeded("the authority gave no answer in time"));
        timeout(limits::DEADLINE, asking).await.unwrap_or_else(late)
    }

    async fn ask_once(&self, request: VerifyRequest) -> Result<VerifyResponse, Status> {
        Ok(self.0.caller.stub().verify(self.0.caller.request(request)).await?.into_inner())
    }
}

/// The server says so, or the connection ended before it said anything. Nothing was changed by asking.
fn may_be_asked_again(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}
