//! Signals as readiness: SIGTERM, SIGINT, SIGHUP and SIGUSR1.
//!
//! Never here: what follows from them.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals as Source;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Shutdown,
    /// SIGHUP: the configuration is to be read again.
    Reload,
    /// SIGUSR1: the log is to say how things are.
    Summary,
}

/// The signals that newswire listens to.
pub struct Signals(Source);

impl Signals {
    /// Puts itself in the place of their default actions, and registers them.
    ///
    /// # Errors
    /// Those of the system.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut source = Source::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Self(source))
    }

    /// The signals that have come.
    pub fn pending(&mut self) -> impl Iterator<Item = Signal> {
        self.0.pending().map(|signal| match signal {
            SIGHUP => Signal::Reload,
            SIGUSR1 => Signal::Summary,
            _ => Signal::Shutdown,
        })
    }
}
