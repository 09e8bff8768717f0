//! PULL sockets: newswire binds an endpoint, publishers connect to it and push.
//!
//! **Who may push.** libzmq takes everything that does not begin with the bytes of ZMTP 2 or 3 for ZMTP 1.0, and
//! reads frames from it. A web page can make a browser send such bytes: the body of a POST. So newswire gives
//! the socket a ZAP domain (ZeroMQ's authentication, RFC 27). On such a socket libzmq refuses ZMTP 1.0
//! and 2.0, which cannot authenticate. Since the process has no ZAP handler, libzmq lets all peers of ZMTP 3 in.
//! A SUB socket needs no domain: newswire chooses the publishers that it connects to.
//!
//! Never here: how messages are received (the same for all sockets), and what they say.

use std::io;
use std::time::Duration;

use super::monitor::{Monitor, PeerEvent};
use super::socket::{Socket, prepare, refuse_old_zmtp};
use super::socket_file::{self, FileAccess};
use super::{PeerRules, SetUpError, SourceError};
use crate::health::Health;
use crate::ingest::{Descriptor, Host, Received, Source, SourceId};
use crate::stats::Ingest;

/// An endpoint that publishers push to.
#[derive(Debug)]
pub struct Pull {
    pub(super) socket: Socket,
    /// In peers that were refused since the start.
    refused: u64,
}

impl Pull {
    /// Binds a PULL socket to `endpoint`. `access` is for the socket's file, if it has one.
    ///
    /// # Errors
    /// When the endpoint cannot be bound: it is taken, or not an endpoint.
    pub fn bind(
        context: &zmq::Context,
        endpoint: &str,
        rules: PeerRules,
        access: FileAccess,
    ) -> Result<Self, SourceError> {
        let set_up = || {
            socket_file::make_room(endpoint)?;
            let socket = context.socket(zmq::PULL)?;
            prepare(&socket, endpoint, rules)?;
            if !rules.takes_old_zmtp {
                refuse_old_zmtp(&socket)?;
            }
            let monitor = Monitor::attach(context, &socket)?;
            let bound = access.bind(|| {
                socket.bind(endpoint)?;
                // With a wildcard port, the one that it became.
                let bound = socket.get_last_endpoint()?;
                Ok(bound.unwrap_or_else(|_| endpoint.to_owned()))
            })?;
            Ok::<_, SetUpError>((socket, monitor, bound))
        };
        Ok(Self {
            socket: Socket::new("bind", endpoint, set_up())?,
            refused: 0,
        })
    }
}

impl Source for Pull {
    fn name(&self) -> &str {
        self.socket.endpoint()
    }

    fn kind(&self) -> Ingest {
        Ingest::Pull
    }

    fn is_ready(&self) -> bool {
        self.socket.is_ready()
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        self.socket.receive()
    }

    fn tend(&mut self, _: SourceId, _: Duration, budget: &mut usize, host: &mut dyn Host) {
        while let Some(event) = self.socket.poll_peer(budget) {
            if let PeerEvent::Refused(refusal) = event {
                self.refused += 1;
                host.refused_peer(Ingest::Pull, self.socket.endpoint(), refusal);
            }
        }
    }

    fn watch(&self, id: SourceId, host: &mut dyn Host) -> io::Result<()> {
        self.socket.watch(id, host)
    }

    fn handle_readiness(&mut self, descriptor: Descriptor) {
        self.socket.handle_readiness(descriptor);
    }

    fn timeout(&self, _: Duration) -> Option<Duration> {
        self.socket.has_peer_events().then_some(Duration::ZERO)
    }

    fn health(&self, _: Duration) -> Option<Health<'_>> {
        Some(Health {
            peers: self.socket.peers(),
            refused: self.refused,
            upstream: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::zeromq::socket::tests::RULES;

    fn bind(context: &zmq::Context, endpoint: &str) -> Result<Pull, SourceError> {
        Pull::bind(context, endpoint, RULES, FileAccess::default())
    }

    #[test]
    fn a_taken_endpoint_is_an_error_that_names_it() {
        let context = zmq::Context::new();
        let first = bind(&context, "tcp://127.0.0.1:*").expect("a free port");
        let error = bind(&context, first.name()).expect_err("taken");
        assert!(error.is_taken(), "{error}");
        assert_eq!(error.endpoint(), first.name());
        let text = error.to_string();
        assert!(text.contains(first.name()), "{text}");
        assert!(text.contains("in use"), "{text}");
    }

    #[test]
    fn an_ipv6_endpoint_is_bound() {
        let context = zmq::Context::new();
        match bind(&context, "tcp://[::1]:*") {
            Ok(source) => assert!(source.name().starts_with("tcp://[::1]:")),
            // A host without IPv6 says so, and not that the endpoint is wrong.
            Err(error) => assert!(!error.to_string().contains("Invalid"), "{error}"),
        }
    }
}
