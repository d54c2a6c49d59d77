//! Wiring: what is started in which order, and stopped in which.

mod copy;
mod error;
mod installation;
mod observed;
mod ports;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::server::HealthReporter;

use crate::authority::{Authority, call::own_event, first_start::FirstStart, keys::Created};
use crate::clock::Clock;
use crate::config::{MailSettings, Settings};
use crate::data_folder::DataFolder;
use crate::domain::{audit::event_id, ids::TenantId, limits, pepper::Peppers, unsubscribe::Links};
use crate::grpc::convert::check::Reading;
use crate::metrics::Metrics;
use crate::notify::{PostOffice, Warnings};
use crate::store::Store;
use crate::tls::Tls;
use crate::verify::{
    Verifier,
    mirror::Mirror,
    recogniser::Recogniser,
    refresh::{EndAgain, Refresher},
    rehash::RehashQueue,
    usage::Usage,
};
use crate::{grpc, http, jobs, random, replicas};
use observed::Counting;

pub use crate::authority::root_key::generate as generate_root_key;
pub use crate::grpc::DESCRIPTORS;
pub use crate::grpc::health::check as healthcheck;
pub use crate::store::Progress;
pub use copy::{Moved, copy};
pub use error::AppError;
pub use installation::{add_root_key, kept_root_key, migrate, rewrap, target};

/// How long the scheduler and the last bookkeeping may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A running service.
pub struct Running {
    address: SocketAddr,
    http_address: SocketAddr,
    tls: Option<Arc<Tls>>,
    folder: DataFolder,
    first_start: FirstStart,
    root_key_file: Option<PathBuf>,
    store: Store,
    authority: Authority,
    warnings: Warnings,
    usage: Arc<Usage>,
    serving: JoinHandle<()>,
    serving_http: JoinHandle<()>,
    health: HealthReporter,
    reporting: CancellationToken,
    stop_serving: CancellationToken,
    stop_everything: CancellationToken,
    changes: TaskTracker,
    /// Runs of the warnings.
    runs: TaskTracker,
    /// Ends when this replica is no longer listed.
    listed: JoinHandle<()>,
    scheduler: tokio_cron_scheduler::JobScheduler,
    metrics: Arc<Metrics>,
}

/// Starts everything; answers when Verify can be answered.
pub async fn start(settings: &Settings, clock: Clock) -> Result<Running, AppError> {
    let tls = settings.tls.clone().map(|files| Tls::load(files, clock.clone())).transpose()?.map(Arc::new);
    let (port, address) = ports::reserve("CLAVIGER_LISTEN", settings.listen)?;
    let (http_port, http_address) = ports::reserve("CLAVIGER_HTTP_LISTEN", settings.http_listen)?;
    let installation = installation::open(settings, &clock).await?;
    let (stop_serving, stop_everything) = (CancellationToken::new(), CancellationToken::new());
    let (store, peppers) = (installation.store, Arc::new(installation.peppers));
    let links = Arc::new(Links::new(&peppers));
    let Counting { metrics, tally, durations } = observed::counting(settings, &stop_everything)?;
    if let Some(tls) = &tls {
        tls.show(&metrics);
        in_background(&stop_everything, Arc::clone(tls).watch());
    }
    let own = replicas::name_this_process()?;
    let (changes, runs) = (TaskTracker::new(), TaskTracker::new());
    let authority = Authority::new(
        store.clone(),
        Arc::clone(&peppers),
        settings.keks.clone(),
        clock.clone(),
        changes.clone(),
        own.clone(),
    );
    let (mirror, refresher) = loaded_mirror(&store, &peppers, &clock, &metrics, &authority, &stop_everything).await;
    let bound = settings.staleness_bound;
    let listed = replicas::join(&store, own, refresher.clone(), bound, stop_everything.clone()).await;
    observed::show(&metrics, &store, &mirror, &refresher, &clock);
    let rehash = Arc::new(RehashQueue::new(Arc::clone(&peppers), &store.pepper_registrations().await?));
    let usage = Arc::new(Usage::new(store.clone(), clock.clone()));
    let verifier = Arc::new(Verifier::new(
        mirror,
        refresher.clone(),
        Arc::clone(&peppers),
        Arc::clone(&rehash),
        Arc::clone(&usage),
        clock.clone(),
        bound,
        Recogniser::new(&random::bytes()?),
    ));
    let post =
        settings.mail.as_ref().map(|mail| post_office(settings, mail, address, Arc::clone(&links))).transpose()?;
    let warnings =
        Warnings::new(store.clone(), clock.clone(), Arc::clone(&metrics), post, runs.clone(), stop_serving.clone());
    let scheduler = jobs::start(authority.clone(), warnings.clone(), Arc::clone(&metrics)).await?;
    in_background(&stop_everything, jobs::ring_anyway(authority.clone(), warnings.clone(), Arc::clone(&metrics)));
    in_background(&stop_everything, move_to_current_pepper(rehash, store.clone(), clock.clone()));
    go_on_with(&stop_everything, &authority, &warnings, &usage);

    let (health, health_service) = grpc::health::service();
    let reporting = stop_everything.child_token();
    in_background(&reporting, grpc::health::report(health.clone(), Arc::clone(&verifier), refresher.clone()));
    let host = endpoint(settings, address).into();
    let reading = Reading { credentials: settings.credential_headers.clone(), trusted_hops: settings.trusted_hops };
    let services = grpc::services(
        &verifier,
        &refresher,
        &tally,
        &durations,
        &authority,
        &warnings,
        &clock,
        &stop_serving,
        health_service,
        host,
        Arc::new(reading),
    )?;
    let listener = ports::listen("CLAVIGER_LISTEN", port, address)?;
    let http_listener = ports::listen("CLAVIGER_HTTP_LISTEN", http_port, http_address)?;
    let serving = tokio::spawn(grpc::server::serve(listener, services, tls.clone(), stop_serving.clone()));
    let http_routes = http::routes(verifier, authority.clone(), Arc::clone(&metrics), links);
    let serving_http = http::server::serve(http_listener, http_routes, tls.clone(), stop_serving.clone());
    let serving_http = tokio::spawn(serving_http);
    Ok(Running {
        address,
        http_address,
        tls,
        folder: installation.folder,
        first_start: installation.first_start,
        root_key_file: installation.root_key_file,
        store,
        authority,
        warnings,
        usage,
        serving,
        serving_http,
        health,
        reporting,
        stop_serving,
        stop_everything,
        changes,
        runs,
        listed,
        scheduler,
        metrics,
    })
}

