//! PULL sockets: newswire binds an endpoint, publishers connect to it and push.
//!
//! Never here: how messages are received (the same for all sources), and what they say.

use super::monitor::Monitor;
use super::{SourceError, ZeroMqSource, prepare};

impl ZeroMqSource {
    /// A PULL socket bound to `endpoint`.
    ///
    /// # Errors
    /// When the endpoint cannot be bound: it is taken, or not an endpoint.
    pub fn bind_pull(context: &zmq::Context, endpoint: &str) -> Result<Self, SourceError> {
        let set_up = || {
            let socket = context.socket(zmq::PULL)?;
            prepare(&socket, endpoint)?;
            let monitor = Monitor::attach(context, &socket)?;
            socket.bind(endpoint)?;
            // With a wildcard port, the one that it became.
            let bound = socket.get_last_endpoint()?;
            Ok((
                socket,
                monitor,
                bound.unwrap_or_else(|_| endpoint.to_owned()),
            ))
        };
        Self::new("bind", endpoint, set_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_endpoint_is_an_error_that_names_it() {
        let context = zmq::Context::new();
        let first = ZeroMqSource::bind_pull(&context, "tcp://127.0.0.1:*").expect("a free port");
        let error = ZeroMqSource::bind_pull(&context, first.endpoint()).expect_err("taken");
        assert!(error.is_taken(), "{error}");
        assert_eq!(error.endpoint(), first.endpoint());
        let text = error.to_string();
        assert!(text.contains(first.endpoint()), "{text}");
        assert!(text.contains("in use"), "{text}");
    }

    #[test]
    fn an_ipv6_endpoint_is_bound() {
        let context = zmq::Context::new();
        match ZeroMqSource::bind_pull(&context, "tcp://[::1]:*") {
            Ok(source) => assert!(source.endpoint().starts_with("tcp://[::1]:")),
            // A host without IPv6 says so, and not that the endpoint is wrong.
            Err(error) => assert!(!error.to_string().contains("Invalid"), "{error}"),
        }
    }
}
