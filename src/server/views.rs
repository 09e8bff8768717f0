//! How things are, as administrators and dashboards see it: numbers, lists of topics and connections, readiness.
//!
//! Never here: HTTP, and whatever changes something (`orders`).

use super::outside::Outside;
use super::turn::Core;
use crate::admin::Response;
use crate::admin::listing::{ConnectionRow, KeptRow, PageOfRows, PageRequest, TopicRow};
use crate::admin::readings::{Readings, RuleRow, WorkerRow};
use crate::admin::snapshot::{self, BusyTopic, Snapshot};
use crate::admin::sources::{self, SourceRow};
use crate::admin::vitals::BUSIEST_MAX;
use crate::engine::{ConnectionView, TopicView};
use crate::limits;
use crate::relay::Relay;
use crate::stats::{HttpStatus, Stats};
use crate::wire::topic_rule::SlowPolicy;

/// What [`Core::readings`] refers to and the core does not have.
#[derive(Default)]
pub(super) struct Gathered<'a> {
    /// Empty where sources are not shown.
    pub sources: Vec<SourceRow<'a>>,
    workers: Vec<WorkerRow>,
    /// The rules that drop events; with workers, what all of them have dropped.
    rules: Vec<RuleRow<'a>>,
    /// With workers: what they and the parent have counted, and the sums of the workers' gauges.
    sums: Option<(Stats, Snapshot)>,
}

impl<O: Outside> Core<O> {
    /// The workers' part of how things are, and the rules for topics. Without workers and rules it costs nothing.
    pub(super) fn gather(&self) -> Gathered<'_> {
        let rules = self.engine.topic_rules().iter();
        let rules = rules.filter(|view| view.rule.slow != SlowPolicy::Close);
        let rules = rules.map(|view| RuleRow {
            pattern: &view.rule.pattern,
            policy: view.rule.slow,
            dropped: view.dropped,
        });
        let Some(team) = &self.team else {
            return Gathered {
                rules: rules.collect(),
                ..Gathered::default()
            };
        };
        Gathered {
            sources: Vec::new(),
            workers: team.rows(),
            rules: team.rules(rules),
            sums: Some((team.counted(&self.stats), team.sum())),
        }
    }

    /// How things are.
    pub(super) fn readings<'a>(&'a self, gathered: &'a Gathered<'a>, outside: &O) -> Readings<'a> {
        let connections = self.engine.connections();
        let process = outside.process(connections);
        let own = Readings {
            stats: &self.stats,
            latency: &self.pulse.latency,
            turns: &self.pulse.turns,
            connections,
            topics: self.engine.topics(),
            subscriptions: self.engine.subscriptions(),
            outboxes_bytes: self.engine.outboxes_bytes(),
            history_bytes: self.engine.history_bytes(),
            history_events: self.engine.history_events(),
            rules: &gathered.rules,
            sources: &gathered.sources,
            relay_receivers: self.relay.as_ref().map_or(0, Relay::receivers),
            workers: &gathered.workers,
            process,
        };
        let (Some(team), Some((stats, sum))) = (&self.team, &gathered.sums) else {
            return own;
        };
        Readings {
            stats,
            connections: own.connections + sum.connections,
            topics: own.topics + sum.topics,
            subscriptions: own.subscriptions + sum.subscriptions,
            outboxes_bytes: own.outboxes_bytes + sum.outboxes_bytes,
            history_bytes: own.history_bytes + sum.history_bytes,
            history_events: own.history_events + sum.history_events,
            process: team.process(process),
            ..own
        }
    }

    /// What has been counted, by workers too.
    pub fn counted(&self) -> Stats {
        match &self.team {
            Some(team) => team.counted(&self.stats),
            None => Stats::clone(&self.stats),
        }
    }

    /// All figures, for the parent of a worker.
    pub fn snapshot(&mut self, outside: &O) -> String {
        let busiest = self.engine.busiest(BUSIEST_MAX, &mut self.pulse.busiest);
        let rows: Vec<_> = busiest.iter().map(topic_row).collect();
        let gathered = self.gather();
        snapshot::text(&self.readings(&gathered, outside), &rows)
    }

    pub(super) fn readiness(&self, has_sources: bool) -> Response {
        // Every listener was bound before the first turn. A publisher that is away makes no server unready.
        if self.team.as_ref().is_some_and(|team| team.ready() == 0) && !self.shutdown.has_begun() {
            return Response::refusal(
                HttpStatus::ServiceUnavailable,
                "no worker serves",
                "the log says why; workers are started again by themselves",
            );
        }
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
        let next = walk(first(page), self.engine.topic_places(), |place| {
            if listing.is_full() {
                return false;
            }
            if let Some(topic) = self.engine.topic_at(place)
                && (topic.kept.is_some() || !page.is_kept)
            {
                listing.push(&topic_row(&topic));
            }
            true
        });
        listing.finish(next.map(u64::from), &[])
    }

    pub(super) fn list_connections(&self, page: PageRequest) -> Response {
        let mut listing = PageOfRows::new("connections", page);
        let next = walk(first(page), self.engine.places(), |place| {
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
        listing.finish(next.map(u64::from), &[])
    }
}

/// The place where a page begins. Behind the last one, if there is no such place.
fn first(page: PageRequest) -> u32 {
    u32::try_from(page.after).unwrap_or(u32::MAX)
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
        kept: topic.kept.map(|kept| KeptRow {
            events: kept.events,
            bytes: kept.bytes,
            age_seconds: kept.age_seconds,
        }),
    }
}

pub(super) fn busy_row(topic: &BusyTopic) -> TopicRow<'_> {
    TopicRow {
        name: &topic.name,
        subscribers: topic.subscribers,
        events: topic.events,
        rate: topic.rate,
        kept: topic.kept,
    }
}

fn connection_row(connection: &ConnectionView) -> ConnectionRow<'_> {
    ConnectionRow {
        id: (connection.id.index(), connection.id.generation()),
        address: connection.peer.to_string(),
        state: connection.state,
        protocol: connection.protocol,
        name: &connection.name,
        age_seconds: connection.age.map(|age| age.as_secs()),
        topics: connection.topics,
        topic_names: None,
        outbox_bytes: connection.outbox_bytes,
    }
}
