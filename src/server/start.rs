//! From a configuration to a server that has bound everything.
//!
//! When anything that the configuration asks for cannot be had, the start ends with an error. Nothing is served before
//! everything is there.
//!
//! Never here: what a turn does, and what a reload can change.

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::{Poll, Registry, Token, Waker};

use super::listeners::{Listeners, SocketOptions};
use super::lobby::Lobby;
use super::pid_file::{PidFile, check_folder};
use super::rules::{Budgets, admin_rules};
use super::signals::Signals;
use super::sockets::Sockets;
use super::stores::{self, Stores, Watched};
use super::tokens::PollToken;
use super::turn::{Core, Seeds};
use super::{Reread, Server, StartError, Systemd, brokers, capacity};
use crate::config::Config;
use crate::ingest::Source;
use crate::ingest::zeromq::PeerRules;
use crate::ingest::zeromq::pull::Pull;
use crate::ingest::zeromq::socket_file::{FileAccess, is_no_socket};
use crate::ingest::zeromq::sub::Sub;
use crate::limits;
use crate::net::names::System;
use crate::relay::Relay;
use crate::stats::{Door, Stats};
use crate::wake::Wake;

/// How many sources share one ZeroMQ context. A context has at most 1,023 sockets. A source has three, and for a
/// moment three more when it connects again.
const CONTEXT_SOURCES_MAX: usize = 128;

impl Server {
    /// Binds everything that `systemd` has not passed, raises the limit of open files, and takes over the
    /// signals. `reread` is called at each SIGHUP.
    ///
    /// # Errors
    /// The address and the cause, when anything that `config` asks for cannot be had.
    pub fn start(
        config: &Config,
        reread: Reread,
        mut systemd: Systemd,
    ) -> Result<Self, StartError> {
        let capacity = capacity::raise(config.clients.connections_max);
        let poll = Poll::new().map_err(system("create a poller"))?;
        let registry = poll.registry();
        let stats = Rc::<Stats>::default();
        let (listeners, lobby) = bind(
            config,
            systemd.take_listeners(),
            capacity.strangers_max,
            registry,
            Rc::clone(&stats),
        )?;
        let wake = wake(registry)?;
        let sources = open_sources(config, &wake)?;
        let signals = Signals::register(registry, PollToken::Signals.into())
            .map_err(system("take over signals"))?;
        for warning in stores::check(&config.auth).map_err(StartError::Store)? {
            log::warn!("{warning}");
        }
        let Stores { stores, watched } =
            stores::stores(&config.auth, &Watched::default(), &wake).map_err(StartError::Store)?;
        let mut core = Core::new(
            config,
            capacity.connections_max,
            stores,
            sources,
            seeds()?,
            Budgets::default(),
            stats,
        );
        let mut sockets = Sockets::new(poll, listeners, lobby);
        core.watch_sources(&mut sockets)
            .map_err(system("watch a ZeroMQ socket"))?;
        if !config.relay.endpoints.is_empty() {
            let relay = open_relay(config)?;
            core.set_relay(relay, &mut sockets)
                .map_err(system("watch a ZeroMQ socket"))?;
        }
        // Last: a script that reads the file may send a signal at once.
        let pid_file = match &*config.process.pid_file {
            "" => None,
            path => Some(PidFile::write(Path::new(path)).map_err(StartError::PidFile)?),
        };
        Ok(Self {
            core,
            sockets,
            signals,
            systemd,
            config: config.clone(),
            reread,
            watched,
            wake,
            leash: None,
            capacity,
            _pid_file: pid_file,
        })
    }
}

fn seeds() -> Result<Seeds, StartError> {
    let (mut sessions, mut tokens, mut epoch) = ([0; 8], [0; 32], [0; 8]);
    getrandom::fill(&mut sessions)
        .and_then(|()| getrandom::fill(&mut tokens))
        .and_then(|()| getrandom::fill(&mut epoch))
        .map_err(|error| StartError::System("get random numbers", error.into()))?;
    Ok(Seeds {
        sessions: u64::from_ne_bytes(sessions),
        tokens,
        epoch,
    })
}

