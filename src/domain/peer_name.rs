//! Who a client certificate says its bearer is: the names that a service user can be known by instead of a key.

use std::sync::Arc;

use super::{Time, address::is_host_name, limits};

const SPIFFE: &str = "spiffe://";
const DNS: &str = "dns:";

/// One name of a client certificate. Equal names have equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerName {
    /// The SPIFFE ID of a workload, `spiffe://trust.domain/path`.
    Spiffe(SpiffeId),
    /// A DNS name, `dns:billing.example.com`.
    Dns(DnsName),
}

/// A SPIFFE ID with a path: one without names a whole trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Box<str>);

/// A DNS name that isn't a wildcard. Its text starts with `dns:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Box<str>);

/// The names of a client certificate that was verified, at most 16 and at least one; good until the certificate expires.
/// Cheap to clone: one for a connection, shared by its calls.
#[derive(Debug, Clone)]
pub struct PeerNames(Arc<Certified>);

#[derive(Debug)]
struct Certified {
    names: Box<[PeerName]>,
    expire_time: Time,
}

impl PeerName {
    /// Reads `spiffe://trust.domain/path` or `dns:name`, as people write them.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_spiffe(text) {
            return SpiffeId::parse(text).map(Self::Spiffe);
        }
        match strip_prefix_in_any_case(text, DNS) {
            Some(name) => DnsName::parse(name).map(Self::Dns),
            None => {
                Err("must be a SPIFFE ID, as spiffe://example.com/billing, or a DNS name, as dns:billing.example.com"
                    .to_owned())
            }
        }
    }

    /// The one text of this name, also to be stored and compared: `spiffe://trust.domain/path` or `dns:name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(SpiffeId(text)) | Self::Dns(DnsName(text)) => text,
        }
    }
}

impl SpiffeId {
    /// Reads `spiffe://trust.domain/path` (SPIFFE-ID, 2). Scheme and trust domain become lower case (RFC 3986, 6.2.2.1), the
    /// path stays as it is.
    fn parse(uri: &str) -> Result<Self, String> {
        let shape = || {
            "is not a SPIFFE ID, as spiffe://example.com/billing: a trust domain of letters, digits, . - and _, and a path of \
             the same without empty, . and .. segments"
                .to_owned()
        };
        if uri.len() > limits::PEER_NAME_BYTES {
            return Err(format!("is longer than {} bytes", limits::PEER_NAME_BYTES));
        }
        let rest = strip_prefix_in_any_case(uri, SPIFFE).ok_or_else(shape)?;
        let Some((domain, path)) = rest.split_once('/') else {
            return Err(
                "names a whole trust domain; write the path of a workload behind it, as spiffe://example.com/billing"
                    .to_owned(),
            );
        };
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        let is_segment = |segment: &str| is_word(segment) && segment != "." && segment != "..";
        if !is_word(domain) || domain.len() > limits::TRUST_DOMAIN_BYTES || !path.split('/').all(is_segment) {
            return Err(shape());
        }
        Ok(Self(format!("{SPIFFE}{}/{path}", domain.to_ascii_lowercase()).into()))
    }
}

impl DnsName {
    /// Reads a DNS name without `dns:` before it, and makes it lower case (RFC 4343).
    fn parse(name: &str) -> Result<Self, String> {
        if name.starts_with("*.") {
            return Err(
                "is a wildcard, which stands for no one; write a whole DNS name, as dns:billing.example.com".to_owned()
            );
        }
        if name.len() > limits::DNS_NAME_BYTES || !is_host_name(name) {
            return Err(
                "is not a DNS name, as dns:billing.example.com: letters, digits and inner hyphens between dots"
                    .to_owned(),
            );
        }
        Ok(Self(format!("{DNS}{}", name.to_ascii_lowercase()).into()))
    }
}

impl PeerNames {
    /// The names among the URIs and DNS names of a verified certificate; `None` when nobody can be known by any of them.
    ///
    /// A certificate with a SPIFFE ID must keep to X509-SVID, 2 and 5.2: one URI, with a path. Other URIs and wildcards are
    /// no names. The error says why such a certificate is refused as a whole.
    pub fn of(uris: &[&str], dns_names: &[&str], expire_time: Time) -> Result<Option<Self>, String> {
        if uris.len().saturating_add(dns_names.len()) > limits::PEER_NAMES {
            return Err(format!("has more than {} names", limits::PEER_NAMES));
        }
        let mut names = Vec::new();
        if let Some(uri) = uris.iter().find(|uri| is_spiffe(uri)) {
            if uris.len() > 1 {
                return Err("has a SPIFFE ID and another URI".to_owned());
            }
            names.push(PeerName::Spiffe(SpiffeId::parse(uri).map_err(|why| format!("has a URI that {why}"))?));
        }
        names.extend(dns_names.iter().filter_map(|name| DnsName::parse(name).ok().map(PeerName::Dns)));
        let named = !names.is_empty();
        Ok(named.then(|| Self(Arc::new(Certified { names: names.into(), expire_time }))))
    }

