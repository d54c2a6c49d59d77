//! Why the service doesn't start, or a command isn't done.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_cron_scheduler::JobSchedulerError;

use crate::authority::{AuthorityError, first_start::PepperError};
use crate::data_folder::DataFolderError;
use crate::metrics::MetricsError;
use crate::notify::PostOfficeError;
use crate::store::{CopyError, StoreError};
use crate::telemetry::TelemetryError;
use crate::tls::TlsError;
use crate::{grpc, random};

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
    /// Nothing was ever started here.
    #[error("no service was ever started on this database; check CLAVIGER_DATABASE_URL and CLAVIGER_DATA")]
    NothingHere,
    /// The pepper is needed, and none is there.
    #[error("keys are stored under the pepper {id}, and {} is missing; give it as CLAVIGER_PEPPER_FILE, from the backup or \
             from the replica that started first", file.display())]
    NoPepper {
        /// Where it was looked for.
        file: PathBuf,
        /// The one that was registered last.
        id: String,
    },
    /// A copy failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A copy has nowhere to go.
    #[error(
        "CLAVIGER_DATABASE_URL isn't set; it says which PostgreSQL the SQLite file in CLAVIGER_DATA is copied into"
    )]
    NoTarget,
    /// There is no KEK to wrap under.
    #[error("CLAVIGER_KEK_FILE isn't set; give the file with the new KEK in its first line, and the old ones below it")]
    NoKek,
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
    /// The certificate.
    #[error("no TLS with these files:\n{0}")]
    Tls(#[from] TlsError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Exporting them.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Mails.
    #[error("mails can't be sent as the settings say: {0}")]
    PostOffice(#[from] PostOfficeError),
    /// This process couldn't be named.
    #[error(transparent)]
    Random(#[from] random::NoRandomness),
    /// Jobs.
    #[error("the scheduler can't be started: {0}")]
    Jobs(#[from] JobSchedulerError),
    /// Reflection.
    #[error("the descriptors can't be read: {0}")]
    Reflection(#[from] grpc::ReflectionError),
}
