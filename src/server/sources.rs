//! The intake and the engine, joined: events go from the intake to the engine, wanted topics from the engine to
//! the sources.
//!
//! Never here: how events come in, and how they reach their subscribers.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use super::outside::Outside;
use super::report::Report;
use super::shutdown::Shutdown;
use super::turn::Core;
use crate::admin::sources::SourceRow;
use crate::engine::{Engine, Stream, TopicChange};
use crate::ingest::intake::Sink;
use crate::ingest::wanted::Wanted;
use crate::ingest::{Descriptor, Host, SourceId};
use crate::stats::{Counter, Dropped, Ingest, PeerRefusal, Stats};
use crate::wire::envelope::Event;
use crate::wire::grant;

/// The engine, as the intake sees it.
struct Receiver<'a, S> {
    engine: &'a mut Engine<S>,
    stats: &'a Stats,
    report: &'a mut Report,
    shutdown: &'a Shutdown,
}

impl<S: Stream> Sink for Receiver<'_, S> {
    fn has_room(&self) -> bool {
        self.shutdown.takes_events() && !self.engine.is_congested()
    }

    fn handle_event(&mut self, event: &Event<'_>, is_unasked: bool) -> usize {
        if is_unasked && self.engine.subscribers(&event.topic) == 0 {
            self.stats.count(Counter::Events);
            self.stats.dropped(Dropped::Filtered);
            return 0;
        }
        let subscribers = self.engine.handle_event(event);
        if subscribers == 0 {
            self.report.undelivered(&event.topic);
        }
        subscribers
    }

    fn handle_dropped(&mut self, reason: Dropped, parts: &[&[u8]], from: &str) {
        self.report.dropped(reason, parts, from);
    }
}

/// The engine's topics, as those that sources are asked for.
struct WantedTopics<'a, S>(&'a Engine<S>);

impl<S: Stream> Wanted for WantedTopics<'_, S> {
    fn is_wanted(&self, topic: &str) -> bool {
        // No publisher has events of the server's own topics.
        !topic.starts_with(grant::OWN) && self.0.subscribers(topic) > 0
    }

    fn topics(&self) -> usize {
        self.0.topics()
    }

    fn bytes(&self) -> usize {
        self.0.topic_bytes()
    }

    fn places(&self) -> u32 {
        self.0.topic_places()
    }

    fn topic_at(&self, place: u32) -> Option<Rc<str>> {
        self.0.topic_name_at(place)
    }
}

/// The loop, as sources see it.
struct Loop<'a, O> {
    outside: &'a mut O,
    stats: &'a Stats,
    report: &'a mut Report,
}

impl<O: Outside> Host for Loop<'_, O> {
    fn watch(&mut self, id: SourceId, descriptor: Descriptor, file: RawFd) -> io::Result<()> {
        self.outside.watch_source(id, descriptor, file)
    }

    fn unwatch(&mut self, file: RawFd) {
        self.outside.unwatch_source(file);
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
        })
    }

    /// Has the sources look after their connections.
    pub(super) fn tend_sources(&mut self, outside: &mut O) {
        let host = &mut Loop {
            outside,
            stats: &self.stats,
            report: &mut self.report,
        };
        self.intake.tend(self.moment.now, host);
    }

    /// Takes events in, as many as the turn's budget allows and as there is room for.
    pub(super) fn take_events(&mut self) {
        let mut receiver = Receiver {
            engine: &mut self.engine,
            stats: &self.stats,
            report: &mut self.report,
            shutdown: &self.shutdown,
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
        self.intake
            .tell(self.moment.now, &WantedTopics(&self.engine));
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
            })
        });
        rows.collect()
    }
}
