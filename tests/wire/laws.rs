//! Laws that hold for every input: one function for each format, which panics when an input breaks a law.
//!
//! `properties.rs` tries them on generated inputs in `cargo test`; `tests/fuzz` lets a fuzzer
//! look for inputs that break them.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use newswire::config::{FileText, Flags, Loaded};
use newswire::limits;
use newswire::stats::Refusal;
use newswire::wire::envelope::Form;
use newswire::wire::files::{self, Plain};
use newswire::wire::http::{self, Head, NO_LINES, Upgrade};
use newswire::wire::json;
use newswire::wire::jwt::Jwt;
use newswire::wire::nats::{self, NoNats, ServerOp};
use newswire::wire::past::Since;
use newswire::wire::sse;
use newswire::wire::token::{Digest, Token};
use newswire::wire::token_file::FileTokens;
use newswire::wire::wamp::{self, ClientMessage};
use newswire::wire::wamp2::{self, Wamp2Message};
use newswire::wire::websocket::{Decoder, Framing, Incoming, Inflater, Violation};
use serde_json::Value;

/// The upgrade that the head of `bytes` asks for, and the head's length.
fn parse(bytes: &[u8]) -> Result<Option<(Upgrade<'_>, usize)>, Refusal> {
    let mut lines = NO_LINES;
    match Head::parse(bytes, limits::HEAD_BYTES_MAX, &mut lines)? {
        Some(head) => Ok(Some((http::judge(&head)?, head.len))),
        None => Ok(None),
    }
}

/// A head is whole or it is not, whatever comes behind it; a refusal is a whole HTTP answer.
pub fn upgrade(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Some((upgrade, head_bytes))) => {
            assert!(head_bytes <= bytes.len());
            let mut longer = bytes[..head_bytes].to_vec();
            longer.extend(b"\x81\x80\0\0\0\0");
            let again = parse(&longer);
            assert_eq!(again, Ok(Some((upgrade, head_bytes))));
            let shorter = parse(&bytes[..head_bytes - 1]);
            assert!(!matches!(shorter, Ok(Some(_))), "whole before its end");
        }
        Ok(None) => assert!(bytes.len() <= limits::HEAD_BYTES_MAX),
        Err(refusal) => {
            file(bytes);
            let mut answer = Vec::new();
            http::encode_refusal(refusal, false, &mut answer);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&answer).expect("HTTP");
            let body = answer.len() - parsed.unwrap();
            let length = response
                .headers
                .iter()
                .find(|header| header.name == "Content-Length")
                .expect("a length");
            assert_eq!(length.value, body.to_string().as_bytes());
        }
    }
}

/// Whoever asks for a file gets the whole of it, or the head.
fn file(bytes: &[u8]) {
    let files = newswire::web::files();
    let mut lines = NO_LINES;
    let Ok(Some(head)) = Head::parse(bytes, limits::HEAD_BYTES_MAX, &mut lines) else {
        return;
    };
    let (answer, is_health) = match files::answer(&head, &files) {
        Some(Plain::File(answer)) => (answer, false),
        Some(Plain::Health(answer)) => (answer, true),
        None => return,
    };
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = response.parse(&answer).expect("HTTP").unwrap();
    let body = &answer[head_bytes..];
    assert!(body.is_empty() || is_health || files.iter().any(|file| file.body.as_bytes() == body));
}

/// What a decoder says, in order.
#[derive(Debug, Eq, PartialEq)]
enum Said {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    Broken(Violation),
}

