//! The database: the only user of sea-orm. Knows the domain and nobody else; never reads a clock or randomness.
//!
//! Every change goes through [`Store::write`], which takes its turn, opens a transaction and *first* adds one to the single
//! revision row. The row's lock is held until the commit, so the order of revisions is the order of commits: counting and
//! then inserting is exact, readers of the [`Feed`] meet no holes, and SQLite never answers "locked". Bookkeeping takes the
//! same turn but no revision. Every finder that serves a caller takes the tenant. One file per resource, each with what it
//! adds to [`Store`] and [`Write`].

mod audit;
mod certificate_identities;
mod connect;
mod copy;
mod deliveries;
mod entity;
mod error;
mod failover;
mod feed;
mod grants;
mod key_groups;
mod key_row;
mod keys;
mod listen;
mod notifications;
mod owned_keys;
mod peppers;
mod policy_row;
mod pool_use;
mod postgres_url;
mod probe;
mod purge;
mod queue;
mod replays;
mod replicas;
mod row;
mod schema;
mod sealed;
mod service_users;
mod signal;
mod slots;
mod subscribers;
mod subscriptions;
mod target;
mod tenants;
mod usage;
mod user_groups;
mod warned_keys;
mod warned_tenants;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::domain::{Revision, replica::ReplicaId};

pub use copy::{Copied, CopiedTable, CopyError, Fingerprint, Progress, copy};
pub use deliveries::{Claimed, DeliveryFilter, SentMail, Settlement, Wanted};
pub use error::StoreError;
pub use feed::{Cursor, Feed, FeedRow, Look, Page};
pub use grants::Grants;
pub use keys::{KeyFilter, KeyStateFilter, NewKeyRow, Rehash, StoredKey};
pub use listen::Listener;
pub use notifications::NotificationFilter;
pub use pool_use::PoolUse;
pub use purge::Purged;
pub use replays::Replay;
pub use replicas::{LiveReplica, Replicas};
pub use sealed::{SealedPage, StoredSecret};
pub use slots::{Room, Slot};
pub use subscribers::SubscriberPage;
pub use target::{PostgresSettings, Target};
pub use warned_keys::{Due, Ends, WarnedCursor, WarnedKey, WarnedPage};
pub use warned_tenants::DueTenant;
pub use write::{Bookkeeping, Told, Write};

use failover::FailoverWatch;
use queue::Queue;
use signal::Signal;

/// The database, connected. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writers: DatabaseConnection,
    readers: DatabaseConnection,
    feed: DatabaseConnection,
    replicas: Option<Replicas>,
    queue: Arc<Queue>,
    signal: Arc<Signal>,
    failover: FailoverWatch,
}

impl Store {
    /// Connects to a database whose schema is prepared. `application_name` is what PostgreSQL shows of us.
    ///
    /// Fails with `Address`, `Unavailable` or, through a pooler that lends sessions per transaction, `Pooling`.
    pub async fn connect(target: &Target, application_name: &str) -> Result<Self, StoreError> {
        let pools = connect::open(target, application_name).await?;
        let queue = Arc::new(Queue::new(pools.concurrent_writers));
        Ok(Self {
            writers: pools.writers,
            readers: pools.readers,
            feed: pools.feed,
            replicas: pools.replicas,
            failover: pools.failover,
            queue,
            signal: Arc::default(),
        })
    }

    /// Brings an empty database to the schema of this binary and leaves a current one alone: what `serve` calls. Safe when
    /// several processes do it at once.
    ///
    /// Fails with `Schema` when the database lacks changes (somebody must decide to migrate data), or a newer version took
    /// something away from it; else as [`connect`](Self::connect). What a newer version only added does no harm.
    pub async fn prepare_schema(target: &Target) -> Result<(), StoreError> {
        schema::prepare(target).await
    }

    /// Applies every change the database lacks, and answers how many: what `claviger migrate` calls. Safe when several
    /// processes do it at once. Fails with `Schema` when a newer version took something away from it; else as
    /// [`connect`](Self::connect).
    pub async fn migrate(target: &Target) -> Result<u32, StoreError> {
        schema::migrate(target).await
    }

    /// Reads what changed, on a connection of its own so that it never waits behind readers or writers.
    #[must_use]
    pub fn feed(&self) -> Feed {
        Feed::new(self.feed.clone(), Arc::clone(&self.signal), self.failover.clone())
    }

    /// The table of replicas. `None` on SQLite, where this process is the only one.
    #[must_use]
    pub fn replicas(&self) -> Option<&Replicas> {
        self.replicas.as_ref()
    }

    /// What makes the follower look when another replica commits. `None` on SQLite.
    #[must_use]
    pub fn listener(&self, own: ReplicaId) -> Option<Listener> {
        let replicas = self.replicas.clone()?;
        Some(Listener::new(replicas, Arc::clone(&self.signal), own))
    }

    /// The revision of the last committed change.
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        write::revision_row(&self.readers, "SELECT value FROM revision WHERE id = 1").await
    }

    /// Waits until whoever follows the feed in this process has seen every change up to `revision`, `longest` at most;
    /// answers whether it has.
    pub async fn followed(&self, revision: Revision, longest: Duration) -> bool {
        self.signal.followed(revision, longest).await
    }

    /// Closes the connections, waiting for those in use. On SQLite this folds the write-ahead log into the file.
    pub async fn close(&self) {
        for pool in [&self.feed, &self.readers, &self.writers] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "a connection to the database could not be closed cleanly");
            }
        }
        if let Some(replicas) = &self.replicas
            && let Err(error) = replicas.close().await
        {
            tracing::warn!(%error, "the connection for the table of replicas could not be closed cleanly");
        }
    }
}
