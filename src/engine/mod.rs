//! Ring 2: state and policy.
//!
//! [`Engine`] is the only door. What happens outside comes in through `handle_*` methods, what is to
//! be done outside is fetched with `poll_*`, and the phases of a turn are methods of their own: readiness
//! only marks, [`Engine::pay`] and [`Engine::read`] move bytes, [`Engine::flush`] writes events, and
//! [`Engine::reap`] alone frees places, so that no place changes its tenant inside a turn.
//!
//! Each phase has a budget. What a budget leaves over keeps its place on a list or in a round, and
//! [`Engine::poll_timeout`] then says that the next turn is due at once.
//!
//! Time, bytes, seed and verdicts are arguments, and a stream is anything that reads and writes. So
//! the whole engine runs in memory, in virtual time, with every fault that a test can think of.
//!
//! Never here: descriptors, `mio`, ZeroMQ, clocks, token stores.

mod addresses;
mod audiences;
mod audit;
mod batch;
pub mod deadlines;
mod ending;
mod flush;
mod hearing;
mod hub;
pub mod idset;
mod incidents;
mod lanes;
mod link;
mod merge;
mod names;
mod outbox;
mod overview;
mod paying;
mod reading;
mod relief;
mod review;
mod room;
mod round;
mod session;
mod slots;
#[cfg(test)]
mod tests;
mod topics;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use addresses::Addresses;
use batch::{Batch, Held};
use deadlines::Deadlines;
use ending::Parting;
use flush::{Recipients, WriteBudget};
use hub::Hub;
use idset::IdSet;
use link::{Desk, Link, Sent};
use reading::Reading;
use relief::Relief;
use room::Room;
use round::Round;
use session::{Breach, Session, Stage};
use slots::Slots;

pub use addresses::network;
pub use ending::Farewell;
pub use flush::Finished;
pub use hub::TopicChange;
pub use incidents::{Incidents, RefusedAddress, TopicOfToken};
pub use link::Stream;
pub use overview::{Busiest, ConnectionView, Filter};
pub use room::Vacancy;
pub use session::SessionRules;
pub use slots::SlotId;
pub use topics::TopicView;

use crate::limits;
use crate::standing::Applicant;
use crate::stats::{Close, Counter, Dropped, Refusal, Stats};
use crate::wire::envelope::Event;

/// The limits in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Those that concern one session's bytes.
    pub session: SessionRules,
    /// In connections.
    pub connections_max: usize,
    /// In connections of one address; 0 is no bound.
    pub connections_per_address_max: usize,
    /// In refused tokens a minute of one address; 0 is no bound.
    pub refused_tokens_max: u32,
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
            refused_tokens_max: 0,
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

/// A client whose token is to be judged. The answer goes to [`Engine::handle_verdict`], at once or later.
#[derive(Debug)]
pub struct Check {
    /// Where the answer goes.
    pub id: SlotId,
    /// What the client came with.
    pub applicant: Applicant,
}

/// One connection, in its place.
#[derive(Debug)]
struct Connection<S> {
    /// Its stream, and what that is owed.
    link: Link<S>,
    /// What was agreed on it.
    session: Session,
    /// The audiences that it is a member of.
    audiences: IdSet,
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
    addresses: Addresses,
    incidents: Incidents,
    room: Room,
    reading: Reading,
    /// Connections that are owed something and whose streams may take it. No other writable edge will come
    /// for them.
    payable: VecDeque<SlotId>,
    /// Connections whose end has begun, and which may have topics to leave.
    leaving: VecDeque<SlotId>,
    /// Connections whose places are to be freed.
    gone: VecDeque<SlotId>,
    /// True exactly when a sweep of the deadlines was cut by its budget.
    is_sweeping: bool,
    checks: VecDeque<Check>,
    /// Over sessions whose token may have lost its worth.
    review: Round,
    relief: Relief,
    parting: Parting,
    /// Over the connections that end at a shutdown.
    parting_round: Round,
    /// True exactly when no upgrade is let through any more.
    is_shutting_down: bool,
}

