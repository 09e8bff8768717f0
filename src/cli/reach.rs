//! TCP connections of the commands: a host by its name, and the first of its addresses that accepts.
//!
//! Never here: what is said on a connection, and trying again.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::net::HostPort;
use crate::net::names::{System, within};

/// How long the connection may take, and each read and write until the server has answered a request.
pub(super) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

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
