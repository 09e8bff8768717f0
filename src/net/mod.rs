//! The peers that newswire connects to: endpoints, host names, and the addresses of names.
//!
//! libzmq resolves names on its one I/O thread, so a nameserver that never answers would stop all its sockets; and it
//! tries only one address of a name. So newswire resolves names itself ([`names`]) and gives libzmq numeric addresses.
//!
//! Never here: connections, sockets, and what is sent on them.

#[cfg(feature = "amqp")]
pub mod amqp;
pub mod broker;
pub mod dial;
pub mod names;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "tls")]
pub mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::limits;

/// A host as an operator named it, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// A name, or an IPv6 address with a zone, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// An address to which libzmq can connect without asking a nameserver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The whole endpoint of a Unix socket: `ipc://…`.
    Path(String),
}

impl Address {
    /// Returns true when the socket's option for IPv6 has to be set.
    pub fn is_ipv6(&self) -> bool {
        matches!(self, Self::Ip(SocketAddr::V6(_)))
    }
}

impl fmt::Display for Address {
    /// Writes the form that libzmq takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "tcp://{address}"),
            Self::Path(endpoint) => f.write_str(endpoint),
        }
    }
}

/// The destination of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// One address, for ever.
    Fixed(Address),
    /// The addresses that the name has when it is resolved.
    Named(HostPort),
}

impl Place {
    /// Returns the destination of an endpoint that `config::endpoint` has accepted; `None` for other text.
    pub fn of(endpoint: &str) -> Option<Self> {
        let Some(rest) = endpoint.strip_prefix("tcp://") else {
            return Some(Self::Fixed(Address::Path(endpoint.to_owned())));
        };
        let (host, port) = rest.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        Some(match host.parse::<IpAddr>() {
            Ok(ip) => Self::Fixed(Address::Ip(SocketAddr::new(ip, port))),
            Err(_) => Self::Named(HostPort {
                host: host.to_owned(),
                port,
            }),
        })
    }
}

/// Returns each of `addresses` once, and at most as many as are tried.
fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in addresses {
        if found.len() == limits::NAME_ADDRESSES_MAX {
            break;
        }
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let ip = |text: &str| Place::Fixed(Address::Ip(text.parse().expect("an address")));
        let named = |host: &str, port| {
            Place::Named(HostPort {
                host: host.to_owned(),
                port,
            })
        };
        for (endpoint, place) in [
            ("tcp://127.0.0.1:5555", ip("127.0.0.1:5555")),
            ("tcp://[::1]:5555", ip("[::1]:5555")),
            ("tcp://localhost:5555", named("localhost", 5555)),
            // The zone is a name, which the system knows.
            ("tcp://[fe80::1%eth0]:1", named("fe80::1%eth0", 1)),
            // Some libraries take these for addresses; the system's resolver knows what they are.
            ("tcp://127.1:5", named("127.1", 5)),
            (
                "ipc:///run/a.sock",
                Place::Fixed(Address::Path("ipc:///run/a.sock".to_owned())),
            ),
        ] {
            assert_eq!(Place::of(endpoint), Some(place), "{endpoint}");
        }
        assert_eq!(Place::of("tcp://localhost"), None);
    }

    #[test]
    fn an_address_is_written_as_libzmq_takes_it() {
        for endpoint in ["tcp://127.0.0.1:5555", "tcp://[::1]:5555", "ipc://@name"] {
            let Some(Place::Fixed(address)) = Place::of(endpoint) else {
                panic!("{endpoint} is no name");
            };
            assert_eq!(address.to_string(), endpoint);
        }
    }

    #[test]
    fn a_name_has_each_address_once_and_not_too_many() {
        let address = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        let twice = (0..100).flat_map(|n| [address(n), address(n)]);
        let found = distinct(twice);
        assert_eq!(found.len(), limits::NAME_ADDRESSES_MAX);
        assert_eq!(found[..3], [address(0), address(1), address(2)]);
    }
}
