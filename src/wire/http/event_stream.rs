//! The request for a stream of server-sent events (WHATWG HTML s. 9.2): a GET that accepts `text/event-stream` and names
//! topics in its query.
//!
//! Never here: whether a token, an origin, an address or a topic is welcome, and the bytes of an answer.

use std::borrow::Cow;

use super::head::Head;
use crate::limits::ORIGIN_BYTES_MAX;
use crate::stats::Refusal;
use crate::wire::past::{PastWish, Since};

/// What a good request for a stream asks for, borrowed from its head. It has no `Debug`: a token may be in it.
pub struct EventStream<'a> {
    /// The topics, in their order; one that is named twice stands here twice.
    pub topics: Vec<String>,
    /// `Origin`, as it came.
    pub origin: Option<&'a str>,
    /// The elements of all `X-Forwarded-For` lines, as they came. Anybody may have written them.
    pub forwarded_for: Vec<&'a [u8]>,
    /// What the client asks of its topics' past.
    pub past: PastWish,
    /// True exactly when a browser asks. Its `EventSource` gives up for good after any other status than 200.
    pub is_browser: bool,
}

/// Returns the request for a stream; `None` where the head asks for something else.
///
/// # Errors
/// Returns the refusal for the first rule that the head breaks.
pub fn event_stream<'a>(head: &Head<'_, 'a>) -> Option<Result<EventStream<'a>, Refusal>> {
    let is_asked = head.method == "GET"
        && !head.has("upgrade")
        && head.elements("accept").any(|range| {
            let media_type = range.split(|&byte| byte == b';').next().unwrap_or_default();
            media_type
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        });
    is_asked.then(|| judge(head))
}

fn judge<'a>(head: &Head<'_, 'a>) -> Result<EventStream<'a>, Refusal> {
    // The body of a stream ends with its connection, and HTTP/1.0 would do. Its clients know no streams, though.
    if head.is_http_1_0 {
        return Err(Refusal::HttpVersion);
    }
    // As for an upgrade: one `Host`, and no body.
    if head.values("host").count() != 1
        || head.has("transfer-encoding")
        || head.values("content-length").any(|n| n != b"0")
    {
        return Err(Refusal::BadRequest);
    }
    let origin = head.text("origin").map_err(|_| Refusal::BadRequest)?;
    if origin.is_some_and(|origin| origin.len() > ORIGIN_BYTES_MAX) {
        return Err(Refusal::BadRequest);
    }
    let topics = head.query_values("topic").map(form_value);
    let topics: Option<Vec<String>> = topics.collect();
    match topics {
        Some(topics) if !topics.is_empty() => Ok(EventStream {
            topics,
            origin,
            forwarded_for: head.elements("x-forwarded-for").collect(),
            past: past(head).ok_or(Refusal::Last)?,
            is_browser: head.has("sec-fetch-mode"),
        }),
        _ => Err(Refusal::Topics),
    }
}

/// What the client has, by the header that a browser sends when it comes back, or else by the query: a new `EventSource`
/// cannot send the header. `None` when the number of events is none.
fn past(head: &Head<'_, '_>) -> Option<PastWish> {
    let of_query = |name| head.query_values(name).next().map(form_value);
    let since = match head.values("last-event-id").last() {
        Some(text) => Some(str::from_utf8(text).map_or(Since::Malformed, Since::parse)),
        None => of_query("last_event_id").map(|text| match text {
            Some(text) => Since::parse(&text),
            None => Since::Malformed,
        }),
    };
    let last = match of_query("last") {
        Some(text) => Some(text?.parse().ok()?),
        None => None,
    };
    Some(PastWish { since, last })
}

/// Decodes a value of a query as forms write it: a `+` is a space. `None` when it is no UTF-8.
fn form_value(value: &str) -> Option<String> {
    let spaced = match value.contains('+') {
        true => Cow::Owned(value.replace('+', " ")),
        false => Cow::Borrowed(value),
    };
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::NO_LINES;

    fn asked(target: &str, lines: &str) -> Option<Result<Vec<String>, Refusal>> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let mut room = NO_LINES;
        let head = Head::parse(head.as_bytes(), 8_000, &mut room)
            .expect("HTTP")
            .expect("a whole head");
        event_stream(&head).map(|asked| asked.map(|stream| stream.topics))
    }

    const ACCEPT: &str = "Accept: text/event-stream\r\n";

    #[test]
    fn topics_stand_in_the_query() {
        for (target, topics) in [
            ("/?topic=a", &["a"][..]),
            ("/any/path?token=x&topic=a&y=1&topic=b#f", &["a", "b"]),
            (
                "/?topic=a%20b+c&topic=%C3%A9%2B&topic=",
                &["a b c", "é+", ""],
            ),
            ("http://h/?topic=a&topic=a", &["a", "a"]),
        ] {
            let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
            assert_eq!(asked(target, ACCEPT), Some(Ok(topics)), "{target}");
        }
        for target in ["/", "/?", "/?topics=a", "/?topic=%FF", "/?topic"] {
            assert_eq!(
                asked(target, ACCEPT),
                Some(Err(Refusal::Topics)),
                "{target}"
            );
        }
    }

    #[test]
    fn only_who_accepts_a_stream_asks_for_one() {
        let is_asked = |lines| asked("/?topic=a", lines).is_some();
        assert!(is_asked("Accept: text/html, Text/Event-Stream;q=0.9\r\n"));
        for lines in [
            "",
            "Accept: */*\r\n",
            "Accept: text/event-stream\r\nUpgrade: websocket\r\n",
        ] {
            assert!(!is_asked(lines), "{lines}");
        }
        let none = format!("{ACCEPT}Content-Length: 0\r\n");
        assert!(is_asked(&none) && asked("/?topic=a", &none) != Some(Err(Refusal::BadRequest)));
        let body = format!("{ACCEPT}Content-Length: 3\r\n");
        assert_eq!(asked("/?topic=a", &body), Some(Err(Refusal::BadRequest)));
    }
}
