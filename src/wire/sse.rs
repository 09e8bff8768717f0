//! Server-sent events (WHATWG HTML s. 9.2): what a stream's client receives. The body ends with the connection.
//!
//! An event has the default type, because some names of types collide with the browser's own (`error`, `open`). Its data
//! is `{"topic":…,"data":…}`.
//!
//! Never here: what a request asks for (`http`), topics, when something is sent.

use std::io::Write as _;

use memchr::{memchr2, memchr2_iter};

use super::http::{CLOSE, HttpAnswer};

/// In milliseconds, how long a client waits before it comes back, at the least.
pub const RETRY_MILLISECONDS: u64 = 3_000;

/// In milliseconds, over which clients that come back together are spread.
pub const RETRY_SPREAD_MILLISECONDS: u64 = 2_000;

/// In milliseconds, how long a client waits that cannot be served now.
const RETRY_LATER_MILLISECONDS: u64 = 5_000;

const PREFIX: &str = "data: {\"topic\":";
const MIDDLE: &str = ",\"data\":";
const SUFFIX: &str = "}\n\n";

/// What begins each further line of data.
const NEXT_LINE: &str = "\ndata: ";

/// Appends the answer that begins a stream for a page of this origin. `retry` is the client's pause in milliseconds.
pub fn encode_head(origin: Option<&str>, retry: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
          X-Accel-Buffering: no\r\nConnection: close\r\nVary: Origin\r\n",
    );
    if let Some(origin) = origin {
        write!(out, "Access-Control-Allow-Origin: {origin}\r\n").expect("a Vec takes everything");
    }
    write!(out, "\r\nretry: {retry}\n\n").expect("a Vec takes everything");
}

/// Appends the answer to a browser that asks whether a page of this origin may send a token in a header.
pub fn encode_preflight(origin: &str, out: &mut Vec<u8>) {
    let lines = format!(
        "Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\nAccess-Control-Allow-Methods: GET\r\n\
         Access-Control-Allow-Headers: Authorization, Cache-Control, Last-Event-ID\r\n\
         Access-Control-Max-Age: 86400\r\n"
    );
    let answer = HttpAnswer {
        status: "204 No Content",
        lines: &[CLOSE, &lines],
        content: None,
    };
    answer.encode(false, out);
}

/// Appends a whole stream that tells a browser to come back later, because no other status does.
pub fn encode_later(origin: Option<&str>, out: &mut Vec<u8>) {
    encode_head(origin, RETRY_LATER_MILLISECONDS, out);
}

/// Appends a comment, which keeps proxies from cutting a quiet connection.
pub fn encode_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n\n");
}

/// Returns how many bytes [`encode_event`] appends.
pub fn event_len(quoted_topic: &str, data: &str) -> usize {
    let mut len = PREFIX.len() + quoted_topic.len() + MIDDLE.len() + data.len() + SUFFIX.len();
    let bytes = data.as_bytes();
    for at in memchr2_iter(b'\n', b'\r', bytes) {
        len -= 1;
        // CR and LF are one line break.
        if bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n') {
            len += NEXT_LINE.len();
        }
    }
    len
}

/// Appends an event. White space in JSON may hold line breaks; each begins another line of data.
pub fn encode_event(quoted_topic: &str, data: &str, out: &mut Vec<u8>) {
    out.reserve(event_len(quoted_topic, data));
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(quoted_topic.as_bytes());
    out.extend_from_slice(MIDDLE.as_bytes());
    let mut rest = data;
    while let Some(at) = memchr2(b'\n', b'\r', rest.as_bytes()) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        out.extend_from_slice(NEXT_LINE.as_bytes());
        rest = &rest[at..];
        rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
    }
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(SUFFIX.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> String {
        let mut out = Vec::new();
        encode_event("\"t\"", data, &mut out);
        assert_eq!(out.len(), event_len("\"t\"", data), "{data:?}");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_event_is_as_long_as_it_says_and_has_no_bare_line() {
        assert_eq!(event("1"), "data: {\"topic\":\"t\",\"data\":1}\n\n");
        assert_eq!(
            event("{\n\"a\":\r\n1,\r\r\"b\":[\n\r]}"),
            "data: {\"topic\":\"t\",\"data\":{\ndata: \"a\":\ndata: 1,\ndata: \ndata: \"b\":[\ndata: \ndata: ]}}\n\n"
        );
        for data in ["\r", "\n", "\r\n", "\n\r", "\r\n\r\n", "a\r"] {
            let text = event(data);
            let body = text.strip_suffix("\n\n").expect("an end");
            assert!(
                body.split('\n').all(|line| line.starts_with("data: ")),
                "{text:?}"
            );
            assert!(!body.contains('\r'));
        }
    }

    #[test]
    fn a_head_is_whole() {
        let mut out = Vec::new();
        encode_head(Some("https://a.example"), 3_100, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(text.contains("\r\nAccess-Control-Allow-Origin: https://a.example\r\n"));
        assert!(text.ends_with("\r\n\r\nretry: 3100\n\n"));
    }
}
