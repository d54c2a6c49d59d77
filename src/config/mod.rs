//! Settings: typed, from flags, variables and a file, in this order of precedence; the only reader of the environment.
//!
//! One name for each, everywhere: `--log-format`, `CLAVIGER_LOG_FORMAT`, `log_format` in the file. Every bad one is named at
//! once, unknown ones are errors. Secrets come from files or variables, never from flags, which every process can read.

pub mod catalogue;
mod collector;
mod database;
mod effective;
mod exports;
mod flags;
mod keks;
mod mail;
mod public;
mod sources;
mod tls;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::domain::{Span, credential::CredentialHeaders, kek::Keks, limits};
use crate::store::PostgresSettings;
use crate::tls::TlsFiles;

use sources::{Values, environment, file_values, variables};

pub use collector::{CollectorTls, Identity};
pub use effective::Effective;
pub use exports::{Exports, Signal};
pub use flags::{Arguments, Command, Flags};
pub use mail::{Credentials, Encryption, MailServer, MailSettings, Sender};

const PREFIX: &str = "CLAVIGER_";
const CONFIG: &str = "config";
const DATABASE_URL: &str = "database_url";
const SMTP_URL: &str = "smtp_url";
const KEK_FILE: &str = "kek_file";

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
    /// Every setting as it holds, to be shown.
    pub effective: Effective,
    /// Address of the gRPC port.
    pub listen: SocketAddr,
    /// Address of the HTTP port.
    pub http_listen: SocketAddr,
    /// The certificate of both ports; without it, they speak in the clear.
    pub tls: Option<TlsFiles>,
    /// The data folder.
    pub data: PathBuf,
    /// PostgreSQL; without it, SQLite in the data folder.
    pub database: Option<PostgresSettings>,
    /// The pepper file; without it, a generated one in the data folder.
    pub pepper_file: Option<PathBuf>,
    /// The KEKs; without them no key can be made retrievable, or revealed.
    pub keks: Option<Keks>,
    /// The secret of the first root key.
    pub root_key_file: Option<PathBuf>,
    /// How mails are sent; without it, none are.
    pub mail: Option<MailSettings>,
    /// Where callers reach the gRPC port, as `host:port`; without it, its address.
    pub public_endpoint: Option<String>,
    /// Where the HTTP port's links lead, as `https://host/path` without a slash at the end; without it, mails have none.
    pub public_url: Option<String>,
    /// Where the clients of a gateway present their keys.
    pub credential_headers: CredentialHeaders,
    /// How many proxies before a gateway are believed about whom they were called by.
    pub trusted_hops: u8,
    /// How old the mirror may be and still answer.
    pub staleness_bound: Span,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// What is exported by OTLP, as the standard variables say.
    pub exports: Exports,
    /// TLS to the collector of traces, when its endpoint is `https://`.
    pub trace_collector: Option<CollectorTls>,
    /// TLS to the collector of metrics, when its endpoint is `https://`.
    pub metric_collector: Option<CollectorTls>,
    /// One in how many calls of VerificationService is traced when its caller doesn't say; `None` = none of them.
    pub trace_every: Option<NonZeroU32>,
}

/// Every bad setting, by name.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(Vec<String>);

impl Settings {
    /// Reads the process's environment, the file it may name, and `flags`.
    pub fn read(flags: Flags) -> Result<Self, SettingsError> {
        Self::from_parts(flags, environment())
    }

    /// Reads settings from flags and an environment.
    pub fn from_parts(flags: Flags, environment: Vec<(OsString, OsString)>) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let exports = Exports::of(&environment);
        let [trace_collector, metric_collector] =
            Signal::ALL.map(|signal| collector::read(signal, &environment, &mut problems));
        let variables = variables(environment, &mut problems);
        let (config, flags) = flags.named();
        let file = config.or_else(|| variables.get(CONFIG).cloned());
        let mut values = Values::new();
        if let Some(file) = file {
            values.take(file_values(&file, &mut problems), |_| format!("the file {file}"), &mut problems);
        }
        let variable = |name: &str| format!("the variable {PREFIX}{}", name.to_ascii_uppercase());
        values.take(variables, variable, &mut problems);
        values.take(flags, |name| format!("the flag --{}", name.replace('_', "-")), &mut problems);
        let settings = checked(&values, exports, &mut problems);
        match settings {
            Some(settings) if problems.is_empty() => Ok(Self { trace_collector, metric_collector, ..settings }),
            _ => Err(SettingsError(problems)),
        }
    }
}

