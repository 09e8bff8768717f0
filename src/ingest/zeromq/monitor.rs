//! What libzmq tells about the peers of one socket: which connected, which left, whose handshake failed.
//!
//! libzmq reports each event of a monitored socket through a socket of its own, an `inproc` PAIR. A
//! [`Monitor`] reads it on the loop, without waiting. Its descriptor has the same contract as a source's
//! (see [`super::socket`]): after a signal the monitor stays ready until a read finds nothing.
//!
//! **Two traps of libzmq.** Its network thread *waits* while it cannot hand an event over, and with it
//! every connection of the process. So the queue of events has no bound; the loop reads an
//! event faster than libzmq can accept a connection. And the reading end must not be closed while events are
//! still reported: [`Monitor::silence`] ends the reports first.
//!
//! **What the events leave open.** A success names no connection, and two kinds of refusal are not
//! reported at all: a peer that does not speak ZMTP 3, and a socket of a kind that does not fit. Both show
//! as a connection that ends without a result of its handshake. So a monitor keeps the connections whose
//! result it does not know, and how many successes are among them. While several handshakes are under way
//! it may take one of these connections for another; the sums come out right once they have ended.
//!
//! Never here: messages, and what to do about a refusal.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use zmq::SocketEvent;

use crate::stats::PeerRefusal;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerEvent {
    /// A peer's handshake succeeded: messages can come.
    Joined,
    /// A peer has left whose handshake had succeeded.
    Left,
    /// A connection ended before its handshake succeeded.
    Refused(PeerRefusal),
    /// A connection could not be made.
    Unreachable,
}

/// Reads the events of one socket.
pub struct Monitor {
    events: zmq::Socket,
    /// True exactly when there may be events for which no readiness will come.
    is_ready: bool,
    peers: Peers,
}

impl Monitor {
    /// Watches `socket`, which must not be bound or connected yet: libzmq would wait with the first event
    /// until this monitor reads it.
    ///
    /// # Errors
    /// Those of ZeroMQ.
    pub fn attach(context: &zmq::Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        let endpoint = unused_endpoint();
        socket.monitor(&endpoint, watched())?;
        let events = context.socket(zmq::PAIR)?;
        events.set_rcvhwm(0)?;
        events.connect(&endpoint)?;
        Ok(Self {
            events,
            is_ready: true,
            peers: Peers::default(),
        })
    }

    /// Ends the reports of `socket`, to which this monitor is attached. After that the monitor may be dropped.
    pub fn silence(&self, socket: &zmq::Socket) {
        // libzmq keeps one monitor a socket; one for no event at all takes the place of this one.
        if let Err(error) = socket.monitor(&unused_endpoint(), 0) {
            log::error!("ingest: cannot end the monitor of a socket: {error}");
        }
    }

    /// The descriptor that the loop waits for.
    ///
    /// # Errors
    /// Those of ZeroMQ.
    pub fn descriptor(&self) -> Result<RawFd, zmq::Error> {
        self.events.get_fd()
    }

    /// The descriptor has changed.
    pub fn handle_readiness(&mut self) {
        self.is_ready = true;
    }

    /// Returns true when [`Monitor::poll`] has to be called before the loop may sleep.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// How many peers are connected whose handshake has succeeded.
    pub fn peers(&self) -> usize {
        self.peers.joined
    }

    /// Reads one event of libzmq. `None` when there is none now; `Some(None)` when the event changes nothing, for
    /// example because a handshake has only begun. The caller counts calls, not results: each costs the
    /// same.
    pub fn poll(&mut self) -> Option<Option<PeerEvent>> {
        // The first frame is the event, the second an address, which a bound socket gives as its own.
        let Some(frame) = self.read() else {
            self.is_ready = false;
            return None;
        };
        let _address = self.read();
        let Some((event, value)) = parse(&frame) else {
            log::error!("ingest: an event of libzmq has {} bytes", frame.len());
            return Some(None);
        };
        Some(self.peers.handle(event, value))
    }

