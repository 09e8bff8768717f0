//! Kept events, sent again to clients that come back or ask for them.
//!
//! A client that is to get kept events of a topic is not a member of the topic's audience yet. It is sent what is kept, a
//! step at a time, as its socket takes it, and becomes a member in the turn in which nothing is left. So it gets each event
//! once, in order, live ones behind kept ones, and a client that reads slowly fills no outbox with what it asked for.
//!
//! The events of all topics for which a client waits at the same time come in the order of their ids, and it becomes a member
//! of all of them together. A client of a stream has one position for all its topics, and that must not overtake one of
//! them.
//!
//! Events can be dropped from the history before the client has got them. Then it is told of a gap.
//!
//! Never here: which events are kept (`histories`), who waits for which of them (`subscribing`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use super::Engine;
use super::batch::Batch;
use super::ending::Ending;
use super::histories::ReplayStart;
use super::hub::Hub;
use super::link::{Sent, Stream, Unread};
use super::names::TopicId;
use super::session::{Encoding, PastEvent};
use super::slots::SlotId;
use crate::limits;
use crate::stats::{Counter, Gap};
use crate::wire::id::EventId;
use crate::wire::json;
use crate::wire::protocol::Protocol;

/// How far a client has got a topic's events.
#[derive(Debug)]
struct Cursor {
    /// Of the topic's ring when this was last looked at.
    generation: u32,
    /// The sequence of the last event that it has.
    after: u64,
    /// From this sequence on it was promised everything.
    promised: u64,
}

/// How far a client has got the events of each topic for which it waits.
type Cursors = BTreeMap<TopicId, Cursor>;

/// The topics for which one client waits.
#[derive(Debug, Default)]
struct Replay {
    /// Empty when the client waits no more. It is forgotten then, but not while it is on the list: a client that asks again
    /// and again would stand there many times.
    cursors: Cursors,
    /// True exactly when it is on the list of those that go on. It stands there once.
    is_listed: bool,
}

/// All clients that wait for kept events.
#[derive(Debug, Default)]
pub(super) struct Replays {
    clients: HashMap<SlotId, Replay>,
    /// Those that can go on. The others have to take what they are owed first.
    due: VecDeque<SlotId>,
}

impl Replays {
    /// Returns true while a client can go on.
    pub(super) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// For how many topics a client waits.
    pub(super) fn topics(&self, id: SlotId) -> usize {
        match self.clients.is_empty() {
            true => 0,
            false => self.clients.get(&id).map_or(0, |one| one.cursors.len()),
        }
    }

    /// Returns true when a client waits for this topic.
    pub(super) fn awaits(&self, id: SlotId, topic: TopicId) -> bool {
        let client = self.clients.get(&id);
        client.is_some_and(|one| one.cursors.contains_key(&topic))
    }

    /// Up to where a client has a topic's events for which it waits, in the epoch of the topic's ring.
    pub(super) fn position(&self, id: SlotId, topic: TopicId, hub: &Hub) -> Option<EventId> {
        let cursor = self.clients.get(&id)?.cursors.get(&topic)?;
        let ring = hub.history().ring(topic)?;
        Some(EventId {
            epoch: ring.epoch(),
            sequence: cursor.after,
        })
    }

    /// The topics for which a client waits.
    pub(super) fn awaited(&self, id: SlotId) -> impl Iterator<Item = TopicId> {
        let cursors = self.clients.get(&id).into_iter();
        cursors.flat_map(|one| one.cursors.keys().copied())
    }

    /// A client waits for the events of a topic from `start` on. From the sequence `promised` on it was promised everything.
    pub(super) fn add(&mut self, id: SlotId, topic: TopicId, start: ReplayStart, promised: u64) {
        let cursor = Cursor {
            generation: start.generation,
            after: start.after,
            promised,
        };
        let client = self.clients.entry(id).or_default();
        client.cursors.insert(topic, cursor);
        self.list(id);
    }

    /// A client may go on.
    pub(super) fn list(&mut self, id: SlotId) {
        if self.clients.is_empty() {
            return;
        }
        if let Some(client) = self.clients.get_mut(&id)
            && !std::mem::replace(&mut client.is_listed, true)
        {
            self.due.push_back(id);
        }
    }

