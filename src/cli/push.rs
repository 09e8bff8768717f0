//! A PUSH socket that is connected to a server, wherever the name in the endpoint leads.
//!
//! A name may have several addresses, of both kinds, and a server may listen on one of them only. So each
//! address gets a socket of its own, one a little after the other, and the first one that a server has
//! greeted is taken. One socket that is connected to all addresses would not do: with a server that
//! listens on two of them, events would take turns between two connections and lose their order.
//!
//! Never here: events.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, whose deadlines are the operator's: no engine to hand the time to"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Failure;
use crate::limits;
use crate::net::names::{Resolve, System, within};
use crate::net::{Address, Place};

/// Between the beginnings of two attempts.
const STAGGER: Duration = Duration::from_millis(limits::DIAL_STAGGER_MILLISECONDS);

/// A PUSH socket for `endpoint`. For a name with several addresses it is connected when this returns; for
/// a single address libzmq connects in the background.
///
/// # Errors
/// The name has no address, or no server greeted within `timeout`.
pub(super) fn connect(endpoint: &str, timeout: Duration) -> Result<zmq::Socket, Failure> {
    let deadline = Instant::now() + timeout;
    let addresses = addresses(endpoint, timeout, System).map_err(|reason| {
        Failure::Runtime(format!("cannot find the host of {endpoint}: {reason}"))
    })?;
    let failed =
        |error: zmq::Error| Failure::Runtime(format!("cannot connect to {endpoint}: {error}"));
    let context = zmq::Context::new();
    match &*addresses {
        [only] => open(&context, only).map_err(failed),
        several => race(&context, several, deadline)
            .map_err(failed)?
            .ok_or_else(|| {
                Failure::Runtime(format!(
                    "no server answers at {endpoint} within {} s (tried {}): is newswire running, and does \
                     it print this endpoint as `pull`?",
                    timeout.as_secs(),
                    list(several)
                ))
            }),
    }
}

/// Where `endpoint` leads: never empty.
fn addresses(
    endpoint: &str,
    timeout: Duration,
    resolve: impl Resolve,
) -> Result<Vec<Address>, String> {
    match Place::of(endpoint) {
        None => Err("it has no port".to_owned()),
        Some(Place::Fixed(address)) => Ok(vec![address]),
        Some(Place::Named(name)) => {
            let found: Vec<SocketAddr> = within(timeout, &name, resolve)?;
            Ok(found.into_iter().map(Address::Ip).collect())
        }
    }
}

fn open(context: &zmq::Context, address: &Address) -> Result<zmq::Socket, zmq::Error> {
    let socket = context.socket(zmq::PUSH)?;
    // It is writable once a server has greeted: nothing queues for one that may never come.
    socket.set_immediate(true)?;
    socket.set_linger(0)?;
    socket.set_ipv6(address.is_ipv6())?;
    socket.connect(&address.to_string())?;
    Ok(socket)
}

/// The first socket that a server has greeted; `None` when none was by the deadline.
fn race(
    context: &zmq::Context,
    addresses: &[Address],
    deadline: Instant,
) -> Result<Option<zmq::Socket>, zmq::Error> {
    let mut left = addresses.iter();
    let mut sockets: Vec<zmq::Socket> = Vec::new();
    loop {
        if let Some(address) = left.next() {
            match open(context, address) {
                Ok(socket) => sockets.push(socket),
                // A host without IPv6 says so here.
                Err(error) if sockets.is_empty() && left.len() == 0 => return Err(error),
                Err(_) => continue,
            }
        }
        let now = Instant::now();
        let until_next = match left.len() {
            0 => deadline,
            _ => deadline.min(now + STAGGER),
        };
        let patience = until_next.saturating_duration_since(now);
        let mut items: Vec<zmq::PollItem<'_>> = sockets
            .iter()
            .map(|socket| socket.as_poll_item(zmq::POLLOUT))
            .collect();
        match zmq::poll(&mut items, milliseconds(patience).into()) {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(error),
        }
        if let Some(first) = items.iter().position(zmq::PollItem::is_writable) {
            drop(items);
            return Ok(Some(sockets.swap_remove(first)));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
    }
}

/// As ZeroMQ wants it; rounded up, so that what is left of a deadline is not lost.
pub(super) fn milliseconds(duration: Duration) -> i32 {
    duration
        .as_nanos()
        .div_ceil(1_000_000)
        .try_into()
        .unwrap_or(i32::MAX)
}

fn list(addresses: &[Address]) -> String {
    let texts: Vec<String> = addresses.iter().map(Address::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::HostPort;
    use crate::net::names::Answer;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A server that listens on `endpoint`, and the address that it got.
    fn server(context: &zmq::Context, endpoint: &str) -> Option<(zmq::Socket, SocketAddr)> {
        let socket = context.socket(zmq::PULL).expect("a socket");
        socket.set_ipv6(endpoint.contains('[')).expect("set");
        socket
            .set_rcvtimeo(PATIENCE.as_millis() as i32)
            .expect("set");
        // A host without IPv6 cannot bind there.
        socket.bind(endpoint).ok()?;
        let bound = socket.get_last_endpoint().expect("bound").expect("UTF-8");
        let address = bound.strip_prefix("tcp://").expect("TCP").parse();
        Some((socket, address.expect("an address")))
    }

    /// A nameserver that knows these.
    struct Known(Vec<SocketAddr>);

    impl Resolve for Known {
        fn resolve(&mut self, _: &HostPort) -> Answer {
            Ok(self.0.clone())
        }
    }

    fn reaches(server: &zmq::Socket, known: Vec<SocketAddr>) {
        let addresses = addresses("tcp://publisher.test:1", PATIENCE, Known(known)).expect("known");
        let context = zmq::Context::new();
        let socket = race(&context, &addresses, Instant::now() + PATIENCE)
            .expect("no error")
            .expect("a server");
        socket.send("here", 0).expect("it is connected");
        assert_eq!(server.recv_bytes(0).expect("comes"), b"here");
    }

    #[test]
    fn a_server_that_listens_on_one_of_the_addresses_is_reached() {
        let context = zmq::Context::new();
        let (four, v4) = server(&context, "tcp://127.0.0.1:*").expect("IPv4");
        // Nobody listens there: the port belongs to the other family only.
        let nobody = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v4.port()));
        reaches(&four, vec![nobody, v4]);
        reaches(&four, vec![v4, nobody]);
        if let Some((six, v6)) = server(&context, "tcp://[::1]:*") {
            let nobody = SocketAddr::from(([127, 0, 0, 1], v6.port()));
            reaches(&six, vec![nobody, v6]);
            reaches(&six, vec![v6, nobody]);
            reaches(&six, vec![v6]);
        }
    }

    #[test]
    fn nobody_who_greets_is_said_when_the_time_is_over() {
        // The kernel takes the connection, and nobody speaks.
        let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = Address::Ip(mute.local_addr().expect("bound"));
        let mutes = [address.clone(), address];
        let context = zmq::Context::new();
        let won = race(
            &context,
            &mutes,
            Instant::now() + Duration::from_millis(120),
        );
        assert!(won.expect("no error").is_none());
    }
}
