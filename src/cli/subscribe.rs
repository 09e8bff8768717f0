//! `newswire subscribe`: prints the events of a server, one JSON line each, and connects again when the connection
//! is lost.
//!
//! A line is `{"topic":…,"data":…}`, with the data byte for byte; but a line break, which in JSON can only be white
//! space between tokens, becomes a space, so that one event stays one line. Standard output is for events alone;
//! standard error tells what happens to the connection.
//!
//! Never here: the URL's query in a text, and judging what the server sends beyond what is printed.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, which waits and measures for itself: no engine to hand the time to"
)]

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::value::RawValue;
use tungstenite::error::ProtocolError;
use tungstenite::{Error, Message, WebSocket};

use super::client::{ConnectError, connect};
use super::server_url::ServerUrl;
use super::{Failure, arguments, tell};
use crate::limits;

/// How long a server may be silent. It pings a client that is silent itself, at the latest after the longest
/// interval that an operator can set; and the ping may be late.
const SILENCE_MAX: Duration = Duration::from_secs(limits::DEADLINE_SECONDS_MAX as u64 + 30);

/// How long the silence lasts before the user is told, once, what it may mean.
const QUIET_MAX: Duration = Duration::from_secs(3);

const QUIET: &str = "no event so far; WAMP v1 does not confirm a subscription, so if there should have been \
                     one, look for `denied` in the server's log: the token may not allow this topic";

/// The first pause before a new attempt; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause, and how long a connection has to last to make the next pause a first one.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The server, and the topics.
#[derive(Debug)]
pub struct SubscribeArguments {
    target: ServerUrl,
    topics: Vec<String>,
    reconnect: bool,
    count: Option<u64>,
}

/// How `subscribe` is explained.
pub(super) fn command() -> Command {
    Command::new("subscribe")
        .about("Print the events of a server as JSON lines")
        .long_about(
            "Print the events of a server as JSON lines: {\"topic\":…,\"data\":…}, one an event.\n\nWhen \
             the connection is lost, the command connects again after a pause that grows from half a second to 30 s. \
             When the server refuses (a wrong token, for instance), it ends with exit code 1.",
        )
        .after_help(
            "Examples:\n  newswire subscribe 'ws://127.0.0.1:8080/?token=TOKEN' package_created\n  \
             newswire subscribe --count 1 'ws://127.0.0.1:8080/?token=TOKEN' package_created | jq .data\n\n\
             Quote the URL, because `?` and `&` have a meaning for the shell.",
        )
        .arg(arguments::positional("url", "URL", "The server, with the token: ws://HOST:PORT/?token=TOKEN").required(true))
        .arg(
            arguments::positional("topic", "TOPIC", "Topics to subscribe to")
                .required(true)
                .num_args(1..)
                .action(ArgAction::Append),
        )
        .arg(
            Arg::new("no-reconnect")
                .long("no-reconnect")
                .action(ArgAction::SetTrue)
                .help("End with exit code 1 when the connection is lost or cannot be made"),
        )
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .allow_negative_numbers(true)
                .help("End with exit code 0 after so many events"),
        )
}

impl SubscribeArguments {
    /// Makes the options of the arguments.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let url = arguments::text(matches, "url");
        let topics = matches.get_many::<String>("topic").into_iter().flatten();
        Ok(Self {
            target: ServerUrl::parse(url).map_err(|text| Failure::Usage(format!("URL: {text}")))?,
            topics: topics.cloned().collect(),
            reconnect: !matches.get_flag("no-reconnect"),
            count: matches.get_one("count").copied(),
        })
    }
}

/// How a connection ended.
#[derive(Debug)]
enum SubscriptionEnd {
    /// All events that were asked for are printed, or nobody reads the output any more.
    Done,
    /// A new attempt may succeed.
    Lost(String),
    /// A new attempt would be refused, or its events could not be printed.
    Fatal(String),
}

