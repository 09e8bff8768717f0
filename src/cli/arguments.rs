//! Arguments that several commands take, and how their texts become values.
//!
//! Never here: the flags of `serve` and `check` (those are in `config_flags`).

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgMatches, value_parser};

use super::Failure;
use crate::config::{self, Config, EndpointUse, FILE_VARIABLE, Flags, Loaded, Unit};
use crate::net::{Address, Place};
use crate::wire::grant::OWN;

/// A positional argument that must not be empty.
pub(super) fn positional(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(value_name)
        .value_parser(NonEmptyStringValueParser::new())
        .help(help)
}

/// The text of an argument; empty when it was not given.
pub(super) fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// `--config`, for a client of a server that has this configuration.
pub(super) fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!(
            "The server's configuration file [env: {FILE_VARIABLE}]"
        ))
}

/// `--to`, for [`super::publisher::Destination`].
pub(super) fn to_argument() -> Arg {
    Arg::new("to")
        .long("to")
        .value_parser(NonEmptyStringValueParser::new())
        .value_name("URL")
        .help(format!(
            "Where events go: the ZeroMQ endpoint that the server prints as `pull` when it starts (tcp:// or ipc://), \
             its admin or publish listener (http://), or a broker that it reads: RabbitMQ (amqp:// or amqps://) or NATS \
             (nats:// or tls://). The configuration names the exchange, the prefix of subjects and the tokens [default: \
             the first `pull` of the configuration, which is {} where nobody says otherwise]",
            default_of("pull")
        ))
}

/// The configuration that a server here has.
pub(super) fn server_config(matches: &ArgMatches) -> Result<Config, Failure> {
    let file = matches.get_one::<PathBuf>("config");
    let loaded = Loaded::read(file.map(PathBuf::as_path), &Flags::new());
    match loaded {
        Ok(loaded) => Ok(loaded.config),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

/// The first endpoint to which a server with this configuration binds.
pub(super) fn pull_endpoint(matches: &ArgMatches) -> Result<String, Failure> {
    let config = server_config(matches)?;
    let Some(bound) = config.ingest.pull.first() else {
        return Err(Failure::Usage(
            "pull is off in the configuration, so the server takes no event over ZeroMQ: name an endpoint \
             with --to, or publish over HTTP"
                .to_owned(),
        ));
    };
    let there = match Place::of(&bound.replacen("://*:", "://127.0.0.1:", 1)) {
        Some(Place::Fixed(Address::Ip(address))) => {
            Address::Ip(config::reachable(address)).to_string()
        }
        _ => bound.clone(),
    };
    config::endpoint(&there, EndpointUse::Connect).map_err(|_| {
        Failure::Usage(format!(
            "pull is {bound} in the configuration, and the server chooses the port: name with --to the \
             endpoint that it prints as `pull` when it starts"
        ))
    })
}

/// The default of `option`.
fn default_of(option: &str) -> String {
    config::option(option)
        .expect("the table has this option")
        .default_text()
}

/// The number given as `--name`, judged as a number of the configuration is.
pub(super) fn number(
    name: &str,
    text: &str,
    unit: Unit,
    min: u64,
    max: u64,
) -> Result<u64, Failure> {
    config::number(text, unit, min, max).map_err(|allowed| wrong(name, text, &allowed))
}

/// The server's ZeroMQ endpoint given as `--name`.
pub(super) fn endpoint(name: &str, text: &str) -> Result<String, Failure> {
    config::endpoint(text, EndpointUse::Connect).map_err(|allowed| wrong(name, text, &allowed))
}

/// A topic to which publishers may publish.
pub(super) fn topic(text: &str) -> Result<String, Failure> {
    if text.starts_with(OWN) {
        return Err(Failure::Usage(format!(
            "topic {text:?}: what begins with `{OWN}` is the server's own, and it drops such an event: name \
             another topic"
        )));
    }
    Ok(text.to_owned())
}

fn wrong(name: &str, text: &str, allowed: &str) -> Failure {
    Failure::Usage(format!("--{name}: {text:?}: {allowed}"))
}
