//! Where PostgreSQL is, and how it is spoken to: the URL, its password, pools and timeouts.

use std::time::Duration;

use crate::domain::limits;
use crate::store::PostgresSettings;

use super::{
    DATABASE_URL,
    sources::{Values, secret_file},
};

/// What has no meaning for SQLite.
const POSTGRES_ALONE: [&str; 6] = [
    "database_password_file",
    "database_readers",
    "database_writers",
    "database_connect_timeout",
    "database_statement_timeout",
    "database_lock_timeout",
];

/// Reads the settings of the database. `Some(None)`: SQLite.
pub(super) fn read(values: &Values, problems: &mut Vec<String>) -> Option<Option<PostgresSettings>> {
    let [password_file, readers, writers, connect, statement, lock] = POSTGRES_ALONE;
    let readers = pool(values, readers, problems);
    let writers = pool(values, writers, problems);
    let connect = timeout(values, connect, problems);
    let statement = timeout(values, statement, problems);
    let lock = timeout(values, lock, problems);
    if let (Some(connect), Some(statement), Some(lock)) = (connect, statement, lock) {
        problems.extend(ill_matched(connect, statement, lock));
    }
    let Some(url) = url(values, problems)? else {
        let given = POSTGRES_ALONE.into_iter().filter(|name| values.text(name).is_some());
        problems.extend(
            given.map(|name| format!("{name}: goes with PostgreSQL alone; leave it out, or give database_url")),
        );
        return Some(None);
    };
    let password = match values.text(password_file) {
        Some(file) => Some(password(password_file, file).map_err(|problem| problems.push(problem)).ok()?),
        None => None,
    };
    Some(Some(PostgresSettings {
        url,
        password,
        readers: readers?,
        writers: writers?,
        connect_timeout: connect?,
        statement_timeout: statement?,
        lock_timeout: lock?,
    }))
}

/// `Some(None)`: SQLite.
fn url(values: &Values, problems: &mut Vec<String>) -> Option<Option<String>> {
    let Some(url) = values.in_place_or_file(DATABASE_URL, problems)? else { return Some(None) };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        problems
            .push("database_url: must start with postgres://; leave it out for SQLite in the data folder".to_owned());
        return None;
    }
    Some(Some(url))
}

fn password(name: &str, file: &str) -> Result<String, String> {
    let password = secret_file(name, file)?;
    if password.is_empty() { Err(format!("{name}: {file} is empty")) } else { Ok(password) }
}

fn pool(values: &Values, name: &str, problems: &mut Vec<String>) -> Option<u32> {
    values.get(name, problems, |text| {
        let number = text.parse().ok().filter(|number| (1..=limits::POOL).contains(number));
        number.ok_or_else(|| format!("must be a number from 1 to {}", limits::POOL))
    })
}

fn timeout(values: &Values, name: &str, problems: &mut Vec<String>) -> Option<Duration> {
    let allowed = limits::SHORTEST_DATABASE_TIMEOUT..=limits::DATABASE_PATIENCE;
    values.get(name, problems, |text| {
        let duration = humantime::parse_duration(text).ok().filter(|duration| allowed.contains(duration));
        let [shortest, longest] = [allowed.start(), allowed.end()].map(|bound| humantime::format_duration(*bound));
        duration.ok_or_else(|| format!("must be a duration from {shortest} to {longest}, as 2s"))
    })
}

/// A lock must be given up before its statement is, or a busy database looks like one that is away; and both before we stop
/// waiting for the answer.
fn ill_matched(connect: Duration, statement: Duration, lock: Duration) -> Option<String> {
    if connect + statement > limits::DATABASE_PATIENCE {
        let longest = humantime::format_duration(limits::DATABASE_PATIENCE);
        return Some(format!(
            "database_connect_timeout and database_statement_timeout: are longer than {longest} together, and a call must \
             hear of it before its own deadline; shorten one"
        ));
    }
    (lock >= statement).then(|| "database_lock_timeout: must be shorter than database_statement_timeout".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(given: &[(&str, &str)]) -> (Option<PostgresSettings>, Vec<String>) {
        let values = given.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let settings = read(&Values::from_iter(values), &mut problems).flatten();
        (settings, problems)
    }

    const URL: (&str, &str) = (DATABASE_URL, "postgres://u@localhost/d");

    #[test]
    fn pools_and_timeouts_have_defaults_and_bounds() {
        let (settings, problems) = read_from(&[URL]);
        let settings = settings.unwrap_or_else(|| panic!("{problems:?}"));
        assert_eq!((settings.readers, settings.writers), (limits::READERS, limits::POSTGRES_WRITERS));
        assert_eq!(settings.connect_timeout, limits::CONNECT_TIMEOUT);
        assert_eq!(
            (settings.statement_timeout, settings.lock_timeout),
            (limits::STATEMENT_TIMEOUT, limits::LOCK_TIMEOUT)
        );
        let (settings, _) = read_from(&[URL, ("database_readers", "64"), ("database_lock_timeout", "100ms")]);
        let settings = settings.expect("at the bounds");
        assert_eq!((settings.readers, settings.lock_timeout), (64, Duration::from_millis(100)));
        for (name, bad) in [
            ("database_readers", "0"),
            ("database_writers", "65"),
            ("database_writers", "-1"),
            ("database_connect_timeout", "99ms"),
            ("database_connect_timeout", "3500ms"),
            ("database_statement_timeout", "7s"),
            ("database_statement_timeout", "3"),
            ("database_lock_timeout", "3s"),
        ] {
            let (_, problems) = read_from(&[URL, (name, bad)]);
            assert!(problems.len() == 1 && problems[0].contains(name), "{name} {bad}: {problems:?}");
        }
    }

    #[test]
    fn what_is_for_postgresql_is_refused_without_it() {
        for name in POSTGRES_ALONE {
            let value = if name.ends_with("timeout") { "1s" } else { "1" };
            let (_, problems) = read_from(&[(name, value)]);
            assert!(problems.iter().any(|problem| problem.starts_with(&format!("{name}: goes with"))), "{problems:?}");
        }
    }
}
