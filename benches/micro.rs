//! The small parts, one at a time: a frame, a WAMP message, an envelope, an event encoded and compressed, a walk over
//! a topic, a sweep of the deadlines.
//!
//! `cargo bench --bench micro`. For a count that does not depend on the machine's mood, run one of
//! them under `valgrind --tool=callgrind`.
//!
//! Never here: sockets; those are in `fanout`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use kit::raw::frame_of;
use newswire::engine::deadlines::Deadlines;
use newswire::engine::idset::IdSet;
use newswire::limits;
use newswire::wire::envelope::Form;
use newswire::wire::http::{Head, NO_LINES};
use newswire::wire::token::Token;
use newswire::wire::websocket::{Decoder, Deflater, Framing, Inflater, Message};
use newswire::wire::{http, wamp, websocket};

fn main() {
    divan::main();
}

#[divan::bench(args = [21, 65_000])]
fn decode_a_frame(bencher: Bencher<'_, '_>, bytes: usize) {
    let frame = frame_of(0x81, &vec![b'x'; bytes]);
    bencher
        .counter(BytesCount::new(bytes))
        .with_inputs(|| frame.clone())
        .bench_local_refs(|frame| {
            let mut decoder = Decoder::default();
            let decoded = decoder.decode(frame, limits::MESSAGE_BYTES_MAX, Framing::Plain);
            decoded.is_ok()
        });
}

#[divan::bench]
fn parse_subscribe() -> bool {
    wamp::parse(black_box(br#"[5, "package_created"]"#)).is_ok()
}

#[divan::bench]
fn judge_an_upgrade() -> bool {
    let head = b"GET /?token=b64%2Btoken HTTP/1.1\r\nHost: example.com:8080\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n\
        Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n\
        Sec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nConnection: keep-alive, Upgrade\r\n\
        Pragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n";
    let mut lines = NO_LINES;
    let head = Head::parse(black_box(head), limits::HEAD_BYTES_MAX, &mut lines);
    head.is_ok_and(|head| head.is_some_and(|head| http::judge(&head).is_ok()))
}

#[divan::bench]
fn make_an_accept_key() -> String {
    http::accept_key(black_box("AAAAAAAAAAAAAAAAAAAAAA=="))
}

#[divan::bench]
fn compare_a_token(bencher: Bencher<'_, '_>) {
    let known = Token::new("b64+token").digest();
    bencher.bench(|| {
        let token = Token::from_target(black_box("/?token=b64%2Btoken"));
        token.is_some_and(|token| token.digest().matches(&known))
    });
}

/// A package of about so many bytes.
fn data(bytes: usize) -> String {
    let body = "x".repeat(bytes);
    format!(r#"{{"package":{{"id":6,"body_html":"{body}"}}}}"#)
}

#[divan::bench(args = [200, 10_000, 500_000])]
fn parse_an_envelope(bencher: Bencher<'_, '_>, bytes: usize) {
    let form = Form {
        topic_field: "category".to_owned(),
        event_bytes_max: limits::EVENT_BYTES_MAX,
        topic_bytes_max: limits::TOPIC_BYTES_MAX,
    };
    let data = data(bytes);
    let envelope = format!(r#"{{"topic":"package_created","data":{data}}}"#);
    bencher
        .counter(BytesCount::new(envelope.len()))
        .bench(|| form.parse(&[black_box(envelope.as_bytes())]).is_ok());
}

#[divan::bench(args = [200, 10_000, 500_000])]
fn encode_an_event(bencher: Bencher<'_, '_>, bytes: usize) {
    let data = data(bytes);
    let mut out = Vec::new();
    bencher
        .counter(BytesCount::new(data.len()))
        .bench_local(|| {
            out.clear();
            let quoted = black_box("\"package_created\"");
            websocket::encode_text_header(wamp::event_len(quoted, &data), &mut out);
            wamp::encode_event(quoted, &data, &mut out);
            out.len()
        });
}

/// Words in no order, as texts are.
fn words(bytes: usize) -> String {
    const WORDS: [&str; 12] = [
        "government ",
        "said ",
        "the ",
        "on ",
        "Tuesday ",
        "that ",
        "a ",
        "new ",
        "plan ",
        "would ",
        "be ",
        "\"n\":",
    ];
    let mut dice = kit::dice::Dice(1);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(WORDS[dice.below(WORDS.len())]);
    }
    text
}

#[divan::bench(args = [1_000, 20_000, 500_000])]
fn deflate_a_message(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = words(bytes);
    let mut deflater = Deflater::default();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| {
            deflater
                .deflate(text.len(), |out| {
                    out.extend_from_slice(black_box(text.as_bytes()))
                })
                .is_some()
        });
}

#[divan::bench(args = [30, 60_000])]
fn inflate_a_message(bencher: Bencher<'_, '_>, bytes: usize) {
    let payload = kit::deflate::deflate(words(bytes).as_bytes());
    let mut inflater = Inflater::default();
    let message = Message {
        is_text: true,
        is_compressed: true,
        payload: &payload,
    };
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        inflater
            .open(black_box(&message), limits::MESSAGE_BYTES_MAX)
            .is_ok()
    });
}

#[divan::bench(args = [3, 16, 1_000, 100_000])]
fn walk_over_a_topic(bencher: Bencher<'_, '_>, members: u32) {
    let mut set = IdSet::default();
    (0..members).for_each(|member| {
        set.insert(member * 2);
    });
    bencher
        .counter(ItemsCount::new(members))
        .bench_local(|| black_box(&set).iter().map(u64::from).sum::<u64>());
}

#[divan::bench]
fn sweep_a_million_deadlines(bencher: Bencher<'_, '_>) {
    let mut deadlines = Deadlines::default();
    for index in 0..1_000_000 {
        deadlines.set(index, 0, limits::DEADLINE_SECONDS_MAX);
    }
    let mut tick = 0;
    let mut expired = Vec::new();
    bencher.bench_local(|| {
        tick += 1;
        deadlines.expire(tick, usize::MAX, &mut expired);
        // Whatever was due is made due again, so that each sweep finds as many.
        for index in expired.drain(..) {
            deadlines.set(index, tick, limits::DEADLINE_SECONDS_MAX);
        }
    });
}
