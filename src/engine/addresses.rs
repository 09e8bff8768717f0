//! What is counted for each address: its connections, and its tokens that were refused.
//!
//! A host with IPv6 can have as many addresses of its network as it likes, so the first half of such an
//! address counts, the /64 (RFC 4291 s. 2.5.4).
//!
//! Several clients may share the unspecified address, so nothing is counted for it. Both counts are kept only
//! while there is a bound on them. All refused tokens are forgotten each minute.
//!
//! Never here: which address a client has (it may come through a proxy), what follows from a bound.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// In addresses whose refused tokens are counted; of a flood from more than these, the rest is not.
const REFUSED_MAX: usize = 100_000;

/// In seconds.
const WINDOW: u64 = 60;

/// The network of an address: one host can have as many addresses of it as it likes.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Counts by network; 0 is no bound.
#[derive(Debug, Default)]
pub struct Addresses {
    connections_max: usize,
    connections: HashMap<IpAddr, usize>,
    refused_tokens_max: u32,
    refused_tokens: HashMap<IpAddr, u32>,
    /// In minutes: when `refused_tokens` was begun.
    window: u64,
}

impl Addresses {
    /// Sets the bounds. What is counted already stays.
    pub fn set_bounds(&mut self, connections_max: usize, refused_tokens_max: u32) {
        self.connections_max = connections_max;
        self.refused_tokens_max = refused_tokens_max;
        if connections_max == 0 {
            self.connections = HashMap::new();
        }
    }

    /// Returns true when connections are counted.
    pub fn counts_connections(&self) -> bool {
        self.connections_max > 0
    }

    /// Counts anew. `present` are the addresses of all connections that count.
    pub fn recount(&mut self, present: impl Iterator<Item = IpAddr>) {
        self.connections.clear();
        for address in present.filter(|address| !address.is_unspecified()) {
            *self.connections.entry(network(address)).or_default() += 1;
        }
    }

    /// Counts one more connection of `address`, if that is within its bound.
    pub fn enter(&mut self, address: IpAddr) -> bool {
        if self.connections_max == 0 || address.is_unspecified() {
            return true;
        }
        let count = self.connections.entry(network(address)).or_default();
        let is_within = *count < self.connections_max;
        *count += usize::from(is_within);
        is_within
    }

    /// Counts a connection no more that was counted.
    pub fn leave(&mut self, address: IpAddr) {
        if address.is_unspecified() {
            return;
        }
        let address = network(address);
        if let Some(count) = self.connections.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&address);
            }
        }
    }

    /// A token of `address` was refused.
    pub fn refuse(&mut self, address: IpAddr, now: Duration) {
        if self.refused_tokens_max == 0 || address.is_unspecified() {
            return;
        }
        let window = now.as_secs() / WINDOW;
        if window != self.window {
            self.window = window;
            self.refused_tokens = HashMap::new();
        }
        let address = network(address);
        let is_known = self.refused_tokens.contains_key(&address);
        if is_known || self.refused_tokens.len() < REFUSED_MAX {
            *self.refused_tokens.entry(address).or_default() += 1;
        }
    }

    /// Returns true when so many tokens of `address` were refused in this minute that no other is looked at.
    pub fn is_barred(&self, address: IpAddr, now: Duration) -> bool {
        self.refused_tokens_max > 0
            && !address.is_unspecified()
            && now.as_secs() / WINDOW == self.window
            && self
                .refused_tokens
                .get(&network(address))
                .is_some_and(|&count| count >= self.refused_tokens_max)
    }

    /// In connections of each network.
    pub fn connections(&self) -> &HashMap<IpAddr, usize> {
        &self.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn connections_are_bounded_and_come_back() {
        let mut addresses = Addresses::default();
        addresses.set_bounds(2, 0);
        addresses.recount(std::iter::once(HERE));
        assert!(addresses.enter(HERE));
        assert!(!addresses.enter(HERE));
        addresses.leave(HERE);
        assert!(addresses.enter(HERE));
        addresses.leave(HERE);
        addresses.leave(HERE);
        assert!(addresses.connections().is_empty());
    }

    #[test]
    fn refused_tokens_bar_an_address_for_the_rest_of_the_minute() {
        let mut addresses = Addresses::default();
        addresses.set_bounds(0, 2);
        let at = Duration::from_secs;
        addresses.refuse(HERE, at(130));
        assert!(!addresses.is_barred(HERE, at(131)));
        addresses.refuse(HERE, at(131));
        assert!(addresses.is_barred(HERE, at(179)));
        assert!(!addresses.is_barred(HERE, at(180)));
        addresses.refuse(HERE, at(181));
        assert!(!addresses.is_barred(HERE, at(181)));
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_count_as_one() {
        let of = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (one, other) = (of("2001:db8:0:1::7"), of("2001:db8:0:1:ffff::9"));
        let stranger = of("2001:db8:0:2::7");
        let mut addresses = Addresses::default();
        addresses.set_bounds(1, 1);
        assert!(addresses.enter(one));
        assert!(!addresses.enter(other) && addresses.enter(stranger));
        addresses.leave(one);
        assert!(addresses.enter(other));
        addresses.refuse(one, Duration::ZERO);
        assert!(addresses.is_barred(other, Duration::ZERO));
        assert!(!addresses.is_barred(stranger, Duration::ZERO));
        // The loopback address is in the network of the address that means "unknown".
        let here = of("::1");
        assert!(addresses.enter(here) && !addresses.enter(here));
        addresses.leave(of("::"));
        assert!(!addresses.enter(here));
        // IPv4 as it is, also in IPv6's form of it.
        let mapped = of("::ffff:192.0.2.7");
        assert!(addresses.enter(mapped) && !addresses.enter(of("192.0.2.7")));
        assert!(addresses.enter(of("192.0.2.8")));
    }

    #[test]
    fn nothing_is_counted_for_an_unknown_address() {
        let unknown = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
        let mut addresses = Addresses::default();
        addresses.set_bounds(1, 1);
        addresses.recount(std::iter::repeat_n(unknown, 3));
        addresses.refuse(unknown, Duration::ZERO);
        assert!(!addresses.is_barred(unknown, Duration::ZERO));
        assert!(addresses.enter(unknown) && addresses.enter(unknown));
        assert!(addresses.connections().is_empty());
        addresses.leave(unknown);
    }

    #[test]
    fn without_bounds_nothing_is_kept() {
        let mut addresses = Addresses::default();
        assert!(addresses.enter(HERE));
        addresses.refuse(HERE, Duration::ZERO);
        assert!(!addresses.is_barred(HERE, Duration::ZERO));
        assert!(addresses.connections().is_empty());
        addresses.leave(HERE);
    }
}
