//! The certificate of our own ports: where it is. What it holds is looked at when it is used, because it may change
//! meanwhile.

use crate::tls::TlsFiles;

use super::sources::Values;

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";
const CLIENT_CA: &str = "tls_client_ca_file";

/// Reads the settings of TLS. `Some(None)`: there is none.
pub(super) fn read(values: &Values, problems: &mut Vec<String>) -> Option<Option<TlsFiles>> {
    let missing = |name: &str, given: &str| format!("{name}: is needed together with {given}, in PEM");
    let paths = [CERTIFICATE, KEY, CLIENT_CA].map(|name| values.path(name));
    match paths {
        [Some(certificate), Some(key), client_ca] => Some(Some(TlsFiles { certificate, key, client_ca })),
        [None, None, None] => Some(None),
        [Some(_), None, _] => {
            problems.push(missing(KEY, CERTIFICATE));
            None
        }
        [None, Some(_), _] => {
            problems.push(missing(CERTIFICATE, KEY));
            None
        }
        [None, None, Some(_)] => {
            problems.extend([missing(CERTIFICATE, CLIENT_CA), missing(KEY, CLIENT_CA)]);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(given: &[(&str, &str)]) -> (Option<Option<TlsFiles>>, Vec<String>) {
        let values = given.iter().map(|(name, text)| (name.to_string(), text.to_string()));
        let mut problems = Vec::new();
        let files = read(&Values::from_iter(values), &mut problems);
        (files, problems)
    }

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let (files, problems) = read_from(&[(CERTIFICATE, "a"), (KEY, "b")]);
        assert!(files.flatten().is_some_and(|files| files.client_ca.is_none()) && problems.is_empty());
        let (files, problems) = read_from(&[]);
        assert!(matches!(files, Some(None)) && problems.is_empty());
        for (given, named) in [
            (vec![(CERTIFICATE, "a")], vec![KEY]),
            (vec![(KEY, "a")], vec![CERTIFICATE]),
            (vec![(CLIENT_CA, "a")], vec![CERTIFICATE, KEY]),
            (vec![(CERTIFICATE, "a"), (CLIENT_CA, "a")], vec![KEY]),
        ] {
            let (files, problems) = read_from(&given);
            assert!(files.is_none(), "{given:?}");
            let starts: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap_or_default()).collect();
            assert_eq!(starts, named, "{given:?}: {problems:?}");
        }
    }
}
