//! The kept events of all topics, and what a client can get of them that comes back.
//!
//! All rings together have a bound in bytes: beyond it the oldest event of all is dropped, whatever its topic. The ring of a
//! topic whose last event is dropped stays, because it knows the floor; it goes when it is itself the oldest, and raises the
//! floor of all topics without a ring.
//!
//! A client can get what it has missed exactly when its position is of the present epoch, is not above the newest event, and
//! is not below any floor that concerns its topic: that of the ring, that of topics without a ring, and that of all topics,
//! which rises when the server may have missed events itself.
//!
//! Behind a relay, the servers agree on ids, but none receives all events. So there the position that a client is told is
//! one that other servers know too: its topic's newest event.
//!
//! Never here: names and rules of topics (`hub`), what is sent to whom (`replay`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::audiences::AudienceHash;
use super::names::TopicId;
use super::ring::{KeptEvent, Ring};
use super::timeline::Timeline;
use crate::limits;
use crate::wire::id::{Epoch, EventId};
use crate::wire::past::{Since, Unrecovered};
use crate::wire::topic_rule::TopicRule;

/// A topic's ring, and what its rule says.
#[derive(Debug)]
struct KeptTopic {
    ring: Ring,
    age_seconds: Option<u32>,
    /// In bytes, what it costs beside its events.
    own_bytes: usize,
}

/// How a topic's ring is counted and listed.
#[derive(Clone, Copy, Debug)]
struct Listing {
    /// Among all rings: the place of its oldest event, or of the last one that it had.
    place: (u32, u64),
    /// In which second its oldest event becomes too old.
    due: Option<u32>,
    events: usize,
    bytes: usize,
}

impl KeptTopic {
    fn listing(&self) -> Listing {
        let oldest = self.ring.oldest();
        let sequence = oldest.map_or(self.ring.floor(), |event| event.sequence);
        let due = |event: &KeptEvent| Some(event.second.saturating_add(self.age_seconds?));
        let events = self.ring.len();
        Listing {
            place: (self.ring.generation(), sequence),
            due: oldest.and_then(due),
            events,
            bytes: self.own_bytes + self.ring.data_bytes() + events * limits::KEPT_EVENT_BYTES,
        }
    }

    /// Keeps no more than its rule says.
    fn obey(&mut self, rule: &TopicRule) {
        self.age_seconds = rule.age_seconds;
        while self.ring.len() > rule.events_kept() {
            self.ring.drop_oldest();
        }
    }
}

/// A place between kept events of a topic.
#[derive(Clone, Copy, Debug)]
pub struct ReplayStart {
    /// The generation of the topic's ring.
    pub generation: u32,
    /// Behind the event with this sequence.
    pub after: u64,
}

/// What is kept of a topic, as an administrator sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeptView {
    /// In events.
    pub events: usize,
    /// In bytes, with what they cost beside their data.
    pub bytes: usize,
    /// In seconds, the age of the oldest one.
    pub age_seconds: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct Histories {
    timeline: Timeline,
    kept: HashMap<TopicId, KeptTopic, AudienceHash>,
    /// All rings, by [`Listing::place`]. No two of them have one place, because no two events of a generation have one
    /// sequence.
    order: BTreeMap<(u32, u64), TopicId>,
    /// Rings with an event that becomes too old, by [`Listing::due`].
    due: BTreeSet<(u32, TopicId)>,
    bytes: usize,
    bytes_max: usize,
    /// In bytes, the bound that counts at this moment. It is above `bytes_max` only after a reload with a lower one, while
    /// events go step by step.
    room: usize,
    events: usize,
    /// Topics whose ring has gone, until somebody asks.
    gone: Vec<TopicId>,
}

impl Histories {
    /// A history without events. `own` is the epoch of the ids that this server gives.
    pub fn new(own: Epoch) -> Self {
        Self {
            timeline: Timeline::new(own),
            kept: HashMap::default(),
            order: BTreeMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            bytes_max: limits::HISTORY_BYTES_MAX,
            room: limits::HISTORY_BYTES_MAX,
            events: 0,
            gone: Vec::new(),
        }
    }

