//! Settings: typed, from flags, variables and a file, in this order of precedence; the only reader of the environment.
//!
//! One name for each, everywhere: `--log-format`, `CLAVIGER_LOG_FORMAT`, `log_format` in the file. Every bad one is named at
//! once, unknown ones are errors. Secrets come from files or variables, never from flags, which every process can read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::domain::Span;

const PREFIX: &str = "CLAVIGER_";
const DATABASE_URL: &str = "database_url";

/// Issues API keys over gRPC and answers "is this key good?" from memory.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    about,
    after_help = "Each option is also a variable (CLAVIGER_LISTEN) and a key of the \
configuration file (listen). Without a command, claviger serves. The database's URL itself is a variable (CLAVIGER_DATABASE_URL) or a \
key of the file, never an option, because every process could read its password there."
)]
pub struct Arguments {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings given as flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the service.
    Serve,
    /// Bring the database's schema to this version.
    Migrate,
    /// Make another root key and print it; at 10 the oldest is revoked.
    RootKey {
        /// Only print a new secret, for CLAVIGER_ROOT_KEY_FILE of a first start.
        #[arg(long)]
        offline: bool,
    },
    /// Ask a running service whether it serves; exit 0 if it does.
    Healthcheck,
}

/// Settings as flags.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// TOML file with the settings below.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// Address of the gRPC port [default: 127.0.0.1:50051].
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve without TLS on an address other than loopback.
    #[arg(long, global = true)]
    insecure: bool,
    /// Folder for the SQLite file, the generated pepper and root.key [default: ./claviger-data].
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// File that holds the database's URL, as postgres://user:password@host/database.
    #[arg(long, global = true, value_name = "FILE")]
    database_url_file: Option<String>,
    /// File that holds the pepper, and retired ones below it.
    #[arg(long, global = true, value_name = "FILE")]
    pepper_file: Option<String>,
    /// File that holds the secret of the first root key.
    #[arg(long, global = true, value_name = "FILE")]
    root_key_file: Option<String>,
    /// How long Verify may answer while the database is away [default: 5m].
    #[arg(long, global = true, value_name = "DURATION")]
    staleness_bound: Option<String>,
    /// What to log, as `info` or `claviger=debug` [default: info].
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How to log: human or json [default: human].
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One object a line.
    Json,
}

/// The settings, checked.
#[derive(Debug)]
pub struct Settings {
    /// Address of the gRPC port.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// PostgreSQL's URL; without it, SQLite in the data folder.
    pub database_url: Option<DatabaseUrl>,
    /// The pepper file; without it, a generated one in the data folder.
    pub pepper_file: Option<PathBuf>,
    /// The secret of the first root key.
    pub root_key_file: Option<PathBuf>,
    /// How old the mirror may be and still answer.
    pub staleness_bound: Span,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Whether traces are exported by OTLP: when the standard variable for the endpoint is set.
    pub export_traces: bool,
}

/// A database URL; its debug form hides what may be a password.
#[derive(Clone)]
pub struct DatabaseUrl(String);

/// Every bad setting, by name.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(Vec<String>);

impl DatabaseUrl {
    /// The URL, for the driver alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

impl Settings {
    /// Reads the process's environment, the file it may name, and `flags`.
    pub fn read(flags: Flags) -> Result<Self, SettingsError> {
        Self::from_parts(flags, environment())
    }

    /// Reads settings from flags and an environment.
    pub fn from_parts(flags: Flags, environment: Vec<(OsString, OsString)>) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let standard = |name: &str| environment.iter().any(|(key, value)| key == name && !value.is_empty());
        let export_traces =
            ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].into_iter().any(standard);
        let variables = variables(environment, &mut problems);
        let (config, flags) = flags.named();
        let file = config.or_else(|| variables.get("config").cloned());
        let mut values = file.map_or_else(BTreeMap::new, |file| file_values(&file, &mut problems));
        values.extend(variables);
        values.extend(flags);
        let settings = checked(&Values(values), export_traces, &mut problems);
        match settings {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(SettingsError(problems)),
        }
    }
}

