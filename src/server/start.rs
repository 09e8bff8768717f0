//! From a configuration to a server that has bound everything.
//!
//! Whatever is asked for and cannot be had ends the start; nothing is served before all of it is there.
//!
//! Never here: what a turn does, and what a reload can change.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Poll, Registry, Token, Waker};

use super::commands::Orders;
use super::lobby::Lobby;
use super::pid_file::PidFile;
use super::pulse::Pulse;
use super::report::Report;
use super::rules::{admin_rules, admin_standing, form, gate_rules, rules};
use super::shutdown::Shutdown;
use super::signals::Signals;
use super::sockets::{Listeners, SocketOptions};
use super::sources::watch;
use super::stores::{self, Stores, Watched};
use super::{
    ADMIN_LISTENERS, LISTENERS, LOBBY, PUBLISH_LISTENERS, Reread, SIGNALS, Server, StartError,
    Systemd, WAKE, capacity, unix_time,
};
use crate::admin::durations::{Durations, EVENT_BOUNDS, TURN_BOUNDS};
use crate::auth::gate::Gate;
use crate::auth::{Moment, Wake};
use crate::config::Config;
use crate::engine::Engine;
use crate::ingest::zeromq::socket_file::{Access, is_no_socket};
use crate::ingest::zeromq::sub::Sub;
use crate::ingest::zeromq::{PeerRules, ZeroMqSource};
use crate::net::names::System;

impl Server {
    /// Binds everything that `systemd` has not passed, raises the limit of open files, takes over the
    /// signals. `reread` is asked for the configuration at each SIGHUP.
    ///
    /// # Errors
    /// With the address and the cause, when anything that was asked for cannot be had.
    pub fn start(
        config: &Config,
        reread: Reread,
        mut systemd: Systemd,
    ) -> Result<Self, StartError> {
        let capacity = capacity::raise(config.clients.connections_max);
        let poll = Poll::new().map_err(system("create a poller"))?;
        let registry = poll.registry();
        let (listeners, lobby) = bind(
            config,
            systemd.take_listeners(),
            capacity.strangers_max,
            registry,
        )?;
        let wake = wake(registry)?;
        let Sources {
            sources,
            pulls,
            subs,
        } = open_sources(config, registry, &wake)?;
        let signals =
            Signals::register(registry, Token(SIGNALS)).map_err(system("take over signals"))?;
        stores::check(config).map_err(StartError::Store)?;
        let Stores { stores, watched } =
            stores::stores(config, &Watched::default(), &wake).map_err(StartError::Store)?;
        let (mut seed, mut key) = ([0; 8], [0; 32]);
        getrandom::fill(&mut seed)
            .and_then(|()| getrandom::fill(&mut key))
            .map_err(|error| StartError::System("get random numbers", error.into()))?;
        // Last: whoever reads it may send signals at once, and everything is bound.
        let pid_file = match &*config.process.pid_file {
            "" => None,
            path => Some(PidFile::write(Path::new(path)).map_err(StartError::PidFile)?),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the program's one clock starts here; a turn reads it once"
        )]
        let started = Instant::now();
        Ok(Self {
            engine: Engine::new(
                rules(config, capacity.connections_max),
                u64::from_ne_bytes(seed),
            ),
            gate: Gate::new(stores, gate_rules(config), key),
            watched,
            wake,
            form: form(config),
            config: config.clone(),
            reread,
            shutdown: Shutdown::new(
                config.process.shutdown_seconds,
                config.process.shutdown_close,
            ),
            poll,
            listeners,
            refused_peers: vec![0; sources.len()],
            subs,
            sources,
            first_source: 0,
            pulls,
            signals,
            accept_at: None,
            capacity,
            systemd,
            report: Report::default(),
            lobby,
            orders: Orders::default(),
            pulse: Pulse::default(),
            latency: Durations::new(EVENT_BOUNDS),
            turns: Durations::new(TURN_BOUNDS),
            admin_standing: admin_standing(),
            started,
            started_unix: unix_time(),
            moment: Moment::default(),
            _pid_file: pid_file,
        })
    }
}

/// Looks whether the paths of `config` can be had, and makes nothing. A newswire that runs may have them.
///
/// # Errors
/// A sentence about the first that cannot.
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
    match &*config.process.pid_file {
        "" => Ok(()),
        path => PidFile::check(Path::new(path)),
    }
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::System(action, error)
}

/// All listeners; those that were `passed` are for clients.
fn bind(
    config: &Config,
    passed: Vec<TcpListener>,
    strangers_max: usize,
    registry: &Registry,
) -> Result<(Listeners, Lobby), StartError> {
    let options = SocketOptions {
        unsent_bytes_max: config.listen.unsent_bytes_max,
        unacknowledged_seconds: config.listen.unacknowledged_seconds,
    };
    let listen = |option, addresses: &[SocketAddr], passed, first| {
        let mut listeners = Listeners::bind(addresses, passed, options)
            .map_err(|(address, error)| StartError::listen(option, address, error))?;
        listeners
            .register(registry, first)
            .map_err(system("watch a listener"))?;
        Ok(listeners)
    };
    let listeners = listen("listen", &config.listen.addresses, passed, LISTENERS)?;
    let lobby = Lobby::new(
        listen(
            "admin",
            &config.admin.addresses,
            Vec::new(),
            ADMIN_LISTENERS,
        )?,
        listen(
            "publish",
            &config.publish.addresses,
            Vec::new(),
            PUBLISH_LISTENERS,
        )?,
        admin_rules(config),
        strangers_max,
        LOBBY,
    );
    Ok((listeners, lobby))
}

/// Where events come from by ZeroMQ.
struct Sources {
    /// First those that bind, then those that connect out.
    sources: Vec<ZeroMqSource>,
    /// The endpoints of the first, as bound.
    pulls: Vec<String>,
    /// What outlives the sockets of the others.
    subs: Vec<Sub>,
}

fn open_sources(config: &Config, registry: &Registry, wake: &Wake) -> Result<Sources, StartError> {
    let context = zmq::Context::new();
    let rules = PeerRules {
        takes_old_zmtp: config.ingest.takes_old_zmtp,
        seconds: config.ingest.publisher_seconds,
    };
    let access = Access::new(config.ingest.pull_mode, &config.ingest.pull_group)
        .map_err(StartError::Access)?;
    let mut sources = Vec::new();
    for endpoint in &config.ingest.pull {
        let source = ZeroMqSource::bind_pull(&context, endpoint, rules, access);
        sources.push(source.map_err(StartError::pull)?);
    }
    let pulls: Vec<String> = sources.iter().map(|s| s.endpoint().to_owned()).collect();
    let mut subs = Vec::new();
    for endpoint in &config.ingest.sub {
        let wake = Arc::clone(wake);
        // The server's time begins with its first turn.
        let opened = Sub::open(
            &context,
            endpoint,
            rules,
            Duration::ZERO,
            System,
            move || wake(),
        );
        let (sub, source) = opened.map_err(StartError::Source)?;
        subs.push(sub);
        sources.push(source);
    }
    for (index, source) in sources.iter().enumerate() {
        watch(registry, index, source).map_err(system("watch a ZeroMQ socket"))?;
    }
    Ok(Sources {
        sources,
        pulls,
        subs,
    })
}

/// What wakes the loop from another thread.
fn wake(registry: &Registry) -> Result<Wake, StartError> {
    let waker = Waker::new(registry, Token(WAKE)).map_err(system("make a waker"))?;
    Ok(Arc::new(move || {
        if let Err(error) = waker.wake() {
            log::error!("wake: error={error}");
        }
    }))
}
