//! How things are, as administrators and dashboards see it: numbers, lists of topics and connections, readiness.
//!
//! Never here: HTTP, and whatever changes something (`orders`).

use super::outside::Outside;
use super::turn::Core;
use crate::admin::Response;
use crate::admin::listing::{ConnectionRow, PageOfRows, PageRequest, TopicRow};
use crate::admin::metrics::Readings;
use crate::admin::sources::{self, SourceRow};
use crate::engine::{ConnectionView, TopicView};
use crate::limits;
use crate::relay::Relay;
use crate::stats::HttpStatus;

impl<O: Outside> Core<O> {
    /// How things are. `sources` may be empty where they are not shown.
    pub(super) fn readings<'a>(
        &'a self,
        sources: &'a [SourceRow<'a>],
        outside: &O,
    ) -> Readings<'a> {
        let connections = self.engine.connections();
        Readings {
            stats: &self.stats,
            latency: &self.pulse.latency,
            turns: &self.pulse.turns,
            connections,
            topics: self.engine.topics(),
            subscriptions: self.engine.subscriptions(),
            outboxes_bytes: self.engine.outboxes_bytes(),
            sources,
            relay_receivers: self.relay.as_ref().map_or(0, Relay::receivers),
            process: outside.process(connections),
        }
    }

    pub(super) fn readiness(&self, has_sources: bool) -> Response {
        // Every listener was bound before the first turn. A publisher that is away makes no server unready.
        if !self.shutdown.has_begun() {
            let sources = has_sources.then(|| self.source_rows());
            return sources::readiness(sources.as_deref());
        }
        Response::refusal(
            HttpStatus::ServiceUnavailable,
            "the server is going down",
            "send clients and events to another server for now",
        )
    }

    pub(super) fn list_topics(&self, page: PageRequest) -> Response {
        let mut listing = PageOfRows::new("topics", page);
        let next = walk(page.after, self.engine.topic_places(), |place| {
            if listing.is_full() {
                return false;
            }
            if let Some(topic) = self.engine.topic_at(place) {
                listing.push(&topic_row(&topic));
            }
            true
        });
        listing.finish(next)
    }

    pub(super) fn list_connections(&self, page: PageRequest) -> Response {
        let mut listing = PageOfRows::new("connections", page);
        let next = walk(page.after, self.engine.places(), |place| {
            if listing.is_full() {
                return false;
            }
            let Some(connection) = self.engine.connection_at(place) else {
                return true;
            };
            let names = self.engine.topics_at(
                place,
                if page.has_topics {
                    limits::ADMIN_NAMES_MAX
                } else {
                    0
                },
            );
            let mut row = connection_row(&connection);
            row.topic_names = page
                .has_topics
                .then(|| names.iter().map(|name| &**name).collect());
            listing.push(&row);
            true
        });
        listing.finish(next)
    }
}

/// Looks at places from `first` on, as long as `look` answers true, and not too long. Answers where to go on.
fn walk(first: u32, places: u32, mut look: impl FnMut(u32) -> bool) -> Option<u32> {
    let end = places.min(first.saturating_add(limits::TURN_PLACES_MAX));
    let next = (first..end).find(|&place| !look(place)).unwrap_or(end);
    (next < places).then_some(next)
}

pub(super) fn topic_row(topic: &TopicView) -> TopicRow<'_> {
    TopicRow {
        name: &topic.name,
        subscribers: topic.subscribers,
        events: topic.events,
        rate: topic.rate,
    }
}

fn connection_row(connection: &ConnectionView) -> ConnectionRow<'_> {
    ConnectionRow {
        id: (connection.id.index(), connection.id.generation()),
        address: connection.peer.to_string(),
        state: connection.state,
        name: &connection.name,
        age_seconds: connection.age.map(|age| age.as_secs()),
        topics: connection.topics,
        topic_names: None,
        outbox_bytes: connection.outbox_bytes,
    }
}
