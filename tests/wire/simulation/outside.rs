//! What a server has outside, in memory: newcomers, readiness, commands of administrators and publishers.
//!
//! Never here: what comes when (the world's dice say that).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use newswire::admin::readings::ProcessReadings;
use newswire::admin::{Command, Response, Whom};
use newswire::engine::SlotId;
use newswire::ingest::{Descriptor, SourceId};
use newswire::limits;
use newswire::server::{Accepted, Outside, Ready};
use newswire::stats::{HttpStatus, Refusal};

use super::truth::{Client, Shared};
use crate::stream::{FakeStream, Pipe};

/// What the sender of a command waits for.
pub enum Asked {
    Publication,
    /// Which clients are to end, whoever comes meanwhile included, and those who have to.
    Disconnection(Option<Whom>, Vec<Rc<RefCell<Pipe>>>),
    Dashboard(FakeStream, SocketAddr),
    Other,
}

/// See the module.
pub struct Memory {
    pub truth: Shared,
    /// `None`: one who comes while no descriptor is left.
    pub newcomers: VecDeque<Option<(FakeStream, SocketAddr)>>,
    pub ready: Vec<Ready>,
    pub commands: VecDeque<(u32, Command)>,
    /// Those who wait for an answer.
    pub asked: BTreeMap<u32, Asked>,
    /// Those who have left without one.
    pub left: BTreeSet<u32>,
    /// True exactly when the next client cannot be watched.
    pub is_unwatchable: bool,
    /// In newcomers and commands that this turn may still take.
    accepts_left: usize,
    commands_left: usize,
    /// In newcomers that were accepted, and of these refused at once.
    pub accepted: u64,
    pub refused: u64,
    pub turned_away: u64,
}

impl Memory {
    pub fn new(truth: &Shared) -> Self {
        Self {
            truth: Rc::clone(truth),
            newcomers: VecDeque::new(),
            ready: Vec::new(),
            commands: VecDeque::new(),
            asked: BTreeMap::new(),
            left: BTreeSet::new(),
            is_unwatchable: false,
            accepts_left: 0,
            commands_left: 0,
            accepted: 0,
            refused: 0,
            turned_away: 0,
        }
    }

    fn with_client(&self, stream: &FakeStream, act: impl FnOnce(&mut Client)) {
        let mut truth = self.truth.borrow_mut();
        let mut clients = truth.clients.iter_mut();
        let client = clients.find(|client| Rc::ptr_eq(&client.peer.wire, &stream.0));
        act(client.expect("everybody is known"));
    }

    /// A publisher was told that its events were taken.
    fn check_published(&self, publisher: u32, response: &Response) {
        let mut truth = self.truth.borrow_mut();
        let counts = truth.published.remove(&publisher).expect("it was taken in");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        let told = match &body["subscribers"] {
            serde_json::Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        assert_eq!(told.len(), counts.len());
        for (told, (least, most)) in told.iter().zip(counts) {
            let told = told.as_u64().expect("a number") as usize;
            let range = least..=most;
            assert!(range.contains(&told), "{told} subscribers, not {range:?}");
        }
        truth.check_flushed();
    }
}

impl Outside for Memory {
    type Stream = FakeStream;
    type Peer = u32;

    fn tell_ready(&mut self, mark: impl FnMut(Ready)) {
        self.ready.drain(..).for_each(mark);
    }

    fn elapsed(&self) -> Duration {
        self.truth.borrow().now
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        if !self.ready.is_empty() || !self.commands.is_empty() {
            return Some(Duration::ZERO);
        }
        // Stores wake the loop.
        let truth = self.truth.borrow();
        let due = truth.answers_due.iter().min()?;
        Some(due.saturating_sub(now))
    }

    fn begin_accepts(&mut self, _now: Duration) {
        self.accepts_left = limits::TURN_ACCEPTS_MAX;
    }

    fn has_newcomers(&self) -> bool {
        !self.newcomers.is_empty()
    }

    fn accept(&mut self, now: Duration) -> Accepted<FakeStream> {
        assert!(self.accepts_left > 0, "too many newcomers in a turn");
        self.accepts_left -= 1;
        match self.newcomers.pop_front() {
            Some(Some((stream, address))) => {
                self.accepted += 1;
                self.with_client(&stream, |client| client.accepted = Some(now));
                Accepted::Newcomer(stream, address)
            }
            Some(None) => {
                self.turned_away += 1;
                Accepted::TurnedAway
            }
            None => Accepted::Nobody,
        }
    }

    fn refuse(&mut self, stream: FakeStream, _refusal: Refusal, _now: Duration) {
        self.refused += 1;
        self.with_client(&stream, |client| client.is_doomed = true);
    }

