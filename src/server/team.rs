//! The parent's side of its workers in a turn: their news, and the orders that are passed on to them.
//!
//! Never here: processes and threads (those are the team's), and what a worker does with an order (`orders`).

use super::orders::whereabouts;
use super::outside::Outside;
use super::turn::Core;
use crate::admin::listing::PageRequest;
use crate::admin::{Command, Response};
use crate::limits;
use crate::stats::HttpStatus;
use crate::workers::{Errand, Team};

impl<O: Outside> Core<O> {
    /// Hands events on to `team`, and asks it about clients. Before the first turn.
    pub fn set_team(&mut self, team: Team) {
        self.team = Some(team);
    }

    /// The workers, if there are to be any.
    pub fn team(&self) -> Option<&Team> {
        self.team.as_ref()
    }

    /// Takes in what workers have told, and answers administrators.
    pub(super) fn tend_workers(&mut self, outside: &mut O) {
        let Some(team) = &mut self.team else {
            return;
        };
        let pulse = &mut self.pulse;
        team.take_news(&self.stats, &mut pulse.latency, &mut pulse.turns);
        while let Some((ticket, response)) = team.poll_answer() {
            if let Some(peer) = self.orders.take_passed(ticket) {
                outside.answer(peer, self.moment.now, &response);
            }
        }
        if self.shutdown.has_begun() && !self.shutdown.takes_events() && !self.has_drained {
            self.has_drained = true;
            team.drain();
        }
    }

    /// Returns true while a worker is there that has clients.
    pub(super) fn has_workers(&self) -> bool {
        self.team.as_ref().is_some_and(|team| !team.has_ended())
    }

    /// Passes a command on to the workers, if it concerns clients. Returns a command that is to be carried out here.
    pub(super) fn pass_on(
        &mut self,
        outside: &O,
        peer: O::Peer,
        command: Command,
    ) -> Option<Command> {
        if self.team.is_none() {
            return Some(command);
        }
        let errand = match command {
            Command::Topics(page) => {
                let own = self.list_topics(PageRequest {
                    limit: limits::ADMIN_PAGE_ENTRIES_MAX,
                    after: 0,
                    ..page
                });
                Errand::Topics(page, own.body().to_vec())
            }
            Command::Connections(page) => {
                // The parent's own places come first.
                let own = u32::try_from(page.after).map(|_| self.list_connections(page));
                Errand::Connections(
                    page,
                    own.map_or_else(|_| Vec::new(), |own| own.body().to_vec()),
                )
            }
            Command::DisconnectOfWorker(worker, place, tenant) => {
                Errand::DisconnectOne(worker, place, tenant)
            }
            Command::Disconnect(whom) => Errand::Disconnect(whom),
            Command::Revoke(tokens) => {
                // Kept here, too: it bounds how many there may be.
                if self.gate.revoke(&tokens).is_err() {
                    return Some(Command::Revoke(tokens));
                }
                Errand::Revoke(tokens)
            }
            other => return Some(other),
        };
        if let Some(order) = errand.order() {
            let by = whereabouts(outside, peer);
            log::info!("admin: {order}: by={by} passed on to the workers");
        }
        let ticket = self.orders.pass(peer);
        if let Some(team) = &mut self.team {
            team.pass(ticket, errand);
        }
        None
    }

    /// Begins a rolling restart.
    pub(super) fn restart_workers(&mut self) -> Response {
        let Some(team) = &mut self.team else {
            return Response::refusal(
                HttpStatus::NotFound,
                "this server has no workers",
                "start it with --workers to have some",
            );
        };
        match team.restart() {
            Some(workers) => Response::object(|body| {
                body.put("restarting", workers);
            }),
            None => Response::refusal(
                HttpStatus::ServiceUnavailable,
                "a rolling restart is under way",
                "wait until the log says that it is done",
            ),
        }
    }
}