    /// The names, the SPIFFE ID first; none once the certificate has expired, though the connection may still be there.
    #[must_use]
    pub fn at(&self, now: Time) -> &[PeerName] {
        if now < self.0.expire_time { &self.0.names } else { &[] }
    }
}

fn is_spiffe(uri: &str) -> bool {
    strip_prefix_in_any_case(uri, "spiffe:").is_some()
}

fn strip_prefix_in_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Time = Time::UNIX_EPOCH;

    #[test]
    fn equal_names_have_equal_texts() {
        for (text, canonical) in [
            ("spiffe://example.com/billing", "spiffe://example.com/billing"),
            ("SPIFFE://Example.COM/ns/Prod/sa/billing_1", "spiffe://example.com/ns/Prod/sa/billing_1"),
            ("spiffe://td_1.x-y/a.b", "spiffe://td_1.x-y/a.b"),
            ("dns:billing.example.com", "dns:billing.example.com"),
            ("DNS:Billing.Example.COM", "dns:billing.example.com"),
            ("dns:billing", "dns:billing"),
        ] {
            let name = PeerName::parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
            assert_eq!(name.as_str(), canonical);
            assert_eq!(PeerName::parse(canonical).as_ref(), Ok(&name));
        }
    }

    #[test]
    fn what_names_no_one_is_refused() {
        let long = format!("spiffe://example.com/{}", "a".repeat(limits::PEER_NAME_BYTES));
        let domain = format!("spiffe://{}/a", "a".repeat(limits::TRUST_DOMAIN_BYTES + 1));
        let dns = format!("dns:{}", ["a".repeat(63).as_str(); 4].join("."));
        for bad in [
            "",
            "billing",
            "billing.example.com",
            "https://example.com/billing",
            "spiffe:",
            "spiffe://",
            "spiffe:///billing",
            "spiffe://example.com",
            "spiffe://example.com/",
            "spiffe://example.com/a/",
            "spiffe://example.com//a",
            "spiffe://example.com/./a",
            "spiffe://example.com/a/..",
            "spiffe://example.com/a%20b",
            "spiffe://example.com/a?b",
            "spiffe://example.com/a#b",
            "spiffe://example.com:443/a",
            "spiffe://u@example.com/a",
            "spiffe://exämple.com/a",
            "spiffe://example.com/ä",
            "spiffe://example.com/a\n",
            " spiffe://example.com/a",
            "spiffe:/example.com/a",
            "dns:",
            "dns:*",
            "dns:*.example.com",
            "dns:a.*.example.com",
            "dns:example.com.",
            "dns:.example.com",
            "dns:a..b",
            "dns:-a.b",
            "dns:10.0.0.1",
            "dns:a b",
            "dns:ä.de",
            "dns://example.com",
            &long,
            &domain,
            &dns,
        ] {
            assert!(PeerName::parse(bad).is_err(), "{bad:?}");
        }
    }

    fn names(uris: &[&str], dns_names: &[&str]) -> Result<Vec<String>, String> {
        let names = PeerNames::of(uris, dns_names, NOON + super::super::Span::hours(1))?;
        Ok(names.iter().flat_map(|names| names.at(NOON)).map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn a_certificate_has_one_spiffe_id_its_dns_names_and_nothing_else() {
        let all = names(&["spiffe://a/b"], &["X.example", "*.example", "bad name"]);
        assert_eq!(all, Ok(vec!["spiffe://a/b".to_owned(), "dns:x.example".to_owned()]));
        assert_eq!(names(&["https://a/b", "urn:x"], &[]), Ok(Vec::new()));
        assert!(names(&["spiffe://a/b", "spiffe://a/c"], &[]).is_err());
        assert!(names(&["https://a/b", "spiffe://a/c"], &[]).is_err());
        assert!(names(&["spiffe://a"], &["x.example"]).is_err());
        assert!(names(&[], &["x.example"; limits::PEER_NAMES]).is_ok());
        assert!(names(&[], &["x.example"; limits::PEER_NAMES + 1]).is_err());
    }

    #[test]
    fn names_end_at_the_instant_that_the_certificate_does() {
        let names = PeerNames::of(&[], &["a.example"], NOON).expect("good").expect("a name");
        assert_eq!(names.at(NOON - super::super::Span::microseconds(1)).len(), 1);
        assert!(names.at(NOON).is_empty());
    }
}
