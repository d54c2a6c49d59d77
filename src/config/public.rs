//! How the outside reaches us: what mails show and link to.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

use crate::domain::limits;

/// Reads `host:port`.
pub(super) fn parse_endpoint(text: &str) -> Result<String, String> {
    let parsed = parse_host(text).filter(|(_, port)| port.is_some());
    parsed.map(|_| text.to_owned()).ok_or_else(|| "must be a host and a port, as keys.example.com:443".to_owned())
}

/// Reads `https://host[:port][/path]`, `http://` for hosts of this machine alone; answers it without a slash at the end.
pub(super) fn parse_url(text: &str) -> Result<String, String> {
    let shape = || "must be as https://keys.example.com or https://example.com/keys, without ? and #".to_owned();
    if text.len() > limits::PUBLIC_URL_CHARACTERS {
        return Err(format!("is longer than {} characters", limits::PUBLIC_URL_CHARACTERS));
    }
    let uri: Uri = text.parse().map_err(|_| shape())?;
    let host = uri.authority().and_then(|authority| parse_host(authority.as_str()));
    let (host, _) = host.ok_or_else(shape)?;
    // What a mail's header and a page carry as it is.
    if text.contains(['?', '#']) || !uri.path().bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%".contains(&b)) {
        return Err(shape());
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_this_machine(&host) => {}
        Some("http") => {
            return Err("must start with https://; http:// is for this machine, as http://127.0.0.1".to_owned());
        }
        Some(_) | None => return Err(shape()),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Splits `host[:port]`; an IPv6 address stands in brackets, and is answered without.
pub(super) fn parse_host(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_label = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            (host.split('.').all(is_label).then(|| host.to_owned())?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|&port| port > 0)?)
        }
        None if port.is_empty() => None,
        Some(_) | None => return None,
    };
    Some((host, port))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for good in ["keys.example.com:443", "127.0.0.1:50051", "[::1]:50051", "my_host:1"] {
            assert_eq!(parse_endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a b:1",
            "a;rm -rf:1",
            "$(x):1",
            "a\n:1",
            "::1:1",
            "[::1]",
            "[::1]1",
            "[x]:1",
            "https://a:1",
            "u@a:1",
            "a:1/",
            "a..b:1",
            "`x`:1",
            "ä:1",
        ] {
            assert!(parse_endpoint(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_url_is_https_unless_it_is_this_machine_and_loses_its_last_slash() {
        for (good, read) in [
            ("https://keys.example.com", "https://keys.example.com"),
            ("https://example.com:8443/a/b/", "https://example.com:8443/a/b"),
            ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
            ("http://127.0.0.1:9464/", "http://127.0.0.1:9464"),
            ("http://localhost:9464", "http://localhost:9464"),
            ("http://[::1]:9464", "http://[::1]:9464"),
        ] {
            assert_eq!(parse_url(good).as_deref(), Ok(read));
        }
        let long = format!("https://a/{}", "a".repeat(limits::PUBLIC_URL_CHARACTERS));
        for bad in [
            "",
            "/",
            "keys.example.com",
            "https://",
            "https:///a",
            "http://keys.example.com",
            "http://localhost.evil.com",
            "ftp://a",
            "https://a?b",
            "https://a#b",
            "https://a/?",
            "https://u:p@a",
            "https://a/<b>",
            "https://a/\"b",
            "https://a b",
            "https://a/ b",
            "https://a\r\nX: y",
            "https://a:0",
            "https://a:99999",
            "javascript://a",
            &long,
        ] {
            assert!(parse_url(bad).is_err(), "{bad:?}");
        }
    }
}
