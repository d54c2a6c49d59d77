//! The house as tables: its rooms, who may know whom, and who may use which crate.

/// A module of `src/` and what it may know of the others: a module, or one type of it as `module::Type`.
pub struct Room {
    pub name: &'static str,
    pub knows: &'static [&'static str],
    /// Which of [`GUARDED`] it may use.
    pub uses: &'static [&'static str],
}

/// Modules that hold an edge of the process: what time it is and chance. Everything but `domain` may know them.
pub const EDGES: [&str; 2] = ["clock", "random"];

/// `domain` knows nobody. `store` knows domain. `verify`, `authority` and `notify` know domain and store; two of them count.
/// `grpc` knows those three, of the store only plain types; `http` too, without the store. `app` knows all. `client` knows
/// the contract alone.
pub const HOUSE: [Room; 21] = [
    Room { name: "domain", knows: &[], uses: &["chacha20poly1305"] },
    Room { name: "clock", knows: &["domain"], uses: &[] },
    Room { name: "random", knows: &[], uses: &[] },
    Room {
        name: "config",
        knows: &[
            "domain",
            "files",
            "store::PostgresSettings",
            "tls::TlsFiles",
            "tls::pem::self",
            "tls::pem::Authorities",
        ],
        uses: &["clap", "tracing_subscriber"],
    },
    Room { name: "files", knows: &[], uses: &[] },
    Room { name: "data_folder", knows: &["domain"], uses: &[] },
    Room { name: "proto", knows: &[], uses: &["tonic"] },
    Room { name: "client", knows: &["proto"], uses: &["tokio", "tonic"] },
    Room { name: "store", knows: &["domain"], uses: &["tokio", "sea_orm", "sqlx", "claviger_migrations"] },
    Room { name: "verify", knows: &["domain", "store", "metrics"], uses: &["tokio"] },
    Room { name: "authority", knows: &["domain", "store"], uses: &["tokio"] },
    Room {
        name: "notify",
        knows: &[
            "domain",
            "store",
            "metrics",
            "config::MailServer",
            "config::MailSettings",
            "config::Sender",
            "config::Encryption",
            "config::Credentials",
            "tls::pem::Authorities",
        ],
        uses: &["tokio", "lettre", "minijinja"],
    },
    Room {
        name: "grpc",
        knows: &[
            "domain",
            "verify",
            "authority",
            "notify",
            "proto",
            "telemetry",
            "tls",
            "metrics",
            "store::DeliveryFilter",
            "store::KeyFilter",
            "store::KeyStateFilter",
            "store::NotificationFilter",
            "store::StoreError",
        ],
        uses: &["tokio", "tonic", "hyper"],
    },
    Room {
        name: "http",
        knows: &["domain", "verify", "authority", "metrics", "tls"],
        uses: &["tokio", "hyper", "axum"],
    },
    Room {
        name: "tls",
        knows: &["domain", "files", "metrics"],
        uses: &["rustls", "tokio", "tokio_rustls", "x509_cert"],
    },
    Room { name: "metrics", knows: &["domain"], uses: &["opentelemetry", "prometheus"] },
    Room {
        name: "jobs",
        knows: &["domain", "authority", "notify", "metrics"],
        uses: &["tokio", "tokio_cron_scheduler"],
    },
    Room { name: "replicas", knows: &["domain", "store", "verify", "metrics"], uses: &["tokio"] },
    Room {
        name: "telemetry",
        knows: &["config", "domain", "metrics", "proto"],
        uses: &["tonic", "opentelemetry", "tracing_subscriber"],
    },
    Room {
        name: "app",
        knows: &[
            "domain",
            "store",
            "verify",
            "authority",
            "notify",
            "grpc",
            "http",
            "metrics",
            "jobs",
            "replicas",
            "telemetry",
            "config",
            "data_folder",
            "tls",
        ],
        uses: &["tokio", "tokio_cron_scheduler", "tonic"],
    },
    Room { name: "main", knows: &["app", "config", "telemetry"], uses: &["clap", "tokio"] },
];

/// Outside crates with a reserved place; a name also stands for every crate that it starts, as `tonic_types`.
pub const GUARDED: [&str; 18] = [
    "axum",
    "chacha20poly1305",
    "claviger_migrations",
    "clap",
    "hyper",
    "lettre",
    "minijinja",
    "opentelemetry",
    "prometheus",
    "rustls",
    "sea_orm",
    "sqlx",
    "tokio_cron_scheduler",
    "tokio_rustls",
    "tokio",
    "tonic",
    "tracing_subscriber",
    "x509_cert",
];

/// What the pure and synchronous part can't contain.
pub const IMPURE: [&str; 11] = [
    "async",
    "await",
    "SystemTime",
    "Instant",
    "Utc::now",
    "Local::now",
    "std::fs",
    "std::env",
    "std::thread",
    "futures",
    "tracing",
];
