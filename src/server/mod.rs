//! Ring 3's middle: the loop that ties everything together.
//!
//! One thread, one poller. `Server::turn` is one pass of the loop, in the one order that is right:
//! each phase says what it has to come before or after. Everything that is not done within its
//! budget keeps its place (a listener or source stays ready, a connection is on a list of the engine's, a
//! walk or round has its cursor), and the next poll does not wait.
//!
//! Never here: what is said on a connection (the engine's), what a message says (the wire's).

mod capacity;
mod commands;
mod error;
mod lobby;
mod pid_file;
mod process;
mod pulse;
mod reload;
mod report;
mod rules;
mod shutdown;
mod signals;
mod sockets;
mod sources;
mod start;
mod stores;
mod systemd;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};

use capacity::Capacity;
use commands::Orders;
use lobby::Lobby;
use pid_file::PidFile;
use pulse::Pulse;
use report::Report;
use shutdown::Shutdown;
use signals::{Signal, Signals};
use sockets::{Accepted, ClientStream, Listeners};
use stores::Watched;

pub use capacity::connections_max;
pub use error::StartError;
pub use rules::{gate_rules, rules};
pub use start::check_paths;
pub use stores::{Entrance, check_files};
pub use systemd::Systemd;

use crate::admin::durations::Durations;
use crate::auth::gate::Gate;
use crate::auth::{Moment, Wake};
use crate::config::Config;
use crate::engine::{Check, Engine, SlotId, Vacancy};
use crate::ingest::zeromq::sub::Sub;
use crate::ingest::zeromq::{PARTS_KEPT, Received, ZeroMqSource};
use crate::limits;
use crate::standing::Standing;
use crate::stats::{Counter, Door, Dropped, Ingest, Refusal, Stats};
use crate::trim;
use crate::wire::envelope::Form;

// The poller's tokens. A connection's is its `SlotId` and needs both halves of a 64-bit number, so
// small numbers are free for everything else.
const _: () = assert!(usize::BITS >= 64, "newswire needs a 64-bit host");
const SIGNALS: usize = 0;
/// Another thread has something for the loop; what it is is asked in every turn.
const WAKE: usize = 1;
const SOURCES: usize = 1_000;
/// The monitors of the sources, in the same order.
const MONITORS: usize = 1_500;
const LISTENERS: usize = 2_000;
const ADMIN_LISTENERS: usize = 3_000;
const PUBLISH_LISTENERS: usize = 4_000;
const LOBBY: usize = 5_000;

/// In readiness events a poll.
const READINESS_MAX: usize = 1_024;

/// Reads the configuration again: as it is now, or what is wrong with it.
pub type Reread = Box<dyn FnMut() -> Result<Config, String>>;

/// A server that has bound everything.
pub struct Server {
    poll: Poll,
    listeners: Listeners,
    sources: Vec<ZeroMqSource>,
    /// Which of them is asked first in this turn.
    first_source: usize,
    /// In handshakes that were refused, of each of them.
    refused_peers: Vec<u64>,
    /// What outlives the sockets of those that connect out: the last of `sources`, in the same order.
    subs: Vec<Sub>,
    /// The endpoints of the others, which come first.
    pulls: Vec<String>,
    signals: Signals,
    /// All places are taken: newcomers wait in the kernel until this moment, when one may be had.
    accept_at: Option<Duration>,
    engine: Engine<ClientStream>,
    gate: Gate,
    /// What its stores watch.
    watched: Watched,
    /// For the threads of stores.
    wake: Wake,
    form: Form,
    /// As it is in force: what needs a restart is as it was at the start.
    config: Config,
    /// Reads it again.
    reread: Reread,
    capacity: Capacity,
    shutdown: Shutdown,
    systemd: Systemd,
    report: Report,
    lobby: Lobby,
    orders: Orders,
    pulse: Pulse,
    /// How long events take.
    latency: Durations,
    /// How long turns take.
    turns: Durations,
    /// What connections are let in by that the lobby hands over: no token is asked of them.
    admin_standing: Rc<Standing>,
    started: Instant,
    /// The same moment in Unix time.
    started_unix: Duration,
    /// This turn's time: `now` is counted from `started`.
    moment: Moment,
    /// Removed when the server is.
    _pid_file: Option<PidFile>,
}

