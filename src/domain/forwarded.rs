//! Whose address a request has that came through proxies.

use std::net::IpAddr;

use super::network::parse_address;

/// The client's address: the `peer`'s, when no proxy before the gateway is trusted; else what the first of `trusted_hops`
/// proxies wrote about who called it, in `x-forwarded-for`. Each proxy adds its caller at the end; whatever stands further to
/// the front is the client's own, and not believed. `None`: unknown, so that a key for some networks alone isn't good.
///
/// The last entry is the gateway's, about its peer. Without it nothing can be counted, and the address is unknown. For a peer
/// on its own machine Envoy writes the machine's address instead: then the last entry is taken for the gateway's unchecked.
#[must_use]
pub fn client_address(peer: Option<IpAddr>, forwarded_for: Option<&str>, trusted_hops: u8) -> Option<IpAddr> {
    let Some(before) = trusted_hops.checked_sub(1) else { return peer };
    let mut entries = forwarded_for?.rsplit(',').map(|entry| parse_address(entry.trim()).ok());
    let own = entries.next()?;
    if own != peer && !peer?.is_loopback() {
        return None;
    }
    entries.nth(before.into())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let address = |text: &str| Some(parse_address(text).expect("an address"));
        let told = |forwarded_for, hops| client_address(address("10.0.0.9"), forwarded_for, hops);
        assert_eq!(told(Some("192.0.2.1"), 0), address("10.0.0.9"));
        assert_eq!(client_address(None, Some("192.0.2.1"), 0), None);
        assert_eq!(told(Some("6.6.6.6, 192.0.2.1,10.0.0.9"), 1), address("192.0.2.1"));
        assert_eq!(told(Some("6.6.6.6, ::ffff:192.0.2.1, 10.0.0.8, 10.0.0.9"), 2), address("192.0.2.1"));
        let local = client_address(address("127.0.0.1"), Some("6.6.6.6, 192.0.2.1, 10.0.0.9"), 1);
        assert_eq!(local, address("192.0.2.1"));
        for unknown in [
            "",
            "10.0.0.9",
            "6.6.6.6, 192.0.2.1",
            "6.6.6.6, evil, 10.0.0.9",
            "6.6.6.6, , 10.0.0.9",
            "1.2.3.4:80, 10.0.0.9",
        ] {
            assert_eq!(told(Some(unknown), 1), None, "{unknown:?}");
        }
        assert_eq!(told(Some("192.0.2.1, 10.0.0.9"), 2), None);
        assert_eq!(told(None, 1), None);
        assert_eq!(client_address(None, Some("192.0.2.1, 10.0.0.9"), 1), None);
    }
}
