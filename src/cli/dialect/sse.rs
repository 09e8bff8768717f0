//! Server-sent events (WHATWG HTML s. 9.2), as a subscriber understands them. It says nothing after its request.
//!
//! An event of the server's own type (`event: newswire`) tells about the stream, and is nothing to print.
//!
//! Never here: how a stream is cut into events (that is `event_stream`).

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Dialect, Meaning};
use crate::wire::json;

/// See above.
#[derive(Debug, Default)]
pub(super) struct SseDialect {
    /// True exactly when something has come on this connection.
    is_open: bool,
    pause: Duration,
    last_event_id: Option<String>,
    /// The data of the event that was taken last.
    data: String,
}

/// The longest pause that a server can ask for. A number with a typing error must not keep a client away for days.
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl SseDialect {
    /// Keeps what the lines of an event say. Returns true when there is data of the default type.
    fn read(&mut self, lines: &str) -> bool {
        self.data.clear();
        let (mut has_data, mut is_default) = (false, true);
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
                "event" => is_default = matches!(value, "" | "message"),
                "id" if !value.contains('\0') => self.last_event_id = Some(value.to_owned()),
                "retry" => {
                    if let Ok(milliseconds) = value.parse() {
                        self.pause = Duration::from_millis(milliseconds).min(PAUSE_MAX);
                    }
                }
                _ => {}
            }
        }
        has_data && is_default
    }
}

impl Dialect for SseDialect {
    fn begin(&mut self) -> Option<String> {
        self.is_open = false;
        None
    }

    fn take<'a>(&'a mut self, lines: &'a str, _: &mut Vec<String>) -> Meaning<'a> {
        let is_event = self.read(lines);
        let is_first = !std::mem::replace(&mut self.is_open, true);
        if !is_event {
            return match is_first {
                true => Meaning::Welcome,
                false => Meaning::Nothing,
            };
        }
        match json::members(&self.data, ["topic", "data"]) {
            Some([Some(topic), Some(data)]) => Meaning::Event {
                topic: RawValue::get(topic).into(),
                data: RawValue::get(data).into(),
            },
            _ => Meaning::Nothing,
        }
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref().filter(|id| !id.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(dialect.last_event_id(), Some("E-7"));
        take(&mut dialect, "id\nretry: soon\n");
        assert_eq!(dialect.pause(), Duration::from_millis(3_100));
        assert_eq!(dialect.last_event_id(), None);
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
        };
        assert_eq!(take(&mut dialect, &text), event);
        let text = "id: 1\ndata: {\"topic\":\"a\",\ndata:\"data\":1}\nevent: message\n";
        let event = Meaning::Event {
            topic: "\"a\"".into(),
            data: "1".into(),
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
}
