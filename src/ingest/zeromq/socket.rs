//! One ZeroMQ socket: its messages, and what its monitor tells of its peers. PULL and SUB are the same here.
//!
//! **The descriptor's contract.** ZeroMQ's descriptor does not say that there is a message. It says
//! "something has changed, ask me", once, and to ask is what makes it quiet again: any call on the
//! socket may do so. So a socket remembers that it may have messages (`is_ready`). The intake asks it until
//! it has none, and only then waits for its descriptor. A turn that stops earlier, because its budget is used
//! up, leaves the socket ready, and the loop does not sleep while one is ready. Every other
//! call on the socket makes it ready too, in case that call has taken the signal.
//!
//! libzmq serves the connections on a thread of its own. newswire learns about them from the socket's monitor.
//!
//! Never here: how a socket is bound or connected, and what a message says.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use super::monitor::{Monitor, PeerEvent};
use super::{PeerRules, SetUpError, SourceError};
use crate::ingest::{Descriptor, Host, PARTS_KEPT, Received, SourceId};
use crate::limits;
use crate::trim;

/// One ZeroMQ socket, and the monitor of its peers.
pub struct Socket {
    socket: zmq::Socket,
    monitor: Monitor,
    endpoint: String,
    /// The parts of the last message that are kept.
    parts: Vec<zmq::Message>,
    /// True exactly when the next part belongs to the last message, of which enough parts were kept.
    has_surplus: bool,
    /// In parts of that message, how many were thrown away.
    surplus: usize,
    /// True exactly when there may be messages for which no readiness will come.
    is_ready: bool,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("endpoint", &self.endpoint)
            .field("is_ready", &self.is_ready)
            .finish_non_exhaustive()
    }
}

impl Socket {
    /// The socket that `set_up` has made; or what could not be done with the endpoint `asked`.
    pub fn new(
        action: &'static str,
        asked: &str,
        set_up: Result<(zmq::Socket, Monitor, String), SetUpError>,
    ) -> Result<Self, SourceError> {
        let (socket, monitor, endpoint) = set_up.map_err(|cause| SourceError {
            endpoint: asked.to_owned(),
            action,
            cause,
        })?;
        Ok(Self {
            socket,
            monitor,
            endpoint,
            parts: Vec::with_capacity(PARTS_KEPT),
            has_surplus: false,
            surplus: 0,
            // The signal of messages that came before this moment is over.
            is_ready: true,
        })
    }

    /// The endpoint: as it was bound, or as it is configured where the socket connects.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// In peers that are connected now.
    pub fn peers(&self) -> usize {
        self.monitor.peers()
    }

    /// The socket itself, for tests that wait for it.
    #[cfg(test)]
    pub fn zeromq(&self) -> &zmq::Socket {
        &self.socket
    }

