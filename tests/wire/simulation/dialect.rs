//! The protocol that a client speaks, and what its words are to the model: everybody's events are compared in the form
//! of WAMP v1.
//!
//! Never here: which events a client is owed.

use std::collections::BTreeMap;

use kit::dice::Dice;

use super::subscriber::{What, topic};

/// See the module.
pub enum Dialect {
    Wamp1,
    Wamp2(Wamp2),
    /// With the topics of its request.
    Sse(Vec<usize>),
}

/// What a client of WAMP v2 knows.
#[derive(Default)]
pub struct Wamp2 {
    /// True exactly when its token is not in its request.
    shows_ticket: bool,
    takes_revocations: bool,
    was_challenged: bool,
    is_welcome: bool,
    requests: u64,
    /// Topics, by the request whose answer is awaited.
    asked: BTreeMap<u64, usize>,
    /// Numbers, by the request to end their subscriptions.
    leaving: BTreeMap<u64, u64>,
    /// Topics, by the number under which events may come.
    topics: BTreeMap<u64, usize>,
    /// Numbers under which a topic can be left.
    numbers: BTreeMap<usize, u64>,
}

impl Dialect {
    pub fn draw(topics: usize, dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 | 1 => Self::Wamp1,
            2 => Self::Wamp2(Wamp2 {
                shows_ticket: dice.one_in(2),
                takes_revocations: dice.one_in(2),
                ..Wamp2::default()
            }),
            _ => Self::Sse((0..1 + dice.below(3)).map(|_| dice.below(topics)).collect()),
        }
    }

    /// The request, with further header lines.
    pub fn head(&self, headers: &str) -> String {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n";
        let (query, lines) = match self {
            Self::Wamp1 => ("?token=t".to_owned(), upgrade.to_owned()),
            Self::Wamp2(wamp2) => (
                (if wamp2.shows_ticket { "" } else { "?token=t" }).to_owned(),
                format!("{upgrade}Sec-WebSocket-Protocol: wamp.2.json\r\n"),
            ),
            Self::Sse(topics) => {
                let each = topics.iter().map(|&n| format!("&topic={}", topic(n)));
                let query = format!("?token=t{}", each.collect::<String>());
                (query, "Accept: text/event-stream\r\n".to_owned())
            }
        };
        format!("GET /{query} HTTP/1.1\r\nHost: h\r\n{headers}{lines}\r\n")
    }

    /// What the client says of itself behind its request; nothing in most dialects.
    pub fn hello(&self) -> Vec<String> {
        let Self::Wamp2(wamp2) = self else {
            return Vec::new();
        };
        let does = wamp2.takes_revocations;
        let roles = format!(
            r#""roles":{{"subscriber":{{"features":{{"subscription_revocation":{does}}}}}}}"#
        );
        match wamp2.shows_ticket {
            true => vec![
                format!(r#"[1,"r",{{"authmethods":["ticket"],{roles}}}]"#),
                r#"[5,"t",{}]"#.to_owned(),
            ],
            false => vec![format!(r#"[1,"r",{{{roles}}}]"#)],
        }
    }

    /// Returns true when the client's token is not in its request.
    pub fn shows_ticket(&self) -> bool {
        matches!(self, Self::Wamp2(wamp2) if wamp2.shows_ticket)
    }

    /// Returns true when the client was not welcomed yet, as far as its dialect has a welcome of its own.
    pub fn awaits_welcome(&self) -> bool {
        matches!(self, Self::Wamp2(wamp2) if !wamp2.is_welcome)
    }

    /// The topics of a stream.
    pub fn stream(&self) -> Option<&[usize]> {
        match self {
            Self::Sse(topics) => Some(topics),
            Self::Wamp1 | Self::Wamp2(_) => None,
        }
    }

    /// Something that the client may say now about a topic; `None` when it can say nothing.
    pub fn phrase(&mut self, n: usize, dice: &mut Dice) -> Option<(What, String)> {
        match self {
            Self::Sse(_) => None,
            Self::Wamp1 => Some(match dice.below(10) {
                0..6 => (What::Subscribe(n), format!("[5,\"topic-{n}\"]")),
                6..8 => (What::Unsubscribe(n), format!("[6,\"topic-{n}\"]")),
                8 if dice.one_in(2) => (What::Other, format!("[1,\"p{n}\",\"topic\"]")),
                8 => (What::Other, self.call(90)?),
                _ => (What::Other, "[7,\"t\",1]".to_owned()),
            }),
            Self::Wamp2(wamp2) => {
                wamp2.requests += 1;
                let request = wamp2.requests;
                Some(match dice.below(10) {
                    0..6 => {
                        wamp2.asked.insert(request, n);
                        let text = format!("[32,{request},{{}},\"topic-{n}\"]");
                        (What::Subscribe(n), text)
                    }
                    // It is not left twice: by then the topic may have another number.
                    6..8 if let Some(number) = wamp2.numbers.remove(&n) => {
                        wamp2.leaving.insert(request, number);
                        (What::Unsubscribe(n), format!("[34,{request},{number}]"))
                    }
                    8 => (What::Other, self.call(80)?),
                    _ => (What::Other, format!("[16,{request},{{}},\"t\",[1]]")),
                })
            }
        }
    }

    /// A call with a name of so many bytes.
    pub fn call(&self, bytes: usize) -> Option<String> {
        let name = "x".repeat(bytes);
        match self {
            Self::Wamp1 => Some(format!("[2,\"call\",\"{name}\"]")),
            Self::Wamp2(_) => Some(format!("[48,9,{{}},\"{name}\"]")),
            Self::Sse(_) => None,
        }
    }

    /// The token does not allow some topics any more: the client leaves them no more by their old numbers.
    pub fn lose(&mut self, is_lost: impl Fn(usize) -> bool) {
        if let Self::Wamp2(wamp2) = self {
            wamp2.numbers.retain(|&n, _| !is_lost(n));
        }
    }

    /// The client hears a text. Returns the event in it, if there is one.
    pub fn hear(&mut self, text: &str) -> Option<String> {
        match self {
            Self::Wamp1 => {
                let is_event = text.starts_with("[8,");
                let is_other = text.starts_with("[0,\"") || text.starts_with("[4,\"");
                assert!(is_event || is_other, "{text}");
                is_event.then(|| text.to_owned())
            }
            Self::Wamp2(wamp2) => wamp2.hear(text),
            Self::Sse(_) => panic!("{text}"),
        }
    }

    /// The client hears an event of a stream. Returns it, unless it is a comment or the like.
    pub fn hear_stream(&self, lines: &str) -> Option<String> {
        assert!(matches!(self, Self::Sse(_)), "{lines}");
        let Some(data) = lines.strip_prefix("data: {\"topic\":") else {
            let is_other = ["retry: ", "event: newswire\n"]
                .iter()
                .any(|start| lines.starts_with(start));
            assert!(lines == ":" || is_other, "{lines}");
            return None;
        };
        let (topic, data) = data.split_once(",\"data\":").expect("data");
        let data = data.strip_suffix('}').expect("an end");
        Some(format!("[8,{topic},{data}]"))
    }
}

impl Wamp2 {
    fn hear(&mut self, text: &str) -> Option<String> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let (kind, rest) = inner
            .and_then(|inner| inner.split_once(','))
            .expect("a list");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        if kind == "2" {
            assert!(
                !std::mem::replace(&mut self.is_welcome, true),
                "welcome twice"
            );
            assert_eq!(self.was_challenged, self.shows_ticket, "welcome unasked");
            return None;
        }
        // ABORT and GOODBYE come before a Close frame, at any time.
        let is_early = matches!(kind, "3" | "6") || self.shows_ticket && kind == "4";
        assert!(self.is_welcome || is_early, "not welcome: {text}");
        match kind {
            "3" | "6" => None,
            "4" => {
                assert!(!self.is_welcome, "{text}");
                self.was_challenged = true;
                None
            }
            "33" => {
                let (request, subscription) = rest.split_once(',').expect("two numbers");
                let n = self.asked.remove(&number(request)).expect("it was asked");
                let subscription = number(subscription);
                let before = self.topics.insert(subscription, n);
                assert!(
                    before.is_none_or(|before| before == n),
                    "{subscription} is another's"
                );
                if !self.leaving.values().any(|&left| left == subscription) {
                    self.numbers.insert(n, subscription);
                }
                None
            }
            "35" => {
                let subscription = match rest.strip_prefix("0,{\"subscription\":") {
                    Some(details) => {
                        assert!(self.takes_revocations, "{text}");
                        number(details.split(',').next().expect("a first"))
                    }
                    None => (self.leaving.remove(&number(rest))).expect("it was asked"),
                };
                let n = self.topics.remove(&subscription);
                if let Some(n) = n
                    && self.numbers.get(&n) == Some(&subscription)
                {
                    self.numbers.remove(&n);
                }
                None
            }
            "8" => {
                let mut words = rest.split(',');
                let (kind, request) = (words.next(), words.next().map(number));
                let request = request.expect("a number");
                match kind {
                    Some("32") => assert!(self.asked.remove(&request).is_some(), "{text}"),
                    Some("34") => assert!(self.leaving.remove(&request).is_some(), "{text}"),
                    kind => assert_eq!(kind, Some("48"), "{text}"),
                }
                None
            }
            "36" => {
                let mut words = rest.splitn(3, ',');
                let subscription = number(words.next().expect("a first"));
                words.next().map(number).expect("a publication");
                let data = words.next().and_then(|rest| rest.strip_prefix("{},["));
                let data = data
                    .and_then(|rest| rest.strip_suffix(']'))
                    .expect("one argument");
                let n = self.topics.get(&subscription);
                let n = n.unwrap_or_else(|| {
                    panic!("an event before SUBSCRIBED, or after UNSUBSCRIBED: {text}")
                });
                Some(format!("[8,\"{}\",{data}]", topic(*n)))
            }
            _ => panic!("{text}"),
        }
    }
}
