//! What a process is: a server, a relay, the parent of workers, or a worker. All of them are one program that runs one
//! loop; a role decides what of the configuration concerns it.
//!
//! Never here: reading the configuration, and running anything.

use newswire::config::{AuthOptions, Config};
use newswire::wire::token::Token;
use newswire::workers::Briefing;

/// Where a relay listens for other servers when nothing else is given.
const RELAY_ENDPOINT: &str = "tcp://127.0.0.1:5556";

/// What the process is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It serves clients.
    Server,
    /// It hands events on to other servers.
    Relay,
    /// It takes events in, and hands them on to workers at this endpoint.
    Parent(String),
    /// It serves clients, and its events come from its parent.
    Worker(Briefing),
}

impl Role {
    /// Makes of what was configured what this role does. A token that was `made` for the run lets clients in when
    /// nothing else does.
    ///
    /// # Errors
    /// A sentence, when it could do nothing.
    pub fn shape(&self, config: &mut Config, made: Option<&Token>) -> Result<(), String> {
        if config.needs_a_token() {
            config.auth.tokens.extend(made.cloned());
        }
        match self {
            Self::Server => Ok(()),
            Self::Relay => shape_relay(config),
            Self::Parent(endpoint) => {
                serve_nobody(config);
                config.relay.endpoints.push(endpoint.clone());
                Ok(())
            }
            Self::Worker(briefing) => {
                shape_worker(config, briefing);
                Ok(())
            }
        }
    }

    /// The worker's number, if it is one.
    pub fn worker(&self) -> Option<usize> {
        match self {
            Self::Worker(briefing) => Some(briefing.worker),
            _ => None,
        }
    }
}

fn serve_nobody(config: &mut Config) {
    config.listen.addresses.clear();
    config.auth = AuthOptions::default();
    // Nobody would ever ask for what is kept here. The servers behind it keep events themselves.
    config.topics.rules.clear();
}

fn shape_relay(config: &mut Config) -> Result<(), String> {
    serve_nobody(config);
    if config.relay.endpoints.is_empty() {
        config.relay.endpoints.push(RELAY_ENDPOINT.to_owned());
    }
    // The admin listener takes events too, but nobody sets up a relay for that alone.
    let ingest = [&config.ingest.pull, &config.ingest.sub];
    let is_idle = ingest.iter().all(|list| list.is_empty())
        && config.brokers.amqp.is_empty()
        && config.brokers.nats.is_empty()
        && config.publish.addresses.is_empty();
    match is_idle {
        true => Err(
            "a relay without sources has nothing to hand on: set one of pull, sub, amqp, nats and publish"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

/// A worker takes events from its parent alone, is asked by its parent alone, and has its share of what holds for all
/// workers together.
fn shape_worker(config: &mut Config, briefing: &Briefing) {
    config.listen.addresses.clone_from(&briefing.addresses);
    config.ingest.pull.clear();
    config.ingest.pull_mode = None;
    config.ingest.pull_group.clear();
    config.ingest.sub = vec![briefing.endpoint.clone()];
    config.brokers.amqp.clear();
    config.brokers.nats.clear();
    config.relay.endpoints.clear();
    config.publish.addresses.clear();
    config.publish.token = None;
    config.publish.origins.clear();
    config.admin.addresses = vec![([127, 0, 0, 1], 0).into()];
    config.admin.token = Some(briefing.admin_token.clone());
    config.process.pid_file.clear();
    config.process.ready_file.clear();
    // The parent takes events in for at most half of the time before.
    config.process.shutdown_seconds = config.process.shutdown_seconds.div_ceil(2);
    let clients = &mut config.clients;
    // 0 stays 0: no bound.
    clients.connections_max = clients.connections_max.div_ceil(briefing.count);
    clients.connections_per_address_max =
        (clients.connections_per_address_max).div_ceil(briefing.count);
    let count = u32::try_from(briefing.count).unwrap_or(u32::MAX);
    clients.refused_tokens_max = clients.refused_tokens_max.div_ceil(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use newswire::wire::topic_rule::TopicRule;

    fn briefing() -> Briefing {
        Briefing {
            worker: 2,
            count: 3,
            endpoint: "ipc:///tmp/x".to_owned(),
            addresses: vec![([127, 0, 0, 1], 80).into()],
            admin_token: Token::new("a"),
            client_token: None,
            revoked: Vec::new(),
        }
    }

    #[test]
    fn a_worker_has_its_share_and_no_source_but_its_parent() {
        let mut config = Config::default();
        config.clients.connections_max = 10;
        config.clients.connections_per_address_max = 1;
        config.clients.refused_tokens_max = 0;
        config.ingest.pull_mode = Some(0o660);
        config.process.pid_file = "x.pid".to_owned();
        let role = Role::Worker(briefing());
        let made = Token::new("made");
        role.shape(&mut config, Some(&made)).expect("possible");
        assert_eq!(config.check(), Ok(()));
        let clients = &config.clients;
        assert_eq!(clients.connections_max, 4);
        assert_eq!(clients.connections_per_address_max, 1);
        assert_eq!(clients.refused_tokens_max, 0, "no bound stays no bound");
        assert!(config.ingest.pull.is_empty() && config.process.pid_file.is_empty());
        assert_eq!(config.ingest.sub, ["ipc:///tmp/x"]);
        assert!(config.auth.tokens == [made], "nothing else lets clients in");
    }

    #[test]
    fn a_parent_has_no_clients_and_keeps_its_sources() {
        let mut config = Config::default();
        let rule = TopicRule::parse("news* last").expect("a rule");
        config.topics.rules.push(rule);
        let role = Role::Parent("ipc:///tmp/x".to_owned());
        role.shape(&mut config, None).expect("possible");
        assert!(config.listen.addresses.is_empty() && config.topics.rules.is_empty());
        assert_eq!(config.ingest.pull, Config::default().ingest.pull);
        assert_eq!(config.relay.endpoints, ["ipc:///tmp/x"]);
    }
}
