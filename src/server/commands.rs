//! What administrators and publishers have carried out on the engine.
//!
//! Most is answered at once. Two things take turns: events wait while so many are on their way that no
//! more are taken in, as ZeroMQ's do; and who is to be disconnected by name or address is looked for a
//! share a turn, since that may be among a million.
//!
//! Never here: HTTP.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mio::{Interest, Token};

use super::lobby::PeerId;
use super::{Server, process};
use crate::admin::listing::{ConnectionRow, Listing, Page, TopicRow};
use crate::admin::metrics::{self, Readings};
use crate::admin::publication;
use crate::admin::sources::{self, SourceRow};
use crate::admin::{Command, Response, Whom};
use crate::engine::{ConnectionView, Filter, SlotId, TopicView};
use crate::limits;
use crate::stats::{Counter, HttpStatus, Ingest, Refusal};
use crate::web;
use crate::wire::http::Acceptance;
use crate::wire::publication::{Events, Publication};

/// How long events may wait.
const PATIENCE: Duration = Duration::from_secs(limits::ADMIN_ANSWER_SECONDS);

/// Where dropped events of this kind came from, for the log.
const ENDPOINT: &str = "POST /publish";

/// What is under way for administrators and publishers.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Events that wait, since when, and for whom.
    waiting: VecDeque<(PeerId, Duration, Publication)>,
    searches: VecDeque<Search>,
    /// In bytes, the events that were taken in in this turn.
    published_bytes: usize,
    /// The events that were taken in in this turn.
    published: usize,
}

impl Orders {
    /// Whether the next turn has something to do here.
    pub(super) fn are_under_way(&self) -> bool {
        !self.waiting.is_empty() || !self.searches.is_empty()
    }
}

/// Somebody is being looked for, to be disconnected.
#[derive(Debug)]
struct Search {
    peer: PeerId,
    whom: Whom,
    /// The place that is looked at next.
    next: u32,
    disconnected: usize,
}

impl Server {
    /// The turn of administrators and publishers.
    pub(super) fn administer(&mut self) {
        (self.orders.published_bytes, self.orders.published) = (0, 0);
        self.lobby.start_turn(
            self.moment.now,
            self.poll.registry(),
            self.engine.stats_mut(),
        );
        self.publish_waiting();
        self.search();
        while let Some((peer, command)) = self
            .lobby
            .poll_command(self.moment.now, self.engine.stats_mut())
        {
            if matches!(command, Command::Topics(_) | Command::Connections(_)) {
                self.lobby.charge(limits::LISTING_COMMANDS);
            }
            if let Some(response) = self.carry_out(peer, command) {
                self.lobby.answer(peer, self.moment.now, &response);
            }
        }
    }

    /// `None`: the answer comes later, or is somebody else's.
    fn carry_out(&mut self, peer: PeerId, command: Command) -> Option<Response> {
        let response = match command {
            Command::Metrics => {
                let sources = self.source_rows();
                metrics::response(&self.readings(&sources))
            }
            Command::History => Response::json(self.pulse.history(self.moment.now)),
            Command::Health => Response::object(|body| {
                body.put("status", "ok");
            }),
            Command::Readiness { has_sources } => self.readiness(has_sources),
            Command::Topics(page) => self.list_topics(page),
            Command::Connections(page) => self.list_connections(page),
            Command::DisconnectOne(place, tenant) => {
                let id = SlotId::new(place, tenant);
                let is_there = id.is_some_and(|id| self.engine.disconnect(id));
                self.disconnected(peer, usize::from(is_there))
            }
            // Whoever asks goes on waiting, so there are seldom more; but they may also go.
            Command::Disconnect(_)
                if self.orders.searches.len() >= limits::ADMIN_CONNECTIONS_MAX =>
            {
                Response::refusal(
                    HttpStatus::ServiceUnavailable,
                    "too many are being looked for already",
                    "try again in some seconds",
                )
            }
            Command::Disconnect(whom) => {
                self.orders.searches.push_back(Search {
                    peer,
                    whom,
                    next: 0,
                    disconnected: 0,
                });
                return None;
            }
            Command::Revoke(tokens) => {
                // Their sessions end in this turn's review.
                let Ok(revoked) = self.gate.revoke(&tokens) else {
                    return Some(Response::refusal(
                        HttpStatus::ServiceUnavailable,
                        "too many tokens are revoked already; this one is not",
                        "take it out of its store; a restart forgets all that are revoked",
                    ));
                };
                let by = self.whereabouts(peer);
                log::info!("admin: revoke: by={by} sessions={revoked}");
                Response::object(|body| {
                    body.put("revoked", revoked);
                })
            }
            Command::Publish(publication) => {
                return self.publish(peer, self.moment.now, publication);
            }
            Command::Preflight => Response::preflight(),
            Command::Dashboard => Response::page(web::DASHBOARD, &web::DASHBOARD_POLICY),
            // The client that clients' pages load from the other listener.
            Command::Script => Response::with_type(web::JAVASCRIPT, web::SCRIPT.as_bytes().into()),
            Command::WebSocket { upgrade, early } => {
                self.hand_over(peer, upgrade, early);
                return None;
            }
        };
        Some(response)
    }

