//! Reads PostgreSQL's URL as libpq would, stricter than sqlx, which ignores what it doesn't know and downgrades silently.
//!
//! * A host other than this machine needs an explicit `sslmode`: the usual default, `prefer`, goes on in the clear when
//!   somebody in between says that the server has no TLS.
//! * `allow` is refused (sqlx takes it for `disable`), and so is `verify-ca`: sqlx trusts the public authorities beside
//!   `sslrootcert`, so that any certificate of anybody would pass when the host's name isn't checked too.
//! * `sslrootcert` without `verify-full` is refused: nothing would be checked against it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::domain::text::percent_decoded;

use super::{PostgresSettings, StoreError};

/// What sqlx reads itself.
const PASSED_ON: [&str; 6] = ["host", "port", "dbname", "user", "password", "options"];
/// What is read here.
const TLS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// How the connections are made. Errors never quote the URL: any part of it may belong to a password.
pub(super) fn options(settings: &PostgresSettings) -> Result<PgConnectOptions, StoreError> {
    read(settings).map_err(|why| StoreError::Address(format!("the database URL {why}")))
}

fn read(settings: &PostgresSettings) -> Result<PgConnectOptions, String> {
    let (base, query) = settings.url.split_once('?').unwrap_or((&settings.url, ""));
    let parameters = parameters(query)?;
    let passed_on: Vec<_> = parameters.iter().filter(|(name, _)| PASSED_ON.contains(name)).collect();
    let passed_on: Vec<_> = passed_on.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let known = ["postgres://", "postgresql://"].iter().any(|scheme| base.starts_with(scheme)) && !base.contains('#');
    let options = PgConnectOptions::from_str(&format!("{base}?{}", passed_on.join("&"))).ok().filter(|_| known);
    let options = options.ok_or(
        "can't be read; write it as postgres://user:password@host:5432/database?sslmode=verify-full, special characters \
         as %xx",
    )?;
    let options = with_password(options, base, &parameters, settings.password.as_deref())?;
    // No parameter of sqlx's own: pgbouncer refuses the ones it doesn't know.
    with_tls(at_one_host(options)?.extra_float_digits(None), &parameters)
}

fn parameters(query: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !PASSED_ON.contains(&name) && !TLS.contains(&name) {
            let (tls, others) = (TLS.join(", "), PASSED_ON.join(", "));
            return Err(format!(
                "has a parameter other than {tls}, {others}; time-outs and pools are settings of their own"
            ));
        }
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(format!("has {name} twice; give it once"));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn with_password(
    options: PgConnectOptions,
    base: &str,
    parameters: &[(&str, &str)],
    password: Option<&str>,
) -> Result<PgConnectOptions, String> {
    let Some(password) = password else { return Ok(options) };
    let authority = base.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let in_authority = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    if in_authority || parameters.iter().any(|(name, _)| *name == "password") {
        return Err("has a password, and database_password_file is given too; choose one".to_owned());
    }
    Ok(options.password(password))
}

/// sqlx takes several hosts for one name, and leaves an IPv6 address in its brackets, which nothing resolves.
fn at_one_host(options: PgConnectOptions) -> Result<PgConnectOptions, String> {
    let host = options.get_host().to_owned();
    if host.contains(',') {
        return Err(
            "names several hosts; give one name that leads to the primary, as the README's Failover says".to_owned()
        );
    }
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => Ok(options.host(address)),
        None => Ok(options),
    }
}

