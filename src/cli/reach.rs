//! TCP connections of the commands: a host by its name, and the first of its addresses that accepts.
//!
//! Never here: what is said on a connection, and trying again.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, which waits: no engine to hand the time to"
)]

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::net::HostPort;
use crate::net::names::{System, within};

/// How long the connection may take, and each read and write until the server has answered a request.
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The moment until which something is waited for. A server that sends a byte now and then never lets a read wait in vain,
/// so whatever takes several reads has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub(super) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// How long that still is; `None` when it has passed.
    pub(super) fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// The addresses of a host, looked up as all of newswire does.
pub(super) fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let name = HostPort {
        host: host.to_owned(),
        port,
    };
    within(HANDSHAKE_PATIENCE, &name, System)
}

/// A TCP connection to the first of the host's addresses that accepts one.
pub(super) fn reach((host, port): (&str, u16)) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses(host, port).map_err(io::Error::other)? {
        match TcpStream::connect_timeout(&address, HANDSHAKE_PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(HANDSHAKE_PATIENCE))?;
                stream.set_write_timeout(Some(HANDSHAKE_PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
