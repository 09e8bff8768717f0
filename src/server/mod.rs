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
mod tokens;
mod turn;
mod views;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use capacity::Capacity;
use pid_file::PidFile;
use signals::{Signal, Signals};
use sockets::Sockets;
use stores::Watched;

pub use capacity::connections_max;
pub use error::StartError;
pub use outside::{Accepted, Outside, Ready};
pub use rules::{Budgets, gate_rules, rules};
pub use start::check_paths;
pub use stores::{Entrance, check_stores};
pub use systemd::Systemd;
pub use turn::{Core, Seeds};

use crate::auth::Wake;
use crate::config::Config;
use crate::stats::Stats;
use crate::trim;

/// Reads the configuration again: as it is now, or what is wrong with it.
pub type Reread = Box<dyn FnMut() -> Result<Config, String>>;

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

    /// Serves until SIGTERM or SIGINT, and answers what was counted and how long that took.
    ///
    /// # Errors
    /// Those of the poller, without which nothing goes on.
    pub fn run(mut self) -> io::Result<(Rc<Stats>, Duration)> {
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
        Ok((Rc::clone(self.core.stats()), self.sockets.clock.elapsed()))
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
        // At the very end: a beat says that a whole turn was done.
        self.systemd.beat(moment.now, || status(&self.core));
        let took = self.sockets.clock.elapsed().saturating_sub(moment.now);
        self.core.note_turn(took);
    }

    fn handle_signals(&mut self) {
        let (mut is_reloading, mut reloaded) = (false, None);
        for signal in self.signals.pending() {
            match signal {
                Signal::Shutdown => {
                    self.sockets.close();
                    self.core.shut_down();
                    let time = Duration::from_secs(self.config.process.shutdown_seconds.into());
                    self.systemd.stopping(time);
                }
                Signal::Reload => {
                    self.systemd.reloading();
                    is_reloading = true;
                    match (self.reread)() {
                        Ok(config) => reloaded = Some(config),
                        Err(sentence) => log::error!("reload: nothing is changed: {sentence}"),
                    }
                }
                Signal::Summary => self.core.log_summary(),
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
    let (connections, topics) = (core.engine().connections(), core.engine().topics());
    format!("serving, connections: {connections}, topics: {topics}")
}
