//! The intake and the engine, joined: events go from the intake to the engine, wanted topics from the engine to
//! the sources.
//!
//! Never here: how events come in, and how they reach their subscribers.

use std::borrow::Cow;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::outside::Outside;
use super::report::Report;
use super::shutdown::Shutdown;
use super::turn::Core;
use crate::admin::sources::SourceRow;
use crate::engine::{Engine, Stream, TopicChange};
use crate::ingest::intake::{Sink, TakenEvent};
use crate::ingest::wanted::Wanted;
use crate::ingest::{Descriptor, Host, SourceId};
use crate::limits;
use crate::relay::{Relay, Subscribers};
use crate::stats::{Counter, Dropped, Ingest, PeerRefusal, Stats};
use crate::wire::envelope::Event;
use crate::wire::grant;
use crate::wire::id::{EventId, Numbering};

/// The engine, as the intake sees it.
struct Receiver<'a, S> {
    engine: &'a mut Engine<S>,
    stats: &'a Stats,
    report: &'a mut Report,
    shutdown: &'a Shutdown,
    relay: Option<&'a mut Relay>,
    ids: &'a mut Numbering,
}

impl<S: Stream> Sink for Receiver<'_, S> {
    fn has_room(&self) -> bool {
        self.shutdown.takes_events() && !self.engine.is_congested()
    }

    fn handle_event(&mut self, event: &Event<'_>, is_unasked: bool) -> TakenEvent {
        let id = self.ids.give(event.id);
        let event = &Event {
            topic: Cow::Borrowed(&*event.topic),
            id: Some(id),
            ..*event
        };
        TakenEvent {
            id,
            subscribers: self.hand_over(event, id, is_unasked),
        }
    }

    fn handle_missed(&mut self, topic: &str, from: &str) {
        self.report.missed(topic, from);
        self.engine.handle_missed(topic, self.ids.skip());
    }

    fn handle_dropped(&mut self, reason: Dropped, parts: &[&[u8]], from: &str) {
        self.report.dropped(reason, parts, from);
    }
}

impl<S: Stream> Receiver<'_, S> {
    /// Hands an event to clients and to other servers. Answers how many of both want it.
    fn hand_over(&mut self, event: &Event<'_>, id: EventId, is_unasked: bool) -> usize {
        let receivers = usize::from(self.relay(event, id));
        // The engine gets events that no client wants, too. A later rule may keep the topic. An engine that does not know
        // this id would then take an older one for the newest, and tell its client that nothing was missed.
        let published = self.engine.handle_event(event);
        let subscribers = published.subscribers + receivers;
        if subscribers == 0 && !published.is_kept {
            if is_unasked {
                self.stats.dropped(Dropped::Filtered);
            } else {
                self.stats.dropped(Dropped::NoSubscriber);
                self.report.undelivered(&event.topic);
            }
        }
        subscribers
    }

    /// Hands an event on to other servers. Returns true when one of them wants it.
    fn relay(&mut self, event: &Event<'_>, id: EventId) -> bool {
        let Some(relay) = &mut self.relay else {
            return false;
        };
        self.stats.count(Counter::Relayed);
        relay.publish(event, id, self.ids.own())
    }
}

/// The topics that sources are asked for: those of clients, in the first places, and those of other servers.
struct WantedTopics<'a, S> {
    engine: &'a Engine<S>,
    relay: Option<&'a Subscribers>,
}

impl<S: Stream> WantedTopics<'_, S> {
    /// Adds what clients want and what other servers want.
    fn sum(&self, clients: usize, servers: impl Fn(&Subscribers) -> usize) -> usize {
        clients + self.relay.map_or(0, servers)
    }
}

impl<S: Stream> Wanted for WantedTopics<'_, S> {
    fn is_wanted(&self, topic: &str) -> bool {
        // No publisher has events of the server's own topics.
        let is_relayed = self.relay.is_some_and(|relay| relay.wants(topic));
        !topic.starts_with(grant::OWN) && (is_relayed || self.engine.wants(topic))
    }

    fn wants_everything(&self) -> bool {
        self.engine.wants_unknown_topics() || self.relay.is_some_and(Subscribers::want_everything)
    }

    fn topics(&self) -> usize {
        self.sum(self.engine.topics(), Subscribers::len)
    }

    fn bytes(&self) -> usize {
        self.sum(self.engine.topic_bytes(), Subscribers::bytes)
    }

    fn places(&self) -> u32 {
        self.engine.topic_places() + self.relay.map_or(0, Subscribers::places)
    }

    fn topic_at(&self, place: u32) -> Option<Rc<str>> {
        match place.checked_sub(self.engine.topic_places()) {
            None => self.engine.topic_name_at(place),
            Some(place) => self.relay?.name_at(place),
        }
    }
}

