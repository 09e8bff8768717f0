//! The address of a client behind proxies, read from `X-Forwarded-For`.
//!
//! Each proxy appends the address of the peer that connected to it. Only what a trusted proxy appended can be
//! believed. So the list is read from its end, and the reading stops at the first address that is not a trusted
//! proxy's. What a client wrote into the header itself stands further left and is never reached.
//!
//! When a trusted proxy does not name the client's address, the client has none: limits for one address do not
//! apply to it, and token stores are not told one. `Forwarded` (RFC 7239) is not read.
//!
//! Never here: which proxies are trusted (the configuration's), and any other header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Stands for the address of a client whose address a trusted proxy did not name. No host has this address
/// (RFC 4291 s. 2.5.2), so what one such client does counts neither for the proxy nor for another client.
pub const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Returns the address of the client. It is `peer`, unless `peer` is a trusted proxy; then it is the last element of
/// `forwarded_for` that is not a trusted proxy, or [`UNKNOWN`] when that element is not an address.
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
        client = address(element).unwrap_or(UNKNOWN);
    }
    client
}

/// Reads an address in the forms that proxies write: with or without a port, an IPv6 address with or without
/// brackets and with or without a zone, and each of these with or without quotes.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?.trim(),
        None => text,
    };
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            let has_port = behind.strip_prefix(':').is_some_and(is_port);
            (behind.is_empty() || has_port).then(|| v6(host))?
        }
        None => match text.split_once(':') {
            Some((host, port)) if is_port(port) => host.parse().ok().map(v4),
            _ => text.parse().ok().map(v4).or_else(|| v6(text)),
        },
    };
    Some(address?.to_canonical())
}

fn v4(address: Ipv4Addr) -> IpAddr {
    address.into()
}

/// Ignores the zone, which has a meaning on the proxy's host only (RFC 4007 s. 11.2).
fn v6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, _)) => address,
        None => text,
    };
    address.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
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
    fn the_forms_in_which_proxies_write_an_address() {
        for (text, address) in [
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("\"[2001:db8::9]\"", "2001:db8::9"),
            ("\"[2001:db8::9]:4711\"", "2001:db8::9"),
            ("\"198.51.100.7\"", "198.51.100.7"),
            ("\"198.51.100.7:1\"", "198.51.100.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
            ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
            ("::1", "::1"),
            ("2001:db8::1:80", "2001:db8::1:80"),
        ] {
            assert_eq!(found("10.0.0.1", &[text]), address, "{text}");
        }
    }

    /// The answer is neither the proxy's own address nor the element before, which the client may have written.
    #[test]
    fn what_names_no_address_is_an_unknown_client() {
        for text in [
            "unknown",
            "_hidden",
            "unix:",
            "",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1]:x",
            "[198.51.100.7]",
            "198.51.100.7:",
            "198.51.100.7:999999",
            "fe80::1%",
            "\"198.51.100.7",
            "for=198.51.100.7",
        ] {
            let elements = ["192.0.2.1", text];
            assert_eq!(found("10.0.0.1", &elements), "::", "{text}");
            assert_eq!(found("192.0.2.9", &elements), "192.0.2.9", "{text}");
        }
    }

    #[test]
    fn a_port_is_not_asked_for() {
        assert_eq!(found("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(found("10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(found("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(found("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
    }
}
