//! What an administrator sees of the engine, a place at a time, and may do to one connection.
//!
//! A million connections or topics are looked at in pages: the caller names a place and comes back
//! for the next one, so no turn looks at all of them.
//!
//! Never here: HTTP, JSON, who is an administrator.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::audiences::AudienceId;
use super::ending::Ending;
use super::link::Stream;
use super::session::{Encoding, Stage};
use super::slots::SlotId;
use super::topic_rules::RuleView;
use super::topics::{TopicId, TopicView};
use super::{Engine, second};
use crate::stats::Close;

/// A connection, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its id.
    pub id: SlotId,
    /// Where it comes from; through a trusted proxy, with port 0.
    pub peer: SocketAddr,
    /// Its stage, in a word.
    pub state: &'static str,
    /// Its protocol, in a word; `None` unless it is open.
    pub protocol: Option<&'static str>,
    /// The name of its token; empty unless it is open.
    pub name: String,
    /// Since it was opened; `None` unless it is open.
    pub age: Option<Duration>,
    /// In topics.
    pub topics: usize,
    /// In bytes, what it is owed.
    pub outbox_bytes: usize,
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug)]
pub enum Filter<'a> {
    /// Those whose token has this name.
    Name(&'a str),
    /// Those that come from there; without a port, from any.
    Address(IpAddr, Option<u16>),
}

/// The topics that were the busiest when that was last asked: they may still be among them.
#[derive(Debug, Default)]
pub struct Busiest(Vec<TopicId>);

impl<S: Stream> Engine<S> {
    /// How many places there are for connections, taken or free.
    pub fn places(&self) -> u32 {
        self.slots.places()
    }

    /// The connection in a place.
    pub fn connection_at(&self, place: u32) -> Option<ConnectionView> {
        let (id, connection) = self.slots.at(place)?;
        let session = &connection.session;
        let age = |at| second(self.desk.now).saturating_sub(at);
        Some(ConnectionView {
            id,
            peer: connection.link.peer(),
            state: session.stage().name(),
            protocol: session.encoding().map(Encoding::name),
            name: session
                .standing()
                .map_or(String::new(), |standing| standing.name()),
            age: session
                .opened_at()
                .map(|at| Duration::from_secs(age(at).into())),
            topics: connection.audiences.len() + self.replays.topics(id),
            outbox_bytes: connection.link.outbox().owed_bytes(),
        })
    }

    /// Returns true when the connection in a place is meant, and has not begun to end.
    pub fn matches(&self, place: u32, whom: &Filter<'_>) -> bool {
        let Some((_, connection)) = self.slots.at(place) else {
            return false;
        };
        let (session, peer) = (&connection.session, connection.link.peer());
        session.stage() != Stage::Closing
            && match *whom {
                Filter::Name(name) => session.standing().is_some_and(|s| s.is_named(name)),
                Filter::Address(ip, port) => {
                    peer.ip() == ip && port.is_none_or(|port| peer.port() == port)
                }
            }
    }

    /// The names of the first `count` topics that a connection is subscribed to.
    pub fn topics_at(&self, place: u32, count: usize) -> Vec<Rc<str>> {
        let Some((_, connection)) = self.slots.at(place) else {
            return Vec::new();
        };
        let topics = connection.audiences.iter().take(count);
        topics
            .map(|audience| self.hub.name(AudienceId::of_number(audience).topic()))
            .collect()
    }

    /// Ends a connection, and tells its client so if the session is open. Returns false when it is not there any
    /// more, or ending already.
    pub fn disconnect(&mut self, id: SlotId) -> bool {
        match self.slots.get(id).map(|c| c.session.stage()) {
            None | Some(Stage::Closing) => return false,
            Some(Stage::Greeting | Stage::Open) => self.end(id, Ending::Disconnected),
            Some(Stage::Upgrading | Stage::Checking) => {
                self.end(id, Ending::Lost(Close::Disconnected));
            }
        }
        true
    }

    /// Ends the present tenant of a place that is taken.
    pub fn disconnect_at(&mut self, place: u32) -> bool {
        let id = self.slots.at(place).map(|(id, _)| id);
        id.is_some_and(|id| self.disconnect(id))
    }

    /// How many places there are for topics, taken or free.
    pub fn topic_places(&self) -> u32 {
        self.hub.topics().places()
    }

    /// The name of the topic in a place.
    pub fn topic_name_at(&self, place: u32) -> Option<Rc<str>> {
        self.hub.topics().name_at(place)
    }

    /// In bytes, the names of all topics.
    pub fn topic_bytes(&self) -> usize {
        self.hub.topics().name_bytes()
    }

    /// The topic in a place.
    pub fn topic_at(&self, place: u32) -> Option<TopicView> {
        self.hub.topic_view(place, second(self.desk.now))
    }

    /// Returns true when events of `topic` are wanted: it has a subscriber, or its events are kept.
    pub fn wants(&self, topic: &str) -> bool {
        self.hub.wants(topic)
    }

    /// Returns true when events are kept of topics whose names are not known.
    pub fn wants_unknown_topics(&self) -> bool {
        self.hub.topic_rules().keep_unknown_names()
    }

    /// The rules for topics, and what they have dropped.
    pub fn topic_rules(&self) -> &[RuleView] {
        self.hub.topic_rules().all()
    }

    /// In bytes, all kept events with what they cost beside their data.
    pub fn history_bytes(&self) -> usize {
        self.hub.history().bytes()
    }

    /// How many events are kept.
    pub fn history_events(&self) -> usize {
        self.hub.history().events()
    }

    /// How many connections are subscribed to `topic`.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.hub.topics().subscribers(topic)
    }

    /// Returns true while a connection is there, in whatever stage.
    pub fn has(&self, id: SlotId) -> bool {
        self.slots.get(id).is_some()
    }

    /// The topics with most events a second lately, `count` at the most.
    pub fn busiest(&mut self, count: usize, before: &mut Busiest) -> Vec<TopicView> {
        self.hub
            .busiest(count, second(self.desk.now), &mut before.0)
    }
}
