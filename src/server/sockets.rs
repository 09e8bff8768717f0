//! The server's outside: the poller, the listeners, and the clock.
//!
//! Never here: what follows from what comes in (the turn's).

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::clock::Clock;
use super::listeners::{ClientStream, Listeners};
use super::lobby::{Lobby, PeerId};
use super::outside::{Accepted, Outside, Ready};
use super::process;
use super::tokens::PollToken;
use crate::admin::readings::ProcessReadings;
use crate::admin::{Command, Response};
use crate::engine::SlotId;
use crate::ingest::{Descriptor, SourceId};
use crate::stats::Refusal;

/// In readiness events a poll.
const READINESS_MAX: usize = 1_024;

/// Everything that the server waits for, and its clock.
pub struct Sockets {
    pub poll: Poll,
    /// What the last poll found.
    readiness: Events,
    /// Of clients.
    pub listeners: Listeners,
    /// Of administrators and publishers.
    pub lobby: Lobby,
    pub clock: Clock,
}

impl Sockets {
    /// With listeners that are registered at `poll`.
    pub fn new(poll: Poll, listeners: Listeners, lobby: Lobby) -> Self {
        Self {
            poll,
            readiness: Events::with_capacity(READINESS_MAX),
            listeners,
            lobby,
            clock: Clock::start(),
        }
    }

    /// Waits until something is ready, and no longer than `timeout`. Answers whether signals have come.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.poll.poll(&mut self.readiness, timeout)?;
        let signals = Token::from(PollToken::Signals);
        Ok(self.readiness.iter().any(|event| event.token() == signals))
    }

    /// Accepts no client any more.
    pub fn close(&mut self) {
        self.listeners.close(self.poll.registry());
    }
}

impl Outside for Sockets {
    type Stream = ClientStream;
    type Peer = PeerId;

    fn tell_ready(&mut self, mut mark: impl FnMut(Ready)) {
        for event in &self.readiness {
            match PollToken::of(event.token()) {
                Some(PollToken::Client(id)) => {
                    // A peer's reset shows as both, and the read finds out.
                    let has_ended = event.is_read_closed() || event.is_error();
                    if event.is_readable() || has_ended {
                        mark(Ready::Readable { id, has_ended });
                    }
                    if event.is_writable() {
                        mark(Ready::Writable(id));
                    }
                }
                Some(PollToken::Source(id, descriptor)) => mark(Ready::Source(id, descriptor)),
                Some(PollToken::Relay(_)) => mark(Ready::Relay),
                Some(PollToken::Listener(index)) => self.listeners.handle_readiness(index),
                Some(PollToken::AdminListener(door, index)) => {
                    self.lobby.handle_newcomers(door, index);
                }
                Some(PollToken::Lobby(place)) => self.lobby.handle_readiness(place),
                Some(PollToken::Signals | PollToken::Wake) | None => {}
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        let put_off = (self.listeners.is_waiting()).then_some(Duration::from_secs(1));
        [put_off, self.lobby.timeout(now)]
            .into_iter()
            .flatten()
            .min()
    }

    fn begin_accepts(&mut self, now: Duration) {
        self.listeners.tick(now);
    }

    fn has_newcomers(&self) -> bool {
        self.listeners.is_ready()
    }

    fn accept(&mut self, now: Duration) -> Accepted<ClientStream> {
        self.listeners.accept(now)
    }

    fn refuse(&mut self, stream: ClientStream, refusal: Refusal, now: Duration) {
        self.listeners.refuse(stream, refusal, now);
    }

    fn watch_client(&mut self, id: SlotId, stream: &mut ClientStream) -> io::Result<()> {
        // Once and for both: edges come by themselves from here on.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = PollToken::Client(id).into();
        self.poll.registry().register(stream, token, interest)
    }

    fn watch_source(
        &mut self,
        id: SourceId,
        descriptor: Descriptor,
        file: RawFd,
    ) -> io::Result<()> {
        let token = PollToken::Source(id, descriptor).into();
        self.poll
            .registry()
            .register(&mut SourceFd(&file), token, Interest::READABLE)
    }

    fn unwatch_source(&mut self, file: RawFd) {
        // A descriptor that was not watched needs nothing more.
        let _ = self.poll.registry().deregister(&mut SourceFd(&file));
    }

    fn watch_relay(&mut self, index: usize, file: RawFd) -> io::Result<()> {
        let token = PollToken::Relay(index).into();
        self.poll
            .registry()
            .register(&mut SourceFd(&file), token, Interest::READABLE)
    }

    fn begin_commands(&mut self, now: Duration) {
        self.lobby.start_turn(now, self.poll.registry());
    }

    fn poll_command(&mut self, now: Duration) -> Option<(PeerId, Command)> {
        self.lobby.poll_command(now)
    }

    fn answer(&mut self, peer: PeerId, now: Duration, response: &Response) {
        self.lobby.answer(peer, now, response);
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.lobby.address(peer)
    }

    fn take(&mut self, peer: PeerId) -> Option<(ClientStream, SocketAddr)> {
        let (mut stream, address) = self.lobby.take(peer)?;
        if let Err(error) = self.poll.registry().deregister(&mut stream) {
            log::error!("admin: hand over: peer={address} error={error}");
        }
        Some((stream, address))
    }

    fn process(&self, connections: usize) -> ProcessReadings {
        process::read(self.clock.started_unix().as_secs_f64(), connections)
    }
}