/// Checks that the paths of `config` can be used, and makes nothing. A newswire that runs may have them.
///
/// # Errors
/// A sentence about the first path that cannot be used.
pub fn check_paths(config: &Config) -> Result<(), String> {
    if let Some(endpoint) = config
        .ingest
        .pull
        .iter()
        .find(|endpoint| is_no_socket(endpoint))
    {
        return Err(format!(
            "pull {endpoint}: a file that is no socket stands at this path: move it away, or name another path"
        ));
    }
    let files = [
        ("pid-file", &config.process.pid_file),
        ("ready-file", &config.process.ready_file),
    ];
    let mut named = files.iter().filter(|(_, path)| !path.is_empty());
    named.try_for_each(|(option, path)| check_folder(option, Path::new(path)))
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System(action, error)
}

/// Binds all listeners. Those that were `passed` are for clients.
fn bind(
    config: &Config,
    passed: Vec<TcpListener>,
    strangers_max: usize,
    registry: &Registry,
    stats: Rc<Stats>,
) -> Result<(Listeners, Lobby), StartError> {
    // A parent has no listener for clients, so whoever has workers and one is a worker.
    let shares_port = config.process.workers.count().is_some();
    let listen = |option, addresses: &[SocketAddr], passed, token: fn(usize) -> PollToken| {
        let options = SocketOptions::new(&config.listen, shares_port && option == "listen");
        let mut listeners = Listeners::bind(addresses, passed, options)
            .map_err(|(address, error)| StartError::listen(option, address, error))?;
        listeners
            .register(registry, |index| token(index).into())
            .map_err(system("watch a listener"))?;
        Ok(listeners)
    };
    let admin = |index| PollToken::AdminListener(Door::Admin, index);
    let publish = |index| PollToken::AdminListener(Door::Publish, index);
    let listeners = listen(
        "listen",
        &config.listen.addresses,
        passed,
        PollToken::Listener,
    )?;
    let lobby = Lobby::new(
        listen("admin", &config.admin.addresses, Vec::new(), admin)?,
        listen("publish", &config.publish.addresses, Vec::new(), publish)?,
        admin_rules(config),
        strangers_max,
        stats,
    );
    Ok((listeners, lobby))
}

/// Opens all sources, except for HTTP: first the endpoints that are bound, then those that are connected to.
fn open_sources(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn Source>>, StartError> {
    let mut contexts = iter::repeat_with(zmq::Context::new)
        .flat_map(|context| iter::repeat_n(context, CONTEXT_SOURCES_MAX));
    let rules = PeerRules {
        takes_old_zmtp: config.ingest.takes_old_zmtp,
        seconds: config.ingest.publisher_seconds,
    };
    let access = FileAccess::new(config.ingest.pull_mode, &config.ingest.pull_group)
        .map_err(StartError::Access)?;
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for (endpoint, context) in config.ingest.pull.iter().zip(&mut contexts) {
        let pull = Pull::bind(&context, endpoint, rules, access);
        sources.push(Box::new(
            pull.map_err(|error| StartError::bind("pull", error))?,
        ));
    }
    for (endpoint, context) in config.ingest.sub.iter().zip(&mut contexts) {
        let wake = Arc::clone(wake);
        // The server's time begins with its first turn.
        let start = Duration::ZERO;
        let sub = Sub::open(&context, endpoint, rules, start, System, move || wake());
        sources.push(Box::new(sub.map_err(StartError::Source)?));
    }
    sources.extend(brokers::open(config, wake).map_err(StartError::Broker)?);
    Ok(sources)
}

/// Opens the socket for other servers.
fn open_relay(config: &Config) -> Result<Relay, StartError> {
    let rules = PeerRules {
        takes_old_zmtp: true,
        seconds: config.ingest.publisher_seconds,
    };
    let (context, access) = (zmq::Context::new(), FileAccess::default());
    let unread_max = match config.process.workers.count() {
        Some(_) => limits::WORKER_EVENTS_UNREAD_MAX,
        None => limits::RELAY_EVENTS_UNREAD_MAX,
    };
    Relay::bind(&context, &config.relay.endpoints, rules, access, unread_max)
        .map_err(|error| StartError::bind("relay", error))
}

/// What wakes the loop from another thread.
fn wake(registry: &Registry) -> Result<Wake, StartError> {
    let waker =
        Waker::new(registry, Token::from(PollToken::Wake)).map_err(system("make a waker"))?;
    Ok(Arc::new(move || {
        if let Err(error) = waker.wake() {
            log::error!("wake: error={error}");
        }
    }))
}
