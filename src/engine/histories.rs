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
use crate::limits;
use crate::wire::id::{Epoch, EventId};
use crate::wire::past::{Since, Unrecovered};
use crate::wire::topic_rule::TopicRule;

/// How long after it was made a connection's publisher may not know yet which topics are wanted.
const SOURCE_SETTLES: Duration = Duration::from_millis(limits::SOURCE_SETTLES_MILLISECONDS);

/// What all events have in common.
#[derive(Debug)]
struct Timeline {
    /// The epoch of the last event, or the server's own.
    epoch: Epoch,
    /// Rises with each epoch.
    generation: u32,
    /// The sequence of the last event.
    newest: u64,
    /// Up to this sequence, the server may have missed events of any topic.
    floor: u64,
    /// True exactly when the server may have missed events of any topic whose numbers a relay has given: these are below
    /// that of the next event.
    has_gap: bool,
    /// The floor of topics without a ring.
    forgotten: u64,
    /// Until this moment the floor rises with each event: publishers were asked for topics so lately that some may not
    /// know it yet.
    settles_at: Duration,
}

/// A topic's ring, and what its rule says.
#[derive(Debug)]
struct KeptTopic {
    ring: Ring,
    age_seconds: Option<u32>,
    /// True exactly when events were missed whose numbers are below that of its next one.
    has_gap: bool,
    /// In bytes, what it costs beside its events.
    own_bytes: usize,
}

impl KeptTopic {
    /// Its place among all rings: that of its oldest event, or of the last one that it had.
    fn place(&self) -> (u32, u64) {
        let oldest = self.ring.oldest();
        let sequence = oldest.map_or(self.ring.floor, |event| event.sequence);
        (self.ring.generation, sequence)
    }

    /// In which second its oldest event becomes too old.
    fn due(&self) -> Option<u32> {
        let oldest = self.ring.oldest()?;
        Some(oldest.second.saturating_add(self.age_seconds?))
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
    own: Epoch,
    timeline: Timeline,
    kept: HashMap<TopicId, KeptTopic, AudienceHash>,
    /// All rings, by [`KeptTopic::place`]. No two of them have one place, because no two events of a generation have one
    /// sequence.
    order: BTreeMap<(u32, u64), TopicId>,
    /// Rings with an event that becomes too old, by [`KeptTopic::due`].
    due: BTreeSet<(u32, TopicId)>,
    bytes: usize,
    bytes_max: usize,
    events: usize,
    /// Topics whose ring has gone, until somebody asks.
    gone: Vec<TopicId>,
}

impl Histories {
    /// A history without events. `own` is the epoch of the ids that this server gives.
    pub fn new(own: Epoch) -> Self {
        Self {
            own,
            timeline: Timeline {
                epoch: own,
                generation: 0,
                newest: 0,
                floor: 0,
                has_gap: false,
                forgotten: 0,
                settles_at: Duration::ZERO,
            },
            kept: HashMap::default(),
            order: BTreeMap::new(),
            due: BTreeSet::new(),
            bytes: 0,
            bytes_max: limits::HISTORY_BYTES_MAX,
            events: 0,
            gone: Vec::new(),
        }
    }

    /// All rings together may have so many bytes.
    pub fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
        self.make_room();
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
        Some(KeptView {
            events: kept.ring.len(),
            bytes: kept.own_bytes
                + kept.ring.data_bytes()
                + kept.ring.len() * limits::KEPT_EVENT_BYTES,
            age_seconds: oldest.map(|event| second.saturating_sub(event.second)),
        })
    }

    /// An event came, whatever its topic.
    pub fn note(&mut self, id: EventId, now: Duration) {
        let timeline = &mut self.timeline;
        if timeline.epoch != id.epoch {
            // The first event of a relay's run says that its others are behind it. Own numbers may follow a relay's at any
            // moment, and nobody knows what the relay would have sent.
            let is_own = id.epoch == self.own;
            *timeline = Timeline {
                epoch: id.epoch,
                generation: timeline.generation + 1,
                newest: id.sequence,
                floor: id.sequence - u64::from(!is_own),
                has_gap: false,
                forgotten: 0,
                settles_at: timeline.settles_at,
            };
        }
        timeline.newest = id.sequence;
        if std::mem::take(&mut timeline.has_gap) {
            timeline.floor = id.sequence - 1;
        }
        if now < timeline.settles_at {
            timeline.floor = id.sequence;
        }
    }

    /// A connection to a publisher was made: events of any topic may have been missed before. They have used up the number
    /// `at`; `None` where a relay gives the numbers.
    pub fn note_source_joined(&mut self, at: Option<EventId>, now: Duration) {
        self.note_gap(at, now);
        self.timeline.settles_at = now + SOURCE_SETTLES;
    }

