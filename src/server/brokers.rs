//! The sources that are clients of message brokers.
//!
//! They bring an asynchronous runtime and TLS along. A build without their features refuses a configuration that needs
//! them. Never here: what is said to a broker.

use crate::config::Config;
use crate::ingest::Source;
use crate::wake::Wake;

/// Starts a client for each broker of `config`.
///
/// # Errors
/// A sentence about the option that cannot be obeyed.
#[cfg(feature = "amqp")]
pub(super) fn open(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for options in amqp_options(config)? {
        let (name, wake) = (options.place.address.place(), Wake::clone(wake));
        let source = Threaded::start(Ingest::Amqp, name, wake, Amqp::new(options))?;
        sources.push(Box::new(source));
    }
    Ok(sources)
}

#[cfg(not(feature = "amqp"))]
pub(super) fn open(config: &Config, _: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
    match config.brokers.amqp.is_empty() {
        true => Ok(Vec::new()),
        false => Err(
            "amqp: this newswire was built without it; build it with the feature amqp (it is there by default)"
                .to_owned(),
        ),
    }
}

#[cfg(feature = "amqp")]
use crate::{
    ingest::amqp::{Amqp, AmqpOptions},
    ingest::threaded::Threaded,
    limits,
    net::amqp::{Connector, ExchangePlace},
    net::tls,
    stats::Ingest,
};

/// What `config` says about AMQP, for each broker.
///
/// # Errors
/// The authorities cannot be used.
#[cfg(feature = "amqp")]
fn amqp_options(config: &Config) -> Result<Vec<AmqpOptions>, String> {
    let brokers = &config.brokers;
    let options = brokers.amqp.iter().map(|address| {
        let connector = match address.scheme.is_tls {
            true => Some(Connector(tls::load("broker-ca", &brokers.authorities)?)),
            false => None,
        };
        Ok(AmqpOptions {
            place: ExchangePlace {
                address: address.clone(),
                connector,
                exchange: brokers.amqp_exchange.clone(),
                exchange_type: brokers.amqp_exchange_type.clone(),
            },
            keys: brokers.amqp_keys.clone(),
            queue: Some(brokers.amqp_queue.clone()).filter(|name| !name.is_empty()),
            prefetch: limits::amqp_prefetch(config.ingest.event_bytes_max),
        })
    });
    options.collect()
}
