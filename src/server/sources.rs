//! The ZeroMQ sources in a turn: whose peers come and go, which publisher is connected to again, and which
//! topics they are asked for.
//!
//! A source that connects out has two halves: its present socket stands among all sources, and what
//! outlives that socket is its [`Sub`].
//!
//! Never here: events (the ingest takes those), and how a publisher is reached.

use std::rc::Rc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::sockets::ClientStream;
use super::{MONITORS, SOURCES, Server};
use crate::admin::sources::{Dialled, SourceRow};
use crate::engine::{Engine, TopicChange};
use crate::ingest::zeromq::ZeroMqSource;
use crate::ingest::zeromq::interest::{Budget, Scope, Wanted};
use crate::ingest::zeromq::monitor::PeerEvent;
use crate::ingest::zeromq::sub::Sub;
use crate::limits;
use crate::net::dial::State;
use crate::stats::Ingest;
use crate::wire::grant;

/// Watches the descriptors of the source with that number.
///
/// # Errors
/// Those of ZeroMQ and of the poller, with what could not be done.
pub(super) fn watch(
    registry: &Registry,
    index: usize,
    source: &ZeroMqSource,
) -> std::io::Result<()> {
    let (messages, peers) = source.descriptors().map_err(std::io::Error::other)?;
    for (descriptor, first) in [(messages, SOURCES), (peers, MONITORS)] {
        let token = Token(first + index);
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
    }
    Ok(())
}

/// The reverse of [`watch`], before the source is dropped.
fn unwatch(registry: &Registry, source: &ZeroMqSource) {
    let Ok((messages, peers)) = source.descriptors() else {
        return;
    };
    for descriptor in [messages, peers] {
        // One that was not watched needs nothing more.
        let _ = registry.deregister(&mut SourceFd(&descriptor));
    }
}

/// The engine's topics, as those that sources are asked for.
struct Topics<'a>(&'a Engine<ClientStream>);

impl Wanted for Topics<'_> {
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

impl Server {
    /// What outlives the sockets of the source with that number, where it connects out.
    fn sub(&self, index: usize) -> Option<&Sub> {
        self.subs.get(index.checked_sub(self.pulls.len())?)
    }

    /// How long the sources have nothing to do; events aside.
    pub(super) fn sources_timeout(&self) -> Option<Duration> {
        let now = self.moment.now;
        self.subs.iter().filter_map(|sub| sub.timeout(now)).min()
    }

    /// Reads who has connected to the sources, who has left, and who was refused.
    pub(super) fn watch_peers(&mut self) {
        let now = self.moment.now;
        let mut budget = limits::TURN_PEER_EVENTS_MAX;
        for (index, source) in self.sources.iter_mut().enumerate() {
            let sub = index.checked_sub(self.pulls.len());
            let mut sub = sub.and_then(|index| self.subs.get_mut(index));
            while source.monitor().is_ready() && budget > 0 {
                budget -= 1;
                let Some(Some(event)) = source.monitor_mut().poll() else {
                    continue;
                };
                if let PeerEvent::Refused(refusal) = event {
                    self.engine.stats_mut().refused_peer(refusal);
                    self.refused_peers[index] += 1;
                    if sub.is_none() {
                        self.report.refused_peer(refusal, source.endpoint());
                    }
                }
                if let Some(sub) = &mut sub {
                    sub.handle_peer(now, event);
                }
            }
        }
    }

    /// Connects to publishers that are not connected. After the peers' ends were read.
    pub(super) fn dial(&mut self) {
        let (now, registry) = (self.moment.now, self.poll.registry());
        for (index, sub) in self.subs.iter_mut().enumerate() {
            let index = self.pulls.len() + index;
            let Some(next) = sub.dial(now, &self.sources[index]) else {
                continue;
            };
            unwatch(registry, &self.sources[index]);
            if let Err(error) = watch(registry, index, &next) {
                log::error!("sub: endpoint={} error={error}", sub.endpoint());
            }
            self.sources[index] = next;
        }
    }

    /// Tells the sources that filter which topics are wanted, as far as the turn's budget goes.
    pub(super) fn tell_sources(&mut self) {
        while let Some(change) = self.engine.poll_topic_change() {
            let (TopicChange::First(topic) | TopicChange::Last(topic)) = change;
            for sub in &mut self.subs {
                sub.note_topic(&topic);
            }
        }
        let mut budget = Budget::default();
        let (now, wanted) = (self.moment.now, Topics(&self.engine));
        let count = self.subs.len();
        // Another source begins each turn, so that one does not use up every budget.
        let first = self.first_source.checked_rem(count).unwrap_or(0);
        for index in (first..count).chain(0..first) {
            let source = &mut self.sources[self.pulls.len() + index];
            self.subs[index].tell(now, source, &wanted, &mut budget);
        }
    }

    /// Returns true when the publisher of the source with that number was asked for everything: what nobody
    /// wants is to be expected then.
    pub(super) fn asks_for_everything(&self, index: usize) -> bool {
        self.sub(index).is_some_and(Sub::has_everything)
    }

    /// The sources, as operators see them.
    pub(super) fn source_rows(&self) -> Vec<SourceRow<'_>> {
        let now = self.moment.now;
        let rows = self.sources.iter().enumerate();
        let rows = rows.map(|(index, source)| {
            let sub = self.sub(index);
            let health = sub.map(|sub| sub.health(now));
            let is_away = health.is_some_and(|health| health.state != State::Connected);
            SourceRow {
                ingest: if sub.is_some() {
                    Ingest::Sub
                } else {
                    Ingest::Pull
                },
                endpoint: sub.map_or_else(|| source.endpoint(), Sub::endpoint),
                peers: if is_away { 0 } else { source.monitor().peers() },
                refused: self.refused_peers[index],
                dialled: health.map(|health| Dialled {
                    state: health.state.name(),
                    is_connected: health.state == State::Connected,
                    seconds: health.lasted.as_secs(),
                    trouble: health.trouble,
                    asks_for_everything: health.scope == Scope::Everything,
                    connects: health.connects,
                }),
            }
        });
        rows.collect()
    }
}
