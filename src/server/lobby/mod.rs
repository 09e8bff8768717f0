//! The listeners where administrators and publishers connect over HTTP, and their few connections.
//!
//! These connections share the loop with all clients, and clients must not notice them. So reading, writing
//! and commands have a budget in each turn, and what is left over waits for the next turn. There are few
//! places. Each kind of listener has its own, so that publishers keep no administrator out. Some places are for
//! strangers, and the others for connections that have shown a right.
//!
//! When all places of strangers are taken, a newcomer gets the place of one of them. The lobby chooses the network
//! with the most strangers; of these, the connection that can be ended first (the conversation knows); and of
//! several, the oldest. So a crowd that sends nothing, or sends slowly, or shows no token, keeps nobody out,
//! and no stranger is ever refused for want of a place. The lobby reads what a stranger has sent before it gives
//! the place away; until then newcomers wait in the kernel.
//!
//! A stranger that shows a right takes one of the other places. When these are all taken, it gets the place of a
//! connection that can be ended there, or a refusal.
//!
//! Here, unlike in the engine, readiness is only a hint: the lobby tries each connection until it would
//! block, so a hint that was meant for the place's last tenant does no harm.
//!
//! Never here: how far a connection is read and written (`peer`), what is said (`admin/`), and what a command does.

mod peer;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mio::{Interest, Registry};
use slab::Slab;

use self::peer::{Driven, LobbyBudget, Peer};
use super::listeners::{ClientStream, Listeners};
use super::outside::Accepted;
use super::tokens::PollToken;
use crate::admin::{AdminRules, Command, Conversation, Response};
use crate::engine::network;
use crate::limits;
use crate::stats::{Door, HttpStatus, Stats};

/// The name of a connection whose command is being carried out. It finds nothing once the connection has gone.
#[derive(Clone, Copy, Debug)]
pub struct PeerId {
    place: usize,
    serial: u64,
}

/// Both kinds of listeners, and their connections.
#[derive(Debug)]
pub struct Lobby {
    admin: Listeners,
    publish: Listeners,
    peers: Slab<Peer>,
    /// Places of connections that may go on although no readiness will come for them.
    work: VecDeque<usize>,
    serial: u64,
    rules: AdminRules,
    stats: Rc<Stats>,
    /// How many connections of strangers each kind of listener may have.
    strangers_max: usize,
    buffer: Vec<u8>,
    budget: LobbyBudget,
}

impl Lobby {
    /// Makes a lobby of listeners that are bound.
    pub fn new(
        admin: Listeners,
        publish: Listeners,
        rules: AdminRules,
        strangers_max: usize,
        stats: Rc<Stats>,
    ) -> Self {
        Self {
            stats,
            admin,
            publish,
            peers: Slab::new(),
            work: VecDeque::new(),
            serial: 0,
            rules,
            strangers_max,
            buffer: vec![0; limits::READ_BUFFER_BYTES],
            budget: LobbyBudget::default(),
        }
    }

    /// Returns the addresses of the administrators' listener, as bound.
    pub fn admins(&self) -> &[SocketAddr] {
        self.admin.addresses()
    }

    /// Returns the addresses of the publishers' listener, as bound.
    pub fn publishers(&self) -> &[SocketAddr] {
        self.publish.addresses()
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> &AdminRules {
        &self.rules
    }

    /// Replaces the rules for all requests and newcomers to come.
    pub fn set_rules(&mut self, rules: AdminRules, strangers_max: usize) {
        self.rules = rules;
        self.strangers_max = strangers_max;
    }

    /// Notes that a listener has newcomers.
    pub fn handle_newcomers(&mut self, door: Door, index: usize) {
        self.listeners_mut(door).handle_readiness(index);
    }

    fn listeners_mut(&mut self, door: Door) -> &mut Listeners {
        match door {
            Door::Admin => &mut self.admin,
            Door::Publish => &mut self.publish,
        }
    }

    /// Notes that a connection can be read or written, or has ended.
    pub fn handle_readiness(&mut self, place: usize) {
        self.list(place);
    }

    fn list(&mut self, place: usize) {
        if let Some(peer) = self.peers.get_mut(place)
            && !std::mem::replace(&mut peer.is_listed, true)
        {
            self.work.push_back(place);
        }
    }

    /// Returns how long nothing will be due.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        let doors = [&self.admin, &self.publish];
        if !self.work.is_empty() || doors.iter().any(|door| door.is_ready()) {
            return Some(Duration::ZERO);
        }
        let put_off = doors.iter().any(|door| door.is_waiting());
        let dues = self.peers.iter().map(|(_, peer)| peer.conversation.due());
        dues.map(|due| due.saturating_sub(now))
            .chain(put_off.then_some(Duration::from_secs(1)))
            .min()
    }

