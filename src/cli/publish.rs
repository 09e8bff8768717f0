//! `newswire publish`: hands events to a server, as a backend would: over ZeroMQ, by HTTP, or to a broker that the
//! server reads.
//!
//! ZeroMQ's PUSH has no acknowledgement, so "sent" means: a connection that has greeted took the event, and its
//! bytes left this process in time. No client can know more. A plain PUSH socket tells less: it queues for a server
//! that may never come.
//!
//! Never here: changing the data. newswire checks that it is JSON, and passes it on byte for byte.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, whose deadlines are the operator's: no engine to hand the time to"
)]

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::value::RawValue;

use super::Failure;
use super::arguments::{self, number, text};
use super::publisher::{Absent, Destination, Publisher};
use crate::config::Unit;
use crate::limits;

/// In seconds. A server on the same network greets in milliseconds; libzmq tries again each 0.1 s.
const TIMEOUT_SECONDS: &str = "5";

/// In seconds, the largest `--timeout`.
const TIMEOUT_SECONDS_MAX: u64 = 3_600;

/// What is to be published, and where.
#[derive(Debug)]
pub struct PublishArguments {
    to: Destination,
    timeout: Duration,
    event_bytes_max: usize,
    quiet: bool,
    topic: String,
    data: Data,
}

/// Where the events are.
#[derive(Debug, Eq, PartialEq)]
enum Data {
    /// On the command line; it is JSON.
    Argument(String),
    /// On standard input, one a line.
    Lines {
        /// True exactly when `-` was given. Then an empty input may be what the user means.
        asked_for: bool,
    },
}

/// How `publish` is explained.
pub(super) fn command() -> Command {
    Command::new("publish")
        .about("Hand events to a server, one or a line each from standard input")
        .long_about(
            "Hand events to a server, one or a line each from standard input, as a backend would: over a \
             ZeroMQ PUSH socket, by HTTP, or to an exchange of RabbitMQ, in the envelope \
             {\"topic\":…,\"data\":…}; or to a subject of NATS. The JSON is passed on as it is.\n\n\
             The exit code is 1 when no server or broker took an event in time. ZeroMQ has no acknowledgement: \
             `newswire subscribe` and the server's counters show whether anybody was subscribed.",
        )
        .after_help(
            "Examples:\n  newswire publish package_created '{\"n\":1}'\n  \
             jq -c '.[]' packages.json | newswire publish --to tcp://127.0.0.1:5555 package_created -\n  \
             newswire publish --to http://127.0.0.1:8081 package_created '{\"n\":1}'\n  \
             newswire publish --to amqp://guest:guest@127.0.0.1 package_created '{\"n\":1}'\n  \
             newswire publish --to nats://127.0.0.1 package_created '{\"n\":1}'",
        )
        .arg(arguments::positional("topic", "TOPIC", "Name of the topic").required(true))
        .arg(
            arguments::positional(
                "json",
                "JSON",
                "The event: any JSON value. With `-`, or without it when standard input is no terminal, each \
                 line of standard input is an event; empty lines are skipped",
            )
            .allow_negative_numbers(true),
        )
        .arg(arguments::to_argument())
        .arg(arguments::config_argument())
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .default_value(TIMEOUT_SECONDS)
                .hide_default_value(true)
                .allow_negative_numbers(true)
                .help(format!(
                    "How long to wait until a server takes an event [default: {TIMEOUT_SECONDS}]"
                )),
        )
        .arg(
            Arg::new("event-bytes-max")
                .long("event-bytes-max")
                .value_parser(NonEmptyStringValueParser::new())
                .value_name("BYTES")
                .allow_negative_numbers(true)
                .help(
                    "The server's own limit. newswire does not send a larger event, because the server would drop \
                     it [default: event-bytes-max of the configuration]",
                ),
        )
        .arg(
            Arg::new("ids")
                .long("ids")
                .action(ArgAction::SetTrue)
                .help("Print the id of each event on standard output, one a line (over HTTP)"),
        )
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("Do not print how many events were sent"),
        )
}

