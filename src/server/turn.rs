//! One turn of the server: its phases, in the one order that is right.
//!
//! A [`Core`] is a server without its sockets, signals and files. It joins the engine, the gate and the intake,
//! and what it needs from outside is an argument ([`Outside`]). So a simulation can drive a whole server, gate
//! included, in memory and in virtual time.
//!
//! No phase waits, and each has a budget. Everything that is not done within its budget keeps its place (a
//! listener or source stays ready, a connection is on a list of the engine's, a walk or round has its cursor), and
//! the next poll does not wait.
//!
//! Never here: what is said on a connection (the engine's), what a message says (the wire's), descriptors,
//! clocks.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::orders::Orders;
use super::outside::{Accepted, Outside, Ready};
use super::pulse::Pulse;
use super::report::{self, Report};
use super::rules::{Budgets, admin_standing, gate_rules, intake_rules, rules};
use super::shutdown::Shutdown;
use crate::auth::gate::Gate;
use crate::auth::{Moment, TokenStore};
use crate::config::Config;
use crate::engine::{Check, Engine, SlotId, Vacancy};
use crate::ingest::Source;
use crate::ingest::intake::Intake;
use crate::limits;
use crate::relay::Relay;
use crate::standing::Standing;
use crate::stats::{Close, Refusal, Stats};
use crate::wire::id::{Epoch, Numbering};
use crate::workers::Team;

/// Random numbers, made for one run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// Session ids are made of it.
    pub sessions: u64,
    /// Tokens are sealed with it while they are kept.
    pub tokens: [u8; 32],
    /// The epoch of events' ids is made of it.
    pub epoch: [u8; 8],
}

/// A server without its sockets, signals and files.
pub struct Core<O: Outside> {
    pub(super) stats: Rc<Stats>,
    pub(super) engine: Engine<O::Stream>,
    pub(super) gate: Gate,
    pub(super) intake: Intake<O::Peer>,
    /// For other servers, if there are to be any.
    pub(super) relay: Option<Relay>,
    /// The workers, if this is their parent.
    pub(super) team: Option<Team>,
    /// True exactly when the workers were told to go down.
    pub(super) has_drained: bool,
    pub(super) ids: Numbering,
    pub(super) orders: Orders<O::Peer>,
    pub(super) pulse: Pulse,
    pub(super) report: Report,
    pub(super) shutdown: Shutdown,
    budgets: Budgets,
    /// All places are taken: newcomers wait in the kernel until this moment, when one may be had.
    accept_at: Option<Duration>,
    /// What dashboards are let in by that come from the admin listener: no token is asked of them.
    pub(super) admin_standing: Rc<Standing>,
    /// This turn's time.
    pub(super) moment: Moment,
}

impl<O: Outside> Core<O> {
    /// A server that serves at most `connections_max` clients, asks `stores` about tokens and takes events from
    /// `sources`, and by HTTP. `stats` count for all of them.
    pub fn new(
        config: &Config,
        connections_max: usize,
        stores: Vec<Box<dyn TokenStore>>,
        sources: Vec<Box<dyn Source>>,
        seeds: Seeds,
        budgets: Budgets,
        stats: Rc<Stats>,
    ) -> Self {
        let epoch = Epoch::new(seeds.epoch);
        Self {
            engine: Engine::with_stats(
                rules(config, connections_max, budgets, epoch),
                seeds.sessions,
                Rc::clone(&stats),
            ),
            gate: Gate::new(
                stores,
                gate_rules(config, budgets),
                seeds.tokens,
                Rc::clone(&stats),
            ),
            intake: Intake::new(sources, intake_rules(config, budgets), Rc::clone(&stats)),
            budgets,
            stats,
            relay: None,
            team: None,
            has_drained: false,
            ids: Numbering::new(epoch),
            orders: Orders::default(),
            pulse: Pulse::default(),
            report: Report::default(),
            shutdown: Shutdown::new(
                config.process.shutdown_seconds,
                config.process.shutdown_close,
            ),
            accept_at: None,
            admin_standing: admin_standing(),
            moment: Moment::default(),
        }
    }

