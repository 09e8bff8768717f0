//! The options of `newswire load`.
//!
//! Never here: the load test itself.

use std::ops::Range;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::super::arguments::{self, text};
use super::super::protocol::Protocol;
use super::super::publisher::Destination;
use super::super::target::{self, Target};
use super::super::tell;
use super::Failure;
use super::blink::BlinkRhythm;
use crate::config::Unit;

/// The options of `load`.
#[derive(Debug)]
pub struct LoadArguments {
    pub(super) target: Target,
    pub(super) to: Destination,
    pub(super) connections: usize,
    /// In connections a second; 0: as fast as they are accepted.
    pub(super) connect_rate: u32,
    pub(super) topics: Vec<String>,
    /// `None`: publish for `duration`.
    pub(super) events: Option<u64>,
    pub(super) duration: Duration,
    /// In events a second; 0: as fast as deliveries return.
    pub(super) rate: f64,
    /// In events, when there is no rate.
    pub(super) in_flight: u32,
    /// In bytes, the data of an event.
    pub(super) bytes: usize,
    pub(super) reconnect: Duration,
    /// How many of the subscribers stop reading once they are subscribed.
    pub(super) stalled: usize,
    /// How subscribers vanish and come back, if they do.
    pub(super) blink: Option<BlinkRhythm>,
    /// How many of the subscribers read slowly.
    pub(super) slow: usize,
    /// In bytes a second, a slow reader.
    pub(super) slow_rate: u64,
    pub(super) json: bool,
    pub(super) pid: Option<u32>,
}

/// Returns the options of `load` and their help.
pub(in super::super) fn command() -> Command {
    let number = |name: &'static str, value_name: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name(value_name)
            .default_value(default)
            .allow_negative_numbers(true)
    };
    Command::new("load")
        .about("Load-test a server: many subscribers, deliveries, losses, latency")
        .long_about(
            "Load-test a server, newswire or any other push server of WAMP that takes events over ZeroMQ. The \
             command connects subscribers, waits until each of them receives events, publishes, and reports \
             handshakes a second, deliveries, losses, doubles, disorder, and how long an event takes to reach \
             each subscriber, and the last one.\n\nThe exit code is 1 when a delivery was lost, came twice or \
             out of order. Ctrl-C ends the test early and reports what there is. One process has as many connections as \
             `ulimit -n` allows; several can run side by side.",
        )
        .after_help(
            "Examples:\n  newswire load 'ws://127.0.0.1:8080/?token=TOKEN' --connections 10000 --pid 4711\n  \
             newswire load 'ws://127.0.0.1:8080/?token=TOKEN' --rate 100 --duration 60 --json\n  \
             newswire load 'http://127.0.0.1:8080/?token=TOKEN' --protocol sse\n  \
             newswire load 'ws://127.0.0.1:8080/?token=TOKEN' --protocol wamp2 --rate 100 --blink 2/15",
        )
        .arg(arguments::positional("url", "URL", "The server, as subscribers connect").required(true))
        .args(target::arguments())
        .arg(arguments::to_argument())
        .arg(arguments::config_argument())
        .arg(
            // The former name of `--to`, which means an HTTP listener to `serve`.
            Arg::new("publish")
                .long("publish")
                .value_parser(NonEmptyStringValueParser::new())
                .conflicts_with("to")
                .hide(true),
        )
        .arg(number("connections", "N", "1000").help("How many subscribers to connect"))
        .arg(
            number("connect-rate", "PER_SECOND", "0")
                .help("Connections to open each second; 0: as fast as the server accepts them"),
        )
        .arg(
            number("topics", "N", "1")
                .help("Topics, load-0 and so on; subscriber i subscribes to topic i modulo N"),
        )
        .arg(
            Arg::new("topic")
                .long("topic")
                .value_name("NAME")
                .action(ArgAction::Append)
                .conflicts_with("topics")
                .help("Use this topic instead, for a token that may not subscribe to load-0 [repeatable]"),
        )
        .arg(
            Arg::new("events")
                .long("events")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("How many events to publish; without it, the test publishes for --duration"),
        )
        .arg(number("duration", "SECONDS", "10").help("How long to publish events"))
        .arg(
            number("rate", "PER_SECOND", "0")
                .help("Events to publish each second; 0: as fast as deliveries return"),
        )
        .arg(
            number("in-flight", "N", "1")
                .help("Without a rate: events under way at a time; the next one is sent when the last subscriber has received one"),
        )
        .arg(number("bytes", "BYTES", "200").help("Size of an event's data"))
        .arg(
            number("reconnect", "SECONDS", "5")
                .help("Pause before a subscriber whose connection ended connects again, as browsers do"),
        )
        .arg(
            number("stalled", "N", "0")
                .help("How many of the subscribers stop reading; all figures leave them out"),
        )
        .arg(
            Arg::new("blink")
                .long("blink")
                .value_name("SECONDS/EVERY")
                .help(
                    "Each subscriber loses its connection for so many seconds, time and again, and comes back with its \
                     position; 2/15: for 2 s, every 15 s. The report compares what it receives with what was published \
                     in the whole time. Needs --rate, and --protocol wamp2 or sse",
                ),
        )
        .arg(
            Arg::new("slow")
                .long("slow")
                .value_name("PERCENT")
                .conflicts_with("stalled")
                .help("How many of the subscribers read slowly; they are reported apart"),
        )
        .arg(
            number("slow-rate", "BYTES", "1000").help("How much a slow reader reads each second"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object instead of a report; times in nanoseconds"),
        )
        .arg(
            Arg::new("pid")
                .long("pid")
                .value_name("PID")
                .value_parser(value_parser!(u32).range(1..))
                .help(
                    "The server's process on this machine, which it prints as `pid` when it starts: its CPU \
                     time and memory are reported as well",
                ),
        )
}

