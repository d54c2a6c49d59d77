//! Where settings come from: the environment and a file, as text by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::{DATABASE_URL, KEK_FILE, PREFIX, SMTP_URL};

/// The names of all settings, as the file spells them.
const NAMES: [&str; 28] = [
    "listen",
    "http_listen",
    "insecure",
    "data",
    DATABASE_URL,
    "database_url_file",
    "database_password_file",
    "database_readers",
    "database_writers",
    "database_connect_timeout",
    "database_statement_timeout",
    "database_lock_timeout",
    "pepper_file",
    KEK_FILE,
    "root_key_file",
    SMTP_URL,
    "smtp_insecure",
    "smtp_password_file",
    "smtp_connections",
    "mail_from",
    "public_endpoint",
    "public_url",
    "credential_headers",
    "trusted_hops",
    "staleness_bound",
    "trace_ratio",
    "log",
    "log_format",
];

/// The variables of this process.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// The settings among the variables, by name.
pub(super) fn variables(
    environment: Vec<(OsString, OsString)>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (key, value) in environment {
        let Some(name) = key.to_str().and_then(|key| key.strip_prefix(PREFIX)) else { continue };
        let name = name.to_ascii_lowercase();
        match value.into_string() {
            Ok(value) if NAMES.contains(&&*name) || name == "config" => drop(values.insert(name, value)),
            Ok(_) => problems.push(unknown(&format!("{PREFIX}{}", name.to_ascii_uppercase()))),
            Err(_) => problems.push(format!("{PREFIX}{} is not UTF-8", name.to_ascii_uppercase())),
        }
    }
    values
}

/// The settings of a file, by name.
pub(super) fn file_values(file: &str, problems: &mut Vec<String>) -> BTreeMap<String, String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("config: {file}: {error}"));
            return BTreeMap::new();
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // The parser's own text quotes the line, which may hold a password.
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            problems.push(format!("config: {file}: line {line} is not TOML: {}", error.message()));
            return BTreeMap::new();
        }
    };
    let mut values = BTreeMap::new();
    for (name, value) in table {
        match value {
            _ if !NAMES.contains(&&*name) => problems.push(unknown(&format!("{name} in {file}"))),
            toml::Value::String(text) => drop(values.insert(name, text)),
            toml::Value::Boolean(flag) => drop(values.insert(name, flag.to_string())),
            toml::Value::Integer(number) => drop(values.insert(name, number.to_string())),
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                problems.push(format!("{name} in {file}: must be a text in quotes, a whole number, or true or false"))
            }
        }
    }
    values
}

fn unknown(name: &str) -> String {
    format!("{name} is no setting; the settings are {}", NAMES.join(", "))
}

/// What was given, by name.
pub(super) struct Values(BTreeMap<String, String>);

impl Values {
    /// Takes what was given, by name.
    pub(super) fn new(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// Reads a setting that has a default.
    pub(super) fn get<T>(
        &self,
        name: &str,
        default: &str,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.0.get(name).map_or(default, String::as_str);
        parse(text).map_err(|why| problems.push(format!("{name}: {why}"))).ok()
    }

    /// What was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A setting that is a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }

    /// Reads a setting that may be left out. `Some(None)`: it is.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some(text) = self.0.get(name) else { return Some(None) };
        parse(text).map(Some).map_err(|why| problems.push(format!("{name}: {why}"))).ok()
    }
}

/// The text of a file that holds a secret, without its end of line.
pub(super) fn secret_file(name: &str, file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {file}: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
