//! Networks a key may be used from (CIDR, RFC 4632 and RFC 4291), and addresses.
//!
//! IPv4-mapped IPv6 (`::ffff:a.b.c.d`) is folded to IPv4 on both sides, so one rule can't be walked around by spelling the
//! address differently, and a mapped network needs a prefix of at least 96 (reliability.md R18).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::text::quote;

/// A network without host bits, never `/0`, never IPv4-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Reads a network in CIDR form, or a single address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{} {why}", quote(text)));
        let Some(net) = parse_exactly(text) else {
            return wrong("is not an IPv4 or IPv6 network such as 192.0.2.0/24 or 2001:db8::/32");
        };
        if net.addr() != net.network() {
            return Err(format!("{} has host bits; write {}", quote(text), net.trunc()));
        }
        let net = fold(net);
        if net.prefix_len() == 0 {
            return wrong("is every address; leave the list empty for that");
        }
        Ok(Self(net))
    }

    /// Whether `address`, already [folded](fold_address), lies inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether networks `inner` allow no address that `outer` doesn't; an empty list allows every address.
    #[must_use]
    pub fn all_within(inner: &[Self], outer: &[Self]) -> bool {
        outer.is_empty()
            || (!inner.is_empty() && inner.iter().all(|one| outer.iter().any(|other| other.0.contains(&one.0))))
    }
}

/// The address is read by std, which is exact; ipnet takes leading zeros (192.0.02.0), which others read as octal.
fn parse_exactly(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let canonical = prefix.len() == 1 || !prefix.starts_with('0');
    let digits = canonical && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = digits.then(|| prefix.parse().ok()).flatten()?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// Reads an address; an IPv4-mapped one becomes IPv4.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map(fold_address).map_err(|_| format!("{} is not an IPv4 or IPv6 address", quote(text)))
}

/// An IPv4-mapped address becomes IPv4; every other stays.
#[must_use]
pub fn fold_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn fold(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    match (six.addr().to_ipv4_mapped(), six.prefix_len().checked_sub(96)) {
        (Some(four), Some(prefix)) => mapped(four, prefix).unwrap_or(net),
        _ => net,
    }
}

fn mapped(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    Ipv4Net::new(address, prefix).ok().map(IpNet::V4)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_networks_fold_and_never_widen() {
        let network = Network::parse("::ffff:192.0.2.0/120").expect("a network");
        assert_eq!(network.to_string(), "192.0.2.0/24");
        assert!(network.contains(parse_address("::ffff:192.0.2.7").expect("an address")));
        assert!(network.contains(parse_address("192.0.2.7").expect("an address")));
        assert!(!network.contains(parse_address("192.0.3.7").expect("an address")));
        assert!(
            !Network::parse("2001:db8::/32").expect("a network").contains(parse_address("192.0.2.7").expect("one"))
        );
    }

    #[test]
    fn everything_host_bits_and_odd_spellings_are_refused() {
        for bad in [
            "0.0.0.0/0",
            "::/0",
            "::ffff:0:0/96",
            "::ffff:0:0/95",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.02.0/24",
            "192.0.2.0/24 ",
            "192.0.2.0/024",
            "192.0.2.0/+24",
            "192.0.2.0/",
            "192.0.2.0/24/8",
            "fe80::1%eth0",
            "192.0.2.1:80",
            "",
            "/8",
            "a",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Network::parse("192.0.2.1").expect("one address").to_string(), "192.0.2.1/32");
    }

    #[test]
    fn within_treats_empty_as_everywhere() {
        let list =
            |texts: &[&str]| texts.iter().map(|text| Network::parse(text).expect("a network")).collect::<Vec<_>>();
        assert!(Network::all_within(&list(&["10.1.0.0/16"]), &list(&["10.0.0.0/8"])));
        assert!(Network::all_within(&list(&["10.1.0.0/16"]), &[]));
        assert!(!Network::all_within(&[], &list(&["10.0.0.0/8"])));
        assert!(!Network::all_within(&list(&["10.0.0.0/7"]), &list(&["10.0.0.0/8"])));
    }
}