    fn read(&self) -> Option<zmq::Message> {
        loop {
            match self.events.recv_msg(zmq::DONTWAIT) {
                Ok(frame) => return Some(frame),
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EAGAIN) => return None,
                Err(error) => {
                    log::error!("ingest: cannot read an event of libzmq: {error}");
                    return None;
                }
            }
        }
    }
}

/// The events that a monitor reads. Those of failed accepts are not among them: libzmq repeats such an
/// accept at once, thousands of times a second.
fn watched() -> i32 {
    [
        SocketEvent::CONNECTED,
        SocketEvent::ACCEPTED,
        SocketEvent::DISCONNECTED,
        SocketEvent::CONNECT_RETRIED,
        SocketEvent::HANDSHAKE_SUCCEEDED,
        SocketEvent::HANDSHAKE_FAILED_NO_DETAIL,
        SocketEvent::HANDSHAKE_FAILED_PROTOCOL,
        SocketEvent::HANDSHAKE_FAILED_AUTH,
    ]
    .into_iter()
    .fold(0, |all, event| all | i32::from(event.to_raw()))
}

/// An `inproc` endpoint that nothing else in the process has.
fn unused_endpoint() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("inproc://newswire-monitor-{number}")
}

/// The first frame of an event: 16 bits that name it, 32 bits of value, both as the host has them.
fn parse(frame: &[u8]) -> Option<(u16, u32)> {
    let (event, value) = frame.split_at_checked(2)?;
    let event = u16::from_ne_bytes(event.try_into().ok()?);
    let value = u32::from_ne_bytes(value.try_into().ok()?);
    Some((event, value))
}

/// `ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`.
const MECHANISM_MISMATCH: u32 = 0x1100_0002;

/// Which peers are connected, as far as the events tell.
///
/// Invariant: `successes < handshaking.len()`, or both are zero.
#[derive(Debug, Default)]
struct Peers {
    /// The descriptors of connections whose handshake has no known result.
    handshaking: HashSet<u32>,
    /// In handshakes that succeeded, of the connections in `handshaking`.
    successes: usize,
    /// In handshakes that succeeded, of all connections that are still there.
    joined: usize,
    /// Why the handshake failed of the connection whose end is the next event: libzmq reports both in one
    /// go.
    failed: Option<PeerRefusal>,
}

impl Peers {
    fn handle(&mut self, event: u16, value: u32) -> Option<PeerEvent> {
        let is = |of: SocketEvent| event == of.to_raw();
        if is(SocketEvent::CONNECTED) || is(SocketEvent::ACCEPTED) {
            self.handshaking.insert(value);
            None
        } else if is(SocketEvent::HANDSHAKE_SUCCEEDED) {
            self.joined += 1;
            self.successes += 1;
            self.settle();
            Some(PeerEvent::Joined)
        } else if is(SocketEvent::HANDSHAKE_FAILED_PROTOCOL) {
            self.failed = Some(match value {
                MECHANISM_MISMATCH => PeerRefusal::Mechanism,
                _ => PeerRefusal::Malformed,
            });
            None
        } else if is(SocketEvent::HANDSHAKE_FAILED_AUTH) {
            self.failed = Some(PeerRefusal::Denied);
            None
        } else if is(SocketEvent::HANDSHAKE_FAILED_NO_DETAIL) {
            self.failed = Some(PeerRefusal::Incomplete);
            None
        } else if is(SocketEvent::DISCONNECTED) {
            Some(self.handle_end(value))
        } else if is(SocketEvent::CONNECT_RETRIED) {
            Some(PeerEvent::Unreachable)
        } else {
            None
        }
    }

    fn handle_end(&mut self, descriptor: u32) -> PeerEvent {
        let is_unknown = self.handshaking.remove(&descriptor);
        let refusal = match self.failed.take() {
            None if is_unknown && self.successes == 0 => Some(PeerRefusal::WrongProtocol),
            refusal => refusal,
        };
        if let Some(refusal) = refusal {
            self.settle();
            return PeerEvent::Refused(refusal);
        }
        if is_unknown {
            self.successes -= 1;
        }
        self.joined = self.joined.saturating_sub(1);
        self.settle();
        PeerEvent::Left
    }

