//! The intake: takes events out of all sources, as many in a turn as the turn's budget allows and as there is
//! room for.
//!
//! The sources take turns: each turn begins with another one, so that a busy source does not use up every
//! budget. An event goes to a [`Sink`] as a value, and the sink's answer goes back to the source. Whatever a
//! message brings is counted here, once for all kinds of sources.
//!
//! Never here: descriptors, ZeroMQ, HTTP, topics and their subscribers.

use std::io;
use std::iter;
use std::rc::Rc;
use std::time::Duration;

use super::continuity::Continuity;
use super::http::{Http, Receipt};
use super::wanted::{TellBudget, Wanted};
use super::{Descriptor, Host, Received, Settlement, Source, SourceId};
use crate::limits;
use crate::stats::{Counter, Dropped, Ingest, Stats};
use crate::wire::envelope::{Event, Form};
use crate::wire::id::EventId;
use crate::wire::publication::{Events, Publication};

/// What an intake has to know of the configuration.
#[derive(Clone, Debug)]
pub struct IntakeRules {
    /// What an event has to be.
    pub form: Form,
    /// In messages a turn.
    pub turn_events_max: usize,
    /// In bytes of topics' names that publishers are told a turn.
    pub turn_topic_bytes_max: usize,
}

/// An event that was taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TakenEvent {
    /// Its id.
    pub id: EventId,
    /// How many connections are subscribed to its topic.
    pub subscribers: usize,
}

/// Where events go.
pub trait Sink {
    /// Returns true when one more message may be taken in now.
    fn has_room(&self) -> bool;

    /// An event came. `is_unasked` is true when the publisher sends events that newswire has not asked for.
    fn handle_event(&mut self, event: &Event<'_>, is_unasked: bool) -> TakenEvent;

    /// Events of `topic` were missed, and counted, which the source `from` had sent.
    fn handle_missed(&mut self, topic: &str, from: &str);

    /// A message of the source `from` was dropped, and counted.
    fn handle_dropped(&mut self, reason: Dropped, parts: &[&[u8]], from: &str);
}

/// All sources. `P` names a publisher that came by HTTP.
pub struct Intake<P> {
    sources: Vec<Box<dyn Source>>,
    http: Http<P>,
    stats: Rc<Stats>,
    rules: IntakeRules,
    /// Of each source, `http` included.
    continuity: Vec<Continuity>,
    /// The source that is asked first in this turn. `http` stands behind the others.
    first: usize,
}

impl<P: 'static> Intake<P> {
    /// An intake with `sources`, and with [`Http`].
    pub fn new(sources: Vec<Box<dyn Source>>, rules: IntakeRules, stats: Rc<Stats>) -> Self {
        let continuity = iter::repeat_with(Continuity::default).take(sources.len() + 1);
        Self {
            continuity: continuity.collect(),
            sources,
            stats,
            http: Http::default(),
            rules,
            first: 0,
        }
    }

    /// Puts other rules in the place of the present ones.
    pub fn set_rules(&mut self, rules: IntakeRules) {
        self.rules = rules;
    }

    /// The sources, except for [`Intake::http`].
    pub fn sources(&self) -> impl Iterator<Item = &dyn Source> {
        self.sources.iter().map(|source| &**source)
    }

    /// The source of events that come by HTTP.
    pub fn http(&mut self) -> &mut Http<P> {
        &mut self.http
    }

    /// Has `host` watch the descriptors of all sources that have some.
    ///
    /// # Errors
    /// Those of the source and of the poller.
    pub fn watch(&self, host: &mut dyn Host) -> io::Result<()> {
        let mut ids = (0..).map(SourceId);
        self.sources
            .iter()
            .zip(&mut ids)
            .try_for_each(|(source, id)| source.watch(id, host))
    }

    /// A descriptor of a source has changed.
    pub fn handle_readiness(&mut self, id: SourceId, descriptor: Descriptor) {
        if let Some(source) = self.sources.get_mut(id.0 as usize) {
            source.handle_readiness(descriptor);
        }
    }

