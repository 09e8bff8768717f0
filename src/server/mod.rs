//! Ring 3's middle: the loop that ties everything together.
//!
//! One thread, one poller. [`Server`] has what is the system's: sockets, signals, files. [`Core`] has everything
//! else, and the turn.
//!
//! Never here: the order of a turn's phases (`turn`), what is said on a connection (the engine's), what a
//! message says (the wire's).

mod brokers;
mod capacity;
mod clock;
mod error;
mod held_ports;
mod listeners;
mod lobby;
mod orders;
mod outside;
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
mod team;
mod tokens;
mod turn;
mod views;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use capacity::Capacity;
use pid_file::PidFile;
use signals::{Signal, Signals};
use sockets::Sockets;
use stores::Watched;

pub use capacity::{capacity_note, connections_max};
pub use error::StartError;
pub use held_ports::HeldPorts;
pub use outside::{Accepted, Outside, Ready};
pub use rules::{Budgets, gate_rules, rules};
pub use start::check_paths;
pub use stores::{Entrance, check_stores};
pub use systemd::Systemd;
pub use turn::{Core, Seeds};

use crate::config::Config;
use crate::stats::Stats;
use crate::trim;
use crate::wake::Wake;
use crate::wire::token::Digest;
use crate::workers::{Plan, Team};

/// Reads the configuration again: as it is now, or what is wrong with it.
pub type Reread = Box<dyn FnMut() -> Result<Config, String>>;

/// How a run has ended.
#[derive(Debug)]
pub struct Ended {
    /// What was counted, by workers too.
    pub stats: Stats,
    /// How long it ran.
    pub uptime: Duration,
    /// All figures as one line of JSON, for the parent of a worker.
    pub snapshot: String,
}

/// A server that has bound everything.
pub struct Server {
    core: Core<Sockets>,
    sockets: Sockets,
    signals: Signals,
    systemd: Systemd,
    /// As it is in force: what needs a restart is as it was at the start.
    config: Config,
    /// Reads it again.
    reread: Reread,
    /// What the token stores watch.
    watched: Watched,
    /// For the threads of stores.
    wake: Wake,
    capacity: Capacity,
    /// Of a worker: true once its parent has let go of it.
    leash: Option<Arc<AtomicBool>>,
    /// Removed when the server is.
    _pid_file: Option<PidFile>,
}

impl Server {
    /// The addresses listened on, as bound.
    pub fn listeners(&self) -> &[SocketAddr] {
        self.sockets.listeners.addresses()
    }

    /// How many of these, the first ones, were passed by systemd.
    pub fn listeners_passed(&self) -> usize {
        self.sockets.listeners.passed()
    }

    /// The addresses of the administrators' listener, as bound.
    pub fn admins(&self) -> &[SocketAddr] {
        self.sockets.lobby.admins()
    }

    /// The addresses of the publishers' HTTP listener, as bound.
    pub fn publishers(&self) -> &[SocketAddr] {
        self.sockets.lobby.publishers()
    }

    /// The endpoints that publishers push to, as bound.
    pub fn pulls(&self) -> Vec<&str> {
        self.core.pulls()
    }

    /// The endpoints that other servers connect to, as bound.
    pub fn relays(&self) -> &[String] {
        self.core.relays()
    }

    /// Who can get in, in the order in which the stores are asked.
    pub fn entrances(&self) -> Vec<Entrance> {
        stores::entrances(&self.config.auth, &self.watched, clock::unix_time())
    }

    /// In connections, the limit in force.
    pub fn connections_max(&self) -> usize {
        self.capacity.connections_max
    }

    /// The limit of connections and where it comes from.
    pub fn capacity_note(&self) -> String {
        self.capacity.note.clone()
    }

    /// Starts workers, and waits until they serve. Before the run.
    ///
    /// # Errors
    /// A sentence, when one cannot be started.
    pub fn start_workers(&mut self, plan: Plan) -> Result<(), String> {
        self.core
            .set_team(Team::start(plan, Arc::clone(&self.wake))?);
        Ok(())
    }

