//! Clients that know ids: they name what they have of a topic, and are told what they get of its past. One interface for
//! WAMP v2 and server-sent events, on sockets.
//!
//! Never here: newswire's own code, as in all of this crate.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::observe::upgrade;
use super::raw::{Heard, Raw, frame_of};
use super::{Server, TOKEN};

/// The protocols that know ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `wamp.2.json`.
    Wamp2,
    /// Server-sent events.
    Sse,
}

impl Dialect {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wamp2, Self::Sse];
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// An event: its id, if it has one, and its data.
    Event(Option<String>, Value),
    /// What it gets of the past: `recovered`, `id` and `reason`, as far as they are there.
    Notice(Value),
    /// Events were lost, for this reason.
    Gap(String),
    /// Any other message of WAMP.
    Other(Value),
    /// The connection has ended.
    End,
}

/// A client. It is subscribed to one topic at most.
#[derive(Debug)]
pub struct Peer {
    raw: Raw,
    /// What it speaks.
    pub dialect: Dialect,
}

impl Peer {
    /// A client of WAMP v2 that is welcome, on a connection on which nothing was said.
    pub fn wamp2(stream: TcpStream, token: &str) -> Self {
        let mut raw = Raw::new(stream);
        let protocol = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
        raw.send(upgrade(&format!("/?token={token}"), protocol).as_bytes());
        let mut peer = Self {
            raw,
            dialect: Dialect::Wamp2,
        };
        match peer.hear() {
            Heard::Http(answer) => assert_eq!(answer.status, 101, "{answer:?}"),
            other => panic!("{other}"),
        }
        peer.say("[1,\"r\",{}]");
        let welcome = peer.told();
        assert!(
            matches!(&welcome, Told::Other(message) if message[0] == 2),
            "{welcome:?}"
        );
        peer
    }

    /// A stream of what `query` names, asked for with further header lines; and its notice.
    pub fn stream(stream: TcpStream, query: &str, lines: &str) -> (Self, Value) {
        let mut raw = Raw::new(stream);
        let head = format!(
            "GET /?token={TOKEN}&{query} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n"
        );
        raw.send(head.as_bytes());
        let mut peer = Self {
            raw,
            dialect: Dialect::Sse,
        };
        match peer.hear() {
            Heard::Http(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            other => panic!("{other}"),
        }
        let retry = peer.hear();
        assert!(
            matches!(&retry, Heard::Event(line) if line.starts_with("retry: ")),
            "{retry}"
        );
        match peer.told() {
            Told::Notice(notice) => (peer, notice),
            other => panic!("no notice: {other:?}"),
        }
    }

    /// A client that subscribes to a topic, having everything up to `since`, and asks for the `last` events otherwise; and
    /// what it is told about that.
    pub fn asks(
        dialect: Dialect,
        stream: TcpStream,
        topic: &str,
        since: Option<&str>,
        last: Option<u64>,
    ) -> (Self, Value) {
        match dialect {
            Dialect::Wamp2 => {
                let mut peer = Self::wamp2(stream, TOKEN);
                let mut options = json!({});
                if let Some(since) = since {
                    options["x_since"] = json!(since);
                }
                // Without either there is no notice.
                if last.is_some() || since.is_none() {
                    options["x_last"] = json!(last.unwrap_or(0));
                }
                let notice = peer.subscribe(topic, &options.to_string());
                (peer, notice)
            }
            Dialect::Sse => {
                let since =
                    since.map_or(String::new(), |since| format!("Last-Event-ID: {since}\r\n"));
                let last = last.map_or(String::new(), |last| format!("&last={last}"));
                Self::stream(stream, &format!("topic={topic}{last}"), &since)
            }
        }
    }

    /// Sends SUBSCRIBE, and waits for SUBSCRIBED and the notice.
    pub fn subscribe(&mut self, topic: &str, options: &str) -> Value {
        self.say(&format!("[32,1,{options},{topic:?}]"));
        let subscribed = self.told();
        assert!(
            matches!(&subscribed, Told::Other(message) if message[0] == 33),
            "{subscribed:?}"
        );
        match self.told() {
            Told::Notice(notice) => notice,
            other => panic!("no notice: {other:?}"),
        }
    }

    /// Sends a text message.
    pub fn say(&mut self, text: &str) {
        self.raw.send(&frame_of(0x81, text.as_bytes()));
    }

    fn hear(&mut self) -> Heard {
        loop {
            match self.raw.hear().expect("the server says something") {
                Heard::Frame(0x89, payload) => self.raw.send(&frame_of(0x8A, &payload)),
                // A comment, which keeps a quiet stream alive.
                Heard::Event(lines) if lines.starts_with(':') => {}
                heard => return heard,
            }
        }
    }

    /// The next thing that it is told. Pings are answered.
    pub fn told(&mut self) -> Told {
        match self.hear() {
            Heard::Frame(0x81, text) => of_wamp(&text),
            Heard::Event(lines) => of_stream(&lines),
            Heard::End | Heard::Reset | Heard::Frame(0x88, _) => Told::End,
            other => panic!("{other}"),
        }
    }

    /// The id and the data of the next thing, which has to be an event.
    pub fn event(&mut self) -> (Option<String>, Value) {
        match self.told() {
            Told::Event(id, data) => (id, data),
            other => panic!("no event: {other:?}"),
        }
    }

    /// Asserts that events with these ids and data come next.
    pub fn expect(&mut self, events: &[(String, u64)]) {
        for (id, data) in events {
            assert_eq!(self.event(), (Some(id.clone()), json!(data)));
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn of_wamp(text: &[u8]) -> Told {
    let message = parse(str::from_utf8(text).expect("UTF-8"));
    let details = &message[3];
    if message[0] != 36 {
        return Told::Other(message);
    }
    if let Some(gap) = details["x_gap"].as_str() {
        return Told::Gap(gap.to_owned());
    }
    if details["x_recovered"].is_boolean() {
        let details = details.as_object().expect("details").iter();
        let plain = details.map(|(name, value)| {
            let name = name.strip_prefix("x_").expect("newswire's own");
            (name.to_owned(), value.clone())
        });
        return Told::Notice(plain.collect());
    }
    let id = details["x_id"].as_str().map(str::to_owned);
    Told::Event(id, message[4][0].clone())
}

fn of_stream(lines: &str) -> Told {
    let field = |name: &str| {
        let mut all = lines
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        all.next()
    };
    let data = parse(field("data").unwrap_or_else(|| panic!("no data: {lines}")));
    if field("event") != Some("newswire") {
        return Told::Event(field("id").map(str::to_owned), data["data"].clone());
    }
    match data["gap"].as_str() {
        Some(gap) => {
            assert_eq!(field("id"), None, "a gap has no id");
            Told::Gap(gap.to_owned())
        }
        None => {
            assert_eq!(field("id"), data["id"].as_str(), "{lines}");
            Told::Notice(data)
        }
    }
}

impl Server {
    /// Publishes data to a topic, one event after the other; the ids that they were given, with the data.
    pub fn publish(&self, topic: &str, data: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
        let one = |n: u64| {
            let answer = self.post("/publish", &json!({"topic": topic, "data": n}).to_string());
            assert_eq!(answer.status, 200, "{answer:?}");
            (answer.json()["id"].as_str().expect("an id").to_owned(), n)
        };
        data.into_iter().map(one).collect()
    }
}
