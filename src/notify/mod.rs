//! Warnings: who is told that which key expires, when, exactly once a day (design, section 4).
//!
//! A run is an idempotent function of (store, now): *plan* one notification for each key and day and one delivery for each
//! subscriber and day, unique in the database; *claim* a delivery; *check again*; *send* one envelope to one recipient;
//! *settle*. It may happen at any time, on any number of replicas, after any crash. Only today's warning instant counts:
//! what was missed on earlier days isn't made up.
//!
//! | file | question |
//! |---|---|
//! | [`plan`] | What is due today, and for whom? |
//! | [`send`], [`round`] | What becomes of a delivery? What do the senders share? |
//! | [`digest`], [`message`] | What does the mail say? |
//! | [`mailer`], [`smtp`] | How does it leave, and what does the answer mean? |
//! | [`preview`] | Who would get what? |
//! | [`pulse`] | Is all this alive? |

pub mod digest;
pub mod mailer;
pub mod message;
mod plan;
pub mod preview;
mod pulse;
mod round;
mod send;
mod smtp;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use lettre::{address::AddressError, message::Mailbox};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{MailSettings, Sender};
use crate::domain::{ids::SubscriberId, limits, owner::Tenant, unsubscribe::Links};
use crate::metrics::Metrics;
use crate::random::NoRandomness;
use crate::store::{Store, StoreError};

use mailer::{Mailer, MailerError};
use message::{ComposeError, Letterhead};
use plan::Occasion;
use pulse::Pulse;