fn decode(pieces: &[&[u8]], framing: Framing) -> Vec<Said> {
    const MESSAGE_BYTES_MAX: usize = 1_000;
    let mut decoder = Decoder::default();
    let mut inflater = Inflater::default();
    let mut said = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode(&mut piece[at..], MESSAGE_BYTES_MAX, framing) {
                Ok((taken, incoming)) => {
                    at += taken;
                    said.push(match incoming {
                        None => break,
                        Some(Incoming::Message(message)) => {
                            assert!(message.payload.len() <= MESSAGE_BYTES_MAX);
                            match inflater.open(&message, MESSAGE_BYTES_MAX) {
                                Ok(text) => {
                                    assert!(text.len() <= MESSAGE_BYTES_MAX);
                                    assert!(!message.is_text || std::str::from_utf8(text).is_ok());
                                    Said::Message(message.is_text, text.to_vec())
                                }
                                Err(violation) => {
                                    said.push(Said::Broken(violation));
                                    return said;
                                }
                            }
                        }
                        Some(Incoming::Ping(payload)) => Said::Ping(payload.to_vec()),
                        Some(Incoming::Pong(payload)) => Said::Pong(payload.to_vec()),
                        Some(Incoming::Close(code)) => Said::Close(code),
                    });
                }
                Err(violation) => {
                    said.push(Said::Broken(violation));
                    return said;
                }
            }
        }
        decoder.release();
    }
    said
}

/// However a stream is cut, the same messages come out of it, and the same violation.
pub fn frames(stream: &[u8], cuts: &[u8]) {
    for framing in [Framing::Plain, Framing::Deflate] {
        frames_in(framing, stream, cuts);
    }
}

fn frames_in(framing: Framing, stream: &[u8], cuts: &[u8]) {
    let whole = decode(&[stream], framing);
    let mut pieces = Vec::new();
    let mut rest = stream;
    for &cut in cuts {
        let (piece, tail) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    assert_eq!(decode(&pieces, framing), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decode(&bytes, framing), whole);
}

/// A message is what any JSON parser would say that it is.
pub fn wamp_message(text: &[u8]) {
    let Ok(message) = wamp::parse(text) else {
        return;
    };
    // serde_json's own tree refuses numbers too large, which JavaScript takes for infinite; behind the
    // elements that count they are passed over.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) else {
        let elements: Result<Vec<&serde_json::value::RawValue>, _> = serde_json::from_slice(text);
        assert!(elements.is_ok(), "what was taken is a JSON list");
        return;
    };
    let plain = |index: usize| match &value[index] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_number = |index: usize| value[index].is_number();
    match message {
        ClientMessage::Prefix { prefix, uri } => {
            assert_eq!(value[0], 1);
            assert!(is_number(1) || prefix == plain(1));
            assert!(is_number(2) || uri == plain(2));
        }
        ClientMessage::Call { id, .. } => {
            assert_eq!(value[0], 2);
            assert!(is_number(1) || id == plain(1));
        }
        ClientMessage::Subscribe { topic } => {
            assert_eq!(value[0], 5);
            assert!(is_number(1) || topic == plain(1));
            // What is subscribed to can be quoted in an EVENT, and means the same there.
            let mut quoted = String::new();
            json::quote(&topic, &mut quoted);
            let back: String = serde_json::from_str(&quoted).expect("a JSON string");
            assert_eq!(back, topic);
            let mut event = Vec::new();
            wamp::encode_event(&quoted, "null", &mut event);
            assert_eq!(event.len(), wamp::event_len(&quoted, "null"));
        }
        ClientMessage::Unsubscribe { topic } => {
            assert_eq!(value[0], 6);
            assert!(is_number(1) || topic == plain(1));
        }
        ClientMessage::Publish => assert_eq!(value[0], 7),
    }
}

/// What is understood of a message of WAMP v2 is in it, and what answers it is JSON of the length that it says.
pub fn wamp2_message(bytes: &[u8]) {
    let Ok(message) = wamp2::parse(bytes) else {
        return;
    };
    // What a message does not need may be half of a surrogate pair, or a number beyond all numbers.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let Wamp2Message::Subscribe {
        request,
        topic,
        is_exact,
        past,
    } = message
    else {
        return;
    };
    assert_eq!((&value[0], &value[1]), (&32.into(), &request.into()));
    assert_eq!(value[3], *topic);
    let policy = &value[2]["match"];
    assert_eq!(is_exact, policy.is_null() || policy == "exact");
    let mut event = Vec::new();
    let data = value.to_string();
    let since = match past.and_then(|past| past.since) {
        Some(Since::Position(id)) => {
            assert_eq!(value[2]["x_since"], id.to_string());
            id.to_string()
        }
        Some(Since::Malformed) | None => String::new(),
    };
    if let Some(last) = past.and_then(|past| past.last) {
        assert_eq!(value[2]["x_last"], last);
    }
    wamp2::encode_event(request, request, &since, &data, &mut event);
    assert_eq!(
        event.len(),
        wamp2::event_len(request, request, &since, &data)
    );
    let event: Value = serde_json::from_slice(&event).expect("JSON");
    assert_eq!(event[4][0], value);
}

