//! The ways by which `publish` and `load` hand events to a server: ZeroMQ, HTTP, and the brokers that it reads.
//!
//! Never here: the content of an event.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "brokers")]
mod broker;
mod greeting;
mod http;
#[cfg(feature = "nats")]
mod nats;
mod zeromq;

use std::fmt;
use std::time::{Duration, Instant};

use clap::ArgMatches;

pub(super) use zeromq::Absent;

use super::Failure;
use super::arguments;
use super::http::Listener;
use crate::config::{self, EndpointUse};
#[cfg(feature = "brokers")]
use crate::net::broker::{self as brokers, BrokerAddress};
use crate::wire::token::Token;

/// One way.
pub(super) trait Publisher {
    /// Hands an event on.
    ///
    /// # Errors
    /// Nobody took it by `deadline`, which is `timeout` after the beginning.
    fn send(&mut self, event: &[u8], deadline: Instant, timeout: Duration) -> Result<(), Failure>;

    /// The same without waiting. Returns false when there is no room, or nobody is connected.
    fn try_send(&mut self, event: &[u8]) -> bool;

    /// Returns false when there is no room, or nobody is connected.
    fn has_room(&self) -> bool;

    /// Waits until everything has left.
    ///
    /// # Errors
    /// Not everything has left by `deadline`.
    fn finish(self: Box<Self>, deadline: Instant) -> Result<(), Failure>;
}

/// Where events go.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// A PULL endpoint.
    ZeroMq(String),
    /// A listener that takes `POST /publish`.
    Http {
        listener: Listener,
        token: Option<Token>,
        /// True exactly when the ids of events are printed.
        prints_ids: bool,
    },
    /// An exchange of RabbitMQ.
    #[cfg(feature = "amqp")]
    Amqp(AmqpExchange),
    /// The subjects of a NATS server.
    #[cfg(feature = "nats")]
    Nats(NatsSubjects),
}

/// An exchange of RabbitMQ, as a server's configuration names it.
#[cfg(feature = "amqp")]
#[derive(Clone, Debug)]
pub(super) struct AmqpExchange {
    address: BrokerAddress,
    name: String,
    kind: String,
    key: String,
    /// A file; empty for the usual authorities.
    authorities: String,
}

/// The subjects of a NATS server, as a server's configuration names them.
#[cfg(feature = "nats")]
#[derive(Clone, Debug)]
pub(super) struct NatsSubjects {
    address: BrokerAddress,
    prefix: String,
    /// A file; empty for none.
    credentials: String,
    /// A file; empty for the usual authorities.
    authorities: String,
}

impl fmt::Display for Destination {
    /// Writes it without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroMq(endpoint) => f.write_str(endpoint),
            Self::Http { listener, .. } => write!(f, "{listener}publish"),
            #[cfg(feature = "amqp")]
            Self::Amqp(exchange) => write!(
                f,
                "the exchange `{}` of {}",
                exchange.name,
                exchange.address.place()
            ),
            #[cfg(feature = "nats")]
            Self::Nats(subjects) => write!(
                f,
                "the subjects {}> of {}",
                subjects.prefix,
                subjects.address.place()
            ),
        }
    }
}

impl Destination {
    /// Takes `--to`, or the first PULL endpoint of the configuration.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let Some(given) = matches.get_one::<String>("to") else {
            return arguments::pull_endpoint(matches).map(Self::ZeroMq);
        };
        let wrong = |needed: String| {
            // The text may have a password in it.
            Failure::Usage(format!("--to: {needed}"))
        };
        match given.split_once("://").map(|(scheme, _)| scheme) {
            Some("http" | "https") => {
                let config = arguments::server_config(matches)?;
                let listener = Listener::parse(given).map_err(wrong)?;
                let token = config.publish.token.or(config.admin.token);
                Ok(Self::Http {
                    listener,
                    token,
                    prints_ids: false,
                })
            }
            #[cfg(not(feature = "amqp"))]
            Some("amqp" | "amqps") => Err(wrong(
                "this newswire was built without AMQP; build it with the feature amqp (it is there by default)"
                    .to_owned(),
            )),
            #[cfg(not(feature = "nats"))]
            Some("nats" | "tls") => Err(wrong(
                "this newswire was built without NATS; build it with the feature nats (it is there by default)"
                    .to_owned(),
            )),
            #[cfg(feature = "nats")]
            Some("nats" | "tls") => {
                let address = BrokerAddress::parse(given, &brokers::NATS);
                let address = address.and_then(BrokerAddress::without_path);
                let config = arguments::server_config(matches)?;
                Ok(Self::Nats(NatsSubjects {
                    address: address.map_err(wrong)?,
                    prefix: config.brokers.nats_prefix,
                    credentials: config.brokers.nats_credentials,
                    authorities: config.brokers.authorities,
                }))
            }
            #[cfg(feature = "amqp")]
            Some("amqp" | "amqps") => {
                let config = arguments::server_config(matches)?;
                Ok(Self::Amqp(AmqpExchange {
                    address: BrokerAddress::parse(given, &brokers::AMQP).map_err(wrong)?,
                    name: config.brokers.amqp_exchange,
                    kind: config.brokers.amqp_exchange_type,
                    key: config
                        .brokers
                        .amqp_keys
                        .into_iter()
                        .next()
                        .unwrap_or_default(),
                    authorities: config.brokers.authorities,
                }))
            }
            _ => config::endpoint(given, EndpointUse::Connect)
                .map(Self::ZeroMq)
                .map_err(|needed| Failure::Usage(format!("--to: {given:?}: {needed}"))),
        }
    }

    /// The ids of events are to be printed on standard output, as the server gives them.
    ///
    /// # Errors
    /// Nobody answers there, so nobody knows the ids.
    pub(super) fn printing_ids(mut self) -> Result<Self, Failure> {
        match &mut self {
            Self::Http { prints_ids, .. } => *prints_ids = true,
            other => {
                return Err(Failure::Usage(format!(
                    "--ids: only HTTP is answered with the ids of events (--to http://HOST:PORT); {other} is not"
                )));
            }
        }
        Ok(self)
    }

    /// Connects. `absent` says what to do while nobody is there.
    ///
    /// # Errors
    /// Nobody took the connection within `timeout`.
    pub(super) fn connect(
        &self,
        timeout: Duration,
        absent: Absent,
    ) -> Result<Box<dyn Publisher>, Failure> {
        Ok(match self {
            Self::ZeroMq(endpoint) => {
                let push = zeromq::connect(endpoint, timeout, absent)?;
                // A server may be late, and the events in the queue then have to leave.
                push.set_linger(timeout)?;
                Box::new(push)
            }
            Self::Http {
                listener,
                token,
                prints_ids,
            } => Box::new(http::Poster::start(listener, token.as_ref(), *prints_ids)?),
            #[cfg(feature = "amqp")]
            Self::Amqp(exchange) => Box::new(amqp::connect(exchange)?),
            #[cfg(feature = "nats")]
            Self::Nats(subjects) => Box::new(nats::connect(subjects)?),
        })
    }
}