    /// How things are. `sources` are left out where nobody asks for them.
    pub(super) fn readings<'a>(&'a self, sources: &'a [SourceRow<'a>]) -> Readings<'a> {
        let connections = self.engine.connections();
        Readings {
            stats: self.engine.stats(),
            latency: &self.latency,
            turns: &self.turns,
            connections,
            topics: self.engine.topics(),
            subscriptions: self.engine.subscriptions(),
            outboxes_bytes: self.engine.outboxes_bytes(),
            sources,
            process: process::read(self.started_unix.as_secs_f64(), connections),
        }
    }

    fn readiness(&self, has_sources: bool) -> Response {
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

    fn list_topics(&self, page: Page) -> Response {
        let mut listing = Listing::new("topics", page);
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

    fn list_connections(&self, page: Page) -> Response {
        let mut listing = Listing::new("connections", page);
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

    /// Where somebody is who has ordered something, for the log.
    fn whereabouts(&self, peer: PeerId) -> String {
        let address = self.lobby.address(peer);
        address.map_or_else(|| "left".to_owned(), |address| address.to_string())
    }

    fn disconnected(&self, peer: PeerId, count: usize) -> Response {
        let by = self.whereabouts(peer);
        log::info!("admin: disconnect: by={by} connections={count}");
        Response::object(|body| {
            body.put("disconnected", count);
        })
    }

    /// Goes on with those who are looked for, a share of the places a turn.
    fn search(&mut self) {
        let mut places_left = limits::TURN_PLACES_MAX;
        let mut closes_left = limits::TURN_DISCONNECTS_MAX;
        while let Some(mut search) = self.orders.searches.pop_front() {
            let places = self.engine.places();
            let filter = match &search.whom {
                Whom::Name(name) => Filter::Name(name),
                Whom::Address(ip, port) => Filter::Address(*ip, *port),
            };
            while search.next < places && places_left > 0 && closes_left > 0 {
                let place = search.next;
                search.next += 1;
                places_left -= 1;
                if self.engine.matches(place, &filter) && self.engine.disconnect_at(place) {
                    search.disconnected += 1;
                    closes_left -= 1;
                }
            }
            if search.next < places {
                return self.orders.searches.push_front(search);
            }
            let response = self.disconnected(search.peer, search.disconnected);
            self.lobby.answer(search.peer, self.moment.now, &response);
        }
    }

    /// Events of a publisher, who has waited since `since`.
    fn publish(
        &mut self,
        peer: PeerId,
        since: Duration,
        publication: Publication,
    ) -> Option<Response> {
        if self.shutdown.has_begun() {
            return Some(
                Response::refusal(
                    HttpStatus::ServiceUnavailable,
                    "the server is going down",
                    "send it to another server, or again in some seconds; nothing was published",
                )
                .closing(),
            );
        }
        let has_room = !self.engine.is_congested()
            && self.orders.published_bytes < limits::TURN_EVENT_BYTES_MAX
            && self.orders.published < limits::TURN_EVENTS_MAX;
        if !has_room {
            if self.moment.now >= since + PATIENCE {
                return Some(Response::refusal(
                    HttpStatus::ServiceUnavailable,
                    "too many events are on their way to clients",
                    "send it again in some seconds; nothing was published",
                ));
            }
            self.orders.waiting.push_back((peer, since, publication));
            return None;
        }
        self.orders.published_bytes += publication.bytes().len();
        let events = match publication.parse(&self.form) {
            Ok(events) => events,
            Err(fault) => {
                let stats = self.engine.stats_mut();
                stats.count(Counter::Ingested);
                stats.dropped(fault.reason);
                let parts = [publication.bytes()];
                self.report.dropped(fault.reason, &parts, ENDPOINT);
                return Some(publication::refusal(&fault));
            }
        };
        let (is_batch, events) = match events {
            Events::One(event) => (false, vec![event]),
            Events::Batch(events) => (true, events),
        };
        self.orders.published += events.len();
        let mut members = Vec::with_capacity(events.len());
        for event in &events {
            self.engine.stats_mut().count(Counter::Ingested);
            self.engine.stats_mut().ingested(Ingest::Http);
            let heard = self.engine.handle_event(event);
            if heard == 0 {
                self.report.unheard(&event.topic);
            }
            members.push(heard);
        }
        Some(publication::answer(is_batch, &members))
    }

    /// Those first that have waited longest.
    fn publish_waiting(&mut self) {
        for _ in 0..self.orders.waiting.len() {
            let Some((peer, since, publication)) = self.orders.waiting.pop_front() else {
                return;
            };
            if self.lobby.address(peer).is_none() {
                continue;
            }
            if let Some(response) = self.publish(peer, since, publication) {
                self.lobby.answer(peer, self.moment.now, &response);
            }
        }
    }

    /// Hands a connection over to the engine, which lets it in without another token.
    fn hand_over(&mut self, peer: PeerId, upgrade: Result<Acceptance, Refusal>, early: Vec<u8>) {
        let Some((stream, address)) = self.lobby.take(peer) else {
            return;
        };
        let standing = Rc::clone(&self.admin_standing);
        let admitted = self
            .engine
            .handle_admitted(stream, address, upgrade, early, standing);
        let id = match admitted {
            Ok(id) => id,
            Err((stream, refusal)) => return self.lobby.refuse(stream, refusal, self.moment.now),
        };
        self.engine
            .stats_mut()
            .answered(HttpStatus::SwitchingProtocols);
        if let Some(stream) = self.engine.stream_mut(id) {
            // Edges that came before are reported again.
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(id.to_bits() as usize);
            if let Err(error) = self.poll.registry().reregister(stream, token, interest) {
                log::error!("admin: hand over: peer={address} error={error}");
                return self.engine.handle_unwatched(id);
            }
        }
        self.pulse.note_dashboard(id);
    }

    /// The addresses of the administrators' listener, as bound.
    pub fn admins(&self) -> &[SocketAddr] {
        self.lobby.admins()
    }

    /// The addresses of the publishers' HTTP listener, as bound.
    pub fn publishers(&self) -> &[SocketAddr] {
        self.lobby.publishers()
    }
}

/// Looks at places from `first` on, as long as `look` wants to and not too long. Answers where to go on.
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