/// Subscribes and prints until there is a reason to end.
///
/// # Errors
/// The server refuses, the output fails, or the connection is lost and is not to be made again.
pub fn run(options: &SubscribeArguments) -> Result<(), Failure> {
    super::ignore_summary_signal()?;
    let mut out = io::stdout().lock();
    let mut left = options.count;
    let mut is_quiet = true;
    let mut pauses = Pauses(PAUSE_MIN);
    loop {
        let began = Instant::now();
        let end = match connect(&options.target, SILENCE_MAX) {
            Ok(socket) => listen(socket, options, &mut left, &mut is_quiet, &mut out),
            Err(ConnectError::Refused(text)) => SubscriptionEnd::Fatal(text),
            Err(ConnectError::Failed(text)) => SubscriptionEnd::Lost(text),
        };
        match end {
            SubscriptionEnd::Done => return Ok(()),
            SubscriptionEnd::Lost(text) if options.reconnect => {
                if began.elapsed() >= PAUSE_MAX {
                    pauses = Pauses(PAUSE_MIN);
                }
                let pause = pauses.next(random());
                tell(&format!(
                    "{text}; next attempt in {:.1} s",
                    pause.as_secs_f32()
                ));
                thread::sleep(pause);
            }
            SubscriptionEnd::Lost(text) | SubscriptionEnd::Fatal(text) => {
                return Err(Failure::Runtime(text));
            }
        }
    }
}

/// One connection from its WELCOME to its end. `is_quiet` is true until there was an event, or the user
/// was told that there was none.
fn listen(
    mut socket: WebSocket<TcpStream>,
    options: &SubscribeArguments,
    left: &mut Option<u64>,
    is_quiet: &mut bool,
    out: &mut impl Write,
) -> SubscriptionEnd {
    let lost =
        |what: &dyn std::fmt::Display| SubscriptionEnd::Lost(format!("{}: {what}", options.target));
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(frame)) => {
                // tungstenite answers; whether the answer arrives is the server's matter.
                let _ = socket.flush();
                return match frame {
                    Some(frame) => lost(&format_args!("the server closed: {frame}")),
                    None => lost(&"the server closed"),
                };
            }
            // The answer to a ping leaves with the next read.
            Ok(_) => continue,
            // A signal that is ignored.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(Error::Io(error)) if *is_quiet && is_timeout(&error) => {
                tell(QUIET);
                *is_quiet = false;
                match socket.get_ref().set_read_timeout(Some(SILENCE_MAX)) {
                    Ok(()) => continue,
                    Err(error) => return lost(&error),
                }
            }
            Err(error) => return lost(&explain(&error)),
        };
        let step = match ServerMessage::parse(&text) {
            Some(ServerMessage::Welcome) => subscribe(&mut socket, &options.topics)
                .and_then(|()| {
                    let patience = if *is_quiet { QUIET_MAX } else { SILENCE_MAX };
                    Ok(socket.get_ref().set_read_timeout(Some(patience))?)
                })
                .map_err(|error| lost(&explain(&error)))
                .inspect(|()| tell(&format!("connected to {}", options.target))),
            Some(ServerMessage::Event { topic, data }) => heard_one(&socket, is_quiet)
                .map_err(|error| lost(&error))
                .and_then(|()| {
                    print(out, topic, data).map_err(|error| match error.kind() {
                        // The reader of the lines has closed the pipe.
                        io::ErrorKind::BrokenPipe => SubscriptionEnd::Done,
                        _ => SubscriptionEnd::Fatal(format!("standard output: {error}")),
                    })
                })
                .and_then(|()| match left {
                    None => Ok(()),
                    Some(left) => {
                        *left -= 1;
                        if *left == 0 {
                            Err(SubscriptionEnd::Done)
                        } else {
                            Ok(())
                        }
                    }
                }),
            None => Ok(()),
        };
        if let Err(end) = step {
            // Ends with a Close frame while there is a connection.
            let _ = socket.close(None).and_then(|()| socket.flush());
            return end;
        }
    }
}

