//! Events over ZeroMQ: PULL sockets that publishers connect to, SUB sockets that connect to
//! publishers.
//!
//! **The descriptor's contract.** ZeroMQ's descriptor does not say that there is a message. It says
//! "something has changed, ask me", once, and asking is what makes it quiet again: any call on the
//! socket may do so. So a source remembers that it may have messages (`is_ready`), is asked until
//! it says that it has none, and only then is its descriptor waited for. A turn that stops earlier,
//! for its budget, leaves the source ready, and the loop does not sleep while one is. Every other
//! call on the socket makes it ready too, in case it took the signal with it.
//!
//! libzmq has a thread of its own for its connections. newswire only hears of them, from each source's monitor.
//!
//! Never here: what a message says.

pub mod interest;
pub mod monitor;
mod pull;
pub mod socket_file;
pub mod sub;

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use monitor::Monitor;

use crate::limits;
use crate::trim;

/// In parts, how many are kept of one message: one more than any form of envelope has.
pub const PARTS_KEPT: usize = 3;

/// What holds for the peers of a source.
#[derive(Clone, Copy, Debug)]
pub struct PeerRules {
    /// True exactly when peers that speak ZMTP 1.0 or 2.0 may push.
    pub takes_old_zmtp: bool,
    /// In seconds without an answer after which a peer is dropped; 0: never.
    pub seconds: u32,
}

/// A source that could not be set up.
#[derive(Debug)]
pub struct SourceError {
    endpoint: String,
    action: &'static str,
    cause: Cause,
}

/// Why a source could not be set up.
#[derive(Debug)]
enum Cause {
    ZeroMq(zmq::Error),
    /// Something answers at the path of an `ipc://` endpoint.
    Answered,
    /// The path names something that is no socket.
    NoSocket,
    /// Something else cannot be done with the path.
    File(&'static str, io::Error),
}

impl From<zmq::Error> for Cause {
    fn from(error: zmq::Error) -> Self {
        Self::ZeroMq(error)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint, action, ..
        } = self;
        write!(f, "ZeroMQ: cannot {action} {endpoint}: ")?;
        match &self.cause {
            Cause::ZeroMq(error) => error.fmt(f),
            Cause::Answered => f.write_str("another process answers there"),
            Cause::NoSocket => f.write_str(
                "the path names something that is no socket, and newswire does not delete it: move it away, \
                 or name another path",
            ),
            Cause::File(action, error) => write!(f, "cannot {action}: {error}"),
        }
    }
}

impl SourceError {
    /// The endpoint that was asked for.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns true when another process has the endpoint.
    pub fn is_taken(&self) -> bool {
        matches!(
            self.cause,
            Cause::Answered | Cause::ZeroMq(zmq::Error::EADDRINUSE)
        )
    }
}

impl std::error::Error for SourceError {}

/// One ZeroMQ socket.
pub struct ZeroMqSource {
    socket: zmq::Socket,
    monitor: Monitor,
    endpoint: String,
    /// The last message, as far as it is kept.
    parts: Vec<zmq::Message>,
    /// True exactly when the next part belongs to the last message, of which enough has been kept.
    has_surplus: bool,
    /// In parts of that message that have been thrown away.
    surplus: usize,
    /// True exactly when there may be messages for which no readiness will come.
    is_ready: bool,
}

impl fmt::Debug for ZeroMqSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZeroMqSource")
            .field("endpoint", &self.endpoint)
            .field("is_ready", &self.is_ready)
            .finish_non_exhaustive()
    }
}

