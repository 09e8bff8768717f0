//! `newswire subscribe`: prints the events of a server, one JSON line each, and connects again when the connection
//! is lost.
//!
//! A line is `{"topic":…,"data":…}`, with the data byte for byte; but a line break, which in JSON can only be white
//! space between tokens, becomes a space, so that one event stays one line. Standard output is for events alone;
//! standard error tells what happens to the connection, and where events are missing.
//!
//! Never here: the URL's query in a text, what a protocol says (that is `dialect`), and judging what the server sends
//! beyond what is printed.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, which waits and measures for itself: no engine to hand the time to"
)]

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::channel::{Arrival, Channel};
use super::client::ConnectError;
use super::deadline::Deadline;
use super::dialect::{Dialect, Meaning, dialect};
use super::past::{self, PastArguments};
use super::protocol::Protocol;
use super::target::Target;
use super::{Failure, arguments, target, tell};
use crate::limits;

/// How long a server may be silent. It pings a client that is silent itself, at the latest after the longest
/// interval that an operator can set; and the ping may be late.
const SILENCE_MAX: Duration = Duration::from_secs(limits::DEADLINE_SECONDS_MAX as u64 + 30);

/// How long the silence lasts before the user is told, once, what it may mean.
const QUIET_MAX: Duration = Duration::from_secs(3);

const QUIET: &str = "no event so far; WAMP v1 does not confirm a subscription, so if there should have been \
                     one, look for `denied` in the server's log: the token may not allow this topic";

/// How long a server that has taken its leave may take to close the connection.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// The first pause before a new attempt; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause, and how long a connection has to last to make the next pause a first one.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The server, and the topics.
#[derive(Debug)]
pub struct SubscribeArguments {
    target: Target,
    /// No topic stands here twice.
    topics: Vec<String>,
    reconnect: bool,
    count: Option<u64>,
    past: PastArguments,
    /// True exactly when the ids of events are printed.
    ids: bool,
}