    /// Begins a turn: accepts newcomers, and deals with the deadlines that have passed.
    pub fn start_turn(&mut self, now: Duration, registry: &Registry) {
        self.budget = LobbyBudget {
            read_bytes: limits::TURN_ADMIN_BYTES_MAX,
            written_bytes: limits::TURN_ADMIN_BYTES_MAX,
            commands: limits::TURN_ADMIN_COMMANDS_MAX,
        };
        for door in [Door::Admin, Door::Publish] {
            self.accept(door, now, registry);
        }
        let late: Vec<usize> = self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.conversation.due() <= now)
            .map(|(place, peer)| {
                peer.conversation.handle_time(now);
                place
            })
            .collect();
        for place in late {
            self.list(place);
        }
    }

    fn accept(&mut self, door: Door, now: Duration, registry: &Registry) {
        self.listeners_mut(door).tick(now);
        for _ in 0..limits::TURN_ADMIN_ACCEPTS_MAX {
            if !self.listeners_mut(door).is_ready() {
                return;
            }
            let victim = match self.room_for_stranger(door, now) {
                Opening::Free => None,
                Opening::Of(place) => Some(place),
                Opening::None => return,
            };
            match self.listeners_mut(door).accept(now) {
                Accepted::Newcomer(stream, address) => {
                    if let Some(place) = victim {
                        self.spare(place);
                    }
                    if let Err(error) = self.welcome(door, stream, address, now, registry) {
                        log::error!("admin: accept: peer={address} error={error}");
                    }
                }
                // The next newcomer needs a descriptor.
                Accepted::TurnedAway => {
                    self.stats.answered(HttpStatus::ServiceUnavailable);
                    if let Some(place) = victim {
                        self.spare(place);
                    }
                }
                Accepted::Nobody => return,
            }
        }
    }

    /// Returns the peers of a listener that are strangers, or those that are not.
    fn peers_of(&self, door: Door, are_strangers: bool) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers.iter().filter(move |(_, peer)| {
            peer.conversation.door() == door && peer.conversation.is_stranger() == are_strangers
        })
    }

    /// Finds a place for a newcomer.
    fn room_for_stranger(&self, door: Door, now: Duration) -> Opening {
        if self.peers_of(door, true).count() < self.strangers_max {
            return Opening::Free;
        }
        let mut networks: HashMap<IpAddr, usize> = HashMap::new();
        for (_, peer) in self.peers_of(door, true) {
            *networks.entry(network(peer.address.ip())).or_default() += 1;
        }
        let sparable = self
            .peers_of(door, true)
            .filter(|(_, peer)| peer.was_read)
            .filter_map(|(place, peer)| {
                let crowd = networks.get(&network(peer.address.ip()));
                let why = peer.conversation.sparable(now)?;
                Some((Reverse(crowd), why, peer.serial, place))
            });
        match sparable.min() {
            Some((_, _, _, place)) => Opening::Of(place),
            None => Opening::None,
        }
    }

    /// Finds a place for the peer at `place`, which has just shown a right.
    fn room_for_right(&self, place: usize, now: Duration) -> Opening {
        let door = self.peers[place].conversation.door();
        if self.peers_of(door, false).count() <= limits::ADMIN_CONNECTIONS_MAX {
            return Opening::Free;
        }
        let sparable = self
            .peers_of(door, false)
            .filter(|&(other, _)| other != place)
            .filter_map(|(other, peer)| {
                let why = peer.conversation.sparable(now)?;
                Some((why, peer.serial, other))
            });
        match sparable.min() {
            Some((_, _, other)) => Opening::Of(other),
            None => Opening::None,
        }
    }

    /// Ends a connection whose place is needed.
    fn spare(&mut self, place: usize) {
        let peer = self.peers.remove(place);
        self.stats.made_room(peer.conversation.door());
        log::debug!("admin: its place is needed: peer={}", peer.address);
    }

    fn welcome(
        &mut self,
        door: Door,
        mut stream: ClientStream,
        address: SocketAddr,
        now: Duration,
        registry: &Registry,
    ) -> io::Result<()> {
        let entry = self.peers.vacant_entry();
        let place = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, PollToken::Lobby(place).into(), interest)?;
        self.serial += 1;
        entry.insert(Peer {
            stream,
            address,
            conversation: Conversation::new(door, now),
            serial: self.serial,
            was_read: false,
            is_listed: false,
        });
        // Most clients have sent their request already.
        self.list(place);
        Ok(())
    }

    /// Returns the next command, as long as the turn's budget lasts.
    pub fn poll_command(&mut self, now: Duration) -> Option<(PeerId, Command)> {
        // A connection that stops because the budget is used up is listed again, behind those listed now.
        for _ in 0..self.work.len() {
            if self.budget.commands == 0 {
                return None;
            }
            let place = self.work.pop_front()?;
            let Some(peer) = self.peers.get_mut(place) else {
                continue;
            };
            peer.is_listed = false;
            let serial = peer.serial;
            let was_stranger = peer.conversation.is_stranger();
            peer.was_read |= self.budget.read_bytes > 0;
            let mut driven = peer.drive(
                now,
                &self.rules,
                &mut self.buffer,
                &mut self.budget,
                &self.stats,
            );
            let is_gone = matches!(driven, Driven::Gone);
            if was_stranger && !peer.conversation.is_stranger() && !is_gone {
                match self.room_for_right(place, now) {
                    Opening::Free => {}
                    Opening::Of(other) => self.spare(other),
                    Opening::None => {
                        self.peers[place].conversation.turn_away(now, &no_place());
                        driven = Driven::Cut;
                    }
                }
            }
            match driven {
                Driven::Blocked => {}
                Driven::Cut => self.list(place),
                Driven::Gone => {
                    self.peers.remove(place);
                }
                Driven::Command(command) => {
                    let cost = match command {
                        Command::Topics(_) | Command::Connections(_) => {
                            1 + limits::LISTING_COMMANDS
                        }
                        _ => 1,
                    };
                    self.budget.commands = self.budget.commands.saturating_sub(cost);
                    return Some((PeerId { place, serial }, command));
                }
            }
        }
        None
    }

    /// Answers a command, unless the connection has gone meanwhile.
    pub fn answer(&mut self, id: PeerId, now: Duration, response: &Response) {
        let peer = self.peers.get_mut(id.place);
        if let Some(peer) = peer.filter(|peer| peer.serial == id.serial) {
            peer.conversation.answer(now, response);
            self.list(id.place);
        }
    }

    /// Returns the address of a connection; `None` when the connection has gone.
    pub fn address(&self, id: PeerId) -> Option<SocketAddr> {
        let peer = self.peers.get(id.place)?;
        (peer.serial == id.serial).then_some(peer.address)
    }

    /// Gives a connection away.
    pub fn take(&mut self, id: PeerId) -> Option<(ClientStream, SocketAddr)> {
        self.address(id)?;
        let peer = self.peers.remove(id.place);
        Some((peer.stream, peer.address))
    }
}

/// A place for one more connection.
enum Opening {
    /// A place is free.
    Free,
    /// The peer at this place can be ended.
    Of(usize),
    /// There is no place for now.
    None,
}

/// The answer to a client with a right while all places are in use.
fn no_place() -> Response {
    let hint = format!(
        "close one of the {} connections to this listener, or try again in some seconds",
        limits::ADMIN_CONNECTIONS_MAX
    );
    let error = "all places of this listener are taken";
    Response::refusal(HttpStatus::ServiceUnavailable, error, &hint).closing()
}