/// From now on silence means a dead connection again.
fn heard_one(socket: &WebSocket<TcpStream>, is_quiet: &mut bool) -> io::Result<()> {
    match std::mem::take(is_quiet) {
        true => socket.get_ref().set_read_timeout(Some(SILENCE_MAX)),
        false => Ok(()),
    }
}

/// Returns true when a read has waited in vain.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// What kind of message the server sent, as far as this command needs to know.
#[derive(Debug)]
enum ServerMessage<'a> {
    Welcome,
    Event {
        topic: &'a RawValue,
        data: &'a RawValue,
    },
}

impl<'a> ServerMessage<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        match (elements.first()?.get(), elements.as_slice()) {
            ("0", _) => Some(Self::Welcome),
            ("8", &[_, topic, data]) => Some(Self::Event { topic, data }),
            _ => None,
        }
    }
}

fn subscribe(socket: &mut WebSocket<TcpStream>, topics: &[String]) -> Result<(), Error> {
    for topic in topics {
        let topic = serde_json::Value::from(topic.as_str());
        socket.write(Message::text(format!("[5,{topic}]")))?;
    }
    socket.flush()
}

/// One line, in one write, at once: the reader may be a pipe that waits for exactly this event.
fn print(out: &mut impl Write, topic: &RawValue, data: &RawValue) -> io::Result<()> {
    let mut line = format!("{{\"topic\":{topic},\"data\":{data}}}").into_bytes();
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

fn explain(error: &Error) -> String {
    match error {
        Error::Io(error) if is_timeout(error) => {
            format!("nothing was received for {} s", SILENCE_MAX.as_secs())
        }
        Error::Io(error) => format!("connection lost: {error}"),
        Error::ConnectionClosed | Error::AlreadyClosed => "connection closed".to_owned(),
        // A server that restarts leaves its clients like this, so that they come back.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the server ended the connection".to_owned()
        }
        error => format!("connection lost: {error}"),
    }
}

/// Pauses between attempts, each twice as long as the last.
struct Pauses(Duration);

impl Pauses {
    /// The next pause: from half of it to all of it, by `random`, so that after a restart not all clients connect in
    /// the same moment.
    fn next(&mut self, random: u32) -> Duration {
        let half = self.0 / 2;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

fn random() -> u32 {
    // Without randomness the pauses are the longest there are, which is no harm.
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<String> {
        let Some(ServerMessage::Event { topic, data }) = ServerMessage::parse(text) else {
            return None;
        };
        let mut out = Vec::new();
        print(&mut out, topic, data).expect("a Vec takes everything");
        Some(String::from_utf8(out).expect("it was text"))
    }

    #[test]
    fn an_event_is_one_line_with_its_data_as_it_came() {
        assert_eq!(
            line(r#"[8,"a\u00e9",{"n":1.50,"s":"\/\n"}]"#).as_deref(),
            Some("{\"topic\":\"a\\u00e9\",\"data\":{\"n\":1.50,\"s\":\"\\/\\n\"}}\n")
        );
        assert_eq!(
            line("[8, \"a\" ,{\n\"n\":\r\n1}]").as_deref(),
            Some("{\"topic\":\"a\",\"data\":{ \"n\":  1}}\n")
        );
    }

    #[test]
    fn other_messages_are_passed_over() {
        assert!(matches!(
            ServerMessage::parse("[0,\"id\",1,\"newswire\"]"),
            Some(ServerMessage::Welcome)
        ));
        for text in [
            "",
            "null",
            "[]",
            "[8,\"a\"]",
            "[4,\"id\",\"x\",\"y\"]",
            "[\"8\",\"a\",1]",
            "[8,\"a\",1",
        ] {
            assert!(ServerMessage::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let mut pauses = Pauses(PAUSE_MIN);
        assert_eq!(pauses.next(0), PAUSE_MIN / 2);
        assert_eq!(pauses.next(u32::MAX), PAUSE_MIN * 2);
        for _ in 0..10 {
            pauses.next(0);
        }
        assert_eq!(pauses.next(u32::MAX), PAUSE_MAX);
        assert_eq!(pauses.next(0), PAUSE_MAX / 2);
    }
}
