//! Which database, and how it is spoken to. Shown without its password, always.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::limits;

use super::postgres_url;

/// Where the data is.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A file on a local disk; made with mode 0600 if it isn't there.
    Sqlite {
        /// The file. Beside it, SQLite keeps two more with `-wal` and `-shm` at the end of the name.
        file: PathBuf,
    },
    /// A PostgreSQL database, reached directly or through session pooling.
    Postgres(PostgresSettings),
}

/// How a PostgreSQL database is reached. Whoever fills it in keeps the bounds of [`limits`]: see each field.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`
    pub url: String,
    /// The password, when the URL has none.
    pub password: Option<String>,
    /// Connections for reading, 1 to [`limits::POOL`].
    pub readers: u32,
    /// Connections for changes, 1 to [`limits::POOL`].
    pub writers: u32,
    /// Time to get a connection; together with `statement_timeout` at most [`limits::DATABASE_PATIENCE`].
    pub connect_timeout: Duration,
    /// What the server gives a statement.
    pub statement_timeout: Duration,
    /// What the server lets a statement wait for a lock; below `statement_timeout`.
    pub lock_timeout: Duration,
}

impl Target {
    /// The PostgreSQL database of this URL, with default settings.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres(PostgresSettings {
            url: url.into(),
            password: None,
            readers: limits::READERS,
            writers: limits::POSTGRES_WRITERS,
            connect_timeout: limits::CONNECT_TIMEOUT,
            statement_timeout: limits::STATEMENT_TIMEOUT,
            lock_timeout: limits::LOCK_TIMEOUT,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { file } => write!(f, "sqlite:{}", file.display()),
            Self::Postgres(settings) => fmt::Display::fmt(settings, f),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match postgres_url::options(self) {
            Ok(known) => {
                let database = known.get_database().unwrap_or_else(|| known.get_username());
                write!(f, "postgres://{}:{}/{database}", known.get_host(), known.get_port())
            }
            Err(_) => f.write_str("postgres://(unreadable)"),
        }
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_never_shows() {
        for url in [
            "postgres://u:geheim@db.example:6432/keys?sslmode=require",
            "postgres://u:geheim@db.example:notaport/keys",
            "postgres://u:geheim@db.example/keys?sslmode=geheim",
            "postgres://u:geheim@db.example/keys?geheim=geheim",
            "postgres://u:ge?heim@db.example/keys",
            "postgres://u:ge#heim@db.example/keys",
            "mysql://u:geheim@db.example/keys",
        ] {
            let target = Target::postgres(url);
            let Target::Postgres(settings) = &target else { panic!("it is PostgreSQL") };
            let error = postgres_url::options(settings).err();
            let shown = format!("{target} {target:?} {settings:?} {error:?}");
            assert!(!shown.contains("geheim") && !shown.contains("heim@"), "{shown}");
        }
        let target = Target::postgres("postgres://u:geheim@db.example:6432/keys?sslmode=require");
        assert_eq!(target.to_string(), "postgres://db.example:6432/keys");
    }
}