impl Flags {
    /// The configuration file, and the settings by name.
    fn named(self) -> (Option<String>, BTreeMap<String, String>) {
        let given = [
            ("listen", self.listen),
            ("insecure", self.insecure.then(|| "true".to_owned())),
            ("data", self.data),
            ("database_url_file", self.database_url_file),
            ("pepper_file", self.pepper_file),
            ("root_key_file", self.root_key_file),
            ("staleness_bound", self.staleness_bound),
            ("log", self.log),
            ("log_format", self.log_format),
        ];
        let flags = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (self.config, flags)
    }
}

/// The names of all settings, as the file spells them.
const NAMES: [&str; 10] = [
    "listen",
    "insecure",
    "data",
    DATABASE_URL,
    "database_url_file",
    "pepper_file",
    "root_key_file",
    "staleness_bound",
    "log",
    "log_format",
];

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

fn variables(environment: Vec<(OsString, OsString)>, problems: &mut Vec<String>) -> BTreeMap<String, String> {
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

fn file_values(file: &str, problems: &mut Vec<String>) -> BTreeMap<String, String> {
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
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                problems.push(format!("{name} in {file}: must be a text in quotes, or true or false"))
            }
        }
    }
    values
}

fn unknown(name: &str) -> String {
    format!("{name} is no setting; the settings are {}", NAMES.join(", "))
}

struct Values(BTreeMap<String, String>);

impl Values {
    fn get<T>(
        &self,
        name: &str,
        default: &str,
        problems: &mut Vec<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.0.get(name).map_or(default, String::as_str);
        parse(text).map_err(|why| problems.push(format!("{name}: {why}"))).ok()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).map(PathBuf::from)
    }
}

fn checked(values: &Values, export_traces: bool, problems: &mut Vec<String>) -> Option<Settings> {
    let listen = values.get("listen", "127.0.0.1:50051", problems, parse_address);
    let insecure = values.get("insecure", "false", problems, parse_flag);
    let staleness_bound = values.get("staleness_bound", "5m", problems, parse_staleness_bound);
    let log = values.get("log", "info", problems, parse_filter);
    let log_format = values.get("log_format", "human", problems, parse_log_format);
    let database_url = database_url(values, problems);
    if let (Some(address), Some(false)) = (listen, insecure)
        && !address.ip().is_loopback()
    {
        problems.push(format!(
            "listen: {address} is not loopback and there is no TLS; set CLAVIGER_INSECURE=true if that is meant"
        ));
    }
    Some(Settings {
        listen: listen?,
        data: values.path("data").unwrap_or_else(|| PathBuf::from("claviger-data")),
        database_url: database_url?,
        pepper_file: values.path("pepper_file"),
        root_key_file: values.path("root_key_file"),
        staleness_bound: staleness_bound?,
        log: log?,
        log_format: log_format?,
        export_traces,
    })
}

/// `Some(None)`: SQLite.
fn database_url(values: &Values, problems: &mut Vec<String>) -> Option<Option<DatabaseUrl>> {
    let url = match (values.0.get(DATABASE_URL), values.0.get("database_url_file")) {
        (None, None) => return Some(None),
        (Some(_), Some(_)) => {
            problems.push("database_url and database_url_file are both given; choose one".to_owned());
            return None;
        }
        (Some(url), None) => url.clone(),
        (None, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) => text.trim_end().to_owned(),
            Err(error) => {
                problems.push(format!("database_url_file: {file}: {error}"));
                return None;
            }
        },
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        problems
            .push("database_url: must start with postgres://; leave it out for SQLite in the data folder".to_owned());
        return None;
    }
    Some(Some(DatabaseUrl(url)))
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, as 127.0.0.1:50051 or [::1]:50051".to_owned())
}

fn parse_flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

fn parse_staleness_bound(text: &str) -> Result<Span, String> {
    const SHORTEST: Span = Span::seconds(1);
    const LONGEST: Span = Span::hours(24);
    let parsed = humantime::parse_duration(text).ok().and_then(|duration| Span::from_std(duration).ok());
    let inside = parsed.filter(|span| (SHORTEST..=LONGEST).contains(span));
    inside.ok_or_else(|| "must be a duration from 1s to 24h, as 5m".to_owned())
}

fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|_| "must be a level or a filter, as info or claviger=debug".to_owned())
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be human or json".to_owned()),
    }
}
