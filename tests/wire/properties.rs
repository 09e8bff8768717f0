//! Laws of the wire and of the configuration, tried on generated inputs: half of them garbage, half
//! of them nearly right.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::laws;

/// Text that is made of the pieces that matter in a format.
fn pieces(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let known = proptest::sample::select(pieces).prop_map(str::to_owned);
    let text = prop_oneof![4 => known, 1 => ".{0,6}".prop_map(String::from)];
    vec(text, 0..24).prop_map(|pieces| pieces.concat())
}

const HEAD: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "/newswire.js ",
    "GET /newswire.mjs HTTP/1.1\r\nHost: h\r\nIf-None-Match: ",
    "GET /newswire.d.ts?token=x HTTP/1.1\r\nHost: h\r\n\r\n",
    "/",
    "/?token=x ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: h\r\n",
    "Upgrade: websocket\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Protocol: wamp, x\r\n",
    "Origin: https://example.com\r\n",
    "GET /?token=x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n",
    "\r\n",
    "\n",
    ":",
];

const MESSAGE: &[&str] = &[
    "[",
    "]",
    ",",
    "0",
    "1",
    "2",
    "5",
    "6",
    "7",
    "8",
    "-1",
    "1e3",
    "\"a\"",
    "\"t:x\"",
    "null",
    "{",
    "}",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    " ",
    "\n",
    "[5,\"t\"]",
    "[1,\"p\",\"u\"]",
    "[2,\"i\",\"u\"",
];

const MESSAGE2: &[&str] = &[
    "[",
    "]",
    ",",
    "1",
    "32",
    "34",
    "9007199254740993",
    "{}",
    "{\"match\":\"exact\"}",
    "{\"match\":\"prefix\",\"match\":null}",
    "{\"m\\u0061tch\":\"wildcard\"}",
    "\"t\"",
    "\"\\ud800\"",
    "null",
    " ",
    "[32,1,",
    "[32,7,{},\"t\"",
    "[1,\"r\",{\"roles\":{\"subscriber\":",
    "[5,\"t\",{}]",
    "\n",
];

const STREAM: &[&str] = &[
    "GET /?topic=a HTTP/1.1\r\nHost: h\r\n",
    "GET /?token=x&topic=%0A",
    "GET /?",
    "&topic=",
    "topic=%C3",
    "%A9",
    "+",
    "a",
    " HTTP/1.1\r\nHost: h\r\n",
    "Accept: text/event-stream\r\n",
    "Accept: text/event-stream\r\n\r\n",
    "Upgrade: websocket\r\n",
    "Origin: https://a.example\r\n",
    "\r\n",
];

const ENVELOPE: &[&str] = &[
    "{",
    "}",
    "\"topic\"",
    "\"data\"",
    "\"category\"",
    ":",
    ",",
    "\"t\"",
    "\"\"",
    "1.50",
    "null",
    "[1,2]",
    "\"\\/\"",
    " ",
    "{\"topic\":\"t\",\"data\":",
    "{\"category\":\"t\",\"n\":1}",
    "\"\\u0074opic\"",
];

const FILE: &[&str] = &[
    "listen = \"127.0.0.1:1\"\n",
    "listen = [\"127.0.0.1:1\", \"[::1]:2\"]\n",
    "ping-interval = 20\n",
    "ping-interval = -1\n",
    "outbox-bytes-max = \"8MiB\"\n",
    "event-bytes-max = 1000\n",
    "token = \"a\"\n",
    "sub = [\"tcp://127.0.0.1:7\"]\n",
    "pull = \"off\"\n",
    "origin = [\"https://Example.com:443\", \"null\"]\n",
    "unknown = 1\n",
    "[table]\n",
    "shutdown-close = \"frame\"\n",
    "topic-field = \"kind\"\n",
    "log-level",
    " = ",
    "\"debug\"\n",
];

const TOKENS: &[&str] = &[
    "sesame",
    "sesame1",
    "b64+/==",
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha256:ba78",
    "\u{FEFF}",
    " ",
    "\t",
    "\n",
    "\n",
    "\r\n",
    " topics=a,b_*",
    " topics=a*b",
    " expires=2026-11-24T12:00:00Z",
    " expires=sesame",
    " name=x",
    " name=",
    " # sesame",
    "#",
    "=",
];

const CLAIMS: &[&str] = &[
    "{",
    "}",
    "\"alg\":\"HS256\"",
    "\"kid\":\"k\"",
    "\"crit\":[]",
    "\"exp\":1795521600",
    "\"exp\":-1.5",
    "\"nbf\":1e3",
    "\"aud\":[\"a\"]",
    "\"iss\":\"i\"",
    "\"topics\":[\"a\",\"b_*\"]",
    "{\"alg\":\"HS256\"}",
    "{\"exp\":1,\"iss\":\"i\",\"topics\":[]}",
    ",",
    " ",
];