    /// Puts another configuration in the place of the present one. `ends_admins` is true when the administrators'
    /// token is another: sessions that came with the old one end, and come back with the new one.
    pub fn reload(
        &mut self,
        config: &Config,
        connections_max: usize,
        stores: Vec<Box<dyn TokenStore>>,
        ends_admins: bool,
    ) {
        let budgets = self.budgets;
        let rules = rules(config, connections_max, budgets, self.ids.own());
        if self.engine.set_rules(rules) {
            self.engine.handle_other_topics(self.ids.skip());
        }
        self.gate
            .replace(stores, gate_rules(config, budgets), self.moment);
        self.intake.set_rules(intake_rules(config, budgets));
        if ends_admins {
            self.admin_standing.end(Close::TokenEnded);
            self.engine.handle_changed_standings();
            self.admin_standing = admin_standing();
        }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine<O::Stream> {
        &self.engine
    }

    /// The gate, to look at.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What has been counted.
    pub fn stats(&self) -> &Rc<Stats> {
        &self.stats
    }

    /// This turn's time.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The shutdown begins. A second one ends the server at once.
    pub fn shut_down(&mut self) {
        self.shutdown.begin(self.moment.now, &mut self.engine);
        self.intake.http().close();
    }

    /// Returns true when the shutdown has begun.
    pub fn is_going_down(&self) -> bool {
        self.shutdown.has_begun()
    }

    /// Returns true when the shutdown is complete.
    pub fn is_complete(&self) -> bool {
        self.shutdown.is_complete()
    }

    /// Logs everything that was not logged yet, at the end of the run.
    pub fn finish(&mut self) {
        let incidents = self.engine.incidents();
        self.report.rest(self.moment.now, &self.stats, incidents);
    }

    /// How long the loop may sleep before the next turn.
    pub fn timeout(&self, outside: &O) -> Option<Duration> {
        let now = self.moment.now;
        let has_newcomers = outside.has_newcomers() && self.accept_at.is_none();
        let has_events = self.intake.is_ready() && self.takes_events();
        let has_subscriptions = self.relay.as_ref().is_some_and(Relay::is_ready);
        if has_newcomers || has_events || has_subscriptions || self.orders.are_under_way() {
            return Some(Duration::ZERO);
        }
        let due = [
            outside.timeout(now),
            self.engine.poll_timeout(),
            self.gate.timeout(now),
            self.intake.timeout(now),
            self.shutdown.timeout(),
            self.pulse.timeout(now),
            self.report.timeout(now, &self.stats),
            self.accept_at.map(|at| at.saturating_sub(now)),
        ];
        due.into_iter().flatten().min()
    }

    pub(super) fn takes_events(&self) -> bool {
        self.shutdown.takes_events() && !self.engine.is_congested()
    }

    /// A turn begins. Its one time is `moment`; whatever happens before [`Core::turn`] has that time too.
    pub fn begin(&mut self, moment: Moment, outside: &O) {
        self.moment = moment;
        self.engine.start_turn(moment.now);

        // A sample is taken first: how things are is how the last turn left them.
        self.sample(outside);
    }

    /// One turn.
    pub fn turn(&mut self, outside: &mut O) {
        // Readiness only marks.
        self.mark_ready(outside);
        self.accept(outside);

        // Clients whom the last turn could not read to the end are read too: no event leaves before all who
        // subscribe in this turn are there for this turn's events.
        self.engine.take_in();

        // Before the intake: an empty socket may be replaced, and one with messages is emptied first.
        self.tend_sources(outside);

        // Before administrators, who see what workers have told.
        self.tend_workers(outside);

        // Before the intake, which takes in the events that come by HTTP; before the flush, because dashboards come in
        // here.
        self.administer(outside);

        // After the reads: a subscription that came before an event on another socket counts.
        self.take_events();
        self.pulse(outside);

        // After the reads, which ask; before the flush, so that a session opens in the turn in
        // which its upgrade came.
        self.judge();

        self.engine.hand_out();
        self.measure(outside);

        // After the flush: what publishers are told is true then.
        self.intake.flushed(self.moment.now);
        self.answer_publishers(outside);

        // Last: until here no place has changed its tenant, so whatever the turn has noted about a
        // connection meant that connection.
        self.engine.reap();

        // After the reap, which ends topics.
        self.tell_sources();
        let has_events = self.intake.is_ready();
        let has_workers = self.has_workers();
        self.shutdown
            .step(self.moment.now, has_events, has_workers, &mut self.engine);
        if (self.report).is_digest_due(self.moment.now, &self.stats) {
            let incidents = self.engine.incidents();
            self.report.digest(self.moment.now, &self.stats, incidents);
        }
    }

    /// True once after so many topics have ended that their memory is worth giving back to the system.
    pub fn poll_freed(&mut self) -> bool {
        self.engine.poll_freed()
    }

    /// A turn has taken so long.
    pub fn note_turn(&mut self, took: Duration) {
        self.pulse.turns.record(took, 1);
    }

    /// Logs how things are.
    pub fn log_summary(&self) {
        report::summary(&self.engine);
    }

    fn mark_ready(&mut self, outside: &mut O) {
        let Self {
            engine,
            intake,
            relay,
            ..
        } = self;
        outside.tell_ready(|ready| match ready {
            Ready::Readable { id, has_ended } => engine.handle_readable(id, has_ended),
            Ready::Writable(id) => engine.handle_writable(id),
            Ready::Source(id, descriptor) => intake.handle_readiness(id, descriptor),
            Ready::Relay => relay.iter_mut().for_each(Relay::handle_readiness),
        });
    }

    fn accept(&mut self, outside: &mut O) {
        let now = self.moment.now;
        outside.begin_accepts(now);
        self.accept_at = None;
        for _ in 0..limits::TURN_ACCEPTS_MAX {
            if outside.has_newcomers()
                && let Vacancy::At(moment) = self.engine.vacancy()
            {
                self.accept_at = Some(moment);
                return;
            }
            match outside.accept(now) {
                Accepted::Newcomer(stream, peer) => {
                    match self.engine.handle_connection(stream, peer) {
                        Ok(id) => {
                            self.watch_client(outside, id, peer);
                        }
                        Err((stream, refusal)) => outside.refuse(stream, refusal, now),
                    }
                }
                // The next newcomer is to find a descriptor.
                Accepted::TurnedAway => {
                    self.stats.refused(Refusal::Full);
                    self.engine.make_room();
                }
                Accepted::Nobody => return,
            }
        }
    }

    /// Has `outside` watch the stream of a new client. False when it cannot: the client is lost then.
    pub(super) fn watch_client(&mut self, outside: &mut O, id: SlotId, peer: SocketAddr) -> bool {
        // A stream that is gone needs no watching.
        let Some(stream) = self.engine.stream_mut(id) else {
            return false;
        };
        if let Err(error) = outside.watch_client(id, stream) {
            log::error!("accept: peer={peer} error={error}");
            self.engine.handle_unwatched(id);
            return false;
        }
        true
    }

    fn judge(&mut self) {
        let moment = self.moment;
        let mut checks = limits::TURN_CHECKS_MAX;
        while checks > 0
            && let Some(Check { id, applicant }) = self.engine.poll_check()
        {
            checks -= 1;
            self.gate.check(id.to_bits(), applicant, moment);
        }
        self.gate.turn(moment);
        let mut cost = 0;
        while cost < limits::TURN_VERDICTS_MAX
            && let Some((ticket, verdict)) = self.gate.poll_verdict()
        {
            cost += match SlotId::from_bits(ticket) {
                Some(id) => self.engine.handle_verdict(id, verdict),
                None => 1,
            };
        }
        if self.gate.poll_change() {
            self.engine.handle_changed_standings();
        }
    }

    /// Measures how long the events have taken that this turn's flush has finished. The clock is read once, if there
    /// were any.
    fn measure(&mut self, outside: &O) {
        let mut now = None;
        while let Some(finished) = self.engine.poll_finished() {
            let now = *now.get_or_insert_with(|| outside.elapsed());
            let took = now.saturating_sub(finished.since);
            self.pulse.latency.record(took, finished.events);
        }
    }
}
