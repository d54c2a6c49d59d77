//! The command line: what to do, and the settings that are flags.

use std::collections::BTreeMap;

use clap::{Args, Parser, Subcommand};

/// Issues API keys over gRPC and answers "is this key good?" from memory.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    about,
    after_help = "Each option is also a variable (CLAVIGER_LISTEN) and a key of the \
configuration file (listen). Without a command, claviger serves. The URLs of the database and of the mail server \
(CLAVIGER_DATABASE_URL, CLAVIGER_SMTP_URL) are variables or keys of the file, never options, because every process could \
read their passwords there."
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
    /// Wrap the data keys of retrievable keys under the KEK in the first line of CLAVIGER_KEK_FILE.
    Rewrap,
    /// Ask a running service whether it serves; exit 0 if it does.
    Healthcheck,
    /// Print the descriptors of the contract, as a google.protobuf.FileDescriptorSet for a transcoder.
    Descriptors,
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
    /// Address of the HTTP port: health, metrics, unsubscribe links [default: 127.0.0.1:9464].
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    http_listen: Option<String>,
    /// Serve without TLS on an address other than loopback.
    #[arg(long, global = true)]
    insecure: bool,
    /// Folder for the SQLite file, the generated pepper and root.key [default: ./claviger-data].
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<String>,
    /// File that holds the database's URL, as postgres://user:password@host/database?sslmode=verify-full.
    #[arg(long, global = true, value_name = "FILE")]
    database_url_file: Option<String>,
    /// File that holds the password for PostgreSQL, instead of the URL.
    #[arg(long, global = true, value_name = "FILE")]
    database_password_file: Option<String>,
    /// Connections to PostgreSQL for reading, 1 to 64 [default: 4].
    #[arg(long, global = true, value_name = "NUMBER")]
    database_readers: Option<String>,
    /// Connections to PostgreSQL for changes, 1 to 64 [default: 4].
    #[arg(long, global = true, value_name = "NUMBER")]
    database_writers: Option<String>,
    /// Time to get a connection to PostgreSQL [default: 3s].
    #[arg(long, global = true, value_name = "DURATION")]
    database_connect_timeout: Option<String>,
    /// Time that PostgreSQL gives a statement [default: 3s].
    #[arg(long, global = true, value_name = "DURATION")]
    database_statement_timeout: Option<String>,
    /// Time that PostgreSQL lets a statement wait for a lock [default: 2s].
    #[arg(long, global = true, value_name = "DURATION")]
    database_lock_timeout: Option<String>,
    /// File that holds the pepper, and retired ones below it.
    #[arg(long, global = true, value_name = "FILE")]
    pepper_file: Option<String>,
    /// File that holds the KEK for retrievable keys, and retired ones below it.
    #[arg(long, global = true, value_name = "FILE")]
    kek_file: Option<String>,
    /// File that holds the secret of the first root key.
    #[arg(long, global = true, value_name = "FILE")]
    root_key_file: Option<String>,
    /// Speak to the mail server without TLS.
    #[arg(long, global = true)]
    smtp_insecure: bool,
    /// File that holds the password for the mail server.
    #[arg(long, global = true, value_name = "FILE")]
    smtp_password_file: Option<String>,
    /// Most connections to the mail server at once, 1 to 64 [default: 8].
    #[arg(long, global = true, value_name = "NUMBER")]
    smtp_connections: Option<String>,
    /// Who mails are from, as `Claviger <keys@example.com>`.
    #[arg(long, global = true, value_name = "ADDRESS")]
    mail_from: Option<String>,
    /// Where callers reach the gRPC port, as mails show it [default: the address of the gRPC port].
    #[arg(long, global = true, value_name = "HOST:PORT")]
    public_endpoint: Option<String>,
    /// Where the unsubscribe links of mails lead, as https://keys.example.com.
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// Headers that the clients of a gateway present their keys in, the first that is there decides
    /// [default: x-api-key, x-blancco-api-key, authorization: rest_api_key=, authorization: Bearer].
    #[arg(long, global = true, value_name = "HEADERS")]
    credential_headers: Option<String>,
    /// Proxies before a gateway that are believed about whom they were called by, 0 to 8 [default: 0].
    #[arg(long, global = true, value_name = "NUMBER")]
    trusted_hops: Option<String>,
    /// How long Verify may answer while the database is away [default: 5m].
    #[arg(long, global = true, value_name = "DURATION")]
    staleness_bound: Option<String>,
    /// Share of the calls of VerificationService that are traced when their callers don't say, 0 to 1 [default: 0.01].
    #[arg(long, global = true, value_name = "RATIO")]
    trace_ratio: Option<String>,
    /// What to log, as `info` or `claviger=debug` [default: info].
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How to log: human or json [default: human].
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Flags {
    /// The configuration file, and the settings by name.
    pub(super) fn named(self) -> (Option<String>, BTreeMap<String, String>) {
        let given = [
            ("listen", self.listen),
            ("http_listen", self.http_listen),
            ("insecure", self.insecure.then(|| "true".to_owned())),
            ("data", self.data),
            ("database_url_file", self.database_url_file),
            ("database_password_file", self.database_password_file),
            ("database_readers", self.database_readers),
            ("database_writers", self.database_writers),
            ("database_connect_timeout", self.database_connect_timeout),
            ("database_statement_timeout", self.database_statement_timeout),
            ("database_lock_timeout", self.database_lock_timeout),
            ("pepper_file", self.pepper_file),
            ("kek_file", self.kek_file),
            ("root_key_file", self.root_key_file),
            ("smtp_insecure", self.smtp_insecure.then(|| "true".to_owned())),
            ("smtp_password_file", self.smtp_password_file),
            ("smtp_connections", self.smtp_connections),
            ("mail_from", self.mail_from),
            ("public_endpoint", self.public_endpoint),
            ("public_url", self.public_url),
            ("credential_headers", self.credential_headers),
            ("trusted_hops", self.trusted_hops),
            ("staleness_bound", self.staleness_bound),
            ("trace_ratio", self.trace_ratio),
            ("log", self.log),
            ("log_format", self.log_format),
        ];
        let flags = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (self.config, flags)
    }
}