impl PublishArguments {
    /// Makes the options of the arguments.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut to = Destination::from_matches(matches)?;
        if matches.get_flag("ids") {
            to = to.printing_ids()?;
        }
        let timeout = number(
            "timeout",
            text(matches, "timeout"),
            Unit::Seconds,
            1,
            TIMEOUT_SECONDS_MAX,
        )?;
        let event_bytes_max = match text(matches, "event-bytes-max") {
            "" => arguments::server_config(matches)?.ingest.event_bytes_max,
            given => {
                let max = limits::EVENT_BYTES_CEILING as u64;
                number("event-bytes-max", given, Unit::Bytes, 1, max)? as usize
            }
        };
        let topic = arguments::topic(text(matches, "topic"))?;
        let data = match text(matches, "json") {
            "" if io::stdin().is_terminal() => {
                return Err(Failure::Usage(
                    "there is no event: give one as JSON after the topic, or one a line on standard input"
                        .to_owned(),
                ));
            }
            "" => Data::Lines { asked_for: false },
            "-" => Data::Lines { asked_for: true },
            json => {
                check_json(json.as_bytes()).map_err(|bad| {
                    Failure::Usage(format!(
                        "the event is not JSON: {}{}",
                        bad.text(),
                        as_text(json)
                    ))
                })?;
                Data::Argument(json.to_owned())
            }
        };
        Ok(Self {
            to,
            timeout: Duration::from_secs(timeout),
            event_bytes_max,
            quiet: matches.get_flag("quiet"),
            topic,
            data,
        })
    }
}

/// Publishes. Tells on standard error how many events were sent.
///
/// # Errors
/// An event is no JSON or too large, or no server took one in time.
pub fn run(options: &PublishArguments) -> Result<(), Failure> {
    super::ignore_summary_signal()?;
    let mut sender = Sender::default();
    let mut sent = 0;
    // Time starts anew with each line: a pipe may bring one an hour.
    let mut deadline = Instant::now() + options.timeout;
    let outcome = match &options.data {
        Data::Argument(json) => sender
            .send(options, json.as_bytes(), deadline)
            .map(|()| sent += 1),
        Data::Lines { asked_for } => {
            let outcome = lines(io::stdin().lock(), options.event_bytes_max, |line| {
                sender.send(options, line, Instant::now() + options.timeout)?;
                sent += 1;
                Ok(())
            });
            deadline = Instant::now() + options.timeout;
            outcome.and_then(|()| {
                if sent == 0 && !asked_for {
                    return Err(Failure::Usage(
                        "there is no event: standard input is empty".to_owned(),
                    ));
                }
                Ok(())
            })
        }
    };
    // Also after a bad line: the good lines before it have to leave.
    let left = sender.finish(deadline);
    let events = if sent == 1 {
        "1 event"
    } else {
        &format!("{sent} events")
    };
    match outcome {
        Err(Failure::Usage(text)) if sent > 0 => {
            left?;
            Err(Failure::Usage(format!("{text}; sent {events} before it")))
        }
        Err(Failure::Runtime(text)) if sent > 0 => {
            Err(Failure::Runtime(format!("{text}; sent {events} before it")))
        }
        Err(failure) => Err(failure),
        Ok(()) => {
            left?;
            if !options.quiet {
                // Standard error may be closed; the events are sent all the same.
                let _ = writeln!(io::stderr(), "{events} sent to {}", options.to);
            }
            Ok(())
        }
    }
}

/// The connection, which is made for the first event: without an event no server has to be there.
#[derive(Default)]
struct Sender {
    publisher: Option<Box<dyn Publisher>>,
}

impl Sender {
    fn send(
        &mut self,
        options: &PublishArguments,
        json: &[u8],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let envelope = envelope(&options.topic, json);
        if envelope.len() > options.event_bytes_max {
            return Err(Failure::Usage(format!(
                "the event has {} bytes with its envelope, more than the server takes (event-bytes-max, {})",
                envelope.len(),
                options.event_bytes_max
            )));
        }
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(options.to.connect(options.timeout, Absent::Await)?),
        };
        publisher.send(&envelope, deadline, options.timeout)
    }

    fn finish(self, deadline: Instant) -> Result<(), Failure> {
        self.publisher
            .map_or(Ok(()), |publisher| publisher.finish(deadline))
    }
}

/// The event as a backend sends it; `json` is known to be JSON.
pub(super) fn envelope(topic: &str, json: &[u8]) -> Vec<u8> {
    let topic = serde_json::Value::from(topic).to_string();
    let parts: [&[u8]; 5] = [b"{\"topic\":", topic.as_bytes(), b",\"data\":", json, b"}"];
    parts.concat()
}

/// Where a text stops being JSON.
#[derive(Debug, Eq, PartialEq)]
struct BadJson {
    line: usize,
    column: usize,
    what: String,
}