/// A request for a stream names a topic, and an event is one line that means what it meant.
pub fn event_stream(bytes: &[u8]) {
    let mut lines = NO_LINES;
    let Ok(Some(head)) = Head::parse(bytes, limits::HEAD_BYTES_MAX, &mut lines) else {
        return;
    };
    let Some(Ok(stream)) = http::event_stream(&head) else {
        return;
    };
    assert!(!stream.topics.is_empty());
    for topic in &stream.topics {
        let mut quoted = String::new();
        json::quote(topic, &mut quoted);
        let data = format!("[\n{quoted}\r\n]");
        let mut event = Vec::new();
        sse::encode_event("", &quoted, &data, &mut event);
        assert_eq!(event.len(), sse::event_len("", &quoted, &data));
        let event = str::from_utf8(&event).expect("text");
        let line = event.strip_suffix("\n\n").expect("an end");
        assert!(!line.contains(['\n', '\r']));
        let json = line.strip_prefix("data: ").expect("data");
        let value: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(
            (&value["topic"], &value["data"][0]),
            (&topic.as_str().into(), &topic.as_str().into())
        );
    }
}

/// An event's data is a piece of the message, and one JSON value.
pub fn envelope(first: &[u8], second: Option<&[u8]>) {
    let form = Form {
        topic_field: "category".to_owned(),
        event_bytes_max: 10_000,
        topic_bytes_max: 100,
    };
    let parts: Vec<&[u8]> = std::iter::once(first).chain(second).collect();
    let Ok(event) = form.parse(&parts) else {
        return;
    };
    assert!(!event.topic.is_empty() && event.topic.len() <= 100);
    let from = second.unwrap_or(first);
    let range = from.as_ptr_range();
    let data = event.data.as_bytes().as_ptr_range();
    assert!(
        range.start <= data.start && data.end <= range.end,
        "byte for byte"
    );
    let whole: Result<serde_json::Value, _> = serde_json::from_str(event.data);
    // serde_json's own tree refuses what lies too deep and numbers too large; a publisher may send
    // both.
    if let Ok(value) = whole
        && second.is_none()
        && let Ok(message) = serde_json::from_slice::<serde_json::Value>(first)
    {
        assert!(value == message["data"] || value == message);
    }
}

/// A token in a query is found again, whatever stands before it; the last one counts.
pub fn token(query: &str, token: &[u8]) {
    let _ = Token::from_target(query);
    let encoded: String = token.iter().map(|byte| format!("%{byte:02X}")).collect();
    let clean: String = query.chars().filter(|c| !matches!(c, '#' | ' ')).collect();
    let target = format!("/?{clean}&token={encoded}");
    let found = Token::from_target(&target);
    let bare = token.strip_prefix(b"Basic ").unwrap_or(token);
    let expected = (!bare.is_empty()).then(|| Token::new(bare));
    assert!(found == expected, "{target}");
}

/// A token is a JWT in one way of writing it only, so that nobody can make a second one out of it; what
/// it claims is read, or not.
pub fn jwt(token: &[u8], header: &[u8], payload: &[u8]) {
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let made = format!("{}.{}.{}", part(header), part(payload), part(token));
    for token in [token, made.as_bytes()] {
        let Some(jwt) = Jwt::parse(token) else {
            continue;
        };
        let signature = part(jwt.signature());
        assert_eq!([jwt.signed(), b".", signature.as_bytes()].concat(), token);
        let Ok(claims) = jwt.claims() else {
            continue;
        };
        // What was taken is what any JSON parser would say.
        let payload = token
            .split(|&byte| byte == b'.')
            .nth(1)
            .expect("three parts");
        let payload = BASE64URL_NOPAD.decode(payload).expect("base64url");
        let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        assert_eq!(claims.expires_at.is_some(), value.get("exp").is_some());
        assert_eq!(claims.topics.is_some(), value.get("topics").is_some());
        assert_eq!(
            claims.issuer.as_deref(),
            value.get("iss").and_then(|iss| iss.as_str())
        );
    }
}

