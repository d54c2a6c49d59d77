//! Which database. Shown without its password, always.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sea_orm::sqlx::postgres::PgConnectOptions;

use super::StoreError;

/// Where the data is.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A file on a local disk; made with mode 0600 if it isn't there.
    Sqlite {
        /// The file. Beside it, SQLite keeps two more with `-wal` and `-shm` at the end of the name.
        file: PathBuf,
    },
    /// A PostgreSQL database, reached directly or through session pooling.
    Postgres {
        /// `postgres://user:password@host:port/database`
        url: String,
    },
}

/// Reads the URL. Its own error might quote it with the password, so it isn't taken over.
pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = known.then(|| PgConnectOptions::from_str(url).ok()).flatten();
    // No parameter of sqlx's own: pgbouncer refuses the ones it doesn't know.
    options.map(|options| options.extra_float_digits(None)).ok_or_else(|| {
        let form = "postgres://user:password@host:5432/database";
        StoreError::Address(format!("the database URL can't be read; write it as {form}, special characters as %xx"))
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { file } => write!(f, "sqlite:{}", file.display()),
            Self::Postgres { url } => match postgres_options(url) {
                Ok(known) => {
                    let database = known.get_database().unwrap_or_else(|| known.get_username());
                    write!(f, "postgres://{}:{}/{database}", known.get_host(), known.get_port())
                }
                Err(_) => f.write_str("postgres://(unreadable)"),
            },
        }
    }
}

impl fmt::Debug for Target {
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
            "mysql://u:geheim@db.example/keys",
        ] {
            let target = Target::Postgres { url: url.to_owned() };
            let error = postgres_options(url).err();
            assert!(!format!("{target} {target:?} {error:?}").contains("geheim"), "{target}");
        }
        let target = Target::Postgres { url: "postgres://u:geheim@db.example:6432/keys".to_owned() };
        assert_eq!(target.to_string(), "postgres://db.example:6432/keys");
    }
}
