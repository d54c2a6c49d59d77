//! How the collector of traces and metrics is trusted: by OpenTelemetry's own variables, because its exporter reads all
//! others itself, but not these (opentelemetry-otlp 0.33.1, exporter/tonic).

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use super::exports::{Signal, standard};
use crate::tls::pem::{self, Authorities};

const EXPORTER: &str = "OTEL_EXPORTER_OTLP_";

/// TLS to a collector.
#[derive(Debug)]
pub struct CollectorTls {
    /// Who signed its certificate; without it, the system's authorities decide.
    pub authorities: Option<Authorities>,
    /// Who we are to it.
    pub identity: Option<Identity>,
}

/// A certificate and its private key, as PEM; the debug form hides them.
pub struct Identity {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Reads how the collector of a signal is trusted. `None`: it is spoken to in the clear, or not at all.
pub(super) fn read(
    signal: Signal,
    environment: &[(OsString, OsString)],
    problems: &mut Vec<String>,
) -> Option<CollectorTls> {
    // The variable of the signal wins over the common one.
    let variable = |what: &str| {
        let names = [format!("{EXPORTER}{}_{what}", signal.in_capitals()), format!("{EXPORTER}{what}")];
        names.into_iter().find_map(|name| standard(environment, &name).map(|value| (name, value)))
    };
    let (_, endpoint) = variable("ENDPOINT")?;
    let insecure = variable("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    // As the exporter reads it: a scheme decides, and without one it is TLS unless said otherwise.
    let encrypted = endpoint.split_once("://").map_or(!insecure, |(scheme, _)| scheme == "https");
    if !encrypted {
        return None;
    }
    // Both signals read the common ones.
    let mut noted = |name: String, why: String| {
        let problem = format!("{name}: {why}");
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let authorities =
        variable("CERTIFICATE").and_then(|(name, file)| Authorities::read(file).map_err(|why| noted(name, why)).ok());
    let [certificate, key] = ["CLIENT_CERTIFICATE", "CLIENT_KEY"].map(|what| {
        let (name, file) = variable(what)?;
        pem::read(Path::new(file)).map_err(|why| noted(name, why)).ok()
    });
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.to_vec(), key }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            noted(format!("{EXPORTER}CLIENT_CERTIFICATE"), format!("goes together with {EXPORTER}CLIENT_KEY"));
            None
        }
    };
    Some(CollectorTls { authorities, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(signal: Signal, given: &[(&str, &str)]) -> (Option<CollectorTls>, Vec<String>) {
        let environment: Vec<_> =
            given.iter().map(|(name, value)| (format!("{EXPORTER}{name}").into(), (*value).into())).collect();
        let mut problems = Vec::new();
        let read = read(signal, &environment, &mut problems);
        (read, problems)
    }

    #[test]
    fn the_scheme_says_whether_there_is_tls_and_without_one_there_is() {
        for (given, encrypted) in [
            (vec![], false),
            (vec![("ENDPOINT", "http://a:1")], false),
            (vec![("ENDPOINT", "https://a:1")], true),
            (vec![("ENDPOINT", "a:1")], true),
            (vec![("ENDPOINT", "a:1"), ("INSECURE", "TRUE")], false),
            (vec![("ENDPOINT", "https://a:1"), ("INSECURE", "true")], true),
            (vec![("ENDPOINT", "https://a:1"), ("TRACES_ENDPOINT", "http://b:1")], false),
            (vec![("METRICS_ENDPOINT", "https://a:1")], false),
        ] {
            let (read, problems) = read_from(Signal::Traces, &given);
            assert_eq!((read.is_some(), problems), (encrypted, Vec::new()), "{given:?}");
        }
        assert!(read_from(Signal::Metrics, &[("METRICS_ENDPOINT", "https://a:1")]).0.is_some());
    }

    #[test]
    fn a_file_that_cant_be_used_is_named_by_its_variable() {
        let https = ("ENDPOINT", "https://a:1");
        for (given, named) in [
            (("CERTIFICATE", "/no/such"), "OTEL_EXPORTER_OTLP_CERTIFICATE: /no/such: "),
            (("TRACES_CERTIFICATE", "/no/such"), "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: /no/such: "),
            (("CLIENT_KEY", "Cargo.toml"), "goes together with"),
            (("CERTIFICATE", "Cargo.toml"), "holds no certificate"),
        ] {
            let (_, problems) = read_from(Signal::Traces, &[https, given]);
            assert!(problems.len() == 1 && problems[0].contains(named), "{given:?}: {problems:?}");
        }
    }
}
