//! Ring 2: state and policy.
//!
//! [`Engine`] is the only door. What happens outside comes in through `handle_*` methods, what is to
//! be done outside is fetched with `poll_*`, and [`Engine::flush`] and [`Engine::reap`] end a turn:
//! readiness only reads and marks, `flush` writes events, and `reap` alone frees places, so that no
//! place changes its tenant inside a turn.
//!
//! Time, bytes, seed and verdicts are arguments, and a stream is anything that reads and writes. So
//! the whole engine runs in memory, in virtual time, with every fault that a test can think of.
//!
//! Never here: descriptors, `mio`, ZeroMQ, clocks, token stores.

mod audit;
pub mod deadlines;
mod ending;
mod flush;
mod hub;
pub mod idset;
mod link;
mod outbox;
mod session;
mod slots;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use deadlines::Deadlines;
use flush::Budget;
use hub::Hub;
use idset::IdSet;
use link::{Desk, Link, Sent};
use outbox::Held;
use session::{Failure, Noted, Session, State, Step};
use slots::Slots;

pub use ending::Farewell;
pub use hub::TopicChange;
pub use link::Stream;
pub use session::SessionRules;
pub use slots::SlotId;

use crate::limits;
use crate::stats::{Close, Counter, Drop, Refusal, Stats};
use crate::wire::envelope::Event;
use crate::wire::token::{Grant, Token, Verdict};
use crate::wire::websocket;

/// The limits in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Those that concern one session's bytes.
    pub session: SessionRules,
    /// In connections.
    pub connections_max: usize,
    /// In connections of one address; 0 is no bound.
    pub connections_per_address_max: usize,
    /// In subscriptions of one connection.
    pub subscriptions_max: usize,
    /// In bytes.
    pub topic_bytes_max: usize,
    /// In bytes, one outbox.
    pub outbox_bytes_max: usize,
    /// In bytes, all outboxes together.
    pub outboxes_bytes_max: usize,
    /// In seconds, for the head, and again for the verdict.
    pub handshake_seconds: u32,
    /// In seconds of silence.
    pub ping_seconds: u32,
    /// In seconds that a ping may stay unanswered.
    pub pong_seconds: u32,
    /// In seconds for the peer's half of a close.
    pub close_seconds: u32,
    /// In writes of events a turn.
    pub turn_writes_max: usize,
    /// True exactly when [`Engine::poll_topic_change`] will be asked.
    pub tells_topic_changes: bool,
}

impl Default for Rules {
    /// Those of [`limits`], for as many connections as there are descriptors.
    fn default() -> Self {
        Self {
            session: SessionRules::default(),
            connections_max: usize::MAX,
            connections_per_address_max: 0,
            subscriptions_max: limits::SUBSCRIPTIONS_MAX,
            topic_bytes_max: limits::TOPIC_BYTES_MAX,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            outboxes_bytes_max: limits::OUTBOXES_BYTES_MAX,
            handshake_seconds: limits::HANDSHAKE_SECONDS,
            ping_seconds: limits::PING_SECONDS,
            pong_seconds: limits::PONG_SECONDS,
            close_seconds: limits::CLOSE_SECONDS,
            turn_writes_max: limits::TURN_WRITES_MAX,
            tells_topic_changes: false,
        }
    }
}

/// A token to be judged. The answer goes to [`Engine::handle_verdict`], at once or later.
#[derive(Debug)]
pub struct Check {
    /// Whose.
    pub id: SlotId,
    /// What.
    pub token: Token,
    /// From where.
    pub peer: SocketAddr,
}

/// One connection, in its place.
#[derive(Debug)]
struct Connection<S> {
    /// Its stream, and what that is owed.
    link: Link<S>,
    /// What was agreed on it.
    session: Session,
    /// The topics that it is a member of.
    topics: IdSet,
}

// Two thirds of what an idle connection may cost (120 bytes); its share of the generations,
// deadlines, members and of the slab's growth fits into the rest.
const _: () = assert!(size_of::<Connection<u32>>() <= 80);

/// The server without its sockets.
#[derive(Debug)]
pub struct Engine<S> {
    rules: Rules,
    /// Makes session ids unique across processes.
    seed: u64,
    slots: Slots<Connection<S>>,
    hub: Hub,
    deadlines: Deadlines,
    desk: Desk,
    /// In connections of each address; empty while there is no bound on them.
    addresses: HashMap<IpAddr, usize>,
    /// Connections with unread bytes for which no readiness will come.
    again: VecDeque<SlotId>,
    /// Connections that leave their topics before the turn ends.
    leaving: Vec<SlotId>,
    /// Connections that are freed before the turn ends.
    gone: Vec<SlotId>,
    /// True exactly when a sweep of the deadlines was cut by its budget.
    is_sweeping: bool,
    checks: VecDeque<Check>,
    /// Into which every stream is read.
    read_buffer: Vec<u8>,
    /// True exactly when no upgrade is let through any more.
    is_shutting_down: bool,
}

