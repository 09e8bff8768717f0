//! Which client is behind the proxies: `X-Forwarded-For`, as far as it can be believed.
//!
//! Each proxy appends the address that it was reached from. Only what a trusted proxy appended is
//! worth something, so the list is read from its end, for as long as the address that spoke is a
//! trusted one; whatever a client wrote into the header itself stands further left and is not reached.
//!
//! Never here: which proxies are trusted (the configuration's), and any other header.

use std::net::{IpAddr, SocketAddr};

/// The address of the client: `peer`, or, if `peer` is trusted, the last element of `forwarded_for`
/// that is not. An element that is no address ends the search.
pub fn client(
    peer: IpAddr,
    forwarded_for: &[&[u8]],
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for element in forwarded_for.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        match address(element) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address; some proxies write a port behind it.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, forwarded_for: &[&str]) -> String {
        let elements: Vec<&[u8]> = forwarded_for.iter().map(|text| text.as_bytes()).collect();
        let peer = peer.parse().expect("an address");
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client(peer, &elements, is_trusted).to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_appended_counts() {
        assert_eq!(found("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(found("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            found("10.0.0.1", &["1.1.1.1", "198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(
            found("10.0.0.1", &["198.51.100.7", "10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(found("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["10.0.0.3", "10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn ports_and_nonsense() {
        assert_eq!(found("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(found("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(found("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(found("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(found("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(found("10.0.0.1", &["198.51.100.7", "unknown"]), "10.0.0.1");
    }
}