    /// A client waits for a topic no more. Returns false when it did not.
    pub(super) fn cancel(&mut self, id: SlotId, topic: TopicId, hub: &mut Hub) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        let is_found = client.cursors.remove(&topic).is_some();
        if client.cursors.is_empty() {
            self.remove(id);
        }
        if is_found {
            hub.end_awaiting(topic);
        }
        is_found
    }

    /// A client waits for one of its topics no more. Returns false when it waits for none.
    pub(super) fn cancel_one(&mut self, id: SlotId, hub: &mut Hub) -> bool {
        let topic = match self.clients.is_empty() {
            true => None,
            false => self.awaited(id).next(),
        };
        topic.is_some_and(|topic| self.cancel(id, topic, hub))
    }

    /// The next client on the list that waits for something.
    fn next_due(&mut self) -> Option<SlotId> {
        while let Some(id) = self.due.pop_front() {
            if let Some(client) = self.clients.get_mut(&id) {
                client.is_listed = false;
                if !client.cursors.is_empty() {
                    return Some(id);
                }
                self.remove(id);
            }
        }
        None
    }

    /// Takes out all topics of a client.
    fn remove(&mut self, id: SlotId) -> Cursors {
        let Some(client) = self.clients.get_mut(&id) else {
            return Cursors::new();
        };
        let cursors = std::mem::take(&mut client.cursors);
        if !client.is_listed {
            self.clients.remove(&id);
            if self.clients.is_empty() {
                self.clients = HashMap::new();
            }
        }
        cursors
    }

    /// How many pairs of client and topic there are.
    pub(super) fn len(&self) -> usize {
        self.clients.values().map(|one| one.cursors.len()).sum()
    }

    /// All clients that wait.
    pub(super) fn clients(&self) -> impl Iterator<Item = SlotId> {
        let waiting = self.clients.iter();
        waiting.filter_map(|(&id, client)| (!client.cursors.is_empty()).then_some(id))
    }

    /// Checks that who is listed stands on the list, and stands there once.
    ///
    /// # Errors
    /// What does not agree.
    pub(super) fn audit(&self) -> Result<(), String> {
        let listed = self.clients.values().filter(|client| client.is_listed);
        match (listed.count(), self.due.len()) {
            (listed, due) if listed == due => Ok(()),
            (listed, due) => Err(format!("{listed} wait for kept events, {due} are listed")),
        }
    }
}

/// What a step of a client came to.
enum ReplayStep {
    /// Events to be sent.
    Events(Batch),
    /// The client has lost events of this topic.
    Gap(TopicId),
    /// The next event has to wait for room.
    NoRoom,
    /// It has everything.
    Done,
}

impl<S: Stream> Engine<S> {
    /// Sends kept events to clients that wait for them, as far as the turn's budget goes. The one that has waited longest
    /// comes first.
    pub(super) fn replay(&mut self) {
        if self.is_overdrawn() {
            return;
        }
        let mut left = limits::TURN_REPLAY_BYTES_MAX;
        for _ in 0..self.replays.due.len() {
            if left == 0 {
                return;
            }
            let Some(id) = self.replays.next_due() else {
                return;
            };
            left = left.saturating_sub(self.replay_step(id));
        }
    }

    /// Makes one step for a client. Answers what that cost in bytes.
    fn replay_step(&mut self, id: SlotId) -> usize {
        let Some(connection) = self.slots.get_mut(id) else {
            return 0;
        };
        let is_there = connection.link.unread != Unread::Gone;
        let encoding = connection.session.encoding();
        let Some(encoding) = encoding.filter(|_| is_there) else {
            return 0;
        };
        let owed = connection.link.outbox().owed_bytes();
        // Its socket takes bytes again some time, and then it is listed again.
        if owed >= limits::REPLAY_OWED_BYTES_MAX {
            return limits::REPLAY_TOPIC_BYTES;
        }
        let room = match owed {
            // An empty outbox holds every event, or its client has to go.
            0 => usize::MAX,
            owed => self.rules.outbox_bytes_max.saturating_sub(owed),
        };
        let Some(client) = self.replays.clients.get_mut(&id) else {
            return 0;
        };
        let cost = limits::REPLAY_COST_BYTES + client.cursors.len() * limits::REPLAY_TOPIC_BYTES;
        match next_step(&self.hub, &mut client.cursors, encoding, room) {
            ReplayStep::Events(batch) => {
                let bytes = batch.bytes().len();
                let events = batch.frames_from(0) as u64;
                self.desk.stats.add(Counter::EventsReplayed, events);
                self.desk.stats.add(Counter::Deliveries, events);
                // A client that does not take what it has asked for is read no further.
                let sent = connection.link.answer(batch, &mut self.desk);
                self.gaps.note(id, &mut self.desk.lost);
                match sent {
                    Sent::Fine => self.replays.list(id),
                    Sent::Failed(reason) => self.end(id, Ending::Lost(reason)),
                }
                cost + bytes
            }
            ReplayStep::Gap(topic) => {
                self.replays.list(id);
                self.tell_gap(id, topic, Gap::History);
                cost
            }
            ReplayStep::NoRoom => cost,
            ReplayStep::Done => {
                self.finish_replay(id, encoding);
                cost
            }
        }
    }

