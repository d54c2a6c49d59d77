//! Every setting there is: its name, its default and what it means. From here come the flags, the variables and the keys of
//! the file, what `claviger config` prints, and the table in the README.

use crate::domain::credential::CredentialHeaders;

/// A setting. Its name is the same everywhere: `--log-format`, `CLAVIGER_LOG_FORMAT`, `log_format` in the file.
#[derive(Debug)]
pub struct Setting {
    /// As the file spells it.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What holds when it isn't given.
    pub default: Preset,
    /// What it means, as Markdown.
    pub meaning: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A value of this kind.
    Value(&'static str),
    /// `true` or `false`; as a flag, nothing.
    Switch,
    /// A value that may hold a password: no flag, because every process can read those; and never shown.
    Secret,
}

/// What holds when a setting isn't given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value.
    Value(&'static str),
    /// Something that is no value, in words.
    Words(&'static str),
}

/// All of them but the file's own name, in the README's order.
pub const SETTINGS: [Setting; 33] = [
    Setting {
        name: "listen",
        takes: Takes::Value("ADDRESS:PORT"),
        default: Preset::Value("127.0.0.1:50051"),
        meaning: "address of the gRPC port",
    },
    Setting {
        name: "http_listen",
        takes: Takes::Value("ADDRESS:PORT"),
        default: Preset::Value("127.0.0.1:9464"),
        meaning: "address of the HTTP port: `/livez`, `/readyz`, `/metrics`, `/unsubscribe/…`",
    },
    Setting {
        name: "insecure",
        takes: Takes::Switch,
        default: Preset::Value("false"),
        meaning: "`true`: serve without TLS on an address other than loopback, behind a proxy or a service mesh",
    },
    Setting {
        name: "tls_certificate_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none: no TLS"),
        meaning: "PEM file of this service's certificate, and those of its issuers below it: both ports speak TLS with it; a new one is taken within seconds, see [TLS](#tls)",
    },
    Setting {
        name: "tls_key_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "PEM file of the certificate's private key: PKCS#8, PKCS#1 or SEC1, without a password",
    },
    Setting {
        name: "tls_client_ca_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none: no client certificates"),
        meaning: "PEM file of the authorities whose certificates clients may present on the gRPC port; none has to",
    },
    Setting {
        name: "data",
        takes: Takes::Value("FOLDER"),
        default: Preset::Value("./claviger-data"),
        meaning: "folder for the SQLite file, the generated pepper and `root.key`; a local disk",
    },
    Setting {
        name: "database_url",
        takes: Takes::Secret,
        default: Preset::Words("none: SQLite"),
        meaning: "`postgres://user:password@host:5432/database?sslmode=verify-full`, see [PostgreSQL](#postgresql); no flag",
    },
    Setting {
        name: "database_url_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "file that holds the database's URL",
    },
    Setting {
        name: "database_password_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "file that holds the password, instead of the URL",
    },
    Setting {
        name: "database_readers",
        takes: Takes::Value("NUMBER"),
        default: Preset::Value("4"),
        meaning: "connections to PostgreSQL for reading, `1` to `64`",
    },
    Setting {
        name: "database_writers",
        takes: Takes::Value("NUMBER"),
        default: Preset::Value("4"),
        meaning: "connections to PostgreSQL for changes, `1` to `64`; changes wait for each other anyway, so more of them seldom helps",
    },
    Setting {
        name: "database_connect_timeout",
        takes: Takes::Value("DURATION"),
        default: Preset::Value("3s"),
        meaning: "time to get a connection to PostgreSQL, `100ms` or more",
    },
    Setting {
        name: "database_statement_timeout",
        takes: Takes::Value("DURATION"),
        default: Preset::Value("3s"),
        meaning: "PostgreSQL's `statement_timeout`; together with the connect timeout at most `6s`, so that a call still hears why it failed",
    },
    Setting {
        name: "database_lock_timeout",
        takes: Takes::Value("DURATION"),
        default: Preset::Value("2s"),
        meaning: "PostgreSQL's `lock_timeout`; shorter than the statement timeout",
    },
    Setting {
        name: "pepper_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("`pepper` in the data folder, generated"),
        meaning: "file that holds the pepper, and retired ones below it",
    },
    Setting {
        name: "kek_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none: no key can be made retrievable"),
        meaning: "file that holds the KEK, and retired ones below it, see Retrievable keys",
    },
    Setting {
        name: "root_key_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "file that holds a secret for the first root key",
    },
    Setting {
        name: "smtp_url",
        takes: Takes::Secret,
        default: Preset::Words("none: no mails, warnings are read by RPC only"),
        meaning: "`smtp://user:password@host` changes to TLS before anything is said (STARTTLS, port 587), `smtps://…` begins with it (465), `file:folder` writes each mail into a folder, for a first look; what is special in user and password as `%40` for `@`; no flag",
    },
    Setting {
        name: "smtp_url_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "file that holds the mail server's URL",
    },
    Setting {
        name: "smtp_password_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none"),
        meaning: "file that holds the password, instead of the URL",
    },
    Setting {
        name: "smtp_insecure",
        takes: Takes::Switch,
        default: Preset::Value("false"),
        meaning: "`true`: speak `smtp://` without TLS (port 25), passwords in the clear",
    },
    Setting {
        name: "smtp_ca_file",
        takes: Takes::Value("FILE"),
        default: Preset::Words("none: the system's"),
        meaning: "PEM file of the authorities that the mail server's certificate must come from, instead of the system's",
    },
    Setting {
        name: "smtp_connections",
        takes: Takes::Value("NUMBER"),
        default: Preset::Value("8"),
        meaning: "most connections to the mail server at once, `1` to `64`",
    },
    Setting {
        name: "mail_from",
        takes: Takes::Value("ADDRESS"),
        default: Preset::Words("none"),
        meaning: "who mails are from, as `Claviger <keys@example.com>`; needed with `CLAVIGER_SMTP_URL`",
    },
    Setting {
        name: "public_endpoint",
        takes: Takes::Value("HOST:PORT"),
        default: Preset::Words("the gRPC port's address"),
        meaning: "`host:port` where callers reach the gRPC port, as mails and credential files show it; their command has `-plaintext` unless this service speaks TLS or the port is 443 or 8443",
    },
    Setting {
        name: "public_url",
        takes: Takes::Value("URL"),
        default: Preset::Words("none: mails have no link"),
        meaning: "`https://keys.example.com`: what mails link to, followed by `/unsubscribe/…`; let your proxy send that to the HTTP port, and cut off the URL's own path if it has one; `http://` only for this machine",
    },
    Setting {
        name: "credential_headers",
        takes: Takes::Value("HEADERS"),
        default: Preset::Value(CredentialHeaders::DEFAULT),
        meaning: "headers in which clients behind [Envoy](#envoy) present their keys, 1 to 8; the first that is there decides. A name, or a name with what stands before the key: a word and `=`, or a scheme",
    },
    Setting {
        name: "trusted_hops",
        takes: Takes::Value("NUMBER"),
        default: Preset::Value("0"),
        meaning: "proxies before Envoy that are believed about whom they were called by, `0` to `8`; Envoy itself must add its caller to `x-forwarded-for` (`use_remote_address: true`)",
    },
    Setting {
        name: "staleness_bound",
        takes: Takes::Value("DURATION"),
        default: Preset::Value("5m"),
        meaning: "how long Verify may answer while the database is away, `1s` to `24h`",
    },
    Setting {
        name: "trace_ratio",
        takes: Takes::Value("RATIO"),
        default: Preset::Value("0.01"),
        meaning: "share of the calls of VerificationService, and of Envoy's, that are traced when their callers don't say, `0` to `1`",
    },
    Setting {
        name: "log",
        takes: Takes::Value("FILTER"),
        default: Preset::Value("info"),
        meaning: "what to log, as `info` or `claviger=debug`",
    },
    Setting {
        name: "log_format",
        takes: Takes::Value("FORMAT"),
        default: Preset::Value("human"),
        meaning: "how to log: `human` or `json`",
    },
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::limits;

    fn default(name: &str) -> &'static str {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).expect("a setting");
        let Preset::Value(text) = setting.default else { panic!("{name} has no value") };
        text
    }

    /// What is built without settings, as in tests, is built as with none given.
    #[test]
    fn defaults_are_the_limits_of_the_same_names() {
        let duration = |name: &str| humantime::parse_duration(default(name)).expect("a duration");
        assert_eq!(default("database_readers"), limits::READERS.to_string());
        assert_eq!(default("database_writers"), limits::POSTGRES_WRITERS.to_string());
        let timeouts: [Duration; 3] =
            ["connect", "statement", "lock"].map(|of| duration(&format!("database_{of}_timeout")));
        assert_eq!(timeouts, [limits::CONNECT_TIMEOUT, limits::STATEMENT_TIMEOUT, limits::LOCK_TIMEOUT]);
    }

    #[test]
    fn names_are_plain_and_come_once() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(setting.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", setting.name);
            assert!(SETTINGS[index + 1..].iter().all(|other| other.name != setting.name), "{} twice", setting.name);
        }
    }
}