impl ZeroMqSource {
    fn new(
        action: &'static str,
        asked: &str,
        set_up: Result<(zmq::Socket, Monitor, String), Cause>,
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
            // Messages that came before the loop began have given their signal already.
            is_ready: true,
        })
    }

    /// The endpoint as it was bound or connected to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What the loop waits for: the descriptor for messages, and the one for the peers' coming and going.
    ///
    /// # Errors
    /// Those of ZeroMQ.
    pub fn descriptors(&self) -> Result<(RawFd, RawFd), SourceError> {
        let messages = self.socket.get_fd();
        let both = messages.and_then(|fd| Ok((fd, self.monitor.descriptor()?)));
        both.map_err(|cause| SourceError {
            endpoint: self.endpoint.clone(),
            action: "watch",
            cause: cause.into(),
        })
    }

    /// Who is connected to it.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The same, to read what has happened to its peers.
    pub fn monitor_mut(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// The descriptor has changed.
    pub fn handle_readiness(&mut self) {
        self.is_ready = true;
    }

    /// Whether [`ZeroMqSource::receive`] has to be called before the loop may sleep.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The next message, or one more part of a message that has too many; `None` when there is nothing now.
    ///
    /// A call reads at most [`PARTS_KEPT`] parts. A publisher can put millions of parts into one message, and
    /// whoever read them all in one call would keep everybody else waiting.
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
                return Some(Received::Message(Message {
                    endpoint: &self.endpoint,
                    parts: &self.parts,
                }));
            }
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

impl Drop for ZeroMqSource {
    fn drop(&mut self) {
        // Before the fields: libzmq still reports the ends of this socket's connections.
        self.monitor.silence(&self.socket);
    }
}

fn prepare(socket: &zmq::Socket, endpoint: &str, rules: PeerRules) -> Result<(), zmq::Error> {
    // libzmq takes IPv6 addresses only where it is told to.
    socket.set_ipv6(endpoint.contains('['))?;
    socket.set_rcvhwm(limits::PUBLISHER_MESSAGES_MAX)?;
    socket.set_maxmsgsize(limits::PUBLISHER_MESSAGE_BYTES_MAX)?;
    socket.set_linger(0)?;
    socket.set_handshake_ivl(1_000 * limits::PEER_HANDSHAKE_SECONDS as i32)?;
    // A peer whose host has vanished closes nothing. TCP's keepalive would notice, but libzmq as it is built
    // here does not set it, so ZMTP's own is used.
    let fifth = 200 * rules.seconds as i32;
    socket.set_heartbeat_ivl(fifth)?;
    socket.set_heartbeat_timeout(4 * fifth)
}

/// What a source hands out.
#[derive(Debug)]
pub enum Received<'a> {
    /// A message, or the beginning of one with more than [`PARTS_KEPT`] parts.
    Message(Message<'a>),
    /// One part beyond those, of so many bytes. It is thrown away.
    Surplus(usize),
}

/// One message of a publisher.
#[derive(Debug)]
pub struct Message<'a> {
    /// Where it came in.
    pub endpoint: &'a str,
    parts: &'a [zmq::Message],
}

impl<'a> Message<'a> {
    /// Its parts, in `room`; of more than three, the first three.
    pub fn parts<'b>(&self, room: &'b mut [&'a [u8]; PARTS_KEPT]) -> &'b [&'a [u8]] {
        for (slot, part) in room.iter_mut().zip(self.parts) {
            *slot = part;
        }
        &room[..self.parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const RULES: PeerRules = PeerRules {
        takes_old_zmtp: false,
        seconds: limits::PUBLISHER_SECONDS,
    };

    fn pair() -> (ZeroMqSource, zmq::Socket) {
        let context = zmq::Context::new();
        let access = socket_file::Access::default();
        let source = ZeroMqSource::bind_pull(&context, "inproc://here", RULES, access);
        let push = context.socket(zmq::PUSH).expect("a socket");
        push.connect("inproc://here").expect("connected");
        (source.expect("bound"), push)
    }

    /// What one call hands out: the parts of a message, or the bytes of a part that is thrown away.
    fn received(source: &mut ZeroMqSource) -> Option<Result<Vec<Vec<u8>>, usize>> {
        Some(match source.receive()? {
            Received::Message(message) => {
                let mut room = [&[][..]; PARTS_KEPT];
                let parts = message.parts(&mut room);
                Ok(parts.iter().map(|part| part.to_vec()).collect())
            }
            Received::Surplus(bytes) => Err(bytes),
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
