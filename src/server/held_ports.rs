//! The ports of a server whose workers listen: nobody else can take them while the server runs.
//!
//! Workers listen with SO_REUSEPORT, so the kernel would let every process of the same user listen beside them, another
//! newswire too. So the parent first listens as a server without workers does: a port that somebody has is an error,
//! with the name of who has it. Then it keeps a socket that is bound and never listens. With that a second parent does
//! not get this far, also while no worker listens; and port 0 is chosen once.
//!
//! Never here: clients.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;
use super::listeners::{Listeners, SocketOptions};
use crate::config::ListenOptions;

/// The ports. They are given back when this is dropped.
#[derive(Debug)]
pub struct HeldPorts {
    addresses: Vec<SocketAddr>,
    _sockets: Vec<Socket>,
}

impl HeldPorts {
    /// Takes the addresses where clients are to connect.
    ///
    /// # Errors
    /// Those of a listener.
    pub fn take(listen: &ListenOptions) -> Result<Self, StartError> {
        let options = SocketOptions::new(listen, false);
        let taken = |(address, error)| StartError::listen("listen", address, error);
        let plain = Listeners::bind(&listen.addresses, Vec::new(), options).map_err(taken)?;
        let addresses = plain.addresses().to_vec();
        drop(plain);
        let hold = |&address: &SocketAddr| hold(address).map_err(|error| taken((address, error)));
        Ok(Self {
            _sockets: addresses.iter().map(hold).collect::<Result<_, _>>()?,
            addresses,
        })
    }

    /// The addresses, as bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

fn hold(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    // For the bind alone: connections of the server before may still be known to the kernel. Later it would let a
    // listener without SO_REUSEPORT in beside this socket.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.set_reuse_address(false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_port_is_held_and_workers_share_it() {
        let mut listen = Config::default().listen;
        // The kernel gives these ports to no connection, so that the port is free again at the end.
        let first = 20_000 + (std::process::id() % 5_000) as u16;
        let mut ports = first..32_000;
        let held = ports.find_map(|port| {
            listen.addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
            HeldPorts::take(&listen).ok()
        });
        let held = held.expect("a free port");
        assert_eq!(held.addresses(), listen.addresses);
        assert!(HeldPorts::take(&listen).is_err(), "nobody listens yet");
        let worker = || {
            let options = SocketOptions::new(&listen, true);
            Listeners::bind(&listen.addresses, Vec::new(), options)
        };
        let workers = [worker(), worker()];
        assert!(workers.iter().all(Result::is_ok), "{workers:?}");
        assert!(HeldPorts::take(&listen).is_err(), "workers listen");
        drop(workers);
        assert!(HeldPorts::take(&listen).is_err(), "no worker listens");
        drop(held);
        HeldPorts::take(&listen).expect("it was given back");
    }
}