impl<S: Stream> Engine<S> {
    /// An engine without connections. `seed` should be random: session ids are made of it.
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self {
            seed,
            slots: Slots::default(),
            hub: Hub::new(rules.tells_topic_changes),
            deadlines: Deadlines::default(),
            desk: Desk {
                now: Duration::ZERO,
                stats: Stats::default(),
                held: Held::default(),
                outbox_bytes_max: rules.outbox_bytes_max,
            },
            rules,
            addresses: HashMap::new(),
            again: VecDeque::new(),
            leaving: Vec::new(),
            gone: Vec::new(),
            is_sweeping: false,
            checks: VecDeque::new(),
            read_buffer: vec![0; limits::READ_BUFFER_BYTES],
            is_shutting_down: false,
        }
    }

    /// What has been counted.
    pub fn stats(&self) -> &Stats {
        &self.desk.stats
    }

    /// For the rings outside, which count here too.
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.desk.stats
    }

    /// How many connections there are, in whatever state.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// How many topics are alive.
    pub fn topics(&self) -> usize {
        self.hub.topics().len()
    }

    /// How many pairs of connection and topic there are.
    pub fn subscriptions(&self) -> usize {
        self.hub.topics().subscriptions()
    }

    /// In bytes, what all outboxes hold, a batch that many hold being counted once.
    pub fn outboxes_bytes(&self) -> usize {
        self.desk.held.bytes()
    }

    /// Whether every event has reached its sockets.
    pub fn owes_nothing(&self) -> bool {
        self.hub.is_done() && self.desk.held.bytes() == 0
    }

    /// Whether so many events are on their way that no more should be handed in for now.
    pub fn is_congested(&self) -> bool {
        self.hub.is_congested()
    }

    /// A turn begins: the one time of all that happens in it, counted from the start.
    pub fn start_turn(&mut self, now: Duration) {
        debug_assert!(now >= self.desk.now, "time goes forward");
        self.desk.now = now;
    }

    /// How long nothing will be due: no time at all while work is left over, and for ever while
    /// nobody waits for anything.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || !self.hub.is_done() || self.is_sweeping {
            return Some(Duration::ZERO);
        }
        let now = self.desk.now;
        self.deadlines
            .is_armed()
            .then(|| Duration::from_secs(now.as_secs() + 1) - now)
    }

    /// The next token to be judged.
    pub fn poll_check(&mut self) -> Option<Check> {
        self.checks.pop_front()
    }

    /// The next topic that came or went, in their order.
    pub fn poll_topic_change(&mut self) -> Option<TopicChange> {
        self.hub.poll_change()
    }

    /// The transport of a connection: to register it once.
    pub fn stream_mut(&mut self, id: SlotId) -> Option<&mut S> {
        Some(&mut self.slots.get_mut(id)?.link.stream)
    }

    /// A stream was accepted.
    ///
    /// # Errors
    /// Hands the stream back when there is no place for it: its peer is owed that refusal.
    pub fn handle_connection(
        &mut self,
        stream: S,
        peer: SocketAddr,
    ) -> Result<SlotId, (S, Refusal)> {
        let refusal = if self.is_shutting_down {
            Some(Refusal::ShuttingDown)
        } else if self.slots.len() >= self.rules.connections_max {
            Some(Refusal::Full)
        } else if !self.count_address(peer.ip()) {
            Some(Refusal::AddressFull)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.desk.stats.refused(refusal);
            return Err((stream, refusal));
        }
        let id = self.slots.insert(Connection {
            link: Link::new(stream, peer),
            session: Session::default(),
            topics: IdSet::default(),
        });
        self.desk.stats.count(Counter::Connections);
        self.arm(id, self.rules.handshake_seconds);
        Ok(id)
    }

    /// Whether one more connection of `address` is within its bound; if so it is counted.
    fn count_address(&mut self, address: IpAddr) -> bool {
        let max = self.rules.connections_per_address_max;
        if max == 0 {
            return true;
        }
        let count = self.addresses.entry(address.to_canonical()).or_default();
        if *count >= max {
            return false;
        }
        *count += 1;
        true
    }

    fn arm(&mut self, id: SlotId, seconds: u32) {
        self.deadlines
            .set(id.index(), self.desk.now.as_secs(), seconds);
    }

    /// A stream can be read. `ended` is true when its end may already be there, behind the bytes:
    /// then it is read until it says so, since no other readiness will come for that.
    pub fn handle_readable(&mut self, id: SlotId, ended: bool) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        self.read(id, ended, &mut buffer);
        self.read_buffer = buffer;
    }

    fn read(&mut self, id: SlotId, ended: bool, buffer: &mut [u8]) {
        for _ in 0..limits::TURN_READS_MAX {
            let Some(connection) = self.slots.get_mut(id) else {
                self.desk.stats.count(Counter::Stale);
                return;
            };
            if connection.session.state() == State::Checking {
                connection.session.note_unread();
                return;
            }
            match connection.link.stream.read(buffer) {
                Ok(0) => return self.lose(id, Close::PeerGone),
                Ok(n) => {
                    self.handle_bytes(id, &mut buffer[..n]);
                    // Less than there was room for: the socket is empty, and the next byte is a
                    // new edge.
                    if n < buffer.len() && !ended {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(id, Close::SocketError),
            }
        }
        self.again.push_back(id);
    }

    /// Goes on with the streams that were not read to their end.
    pub fn handle_again(&mut self) {
        for _ in 0..self.again.len() {
            if let Some(id) = self.again.pop_front() {
                self.handle_readable(id, true);
            }
        }
    }

    /// A stream takes bytes again.
    pub fn handle_writable(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            self.desk.stats.count(Counter::Stale);
            return;
        };
        let closing = connection.session.state() == State::Closing;
        if let Sent::Failed(reason) = connection.link.handle_writable(closing, &mut self.desk) {
            self.lose(id, reason);
        }
    }

    /// The bytes of one read.
    fn handle_bytes(&mut self, id: SlotId, bytes: &mut [u8]) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        if connection.session.state() == State::Open {
            connection.session.note_heard();
            self.arm(id, self.rules.ping_seconds);
        }
        let mut at = 0;
        while at < bytes.len() {
            let (taken, end) = self.step(id, &mut bytes[at..]);
            if let Some(end) = end {
                return self.end(id, end);
            }
            at += taken;
        }
    }

    /// One message of a connection, from its bytes to what it does.
    fn step(&mut self, id: SlotId, bytes: &mut [u8]) -> (usize, Option<End>) {
        let Some(connection) = self.slots.get_mut(id) else {
            return (bytes.len(), None);
        };
        let Connection {
            link,
            session,
            topics: own,
        } = connection;
        if session.state() == State::Checking {
            session.keep(bytes);
            return (bytes.len(), None);
        }
        let Self {
            hub,
            desk,
            checks,
            deadlines,
            rules,
            ..
        } = self;
        let (taken, step) = session.step(bytes, &rules.session);
        let Some(step) = step else {
            return (taken, None);
        };
        let mut sent = Sent::Fine;
        let mut end = None;
        match step {
            Step::Check(token) => {
                let tick = desk.now.as_secs();
                deadlines.set(id.index(), tick, rules.handshake_seconds);
                checks.push_back(Check {
                    id,
                    token,
                    peer: link.peer(),
                });
            }
            Step::Subscribe(topic) => {
                desk.stats.count(Counter::Messages);
                if topic.len() > rules.topic_bytes_max {
                    end = Some(End::Failed(Failure::Limit("topic too long")));
                } else if hub.subscribe(id.index(), own, &topic) {
                    desk.stats.count(Counter::Subscribes);
                    if own.len() > rules.subscriptions_max {
                        end = Some(End::Failed(Failure::Limit("too many subscriptions")));
                    }
                }
            }
            Step::Denied(topic) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::SubscribesDenied);
                log::debug!("denied: peer={} topic={topic:?}", link.peer());
            }
            Step::Unsubscribe(topic) => {
                desk.stats.count(Counter::Messages);
                if hub.unsubscribe(id.index(), own, &topic) {
                    desk.stats.count(Counter::Unsubscribes);
                }
            }
            Step::Noted(Noted::Prefix) => desk.stats.count(Counter::Messages),
            Step::Noted(Noted::Publish) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::ClientPublishes);
            }
            Step::Noted(Noted::Pong) => {}
            Step::Reply(frame) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::Calls);
                sent = link.send(frame, desk);
            }
            Step::Pong(payload) => {
                desk.stats.count(Counter::PingsReceived);
                sent = link.pong(payload, desk);
            }
            Step::Refuse(refusal) => end = Some(End::Refused(refusal)),
            Step::PeerClosed(code) => end = Some(End::PeerClosed(code)),
            Step::Fail(failure) => end = Some(End::Failed(failure)),
        }
        session.settle();
        if let Sent::Failed(reason) = sent {
            end = Some(End::Lost(reason));
        }
        (taken, end)
    }

    /// A publisher's event. It leaves with this turn's [`Engine::flush`]; false when nobody is
    /// subscribed, and it is dropped.
    pub fn handle_event(&mut self, event: &Event<'_>) -> bool {
        self.desk.stats.count(Counter::Events);
        let is_heard = self.hub.publish(event);
        if !is_heard {
            self.desk.stats.dropped(Drop::NoSubscriber);
        }
        is_heard
    }

    /// A store has judged a token. Whoever has left meanwhile is not missed.
    pub fn handle_verdict(&mut self, id: SlotId, verdict: Verdict) {
        let state = self.slots.get(id).map(|c| c.session.state());
        if state != Some(State::Checking) {
            self.desk.stats.count(Counter::Stale);
            return;
        }
        match verdict {
            Verdict::Accepted(grant) => self.open(id, grant),
            Verdict::Refused => self.refuse(id, Refusal::Token),
            Verdict::Unavailable => self.refuse(id, Refusal::AuthUnavailable),
        }
    }

    fn open(&mut self, id: SlotId, grant: Arc<Grant>) {
        let session_id = session_id(self.seed, id);
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        log::debug!(
            "open: peer={} name={:?}",
            connection.link.peer(),
            grant.name
        );
        let mut answer = Vec::with_capacity(256);
        let opened = connection.session.open(grant, &session_id, &mut answer);
        let Some((mut early, has_unread)) = opened else {
            return;
        };
        self.desk.stats.count(Counter::Handshakes);
        // 101 and WELCOME in one write.
        if let Sent::Failed(reason) = connection.link.send(answer, &mut self.desk) {
            return self.lose(id, reason);
        }
        self.arm(id, self.rules.ping_seconds);
        if !early.is_empty() {
            self.handle_bytes(id, &mut early);
        }
        if has_unread {
            self.again.push_back(id);
        }
    }

    /// Deals with the deadlines that have passed, as many as a turn's budget allows.
    pub fn expire(&mut self) {
        let mut expired = Vec::new();
        let tick = self.desk.now.as_secs();
        self.is_sweeping = !self
            .deadlines
            .expire(tick, limits::TURN_EXPIRIES_MAX, &mut expired);
        for index in expired {
            let Some(connection) = self.slots.at_mut(index) else {
                continue;
            };
            let state = connection.session.state();
            let is_to_be_pinged = connection.session.note_silent();
            let id = self.slots.id_at(index);
            match state {
                State::Upgrading => self.refuse(id, Refusal::Timeout),
                State::Checking => self.refuse(id, Refusal::AuthUnavailable),
                State::Open if is_to_be_pinged => self.ping(id),
                // Nobody is there to read a Close frame, and a client that is there after all
                // comes back only if it does not get one (wire.md s. 4).
                State::Open => self.lose(id, Close::PingTimeout),
                State::Closing => self.gone.push(id),
            }
        }
    }

    fn ping(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        let mut frame = Vec::new();
        websocket::encode_ping(&[], &mut frame);
        self.desk.stats.count(Counter::PingsSent);
        match connection.link.send(frame, &mut self.desk) {
            Sent::Fine => self.arm(id, self.rules.pong_seconds),
            Sent::Failed(reason) => self.lose(id, reason),
        }
    }

    /// Hands the turn's events to their members, as far as a turn's budget goes.
    pub fn flush(&mut self) {
        if self.hub.is_done() {
            return;
        }
        let budget = Budget {
            writes: self.rules.turn_writes_max,
            bytes: limits::TURN_WRITE_BYTES_MAX,
        };
        let Self {
            hub, slots, desk, ..
        } = self;
        let mut failed = Vec::new();
        hub.run(budget, |member, batch, from| {
            let Some(connection) = slots.at_mut(member) else {
                return;
            };
            // Whoever is closing leaves its topics only at the turn's end.
            if connection.session.state() == State::Open
                && let Sent::Failed(reason) = connection.link.deliver(batch, from, desk)
            {
                failed.push((member, reason));
            }
        });
        for (member, reason) in failed {
            let id = self.slots.id_at(member);
            self.end(id, End::Lost(reason));
        }
        if self.desk.held.bytes() > self.rules.outboxes_bytes_max {
            self.relieve();
        }
    }
}

/// How a connection comes to its end.
#[derive(Debug)]
enum End {
    /// At once, without a word.
    Lost(Close),
    /// With an HTTP status.
    Refused(Refusal),
    /// With the answer to the peer's Close frame.
    PeerClosed(Option<u16>),
    /// With a close code.
    Failed(Failure),
}

/// 96 bits in hexadecimal: a number of this process's and the slot's, both scrambled, so that they
/// are unique here and across processes and do not tell how many connections there are.
fn session_id(seed: u64, id: SlotId) -> String {
    // The finaliser of SplitMix64: a bijection, so different slots stay different.
    let scramble = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let process = scramble(!seed) >> 32;
    format!("{process:08x}{:016x}", scramble(seed ^ id.to_bits()))
}
