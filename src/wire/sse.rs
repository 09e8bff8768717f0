//! Server-sent events (WHATWG HTML s. 9.2): what a stream's client receives. The body ends with the connection.
//!
//! An event has the default type, because some names of types collide with the browser's own (`error`, `open`). Its data
//! is `{"topic":…,"data":…}`. What newswire itself tells has the type `newswire`.
//!
//! Never here: what a request asks for (`http`), topics, when something is sent.

use std::io::Write as _;

use super::http::{self, CLOSE, HttpAnswer};
use super::past::RecoveryNotice;
use crate::stats::{Gap, Refusal};

const ID: &str = "id: ";
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

/// Appends what a stream gets of its topics' past. A browser names the position when it comes back.
pub fn encode_recovery(notice: RecoveryNotice, out: &mut Vec<u8>) {
    let RecoveryNotice { position, outcome } = notice;
    let is_recovered = outcome.is_ok();
    write!(
        out,
        "event: newswire\nid: {position}\ndata: {{\"recovered\":{is_recovered},\"id\":\"{position}\""
    )
    .expect("a Vec takes everything");
    if let Err(reason) = outcome {
        write!(out, ",\"reason\":\"{}\"", reason.name()).expect("a Vec takes everything");
    }
    out.extend_from_slice(SUFFIX.as_bytes());
}

/// Appends that events of a topic were lost to the client. It has no id, so the client's position stays.
pub fn encode_gap(quoted_topic: &str, gap: Gap, out: &mut Vec<u8>) {
    write!(
        out,
        "event: newswire\ndata: {{\"gap\":\"{}\",\"topic\":{quoted_topic}{SUFFIX}",
        gap.name()
    )
    .expect("a Vec takes everything");
}

/// Returns how many bytes [`encode_event`] appends. `id` is the event's, as text; empty when it has none.
pub fn event_len(id: &str, quoted_topic: &str, data: &str) -> usize {
    let id = match id {
        "" => 0,
        id => ID.len() + id.len() + 1,
    };
    id + PREFIX.len() + quoted_topic.len() + MIDDLE.len() + data.len() + SUFFIX.len()
}

/// Appends an event. A line break would end the line of data. In JSON it can only be white space, so a space takes its
/// place.
pub fn encode_event(id: &str, quoted_topic: &str, data: &str, out: &mut Vec<u8>) {
    out.reserve(event_len(id, quoted_topic, data));
    if !id.is_empty() {
        out.extend_from_slice(ID.as_bytes());
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
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
        encode_event("", "\"t\"", data, &mut out);
        assert_eq!(out.len(), event_len("", "\"t\"", data), "{data:?}");
        let mut with_id = Vec::new();
        encode_event("a-1", "\"t\"", data, &mut with_id);
        assert_eq!(with_id.len(), event_len("a-1", "\"t\"", data));
        assert_eq!(with_id, [b"id: a-1\n", &*out].concat());
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