    /// Has the sources look after their connections.
    pub fn tend(&mut self, now: Duration, host: &mut dyn Host) {
        let mut budget = limits::TURN_PEER_EVENTS_MAX;
        for (source, id) in self.sources.iter_mut().zip((0..).map(SourceId)) {
            source.tend(id, now, &mut budget, host);
        }
    }

    /// Takes messages in. Returns true when there was one.
    pub fn take(&mut self, sink: &mut impl Sink) -> bool {
        let mut budget = IntakeBudget {
            messages: self.rules.turn_events_max,
            bytes: limits::TURN_EVENT_BYTES_MAX,
        };
        let mut has_taken = false;
        let count = self.sources.len() + 1;
        self.first = (self.first + 1) % count;
        for index in (self.first..count).chain(0..self.first) {
            let source = match self.sources.get_mut(index) {
                Some(source) => &mut **source,
                None => &mut self.http,
            };
            let shared = Shared {
                form: &self.rules.form,
                stats: &self.stats,
                continuity: &mut self.continuity[index],
            };
            has_taken |= drain(source, shared, &mut budget, sink);
        }
        has_taken
    }

    /// The turn's flush is over.
    pub fn flushed(&mut self, now: Duration) {
        for source in &mut self.sources {
            source.flushed(now);
        }
        self.http.flushed(now);
    }

    /// A topic has its first subscriber, or the last subscriber has left it.
    pub fn note_topic(&mut self, topic: &Rc<str>) {
        self.continuity.iter_mut().for_each(|one| one.forget(topic));
        for source in &mut self.sources {
            source.note_topic(topic);
        }
    }

    /// Tells publishers which topics are wanted, as far as the turn's budget goes.
    pub fn tell(&mut self, now: Duration, wanted: &dyn Wanted) {
        let mut budget = TellBudget::new(self.rules.turn_topic_bytes_max);
        let count = self.sources.len();
        let first = self.first.checked_rem(count).unwrap_or(0);
        for index in (first..count).chain(0..first) {
            self.sources[index].tell(now, wanted, &mut budget);
        }
    }

    /// Returns true when a source may have a message for which nothing will wake the loop.
    pub fn is_ready(&self) -> bool {
        self.http.is_ready() || self.sources.iter().any(|source| source.is_ready())
    }

    /// How long the sources have nothing to do, messages aside.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        let sources = self.sources.iter().map(|source| source.timeout(now));
        sources.chain([self.http.timeout(now)]).flatten().min()
    }
}

/// What a turn may still take in.
struct IntakeBudget {
    messages: usize,
    bytes: usize,
}

impl IntakeBudget {
    fn is_left(&self) -> bool {
        self.messages > 0 && self.bytes > 0
    }