/// A list knows the first word of each line that is no comment, and no more; an error is one line.
pub fn token_file(text: &[u8]) {
    match FileTokens::parse(text) {
        Ok(listing) => {
            let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
            let mut known = 0;
            for line in text.split(|&byte| byte == b'\n') {
                let line = str::from_utf8(line).expect("a line is text");
                let mut words = line.split_whitespace();
                let Some(token) = words.next().filter(|word| !word.starts_with('#')) else {
                    continue;
                };
                let digest = match Digest::from_written(token) {
                    Some(digest) => digest.expect("64 digits"),
                    None => Token::new(token).digest(),
                };
                let grant = listing.find(&digest).expect("it is in the list");
                let words = words.take_while(|word| !word.starts_with('#'));
                let has_topics = words.clone().any(|word| word.starts_with("topics="));
                assert_eq!(has_topics, !grant.topics.is_empty());
                let expires = words.clone().any(|word| word.starts_with("expires="));
                assert_eq!(expires, grant.expires_at.is_some());
                known += 1;
            }
            assert_eq!(known, listing.len());
            assert!(listing.plain() <= known);
            assert!(
                listing
                    .find(&Token::new("no word: a space").digest())
                    .is_none()
            );
        }
        Err(error) => {
            let lines = text.split(|&byte| byte == b'\n').count();
            assert!((1..=lines).contains(&error.line));
            let sentence = error.to_string();
            assert!(
                !sentence.contains('\n') && !sentence.contains("sesame"),
                "{sentence}"
            );
        }
    }
}

/// A file is a configuration or an error of one line; what is shown of a configuration brings it about
/// again.
pub fn configuration(text: &str) {
    let load = |text: &str| {
        let file = FileText {
            name: "newswire.toml".to_owned(),
            text,
        };
        Loaded::merge(&Flags::new(), &BTreeMap::new(), Some(&file))
    };
    match load(text) {
        Ok(loaded) => {
            let again = load(&loaded.show()).expect("what is shown can be read");
            let (mut before, mut after) = (loaded.config, again.config);
            // Tokens are counted, not shown.
            before.auth.tokens.clear();
            after.auth.tokens.clear();
            assert_eq!(before, after);
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(
                !sentence.is_empty() && !sentence.contains('\n'),
                "{sentence}"
            );
        }
    }
}

/// What a NATS server has sent, up to what is no NATS.
fn nats_ops(pieces: &[&[u8]]) -> (Vec<ServerOp>, Result<(), NoNats>) {
    const PAYLOAD_BYTES_MAX: usize = 100;
    let mut decoder = nats::NatsDecoder::new(PAYLOAD_BYTES_MAX);
    let mut ops = Vec::new();
    for mut piece in pieces.iter().copied() {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(op)) => {
                    if let ServerOp::Message { payload, .. } = &op {
                        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
                    }
                    ops.push(op);
                }
                Ok(None) => break,
                Err(no) => return (ops, Err(no)),
            }
        }
        assert!(piece.is_empty());
    }
    (ops, Ok(()))
}

/// A NATS server's bytes mean the same, wherever they are cut; and the subject of a topic is one word.
pub fn nats(bytes: &[u8]) {
    let whole = nats_ops(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(nats_ops(&single), whole);
    let (front, back) = bytes.split_at(bytes.len() / 2);
    assert_eq!(nats_ops(&[front, back]), whole);
    let topic = String::from_utf8_lossy(bytes);
    if let Some(subject) = nats::subject("a.", &topic) {
        assert_eq!(subject.split_ascii_whitespace().count(), 1);
        assert_eq!(subject.strip_prefix("a."), Some(&*topic));
    }
}