impl<S: Stream> Engine<S> {
    /// An engine without connections. `seed` should be random: session ids are made of it.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let expected = match rules.connections_max {
            max if max <= limits::CONNECTIONS_EXPECTED_MAX => max,
            _ => 0,
        };
        let mut engine = Self {
            seed,
            slots: Slots::with_room(expected),
            hub: Hub::new(rules.tells_topic_changes),
            deadlines: Deadlines::with_room(expected),
            desk: Desk {
                now: Duration::ZERO,
                stats: Stats::default(),
                held: Held::default(),
                outbox_bytes_max: rules.outbox_bytes_max,
                payment_left: limits::TURN_PAYMENT_BYTES_MAX,
            },
            rules: rules.clone(),
            addresses: Addresses::default(),
            incidents: Incidents::default(),
            room: Room::default(),
            reading: Reading::default(),
            payable: VecDeque::new(),
            leaving: VecDeque::new(),
            gone: VecDeque::new(),
            is_sweeping: false,
            checks: VecDeque::new(),
            review: Round::default(),
            relief: Relief::default(),
            parting: Parting::Unfinished,
            parting_round: Round::default(),
            is_shutting_down: false,
        };
        engine.set_rules(rules);
        engine
    }

    /// Puts other limits in the place of the present ones, for whatever comes next. Whether topic
    /// changes are told stays as it was.
    ///
    /// The addresses of all connections are counted anew only when they were not counted before, or when
    /// other proxies are trusted. That alone looks at every connection at once: an estimated 50 ms for a
    /// million.
    pub fn set_rules(&mut self, rules: Rules) {
        self.desk.outbox_bytes_max = rules.outbox_bytes_max;
        let was_counted = self.addresses.counts_connections()
            && self.rules.session.trusted_proxies == rules.session.trusted_proxies;
        self.rules = Rules {
            tells_topic_changes: self.rules.tells_topic_changes,
            ..rules
        };
        let Self {
            slots,
            addresses,
            rules,
            ..
        } = self;
        addresses.set_bounds(rules.connections_per_address_max, rules.refused_tokens_max);
        if addresses.counts_connections() && !was_counted {
            addresses.recount(
                slots
                    .iter()
                    .map(|(_, connection)| connection.link.peer().ip())
                    .filter(|&address| !rules.session.trusts(address)),
            );
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

    /// What has been counted, and the incidents that the report takes out.
    pub fn stats_and_incidents(&mut self) -> (&Stats, &mut Incidents) {
        (&self.desk.stats, &mut self.incidents)
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
        self.hub.is_congested() || self.is_overdrawn()
    }

    /// Whether outboxes hold more than they may, so that nothing may be added to them.
    fn is_overdrawn(&self) -> bool {
        self.relief.is_under_way() || self.desk.held.bytes() > self.rules.outboxes_bytes_max
    }

    /// A turn begins: the one time of all that happens in it, counted from the start.
    pub fn start_turn(&mut self, now: Duration) {
        debug_assert!(now >= self.desk.now, "time goes forward");
        self.desk.now = now;
        self.desk.payment_left = limits::TURN_PAYMENT_BYTES_MAX;
    }

    /// How long the loop may sleep: no time at all while work is left over, and for ever (`None`) while no
    /// deadline is set.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let is_left_over = self.reading.is_left()
            || !self.payable.is_empty()
            || !self.leaving.is_empty()
            || !self.gone.is_empty()
            || !self.checks.is_empty()
            || self.is_sweeping
            || self.review.is_under_way()
            || self.parting_round.is_under_way()
            || self.is_overdrawn();
        if is_left_over || !self.hub.is_done() {
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

    /// True once after so many topics have ended that their memory is worth giving back to the system.
    pub fn poll_freed(&mut self) -> bool {
        self.hub.poll_freed()
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
        if let Err(refusal) = self.admit(peer.ip()) {
            self.desk.stats.refused(refusal);
            let address = peer.ip().to_canonical();
            self.incidents.refused(address, refusal, None);
            return Err((stream, refusal));
        }
        let id = self.slots.insert(Connection {
            link: Link::new(stream, peer),
            session: Session::default(),
            audiences: IdSet::default(),
        });
        self.desk.stats.count(Counter::Connections);
        self.arm(id, self.rules.handshake_seconds);
        self.room.upgrading.push(id, self.desk.now);
        Ok(id)
    }

    /// Has a place for a newcomer of `address`, or says why there is none.
    fn admit(&mut self, address: IpAddr) -> Result<(), Refusal> {
        if self.is_shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        if !self.enter(address) {
            return Err(Refusal::AddressFull);
        }
        if self.is_full() && !self.make_room() {
            self.leave(address);
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Returns true when one more connection of `address` is within its bound, and counts it then. A
    /// proxy's own address is never counted: the client behind it is, once the upgrade has told its address.
    fn enter(&mut self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.rules.session.trusts(address) || self.addresses.enter(address)
    }

    /// The reverse of [`Engine::enter`], for a connection that was let in.
    fn leave(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        if !self.rules.session.trusts(address) {
            self.addresses.leave(address);
        }
    }

    fn arm(&mut self, id: SlotId, seconds: u32) {
        self.deadlines
            .set(id.index(), self.desk.now.as_secs(), seconds);
    }

    /// A publisher's event. It leaves with this turn's [`Engine::flush`]. Answers how many connections are
    /// subscribed to its topic; when none is, the event is dropped.
    pub fn handle_event(&mut self, event: &Event<'_>) -> usize {
        self.desk.stats.count(Counter::Events);
        let now = self.desk.now;
        let members = self.hub.publish(event, second(now), Some(now));
        if members == 0 {
            self.desk.stats.dropped(Dropped::NoSubscriber);
        }
        members
    }

    /// An event of the server's own, which is not counted as a publisher's. Answers how many connections are
    /// subscribed to its topic.
    pub fn handle_own_event(&mut self, event: &Event<'_>) -> usize {
        self.hub.publish(event, second(self.desk.now), None)
    }

    /// The next batch of events that has reached all its members in this turn's flush.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.hub.poll_finished()
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
            let state = connection.session.stage();
            let is_to_be_pinged = connection.session.note_silent();
            let is_owed = !connection.link.outbox().is_empty();
            let id = self.slots.id_at(index);
            match state {
                Stage::Upgrading => self.refuse(id, Refusal::Timeout),
                Stage::Checking => self.refuse(id, Refusal::AuthUnavailable),
                // A ping would wait behind what it has not taken. Bytes that it takes are a sign of life.
                Stage::Open if is_to_be_pinged && is_owed => self.arm(id, self.rules.pong_seconds),
                Stage::Open if is_to_be_pinged => self.ping(id),
                // Nobody is there to read a Close frame, and a client that is there after all
                // comes back only if it does not get one (wire.md s. 4).
                Stage::Open => self.lose(id, Close::PingTimeout),
                Stage::Closing => self.give_up(id),
            }
        }
    }

    fn ping(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        let mut frame = Vec::new();
        connection.session.ping(&mut frame);
        self.desk.stats.count(Counter::PingsSent);
        match connection.link.send(&frame, &mut self.desk) {
            Sent::Fine => self.arm(id, self.rules.pong_seconds),
            Sent::Failed(reason) => self.end(id, Ending::Lost(reason)),
        }
    }

    /// Hands the turn's events to their members, as far as a turn's budget goes.
    pub fn flush(&mut self) {
        if !self.hub.is_done() && !self.is_overdrawn() {
            self.deliver();
        }
        if self.is_overdrawn() {
            self.relieve();
        }
    }

    fn deliver(&mut self) {
        let budget = WriteBudget {
            writes: self.rules.turn_writes_max,
            bytes: limits::TURN_WRITE_BYTES_MAX,
        };
        let Self {
            hub, slots, desk, ..
        } = self;
        let mut open = Open {
            slots,
            desk,
            failed: BTreeMap::new(),
        };
        hub.run(budget, &mut open);
        let failed = open.failed;
        for (member, reason) in failed {
            let id = self.slots.id_at(member);
            self.end(id, Ending::Lost(reason));
        }
    }
}

/// The connections, while a flush serves them.
struct Open<'a, S> {
    slots: &'a mut Slots<Connection<S>>,
    desk: &'a mut Desk,
    /// Members that have failed in this flush. They are not written to again.
    failed: BTreeMap<u32, Close>,
}

impl<S: Stream> Recipients for Open<'_, S> {
    #[inline]
    fn audiences(&self, member: u32) -> Option<&IdSet> {
        Some(&self.slots.at(member)?.1.audiences)
    }

    #[inline]
    fn deliver(&mut self, member: u32, batch: &Rc<Batch>, from: usize) {
        let Some(connection) = self.slots.at_mut(member) else {
            return;
        };
        // A connection that is closing leaves its topics only at the end of this or a later turn.
        let is_open = connection.session.stage() == Stage::Open;
        if is_open
            && (self.failed.is_empty() || !self.failed.contains_key(&member))
            && let Sent::Failed(reason) = connection.link.deliver(batch, from, self.desk)
        {
            // The outbox of a slow consumer stays over its bound: where the turn ends no more of them, the next
            // event finds it so.
            let is_put_off =
                reason == Close::SlowConsumer && self.failed.len() >= limits::TURN_DISCONNECTS_MAX;
            if !is_put_off {
                self.failed.insert(member, reason);
            }
        }
    }
}

/// A moment as the number of its second.
fn second(now: Duration) -> u32 {
    now.as_secs() as u32
}

/// How a connection comes to its end.
#[derive(Debug)]
enum Ending {
    /// At once, without a word.
    Lost(Close),
    /// With an HTTP status. The address is the client's, of which a link behind a proxy may not know yet.
    Refused(Refusal, IpAddr),
    /// With the answer to a plain request.
    Served(Vec<u8>),
    /// With the answer to the peer's Close frame.
    PeerClosed(Option<u16>),
    /// Because its client broke a rule.
    Failed(Breach),
    /// Because its token has lost its worth.
    Withdrawn(Close),
    /// Because an administrator wants it to.
    Disconnected,
}