/// The warnings. Cheap to clone.
#[derive(Clone)]
pub struct Warnings {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Without it, warnings are in-app only.
    post: Option<PostOffice>,
    pulse: Pulse,
    running: Mutex<()>,
    /// Places for RunWarnings. A tenant always takes the same one.
    runs: [Arc<Mutex<()>>; limits::RUNS],
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What is needed to write and send mails.
pub struct PostOffice {
    letterhead: Letterhead,
    mailer: Mailer,
    /// The base of one-click links, and what makes them.
    links: Option<(String, Arc<Links>)>,
    connections: usize,
    /// The bell's run and RunWarnings share the connections.
    free_connections: Semaphore,
}

/// Mails can't be written or sent as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum PostOfficeError {
    /// The mail server.
    #[error(transparent)]
    Mailer(#[from] MailerError),
    /// The letterhead.
    #[error(transparent)]
    Letterhead(#[from] ComposeError),
    /// The sender's address.
    #[error("mail_from: {0}")]
    From(#[from] AddressError),
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Notifications KEY_EXPIRING that are new.
    pub planned: u64,
    /// Deliveries taken on.
    pub claimed: u64,
    /// Mails that the server took.
    pub sent: u64,
    /// Mails that the server refused for good.
    pub refused: u64,
    /// Mails that failed for now.
    pub retried: u64,
    /// Mails that weren't needed any more.
    pub skipped: u64,
    /// Mails still to be sent today.
    pub left: u64,
    /// Tenants with keys about to expire and nobody to tell.
    pub without_subscribers: u64,
}

/// Why a run ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WarningsError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id could be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A defect of ours.
    #[error("defect: {0}")]
    Defect(String),
}

impl Report {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PostOffice {
    /// Prepares to tell people about the keys of the server at `endpoint`, host and port. `links`: the base of one-click
    /// links, and what makes them. `encrypted`: whether this process speaks TLS itself.
    pub fn new(
        settings: &MailSettings,
        endpoint: String,
        encrypted: bool,
        links: Option<(String, Arc<Links>)>,
    ) -> Result<Self, PostOfficeError> {
        let Sender { address, name } = &settings.from;
        let from = Mailbox::new(name.as_ref().map(|name| name.as_str().to_owned()), address.as_str().parse()?);
        // A proxy in front of this process with a port of https speaks TLS too.
        let plaintext = !encrypted && ![":443", ":8443"].iter().any(|port| endpoint.ends_with(port));
        let letterhead = Letterhead::new(from, endpoint, plaintext)?;
        let mailer = Mailer::new(&settings.server, settings.connections)?;
        let connections = settings.connections;
        Ok(Self { letterhead, mailer, links, connections, free_connections: Semaphore::new(connections) })
    }

    fn one_click(&self, subscriber: &SubscriberId) -> Option<String> {
        self.links.as_ref().map(|(base, links)| format!("{base}{}", links.path(subscriber)))
    }
}

impl Warnings {
    /// Puts the parts together. `tasks` tracks runs, so that shutdown can wait for them; they end soon after `stop`.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
        post: Option<PostOffice>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (pulse, running, runs) = (Pulse::new(), Mutex::default(), std::array::from_fn(|_| Arc::default()));
        Self { shared: Arc::new(Shared { store, clock, metrics, post, pulse, running, runs, tasks, stop }) }
    }

    /// Whether mails are sent at all.
    #[must_use]
    pub fn send_mails(&self) -> bool {
        self.shared.post.is_some()
    }

    /// The bell: does what is due, for all tenants. `None` when a run is under way, or we are leaving.
    ///
    /// With nothing to do it asks the database two questions.
    pub async fn ring(&self) -> Option<Result<Report, WarningsError>> {
        let _running = self.shared.running.try_lock().ok()?;
        if self.shared.stop.is_cancelled() {
            return None;
        }
        let warnings = self.clone();
        let outcome = self.in_task(async move { warnings.run().await }).await;
        match &outcome {
            Ok(_) => {
                self.shared.metrics.run_succeeded(self.shared.clock.now());
                self.shared.pulse.beat();
            }
            Err(_) => self.shared.metrics.run_failed(),
        }
        Some(outcome)
    }

    /// Warns a tenant's people now, from all keys inside their window, whatever the hour is. Ends within 10 minutes once it
    /// has begun; it begins when no other run of that tenant goes on.
    pub async fn run_tenant(&self, tenant: Tenant) -> Result<Report, WarningsError> {
        let place = self.shared.runs[place_of(&tenant)].clone().lock_owned().await;
        let warnings = self.clone();
        self.in_task(async move {
            let _place = place;
            warnings.warn_now(&tenant).await
        })
        .await
    }

    /// Reports, for ever, when no run succeeds.
    pub async fn watch(&self) {
        self.shared.pulse.watch().await;
    }

    async fn run(&self) -> Result<Report, WarningsError> {
        let mut report = Report::default();
        // Whatever went wrong with planning, what is planned is sent.
        let planned = self.plan_due_tenants(&mut report).await;
        if self.shared.store.has_due_deliveries(self.shared.clock.now()).await? {
            self.give_up().await?;
            self.send_due(None, Instant::now() + limits::RUN, &mut report).await?;
        }
        planned.map(|()| report)
    }

    async fn warn_now(&self, tenant: &Tenant) -> Result<Report, WarningsError> {
        let deadline = Instant::now() + limits::RUN_WARNINGS;
        let mut report = Report::default();
        let now = self.shared.clock.now();
        self.plan(Occasion { tenant, day: tenant.calendar.day(now), at: now }, &mut report).await?;
        self.send_due(Some(&tenant.id), deadline, &mut report).await?;
        Ok(report)
    }

    /// Runs to its end whatever becomes of whoever asked, and a panic ends nothing but the run.
    async fn in_task(
        &self,
        run: impl Future<Output = Result<Report, WarningsError>> + Send + 'static,
    ) -> Result<Report, WarningsError> {
        let ended = self.shared.tasks.spawn(run).await;
        ended.map_err(|error| WarningsError::Defect(format!("a run panicked: {error}")))?
    }
}

fn place_of(tenant: &Tenant) -> usize {
    let mut hasher = DefaultHasher::new();
    tenant.id.hash(&mut hasher);
    usize::try_from(hasher.finish() % limits::RUNS as u64).unwrap_or(0)
}
