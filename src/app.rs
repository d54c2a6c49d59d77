//! Wiring: what is started in which order, and stopped in which.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_cron_scheduler::JobSchedulerError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::server::HealthReporter;

use crate::authority::{
    Authority, AuthorityError,
    call::own_event,
    first_start::{CheckError, FirstStart, PepperError, check_peppers, first_start, register_current_pepper},
    keys::Created,
    root_key,
};
use crate::clock::Clock;
use crate::config::{MailSettings, Settings};
use crate::data_folder::{DataFolder, DataFolderError, read_peppers, read_secret};
use crate::domain::{
    audit::event_id,
    ids::{ServiceUserName, TenantId},
    limits,
    pepper::Peppers,
    unsubscribe::Links,
};
use crate::metrics::{Metrics, MetricsError};
use crate::notify::{PostOffice, PostOfficeError, Warnings};
use crate::store::{Store, StoreError, Target};
use crate::verify::{Verifier, mirror::Mirror, refresh::Refresher, rehash::RehashQueue, usage::Usage};
use crate::{grpc, http, jobs, random};

pub use crate::authority::root_key::generate as generate_root_key;
pub use crate::grpc::health::check as healthcheck;

const APPLICATION_NAME: &str = "claviger";
/// How long the scheduler and the last bookkeeping may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why the service can't start, or a command can't be done.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data folder.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first start, or a root key.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The pepper.
    #[error("{0}; give it as CLAVIGER_PEPPER_FILE, from the backup or from the replica that started first")]
    Pepper(#[from] PepperError),
    /// The pepper is needed, and none is there.
    #[error("keys are stored under the pepper {id}, and {} is missing; give it as CLAVIGER_PEPPER_FILE, from the backup or \
             from the replica that started first", file.display())]
    NoPepper {
        /// Where it was looked for.
        file: std::path::PathBuf,
        /// The one that was registered last.
        id: String,
    },
    /// The port.
    #[error("can't listen on {address}: {cause}; choose another with {setting}")]
    Listen {
        /// Which setting says where.
        setting: &'static str,
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Mails.
    #[error("mails can't be sent as the settings say: {0}")]
    PostOffice(#[from] PostOfficeError),
    /// Jobs.
    #[error("the scheduler can't be started: {0}")]
    Jobs(#[from] JobSchedulerError),
    /// Reflection.
    #[error("the descriptors can't be read: {0}")]
    Reflection(#[from] grpc::ReflectionError),
}

/// An open installation: data folder, database, peppers.
struct Installation {
    folder: DataFolder,
    store: Store,
    peppers: Peppers,
    first_start: FirstStart,
}

/// A running service.
pub struct Running {
    address: SocketAddr,
    http_address: SocketAddr,
    folder: DataFolder,
    first_start: FirstStart,
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
    scheduler: tokio_cron_scheduler::JobScheduler,
}

/// Where the database is.
#[must_use]
pub fn target(settings: &Settings, folder: &DataFolder) -> Target {
    match &settings.database_url {
        Some(url) => Target::Postgres { url: url.reveal().to_owned() },
        None => Target::Sqlite { file: folder.sqlite_file() },
    }
}

/// Starts everything; answers when Verify can be answered.
pub async fn start(settings: &Settings, clock: Clock) -> Result<Running, AppError> {
    let (listener, address) = listen("CLAVIGER_LISTEN", settings.listen).await?;
    let (http_listener, http_address) = listen("CLAVIGER_HTTP_LISTEN", settings.http_listen).await?;
    let installation = open(settings, &clock).await?;
    let (stop_serving, stop_everything) = (CancellationToken::new(), CancellationToken::new());
    let (store, peppers) = (installation.store, Arc::new(installation.peppers));
    let (metrics, links) = (Arc::new(Metrics::new()?), Arc::new(Links::new(&peppers)));

    let (mirror, refresher) = loaded_mirror(&store, &clock, &stop_everything).await;
    let rehash = Arc::new(RehashQueue::new(Arc::clone(&peppers), &store.pepper_registrations().await?));
    let usage = Arc::new(Usage::new(store.clone(), clock.clone()));
    let verifier = Arc::new(Verifier::new(
        mirror,
        refresher.clone(),
        Arc::clone(&peppers),
        Arc::clone(&rehash),
        Arc::clone(&usage),
        clock.clone(),
        settings.staleness_bound,
    ));
    let (changes, runs) = (TaskTracker::new(), TaskTracker::new());
    let post =
        settings.mail.as_ref().map(|mail| post_office(settings, mail, address, Arc::clone(&links))).transpose()?;
    let authority = Authority::new(store.clone(), peppers, clock.clone(), changes.clone());
    let warnings =
        Warnings::new(store.clone(), clock.clone(), Arc::clone(&metrics), post, runs.clone(), stop_serving.clone());
    let scheduler = jobs::start(authority.clone(), warnings.clone(), Arc::clone(&metrics)).await?;
    in_background(&stop_everything, jobs::ring_anyway(authority.clone(), warnings.clone(), Arc::clone(&metrics)));
    in_background(&stop_everything, move_to_current_pepper(rehash, store.clone(), clock.clone()));
    let (watched, writing, denying) = (warnings.clone(), Arc::clone(&usage), authority.clone());
    in_background(&stop_everything, async move { watched.watch().await });
    in_background(&stop_everything, async move { writing.run().await });
    in_background(&stop_everything, async move { denying.write_denials().await });

    let (health, health_service) = grpc::health::service();
    let reporting = stop_everything.child_token();
    in_background(&reporting, grpc::health::report(health.clone(), Arc::clone(&verifier), refresher));
    let routes = grpc::routes(&verifier, &authority, &warnings, &clock, health_service)?;
    let serving = tokio::spawn(grpc::server::serve(listener, routes, stop_serving.clone()));
    let http_routes = http::routes(verifier, authority.clone(), metrics, links);
    let serving_http = tokio::spawn(http::server::serve(http_listener, http_routes, stop_serving.clone()));
    let (folder, first_start) = (installation.folder, installation.first_start);
    Ok(Running {
        address,
        http_address,
        folder,
        first_start,
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
        scheduler,
    })
}

async fn loaded_mirror(store: &Store, clock: &Clock, stop: &CancellationToken) -> (Arc<Mirror>, Refresher) {
    let mirror = Arc::new(Mirror::default());
    let mut refresher = Refresher::start(Arc::clone(&mirror), store.feed(), clock.clone(), stop.clone());
    while refresher.position().is_none() {
        refresher.looked().await;
    }
    tracing::info!(keys = mirror.len(), "the mirror is loaded");
    (mirror, refresher)
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
        if timeout(LAST_WORDS, self.store.close()).await.is_err() {
            tracing::warn!("the database could not be left in time");
        }
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let listening = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listening.await.map_err(|cause| AppError::Listen { setting, address, cause })
}

/// `claviger migrate`.
pub async fn migrate(settings: &Settings) -> Result<u32, AppError> {
    let folder = DataFolder::open(&settings.data, settings.database_url.is_none())?;
    Ok(Store::migrate(&target(settings, &folder)).await?)
}

/// `claviger root-key`.
pub async fn add_root_key(settings: &Settings, clock: &Clock) -> Result<Created, AppError> {
    let installation = open(settings, clock).await?;
    let created = root_key::add(&installation.store, installation.peppers.current(), clock.now()).await?;
    installation.store.close().await;
    Ok(created)
}

async fn open(settings: &Settings, clock: &Clock) -> Result<Installation, AppError> {
    let folder = DataFolder::open(&settings.data, settings.database_url.is_none())?;
    let target = target(settings, &folder);
    Store::prepare_schema(&target).await?;
    let store = Store::connect(&target, APPLICATION_NAME).await?;
    if let Some(time) = store.feed().look().await?.database_time {
        clock.follow(time);
    }
    let peppers = peppers(settings, &folder, &store).await?;
    let prepared = settings.root_key_file.as_deref().map(read_secret).transpose()?;
    let keep = |secret: &_| folder.keep_root_key(secret).map_err(|error| error.to_string());
    let first_start = first_start(&store, peppers.current(), prepared, clock.now(), keep).await;
    settle_root_keys(&folder, &store, first_start.is_ok()).await?;
    let first_start = first_start?;
    check_peppers(&store, &peppers, clock.now()).await.map_err(|error| match error {
        CheckError::Pepper(error) => AppError::Pepper(error),
        CheckError::Store(error) => AppError::Store(error),
    })?;
    register_current_pepper(&store, &peppers, clock.now()).await?;
    Ok(Installation { folder, store, peppers, first_start })
}

/// A pepper is generated only while the database knows none: later a missing one is a mistake, not a first start.
async fn peppers(settings: &Settings, folder: &DataFolder, store: &Store) -> Result<Peppers, AppError> {
    let file = settings.pepper_file.clone().unwrap_or_else(|| folder.pepper_file());
    if settings.pepper_file.is_none() && !file.exists() {
        if let Some((id, _)) = store.pepper_registrations().await?.pop() {
            return Err(AppError::NoPepper { file, id: id.as_str().to_owned() });
        }
        folder.generate_pepper()?;
    }
    Ok(read_peppers(&file)?)
}

/// Secrets that were kept aside, by this start or one that died: those that were committed become `root.key`. The others
/// are thrown away only when it is `certain` that nobody's first start is still under way.
async fn settle_root_keys(folder: &DataFolder, store: &Store, certain: bool) -> Result<(), AppError> {
    for secret in folder.pending_root_keys()? {
        match store.key(&ServiceUserName::root().key(secret.key_id())).await? {
            Some(_) => folder.confirm_root_key(&secret)?,
            None if certain => folder.discard_root_key(&secret)?,
            None => {}
        }
    }
    Ok(())
}

/// How mails are written and sent. Without a public endpoint they name the address that this process listens on.
fn post_office(
    settings: &Settings,
    mail: &MailSettings,
    address: SocketAddr,
    links: Arc<Links>,
) -> Result<PostOffice, AppError> {
    let endpoint = settings.public_endpoint.clone().unwrap_or_else(|| address.to_string());
    let one_click = settings.public_url.clone().map(|base| (base, links));
    Ok(PostOffice::new(mail, endpoint, one_click)?)
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
