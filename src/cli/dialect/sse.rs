//! Server-sent events (WHATWG HTML s. 9.2), as a subscriber understands them. It says nothing after its request.
//!
//! An event of the server's own type (`event: newswire`) tells about the stream: what it gets of the past, and where
//! events were lost.
//!
//! Never here: how a stream is cut into events (that is `event_stream`).

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;

use super::super::past::{PastArguments, Wish};
use super::{Dialect, Meaning, shown};
use crate::wire::json;

/// See above.
#[derive(Debug, Default)]
pub(super) struct SseDialect {
    /// True exactly when something has come on this connection.
    is_open: bool,
    pause: Duration,
    last_event_id: Option<String>,
    /// How many of the newest events the user asks for, until the server has said what there is.
    last: Option<u64>,
    /// The position that this connection's request named, until the server has answered it.
    named: Option<String>,
    /// The data of the event that was taken last.
    data: String,
    /// The id of that event itself.
    id: Option<String>,
}

/// What the lines of an event are.
#[derive(Debug, Eq, PartialEq)]
enum BlockKind {
    /// Data of the default type.
    Event,
    /// Data of newswire's own type.
    Notice,
    Other,
}

/// The longest pause that a server can ask for. A number with a typing error must not keep a client away for days.
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl SseDialect {
    /// For a user who asks this of the past.
    pub(super) fn new(past: PastArguments) -> Self {
        Self {
            last_event_id: past.since.map(|id| id.to_string()),
            last: past.last,
            ..Self::default()
        }
    }

    /// Keeps what the lines of an event say.
    fn read(&mut self, lines: &str) -> BlockKind {
        self.data.clear();
        self.id = None;
        let (mut has_data, mut kind) = (false, BlockKind::Event);
        for line in lines.lines() {
            // A line that begins with a colon is a comment: its field has no name.
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if has_data {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                    has_data = true;
                }
                "event" => {
                    kind = match value {
                        "" | "message" => BlockKind::Event,
                        "newswire" => BlockKind::Notice,
                        _ => BlockKind::Other,
                    }
                }
                "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
                "retry" => {
                    if let Ok(milliseconds) = value.parse() {
                        self.pause = Duration::from_millis(milliseconds).min(PAUSE_MAX);
                    }
                }
                _ => {}
            }
        }
        if self.id.is_some() {
            self.last_event_id.clone_from(&self.id);
        }
        match has_data {
            true => kind,
            false => BlockKind::Other,
        }
    }

    /// What a notice of the server's says.
    fn notice(&mut self) -> Option<Meaning<'_>> {
        let names = ["recovered", "reason", "gap", "topic"];
        let [recovered, reason, gap, topic] = json::members(&self.data, names)?;
        let text = |json: Option<&RawValue>| Some(json::unquote(json?.get())?.into_owned());
        if let Some(reason) = text(gap) {
            return Some(Meaning::Gap {
                topic: shown(&text(topic)?).into(),
                reason: shown(&reason),
            });
        }
        let is_recovered = recovered?.get() == "true";
        self.last = None;
        Some(Meaning::Recovery {
            topic: None,
            since: self.named.take()?,
            outcome: match is_recovered {
                true => Ok(()),
                false => Err(shown(&text(reason).unwrap_or_default())),
            },
        })
    }
}

impl Dialect for SseDialect {
    fn begin(&mut self) -> Option<String> {
        self.is_open = false;
        self.named = self.wish().since.map(str::to_owned);
        None
    }