impl LoadArguments {
    /// The topic of a subscriber.
    pub(super) fn topic(&self, seat: usize) -> &String {
        &self.topics[seat % self.topics.len()]
    }

    /// The subscribers that read all that they receive, as fast as they can. Those below do not, or slowly.
    pub(super) fn readers(&self) -> Range<usize> {
        // At most one of the two is there.
        let first = self.stalled.max(self.slow).min(self.connections);
        first..self.connections
    }

    /// Makes the options of the arguments.
    pub(in super::super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let number = |name: &str, unit, min, max| {
            arguments::number(name, text(matches, name), unit, min, max)
        };
        let rate = text(matches, "rate");
        let rate: f64 = rate
            .parse()
            .ok()
            .filter(|rate| (0.0..=1e7).contains(rate))
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "--rate: {rate:?}: a number from 0 to 10000000 is needed"
                ))
            })?;
        let topics = match matches.get_many::<String>("topic") {
            Some(names) => names
                .map(|name| arguments::topic(name))
                .collect::<Result<_, _>>()?,
            None => (0..number("topics", Unit::Count, 1, 1_000_000)?)
                .map(|n| format!("load-{n}"))
                .collect(),
        };
        let to = match text(matches, "publish") {
            "" => Destination::from_matches(matches)?,
            before => {
                tell("warning: `load --publish` is called --to now, as in `publish`");
                Destination::ZeroMq(arguments::endpoint("to", before)?)
            }
        };
        let target = Target::from_matches(matches)?;
        let connections = number("connections", Unit::Count, 1, 10_000_000)? as usize;
        let wrong = |name: &str, text: &str, needed: &str| {
            Failure::Usage(format!("--{name}: {text:?}: {needed}"))
        };
        let blink = match text(matches, "blink") {
            "" => None,
            text => {
                let rhythm =
                    BlinkRhythm::parse(text).map_err(|needed| wrong("blink", text, &needed))?;
                if rate == 0.0 {
                    let needed =
                        "--rate is needed: otherwise the next event waits for those who are away";
                    return Err(wrong("blink", text, needed));
                }
                if target.protocol == Protocol::Wamp1 {
                    let needed =
                        "WAMP v1 has no positions to come back with: --protocol wamp2 or sse";
                    return Err(wrong("blink", text, needed));
                }
                Some(rhythm)
            }
        };
        let slow = match text(matches, "slow") {
            "" => 0,
            text => {
                let percent = text.parse().ok().filter(|p| (0.0..=100.0).contains(p));
                let percent: f64 = percent
                    .ok_or_else(|| wrong("slow", text, "a number from 0 to 100 is needed"))?;
                (connections as f64 * percent / 100.0).ceil() as usize
            }
        };
        Ok(Self {
            target,
            to,
            connections,
            connect_rate: number("connect-rate", Unit::Count, 0, 1_000_000)? as u32,
            topics,
            events: matches.get_one("events").copied(),
            duration: Duration::from_secs(number("duration", Unit::Seconds, 1, 1_000_000)?),
            rate,
            in_flight: number("in-flight", Unit::Count, 1, 1_000_000)? as u32,
            bytes: number("bytes", Unit::Bytes, 0, 1 << 30)? as usize,
            reconnect: Duration::from_secs(number("reconnect", Unit::Seconds, 0, 3_600)?),
            stalled: number("stalled", Unit::Count, 0, 10_000_000)? as usize,
            blink,
            slow,
            slow_rate: number("slow-rate", Unit::Bytes, 1, 1 << 30)?,
            json: matches.get_flag("json"),
            pid: matches.get_one("pid").copied(),
        })
    }
}