    fn watch_client(&mut self, id: SlotId, stream: &mut FakeStream) -> io::Result<()> {
        let is_unwatchable = std::mem::take(&mut self.is_unwatchable);
        self.with_client(stream, |client| {
            client.id = Some(id);
            client.is_doomed |= is_unwatchable;
        });
        if is_unwatchable {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let has_ended = stream.0.borrow().peer_ended;
        self.ready.push(Ready::Readable { id, has_ended });
        Ok(())
    }

    fn watch_source(&mut self, _: SourceId, _: Descriptor, _: RawFd) -> io::Result<()> {
        Ok(())
    }

    fn unwatch_source(&mut self, _file: RawFd) {}

    fn watch_relay(&mut self, _: usize, _: RawFd) -> io::Result<()> {
        unreachable!("there is no relay")
    }

    fn begin_commands(&mut self, _now: Duration) {
        self.commands_left = limits::TURN_ADMIN_COMMANDS_MAX;
    }

    fn poll_command(&mut self, _now: Duration) -> Option<(u32, Command)> {
        self.commands_left = self.commands_left.checked_sub(1)?;
        let (peer, command) = self.commands.pop_front()?;
        if let Command::Revoke(tokens) = &command {
            let mut truth = self.truth.borrow_mut();
            for n in 0..truth.tokens.len() {
                let digest = truth.tokens[n].token.digest();
                if tokens.iter().any(|token| token.matches(&digest)) {
                    truth.tokens[n].is_revoked = true;
                    truth.end_token(n);
                }
            }
        }
        Some((peer, command))
    }

    fn answer(&mut self, peer: u32, _now: Duration, response: &Response) {
        self.truth.borrow_mut().catch_up();
        let Some(asked) = self.asked.remove(&peer) else {
            assert!(self.left.remove(&peer), "{peer} is answered twice");
            let mut truth = self.truth.borrow_mut();
            truth.published.remove(&peer);
            truth.bodies.retain(|body| body.publisher != peer);
            return;
        };
        match (asked, response.status()) {
            (Asked::Publication, HttpStatus::Ok) => self.check_published(peer, response),
            (Asked::Publication, status) => {
                let mut truth = self.truth.borrow_mut();
                assert!(!truth.published.contains_key(&peer), "it was taken in");
                let place = truth.bodies.iter().position(|body| body.publisher == peer);
                // A body that makes no sense may have been passed over.
                if let Some(body) = place.and_then(|place| truth.bodies.remove(place)) {
                    let is_bad = status == HttpStatus::BadRequest;
                    assert!(!is_bad || body.events.is_none(), "a good one is refused");
                }
            }
            (Asked::Disconnection(whom, wires), HttpStatus::Ok) => {
                let mut truth = self.truth.borrow_mut();
                for client in &mut truth.clients {
                    let has_to = wires.iter().any(|wire| Rc::ptr_eq(wire, &client.peer.wire));
                    client.is_disconnected |= has_to;
                    // Some came after the command, and before it was carried out.
                    client.is_doomed |= whom.as_ref().is_some_and(|whom| is_meant(whom, client));
                }
            }
            (Asked::Disconnection(..) | Asked::Other, _) => {}
            (Asked::Dashboard(..), status) => panic!("{status:?} for a dashboard"),
        }
    }

    fn address(&self, peer: u32) -> Option<SocketAddr> {
        let is_there = self.asked.contains_key(&peer);
        if !is_there {
            // The server forgets whatever waits of a publisher that has left.
            let bodies = &mut self.truth.borrow_mut().bodies;
            bodies.retain(|body| body.publisher != peer);
        }
        is_there.then(|| ([192, 0, 2, 2], 7).into())
    }

    fn take(&mut self, peer: u32) -> Option<(FakeStream, SocketAddr)> {
        match self.asked.remove(&peer)? {
            Asked::Dashboard(stream, address) => {
                self.accepted += 1;
                let now = self.elapsed();
                self.with_client(&stream, |client| client.accepted = Some(now));
                Some((stream, address))
            }
            _ => panic!("no dashboard"),
        }
    }

    fn process(&self, _connections: usize) -> ProcessReadings {
        ProcessReadings {
            resident_bytes: None,
            open_files: None,
            files_max: None,
            cpu_seconds: None,
            started_at: 0.0,
        }
    }
}

/// Returns true when a command to end clients means this one, or may mean it: a client behind the proxy has the
/// proxy's address at first.
pub fn is_meant(whom: &Whom, client: &Client) -> bool {
    match whom {
        Whom::Name(name) => client.token.is_some_and(|n| *name == format!("name-{n}")),
        Whom::Address(ip, port) => {
            let is_it = |a: SocketAddr| a.ip() == *ip && port.is_none_or(|port| port == a.port());
            is_it(client.address) || client.opened.is_none() && is_it(client.from)
        }
    }
}