    /// The monitor, for its tests.
    #[cfg(test)]
    pub fn monitor_mut(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// Has `host` watch both descriptors.
    ///
    /// # Errors
    /// Those of ZeroMQ and of the poller.
    pub fn watch(&self, id: SourceId, host: &mut dyn Host) -> io::Result<()> {
        let (messages, peers) = self.descriptors().map_err(|cause| {
            io::Error::other(SourceError {
                endpoint: self.endpoint.clone(),
                action: "watch",
                cause: cause.into(),
            })
        })?;
        host.watch(id, Descriptor::Messages, messages)?;
        host.watch(id, Descriptor::Peers, peers)
    }

    /// The reverse of [`Socket::watch`], before the socket is dropped.
    pub fn unwatch(&self, host: &mut dyn Host) {
        if let Ok((messages, peers)) = self.descriptors() {
            host.unwatch(messages);
            host.unwatch(peers);
        }
    }

    fn descriptors(&self) -> Result<(RawFd, RawFd), zmq::Error> {
        Ok((self.socket.get_fd()?, self.monitor.descriptor()?))
    }

    /// A descriptor has changed.
    pub fn handle_readiness(&mut self, descriptor: Descriptor) {
        match descriptor {
            Descriptor::Messages => self.is_ready = true,
            Descriptor::Peers => self.monitor.handle_readiness(),
        }
    }

    /// Returns true when [`Socket::receive`] has to be called before the loop may sleep.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Returns true when [`Socket::poll_peer`] has to be called before the loop may sleep.
    pub fn has_peer_events(&self) -> bool {
        self.monitor.is_ready()
    }

    /// What has happened to a peer, as far as `budget` goes.
    pub fn poll_peer(&mut self, budget: &mut usize) -> Option<PeerEvent> {
        while self.monitor.is_ready() && *budget > 0 {
            *budget -= 1;
            // An event that changes nothing costs as much as any other.
            if let Some(event) = self.monitor.poll()? {
                return Some(event);
            }
        }
        None
    }

    /// The next message, or one more part of a message that has too many; `None` when there is nothing now.
    ///
    /// A call reads at most [`PARTS_KEPT`] parts. A publisher can put millions of parts into one message; to read
    /// them all in one call would keep all clients and all other publishers waiting.
    pub fn receive(&mut self) -> Option<Received<'_>> {
        if self.has_surplus {
            let part = self.receive_part()?;
            self.has_surplus = part.get_more();
            self.surplus += 1;
            if !self.has_surplus && self.surplus >= limits::SURPLUS_PARTS_KEPT_MAX {
                trim::begin();
            }
            return Some(Received::Surplus(part.len()));
        }
        self.parts.clear();
        loop {
            let part = self.receive_part()?;
            let has_more = part.get_more();
            self.parts.push(part);
            if !has_more || self.parts.len() == PARTS_KEPT {
                (self.has_surplus, self.surplus) = (has_more, 0);
                return Some(Received::Message {
                    from: &self.endpoint,
                    parts: self.parts.iter().map(|part| &**part).collect(),
                });
            }
        }
    }

    /// Asks the publisher for `topic`, or for it no more. ZeroMQ compares prefixes: longer names come as well, and
    /// the empty name asks for everything. For SUB sockets alone.
    pub fn ask(&mut self, topic: &str, is_wanted: bool) {
        let result = match is_wanted {
            true => self.socket.set_subscribe(topic.as_bytes()),
            false => self.socket.set_unsubscribe(topic.as_bytes()),
        };
        self.is_ready = true;
        if let Err(error) = result {
            let (endpoint, action) = (&self.endpoint, ["unsubscribe", "subscribe"]);
            let action = action[usize::from(is_wanted)];
            log::error!("ingest: {action} endpoint={endpoint} topic={topic:?} error={error}");
        }
    }

