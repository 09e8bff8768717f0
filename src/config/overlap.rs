//! Addresses of one configuration that cannot both be bound, found before anything is bound.
//!
//! `0.0.0.0` is every IPv4 address and `[::]` every address. Listeners of one option share a port
//! between `[::]` and IPv4, because the first then takes IPv6 alone (`server/sockets.rs`).
//!
//! Never here: addresses that other processes have, names of hosts and of interfaces, and port 0, which takes a
//! free port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Config;

/// An address that an option binds.
struct Bound {
    option: &'static str,
    /// As it was given.
    text: String,
    address: SocketAddr,
}

/// Checks that no two addresses overlap.
///
/// # Errors
/// A sentence that names the first two that do.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let lists = [
        ("listen", &config.listen.addresses),
        ("admin", &config.admin.addresses),
        ("publish", &config.publish.addresses),
    ];
    let listeners = lists.into_iter().flat_map(|(option, list)| {
        list.iter().map(move |&address| Bound {
            option,
            text: address.to_string(),
            address,
        })
    });
    let endpoints = [
        ("pull", &config.ingest.pull),
        ("relay", &config.relay.endpoints),
    ];
    let endpoints = endpoints.into_iter().flat_map(|(option, list)| {
        list.iter().filter_map(move |endpoint| {
            Some(Bound {
                option,
                text: endpoint.clone(),
                address: tcp(endpoint)?,
            })
        })
    });
    let mut all: Vec<Bound> = Vec::new();
    for bound in listeners.chain(endpoints).filter(|b| b.address.port() != 0) {
        if let Some(other) = all.iter().find(|other| overlap(other, &bound)) {
            return Err(format!(
                "{} ({}) and {} ({}) want the same address: give one of them another port, or leave it out",
                other.option, other.text, bound.option, bound.text
            ));
        }
        all.push(bound);
    }
    Ok(())
}

/// The address of a ZeroMQ endpoint; `None` when the endpoint has none, or has a name in its place.
fn tcp(endpoint: &str) -> Option<SocketAddr> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let ip = match host.trim_start_matches('[').trim_end_matches(']') {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

fn overlap(one: &Bound, other: &Bound) -> bool {
    if one.address.port() != other.address.port() {
        return false;
    }
    let (a, b) = (
        one.address.ip().to_canonical(),
        other.address.ip().to_canonical(),
    );
    let share = one.option == other.option && one.option != "pull";
    covers(a, b, share) || covers(b, a, share)
}

/// Returns true when a socket that is bound to `a` takes `b` as well. With `share`, `[::]` leaves IPv4 alone.
fn covers(a: IpAddr, b: IpAddr, share: bool) -> bool {
    let all = match a {
        IpAddr::V4(a) => a.is_unspecified() && b.is_ipv4(),
        IpAddr::V6(a) => a.is_unspecified() && (b.is_ipv6() || !share),
    };
    a == b || all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str], admin: &str, pull: &[&str]) -> Config {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut config = Config::default();
        config.listen.addresses = listen.iter().map(|text| address(text)).collect();
        config.admin.addresses = vec![address(admin)];
        config.ingest.pull = pull.iter().map(|text| (*text).to_owned()).collect();
        config
    }

    #[test]
    fn two_that_want_one_address_are_told() {
        for (listen, admin, pull, named) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80", &[][..], "admin"),
            (&["0.0.0.0:80"], "127.0.0.1:80", &[], "admin"),
            (&["127.0.0.1:80"], "0.0.0.0:80", &[], "admin"),
            (&["[::]:80"], "127.0.0.1:80", &[], "admin"),
            (&["[::]:80"], "[::1]:80", &[], "admin"),
            (
                &["0.0.0.0:80", "127.0.0.1:80"],
                "127.0.0.1:81",
                &[],
                "listen",
            ),
            (&["[::]:80", "[::1]:80"], "127.0.0.1:81", &[], "listen"),
            (
                &["127.0.0.1:80"],
                "127.0.0.1:81",
                &["tcp://127.0.0.1:80"],
                "pull",
            ),
            (&["127.0.0.1:80"], "127.0.0.1:81", &["tcp://*:81"], "pull"),
            (
                &["127.0.0.1:80"],
                "127.0.0.1:81",
                &["tcp://[::]:81"],
                "pull",
            ),
            (
                &["127.0.0.1:80"],
                "127.0.0.1:81",
                &["tcp://0.0.0.0:5", "tcp://127.0.0.1:5"],
                "pull",
            ),
        ] {
            let sentence = check(&config(listen, admin, pull)).expect_err(admin);
            assert!(sentence.contains(&format!("and {named} (")), "{sentence}");
        }
    }

    #[test]
    fn what_can_be_bound_together_is_no_mistake() {
        assert_eq!(check(&Config::default()), Ok(()));
        for (listen, admin, pull) in [
            (&["127.0.0.1:80"][..], "127.0.0.2:80", &[][..]),
            (&["0.0.0.0:80", "[::]:80"], "127.0.0.1:81", &[]),
            (&["127.0.0.1:80", "[::1]:80"], "127.0.0.1:81", &[]),
            (
                &["127.0.0.1:0", "127.0.0.1:0"],
                "127.0.0.1:0",
                &["tcp://127.0.0.1:*"],
            ),
            (
                &["0.0.0.0:80"],
                "[::1]:80",
                &["ipc:///tmp/x", "tcp://eth0:80"],
            ),
        ] {
            assert_eq!(check(&config(listen, admin, pull)), Ok(()), "{listen:?}");
        }
    }
}