    /// An event was not kept, and somebody waits for events of its topic, which were kept until other rules came.
    pub fn note_unkept(&mut self, id: EventId) {
        self.timeline.forgotten = id.sequence;
    }

    /// Other rules count from now on. Events of topics without a ring were perhaps not kept until now.
    pub fn note_other_rules(&mut self) {
        self.timeline.forgotten = self.timeline.newest;
    }

    fn note_gap(&mut self, at: Option<EventId>, now: Duration) {
        match at {
            Some(at) => {
                self.note(at, now);
                self.timeline.floor = at.sequence;
            }
            None => self.timeline.has_gap = true,
        }
    }

    /// Events of a topic were missed, just before the one that comes next. `at` is as in
    /// [`Histories::note_source_joined`].
    pub fn note_missed(&mut self, topic: Option<TopicId>, at: Option<EventId>, now: Duration) {
        // The ring of another epoch goes with the event that comes next.
        let generation = self.timeline.generation;
        let kept = topic.and_then(|topic| self.kept.get_mut(&topic));
        let Some(kept) = kept.filter(|kept| kept.ring.generation == generation) else {
            return self.note_gap(at, now);
        };
        match at {
            Some(at) => {
                kept.ring.missed = at.sequence;
                self.note(at, now);
            }
            None => kept.has_gap = true,
        }
    }

    /// Keeps an event of a topic whose name has so many bytes. It must have been noted.
    pub fn keep(
        &mut self,
        topic: TopicId,
        name_bytes: usize,
        rule: &TopicRule,
        (id, second, data): (EventId, u32, &str),
    ) {
        let Timeline {
            epoch, generation, ..
        } = self.timeline;
        let is_of_epoch = |kept: &KeptTopic| kept.ring.generation == generation;
        if !self.kept.get(&topic).is_some_and(is_of_epoch) {
            let before = self.ring(topic);
            let before = before.map(|ring| (ring.generation, ring.newest()));
            self.forget(topic);
            let floor = self.timeline.forgotten;
            let own_bytes = limits::KEPT_TOPIC_BYTES + name_bytes;
            self.bytes += own_bytes;
            let mut ring = Ring::new(epoch, generation, floor);
            ring.before = before;
            let kept = KeptTopic {
                ring,
                age_seconds: None,
                has_gap: false,
                own_bytes,
            };
            self.kept.insert(topic, kept);
        } else {
            self.unlist(topic);
        }
        let Some(kept) = self.kept.get_mut(&topic) else {
            return;
        };
        if std::mem::take(&mut kept.has_gap) {
            kept.ring.missed = id.sequence - 1;
        }
        self.bytes += data.len() + limits::KEPT_EVENT_BYTES;
        self.events += 1;
        kept.ring.push(KeptEvent {
            sequence: id.sequence,
            second,
            data: data.into(),
        });
        self.obey(topic, rule);
        self.list(topic);
        self.make_room();
    }

    /// Another rule counts for a topic, or the same.
    pub fn set_rule(&mut self, topic: TopicId, rule: &TopicRule) {
        self.unlist(topic);
        self.obey(topic, rule);
        self.list(topic);
    }

    /// Keeps no more of a topic than its rule says. The topic is not listed meanwhile.
    fn obey(&mut self, topic: TopicId, rule: &TopicRule) {
        let Some(kept) = self.kept.get_mut(&topic) else {
            return;
        };
        kept.age_seconds = rule.age_seconds;
        while kept.ring.len() > rule.events_kept()
            && let Some(bytes) = kept.ring.drop_oldest()
        {
            self.bytes -= bytes + limits::KEPT_EVENT_BYTES;
            self.events -= 1;
        }
    }

    fn list(&mut self, topic: TopicId) {
        let Some(kept) = self.kept.get(&topic) else {
            return;
        };
        let other = self.order.insert(kept.place(), topic);
        debug_assert!(other.is_none(), "no two topics have one event");
        self.due.extend(kept.due().map(|due| (due, topic)));
    }

    fn unlist(&mut self, topic: TopicId) {
        let Some(kept) = self.kept.get(&topic) else {
            return;
        };
        self.order.remove(&kept.place());
        if let Some(due) = kept.due() {
            self.due.remove(&(due, topic));
        }
    }

    /// Drops the oldest event of a topic.
    fn drop_oldest(&mut self, topic: TopicId) {
        self.unlist(topic);
        let kept = self.kept.get_mut(&topic);
        if let Some(bytes) = kept.and_then(|kept| kept.ring.drop_oldest()) {
            self.bytes -= bytes + limits::KEPT_EVENT_BYTES;
            self.events -= 1;
        }
        self.list(topic);
    }

