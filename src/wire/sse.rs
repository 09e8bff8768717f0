//! Server-sent events (WHATWG HTML s. 9.2): what a stream's client receives. The body ends with the connection.
//!
//! An event has the default type, because some names of types collide with the browser's own (`error`, `open`). Its data
//! is `{"topic":…,"data":…}`.
//!
//! Never here: what a request asks for (`http`), topics, when something is sent.

use std::io::Write as _;

use super::http::{self, CLOSE, HttpAnswer};
use crate::stats::Refusal;

const PREFIX: &str = "data: {\"topic\":";
const MIDDLE: &str = ",\"data\":";
const SUFFIX: &str = "}\n\n";

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

/// Appends the answer that refuses a stream. A page of another origin than the server's can read the status only when
/// the answer names that origin.
pub fn encode_refusal(origin: Option<&str>, refusal: Refusal, out: &mut Vec<u8>) {
    let lines =
        origin.map(|origin| format!("Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n"));
    http::encode_refusal_with(refusal, &lines.unwrap_or_default(), false, out);
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

/// Appends a comment, which keeps proxies from cutting a quiet connection.
pub fn encode_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n\n");
}

/// Returns how many bytes [`encode_event`] appends.
pub fn event_len(quoted_topic: &str, data: &str) -> usize {
    PREFIX.len() + quoted_topic.len() + MIDDLE.len() + data.len() + SUFFIX.len()
}

/// Appends an event. A line break would end the line of data. In JSON it can only be white space, so a space takes its
/// place.
pub fn encode_event(quoted_topic: &str, data: &str, out: &mut Vec<u8>) {
    out.reserve(event_len(quoted_topic, data));
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(quoted_topic.as_bytes());
    out.extend_from_slice(MIDDLE.as_bytes());
    let start = out.len();
    out.extend_from_slice(data.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
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
    fn an_event_is_as_long_as_it_says_and_has_one_line() {
        assert_eq!(event("1"), "data: {\"topic\":\"t\",\"data\":1}\n\n");
        assert_eq!(
            event("{\n\"a\":\r\n1,\"é\":[\r]}"),
            "data: {\"topic\":\"t\",\"data\":{ \"a\":  1,\"é\":[ ]}}\n\n"
        );
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
