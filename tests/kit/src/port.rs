//! A port that a test holds for as long as it needs one: nobody listens there unless the test starts somebody.
//!
//! A port that was free a moment ago may be anybody's by now. This one has a socket that is bound and does not
//! listen, so the kernel gives the port to nobody else and refuses whoever connects. A server that sets
//! `SO_REUSEADDR`, as all servers here do, can listen there all the same, end, and listen there again.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::Server;

/// See above.
#[derive(Debug)]
pub struct Port {
    /// Of 127.0.0.1.
    pub address: SocketAddr,
    _socket: Socket,
}

impl Port {
    /// Takes one.
    pub fn hold() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        let socket = socket.expect("a socket");
        socket.set_reuse_address(true).expect("set");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port");
        let address = socket.local_addr().expect("bound").as_socket();
        Self {
            address: address.expect("IPv4"),
            _socket: socket,
        }
    }

    /// Takes one that no connection has: the kernel does not give these to sockets that connect. It is for programs
    /// that try whether they could listen on every address, which fails where any connection has the port.
    pub fn hold_unconnected() -> Self {
        let first = 20_000 + std::process::id() % 5_000;
        let mut ports =
            (first..32_000).map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port as u16)));
        let held = ports.find_map(|address| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
            // Without sharing, so that nobody else holds it.
            socket.bind(&address.into()).ok()?;
            socket.set_reuse_address(true).ok()?;
            Some(Self {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
                _socket: socket,
            })
        });
        held.expect("a port")
    }

    /// As a ZeroMQ endpoint.
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

/// Ports for a server that ends and comes back at the same addresses.
#[derive(Debug)]
pub struct Place {
    /// Where its clients connect.
    pub listen: Port,
    /// Where its publishers push to.
    pub pull: Port,
    /// Where its administrators ask.
    pub admin: Port,
}

impl Place {
    /// Takes three.
    pub fn hold() -> Self {
        Self {
            listen: Port::hold(),
            pull: Port::hold(),
            admin: Port::hold(),
        }
    }

    /// Starts a server there.
    pub fn start(&self, options: &[&str]) -> Server {
        let (listen, admin) = (&self.listen.address, &self.admin.address);
        let (listen, pull, admin) = (listen.to_string(), self.pull.endpoint(), admin.to_string());
        let place = ["--listen", &listen, "--pull", &pull, "--admin", &admin];
        let server = Server::start(&[&place[..], options].concat());
        // The last address of each kind: those on top of these were free.
        assert_eq!(server.address, self.listen.address);
        assert_eq!(server.pull, pull);
        server
    }
}