const NATS: &[&str] = &[
    "INFO ",
    "{\"nonce\":\"n\",\"max_payload\":9}",
    "{}",
    "MSG ",
    "MSG a.b 1 3\r\n",
    "MSG a 2 _INBOX.x 0\r\n",
    "MSG a 3 120\r\n",
    "PING\r\n",
    "pong\r\n",
    "+OK\r\n",
    "-ERR 'Slow Consumer'\r\n",
    "a.b",
    "*",
    ">",
    ".",
    " ",
    "7",
    "abc",
    "\r\n",
    "\n",
];

/// A frame with any flags and, mostly, its own length; masked.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => proptest::sample::select(&[0x81_u8, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A][..]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => ".{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..20),
        1 => vec(Just(b'x'), 120..140),
        1 => Just(vec![3, 232]),
    ];
    (first, payload, any::<[u8; 4]>(), 0..12_u8).prop_map(|(first, payload, mask, odd)| {
        let mut frame = vec![first];
        let len = payload.len() as u16;
        match odd {
            0 => frame.push(payload.len() as u8 & 0x7F),
            1 => frame.extend([0x80 | 126, (len >> 8) as u8, len as u8]),
            _ if payload.len() < 126 => frame.push(0x80 | len as u8),
            _ => frame.extend([0x80 | 126, (len >> 8) as u8, len as u8]),
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(p, m)| p ^ m));
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn upgrades(head in pieces(HEAD), garbage in vec(any::<u8>(), 0..40)) {
        laws::upgrade(head.as_bytes());
        laws::upgrade(&[head.as_bytes(), &garbage].concat());
        laws::upgrade(&garbage);
    }

    #[test]
    fn frames(frames in vec(frame(), 0..8), cuts in vec(0..30_u8, 0..20), cut_short in 0..20_usize) {
        let mut stream = frames.concat();
        stream.truncate(stream.len().saturating_sub(cut_short % 7));
        laws::frames(&stream, &cuts);
    }

    #[test]
    fn wamp_messages(text in pieces(MESSAGE), garbage in vec(any::<u8>(), 0..20)) {
        laws::wamp_message(text.as_bytes());
        laws::wamp_message(&garbage);
    }

    #[test]
    fn wamp2_messages(text in pieces(MESSAGE2), garbage in vec(any::<u8>(), 0..20)) {
        laws::wamp2_message(text.as_bytes());
        laws::wamp2_message(&[b"[32,1,{},\"t\",", text.as_bytes(), b"]"].concat());
        laws::wamp2_message(&[b"[32,1,", text.as_bytes(), b",\"t\"]"].concat());
        laws::wamp2_message(&garbage);
    }

    #[test]
    fn event_streams(head in pieces(STREAM), garbage in vec(any::<u8>(), 0..40)) {
        laws::event_stream(head.as_bytes());
        laws::event_stream(&[head.as_bytes(), b"Accept: text/event-stream\r\n\r\n"].concat());
        laws::event_stream(&garbage);
    }

    #[test]
    fn envelopes(text in pieces(ENVELOPE), second in proptest::option::of(pieces(ENVELOPE))) {
        laws::envelope(text.as_bytes(), second.as_deref().map(str::as_bytes));
        laws::envelope(b"topic", Some(text.as_bytes()));
    }

    #[test]
    fn tokens(query in "[a-z=&%+?/ #.]{0,30}", token in vec(any::<u8>(), 0..20)) {
        laws::token(&query, &token);
    }

    #[test]
    fn jwts(header in pieces(CLAIMS), payload in pieces(CLAIMS), garbage in vec(any::<u8>(), 0..20)) {
        laws::jwt(&garbage, header.as_bytes(), payload.as_bytes());
        laws::jwt(&garbage, b"{\"alg\":\"HS256\"}", payload.as_bytes());
        laws::jwt(header.as_bytes(), b"{\"alg\":\"HS256\"}", b"{\"exp\":1,\"iss\":\"i\"}");
    }

    #[test]
    fn token_files(text in pieces(TOKENS), garbage in vec(any::<u8>(), 0..20)) {
        laws::token_file(text.as_bytes());
        laws::token_file(&[text.as_bytes(), &garbage].concat());
    }

    #[test]
    fn nats(text in pieces(NATS), garbage in vec(any::<u8>(), 0..150)) {
        laws::nats(text.as_bytes());
        laws::nats(&[text.as_bytes(), &garbage].concat());
        laws::nats(&[b"MSG a 1 120\r\n", &*garbage].concat());
    }

    #[test]
    fn configurations(text in pieces(FILE)) {
        laws::configuration(&text);
    }
}
