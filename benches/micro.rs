//! The small parts, one at a time: a frame, a WAMP message, an envelope, an event encoded, a walk over
//! a topic, a sweep of the deadlines.
//!
//! `cargo bench --bench micro`. For a count that does not depend on the machine's mood, run one of
//! them under `valgrind --tool=callgrind`.
//!
//! Never here: sockets; those are in `fanout`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kit::raw::frame_of;
use newswire::engine::deadlines::Deadlines;
use newswire::engine::idset::IdSet;
use newswire::limits;
use newswire::wire::envelope::Form;
use newswire::wire::http::{Head, NO_LINES};
use newswire::wire::token::Token;
use newswire::wire::websocket::{Decoder, Framing};
use newswire::wire::{http, wamp, websocket};

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for bytes in [21, 65_000] {
        let frame = frame_of(0x81, &vec![b'x'; bytes]);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("decode {bytes} bytes"), |bencher| {
            bencher.iter_batched_ref(
                || frame.clone(),
                |frame| {
                    let mut decoder = Decoder::default();
                    black_box(
                        decoder
                            .decode(frame, limits::MESSAGE_BYTES_MAX, Framing::Plain)
                            .is_ok(),
                    )
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.bench_function("SUBSCRIBE", |bencher| {
        bencher.iter(|| black_box(wamp::parse(black_box(br#"[5, "package_created"]"#))));
    });
    let head = b"GET /?token=b64%2Btoken HTTP/1.1\r\nHost: example.com:8080\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n\
        Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n\
        Sec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nConnection: keep-alive, Upgrade\r\n\
        Pragma: no-cache\r\nCache-Control: no-cache\r\nUpgrade: websocket\r\n\r\n";
    group.bench_function("upgrade", |bencher| {
        bencher.iter(|| {
            let mut lines = NO_LINES;
            let head = Head::parse(black_box(head), limits::HEAD_BYTES_MAX, &mut lines);
            black_box(head.is_ok_and(|head| head.is_some_and(|head| http::judge(&head).is_ok())))
        });
    });
    group.bench_function("accept key", |bencher| {
        bencher.iter(|| black_box(http::accept_key(black_box("AAAAAAAAAAAAAAAAAAAAAA=="))));
    });
    group.bench_function("token", |bencher| {
        let known = Token::new("b64+token").digest();
        bencher.iter(|| {
            let token = Token::from_target(black_box("/?token=b64%2Btoken"));
            black_box(token.is_some_and(|token| token.digest().matches(&known)))
        });
    });
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let form = Form {
        topic_field: "category".to_owned(),
        event_bytes_max: limits::EVENT_BYTES_MAX,
        topic_bytes_max: limits::TOPIC_BYTES_MAX,
    };
    let mut group = criterion.benchmark_group("event");
    for bytes in [200, 10_000, 500_000] {
        let data = format!(
            r#"{{"package":{{"id":6,"body_html":"{}"}}}}"#,
            "x".repeat(bytes)
        );
        let envelope = format!(r#"{{"topic":"package_created","data":{data}}}"#);
        group.throughput(Throughput::Bytes(envelope.len() as u64));
        group.bench_function(format!("envelope of {bytes} bytes"), |bencher| {
            bencher.iter(|| black_box(form.parse(&[black_box(envelope.as_bytes())]).is_ok()));
        });
        group.bench_function(format!("frame of {bytes} bytes"), |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                let quoted = black_box("\"package_created\"");
                websocket::encode_text_header(wamp::event_len(quoted, &data), &mut out);
                wamp::encode_event(quoted, &data, &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn walks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    for members in [3, 16, 1_000, 100_000] {
        let mut set = IdSet::default();
        (0..members).for_each(|member| {
            set.insert(member * 2);
        });
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_function(format!("{members} members"), |bencher| {
            bencher.iter(|| black_box(&set).iter().map(u64::from).sum::<u64>());
        });
    }
    group.finish();
}

fn sweeps(criterion: &mut Criterion) {
    let mut deadlines = Deadlines::default();
    for index in 0..1_000_000 {
        deadlines.set(index, 0, limits::DEADLINE_SECONDS_MAX);
    }
    let mut tick = 0;
    let mut expired = Vec::new();
    criterion.bench_function("sweep of 1,000,000 deadlines", |bencher| {
        bencher.iter(|| {
            tick += 1;
            deadlines.expire(tick, usize::MAX, &mut expired);
            // Whatever was due is made due again, so that each sweep finds as many.
            for index in expired.drain(..) {
                deadlines.set(index, tick, limits::DEADLINE_SECONDS_MAX);
            }
        });
    });
}

criterion_group!(benches, frames, messages, events, walks, sweeps);
criterion_main!(benches);