/// The work that no call waits for.
fn go_on_with(stop: &CancellationToken, authority: &Authority, warnings: &Warnings, usage: &Arc<Usage>) {
    let (watched, writing) = (warnings.clone(), Arc::clone(usage));
    let (denying, checking) = (authority.clone(), authority.clone());
    in_background(stop, async move { watched.watch().await });
    in_background(stop, async move { writing.run().await });
    in_background(stop, async move { denying.write_denials().await });
    in_background(stop, async move { checking.tell_of_missing_keks().await });
}

async fn loaded_mirror(
    store: &Store,
    peppers: &Arc<Peppers>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    authority: &Authority,
    stop: &CancellationToken,
) -> (Arc<Mirror>, Refresher) {
    let mirror = Arc::new(Mirror::new(Arc::clone(peppers)));
    let (feed, metrics, end_again) = (store.feed(), Arc::clone(metrics), end_again(authority.clone()));
    let mut refresher = Refresher::start(Arc::clone(&mirror), feed, clock.clone(), metrics, end_again, stop.clone());
    while refresher.position().is_none() {
        refresher.looked().await;
    }
    (mirror, refresher)
}

/// Lends the mirror's task the use case that it may not know.
fn end_again(authority: Authority) -> EndAgain {
    Box::new(move |ends| {
        let authority = authority.clone();
        Box::pin(async move { authority.end_again(&ends).await.map_err(|error| error.to_string()) })
    })
}

impl Running {
    /// The address of the gRPC port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the HTTP port.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The certificate, when there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The root key, when this start was the first one.
    #[must_use]
    pub fn new_root_key(&self) -> Option<&Created> {
        match &self.first_start {
            FirstStart::Won(created) => Some(created),
            FirstStart::AlreadyDone => None,
        }
    }

    /// The file that holds the secret of a root key, if one is known here.
    #[must_use]
    pub fn root_key_file(&self) -> Option<&Path> {
        self.root_key_file.as_deref()
    }

    /// The use cases.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The warnings.
    #[must_use]
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Says NOT_SERVING, lets running calls and changes end, and stops.
    pub async fn stop(mut self) {
        self.reporting.cancel();
        grpc::health::report_leaving(&self.health).await;
        self.stop_serving.cancel();
        self.runs.close();
        // Never fails: the tasks neither panic nor are aborted. A mail that is being sent when the time is over may be sent
        // again, with the same Message-ID.
        let _ = tokio::join!(self.serving, self.serving_http, timeout(limits::DRAIN, self.runs.wait()));
        self.changes.close();
        let ends = async {
            self.changes.wait().await;
            self.authority.write_denials_now().await;
            self.usage.write_all().await;
            self.scheduler.shutdown().await
        };
        if timeout(LAST_WORDS, ends).await.is_err() {
            tracing::warn!("a change was still running at the end; the database will finish or undo it whole");
        }
        self.stop_everything.cancel();
        let leave = async {
            // Never fails: the task neither panics nor is aborted.
            let _ = self.listed.await;
            self.store.close().await;
        };
        if timeout(LAST_WORDS, leave).await.is_err() {
            tracing::warn!("the database could not be left in time");
        }
        observed::export_a_last_time(self.metrics).await;
    }
}

/// Where callers reach this service. Without a setting it is the address that this process listens on.
fn endpoint(settings: &Settings, address: SocketAddr) -> String {
    settings.public_endpoint.clone().unwrap_or_else(|| address.to_string())
}

/// How mails are written and sent.
fn post_office(
    settings: &Settings,
    mail: &MailSettings,
    address: SocketAddr,
    links: Arc<Links>,
) -> Result<PostOffice, AppError> {
    let endpoint = endpoint(settings, address);
    let one_click = settings.public_url.clone().map(|base| (base, links));
    Ok(PostOffice::new(mail, endpoint, settings.tls.is_some(), one_click)?)
}

fn in_background(stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(task).await });
}

async fn move_to_current_pepper(rehash: Arc<RehashQueue>, store: Store, clock: Clock) {
    let event = || {
        let now = clock.now();
        let id = event_id(now, random::bytes()?);
        Ok::<_, random::NoRandomness>(own_event(id, TenantId::system(), "peppers/current".to_owned(), now))
    };
    rehash.run(&store, event).await;
}
