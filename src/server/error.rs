//! Why the server could not start, in words that say what to do about it.
//!
//! Never here: what a server at work logs (`report`), and what is wrong with the configuration itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::ingest::zeromq::SourceError;
use crate::occupant::{self, Occupant};

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// Another process has the address already.
    Taken {
        /// What cannot be done.
        action: String,
        /// The process that has it, if the system tells.
        occupant: Option<Occupant>,
        /// The option that takes another.
        option: &'static str,
    },
    /// A ZeroMQ endpoint cannot be used.
    Source(SourceError),
    /// A client of a message broker cannot be started; the text says why.
    Broker(String),
    /// The file with the process's number cannot be written; the text says why.
    PidFile(String),
    /// The rights of a socket's file cannot be set.
    Access(String),
    /// A token store cannot be used as it is configured.
    Store(String),
    /// The system refuses something else; the text says what.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken {
                action,
                occupant,
                option,
            } => {
                write!(f, "cannot {action}: the address is in use")?;
                if let Some(occupant) = occupant {
                    write!(f, " by {occupant}")?;
                }
                f.write_str(match occupant {
                    Some(Occupant::ThisProcess) => ": systemd may have passed it",
                    _ => ": is another newswire running?",
                })?;
                write!(f, " --{option} takes another address")?;
                // A second newswire that is only tried does not need these.
                f.write_str(match *option {
                    "admin" | "publish" => ", or `off`",
                    _ => "",
                })
            }
            Self::Listen(address, cause) => {
                write!(f, "cannot listen on {address}: {cause}")?;
                f.write_str(match cause.kind() {
                    io::ErrorKind::PermissionDenied => {
                        ": ports below 1024 are for root, for a socket unit of systemd, or for the proxy in front"
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        ": this machine has no such address (`ip address` lists them); 0.0.0.0 is all of them"
                    }
                    _ => "",
                })
            }
            Self::Source(error) => error.fmt(f),
            Self::Access(sentence)
            | Self::Broker(sentence)
            | Self::PidFile(sentence)
            | Self::Store(sentence) => f.write_str(sentence),
            Self::System(action, cause) => write!(f, "cannot {action}: {cause}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The error of a listener. The process that has the address is looked up at once, while it has it.
    pub(super) fn listen(option: &'static str, address: SocketAddr, cause: io::Error) -> Self {
        if cause.kind() != io::ErrorKind::AddrInUse {
            return Self::Listen(address, cause);
        }
        Self::Taken {
            action: format!("listen on {address}"),
            occupant: occupant::of(address),
            option,
        }
    }

    /// The error of a ZeroMQ socket that was to be bound.
    pub(super) fn bind(option: &'static str, cause: SourceError) -> Self {
        if !cause.is_taken() {
            return Self::Source(cause);
        }
        Self::Taken {
            action: format!("bind {} for ZeroMQ", cause.endpoint()),
            occupant: occupant::of_endpoint(cause.endpoint()),
            option,
        }
    }
}
