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
pub(super) fn open(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
    let mut sources = amqp::open(config, wake)?;
    sources.extend(nats::open(config, wake)?);
    Ok(sources)
}

#[cfg(feature = "amqp")]
mod amqp {
    use super::{Config, Source, Wake};
    use crate::ingest::amqp::{Amqp, AmqpOptions};
    use crate::ingest::threaded::Threaded;
    use crate::limits;
    use crate::net::amqp::{Connector, ExchangePlace};
    use crate::net::tls;
    use crate::stats::Ingest;

    pub fn open(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for options in options(config)? {
            let (name, wake) = (options.place.address.place(), Wake::clone(wake));
            let source = Threaded::start(Ingest::Amqp, name, wake, Amqp::new(options))?;
            sources.push(Box::new(source));
        }
        Ok(sources)
    }

    /// What `config` says about AMQP, for each broker.
    fn options(config: &Config) -> Result<Vec<AmqpOptions>, String> {
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
}

#[cfg(feature = "nats")]
mod nats {
    use super::{Config, Source, Wake};
    use crate::ingest::nats::Nats;
    use crate::ingest::threaded::Threaded;
    use crate::net::nats::NatsPlace;
    use crate::stats::Ingest;

    pub fn open(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
        let brokers = &config.brokers;
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for address in &brokers.nats {
            let place = NatsPlace::new(address, &brokers.authorities, &brokers.nats_credentials)?;
            let client = Nats::new(place, brokers.nats_prefix.clone());
            let (name, wake) = (address.place(), Wake::clone(wake));
            sources.push(Box::new(Threaded::start(Ingest::Nats, name, wake, client)?));
        }
        Ok(sources)
    }
}

#[cfg(not(feature = "amqp"))]
mod amqp {
    use super::{Config, Source, Wake, refuse};

    pub fn open(config: &Config, _: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
        refuse("amqp", !config.brokers.amqp.is_empty())
    }
}

#[cfg(not(feature = "nats"))]
mod nats {
    use super::{Config, Source, Wake, refuse};

    pub fn open(config: &Config, _: &Wake) -> Result<Vec<Box<dyn Source>>, String> {
        refuse("nats", !config.brokers.nats.is_empty())
    }
}

/// What a build without the feature `name` says to a configuration that needs it.
#[cfg(not(all(feature = "amqp", feature = "nats")))]
fn refuse(name: &str, is_needed: bool) -> Result<Vec<Box<dyn Source>>, String> {
    match is_needed {
        false => Ok(Vec::new()),
        true => Err(format!(
            "{name}: this newswire was built without it; build it with the feature {name} (it is there by default)"
        )),
    }
}