/// How `subscribe` is explained.
pub(super) fn command() -> Command {
    Command::new("subscribe")
        .about("Print the events of a server as JSON lines")
        .long_about(
            "Print the events of a server as JSON lines: {\"topic\":…,\"data\":…}, one an event.\n\nWhen \
             the connection is lost, the command connects again after a pause that grows from half a second to 30 s. A \
             stream of server-sent events can ask for a longer one. With --protocol wamp2 or sse, it then asks for the \
             events that it has missed, and says on standard error whether it got them all: the server must keep them \
             (its option `topic`). When the server refuses (a wrong token, for \
             instance), denies all topics, or says GOODBYE (WAMP v2), the command ends with exit code 1.",
        )
        .after_help(
            "Examples:\n  newswire subscribe 'ws://127.0.0.1:8080/?token=TOKEN' package_created\n  \
             newswire subscribe --count 1 'ws://127.0.0.1:8080/?token=TOKEN' package_created | jq .data\n  \
             newswire subscribe --protocol sse 'http://127.0.0.1:8080/?token=TOKEN' package_created\n  \
             newswire subscribe --protocol wamp2 --ids --last 10 'ws://127.0.0.1:8080/?token=TOKEN' package_created\n\n\
             Quote the URL, because `?` and `&` have a meaning for the shell.",
        )
        .arg(arguments::positional("url", "URL", "The server, with the token: ws://HOST:PORT/?token=TOKEN").required(true))
        .arg(
            arguments::positional("topic", "TOPIC", "Topics to subscribe to")
                .required(true)
                .num_args(1..)
                .action(ArgAction::Append),
        )
        .args(target::arguments())
        .args(past::arguments())
        .arg(
            Arg::new("ids")
                .long("ids")
                .action(ArgAction::SetTrue)
                .help("Print the id of each event that has one: {\"id\":…,\"topic\":…,\"data\":…} (wamp2, sse)"),
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
        let mut topics: Vec<String> = Vec::new();
        for topic in matches.get_many::<String>("topic").into_iter().flatten() {
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
        let target = Target::from_matches(matches)?;
        let past = PastArguments::from_matches(matches)?;
        let ids = matches.get_flag("ids");
        if target.protocol == Protocol::Wamp1 {
            let given = [
                ("since", past.since.is_some()),
                ("last", past.last.is_some()),
                ("ids", ids),
            ];
            if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given) {
                return Err(Failure::Usage(format!(
                    "--{name}: WAMP v1 has no ids of events, and no way to ask for past ones: --protocol wamp2 or sse"
                )));
            }
        }
        Ok(Self {
            target,
            topics,
            reconnect: !matches.get_flag("no-reconnect"),
            count: matches.get_one("count").copied(),
            past,
            ids,
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
    let mut subscription = Subscription {
        options,
        dialect: dialect(&options.target, &options.topics, options.past),
        out: io::stdout().lock(),
        left: options.count,
        is_quiet: !options.target.protocol.confirms(),
    };
    let mut pauses = Pauses(PAUSE_MIN);
    loop {
        let began = Instant::now();
        match subscription.connect_and_listen() {
            SubscriptionEnd::Done => return Ok(()),
            SubscriptionEnd::Lost(text) if options.reconnect => {
                if began.elapsed() >= PAUSE_MAX {
                    pauses = Pauses(PAUSE_MIN);
                }
                let pause = pauses.next(random()).max(subscription.dialect.pause());
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

/// What the command has to do, over all connections.
struct Subscription<'a, W> {
    options: &'a SubscribeArguments,
    dialect: Box<dyn Dialect>,
    out: W,
    /// How many events are still to be printed, if that was asked for.
    left: Option<u64>,
    /// True until there was an event, or the user was told that there was none; false where the server answers a
    /// subscription.
    is_quiet: bool,
}

impl<W: Write> Subscription<'_, W> {
    /// One connection from its beginning to its end.
    fn connect_and_listen(&mut self) -> SubscriptionEnd {
        let options = self.options;
        let first = self.dialect.begin();
        let wish = self.dialect.wish();
        let channel = Channel::open(&options.target, &options.topics, wish, SILENCE_MAX);
        let mut channel = match channel {
            Ok(channel) => channel,
            Err(ConnectError::Refused(text)) => return SubscriptionEnd::Fatal(text),
            Err(ConnectError::Failed(text)) => return SubscriptionEnd::Lost(text),
        };
        let end = match channel.send(first) {
            Ok(()) => self.listen(&mut channel),
            Err(text) => self.lost(&text),
        };
        channel.leave(self.dialect.leave());
        end
    }

    fn lost(&self, what: &dyn std::fmt::Display) -> SubscriptionEnd {
        SubscriptionEnd::Lost(format!("{}: {what}", self.options.target))
    }

    fn fatal(&self, what: &dyn std::fmt::Display) -> SubscriptionEnd {
        SubscriptionEnd::Fatal(format!("{}: {what}", self.options.target))
    }

    fn listen(&mut self, channel: &mut Channel) -> SubscriptionEnd {
        let mut visit = Visit::default();
        loop {
            let step = match channel.receive() {
                Arrival::Text(text) => self.take(&text, channel, &mut visit),
                Arrival::Sign => Ok(()),
                Arrival::Silence => self.wait_on(channel, &visit),
                Arrival::End(text) => Err(match &visit.farewell {
                    Some((reason, _)) => self.fatal(&format_args!("{reason}; {text}")),
                    None => self.lost(&text),
                }),
            };
            if let Err(end) = step {
                return end;
            }
            if let Some((reason, deadline)) = &visit.farewell
                && deadline.left().is_none()
            {
                return self.fatal(reason);
            }
        }
    }

    /// Nothing has come for some time.
    fn wait_on(&mut self, channel: &mut Channel, visit: &Visit) -> Result<(), SubscriptionEnd> {
        if let Some((reason, _)) = &visit.farewell {
            return Err(self.fatal(reason));
        }
        if !std::mem::take(&mut self.is_quiet) {
            let seconds = SILENCE_MAX.as_secs();
            return Err(self.lost(&format_args!("nothing was received for {seconds} s")));
        }
        tell(QUIET);
        self.be_patient(channel, SILENCE_MAX)
    }

    fn be_patient(&self, channel: &mut Channel, patience: Duration) -> Result<(), SubscriptionEnd> {
        channel
            .set_patience(patience)
            .map_err(|error| self.lost(&error))
    }

    fn take(
        &mut self,
        text: &str,
        channel: &mut Channel,
        visit: &mut Visit,
    ) -> Result<(), SubscriptionEnd> {
        let options = self.options;
        let target = &options.target;
        let lost = |text: String| SubscriptionEnd::Lost(format!("{target}: {text}"));
        let mut answers = Vec::new();
        let meaning = self.dialect.take(text, &mut answers);
        channel.send(answers).map_err(lost)?;
        match meaning {
            Meaning::Welcome => {
                tell(&format!("connected to {target}"));
                if self.is_quiet {
                    self.be_patient(channel, QUIET_MAX)?;
                }
            }
            Meaning::Granted(topic) => tell(&format!("subscribed to {topic}")),
            Meaning::Denied {
                topic,
                reason,
                was_granted,
            } => {
                tell(&match was_granted {
                    false => format!("{topic} is denied: {reason}"),
                    true => format!("{topic} is not allowed any more: {reason}"),
                });
                visit.denials += 1;
                if visit.denials == options.topics.len() {
                    return Err(self.fatal(&"the server denies all topics"));
                }
            }
            Meaning::Event { topic, data, id } => {
                let id = id.as_deref().filter(|_| options.ids);
                print(&mut self.out, id, &topic, &data).map_err(|error| match error.kind() {
                    // The reader of the lines has closed the pipe.
                    io::ErrorKind::BrokenPipe => SubscriptionEnd::Done,
                    _ => SubscriptionEnd::Fatal(format!("standard output: {error}")),
                })?;
                if let Some(left) = &mut self.left {
                    *left -= 1;
                    if *left == 0 {
                        return Err(SubscriptionEnd::Done);
                    }
                }
                // From now on silence means a dead connection again.
                if std::mem::take(&mut self.is_quiet) {
                    self.be_patient(channel, SILENCE_MAX)?;
                }
            }
            Meaning::Recovery {
                topic,
                since,
                outcome,
            } => {
                let of = topic
                    .map(|topic| format!(" of {topic}"))
                    .unwrap_or_default();
                tell(&match outcome {
                    Ok(()) => format!("recovered everything{of} since {since}"),
                    Err(reason) => format!("not recovered ({reason}): events{of} may be missing"),
                });
            }
            Meaning::Gap { topic, reason } => {
                tell(&format!("gap ({reason}) in {topic}: events were lost"));
            }
            Meaning::Farewell(reason) => {
                visit.farewell = Some((reason, Deadline::after(FAREWELL_MAX)));
                self.be_patient(channel, FAREWELL_MAX)?;
            }
            Meaning::Nothing => {}
        }
        Ok(())
    }
}

/// What has happened on one connection.
#[derive(Debug, Default)]
struct Visit {
    /// Topics that were denied or taken away.
    denials: usize,
    /// Why the server ends the session, when it has said so; and how long its Close frame is waited for.
    farewell: Option<(String, Deadline)>,
}

/// One line, in one write, at once: the reader may be a pipe that waits for exactly this event.
fn print(out: &mut impl Write, id: Option<&str>, topic: &str, data: &str) -> io::Result<()> {
    let id = id.map(|id| format!("\"id\":{},", serde_json::json!(id)));
    let id = id.unwrap_or_default();
    let mut line = format!("{{{id}\"topic\":{topic},\"data\":{data}}}").into_bytes();
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
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

    #[test]
    fn an_event_is_one_line_with_its_data_as_it_came() {
        for (topic, data, line) in [
            (
                r#""a\u00e9""#,
                r#"{"n":1.50,"s":"\/\n"}"#,
                "{\"topic\":\"a\\u00e9\",\"data\":{\"n\":1.50,\"s\":\"\\/\\n\"}}\n",
            ),
            (
                "\"a\"",
                "{\n\"n\":\r\n1}",
                "{\"topic\":\"a\",\"data\":{ \"n\":  1}}\n",
            ),
        ] {
            let mut out = Vec::new();
            print(&mut out, None, topic, data).expect("a Vec takes everything");
            assert_eq!(String::from_utf8(out).as_deref(), Ok(line));
        }
        let mut out = Vec::new();
        print(&mut out, Some("a\"-1"), "\"t\"", "1").expect("a Vec takes everything");
        assert_eq!(out, b"{\"id\":\"a\\\"-1\",\"topic\":\"t\",\"data\":1}\n");
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
