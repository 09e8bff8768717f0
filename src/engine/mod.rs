//! Ring 2: state and policy.
//!
//! [`Engine`] is the only door. What happens outside comes in through `handle_*` methods, what is to
//! be done outside is fetched with `poll_*`, and the phases of a turn are in `turn.rs`: readiness
//! only marks, [`Engine::take_in`] moves bytes, [`Engine::hand_out`] writes events, and
//! [`Engine::reap`] alone frees places, so that no place changes its tenant inside a turn.
//!
//! Each file below has one concern. Those at the bottom know nothing of the engine (sets of numbers, places,
//! batches); those at the top are methods of it. `tests/tidy.rs` says which file may import which.
//!
//! Each phase has a budget. What a budget leaves over keeps its place on a list or in a round, and
//! [`Engine::poll_timeout`] then says that the next turn is due at once.
//!
//! Time, bytes, seed and verdicts are arguments, and a stream is anything that reads and writes. So
//! the whole engine runs in memory, in virtual time, with every fault that a test can think of.
//!
//! Never here: descriptors, `mio`, ZeroMQ, clocks, token stores.

mod addresses;
mod admission;
mod audiences;
mod audit;
mod batch;
mod connection;
pub mod deadlines;
mod delivery;
mod ending;
mod expiry;
mod floor;
mod flush;
mod gaps;
mod handling;
mod histories;
mod hub;
pub mod idset;
mod incidents;
mod judging;
mod lanes;
mod link;
mod merge;
mod names;
mod outbox;
mod overview;
mod paying;
mod reading;
mod reaping;
mod relief;
mod replay;
mod review;
mod ring;
mod room;
mod round;
mod rules;
mod session;
mod shares;
mod shutdown;
mod slots;
mod subscribing;
mod subscription_ids;
#[cfg(test)]
mod tests;
mod timeline;
mod topic_rules;
mod topics;
mod turn;
mod walk;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use addresses::Addresses;
use batch::{Held, Losses};
use connection::Connection;
use deadlines::Deadlines;
use gaps::Gaps;
use hub::Hub;
use link::Desk;
use reading::Reading;
use reaping::Ebb;
use relief::Relief;
use replay::Replays;
use room::Sparable;
use round::Round;
use shutdown::Parting;
use slots::Slots;

pub use addresses::network;
pub use flush::Finished;
pub use histories::KeptView;
pub use hub::{Published, TopicChange};
pub use incidents::{Incidents, RefusedAddress, TopicOfToken};
pub use judging::Check;
pub use link::Stream;
pub use overview::{Busiest, ConnectionView, Filter};
pub use room::Vacancy;
pub use rules::Rules;
pub use session::SessionRules;
pub use shutdown::Farewell;
pub use slots::SlotId;
pub use topic_rules::RuleView;
pub use topics::TopicView;

use crate::limits;
use crate::stats::Stats;
use crate::wire::websocket::Inflater;

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
    inflater: Inflater,
    addresses: Addresses,
    incidents: Incidents,
    room: Sparable,
    reading: Reading,
    /// Connections that are owed something and whose streams may take it. No other writable edge will come
    /// for them.
    payable: VecDeque<SlotId>,
    /// Connections whose end has begun, and which may have topics to leave.
    leaving: VecDeque<SlotId>,
    /// Connections whose places are to be freed.
    gone: VecDeque<SlotId>,
    ebb: Ebb,
    /// True exactly when a sweep of the deadlines was cut by its budget.
    is_sweeping: bool,
    checks: VecDeque<Check>,
    /// Over sessions whose token may have ended.
    review: Round,
    relief: Relief,
    replays: Replays,
    gaps: Gaps,
    parting: Parting,
    /// Over the connections that end at a shutdown.
    parting_round: Round,
    /// True exactly when no upgrade is let through any more.
    is_shutting_down: bool,
}