    /// Has the server go down when its standard input ends: it is a worker, and its parent has gone or wants it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn end_with_stdin(&mut self) -> io::Result<()> {
        let leash = Arc::new(AtomicBool::new(false));
        let (ended, wake) = (Arc::clone(&leash), Arc::clone(&self.wake));
        thread::Builder::new().name("leash".into()).spawn(move || {
            // It copies nothing, since the parent sends nothing more; an interrupted read is tried again.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            ended.store(true, Ordering::Release);
            wake();
        })?;
        self.leash = Some(leash);
        Ok(())
    }

    /// Accepts these tokens no longer.
    pub fn revoke(&mut self, tokens: &[Digest]) {
        for token in tokens {
            if self.core.gate.revoke(std::slice::from_ref(token)).is_err() {
                log::error!("revoke: too many tokens are revoked already");
            }
        }
    }

    /// Serves until SIGTERM or SIGINT, and answers what was counted and how long that took.
    ///
    /// # Errors
    /// Those of the poller, without which nothing goes on.
    pub fn run(mut self) -> io::Result<Ended> {
        let (listen, pull) = (self.listeners(), self.pulls());
        log::info!("start: listen={listen:?} pull={pull:?}");
        // A relay has no clients.
        if !listen.is_empty() {
            stores::warn_if_closed(&self.entrances());
        }
        self.systemd.ready(&status(&self.core));
        while !self.core.is_complete() {
            let timeout = self.timeout();
            match self.sockets.wait(timeout) {
                Ok(has_signals) => self.turn(has_signals),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.core.finish();
        self.core.tend_workers(&mut self.sockets);
        Ok(Ended {
            stats: self.core.counted(),
            uptime: self.sockets.clock.elapsed(),
            snapshot: self.core.snapshot(&self.sockets),
        })
    }

    fn timeout(&self) -> Option<Duration> {
        let core = self.core.timeout(&self.sockets);
        let beat = self.systemd.timeout(self.core.moment().now);
        [core, beat].into_iter().flatten().min()
    }

    fn turn(&mut self, has_signals: bool) {
        let moment = self.sockets.clock.read();
        self.core.begin(moment, &self.sockets);
        // Before the others: what an operator asks for holds in this turn.
        if has_signals {
            self.handle_signals();
        }
        self.core.turn(&mut self.sockets);
        if self.core.poll_freed() {
            trim::begin();
        }
        // After the turn, which has accepted everybody who was waiting: a listener that is closed resets them.
        let is_let_go = (self.leash.as_ref()).is_some_and(|leash| leash.load(Ordering::Acquire));
        if is_let_go && !self.core.is_going_down() {
            self.shut_down();
        }
        // At the very end: a beat says that a whole turn was done.
        self.systemd.beat(moment.now, || status(&self.core));
        let took = self.sockets.clock.elapsed().saturating_sub(moment.now);
        self.core.note_turn(took);
    }

    fn shut_down(&mut self) {
        self.sockets.close();
        self.core.shut_down();
        let time = Duration::from_secs(self.config.process.shutdown_seconds.into());
        self.systemd.stopping(time);
    }

    fn handle_signals(&mut self) {
        let (mut is_reloading, mut reloaded) = (false, None);
        let pending: Vec<Signal> = self.signals.pending().collect();
        for signal in pending {
            match signal {
                // systemd sends the signal to every process of a service. The parent knows when all events are here.
                Signal::Shutdown if self.leash.is_some() => {
                    log::info!("shutdown: a worker goes down when its parent has it go down");
                }
                Signal::Shutdown => self.shut_down(),
                Signal::Reload => {
                    self.systemd.reloading();
                    is_reloading = true;
                    match (self.reread)() {
                        Ok(config) => {
                            reloaded = Some(config);
                            self.core.team().into_iter().for_each(Team::reload);
                        }
                        Err(sentence) => log::error!("reload: nothing is changed: {sentence}"),
                    }
                }
                Signal::Summary => {
                    self.core.log_summary();
                    self.core.team().into_iter().for_each(Team::summarize);
                }
            }
        }
        if let Some(config) = reloaded {
            self.reload(config);
        }
        if is_reloading {
            self.systemd.ready(&status(&self.core));
        }
    }
}

/// What a service manager shows.
fn status(core: &Core<Sockets>) -> String {
    let (mut connections, mut topics) = (core.engine().connections(), core.engine().topics());
    if let Some(team) = core.team() {
        let sum = team.sum();
        (connections, topics) = (connections + sum.connections, topics + sum.topics);
        let (ready, all) = (team.ready(), team.count());
        return format!(
            "serving, workers: {ready} of {all}, connections: {connections}, topics: {topics}"
        );
    }
    format!("serving, connections: {connections}, topics: {topics}")
}
