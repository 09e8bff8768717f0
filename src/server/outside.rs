//! What a turn needs from outside: readiness, streams, commands, the time that has passed.
//!
//! The server's own [`super::sockets::Sockets`] has a poller, listeners and a clock. A simulation has whatever it
//! makes up, and drives the same [`super::Core`] in memory and in virtual time.
//!
//! Never here: what follows from any of this (the turn's).

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::admin::readings::ProcessReadings;
use crate::admin::{Command, Response};
use crate::engine::{SlotId, Stream};
use crate::ingest::{Descriptor, SourceId};
use crate::stats::Refusal;

/// What came of asking for a newcomer.
#[derive(Debug)]
pub enum Accepted<S> {
    /// One newcomer.
    Newcomer(S, SocketAddr),
    /// No descriptor was left; the newcomer was told so.
    TurnedAway,
    /// There is none now.
    Nobody,
}

/// Something that the turn is told of, and only marks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ready {
    /// A client's stream can be read. The end may be there, behind the bytes.
    Readable {
        /// The connection.
        id: SlotId,
        /// True when the end may be there.
        has_ended: bool,
    },
    /// A client's stream takes bytes again.
    Writable(SlotId),
    /// A descriptor of a source has changed.
    Source(SourceId, Descriptor),
    /// A descriptor of the relay has changed.
    Relay,
}

/// The world of one server.
pub trait Outside {
    /// A client's connection.
    type Stream: Stream;
    /// Names the sender of a command, as long as the answer is due.
    type Peer: Copy + 'static;

    /// Tells everything that has become ready since the last turn.
    fn tell_ready(&mut self, mark: impl FnMut(Ready));

    /// The time since the start, read from the clock now. A turn has one time; this is for measuring.
    fn elapsed(&self) -> Duration;

    /// How long nothing here will be due, newcomers among clients aside.
    fn timeout(&self, now: Duration) -> Option<Duration>;

    /// A turn begins to accept clients.
    fn begin_accepts(&mut self, now: Duration);

    /// Returns true when a newcomer may be waiting which will not be reported as ready.
    fn has_newcomers(&self) -> bool;

    /// Accepts one client.
    fn accept(&mut self, now: Duration) -> Accepted<Self::Stream>;

    /// Tells a client that there is no place, and lets it go.
    fn refuse(&mut self, stream: Self::Stream, refusal: Refusal, now: Duration);

    /// Watches a client's stream from now on, for bytes and for room.
    ///
    /// # Errors
    /// Those of the poller.
    fn watch_client(&mut self, id: SlotId, stream: &mut Self::Stream) -> io::Result<()>;

    /// As [`crate::ingest::Host::watch`].
    ///
    /// # Errors
    /// Those of the poller.
    fn watch_source(&mut self, id: SourceId, descriptor: Descriptor, file: RawFd)
    -> io::Result<()>;

    /// The reverse of [`Outside::watch_source`].
    fn unwatch_source(&mut self, file: RawFd);

    /// Watches a descriptor of the relay.
    ///
    /// # Errors
    /// Those of the poller.
    fn watch_relay(&mut self, index: usize, file: RawFd) -> io::Result<()>;

    /// A turn begins with administrators and publishers.
    fn begin_commands(&mut self, now: Duration);

    /// The next command, as long as the turn's share lasts.
    fn poll_command(&mut self, now: Duration) -> Option<(Self::Peer, Command)>;

    /// Answers a command. Nothing happens when the peer has left.
    fn answer(&mut self, peer: Self::Peer, now: Duration, response: &Response);

    /// Where a peer is; `None` when it has left.
    fn address(&self, peer: Self::Peer) -> Option<SocketAddr>;

    /// Gives up the connection of a peer: it becomes a client's.
    fn take(&mut self, peer: Self::Peer) -> Option<(Self::Stream, SocketAddr)>;

    /// What the system says about this process, which has so many connections.
    fn process(&self, connections: usize) -> ProcessReadings;
}
