//! Events from message brokers.
//!
//! Never here: what an event may be (that is `ingest`).

use super::super::types::{WhenNone, Word};
use super::list;
use crate::net::broker::{AMQP, BrokerAddress, NATS};
use crate::wire::nats;

group! {
    /// Events from message brokers.
    BrokerOptions at brokers, "Where events come from" {
        /// RabbitMQ server from which newswire takes events over AMQP 0-9-1, such as
        /// amqp://user:password@host:5672/vhost, or amqps:// for TLS. Without a user it is guest, without a virtual
        /// host `/`. Prefer the variable or the file, because every user of the machine can read a command line.
        /// Write other characters than letters and digits in user, password and virtual host percent-encoded.
        /// newswire connects again by itself. `off` connects to none.
        #[option("amqp", "URL", secret, restart, brief("RabbitMQ server to take events from"))]
        amqp: Vec<BrokerAddress> = list(
            |text| BrokerAddress::parse(text, &AMQP).and_then(short_path),
            BrokerAddress::url,
            WhenNone::Off,
            &[],
        ),

        /// Exchange to which newswire binds its queue. The default is the one of Web Publisher. newswire declares it as
        /// Web Publisher does, durable, if nobody has done that yet. Empty: none, because amqp-queue names a queue
        /// that others have bound.
        #[option("amqp-exchange", "NAME", restart)]
        amqp_exchange: String = name("swp_websocket_exchange"),

        /// Type of the exchange: direct, fanout, topic or headers. When the exchange is there already, it has to be
        /// of this type: superdesk-core's own is a fanout exchange.
        #[option("amqp-exchange-type", "TYPE", restart)]
        amqp_exchange_type: String = Word {
            default: "direct",
            parse: |text| match text {
                "" => Err("a type is needed: direct, fanout, topic or headers".to_owned()),
                text => short(text),
            },
            show: String::clone,
        },

        /// Routing key by which events reach newswire's queue. Without this option it is the empty key, with which
        /// Web Publisher publishes. A topic exchange takes patterns, such as `news.#`.
        #[option("amqp-key", "KEY", restart)]
        amqp_keys: Vec<String> = list(short, String::clone, WhenNone::Empty, &[]),

        /// Durable queue that keeps events while newswire is away. Each event is then delivered at least once. Every
        /// server needs a queue of its own: servers that share one get a part of the events each. Empty: a queue that
        /// ends with the connection, and events are delivered at most once.
        #[option("amqp-queue", "NAME", restart)]
        amqp_queue: String = name(""),

        /// NATS server from which newswire takes events, such as nats://user:password@host:4222, nats://token@host, or
        /// tls:// for TLS. Prefer the variable or the file, because every user of the machine can read a command line.
        /// Write other characters than letters and digits in user, password and token percent-encoded. newswire
        /// connects again by itself. newswire takes from every address that it is given, so
        /// name only one server of a cluster: with two, clients receive each event twice. `off`: no server.
        #[option("nats", "URL", secret, restart)]
        nats: Vec<BrokerAddress> = list(
            |text| BrokerAddress::parse(text, &NATS).and_then(BrokerAddress::without_path),
            BrokerAddress::url,
            WhenNone::Off,
            &[],
        ),

        /// File with the credentials of a user of NATS (.creds), instead of a user or a token in the URL. Empty: none.
        #[option("nats-credentials", "FILE", restart)]
        nats_credentials: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },

        /// What the subjects of events begin with on NATS servers; what follows it is the topic. It ends with a dot, or
        /// is empty: then the topic is the whole subject, and clients can ask for everything that newswire's user may
        /// read.
        #[option("nats-prefix", "TEXT", restart)]
        nats_prefix: String = Word {
            default: "newswire.",
            parse: |text| nats::check_prefix(text).map(|()| text.to_owned()),
            show: String::clone,
        },

        /// PEM file with the authorities whose certificates brokers may show. Empty: those that browsers trust,
        /// which often do not include a company's own.
        #[option("broker-ca", "FILE", restart)]
        authorities: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },
    }
}

/// In bytes, a short string of AMQP 0-9-1.
const SHORT_BYTES_MAX: usize = 255;

/// A name that AMQP can carry.
fn short(text: &str) -> Result<String, String> {
    match text.len() {
        ..=SHORT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!(
            "AMQP carries names of at most {SHORT_BYTES_MAX} bytes"
        )),
    }
}

/// A name; the server decides what the empty one means.
const fn name(default: &'static str) -> Word<String> {
    Word {
        default,
        parse: short,
        show: String::clone,
    }
}

fn short_path(address: BrokerAddress) -> Result<BrokerAddress, String> {
    short(&address.path).map(|_| address)
}
