//! What a remembered answer is found by: a digest of the whole question, so that no secret is kept.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

/// SHA-256 over the question's fields, each with its length before it: no two questions run together into one (R10 of the
/// groundwork; such collisions gave others' answers in OpenFGA, CVE-2026-33729).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a question.
    pub(super) fn new(secret: &str, client_ip: Option<IpAddr>, required_scopes: &[impl AsRef<str>]) -> Self {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(secret.as_bytes());
        match client_ip {
            None => field(&[]),
            Some(IpAddr::V4(address)) => field(&address.octets()),
            Some(IpAddr::V6(address)) => field(&address.octets()),
        }
        for scope in required_scopes {
            field(scope.as_ref().as_bytes());
        }
        Self(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_share_a_fingerprint() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        let questions: [(&str, Option<IpAddr>, &[&str]); 11] = [
            ("ab", None, &[]),
            ("a", None, &["b"]),
            ("a", None, &["b", ""]),
            ("a", None, &["b", "c"]),
            ("a", None, &["bc"]),
            ("a", address("98.0.0.1"), &[]),
            ("a", address("::98.0.0.1"), &[]),
            ("a", None, &["b\0\0\x01"]),
            ("", None, &[]),
            ("", None, &[""]),
            ("ab ", None, &[]),
        ];
        let prints: std::collections::HashSet<_> =
            questions.iter().map(|(secret, ip, scopes)| Fingerprint::new(secret, *ip, scopes)).collect();
        assert_eq!(prints.len(), questions.len());
    }
}
