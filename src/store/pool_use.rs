//! How many connections to the database there are, and how many of them are at work.

use sea_orm::{DatabaseConnection, DbBackend};

use super::Store;

/// One pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// Its name in metrics.
    pub pool: &'static str,
    /// Connections at work.
    pub used: u32,
    /// Connections that are open and wait for work.
    pub idle: u32,
    /// Connections there may be.
    pub most: u32,
}

impl Store {
    /// Every pool of this process. Counts, it doesn't ask the database.
    #[must_use]
    pub fn pool_use(&self) -> Vec<PoolUse> {
        let heartbeat = self.replicas.as_ref().map(|replicas| ("heartbeat", replicas.database()));
        let pools = [("writers", &self.writers), ("readers", &self.readers), ("feed", &self.feed)];
        pools.into_iter().chain(heartbeat).map(|(name, pool)| pool_use(name, pool)).collect()
    }
}

fn pool_use(pool: &'static str, database: &DatabaseConnection) -> PoolUse {
    let (size, idle, most) = if database.get_database_backend() == DbBackend::Postgres {
        let pool = database.get_postgres_connection_pool();
        (pool.size(), pool.num_idle(), pool.options().get_max_connections())
    } else {
        let pool = database.get_sqlite_connection_pool();
        (pool.size(), pool.num_idle(), pool.options().get_max_connections())
    };
    let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
    PoolUse { pool, used: size - idle, idle, most }
}