    /// When as many handshakes succeeded as there are connections, each of them has succeeded.
    fn settle(&mut self) {
        if self.successes >= self.handshaking.len() {
            self.handshaking.clear();
            self.successes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;
    use std::net::TcpStream;

    use crate::ingest::Source;
    use crate::ingest::zeromq::pull::Pull;
    use crate::ingest::zeromq::socket::tests::RULES;
    use crate::ingest::zeromq::socket_file::FileAccess;

    fn bind(context: &zmq::Context) -> Pull {
        let access = FileAccess::default();
        Pull::bind(context, "tcp://127.0.0.1:*", RULES, access).expect("bound")
    }

    /// Waits for the next event that means something.
    fn next(source: &mut Pull) -> PeerEvent {
        let monitor = source.socket.monitor_mut();
        loop {
            match monitor.poll() {
                Some(Some(event)) => return event,
                Some(None) => {}
                None => {
                    let signalled = monitor.events.poll(zmq::POLLIN, 20_000);
                    assert_eq!(signalled, Ok(1), "an event comes");
                }
            }
        }
    }

    #[test]
    fn peers_of_a_pull_socket_join_leave_and_are_refused() {
        let context = zmq::Context::new();
        let mut source = bind(&context);
        let endpoint = source.name().to_owned();
        let connect = |kind| {
            let socket = context.socket(kind).expect("a socket");
            socket.set_linger(0).expect("set");
            socket.connect(&endpoint).expect("connected");
            socket
        };
        let push = connect(zmq::PUSH);
        assert_eq!(next(&mut source), PeerEvent::Joined);
        assert_eq!(source.socket.peers(), 1);

        // A kind that does not fit is refused, comes again at once, and is refused again.
        let publisher = connect(zmq::PUB);
        let wrong = PeerEvent::Refused(PeerRefusal::WrongProtocol);
        assert_eq!(next(&mut source), wrong);
        drop(publisher);

        let address = endpoint.trim_start_matches("tcp://");
        let mut prober = TcpStream::connect(address).expect("it listens");
        prober.write_all(&[0xFF, 0]).expect("sent");
        drop(prober);
        let incomplete = PeerEvent::Refused(PeerRefusal::Incomplete);
        while next(&mut source) != incomplete {}

        assert_eq!(source.socket.peers(), 1);
        drop(push);
        while next(&mut source) != PeerEvent::Left {}
        assert_eq!(source.socket.peers(), 0);
    }

    #[test]
    fn a_source_can_be_dropped_while_peers_are_connected_and_events_are_unread() {
        let context = zmq::Context::new();
        let other = bind(&context);
        for _ in 0..20 {
            let source = bind(&context);
            let push = context.socket(zmq::PUSH).expect("a socket");
            push.connect(source.name()).expect("connected");
            push.send("one", 0).expect("sent");
            let mut source = source;
            assert_eq!(next(&mut source), PeerEvent::Joined);
            drop(source);
        }
        // libzmq's network thread goes on for the other sources of the process.
        let push = context.socket(zmq::PUSH).expect("a socket");
        push.connect(other.name()).expect("connected");
        let mut other = other;
        assert_eq!(next(&mut other), PeerEvent::Joined);
    }

    const ACCEPTED: u16 = SocketEvent::ACCEPTED as u16;
    const DISCONNECTED: u16 = SocketEvent::DISCONNECTED as u16;
    const SUCCEEDED: u16 = SocketEvent::HANDSHAKE_SUCCEEDED as u16;
    const NO_DETAIL: u16 = SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16;
    const PROTOCOL: u16 = SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16;

    /// What `events` come to, those that change nothing left out, and how many peers are left.
    fn told(events: &[(u16, u32)]) -> (Vec<PeerEvent>, usize) {
        let mut peers = Peers::default();
        let told = events
            .iter()
            .filter_map(|&(event, value)| peers.handle(event, value));
        (told.collect(), peers.joined)
    }

    #[test]
    fn a_peer_joins_and_leaves() {
        use PeerEvent::*;
        let events = [(ACCEPTED, 7), (SUCCEEDED, 0)];
        assert_eq!(told(&events), (vec![Joined], 1));
        let events = [(ACCEPTED, 7), (SUCCEEDED, 0), (DISCONNECTED, 7)];
        assert_eq!(told(&events), (vec![Joined, Left], 0));
    }

    #[test]
    fn an_end_without_a_result_is_a_refusal_and_one_with_a_result_has_its_reason() {
        use PeerEvent::*;
        for (result, reason) in [
            (None, PeerRefusal::WrongProtocol),
            (Some((NO_DETAIL, 32)), PeerRefusal::Incomplete),
            (Some((PROTOCOL, MECHANISM_MISMATCH)), PeerRefusal::Mechanism),
            (Some((PROTOCOL, 0x1000_0001)), PeerRefusal::Malformed),
        ] {
            let mut events = vec![(ACCEPTED, 9), (SUCCEEDED, 0), (ACCEPTED, 7)];
            events.extend(result);
            events.push((DISCONNECTED, 7));
            assert_eq!(told(&events), (vec![Joined, Refused(reason)], 1));
        }
    }

    #[test]
    fn a_silent_connection_does_not_make_others_look_refused() {
        use PeerEvent::*;
        let events = [
            (ACCEPTED, 1),
            (ACCEPTED, 2),
            (SUCCEEDED, 0),
            (DISCONNECTED, 2),
            (ACCEPTED, 2),
            (SUCCEEDED, 0),
            (NO_DETAIL, 0),
            (DISCONNECTED, 1),
        ];
        let incomplete = Refused(PeerRefusal::Incomplete);
        let expected = vec![Joined, Left, Joined, incomplete];
        assert_eq!(told(&events), (expected, 1));
    }

    #[test]
    fn no_order_of_events_counts_below_zero_or_keeps_a_connection() {
        // Every order of two connections' events: 1 is refused, 2 joins and leaves.
        let first = [(ACCEPTED, 1), (DISCONNECTED, 1)];
        let second = [(ACCEPTED, 2), (SUCCEEDED, 0), (DISCONNECTED, 2)];
        for pattern in 0..32_u32 {
            if pattern.count_ones() != 2 {
                continue;
            }
            let (mut a, mut b) = (first.iter(), second.iter());
            let events: Vec<_> = (0..5)
                .map(|place| {
                    let side = if pattern >> place & 1 == 1 {
                        &mut a
                    } else {
                        &mut b
                    };
                    *side.next().expect("two and three")
                })
                .collect();
            let mut peers = Peers::default();
            let told: Vec<_> = events
                .iter()
                .filter_map(|&(event, value)| peers.handle(event, value))
                .collect();
            let refused = PeerEvent::Refused(PeerRefusal::WrongProtocol);
            for expected in [PeerEvent::Joined, PeerEvent::Left, refused] {
                assert!(told.contains(&expected), "{events:?}: {told:?}");
            }
            assert_eq!(told.len(), 3, "{events:?}");
            assert_eq!(peers.joined, 0, "{events:?}");
            assert!(peers.handshaking.is_empty(), "{events:?}");
        }
    }

    #[test]
    fn frames_of_another_length_are_no_events() {
        assert_eq!(
            parse(&[1, 0, 7, 0, 0, 0]),
            Some((u16::from_ne_bytes([1, 0]), u32::from_ne_bytes([7, 0, 0, 0])))
        );
        for frame in [&[][..], &[1], &[1, 0, 7, 0, 0], &[1, 0, 7, 0, 0, 0, 0]] {
            assert_eq!(parse(frame), None);
        }
    }
}