    /// Forgets a topic's ring. The floor of topics without a ring is not touched.
    pub fn forget(&mut self, topic: TopicId) {
        self.unlist(topic);
        if let Some(kept) = self.kept.remove(&topic) {
            self.bytes -= kept.own_bytes
                + kept.ring.data_bytes()
                + kept.ring.len() * limits::KEPT_EVENT_BYTES;
            self.events -= kept.ring.len();
        }
    }

    fn make_room(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((&(generation, sequence), &topic)) = self.order.first_key_value()
        {
            let has_events = |kept: &KeptTopic| kept.ring.oldest().is_some();
            if self.kept.get(&topic).is_some_and(has_events) {
                self.drop_oldest(topic);
                continue;
            }
            if generation == self.timeline.generation {
                self.timeline.forgotten = self.timeline.forgotten.max(sequence);
            }
            self.forget(topic);
            self.gone.push(topic);
        }
    }

    /// Drops events that are too old, `limits::TURN_KEPT_EXPIRIES_MAX` of them.
    pub fn expire(&mut self, second: u32) {
        for _ in 0..limits::TURN_KEPT_EXPIRIES_MAX {
            match self.due.first() {
                Some(&(due, topic)) if due <= second => self.drop_oldest(topic),
                _ => return,
            }
        }
    }

    /// The next topic whose ring has gone. Ask after each [`Histories::keep`] and [`Histories::set_bytes_max`], before any
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

    /// The place behind all kept events of a topic.
    pub fn end(&self, topic: TopicId) -> ReplayStart {
        match self.ring(topic) {
            Some(ring) => ReplayStart {
                generation: ring.generation,
                after: ring.newest(),
            },
            None => ReplayStart {
                generation: self.timeline.generation,
                after: self.timeline.newest,
            },
        }
    }

    /// Rises with each epoch.
    pub fn generation(&self) -> u32 {
        self.timeline.generation
    }

    /// The floor of topics without a ring.
    pub fn forgotten(&self) -> u64 {
        self.timeline.forgotten
    }

    /// From this sequence on a client of the present epoch can get all events of a topic whose events are kept.
    fn floor(&self, topic: Option<TopicId>) -> u64 {
        let ring = topic.and_then(|topic| self.ring(topic));
        let of_topic = match ring.filter(|ring| ring.generation == self.timeline.generation) {
            Some(ring) => ring.floor.max(ring.missed),
            None => self.timeline.forgotten,
        };
        of_topic.max(self.timeline.floor)
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
        if position.epoch != self.timeline.epoch {
            return Err(Unrecovered::Epoch);
        }
        if position.sequence > self.timeline.newest {
            return Err(Unrecovered::Unknown);
        }
        let kept = topic.and_then(|topic| self.kept.get(&topic));
        let has_gap = self.timeline.has_gap || kept.is_some_and(|kept| kept.has_gap);
        match !has_gap && position.sequence >= self.floor(topic) {
            true => Ok(position),
            false => Err(Unrecovered::Floor),
        }
    }

    /// The position of a client that has everything of a topic.
    pub fn position(&self, topic: Option<TopicId>) -> EventId {
        let epoch = self.timeline.epoch;
        let sequence = match epoch == self.own {
            true => self.timeline.newest,
            false => {
                let ring = topic.and_then(|topic| self.ring(topic));
                let ring = ring.filter(|ring| ring.generation == self.timeline.generation);
                let newest = ring.map_or(0, Ring::newest);
                newest.max(self.floor(topic))
            }
        };
        EventId { epoch, sequence }
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
            self.order.get(&kept.place()) == Some(topic)
                && kept
                    .due()
                    .is_none_or(|due| self.due.contains(&(due, *topic)))
        };
        if self.order.len() != self.kept.len() || !self.kept.iter().all(is_listed) {
            return Err("a ring is not listed as it should be".to_owned());
        }
        let due = self.kept.values().filter(|kept| kept.due().is_some());
        if self.due.len() != due.count() || self.bytes > self.bytes_max {
            return Err("too many rings are due, or too much is kept".to_owned());
        }
        Ok(())
    }
}
#[cfg(test)]
mod tests {
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
            self.histories.note(id, self.now);
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
            world.histories.expire(second);
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
        world.histories.expire(u32::MAX);
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
        world.histories.note_source_joined(None, world.now);
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
        world.histories.note_source_joined(at, world.now);
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
        assert_eq!(
            (world.kept(1), world.kept(2)),
            (Some(vec![]), Some(vec![3]))
        );
    }
}