    /// All rings together may have so many bytes. What is beyond that goes with [`Histories::drop_due`].
    pub fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
        self.room = bytes.max(self.bytes);
    }

    /// In bytes, all rings.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// In events, all rings.
    pub fn events(&self) -> usize {
        self.events
    }

    /// What is kept of a topic; `None` when it has no ring.
    pub fn view(&self, topic: TopicId, second: u32) -> Option<KeptView> {
        let kept = self.kept.get(&topic)?;
        let oldest = kept.ring.oldest();
        let Listing { events, bytes, .. } = kept.listing();
        Some(KeptView {
            events,
            bytes,
            age_seconds: oldest.map(|event| second.saturating_sub(event.second)),
        })
    }

    /// What all events have in common.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// What all events have in common, to tell what has happened to them.
    pub fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// Events of a topic were missed, just before the one that comes next. `at` is as in [`Timeline::note_gap`].
    pub fn note_missed(&mut self, topic: Option<TopicId>, at: Option<EventId>, now: Duration) {
        // The ring of another epoch goes with the event that comes next.
        let generation = self.timeline.generation();
        let kept = topic.and_then(|topic| self.kept.get_mut(&topic));
        let Some(kept) = kept.filter(|kept| kept.ring.generation() == generation) else {
            return self.timeline.note_gap(at, now);
        };
        kept.ring.note_missed(at.map(|at| at.sequence));
        if let Some(at) = at {
            self.timeline.note(at, now);
        }
    }

    /// Keeps an event of a topic whose name has so many bytes. The timeline must have it already.
    pub fn keep(
        &mut self,
        topic: TopicId,
        name_bytes: usize,
        rule: &TopicRule,
        (id, second, data): (EventId, u32, &str),
    ) {
        let event = KeptEvent {
            sequence: id.sequence,
            second,
            data: data.into(),
        };
        if self.present_ring(topic).is_some() {
            self.change(topic, |kept| {
                kept.ring.push(event);
                kept.obey(rule);
            });
        } else {
            let older = self.forget(topic);
            let timeline = &self.timeline;
            let (epoch, generation) = (timeline.epoch(), timeline.generation());
            let forgotten = timeline.forgotten().sequence();
            let floor = forgotten.min(id.sequence - 1);
            let mut kept = KeptTopic {
                ring: Ring::new(epoch, generation, floor, older.as_ref()),
                age_seconds: None,
                own_bytes: limits::KEPT_TOPIC_BYTES + name_bytes,
            };
            kept.ring.note_missed(Some(forgotten));
            kept.ring.push(event);
            kept.obey(rule);
            self.enlist(topic, kept.listing());
            self.kept.insert(topic, kept);
        }
        self.make_room();
    }

    /// Another rule counts for a topic, or the same.
    pub fn set_rule(&mut self, topic: TopicId, rule: &TopicRule) {
        self.change(topic, |kept| kept.obey(rule));
    }

    /// Changes a topic's ring, and what is counted and listed with it.
    fn change(&mut self, topic: TopicId, change: impl FnOnce(&mut KeptTopic)) {
        let Some(kept) = self.kept.get_mut(&topic) else {
            return;
        };
        let before = kept.listing();
        change(kept);
        let after = kept.listing();
        // Most events change nothing about the oldest one.
        if (before.place, before.due) == (after.place, after.due) {
            self.bytes = self.bytes - before.bytes + after.bytes;
            self.events = self.events - before.events + after.events;
            return;
        }
        self.delist(topic, before);
        self.enlist(topic, after);
    }

    fn enlist(&mut self, topic: TopicId, listing: Listing) {
        self.bytes += listing.bytes;
        self.events += listing.events;
        let other = self.order.insert(listing.place, topic);
        debug_assert!(other.is_none(), "no two topics have one event");
        self.due.extend(listing.due.map(|due| (due, topic)));
    }

    fn delist(&mut self, topic: TopicId, listing: Listing) {
        self.bytes -= listing.bytes;
        self.events -= listing.events;
        self.order.remove(&listing.place);
        if let Some(due) = listing.due {
            self.due.remove(&(due, topic));
        }
    }

    /// Drops the oldest event of a topic.
    fn drop_oldest(&mut self, topic: TopicId) {
        self.change(topic, |kept| {
            kept.ring.drop_oldest();
        });
    }

    /// Forgets a topic's ring, and answers it. The floor of topics without a ring is not touched.
    pub fn forget(&mut self, topic: TopicId) -> Option<Ring> {
        let kept = self.kept.remove(&topic)?;
        self.delist(topic, kept.listing());
        Some(kept.ring)
    }

    fn make_room(&mut self) {
        while self.bytes > self.room && self.drop_oldest_of_all() {}
    }

    /// Drops the oldest event of all, or the ring that had it if that is empty by now. Returns false when there is nothing.
    fn drop_oldest_of_all(&mut self) -> bool {
        let Some((&(generation, sequence), &topic)) = self.order.first_key_value() else {
            return false;
        };
        let has_events = |kept: &KeptTopic| kept.ring.oldest().is_some();
        if self.kept.get(&topic).is_some_and(has_events) {
            self.drop_oldest(topic);
            return true;
        }
        if generation == self.timeline.generation() {
            self.timeline.forget(sequence);
        }
        self.forget(topic);
        self.gone.push(topic);
        true
    }

    /// Drops events that are too old and those for which there is no room any more, `limits::TURN_KEPT_DROPS_MAX` of them.
    pub fn drop_due(&mut self, second: u32) {
        for _ in 0..limits::TURN_KEPT_DROPS_MAX {
            match self.due.first() {
                Some(&(due, topic)) if due <= second => self.drop_oldest(topic),
                _ if self.bytes > self.bytes_max => {
                    self.drop_oldest_of_all();
                }
                _ => break,
            }
        }
        self.room = self.bytes_max.max(self.bytes);
    }

    /// In which second [`Histories::drop_due`] has something to do next; it may have passed. `None` while nothing is due.
    pub fn next_due(&self) -> Option<u32> {
        match self.bytes > self.bytes_max {
            true => Some(0),
            false => Some(self.due.first()?.0),
        }
    }

    /// The next topic whose ring has gone. Ask after each [`Histories::keep`] and [`Histories::drop_due`], before any
    /// topic may end.
    pub fn poll_forgotten(&mut self) -> Option<TopicId> {
        self.gone.pop()
    }

    /// All topics that have a ring.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.kept.keys().copied()
    }

    /// A topic's ring.
    pub fn ring(&self, topic: TopicId) -> Option<&Ring> {
        Some(&self.kept.get(&topic)?.ring)
    }

    /// A topic's ring, if its events are of the present epoch.
    pub fn present_ring(&self, topic: TopicId) -> Option<&Ring> {
        let generation = self.timeline.generation();
        self.ring(topic)
            .filter(|ring| ring.generation() == generation)
    }

    /// The place behind all kept events of a topic.
    pub fn end(&self, topic: TopicId) -> ReplayStart {
        match self.ring(topic) {
            Some(ring) => ReplayStart {
                generation: ring.generation(),
                after: ring.newest(),
            },
            None => ReplayStart {
                generation: self.timeline.generation(),
                after: self.timeline.newest(),
            },
        }
    }

    /// Judges whether a client can get all events of a topic behind its position, and returns that position. `topic` is
    /// `None` for one that has had no event; its events are kept, or would be.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn recover(&self, topic: Option<TopicId>, since: Since) -> Result<EventId, Unrecovered> {
        let Since::Position(position) = since else {
            return Err(Unrecovered::Unknown);
        };
        self.timeline.judge(position)?;
        let ring = topic.and_then(|topic| self.present_ring(topic));
        let forgotten = self.timeline.forgotten();
        let reaches = ring.map_or_else(
            || forgotten.allows(position.sequence),
            |ring| ring.reaches(position.sequence),
        );
        match reaches {
            true => Ok(position),
            false => Err(Unrecovered::Floor),
        }
    }

    /// From this sequence on all events of a topic are kept that came.
    fn floor(&self, topic: Option<TopicId>) -> u64 {
        let ring = topic.and_then(|topic| self.present_ring(topic));
        ring.map_or(self.timeline.forgotten().sequence(), Ring::complete_from)
    }

    /// The position of a client that has everything of a topic.
    pub fn position(&self, topic: Option<TopicId>) -> EventId {
        let timeline = &self.timeline;
        let sequence = match timeline.is_own() {
            true => timeline.newest(),
            false => {
                let ring = topic.and_then(|topic| self.present_ring(topic));
                let newest = ring.map_or(0, Ring::newest);
                newest
                    .max(self.floor(topic))
                    .max(timeline.floor().sequence())
            }
        };
        EventId {
            epoch: timeline.epoch(),
            sequence,
        }
    }

    /// Checks that what is counted and listed is what there is.
    ///
    /// # Errors
    /// What does not agree.
    pub fn audit(&self) -> Result<(), String> {
        let bytes: usize = (self.kept.keys())
            .filter_map(|&topic| Some(self.view(topic, 0)?.bytes))
            .sum();
        let events: usize = self.kept.values().map(|kept| kept.ring.len()).sum();
        if (bytes, events) != (self.bytes, self.events) {
            let counted = (self.bytes, self.events);
            return Err(format!(
                "{bytes} bytes, {events} events are kept, {counted:?} counted"
            ));
        }
        let is_listed = |(topic, kept): (&TopicId, &KeptTopic)| {
            let Listing { place, due, .. } = kept.listing();
            self.order.get(&place) == Some(topic)
                && due.is_none_or(|due| self.due.contains(&(due, *topic)))
        };
        if self.order.len() != self.kept.len() || !self.kept.iter().all(is_listed) {
            return Err("a ring is not listed as it should be".to_owned());
        }
        let due = self
            .kept
            .values()
            .filter(|kept| kept.listing().due.is_some());
        if self.due.len() != due.count() || self.bytes > self.room {
            return Err("too many rings are due, or too much is kept".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeline::SOURCE_SETTLES;
    use super::*;

    const OWN: u8 = 0;
    const RELAY: u8 = 1;

    fn id(epoch: u8, sequence: u64) -> EventId {
        let epoch = Epoch::new([epoch; 8]);
        EventId { epoch, sequence }
    }

    fn topic(n: u32) -> TopicId {
        TopicId::of_place(n)
    }

    /// Histories after each of whose changes everything agrees.
    struct World {
        histories: Histories,
        rule: TopicRule,
        now: Duration,
    }

    impl World {
        fn new(rule: &str) -> Self {
            Self {
                histories: Histories::new(Epoch::new([OWN; 8])),
                rule: TopicRule::parse(rule).expect("a rule"),
                now: Duration::from_secs(10),
            }
        }

        /// An event of a topic, whose name has 1 byte, with so many bytes of data.
        fn event(&mut self, n: u32, id: EventId, bytes: usize) {
            self.histories.timeline_mut().note(id, self.now);
            let event = (id, self.now.as_secs() as u32, &*"x".repeat(bytes));
            self.histories.keep(topic(n), 1, &self.rule, event);
            self.histories.audit().expect("agreement");
        }

        /// Events of a topic were missed to which a relay has given ids.
        fn note_missed(&mut self, n: Option<u32>) {
            let topic = n.map(topic);
            self.histories.note_missed(topic, None, self.now);
        }

        /// What becomes of a client that has everything up to there: where it goes on, or why it cannot.
        fn since(&self, n: u32, id: EventId) -> Result<u64, &'static str> {
            let recovered = (self.histories).recover(Some(topic(n)), Since::Position(id));
            recovered.map(|id| id.sequence).map_err(Unrecovered::name)
        }

        /// The sequences that are kept of a topic; `None` when it has no ring.
        fn kept(&self, n: u32) -> Option<Vec<u64>> {
            let ring = self.histories.ring(topic(n))?;
            Some(ring.behind(0).map(|event| event.sequence).collect())
        }
    }

    #[test]
    fn what_is_kept_is_counted_with_what_it_costs_and_the_oldest_goes_first_whatever_its_topic() {
        const EVENT: usize = 100 + limits::KEPT_EVENT_BYTES;
        const TOPIC: usize = 1 + limits::KEPT_TOPIC_BYTES;
        let mut world = World::new("* history=9");
        world.histories.set_bytes_max(3 * TOPIC + 4 * EVENT);
        for (sequence, n) in (1..).zip([1, 2, 1, 3]) {
            world.event(n, id(OWN, sequence), 100);
        }
        assert_eq!(world.histories.bytes(), 3 * TOPIC + 4 * EVENT);
        // The oldest event of all is one of topic 1, and the next one is all that topic 2 has.
        world.event(3, id(OWN, 5), 100);
        assert_eq!(
            (world.kept(1), world.kept(2)),
            (Some(vec![3]), Some(vec![2]))
        );
        world.event(3, id(OWN, 6), 100);
        assert_eq!((world.kept(2), world.histories.events()), (Some(vec![]), 4));
        assert_eq!(
            (world.since(1, id(OWN, 0)), world.since(1, id(OWN, 1))),
            (Err("floor"), Ok(1))
        );
        assert_eq!(
            (world.since(2, id(OWN, 1)), world.since(2, id(OWN, 2))),
            (Err("floor"), Ok(2))
        );
        assert_eq!(
            world.since(3, id(OWN, 0)),
            Ok(0),
            "nothing of it was dropped"
        );
        // An empty ring goes in its turn, and leaves its floor to all topics without a ring.
        world.event(3, id(OWN, 7), 100);
        assert_eq!((world.kept(2), world.kept(1)), (None, Some(vec![3])));
        assert_eq!(world.histories.poll_forgotten(), Some(topic(2)));
        assert_eq!(
            (world.since(2, id(OWN, 1)), world.since(9, id(OWN, 1))),
            (Err("floor"), Err("floor"))
        );
        assert_eq!(
            (world.since(2, id(OWN, 2)), world.since(9, id(OWN, 2))),
            (Ok(2), Ok(2))
        );
        // What comes later of such a topic does not lower it.
        world.event(2, id(OWN, 8), 1);
        assert_eq!(
            (world.since(2, id(OWN, 1)), world.since(2, id(OWN, 2))),
            (Err("floor"), Ok(2))
        );
        world.histories.set_bytes_max(0);
        world.histories.drop_due(0);
        assert_eq!((world.histories.bytes(), world.histories.events()), (0, 0));
        assert_eq!(
            (world.since(3, id(OWN, 7)), world.since(3, id(OWN, 8))),
            (Err("floor"), Ok(8))
        );
    }

    #[test]
    fn an_event_is_kept_for_as_long_as_its_rule_says() {
        let mut world = World::new("* history=9 age=5");
        for sequence in 1..=3 {
            world.event(1, id(OWN, sequence), 1);
            world.now += Duration::from_secs(1);
        }
        for (second, kept) in [(14, &[1, 2, 3][..]), (15, &[2, 3]), (99, &[])] {
            world.histories.drop_due(second);
            world.histories.audit().expect("agreement");
            assert_eq!(world.kept(1).as_deref(), Some(kept), "at {second}");
        }
        assert_eq!(
            (world.since(1, id(OWN, 2)), world.since(1, id(OWN, 3))),
            (Err("floor"), Ok(3))
        );
        let other = TopicRule::parse("* history=1").expect("a rule");
        for sequence in 4..=6 {
            world.event(1, id(OWN, sequence), 1);
        }
        world.histories.set_rule(topic(1), &other);
        world.histories.drop_due(u32::MAX);
        world.histories.audit().expect("agreement");
        assert_eq!(world.kept(1), Some(vec![6]));
    }

    /// Where a relay gives the ids, a client may come from another server with an id that this one has missed.
    #[test]
    fn nothing_is_recovered_from_the_middle_of_what_the_server_has_missed() {
        let mut world = World::new("* history=9");
        world.event(1, id(RELAY, 10), 1);
        world.event(2, id(RELAY, 110), 1);
        assert_eq!(world.since(1, id(RELAY, 110)), Ok(110));
        // Of topic 1 everything between 110 and 120 was missed.
        world.note_missed(Some(1));
        world.event(1, id(RELAY, 120), 1);
        for sequence in [110, 111, 118] {
            assert_eq!(
                world.since(1, id(RELAY, sequence)),
                Err("floor"),
                "{sequence}"
            );
            assert_eq!(
                world.since(2, id(RELAY, sequence)),
                Ok(sequence),
                "{sequence}"
            );
        }
        assert_eq!(world.since(1, id(RELAY, 119)), Ok(119));
        // Of topics without a ring nobody knows which events were missed.
        world.note_missed(None);
        world.event(2, id(RELAY, 130), 1);
        assert_eq!(
            (
                world.since(1, id(RELAY, 128)),
                world.since(2, id(RELAY, 128))
            ),
            (Err("floor"), Err("floor"))
        );
        assert_eq!(world.since(2, id(RELAY, 129)), Ok(129));
        // The connection was down, and the first event comes long after it was made again.
        (world.histories.timeline_mut()).note_source_joined(None, world.now);
        world.now += Duration::from_secs(60);
        world.event(1, id(RELAY, 140), 1);
        world.event(1, id(RELAY, 145), 1);
        for sequence in [130, 135, 138] {
            assert_eq!(
                world.since(1, id(RELAY, sequence)),
                Err("floor"),
                "{sequence}"
            );
        }
        assert_eq!(
            (
                world.since(1, id(RELAY, 139)),
                world.since(2, id(RELAY, 142))
            ),
            (Ok(139), Ok(142))
        );
    }

    /// The relay has started again, and what was missed of a topic is among the first events of its new run.
    #[test]
    fn what_was_missed_of_a_topic_is_not_forgotten_with_its_older_ring() {
        const AGAIN: u8 = 2;
        let mut world = World::new("* history=9");
        world.event(1, id(RELAY, 10), 1);
        world.event(2, id(RELAY, 11), 1);
        world.event(1, id(AGAIN, 1), 1);
        world.note_missed(Some(2));
        world.event(2, id(AGAIN, 3), 1);
        assert_eq!(world.since(2, id(AGAIN, 1)), Err("floor"));
        assert_eq!(world.since(2, id(AGAIN, 2)), Ok(2));
    }

    #[test]
    fn what_comes_while_publishers_learn_what_is_wanted_proves_nothing() {
        let mut world = World::new("* history=9");
        world.event(1, id(OWN, 1), 1);
        let at = Some(id(OWN, 2));
        world
            .histories
            .timeline_mut()
            .note_source_joined(at, world.now);
        // Whoever has everything before the gap does not have what was missed; whoever comes behind it misses nothing.
        let since = |world: &World, sequence| world.since(1, id(OWN, sequence));
        assert_eq!((since(&world, 1), since(&world, 2)), (Err("floor"), Ok(2)));
        world.event(1, id(OWN, 3), 1);
        assert_eq!((since(&world, 2), since(&world, 3)), (Err("floor"), Ok(3)));
        world.now += SOURCE_SETTLES;
        world.event(1, id(OWN, 4), 1);
        assert_eq!((since(&world, 2), since(&world, 3)), (Err("floor"), Ok(3)));
    }

    #[test]
    fn an_epoch_ends_what_was_before_it() {
        let mut world = World::new("* history=9");
        assert_eq!(world.since(1, id(OWN, 0)), Ok(0));
        assert_eq!(world.since(1, id(RELAY, 0)), Err("epoch"));
        assert_eq!(world.since(1, id(OWN, 1)), Err("unknown"));
        world.event(1, id(RELAY, 7), 1);
        world.event(2, id(RELAY, 8), 1);
        assert_eq!(
            (world.since(1, id(RELAY, 5)), world.since(1, id(RELAY, 6))),
            (Err("floor"), Ok(6))
        );
        assert_eq!(world.since(1, id(OWN, 0)), Err("epoch"));
        world.event(2, id(2, 3), 1);
        assert_eq!(world.since(1, id(RELAY, 8)), Err("epoch"));
        assert_eq!(
            (world.since(2, id(2, 1)), world.since(2, id(2, 2))),
            (Err("floor"), Ok(2))
        );
        // What is left of the older one is there for those who ask for the newest, and goes first.
        assert_eq!(
            (world.kept(1), world.kept(2)),
            (Some(vec![7]), Some(vec![3]))
        );
        let bytes = world.histories.bytes();
        world.histories.set_bytes_max(bytes - 1);
        world.histories.drop_due(0);
        assert_eq!(
            (world.kept(1), world.kept(2)),
            (Some(vec![]), Some(vec![3]))
        );
    }
}