impl Server {
    /// The addresses listened on, as bound.
    pub fn listeners(&self) -> &[SocketAddr] {
        self.listeners.addresses()
    }

    /// How many of these, the first ones, were passed by systemd.
    pub fn listeners_passed(&self) -> usize {
        self.listeners.passed()
    }

    /// The endpoints that publishers push to, as bound.
    pub fn pulls(&self) -> &[String] {
        &self.pulls
    }

    /// Who can get in, in the order in which the stores are asked.
    pub fn entrances(&self) -> Vec<Entrance> {
        stores::entrances(&self.config, &self.watched, unix_time())
    }

    /// In connections, the limit in force.
    pub fn connections_max(&self) -> usize {
        self.capacity.connections_max
    }

    /// The limit of connections and where it comes from.
    pub fn capacity_note(&self) -> String {
        self.capacity.note.clone()
    }

    /// Serves until SIGTERM or SIGINT, and answers what was counted and how long that took.
    ///
    /// # Errors
    /// Those of the poller, without which nothing goes on.
    pub fn run(mut self) -> io::Result<(Stats, Duration)> {
        let (listen, pull) = (self.listeners(), self.pulls());
        log::info!("start: listen={listen:?} pull={pull:?}");
        stores::warn_if_closed(&self.entrances());
        self.systemd.ready(&self.status());
        let mut readiness = Events::with_capacity(READINESS_MAX);
        while !self.shutdown.is_complete() {
            let timeout = self.timeout();
            match self.poll.poll(&mut readiness, timeout) {
                Ok(()) => {
                    self.turn(&readiness);
                    let took = self.started.elapsed().saturating_sub(self.moment.now);
                    self.turns.record(took, 1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (stats, incidents) = self.engine.stats_and_incidents();
        self.report.rest(self.moment.now, stats, incidents);
        Ok((self.engine.stats().clone(), self.started.elapsed()))
    }

    /// What a service manager shows.
    fn status(&self) -> String {
        let (connections, topics) = (self.engine.connections(), self.engine.topics());
        format!("serving, connections: {connections}, topics: {topics}")
    }

    fn read_clocks(&self) -> Moment {
        Moment {
            now: self.started.elapsed(),
            unix: unix_time(),
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        let has_events = self.sources.iter().any(ZeroMqSource::is_ready);
        let has_peers = (self.sources.iter()).any(|source| source.monitor().is_ready());
        let may_accept = self.listeners.is_ready() && self.accept_at.is_none();
        let is_ready = may_accept || self.orders.are_under_way() || has_peers;
        if is_ready || has_events && self.takes_events() {
            return Some(Duration::ZERO);
        }
        let put_off = self.listeners.is_waiting();
        let due = [
            self.engine.poll_timeout(),
            self.gate.timeout(self.moment.now),
            self.shutdown.timeout(),
            self.lobby.timeout(self.moment.now),
            self.pulse.timeout(self.moment.now, &self.engine),
            self.report.timeout(self.moment.now, self.engine.stats()),
            self.systemd.timeout(self.moment.now),
            self.sources_timeout(),
            put_off.then_some(Duration::from_secs(1)),
            self.accept_at.map(|at| at.saturating_sub(self.moment.now)),
        ];
        due.into_iter().flatten().min()
    }

    fn takes_events(&self) -> bool {
        self.shutdown.takes_events() && !self.engine.is_congested()
    }

    /// One pass of the loop.
    fn turn(&mut self, readiness: &Events) {
        // One time for everything in the turn.
        self.moment = self.read_clocks();
        self.engine.start_turn(self.moment.now);

        // First: what is, is what the last turn left, and has been since.
        self.sample();

        // Readiness only marks.
        self.hear(readiness);
        self.accept();

        // What was owed leaves before anything is added to it. Then everybody who has said something is
        // read, whom the last turn could not read to the end too: no event leaves before the flush, so
        // that all who subscribe in this turn are there for this turn's events.
        self.engine.pay();
        self.engine.read();

        // Before the ingest, which empties a socket before another takes its place.
        self.watch_peers();
        self.dial();

        // After the reads: a subscription that came before an event on another socket counts.
        self.ingest();

        // The same for events that come by HTTP; before the flush, since a dashboard comes in here.
        self.administer();
        self.pulse();

        // After the reads, which ask; before the flush, so that a session opens in the turn in
        // which its upgrade came.
        self.judge();

        // Before the flush: a silent peer that is given up is not written to once more.
        self.engine.expire();
        self.engine.review();
        self.engine.flush();
        self.measure();

        // Last: until here no place has changed its tenant, so whatever the turn has noted about a
        // connection meant that connection.
        self.engine.reap();
        if self.engine.poll_freed() {
            trim::begin();
        }

        // After the reap, which ends topics.
        self.tell_sources();
        let has_events = self.sources.iter().any(ZeroMqSource::is_ready);
        self.shutdown
            .step(self.moment.now, has_events, &mut self.engine);
        if (self.report).is_digest_due(self.moment.now, self.engine.stats()) {
            let (stats, incidents) = self.engine.stats_and_incidents();
            self.report.digest(self.moment.now, stats, incidents);
        }

        // At the very end: a beat says that a whole turn was done.
        self.beat();
    }

    fn beat(&mut self) {
        let mut systemd = std::mem::take(&mut self.systemd);
        systemd.beat(self.moment.now, || self.status());
        self.systemd = systemd;
    }

    fn hear(&mut self, readiness: &Events) {
        for event in readiness {
            let token = event.token().0;
            if let Some(id) = SlotId::from_bits(token as u64) {
                // A peer's reset shows as both, and the read finds out.
                let ended = event.is_read_closed() || event.is_error();
                if event.is_readable() || ended {
                    self.engine.handle_readable(id, ended);
                }
                if event.is_writable() {
                    self.engine.handle_writable(id);
                }
            } else if token >= LOBBY {
                self.lobby.handle_readiness(token - LOBBY);
            } else if token >= PUBLISH_LISTENERS {
                let index = token - PUBLISH_LISTENERS;
                self.lobby.handle_newcomers(Door::Publish, index);
            } else if token >= ADMIN_LISTENERS {
                let index = token - ADMIN_LISTENERS;
                self.lobby.handle_newcomers(Door::Admin, index);
            } else if token >= LISTENERS {
                self.listeners.handle_readiness(token - LISTENERS);
            } else if token >= MONITORS {
                let source = &mut self.sources[token - MONITORS];
                source.monitor_mut().handle_readiness();
            } else if token >= SOURCES {
                self.sources[token - SOURCES].handle_readiness();
            } else if token == SIGNALS {
                self.handle_signals();
            }
        }
    }

    fn handle_signals(&mut self) {
        let (mut is_reloading, mut reloaded) = (false, None);
        for signal in self.signals.pending() {
            match signal {
                Signal::Shutdown => {
                    self.listeners.close(self.poll.registry());
                    self.shutdown.begin(self.moment.now, &mut self.engine);
                    self.systemd.stopping(self.shutdown.time());
                }
                Signal::Reload => {
                    self.systemd.reloading();
                    is_reloading = true;
                    match (self.reread)() {
                        Ok(config) => reloaded = Some(config),
                        Err(sentence) => log::error!("reload: nothing is changed: {sentence}"),
                    }
                }
                Signal::Summary => report::summary(&self.engine),
            }
        }
        if let Some(config) = reloaded {
            self.reload(config);
        }
        if is_reloading {
            self.systemd.ready(&self.status());
        }
    }

    fn accept(&mut self) {
        self.listeners.tick(self.moment.now);
        self.accept_at = None;
        for _ in 0..limits::TURN_ACCEPTS_MAX {
            if self.listeners.is_ready()
                && let Vacancy::At(moment) = self.engine.vacancy()
            {
                self.accept_at = Some(moment);
                return;
            }
            match self.listeners.accept(self.moment.now) {
                Accepted::Newcomer(stream, peer) => self.welcome(stream, peer),
                // The next newcomer is to find a descriptor.
                Accepted::TurnedAway => {
                    self.engine.stats_mut().refused(Refusal::Full);
                    self.engine.make_room();
                }
                Accepted::Nobody => return,
            }
        }
    }

    fn welcome(&mut self, stream: ClientStream, peer: SocketAddr) {
        let id = match self.engine.handle_connection(stream, peer) {
            Ok(id) => id,
            Err((stream, refusal)) => {
                return self.listeners.refuse(stream, refusal, self.moment.now);
            }
        };
        let Some(stream) = self.engine.stream_mut(id) else {
            return;
        };
        // Once and for both: edges come by themselves from here on.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(id.to_bits() as usize);
        if let Err(error) = self.poll.registry().register(stream, token, interest) {
            log::error!("accept: peer={peer} error={error}");
            self.engine.handle_unwatched(id);
        }
    }

    /// Takes events in, as many as the turn's budget allows and as there is room for.
    fn ingest(&mut self) {
        let mut budget = IngestBudget {
            events: self.config.ingest.turn_events_max,
            bytes: limits::TURN_EVENT_BYTES_MAX,
        };
        // Another source begins each turn, so that a busy one does not use up every budget.
        self.first_source = (self.first_source + 1) % self.sources.len().max(1);
        let order = (self.first_source..self.sources.len()).chain(0..self.first_source);
        for index in order {
            let is_sub = index >= self.pulls.len();
            let is_filtered_here = self.asks_for_everything(index);
            while self.sources[index].is_ready() && budget.is_left() && self.takes_events() {
                let message = match self.sources[index].receive() {
                    Some(Received::Message(message)) => message,
                    Some(Received::Surplus(bytes)) => {
                        budget.take(bytes);
                        self.shutdown.note_event(self.moment.now);
                        continue;
                    }
                    None => break,
                };
                let mut room = [&[][..]; PARTS_KEPT];
                let parts = message.parts(&mut room);
                budget.take(parts.iter().map(|part| part.len()).sum());
                self.shutdown.note_event(self.moment.now);
                self.engine.stats_mut().count(Counter::Ingested);
                match self.form.parse(parts) {
                    Ok(event) => {
                        let ingest = if is_sub { Ingest::Sub } else { Ingest::Pull };
                        self.engine.stats_mut().ingested(ingest);
                        if is_filtered_here && self.engine.subscribers(&event.topic) == 0 {
                            let stats = self.engine.stats_mut();
                            stats.count(Counter::Events);
                            stats.dropped(Dropped::Filtered);
                        } else if self.engine.handle_event(&event) == 0 {
                            self.report.unheard(&event.topic);
                        }
                    }
                    Err(reason) => {
                        self.engine.stats_mut().dropped(reason);
                        self.report.dropped(reason, parts, message.endpoint);
                    }
                }
            }
        }
    }

    fn judge(&mut self) {
        let moment = self.moment;
        let mut checks = limits::TURN_CHECKS_MAX;
        while checks > 0
            && let Some(Check { id, applicant }) = self.engine.poll_check()
        {
            checks -= 1;
            let stats = self.engine.stats_mut();
            self.gate.check(id.to_bits(), applicant, moment, stats);
        }
        self.gate.turn(moment, self.engine.stats_mut());
        for _ in 0..limits::TURN_VERDICTS_MAX {
            let Some((ticket, verdict)) = self.gate.poll_verdict() else {
                break;
            };
            if let Some(id) = SlotId::from_bits(ticket) {
                self.engine.handle_verdict(id, verdict);
            }
        }
        if self.gate.poll_change() {
            self.engine.handle_changed_standings();
        }
    }
}

/// What time it is for everybody. Before 1970 nothing has expired.
fn unix_time() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks what time it is for everybody; a turn does so once"
    )]
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    unix.unwrap_or_default()
}

/// What a turn may still take in.
struct IngestBudget {
    events: usize,
    bytes: usize,
}

impl IngestBudget {
    fn is_left(&self) -> bool {
        self.events > 0 && self.bytes > 0
    }

    /// An event, or a part of one that is thrown away, is worth one.
    fn take(&mut self, bytes: usize) {
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
