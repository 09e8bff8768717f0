//! SUB sockets: newswire connects to publishers that have bound, and asks them for topics.
//!
//! Never here: how messages are received (the same for all sources), and what they say.

use super::monitor::Monitor;
use super::{Cause, PeerRules, SourceError, ZeroMqSource, prepare};
use crate::limits;

impl ZeroMqSource {
    /// A SUB socket connected to `endpoint`, without subscriptions. ZeroMQ connects in the
    /// background and again whenever the peer comes back.
    ///
    /// # Errors
    /// When `endpoint` is not one that could be connected to.
    pub fn connect_sub(
        context: &zmq::Context,
        endpoint: &str,
        rules: PeerRules,
    ) -> Result<Self, SourceError> {
        let set_up = || {
            let socket = context.socket(zmq::SUB)?;
            prepare(&socket, endpoint, rules)?;
            socket.set_sndhwm(limits::SUBSCRIPTIONS_QUEUED_MAX)?;
            let monitor = Monitor::attach(context, &socket)?;
            socket.connect(endpoint)?;
            Ok::<_, Cause>((socket, monitor, endpoint.to_owned()))
        };
        Self::new("connect to", endpoint, set_up())
    }

    /// Asks the publishers for `topic`. ZeroMQ compares prefixes, so longer names come as well.
    pub fn subscribe(&mut self, topic: &str) {
        // An empty name is no event's topic, and as a prefix it would ask for everything.
        if !topic.is_empty() {
            let result = self.socket.set_subscribe(topic.as_bytes());
            self.note("subscribe", topic, result);
        }
    }

    /// Asks the publishers for `topic` no more.
    pub fn unsubscribe(&mut self, topic: &str) {
        if !topic.is_empty() {
            let result = self.socket.set_unsubscribe(topic.as_bytes());
            self.note("unsubscribe", topic, result);
        }
    }

    fn note(&mut self, action: &str, topic: &str, result: Result<(), zmq::Error>) {
        self.is_ready = true;
        if let Err(error) = result {
            let endpoint = &self.endpoint;
            log::error!("ingest: {action} endpoint={endpoint} topic={topic:?} error={error}");
        }
    }
}