    fn receive_part(&mut self) -> Option<zmq::Message> {
        loop {
            let mut part = zmq::Message::new();
            match self.socket.recv(&mut part, zmq::DONTWAIT) {
                Ok(()) => return Some(part),
                Err(zmq::Error::EINTR) => continue,
                Err(zmq::Error::EAGAIN) => {}
                Err(error) => log::error!("ingest: endpoint={} error={error}", self.endpoint),
            }
            self.is_ready = false;
            return None;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Before the fields: libzmq still reports the ends of this socket's connections.
        self.monitor.silence(&self.socket);
    }
}

/// Sets the options that all sockets have.
pub fn prepare(socket: &zmq::Socket, endpoint: &str, rules: PeerRules) -> Result<(), zmq::Error> {
    // libzmq takes IPv6 addresses only where it is told to.
    socket.set_ipv6(endpoint.contains('['))?;
    socket.set_rcvhwm(limits::PUBLISHER_MESSAGES_MAX)?;
    socket.set_maxmsgsize(limits::PUBLISHER_MESSAGE_BYTES_MAX)?;
    socket.set_linger(0)?;
    socket.set_handshake_ivl(1_000 * limits::PEER_HANDSHAKE_SECONDS as i32)?;
    // A peer whose host has vanished closes nothing. TCP's keepalive would notice, but libzmq as it is built
    // here does not set it. So newswire uses ZMTP's own heartbeat.
    let fifth = 200 * rules.seconds as i32;
    socket.set_heartbeat_ivl(fifth)?;
    socket.set_heartbeat_timeout(4 * fifth)
}

/// Has a bound socket refuse peers that speak ZMTP 1.0 or 2.0: they cannot authenticate, and ZAP asks them to. An HTTP
/// request looks like ZMTP 1.0.
pub fn refuse_old_zmtp(socket: &zmq::Socket) -> Result<(), zmq::Error> {
    // Any name will do: it is for a ZAP handler, and there is none.
    socket.set_zap_domain("newswire")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ingest::Source;
    use crate::ingest::zeromq::pull::Pull;
    use crate::ingest::zeromq::socket_file::FileAccess;
    use crate::stats::{Counter, Ingest, PeerRefusal};

    pub const RULES: PeerRules = PeerRules {
        takes_old_zmtp: false,
        seconds: limits::PUBLISHER_SECONDS,
    };

    /// A host that watches nothing.
    pub struct Nowhere;

    impl Host for Nowhere {
        fn watch(&mut self, _: SourceId, _: Descriptor, _: RawFd) -> io::Result<()> {
            Ok(())
        }
        fn unwatch(&mut self, _: RawFd) {}
        fn count(&mut self, _: Counter, _: u64) {}
        fn note_joined(&mut self, _: bool) {}
        fn refused_peer(&mut self, _: Ingest, _: &str, _: PeerRefusal) {}
    }

    fn pair() -> (Pull, zmq::Socket) {
        let context = zmq::Context::new();
        let access = FileAccess::default();
        let source = Pull::bind(&context, "inproc://here", RULES, access);
        let push = context.socket(zmq::PUSH).expect("a socket");
        push.connect("inproc://here").expect("connected");
        (source.expect("bound"), push)
    }

    /// What one call hands out: the parts of a message, or the bytes of a part that is thrown away.
    fn received(source: &mut Pull) -> Option<Result<Vec<Vec<u8>>, usize>> {
        Some(match source.receive()? {
            Received::Message { parts, .. } => Ok(parts.iter().map(|part| part.to_vec()).collect()),
            Received::Surplus(bytes) => Err(bytes),
            Received::Body { .. } => unreachable!("no request comes by ZeroMQ"),
        })
    }

    #[test]
    fn a_source_is_ready_until_it_has_said_that_it_has_nothing() {
        let (mut source, push) = pair();
        assert!(source.is_ready());
        push.send("one", 0).expect("sent");
        push.send_multipart(["a", "b", "c"], 0).expect("sent");
        assert_eq!(received(&mut source), Some(Ok(vec![b"one".to_vec()])));
        let three = [b"a", b"b", b"c"].map(|part| part.to_vec());
        assert_eq!(received(&mut source), Some(Ok(three.to_vec())));
        assert!(source.is_ready(), "it has not been asked to the end");
        assert_eq!(received(&mut source), None);
        assert!(!source.is_ready());
    }

    #[test]
    fn a_call_reads_three_parts_of_a_long_message_and_each_other_call_one() {
        const PARTS: usize = 1_000;
        let (mut source, push) = pair();
        push.send_multipart((0..PARTS).map(|_| "xx"), 0)
            .expect("sent");
        push.send("next", 0).expect("sent");
        let kept = received(&mut source)
            .expect("a message")
            .expect("its beginning");
        assert_eq!(kept, vec![b"xx".to_vec(); PARTS_KEPT]);
        for _ in PARTS_KEPT..PARTS {
            assert_eq!(received(&mut source), Some(Err(2)));
        }
        assert_eq!(received(&mut source), Some(Ok(vec![b"next".to_vec()])));
    }
}
