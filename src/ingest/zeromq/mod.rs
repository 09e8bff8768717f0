//! Events over ZeroMQ: PULL sockets that publishers connect to ([`pull`]), SUB sockets that connect to
//! publishers ([`sub`]).
//!
//! Never here: what a message says.

pub mod monitor;
pub mod pull;
pub mod socket;
pub mod socket_file;
pub mod sub;
pub mod uplink;

use std::fmt;
use std::io;

/// What a source demands of its peers.
#[derive(Clone, Copy, Debug)]
pub struct PeerRules {
    /// True exactly when peers may push that speak ZMTP 1.0 or 2.0.
    pub takes_old_zmtp: bool,
    /// In seconds: a peer that does not answer for so long is dropped; 0: never.
    pub seconds: u32,
}

/// A source that could not be set up.
#[derive(Debug)]
pub struct SourceError {
    endpoint: String,
    action: &'static str,
    cause: SetUpError,
}

/// The cause of a [`SourceError`].
#[derive(Debug)]
pub enum SetUpError {
    /// libzmq refuses.
    ZeroMq(zmq::Error),
    /// Something answers at the path of an `ipc://` endpoint.
    Answered,
    /// The path names something that is no socket.
    NoSocket,
    /// Something else cannot be done with the path.
    File(&'static str, io::Error),
}

impl From<zmq::Error> for SetUpError {
    fn from(error: zmq::Error) -> Self {
        Self::ZeroMq(error)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint, action, ..
        } = self;
        write!(f, "ZeroMQ: cannot {action} {endpoint}: ")?;
        match &self.cause {
            SetUpError::ZeroMq(error) => error.fmt(f),
            SetUpError::Answered => f.write_str("another process answers there"),
            SetUpError::NoSocket => f.write_str(
                "the path names something that is no socket, and newswire does not delete it: move it away, \
                 or name another path",
            ),
            SetUpError::File(action, error) => write!(f, "cannot {action}: {error}"),
        }
    }
}

impl SourceError {
    /// `action` cannot be done with `endpoint`.
    pub fn new(endpoint: &str, action: &'static str, cause: SetUpError) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            action,
            cause,
        }
    }

    /// The endpoint that was asked for.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns true when another process has the endpoint.
    pub fn is_taken(&self) -> bool {
        matches!(
            self.cause,
            SetUpError::Answered | SetUpError::ZeroMq(zmq::Error::EADDRINUSE)
        )
    }
}

impl std::error::Error for SourceError {}