impl<S: Stream> Engine<S> {
    /// An engine without connections. `seed` should be random: session ids are made of it.
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self::with_stats(rules, seed, Rc::default())
    }

    /// The same, with counters that others share.
    pub fn with_stats(rules: Rules, seed: u64, stats: Rc<Stats>) -> Self {
        let expected = match rules.connections_max {
            max if max <= limits::CONNECTIONS_EXPECTED_MAX => max,
            _ => 0,
        };
        let mut engine = Self {
            seed,
            slots: Slots::with_room(expected),
            hub: Hub::new(rules.tells_topic_changes, rules.epoch),
            deadlines: Deadlines::with_room(expected),
            desk: Desk {
                now: Duration::ZERO,
                stats,
                held: Held::default(),
                outbox_bytes_max: rules.outbox_bytes_max,
                payment_left: limits::TURN_PAYMENT_BYTES_MAX,
                lost: Losses::default(),
            },
            rules: rules.clone(),
            inflater: Inflater::default(),
            addresses: Addresses::default(),
            incidents: Incidents::default(),
            room: Sparable::default(),
            reading: Reading::default(),
            payable: VecDeque::new(),
            leaving: VecDeque::new(),
            gone: VecDeque::new(),
            ebb: Ebb::default(),
            is_sweeping: false,
            checks: VecDeque::new(),
            review: Round::default(),
            relief: Relief::default(),
            replays: Replays::default(),
            gaps: Gaps::default(),
            parting: Parting::Unfinished,
            parting_round: Round::default(),
            is_shutting_down: false,
        };
        // No event has come, so none was missed.
        let _ = engine.set_rules(rules);
        engine
    }

    /// Puts other limits in the place of the present ones, for everything that comes next. Only
    /// `tells_topic_changes` and `epoch` stay as they were.
    ///
    /// The addresses of all connections are counted anew only when they were not counted before, or when
    /// other proxies are trusted: an estimated 50 ms for a million. Other rules for topics are applied to kept events in the
    /// turns that follow. Nothing else takes time.
    ///
    /// Returns true when the rules for topics are others and sources filter by topic: then call
    /// [`Engine::handle_other_topics`].
    #[must_use = "the history promises too much otherwise"]
    pub fn set_rules(&mut self, rules: Rules) -> bool {
        self.desk.outbox_bytes_max = rules.outbox_bytes_max;
        self.hub.set_compress_bytes_min(rules.compress_bytes_min);
        let has_other_topics = self
            .hub
            .set_topic_rules(&rules.topics, rules.history_bytes_max);
        let was_counted = self.addresses.counts_connections()
            && self.rules.session.trusted_proxies == rules.session.trusted_proxies;
        self.rules = Rules {
            tells_topic_changes: self.rules.tells_topic_changes,
            epoch: self.rules.epoch,
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
        has_other_topics && self.rules.tells_topic_changes
    }

    /// What has been counted.
    pub fn stats(&self) -> &Stats {
        &self.desk.stats
    }

    /// The incidents, which the report takes out.
    pub fn incidents(&mut self) -> &mut Incidents {
        &mut self.incidents
    }

    /// How many connections there are, in whatever stage.
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

    /// Returns true when every event has reached its sockets.
    pub fn owes_nothing(&self) -> bool {
        self.hub.is_done() && self.desk.held.bytes() == 0
    }

    /// Returns true when so many events are on their way that no more should be handed in for now.
    pub fn is_congested(&self) -> bool {
        self.hub.is_congested() || self.is_overdrawn()
    }

    /// Returns true when outboxes hold more than they may, so that nothing may be added to them.
    fn is_overdrawn(&self) -> bool {
        self.relief.is_under_way() || self.desk.held.bytes() > self.rules.outboxes_bytes_max
    }

    /// The next topic that came or went, in their order.
    pub fn poll_topic_change(&mut self) -> Option<TopicChange> {
        self.hub.poll_change()
    }

    /// True once after so many topics or connections have ended that their memory is worth giving back to the system.
    pub fn poll_freed(&mut self) -> bool {
        self.hub.poll_freed() | self.ebb.take()
    }

    /// The transport of a connection, to register it once.
    pub fn stream_mut(&mut self, id: SlotId) -> Option<&mut S> {
        Some(&mut self.slots.get_mut(id)?.link.stream)
    }

    fn arm(&mut self, id: SlotId, seconds: u32) {
        self.deadlines
            .set(id.index(), self.desk.now.as_secs(), seconds);
    }
}

/// A moment as the number of its second.
fn second(now: Duration) -> u32 {
    now.as_secs() as u32
}
