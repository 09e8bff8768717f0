//! From an event to the connections that receive it.
//!
//! Never here: who is owed what, in which order (`flush`), how an event is encoded (`session`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Engine;
use super::batch::Batch;
use super::connection::Connection;
use super::ending::Ending;
use super::flush::{Finished, Recipients, WriteBudget};
use super::gaps::Gaps;
use super::hub::Published;
use super::idset::IdSet;
use super::link::{Desk, Sent, Stream};
use super::session::Stage;
use super::slots::Slots;
use crate::limits;
use crate::stats::{Close, Counter};
use crate::wire::envelope::Event;

impl<S: Stream> Engine<S> {
    /// A publisher's event. It leaves with this turn's [`Engine::flush`]. When no connection is subscribed to its topic, and
    /// no rule keeps it, it goes no further; whether it counts as dropped is for the caller to say, who may have other
    /// receivers. An event without an id is never kept.
    pub fn handle_event(&mut self, event: &Event<'_>) -> Published {
        self.desk.stats.count(Counter::Events);
        self.hub.publish(event, self.desk.now, true)
    }

    /// An event of the server's own, which is not counted as a publisher's. Answers how many connections are
    /// subscribed to its topic.
    pub fn handle_own_event(&mut self, event: &Event<'_>) -> usize {
        let published = self.hub.publish(event, self.desk.now, false);
        published.subscribers
    }

    /// The next batch of events that has reached all its members in this turn's flush.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.hub.poll_finished()
    }

    /// Hands the turn's events to their members, as far as a turn's budget goes.
    pub fn flush(&mut self) {
        if !self.hub.is_done() && !self.is_overdrawn() {
            self.deliver();
        }
        if self.is_overdrawn() {
            self.relieve();
        }
        // Even when nothing is left to deliver: the members of a topic may have left it in this turn.
        let compressed = self.hub.finish_turn();
        self.desk.stats.add(Counter::EventsCompressed, compressed);
    }

    fn deliver(&mut self) {
        let budget = WriteBudget {
            writes: self.rules.turn_writes_max,
            bytes: limits::TURN_WRITE_BYTES_MAX,
        };
        let Self {
            hub,
            slots,
            desk,
            gaps,
            ..
        } = self;
        let mut open = OpenConnections {
            slots,
            desk,
            gaps,
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
struct OpenConnections<'a, S> {
    slots: &'a mut Slots<Connection<S>>,
    desk: &'a mut Desk,
    gaps: &'a mut Gaps,
    /// Members that have failed in this flush. They are not written to again.
    failed: BTreeMap<u32, Close>,
}

impl<S: Stream> Recipients for OpenConnections<'_, S> {
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
        if !is_open || !self.failed.is_empty() && self.failed.contains_key(&member) {
            return;
        }
        let sent = connection.link.deliver(batch, from, self.desk);
        if !self.desk.lost.is_empty() {
            self.gaps
                .note(self.slots.id_at(member), &mut self.desk.lost);
        }
        if let Sent::Failed(reason) = sent {
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
