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
//! libzmq has a thread of its own for its connections; newswire never sees them.
//!
//! Never here: what a message says.

pub mod monitor;
mod pull;
mod sub;

use std::fmt;
use std::os::fd::RawFd;

use monitor::Monitor;

use crate::limits;

/// In parts, how many are kept of one message: one more than any form of envelope has.
pub const PARTS_KEPT: usize = 3;

/// A source that could not be set up.
#[derive(Debug)]
pub struct SourceError {
    endpoint: String,
    action: &'static str,
    cause: zmq::Error,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            action,
            cause,
        } = self;
        write!(f, "ZeroMQ: cannot {action} {endpoint}: {cause}")
    }
}

impl SourceError {
    /// The endpoint that was asked for.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether somebody has it already.
    pub fn is_taken(&self) -> bool {
        self.cause == zmq::Error::EADDRINUSE
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
        set_up: Result<(zmq::Socket, Monitor, String), zmq::Error>,
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
            cause,
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

    /// The next message; `None` when there is none for now.
    pub fn receive(&mut self) -> Option<Message<'_>> {
        self.parts.clear();
        loop {
            let mut part = zmq::Message::new();
            match self.socket.recv(&mut part, zmq::DONTWAIT) {
                Ok(()) => {}
                Err(zmq::Error::EINTR) => continue,
                Err(zmq::Error::EAGAIN) => {
                    self.is_ready = false;
                    return None;
                }
                Err(error) => {
                    log::error!("ingest: endpoint={} error={error}", self.endpoint);
                    self.is_ready = false;
                    return None;
                }
            }
            let more = part.get_more();
            if self.parts.len() < PARTS_KEPT {
                self.parts.push(part);
            }
            if !more {
                return Some(Message {
                    endpoint: &self.endpoint,
                    parts: &self.parts,
                });
            }
        }
    }
}

impl Drop for ZeroMqSource {
    fn drop(&mut self) {
        // Before the fields: libzmq still reports the ends of this socket's connections.
        self.monitor.silence(&self.socket);
    }
}

fn prepare(socket: &zmq::Socket, endpoint: &str) -> Result<(), zmq::Error> {
    // libzmq takes IPv6 addresses only where it is told to.
    socket.set_ipv6(endpoint.contains('['))?;
    socket.set_rcvhwm(limits::PUBLISHER_MESSAGES_MAX)?;
    socket.set_maxmsgsize(limits::PUBLISHER_MESSAGE_BYTES_MAX)?;
    socket.set_linger(0)?;
    socket.set_handshake_ivl(1_000 * limits::PEER_HANDSHAKE_SECONDS as i32)?;
    // A publisher whose host vanished is noticed by the kernel.
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(60)
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

    #[test]
    fn a_source_is_ready_until_it_has_said_that_it_has_nothing() {
        let context = zmq::Context::new();
        let mut source = ZeroMqSource::bind_pull(&context, "inproc://here").expect("bound");
        assert!(source.is_ready());
        let push = context.socket(zmq::PUSH).expect("a socket");
        push.connect("inproc://here").expect("connected");
        push.send("one", 0).expect("sent");
        push.send_multipart(["a", "b", "c", "d"], 0).expect("sent");

        let mut room = [&[][..]; PARTS_KEPT];
        let message = source.receive().expect("a message");
        assert_eq!(message.parts(&mut room), [b"one"]);
        let mut room = [&[][..]; PARTS_KEPT];
        let message = source.receive().expect("a message");
        assert_eq!(message.parts(&mut room), [b"a", b"b", b"c"]);
        assert!(source.is_ready(), "it has not been asked to the end");
        assert!(source.receive().is_none());
        assert!(!source.is_ready());
    }
}