    fn take<'a>(&'a mut self, lines: &'a str, _: &mut Vec<String>) -> Meaning<'a> {
        let kind = self.read(lines);
        let is_first = !std::mem::replace(&mut self.is_open, true);
        match kind {
            BlockKind::Event => match json::members(&self.data, ["topic", "data"]) {
                Some([Some(topic), Some(data)]) => Meaning::Event {
                    topic: RawValue::get(topic).into(),
                    data: RawValue::get(data).into(),
                    id: self.id.as_deref().map(Cow::Borrowed),
                },
                _ => Meaning::Nothing,
            },
            // newswire sends other lines first.
            _ if is_first => Meaning::Welcome,
            BlockKind::Notice => self.notice().unwrap_or(Meaning::Nothing),
            BlockKind::Other => Meaning::Nothing,
        }
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            since: self.last_event_id.as_deref().filter(|id| !id.is_empty()),
            last: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Gap;
    use crate::wire::id::EventId;
    use crate::wire::past::{RecoveryNotice, Unrecovered};
    use crate::wire::sse;

    fn take<'a>(dialect: &'a mut SseDialect, lines: &'a str) -> Meaning<'a> {
        dialect.take(lines, &mut Vec::new())
    }

    #[test]
    fn the_first_lines_of_a_connection_open_the_stream() {
        let mut dialect = SseDialect::default();
        for _ in 0..2 {
            assert_eq!(dialect.begin(), None);
            assert_eq!(take(&mut dialect, "retry: 3100\n"), Meaning::Welcome);
            let own = "event: newswire\ndata: {\"topic\":1,\"data\":2}\nid: E-7\n";
            assert_eq!(take(&mut dialect, own), Meaning::Nothing);
            assert_eq!(take(&mut dialect, ":\n"), Meaning::Nothing);
        }
        assert_eq!(dialect.pause(), Duration::from_millis(3_100));
        assert_eq!(dialect.wish().since, Some("E-7"));
        take(&mut dialect, "id\nretry: soon\n");
        assert_eq!(dialect.pause(), Duration::from_millis(3_100));
        assert_eq!(dialect.wish().since, None);
        take(&mut dialect, "retry: 999999999999\n");
        assert_eq!(dialect.pause(), PAUSE_MAX);
    }

    #[test]
    fn an_events_data_is_taken_as_it_came() {
        let mut dialect = SseDialect::default();
        take(&mut dialect, "retry: 1\n");
        let mut bytes = Vec::new();
        sse::encode_event(
            "",
            "\"a\\u00e9\"",
            "{\"n\":1.50,\"s\":\"\\/\\n: x\"}",
            &mut bytes,
        );
        let text = String::from_utf8(bytes).expect("text");
        let event = Meaning::Event {
            topic: "\"a\\u00e9\"".into(),
            data: "{\"n\":1.50,\"s\":\"\\/\\n: x\"}".into(),
            id: None,
        };
        assert_eq!(take(&mut dialect, &text), event);
        let text = "id: 1\ndata: {\"topic\":\"a\",\ndata:\"data\":1}\nevent: message\n";
        let event = Meaning::Event {
            topic: "\"a\"".into(),
            data: "1".into(),
            id: Some("1".into()),
        };
        assert_eq!(take(&mut dialect, text), event);
        for text in [
            "data: 1\n",
            "data: {\"topic\":1}\n",
            "data\n",
            "event: x\ndata: {\"topic\":1,\"data\":2}\n",
        ] {
            assert_eq!(take(&mut dialect, text), Meaning::Nothing, "{text}");
        }
    }

    #[test]
    fn what_the_server_says_of_the_past_is_told_when_the_client_has_named_a_position() {
        let id = |text: &str| EventId::parse(text.as_bytes()).expect("an id");
        let notice = |position, outcome| {
            let mut bytes = Vec::new();
            sse::encode_recovery(RecoveryNotice { position, outcome }, &mut bytes);
            String::from_utf8(bytes).expect("text")
        };
        let mut dialect = SseDialect::new(PastArguments {
            since: None,
            last: Some(2),
        });
        let last = Some(2);
        assert_eq!(dialect.wish(), Wish { since: None, last });
        dialect.begin();
        take(&mut dialect, "retry: 1\n");
        let none = notice(id("aaaaaaaa-7"), Err(Unrecovered::None));
        assert_eq!(take(&mut dialect, &none), Meaning::Nothing);
        for (outcome, told) in [
            (Ok(()), Ok(())),
            (Err(Unrecovered::Floor), Err("floor".to_owned())),
        ] {
            let (since, last) = (Some("aaaaaaaa-7"), None);
            assert_eq!(dialect.wish(), Wish { since, last });
            dialect.begin();
            take(&mut dialect, "retry: 1\n");
            let expected = Meaning::Recovery {
                topic: None,
                since: "aaaaaaaa-7".to_owned(),
                outcome: told,
            };
            let text = notice(id("aaaaaaaa-7"), outcome);
            assert_eq!(take(&mut dialect, &text), expected);
        }
        let mut gap = Vec::new();
        sse::encode_gap("\"a\\nb\"", Gap::Slow, &mut gap);
        let gap = String::from_utf8(gap).expect("text");
        let expected = Meaning::Gap {
            topic: "a b".into(),
            reason: "slow".to_owned(),
        };
        assert_eq!(take(&mut dialect, &gap), expected);
        assert_eq!(dialect.wish().since, Some("aaaaaaaa-7"));
    }
}