fn checked(values: &Values, exports: Exports, problems: &mut Vec<String>) -> Option<Settings> {
    let listen = values.get("listen", problems, parse_address);
    let http_listen = values.get("http_listen", problems, parse_address);
    let insecure = values.get("insecure", problems, parse_flag);
    let credential_headers = values.get("credential_headers", problems, CredentialHeaders::parse);
    let trusted_hops = values.get("trusted_hops", problems, parse_trusted_hops);
    let staleness_bound = values.get("staleness_bound", problems, parse_staleness_bound);
    let trace_every = values.get("trace_ratio", problems, parse_trace_ratio);
    let log = values.get("log", problems, parse_filter);
    let log_format = values.get("log_format", problems, parse_log_format);
    let tls = tls::read(values, problems);
    let data = values.get("data", problems, |text| Ok(PathBuf::from(text)));
    let database = database::read(values, problems);
    let keks = values.optional(KEK_FILE, problems, keks::read);
    let mail = mail::read(values, problems);
    let public_endpoint = values.optional("public_endpoint", problems, public::parse_endpoint);
    let public_url = values.optional("public_url", problems, public::parse_url);
    if insecure == Some(false) && matches!(tls, Some(None)) {
        for (name, address) in [("listen", listen), ("http_listen", http_listen)] {
            problems.extend(address.and_then(|address| refuse_without_tls(name, address)));
        }
    }
    Some(Settings {
        listen: listen?,
        http_listen: http_listen?,
        tls: tls?,
        data: data?,
        database: database?,
        pepper_file: values.path("pepper_file"),
        keks: keks?,
        root_key_file: values.path("root_key_file"),
        mail: mail?,
        public_endpoint: public_endpoint?,
        public_url: public_url?,
        credential_headers: credential_headers?,
        trusted_hops: trusted_hops?,
        staleness_bound: staleness_bound?,
        trace_every: trace_every?,
        log: log?,
        log_format: log_format?,
        exports,
        trace_collector: None,
        metric_collector: None,
        effective: Effective::of(values),
    })
}

/// What is wrong with an address, unless it is loopback.
fn refuse_without_tls(name: &str, address: SocketAddr) -> Option<String> {
    let why = "is not loopback and there is no TLS; give CLAVIGER_TLS_CERTIFICATE_FILE and CLAVIGER_TLS_KEY_FILE, or set \
               CLAVIGER_INSECURE=true if that is meant";
    (!address.ip().is_loopback()).then(|| format!("{name}: {address} {why}"))
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, as 127.0.0.1:50051 or [::1]:50051".to_owned())
}

fn parse_flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

fn parse_trace_ratio(text: &str) -> Result<Option<NonZeroU32>, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| (0.0..=1.0).contains(ratio));
    let ratio = ratio.ok_or("is not a number from 0 to 1, such as 0.01 for one call in a hundred")?;
    // A ratio of 0 gives infinity, which is cut to the largest number: told apart so that "never" is never.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast cuts, it never wraps")]
    let every = NonZeroU32::new((1.0 / ratio).round() as u32);
    Ok(every.filter(|_| ratio > 0.0))
}

fn parse_trusted_hops(text: &str) -> Result<u8, String> {
    let inside = text.parse().ok().filter(|hops| *hops <= limits::TRUSTED_HOPS);
    inside.ok_or_else(|| format!("must be a number from 0 to {}", limits::TRUSTED_HOPS))
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
