//! What the values of a configuration have to keep among each other.
//!
//! A sentence here names the options that do not fit, and the number to set.
//!
//! Never here: the range of a single option (that is in its entry), and any look at the machine.

use std::net::SocketAddr;

use super::{Config, overlap, topic_rules};
use crate::limits;
use crate::wire::jwt::JwtAlgorithm;

impl Config {
    /// Checks what the values have to keep among each other.
    ///
    /// # Errors
    /// Names the values that do not fit, and what to raise.
    pub fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        self.check_sources()?;
        self.check_auth()?;
        self.check_listeners()?;
        topic_rules::check(self)?;
        overlap::check(self)
    }

    fn check_sizes(&self) -> Result<(), String> {
        let (event, topic) = (self.ingest.event_bytes_max, self.clients.topic_bytes_max);
        if !limits::can_deliver(self.clients.outbox_bytes_max, event, topic) {
            return Err(format!(
                "outbox-bytes-max ({}) cannot hold the largest event, of event-bytes-max ({event}) with a \
                 topic of topic-bytes-max ({topic}) and the frame around it: raise outbox-bytes-max to {} \
                 or lower event-bytes-max",
                self.clients.outbox_bytes_max,
                limits::outbox_needed(event, topic),
            ));
        }
        if self.clients.outboxes_bytes_max / 2 < self.clients.outbox_bytes_max {
            return Err(format!(
                "outboxes-bytes-max ({}) is less than two of outbox-bytes-max ({}), so one slow client \
                 would cost the others their place: raise outboxes-bytes-max to {} or lower \
                 outbox-bytes-max",
                self.clients.outboxes_bytes_max,
                self.clients.outbox_bytes_max,
                self.clients.outbox_bytes_max * 2,
            ));
        }
        let subscribe = topic + limits::SUBSCRIBE_WRAPPING_BYTES;
        if self.clients.message_bytes_max < subscribe {
            return Err(format!(
                "message-bytes-max ({}) cannot hold the SUBSCRIBE of a topic of topic-bytes-max \
                 ({topic}): raise message-bytes-max to {subscribe} or lower topic-bytes-max",
                self.clients.message_bytes_max,
            ));
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), String> {
        // The admin listener takes events too.
        let http = [&self.publish.addresses, &self.admin.addresses];
        let zeromq = [&self.ingest.pull, &self.ingest.sub];
        if http.iter().all(|list| list.is_empty())
            && zeromq.iter().all(|list| list.is_empty())
            && self.brokers.amqp.is_empty()
            && self.brokers.nats.is_empty()
        {
            return Err(
                "none of pull, sub, amqp, nats, publish and admin names an address, so no event could ever come in: set \
                 one of them"
                    .to_owned(),
            );
        }
        if self.brokers.amqp_exchange.is_empty() && self.brokers.amqp_queue.is_empty() {
            return Err(
                "amqp-exchange and amqp-queue are both empty, so no event could come in over AMQP: name one of them"
                    .to_owned(),
            );
        }
        // The name of an abstract socket begins with `@`: it has no file.
        let has_file = |endpoint: &String| {
            let path = endpoint.strip_prefix("ipc://");
            path.is_some_and(|path| !path.starts_with('@'))
        };
        let owns_file = self.ingest.pull_mode.is_some() || !self.ingest.pull_group.is_empty();
        if owns_file && !self.ingest.pull.iter().any(has_file) {
            return Err(
                "pull-mode and pull-group are for the file of an ipc:// endpoint, and none of pull is one: \
                 leave them away or add one, such as ipc:///run/newswire/pull.sock"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn check_auth(&self) -> Result<(), String> {
        let has_keys = !self.auth.jwt_keys.is_empty() || !self.auth.jwks_urls.is_empty();
        if has_keys && self.auth.jwt_algorithm.is_none() {
            return Err(
                "auth-jwt-key or auth-jwks is given without auth-jwt-algorithm: say which of HS256, RS256, \
                 ES256 and EdDSA signs your tokens (it is never taken from a token)"
                    .to_owned(),
            );
        }
        if let Some(algorithm) = self.auth.jwt_algorithm.filter(|_| !has_keys) {
            return Err(format!(
                "auth-jwt-algorithm ({}) is given without a key: name one with auth-jwt-key or auth-jwks",
                algorithm.name()
            ));
        }
        if self.auth.jwt_algorithm == Some(JwtAlgorithm::Hs256) && !self.auth.jwks_urls.is_empty() {
            return Err(
                "auth-jwks cannot be used with auth-jwt-algorithm HS256: a set that is fetched holds public \
                 keys, and the secret of HS256 must not be one; name a file with auth-jwt-key"
                    .to_owned(),
            );
        }
        let asks = !self.auth.api_urls.is_empty() || !self.auth.postgres_urls.is_empty();
        if asks && self.auth.timeout_seconds >= self.clients.handshake_seconds {
            return Err(format!(
                "auth-timeout ({}) is not less than handshake-timeout ({}), so a client would be gone before \
                 it learns why: lower auth-timeout or raise handshake-timeout",
                self.auth.timeout_seconds, self.clients.handshake_seconds
            ));
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), String> {
        let open = |list: &[SocketAddr]| list.iter().find(|a| !a.ip().is_loopback()).copied();
        if let Some(address) = open(&self.admin.addresses)
            && self.admin.token.is_none()
        {
            return Err(format!(
                "admin ({address}) can be reached from other machines, and there is no admin-token: set one \
                 (`newswire token new`), or listen on 127.0.0.1"
            ));
        }
        if let Some(address) = self.publish.addresses.first()
            && self.publish.token.is_none()
        {
            return Err(format!(
                "publish ({address}) is given without publish-token, so whoever reaches it could publish to \
                 everybody: set one (`newswire token new`)"
            ));
        }
        if !self.publish.origins.is_empty()
            && self.publish.token.is_none()
            && self.admin.token.is_none()
        {
            return Err(
                "publish-origin is given without publish-token, and a page of another site always needs a \
                 token to publish: set one (`newswire token new`)"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
