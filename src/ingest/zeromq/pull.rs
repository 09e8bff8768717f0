//! PULL sockets: newswire binds an endpoint, publishers connect to it and push.
//!
//! **Who may push.** libzmq takes whatever does not begin with the bytes of ZMTP 2 or 3 for ZMTP 1.0, and reads
//! frames from it. A web page can make a browser send such bytes: the body of a POST. libzmq refuses ZMTP 1.0
//! and 2.0 on a socket with a ZAP domain (ZeroMQ's authentication, RFC 27), since these cannot authenticate.
//! Without a ZAP handler in the process it asks nobody about the peers of ZMTP 3, and lets them in. A SUB
//! socket needs no domain: newswire chooses whom it connects to.
//!
//! Never here: how messages are received (the same for all sources), and what they say.

use super::monitor::Monitor;
use super::socket_file::{self, Access};
use super::{Cause, PeerRules, SourceError, ZeroMqSource, prepare};

/// Any name will do: it is for a ZAP handler, and there is none.
const ZAP_DOMAIN: &str = "newswire";

impl ZeroMqSource {
    /// A PULL socket bound to `endpoint`; `access` is for its file, where it has one.
    ///
    /// # Errors
    /// When the endpoint cannot be bound: it is taken, or not an endpoint.
    pub fn bind_pull(
        context: &zmq::Context,
        endpoint: &str,
        rules: PeerRules,
        access: Access,
    ) -> Result<Self, SourceError> {
        let set_up = || {
            socket_file::make_room(endpoint)?;
            let socket = context.socket(zmq::PULL)?;
            prepare(&socket, endpoint, rules)?;
            if !rules.takes_old_zmtp {
                socket.set_zap_domain(ZAP_DOMAIN)?;
            }
            let monitor = Monitor::attach(context, &socket)?;
            let bound = access.bind(|| {
                socket.bind(endpoint)?;
                // With a wildcard port, the one that it became.
                let bound = socket.get_last_endpoint()?;
                Ok(bound.unwrap_or_else(|_| endpoint.to_owned()))
            })?;
            Ok::<_, Cause>((socket, monitor, bound))
        };
        Self::new("bind", endpoint, set_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::zeromq::tests::RULES;

    fn bind(context: &zmq::Context, endpoint: &str) -> Result<ZeroMqSource, SourceError> {
        ZeroMqSource::bind_pull(context, endpoint, RULES, Access::default())
    }

    #[test]
    fn a_taken_endpoint_is_an_error_that_names_it() {
        let context = zmq::Context::new();
        let first = bind(&context, "tcp://127.0.0.1:*").expect("a free port");
        let error = bind(&context, first.endpoint()).expect_err("taken");
        assert!(error.is_taken(), "{error}");
        assert_eq!(error.endpoint(), first.endpoint());
        let text = error.to_string();
        assert!(text.contains(first.endpoint()), "{text}");
        assert!(text.contains("in use"), "{text}");
    }

    #[test]
    fn an_ipv6_endpoint_is_bound() {
        let context = zmq::Context::new();
        match bind(&context, "tcp://[::1]:*") {
            Ok(source) => assert!(source.endpoint().starts_with("tcp://[::1]:")),
            // A host without IPv6 says so, and not that the endpoint is wrong.
            Err(error) => assert!(!error.to_string().contains("Invalid"), "{error}"),
        }
    }
}