fn with_tls(options: PgConnectOptions, parameters: &[(&str, &str)]) -> Result<PgConnectOptions, String> {
    let given = |wanted: &str| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let mode = given("sslmode").map(mode).transpose()?;
    let root = given("sslrootcert").map(|value| file("sslrootcert", value)).transpose()?;
    let identity = match (given("sslcert"), given("sslkey")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((file("sslcert", certificate)?, file("sslkey", key)?)),
        (Some(_), None) | (None, Some(_)) => return Err("needs sslcert and sslkey together".to_owned()),
    };
    if options.get_socket().is_some() || options.get_host().starts_with('/') {
        // As libpq does: there is no TLS on a socket of this machine.
        return Ok(options.ssl_mode(PgSslMode::Disable));
    }
    let mode = match mode {
        Some(mode) => mode,
        None if is_this_machine(options.get_host()) => PgSslMode::Prefer,
        None => return Err(NO_MODE.to_owned()),
    };
    let verifies = matches!(mode, PgSslMode::VerifyFull);
    if root.is_some() && !verifies {
        return Err("has sslrootcert, which only sslmode=verify-full checks; write that, or leave it out".to_owned());
    }
    let mut options = options.ssl_mode(mode);
    if let Some(root) = root {
        options = options.ssl_root_cert(root);
    }
    if let Some((certificate, key)) = identity {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    Ok(options)
}

const NO_MODE: &str = "leads to another machine and says nothing about TLS; add ?sslmode=verify-full (with \
                       &sslrootcert=ca.pem for an authority of your own), or, where the network is safe, ?sslmode=disable";

fn mode(value: &str) -> Result<PgSslMode, String> {
    match value {
        "disable" => Ok(PgSslMode::Disable),
        "prefer" => Ok(PgSslMode::Prefer),
        "require" => Ok(PgSslMode::Require),
        "verify-full" => Ok(PgSslMode::VerifyFull),
        "verify-ca" => {
            Err("has sslmode=verify-ca, which can't be kept here; use verify-full, which also checks the host's \
                            name, or require, which checks nothing"
                .to_owned())
        }
        _ => Err("has another sslmode than disable, prefer, require or verify-full".to_owned()),
    }
}

/// A file that can be read now; it is read again for each connection, so that it may be renewed.
fn file(name: &str, value: &str) -> Result<PathBuf, String> {
    let path = percent_decoded(value).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.ok_or_else(|| format!("has no file in {name}; write its path, special characters as %xx"))?;
    match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(format!("names a file in {name} that can't be read: {}: {error}", path.display())),
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Target;

    fn read_url(url: &str, password: Option<&str>) -> Result<PgConnectOptions, String> {
        let Target::Postgres(settings) = Target::postgres(url) else { panic!("it is PostgreSQL") };
        read(&PostgresSettings { password: password.map(str::to_owned), ..settings })
    }

    fn mode_of(url: &str) -> String {
        format!("{:?}", read_url(url, None).unwrap_or_else(|why| panic!("{url}: {why}")).get_ssl_mode())
    }

    #[test]
    fn this_machine_needs_no_mode_and_any_other_one_does() {
        for url in ["postgres://u@localhost/d", "postgres://u@127.0.0.1:1/d", "postgresql://u@[::1]/d"] {
            assert_eq!(mode_of(url), "Prefer", "{url}");
        }
        for url in ["postgres:///d?host=/run/postgresql", "postgres://u@%2Frun%2Fpostgresql/d?sslmode=verify-full"] {
            assert_eq!(mode_of(url), "Disable", "{url}");
        }
        for url in ["postgres://u@db.example/d", "postgres://u@10.0.0.1/d", "postgres:///d?host=db.example"] {
            assert_eq!(read_url(url, None).err().as_deref(), Some(NO_MODE), "{url}");
        }
        for (mode, read) in
            [("disable", "Disable"), ("prefer", "Prefer"), ("require", "Require"), ("verify-full", "VerifyFull")]
        {
            assert_eq!(mode_of(&format!("postgres://u@db.example/d?sslmode={mode}")), read);
        }
        assert_eq!(read_url("postgres://u@[::1]:1/d", None).expect("good").get_host(), "::1");
    }

    #[test]
    fn what_would_be_ignored_or_weaker_than_it_looks_is_refused() {
        let here = std::env!("CARGO_MANIFEST_DIR");
        for (query, says) in [
            ("sslmode=allow", "disable, prefer, require"),
            ("sslmode=verify-ca", "use verify-full"),
            ("sslmode=verify%2Dfull", "another sslmode"),
            ("sslmode=require&sslmode=disable", "twice"),
            ("ssl-mode=require", "a parameter other than"),
            ("sslmode=require&connect_timeout=3", "settings of their own"),
            ("sslmode=require&target_session_attrs=any", "a parameter other than"),
            (&format!("sslmode=require&sslrootcert={here}/Cargo.toml"), "only sslmode=verify-full"),
            ("sslmode=verify-full&sslrootcert=/no/such%20file", "/no/such file: No such file"),
            ("sslmode=verify-full&sslrootcert=", "no file in sslrootcert"),
            (&format!("sslmode=require&sslcert={here}/Cargo.toml"), "sslcert and sslkey together"),
        ] {
            let refused = read_url(&format!("postgres://u@db.example/d?{query}"), None).err();
            assert!(refused.as_ref().is_some_and(|why| why.contains(says)), "{query}: {refused:?}");
        }
        let several = read_url("postgres://u@a,b/d?sslmode=require", None).err();
        assert!(several.as_ref().is_some_and(|why| why.contains("several hosts")), "{several:?}");
    }

    #[test]
    fn there_is_one_password() {
        assert!(read_url("postgres://u@localhost/d", Some("p")).is_ok());
        for url in ["postgres://u:p@localhost/d", "postgres://u@localhost/d?password=p"] {
            assert!(read_url(url, None).is_ok(), "{url}");
            assert!(read_url(url, Some("p")).is_err_and(|why| why.contains("choose one")), "{url}");
        }
    }
}