    fn take(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What all sources share.
struct Shared<'a> {
    form: &'a Form,
    stats: &'a Stats,
    continuity: &'a mut Continuity,
}

/// Takes in what a source has. Returns true when it had something.
fn drain(
    source: &mut dyn Source,
    shared: Shared<'_>,
    budget: &mut IntakeBudget,
    sink: &mut impl Sink,
) -> bool {
    let Shared {
        form,
        stats,
        continuity,
    } = shared;
    if !source.is_ready() {
        return false;
    }
    let kind = source.kind();
    let is_unasked = source.asks_for_everything();
    let mut has_taken = false;
    while budget.is_left() && sink.has_room() {
        let settlement = match source.receive() {
            None => break,
            // A part that is thrown away costs as much as a message.
            Some(Received::Surplus(bytes)) => {
                budget.take(1, bytes);
                has_taken = true;
                continue;
            }
            Some(Received::Message { from, parts }) => {
                budget.take(1, parts.iter().map(|part| part.len()).sum());
                stats.count(Counter::Ingested);
                match form.parse(&parts) {
                    Ok(event) => {
                        stats.ingested(kind);
                        let missed = continuity.note(&event);
                        if missed > 0 {
                            stats.add(Counter::Missed, missed);
                            sink.handle_missed(&event.topic, from);
                        }
                        sink.handle_event(&event, is_unasked);
                        Settlement::Taken
                    }
                    Err(reason) => {
                        stats.dropped(reason);
                        sink.handle_dropped(reason, &parts, from);
                        Settlement::Dropped(reason)
                    }
                }
            }
            Some(Received::Body { from, publication }) => Settlement::Body(take_body(
                publication,
                from,
                kind,
                form,
                budget,
                stats,
                sink,
            )),
        };
        has_taken = true;
        source.settle(settlement);
    }
    has_taken
}

/// Takes all events of a body in, or none.
fn take_body(
    publication: &Publication,
    from: &str,
    kind: Ingest,
    form: &Form,
    budget: &mut IntakeBudget,
    stats: &Stats,
    sink: &mut impl Sink,
) -> Receipt {
    let (is_batch, events) = match publication.parse(form) {
        Ok(Events::One(event)) => (false, vec![event]),
        Ok(Events::Batch(events)) => (true, events),
        Err(fault) => {
            budget.take(1, publication.bytes().len());
            stats.count(Counter::Ingested);
            stats.dropped(fault.reason);
            sink.handle_dropped(fault.reason, &[publication.bytes()], from);
            return Receipt::Bad(fault);
        }
    };
    budget.take(events.len(), publication.bytes().len());
    let taken = events.iter().map(|event| {
        stats.count(Counter::Ingested);
        stats.ingested(kind);
        sink.handle_event(event, false)
    });
    Receipt::Published {
        is_batch,
        events: taken.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::ingest::Parts;
    use crate::wire::id::Epoch;
    use crate::wire::publication::Media;

    /// A source whose messages stand in memory.
    struct Memory {
        name: &'static str,
        messages: VecDeque<Vec<u8>>,
        current: Vec<u8>,
        outcomes: Rc<std::cell::RefCell<Vec<String>>>,
    }

    impl Source for Memory {
        fn name(&self) -> &str {
            self.name
        }
        fn kind(&self) -> Ingest {
            Ingest::Pull
        }
        fn is_ready(&self) -> bool {
            !self.messages.is_empty()
        }
        fn receive(&mut self) -> Option<Received<'_>> {
            self.current = self.messages.pop_front()?;
            Some(Received::Message {
                from: self.name,
                parts: Parts::from_iter([&*self.current]),
            })
        }
        fn settle(&mut self, settlement: Settlement) {
            self.outcomes.borrow_mut().push(format!("{settlement:?}"));
        }
        fn flushed(&mut self, _: Duration) {
            self.outcomes.borrow_mut().push("flushed".to_owned());
        }
    }

    /// Takes so many more events.
    struct Room {
        left: usize,
        stats: Rc<Stats>,
        topics: Vec<String>,
        dropped: Vec<String>,
    }

    impl Sink for Room {
        fn has_room(&self) -> bool {
            self.left > 0
        }
        fn handle_event(&mut self, event: &Event<'_>, _: bool) -> TakenEvent {
            self.left -= 1;
            self.topics.push(event.topic.clone().into_owned());
            taken(self.topics.len())
        }
        fn handle_missed(&mut self, _: &str, _: &str) {}
        fn handle_dropped(&mut self, reason: Dropped, _: &[&[u8]], from: &str) {
            self.dropped.push(format!("{from} {}", reason.name()));
        }
    }

    /// The event of that number, which has as many subscribers.
    fn taken(number: usize) -> TakenEvent {
        TakenEvent {
            id: EventId {
                epoch: Epoch::new([0; 8]),
                sequence: number as u64,
            },
            subscribers: number,
        }
    }

    fn room(left: usize) -> Room {
        Room {
            left,
            stats: Rc::default(),
            topics: Vec::new(),
            dropped: Vec::new(),
        }
    }

    fn rules(turn_events_max: usize) -> IntakeRules {
        IntakeRules {
            form: Form {
                topic_field: "topic".to_owned(),
                event_bytes_max: 1_000,
                topic_bytes_max: 20,
            },
            turn_events_max,
            turn_topic_bytes_max: limits::TURN_TOPIC_BYTES_MAX,
        }
    }

    fn event(topic: &str) -> Vec<u8> {
        format!("{{\"topic\":\"{topic}\",\"data\":1}}").into_bytes()
    }

    type Outcomes = Rc<std::cell::RefCell<Vec<String>>>;

    fn memory(name: &'static str, messages: &[&str]) -> (Box<dyn Source>, Outcomes) {
        let outcomes = Outcomes::default();
        let memory = Memory {
            name,
            messages: messages.iter().map(|topic| event(topic)).collect(),
            current: Vec::new(),
            outcomes: Rc::clone(&outcomes),
        };
        (Box::new(memory), outcomes)
    }

    #[test]
    fn sources_take_turns_within_the_budget() {
        let (one, _) = memory("one", &["a1", "a2", "a3", "a4"]);
        let (two, _) = memory("two", &["b1", "b2"]);
        let mut sink = room(usize::MAX);
        let mut intake: Intake<()> = Intake::new(vec![one, two], rules(2), Rc::clone(&sink.stats));
        for _ in 0..3 {
            assert!(intake.take(&mut sink));
        }
        assert!(!intake.take(&mut sink) && !intake.is_ready());
        // The second turn begins with HTTP, which has nothing.
        assert_eq!(sink.topics, ["b1", "b2", "a1", "a2", "a3", "a4"]);
        assert_eq!(sink.stats.events(Ingest::Pull), 6);
    }

    #[test]
    fn a_source_learns_what_became_of_each_message_and_then_of_the_flush() {
        let (one, outcomes) = memory("one", &["a", ""]);
        let mut sink = room(usize::MAX);
        let mut intake: Intake<()> = Intake::new(vec![one], rules(10), Rc::clone(&sink.stats));
        intake.take(&mut sink);
        intake.flushed(Duration::ZERO);
        assert_eq!(*outcomes.borrow(), ["Taken", "Dropped(NoTopic)", "flushed"]);
        assert_eq!(sink.dropped, ["one no_topic"]);
        assert_eq!(sink.stats.counter(Counter::Ingested), 2);
        assert_eq!(sink.stats.drops(Dropped::NoTopic), 1);
    }

    #[test]
    fn while_there_is_no_room_messages_stay_with_their_source() {
        let (one, outcomes) = memory("one", &["a", "b"]);
        let mut sink = room(1);
        let mut intake: Intake<()> = Intake::new(vec![one], rules(10), Rc::clone(&sink.stats));
        assert!(intake.take(&mut sink));
        assert!(!intake.take(&mut sink) && intake.is_ready());
        assert_eq!(*outcomes.borrow(), ["Taken"]);
        sink.left = 1;
        assert!(intake.take(&mut sink));
        assert_eq!(sink.topics, ["a", "b"]);
    }

    #[test]
    fn a_body_is_taken_as_a_whole_or_not_at_all() {
        let mut sink = room(usize::MAX);
        let mut intake: Intake<u8> = Intake::new(Vec::new(), rules(2), Rc::clone(&sink.stats));
        let bodies = [
            "[{\"topic\":\"a\",\"data\":1},{\"topic\":\"b\",\"data\":1},{\"topic\":\"c\",\"data\":1}]",
            "[{\"topic\":\"d\",\"data\":1},{}]",
            "{\"topic\":\"e\",\"data\":1}",
        ];
        for (publisher, body) in (0..).zip(bodies) {
            let publication = Publication::new(body.into(), Media::Json);
            intake.http().push(publisher, Duration::ZERO, publication);
        }
        // The first one uses up the budget of its turn.
        intake.take(&mut sink);
        assert_eq!(sink.topics, ["a", "b", "c"]);
        intake.take(&mut sink);
        assert_eq!(sink.topics, ["a", "b", "c", "e"]);
        assert_eq!(sink.dropped, ["POST /publish no_topic"]);
        assert_eq!(sink.stats.counter(Counter::Ingested), 5);
        assert_eq!(sink.stats.events(Ingest::Http), 4);
        intake.flushed(Duration::ZERO);
        let receipts: Vec<_> = std::iter::from_fn(|| intake.http().poll_receipt()).collect();
        let published = |is_batch, numbers: &[usize]| Receipt::Published {
            is_batch,
            events: numbers.iter().copied().map(taken).collect(),
        };
        assert_eq!(receipts[0], (0, published(true, &[1, 2, 3])));
        assert!(matches!(receipts[1], (1, Receipt::Bad(_))));
        assert_eq!(receipts[2], (2, published(false, &[4])));
    }
}
