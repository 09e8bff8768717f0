//! The commands of administrators and publishers, carried out on engine, gate and intake.
//!
//! Most commands are answered at once. Two take longer: events go to the intake, which answers after the flush; and
//! connections that an administrator ends by name or address have to be looked for among a million, a share
//! each turn.
//!
//! Never here: HTTP, and what administrators see (`views`).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::outside::Outside;
use super::turn::Core;
use crate::admin::metrics;
use crate::admin::publication;
use crate::admin::{Command, Response, Whom};
use crate::engine::{Filter, SlotId};
use crate::ingest::http::Receipt;
use crate::limits;
use crate::stats::{HttpStatus, Refusal};
use crate::web;
use crate::wire::http::Acceptance;

/// What is under way for administrators.
#[derive(Debug)]
pub(super) struct Orders<P> {
    searches: VecDeque<Search<P>>,
    /// Who waits for the answer of workers, by ticket.
    passed: HashMap<u64, P>,
    /// The last ticket.
    ticket: u64,
}

impl<P> Default for Orders<P> {
    fn default() -> Self {
        Self {
            searches: VecDeque::new(),
            passed: HashMap::new(),
            ticket: 0,
        }
    }
}

impl<P> Orders<P> {
    /// Returns true when the next turn has something to do here.
    pub(super) fn are_under_way(&self) -> bool {
        !self.searches.is_empty()
    }

    /// Notes that `peer` waits for the answer of workers. Returns the answer's ticket.
    pub(super) fn pass(&mut self, peer: P) -> u64 {
        self.ticket += 1;
        self.passed.insert(self.ticket, peer);
        self.ticket
    }

    /// Returns who waits for the answer with this ticket.
    pub(super) fn take_passed(&mut self, ticket: u64) -> Option<P> {
        self.passed.remove(&ticket)
    }
}

/// Connections are being looked for, to be ended.
#[derive(Debug)]
struct Search<P> {
    /// The administrator that has asked for it.
    peer: P,
    whom: Whom,
    /// The place that is looked at next.
    next: u32,
    disconnected: usize,
}

impl<O: Outside> Core<O> {
    /// The turn of administrators and publishers.
    pub(super) fn administer(&mut self, outside: &mut O) {
        let now = self.moment.now;
        outside.begin_commands(now);
        self.forget_publishers(outside);
        self.search(outside);
        while let Some((peer, command)) = outside.poll_command(now) {
            if let Some(response) = self.carry_out(outside, peer, command) {
                outside.answer(peer, now, &response);
            }
        }
    }

    /// Forgets the bodies of publishers that have left, when they have to wait: such a publisher may have given up,
    /// and send its events again. While there is room, a body waits for some turns at most, and is published
    /// even if its publisher did not wait for the answer.
    fn forget_publishers(&mut self, outside: &O) {
        let has_room = self.takes_events();
        let http = self.intake.http();
        if !has_room || http.waiting_bytes() > limits::TURN_EVENT_BYTES_MAX {
            http.retain(|&publisher| outside.address(publisher).is_some());
        }
    }

    /// Answers publishers that came by HTTP.
    pub(super) fn answer_publishers(&mut self, outside: &mut O) {
        while let Some((publisher, receipt)) = self.intake.http().poll_receipt() {
            let response = match receipt {
                Receipt::Published { is_batch, events } => {
                    let ids = events.iter().map(|event| event.id).collect();
                    // With workers, nobody here knows how many subscribers they have.
                    let subscribers = self.team.is_none().then(|| {
                        let numbers = events.iter().map(|event| event.subscribers);
                        numbers.collect()
                    });
                    publication::answer(is_batch, ids, subscribers)
                }
                Receipt::Bad(fault) => publication::refusal(&fault),
                Receipt::TimedOut => Response::refusal(
                    HttpStatus::ServiceUnavailable,
                    "too many events are on their way to clients",
                    "send it again in some seconds; nothing was published",
                ),
                Receipt::Closing => Response::refusal(
                    HttpStatus::ServiceUnavailable,
                    "the server is going down",
                    "send it to another server, or again in some seconds; nothing was published",
                )
                .closing(),
            };
            outside.answer(publisher, self.moment.now, &response);
        }
    }

    /// The answer to a command. `None` when it comes later, or from the engine.
    fn carry_out(&mut self, outside: &mut O, peer: O::Peer, command: Command) -> Option<Response> {
        let command = self.pass_on(outside, peer, command)?;
        let response = match command {
            Command::Metrics => {
                let mut gathered = self.gather();
                gathered.sources = self.source_rows();
                metrics::response(&self.readings(&gathered, outside))
            }
            Command::Snapshot => Response::json(self.snapshot(outside)),
            Command::RestartWorkers => self.restart_workers(),
            // There are none.
            Command::DisconnectOfWorker(..) => self.disconnected(outside, peer, 0),
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
                self.disconnected(outside, peer, usize::from(is_there))
            }
            // Each search has a peer that waits, so there are seldom more; but a peer may also leave.
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
                let by = whereabouts(outside, peer);
                log::info!("admin: revoke: by={by} sessions={revoked}");
                Response::object(|body| {
                    body.put("revoked", revoked);
                })
            }
            Command::Publish(publication) => {
                let now = self.moment.now;
                self.intake.http().push(peer, now, publication);
                return None;
            }
            Command::Preflight => Response::preflight(),
            Command::Dashboard => Response::page(web::DASHBOARD, &web::DASHBOARD_POLICY),
            // The client that clients' pages load from the other listener.
            Command::Script => Response::with_type(web::JAVASCRIPT, web::SCRIPT.as_bytes().into()),
            Command::WebSocket { upgrade, early } => {
                self.hand_over(outside, peer, upgrade, early);
                return None;
            }
        };
        Some(response)
    }

    fn disconnected(&self, outside: &O, peer: O::Peer, count: usize) -> Response {
        let by = whereabouts(outside, peer);
        log::info!("admin: disconnect: by={by} connections={count}");
        Response::object(|body| {
            body.put("disconnected", count);
        })
    }

    /// Goes on with the searches, a share of the places a turn.
    fn search(&mut self, outside: &mut O) {
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
            let response = self.disconnected(outside, search.peer, search.disconnected);
            outside.answer(search.peer, self.moment.now, &response);
        }
    }

    /// Hands a connection over to the engine, which lets it in without another token.
    fn hand_over(
        &mut self,
        outside: &mut O,
        peer: O::Peer,
        upgrade: Result<Acceptance, Refusal>,
        early: Vec<u8>,
    ) {
        let Some((stream, address)) = outside.take(peer) else {
            return;
        };
        let standing = Rc::clone(&self.admin_standing);
        let admitted = self
            .engine
            .handle_admitted(stream, address, upgrade, early, standing);
        match admitted {
            Ok(id) => {
                self.stats.answered(HttpStatus::SwitchingProtocols);
                if self.watch_client(outside, id, address) {
                    self.pulse.note_dashboard(id);
                }
            }
            Err((stream, refusal)) => outside.refuse(stream, refusal, self.moment.now),
        }
    }
}

/// Where a peer is that has sent a command, for the log.
pub(super) fn whereabouts<O: Outside>(outside: &O, peer: O::Peer) -> String {
    let address = outside.address(peer);
    address.map_or_else(|| "left".to_owned(), |address| address.to_string())
}