    /// A client has everything, and becomes a member of the topics that it has waited for.
    fn finish_replay(&mut self, id: SlotId, encoding: Encoding) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        for topic in self.replays.remove(id).into_keys() {
            let name = self.hub.name(topic);
            let own = &mut connection.audiences;
            self.hub.subscribe(id.index(), own, encoding, &name);
            self.hub.end_awaiting(topic);
        }
    }
}

/// The next events of all topics that a client waits for, in the order of their ids, as many as make one step; `room` is in
/// bytes.
fn next_step(hub: &Hub, cursors: &mut Cursors, encoding: Encoding, room: usize) -> ReplayStep {
    for (&topic, cursor) in &mut *cursors {
        if follow_ring(hub, topic, cursor) {
            return ReplayStep::Gap(topic);
        }
    }
    let history = hub.history();
    let mut waiting: Vec<_> = cursors
        .iter_mut()
        .filter_map(|(&topic, cursor)| {
            let ring = history.ring(topic)?;
            let events = ring.behind(cursor.after).peekable();
            Some((topic, cursor, ring, events))
        })
        .collect();
    // By generation and sequence, the oldest first.
    let mut next = BinaryHeap::new();
    for (index, (_, _, ring, events)) in waiting.iter_mut().enumerate() {
        if let Some(event) = events.peek() {
            next.push(Reverse((ring.generation(), event.sequence, index)));
        }
    }
    if next.is_empty() {
        return ReplayStep::Done;
    }
    let present = history.timeline().generation();
    let mut batch = Batch::default();
    let mut quoted_topic = String::new();
    let mut frame = Vec::new();
    while let Some(Reverse((generation, sequence, index))) = next.pop()
        && batch.bytes().len() < limits::REPLAY_STEP_BYTES
    {
        let (topic, cursor, ring, events) = &mut waiting[index];
        let Some(event) = events.next() else { continue };
        quoted_topic.clear();
        json::quote(&hub.name(*topic), &mut quoted_topic);
        // An older event must not take a client back from the position that it was told.
        let is_behind = encoding.protocol() == Protocol::Sse && sequence <= cursor.promised;
        let is_shown = generation == present && !is_behind;
        frame.clear();
        let past = PastEvent {
            quoted_topic: &quoted_topic,
            subscription: hub.known_subscription(*topic, encoding),
            id: is_shown.then(|| ring.id(event)),
            data: &event.data,
        };
        past.write(encoding, &mut frame);
        if batch.bytes().len() + frame.len() > room {
            break;
        }
        batch.push_frame(|out| out.extend_from_slice(&frame));
        cursor.after = sequence;
        if let Some(event) = events.peek() {
            next.push(Reverse((generation, event.sequence, index)));
        }
    }
    match batch.bytes().is_empty() {
        true => ReplayStep::NoRoom,
        false => ReplayStep::Events(batch),
    }
}

/// Brings a cursor in step with its topic's ring. Returns true when the client has lost events.
fn follow_ring(hub: &Hub, topic: TopicId, cursor: &mut Cursor) -> bool {
    let history = hub.history();
    let ring = history.ring(topic);
    let (generation, floor) = match ring {
        Some(ring) => (ring.generation(), ring.floor()),
        None => {
            let timeline = history.timeline();
            (timeline.generation(), timeline.forgotten().sequence())
        }
    };
    if generation != cursor.generation {
        // What was left of the older epoch is gone.
        let had_all = ring.is_some_and(|ring| ring.follows(cursor.generation, cursor.after));
        *cursor = Cursor {
            generation,
            after: floor,
            promised: floor,
        };
        return !had_all;
    }
    let has_lost = floor > cursor.after.max(cursor.promised);
    cursor.after = cursor.after.max(floor);
    has_lost
}
