//! A PUSH socket that is connected to a server, whichever address of the host the server has.
//!
//! A name may have several addresses, of both kinds, and a server may listen on one of them only. So each address
//! gets a socket of its own, one a little after the other, and the first socket that a server greets wins. One
//! socket for all addresses would not do: with a server that listens on two of them, events would take turns between
//! two connections and lose their order.
//!
//! Never here: the content of an event.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, whose deadlines are the operator's: no engine to hand the time to"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Publisher;
use super::greeting::{Contact, Greeting, silence};
use crate::cli::Failure;
use crate::limits;
use crate::net::names::{Resolve, System, within};
use crate::net::{Address, Place};

/// The least time for the bytes to leave, even when waiting for the connection took all the rest.
const FLUSH_MIN: Duration = Duration::from_millis(100);

/// Between the beginnings of two attempts.
const STAGGER: Duration = Duration::from_millis(limits::DIAL_STAGGER_MILLISECONDS);

/// A PUSH socket that a server has greeted.
pub(super) struct Push {
    endpoint: String,
    greeting: Greeting,
    /// Holds the context, whose end waits for messages that have not left.
    socket: zmq::Socket,
}

/// What to do while no server greets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum Absent {
    /// Wait: a server may be about to start.
    Await,
    /// Give up as soon as no address accepts a connection, or its peer hangs up.
    GiveUp,
}

/// A PUSH socket that a server at `endpoint` has greeted.
///
/// # Errors
/// The name has no address, no server greeted within `timeout`, or what answers speaks something else.
pub(super) fn connect(endpoint: &str, timeout: Duration, absent: Absent) -> Result<Push, Failure> {
    let deadline = Instant::now() + timeout;
    let addresses = addresses(endpoint, timeout, System).map_err(|reason| {
        Failure::Runtime(format!("cannot find the host of {endpoint}: {reason}"))
    })?;
    let raced = race(&zmq::Context::new(), &addresses, deadline, absent);
    match raced.map_err(|error| failed("connect", endpoint, error))? {
        Ok((socket, greeting)) => Ok(Push {
            endpoint: endpoint.to_owned(),
            greeting,
            socket,
        }),
        Err(contact) => {
            let waited = match (contact, absent) {
                (Contact::Nobody, Absent::GiveUp) => None,
                _ => Some(timeout),
            };
            let tried = match &*addresses {
                [_] => String::new(),
                several => format!(" (tried {})", list(several)),
            };
            Err(nobody(contact, endpoint, waited, &tried))
        }
    }
}

impl Publisher for Push {
    /// Hands `bytes` to a connection that a server has greeted.
    fn send(&mut self, bytes: &[u8], deadline: Instant, timeout: Duration) -> Result<(), Failure> {
        let Self {
            endpoint,
            greeting,
            socket,
        } = self;
        let failed = |error| failed("send", endpoint, error);
        loop {
            let contact = greeting.contact(socket).map_err(failed)?;
            match contact {
                Contact::Greeted => match socket.send(bytes, zmq::DONTWAIT) {
                    Ok(()) => return Ok(()),
                    // The queue is full, or a signal came that is ignored.
                    Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                    Err(error) => return Err(failed(error)),
                },
                Contact::Foreign => return Err(nobody(contact, endpoint, None, "")),
                Contact::Pending | Contact::Nobody | Contact::HungUp => {}
            }
            if Instant::now() >= deadline {
                return Err(match contact {
                    Contact::Greeted => Failure::Runtime(format!(
                        "the server at {endpoint} took no further event within {} s: it may be \
                         overloaded, or stopped",
                        timeout.as_secs()
                    )),
                    _ => nobody(contact, endpoint, Some(timeout), ""),
                });
            }
            wait([(&*socket, &*greeting)], deadline).map_err(failed)?;
        }
    }

    fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.send(bytes, zmq::DONTWAIT).is_ok()
    }

    fn has_room(&self) -> bool {
        matches!(self.socket.get_events(), Ok(events) if events.contains(zmq::POLLOUT))
    }

    /// Waits until everything has left. libzmq does not say whether it has; but dropping the socket takes as long as
    /// its linger time only when it has not.
    fn finish(self: Box<Self>, deadline: Instant) -> Result<(), Failure> {
        let began = Instant::now();
        let linger = deadline.saturating_duration_since(began).max(FLUSH_MIN);
        let set = self.set_linger(linger);
        drop(self);
        if set.is_err() || began.elapsed() >= linger {
            return Err(Failure::Runtime(
                "not everything left in time: the server is connected but takes nothing; it may be \
                 overloaded, or stopped"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl Push {
    /// How long the drop waits for messages that have not left.
    pub(super) fn set_linger(&self, linger: Duration) -> Result<(), Failure> {
        self.socket
            .set_linger(milliseconds(linger))
            .map_err(|error| failed("set up the connection", &self.endpoint, error))
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        silence(&self.socket);
    }
}

fn failed(what: &str, endpoint: &str, error: zmq::Error) -> Failure {
    Failure::Runtime(format!("cannot {what} to {endpoint}: {error}"))
}

/// Why no server greeted at `endpoint`.
fn nobody(contact: Contact, endpoint: &str, waited: Option<Duration>, tried: &str) -> Failure {
    Failure::Runtime(match contact {
        Contact::Foreign | Contact::HungUp => format!(
            "what answers at {endpoint} does not speak ZeroMQ as a PULL socket does{tried}: is it the \
             endpoint that newswire prints as `pull`?"
        ),
        Contact::Pending | Contact::Nobody | Contact::Greeted => {
            let within = waited.map(|waited| format!(" within {} s", waited.as_secs()));
            format!(
                "no server answers at {endpoint}{}{tried}: is newswire running, and does it print this \
                 endpoint as `pull`?",
                within.unwrap_or_default()
            )
        }
    })
}

/// The addresses of `endpoint`; there is at least one.
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

fn open(context: &zmq::Context, address: &Address) -> Result<(zmq::Socket, Greeting), zmq::Error> {
    let socket = context.socket(zmq::PUSH)?;
    // The socket is writable once a server has greeted: it queues nothing for a server that may never come.
    socket.set_immediate(true)?;
    socket.set_linger(0)?;
    socket.set_ipv6(address.is_ipv6())?;
    let greeting = Greeting::of(context, &socket)?;
    match socket.connect(&address.to_string()) {
        Ok(()) => Ok((socket, greeting)),
        Err(error) => {
            silence(&socket);
            Err(error)
        }
    }
}

/// The first socket that a server greets; or what is known of the peers by the deadline.
fn race(
    context: &zmq::Context,
    addresses: &[Address],
    deadline: Instant,
    absent: Absent,
) -> Result<Result<(zmq::Socket, Greeting), Contact>, zmq::Error> {
    let mut runners = Vec::new();
    let raced = run(context, addresses, deadline, absent, &mut runners);
    let raced = raced.map(|first| first.map(|first| runners.swap_remove(first)));
    for (socket, _) in &runners {
        silence(socket);
    }
    raced
}

/// [`race`] among `runners`, which begin here. Returns the place of the first.
fn run(
    context: &zmq::Context,
    addresses: &[Address],
    deadline: Instant,
    absent: Absent,
    runners: &mut Vec<(zmq::Socket, Greeting)>,
) -> Result<Result<usize, Contact>, zmq::Error> {
    let mut left = addresses.iter();
    loop {
        if let Some(address) = left.next() {
            match open(context, address) {
                Ok(runner) => runners.push(runner),
                // A host without IPv6 fails here.
                Err(error) if runners.is_empty() && left.len() == 0 => return Err(error),
                Err(_) => continue,
            }
        }
        let mut contacts = Vec::with_capacity(runners.len());
        for (socket, greeting) in &mut *runners {
            contacts.push(greeting.contact(socket)?);
        }
        if let Some(first) = contacts.iter().position(|&of| of == Contact::Greeted) {
            return Ok(Ok(first));
        }
        let has = |contact| contacts.contains(&contact);
        let is_over = match absent {
            Absent::Await => has(Contact::Foreign),
            Absent::GiveUp => true,
        };
        let now = Instant::now();
        if now >= deadline || left.len() == 0 && is_over && !has(Contact::Pending) {
            let worst = [Contact::Foreign, Contact::HungUp, Contact::Pending];
            let told = worst.into_iter().find(|&contact| has(contact));
            return Ok(Err(told.unwrap_or(Contact::Nobody)));
        }
        let until = match left.len() {
            0 => deadline,
            _ => deadline.min(now + STAGGER),
        };
        wait(
            runners.iter().map(|(socket, greeting)| (socket, greeting)),
            until,
        )?;
    }
}

/// Waits until there may be news of one of them, or until `until`.
fn wait<'a>(
    of: impl IntoIterator<Item = (&'a zmq::Socket, &'a Greeting)>,
    until: Instant,
) -> Result<(), zmq::Error> {
    let mut patience = until.saturating_duration_since(Instant::now());
    let mut items = Vec::new();
    for (socket, greeting) in of {
        items.extend(greeting.poll_items(socket));
        patience = patience.min(greeting.patience().unwrap_or(patience));
    }
    match zmq::poll(&mut items, milliseconds(patience).into()) {
        Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A time as ZeroMQ wants it, rounded up so that the rest of a deadline is not lost.
fn milliseconds(duration: Duration) -> i32 {
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
        let deadline = Instant::now() + PATIENCE;
        let (socket, greeting) = race(&context, &addresses, deadline, Absent::Await)
            .expect("no error")
            .expect("a server");
        let mut push = Push {
            endpoint: String::new(),
            greeting,
            socket,
        };
        let sent = push.send(b"here", deadline, PATIENCE);
        assert_eq!(sent, Ok(()), "it is connected");
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
            Absent::GiveUp,
        );
        assert_eq!(won.expect("no error").err(), Some(Contact::Pending));
    }
}
