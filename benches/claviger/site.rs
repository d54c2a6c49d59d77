//! An installation to measure: data folder, database, seeded keys, root key.

use std::path::PathBuf;

use tempfile::TempDir;

use claviger::data_folder::{read_peppers, read_secret};

use crate::Outcome;
use crate::postgres::Postgres;
use crate::seeding;
use crate::server::{Cores, Server};

/// An installation with keys.
pub struct Site {
    /// Pepper, root key and, on SQLite, the database.
    pub folder: PathBuf,
    /// `None` = SQLite in the folder.
    pub database_url: Option<String>,
    /// The secret of the root key, which generators and clients call with.
    pub caller: String,
    /// Seeded keys.
    pub keys: u64,
    _folder: TempDir,
}

/// What is seeded.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// Keys, ten for each service user.
    pub keys: u64,
    /// Service users without keys, for keys to come.
    pub idle_service_users: u64,
    /// Which keys have equal scopes.
    pub scopes: Scopes,
}

/// Which keys have equal scopes: they share the memory for them.
#[derive(Debug, Clone, Copy)]
pub enum Scopes {
    /// Those of one service user. Two service users have others.
    OfServiceUser,
    /// None.
    OfKey,
}

impl Content {
    /// So many keys, and nothing else.
    pub fn of_keys(keys: u64) -> Self {
        Self { keys, idle_service_users: 0, scopes: Scopes::OfServiceUser }
    }
}

impl Site {
    /// On a database of its own in `postgres`.
    pub async fn on_postgres(postgres: &Postgres, name: &str, content: Content) -> Outcome<Self> {
        Self::new(Some(postgres.create_database(name).await?), content).await
    }

    /// On a file.
    pub async fn on_sqlite(content: Content) -> Outcome<Self> {
        Self::new(None, content).await
    }

    /// The service itself makes schema, pepper and root key in its first start; the rest is written beside it.
    async fn new(database_url: Option<String>, content: Content) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("claviger-bench.").tempdir()?;
        let path = folder.path().to_owned();
        let mut site = Self { folder: path, database_url, caller: String::new(), keys: content.keys, _folder: folder };
        Server::claviger(&site, Cores::Both, &[])?.stop()?;
        site.caller = read_secret(&site.folder.join("root.key"))?.reveal().to_owned();
        let peppers = read_peppers(&site.folder.join("pepper"))?;
        seeding::seed(&site.url(), peppers.current(), content).await?;
        Ok(site)
    }

    /// The database, as sea-orm names it.
    pub fn url(&self) -> String {
        match &self.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite://{}", self.folder.join("claviger.sqlite").display()),
        }
    }

    /// The service's settings, on free ports.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("CLAVIGER_DATA", self.folder.display().to_string()),
            ("CLAVIGER_LISTEN", "127.0.0.1:0".to_owned()),
            ("CLAVIGER_HTTP_LISTEN", "127.0.0.1:0".to_owned()),
            ("CLAVIGER_LOG", "warn".to_owned()),
        ];
        settings.extend(self.database_url.clone().map(|url| ("CLAVIGER_DATABASE_URL", url)));
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