/// The loop, as sources see it.
struct Loop<'a, O> {
    outside: &'a mut O,
    stats: &'a Stats,
    report: &'a mut Report,
    /// `Some` when connections were made; true when events may have been missed before one of them.
    joined: Option<bool>,
}

impl<O: Outside> Host for Loop<'_, O> {
    fn watch(&mut self, id: SourceId, descriptor: Descriptor, file: RawFd) -> io::Result<()> {
        self.outside.watch_source(id, descriptor, file)
    }

    fn unwatch(&mut self, file: RawFd) {
        self.outside.unwatch_source(file);
    }

    fn count(&mut self, counter: Counter, n: u64) {
        self.stats.add(counter, n);
    }

    fn note_joined(&mut self, is_gap: bool) {
        self.stats.add(Counter::SourceGaps, is_gap.into());
        self.joined = self.joined.max(Some(is_gap));
    }

    fn refused_peer(&mut self, kind: Ingest, name: &str, refusal: PeerRefusal) {
        self.stats.refused_peer(refusal);
        // A source that connects out says itself why it is not connected.
        if kind == Ingest::Pull {
            self.report.refused_peer(refusal, name);
        }
    }
}

impl<O: Outside> Core<O> {
    /// Has `outside` watch the descriptors of all sources. Before the first turn.
    ///
    /// # Errors
    /// Those of the sources and of the poller.
    pub fn watch_sources(&mut self, outside: &mut O) -> io::Result<()> {
        self.intake.watch(&mut Loop {
            outside,
            stats: &self.stats,
            report: &mut self.report,
            joined: None,
        })
    }

    /// Has the sources look after their connections.
    pub(super) fn tend_sources(&mut self, outside: &mut O) {
        let mut host = Loop {
            outside,
            stats: &self.stats,
            report: &mut self.report,
            joined: None,
        };
        self.intake.tend(self.moment.now, &mut host);
        if let Some(is_gap) = host.joined {
            self.engine.handle_source_joined(is_gap, self.ids.skip());
        }
    }

    /// Takes events in, as many as the turn's budget allows and as there is room for.
    pub(super) fn take_events(&mut self) {
        let mut receiver = Receiver {
            engine: &mut self.engine,
            stats: &self.stats,
            report: &mut self.report,
            shutdown: &self.shutdown,
            relay: self.relay.as_mut(),
            ids: &mut self.ids,
        };
        if self.intake.take(&mut receiver) {
            self.shutdown.note_event(self.moment.now);
        }
    }

    /// Tells the sources that filter which topics are wanted, as far as the turn's budget goes.
    pub(super) fn tell_sources(&mut self) {
        while let Some(change) = self.engine.poll_topic_change() {
            let (TopicChange::First(topic) | TopicChange::Last(topic)) = change;
            self.intake.note_topic(&topic);
        }
        if let Some(relay) = &mut self.relay {
            let mut budget = limits::TURN_RELAY_SUBSCRIPTIONS_MAX;
            relay.read(&mut budget, |topic| self.intake.note_topic(topic));
        }
        let wanted = WantedTopics {
            engine: &self.engine,
            relay: self.relay.as_ref().map(Relay::subscribers),
        };
        self.intake.tell(self.moment.now, &wanted);
    }

    /// Hands all events on to other servers, with `relay`. Before the first turn.
    ///
    /// # Errors
    /// Those of ZeroMQ and of the poller.
    pub fn set_relay(&mut self, relay: Relay, outside: &mut O) -> io::Result<()> {
        for (index, file) in relay.descriptors()?.into_iter().enumerate() {
            outside.watch_relay(index, file)?;
        }
        self.relay = Some(relay);
        Ok(())
    }

    /// The endpoints that other servers connect to, as bound.
    pub fn relays(&self) -> &[String] {
        self.relay.as_ref().map_or(&[], Relay::endpoints)
    }

    /// The endpoints that publishers push to, as bound.
    pub fn pulls(&self) -> Vec<&str> {
        let sources = self.intake.sources();
        let pulls = sources.filter(|source| source.kind() == Ingest::Pull);
        pulls.map(|source| source.name()).collect()
    }

    /// The sources, as operators see them.
    pub(super) fn source_rows(&self) -> Vec<SourceRow<'_>> {
        let rows = self.intake.sources().filter_map(|source| {
            Some(SourceRow {
                ingest: source.kind(),
                endpoint: source.name(),
                health: source.health(self.moment.now)?,
                lag: source.lag(self.moment.now),
            })
        });
        rows.collect()
    }
}