impl BadJson {
    fn text(&self) -> String {
        format!("{} at line {} column {}", self.what, self.line, self.column)
    }
}

/// How the user writes `text` as JSON in a shell, in case it was meant as a text.
fn as_text(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    if text.trim_start().starts_with(['{', '[', '"']) {
        return String::new();
    }
    let is_plain = |c: char| !c.is_control() && !"'\"\\".contains(c);
    let shown = match text.chars().all(is_plain) && text.chars().count() <= SHOWN_MAX {
        true => text,
        false => "hello",
    };
    format!("; a text is written in two pairs of quotes: '\"{shown}\"'")
}

/// Checks that there is one JSON value, with at most white space around it.
fn check_json(json: &[u8]) -> Result<(), BadJson> {
    serde_json::from_slice::<&RawValue>(json)
        .map(|_| ())
        .map_err(|error| {
            let text = error.to_string();
            let what = text
                .rsplit_once(" at line ")
                .map_or(&*text, |(what, _)| what);
            BadJson {
                line: error.line(),
                column: error.column(),
                what: what.to_owned(),
            }
        })
}

/// Hands each line that is not empty to `take`. A complaint names its line.
fn lines(
    mut input: impl BufRead,
    bytes_max: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // The line break does not count, and may have two bytes.
        let read = input
            .by_ref()
            .take(bytes_max as u64 + 2)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::Runtime(format!("standard input: {error}")))?;
        if read == 0 {
            break;
        }
        let at = |text: String| format!("standard input, line {number}: {text}");
        let json = line.trim_ascii();
        if line.len() > bytes_max && !line.ends_with(b"\n") {
            return Err(Failure::Usage(at(format!(
                "it is longer than the server takes (event-bytes-max, {bytes_max} bytes)"
            ))));
        }
        if json.is_empty() {
            continue;
        }
        check_json(json).map_err(|bad| {
            Failure::Usage(at(format!(
                "not JSON: {} at column {}",
                bad.what, bad.column
            )))
        })?;
        take(json).map_err(|failure| match failure {
            Failure::Usage(text) => Failure::Usage(at(text)),
            Failure::Runtime(text) => Failure::Runtime(at(text)),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_as_it_is_and_the_topic_is_escaped() {
        let json = br#"{"a" : 1.50, "b":"\/\u00e9"}"#;
        assert_eq!(
            envelope("a\"b", json),
            br#"{"topic":"a\"b","data":{"a" : 1.50, "b":"\/\u00e9"}}"#
        );
    }

    #[test]
    fn bad_json_has_a_place() {
        assert_eq!(check_json(b" -5 "), Ok(()));
        let bad = check_json(b"{\"a\":\n tru}").expect_err("not JSON");
        assert_eq!((bad.line, bad.what.as_str()), (2, "expected ident"));
        assert!(check_json(b"1 2").is_err());
        assert!(check_json(b"\"\xff\"").is_err());
        // Nesting costs no stack.
        assert_eq!(
            check_json(&[[b'['; 100_000], [b']'; 100_000]].concat()),
            Ok(())
        );
    }

    fn taken(input: &[u8], bytes_max: usize) -> (Vec<String>, Result<(), Failure>) {
        let mut taken = Vec::new();
        let outcome = lines(input, bytes_max, |line| {
            taken.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        });
        (taken, outcome)
    }

    #[test]
    fn lines_are_events_and_empty_ones_are_not() {
        let (taken, outcome) = taken(b"1\r\n\n  {\"a\":2}  \n\t\n3", 16);
        assert_eq!(taken, ["1", "{\"a\":2}", "3"]);
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn a_bad_line_is_named() {
        let (taken_before, outcome) = taken(b"1\n\nnope\n4\n", 16);
        assert_eq!(taken_before, ["1"]);
        let text = "standard input, line 3: not JSON: expected ident at column 2";
        assert_eq!(outcome, Err(Failure::Usage(text.to_owned())));

        let (taken_before, outcome) = taken(b"1234\n12345\n123456789\n", 4);
        assert_eq!(
            taken_before,
            ["1234", "12345"],
            "their ends are in reach; the envelope is checked later"
        );
        let text =
            "standard input, line 3: it is longer than the server takes (event-bytes-max, 4 bytes)";
        assert_eq!(outcome, Err(Failure::Usage(text.to_owned())));
    }
}
