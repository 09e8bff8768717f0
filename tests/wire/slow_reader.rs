//! Subscribers that do not read: they take a bounded amount of memory and delay no other client.

use std::io::Write;

use kit::hostile::{SLACK_BYTES, publish_paced, text};
use kit::observe::{counted, envelope, event_frame, hear};
use kit::raw::frame_of;
use kit::{Server, wait_until};

#[test]
fn who_stops_reading_is_closed_and_the_others_miss_nothing() {
    let server = Server::start(&[
        "--event-bytes-max",
        "200KiB",
        "--outbox-bytes-max",
        "1MiB",
        "--shutdown-timeout",
        "1",
    ]);
    let stalled: Vec<_> = (0..3).map(|_| server.subscriber(&["t"])).collect();
    let before = server.resident_bytes();
    // 40 MB: far more than the outbox and all the kernel's buffers.
    publish_paced(
        &server,
        "t",
        &format!("\"{}\"", "x".repeat(100_000)),
        400,
        |_| {},
    );
    let grown = server.peak_bytes() - before;
    // They share what they owe.
    assert!(grown < (1 << 20) + SLACK_BYTES, "{grown}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.slow_consumer"), 3, "{summary}");
    drop(stalled);
}

#[test]
fn all_outboxes_together_are_bounded() {
    let server = Server::start(&[
        "--event-bytes-max",
        "200KiB",
        "--outbox-bytes-max",
        "8MiB",
        "--outboxes-bytes-max",
        "16MiB",
        "--shutdown-timeout",
        "1",
    ]);
    // Each hears its own events, so they share nothing.
    let topics: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
    let _stalled: Vec<_> = topics
        .iter()
        .map(|topic| server.subscriber(&[topic]))
        .collect();
    let before = server.resident_bytes();
    let data = format!("\"{}\"", "x".repeat(100_000));
    for topic in &topics {
        // Kernel buffers included, less than what closes one.
        publish_paced(&server, topic, &data, 70, |_| {});
    }
    let grown = server.peak_bytes() - before;
    assert!(grown < (16 << 20) + SLACK_BYTES, "{grown}");
    let summary = server.stop();
    assert!(counted(&summary, "closed.outboxes_full") >= 3, "{summary}");
    assert_eq!(counted(&summary, "closed.slow_consumer"), 0, "{summary}");
}

/// A batch that served a burst is used again. If a small event then kept all of its memory for who
/// does not read, bounds in bytes of events would bound nothing.
#[test]
fn small_events_between_bursts_keep_little_memory() {
    let server = Server::start(&["--shutdown-timeout", "1"]);
    let _stalled = server.subscriber(&["small"]);
    let mut witness = server.raw_subscriber(&["burst", "small"]);
    let (_context, socket) = server.publisher();
    let before = server.resident_bytes();
    // So much goes into the kernel's buffers before anything is kept.
    let filler = format!("\"{}\"", "y".repeat(10_000));
    for _ in 0..400 {
        socket.send(&envelope("small", &filler), 0).expect("taken");
        hear(&mut witness, &event_frame("small", &filler));
    }
    let data = format!("\"{}\"", "x".repeat(1_000));
    let burst = event_frame("burst", &data).repeat(200);
    for n in 0..400 {
        for _ in 0..200 {
            socket.send(&envelope("burst", &data), 0).expect("taken");
        }
        hear(&mut witness, &burst);
        let data = n.to_string();
        socket.send(&envelope("small", &data), 0).expect("taken");
        hear(&mut witness, &event_frame("small", &data));
    }
    let grown = server.peak_bytes() - before;
    assert!(grown < (8 << 20) + SLACK_BYTES, "{grown}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.slow_consumer"), 0, "{summary}");
}

/// A peer that asks and does not read the answers is read no further, and taken for dead after a while.
#[test]
fn answers_that_nobody_reads_are_bounded_too() {
    let server = Server::start(&["--ping-interval", "1", "--ping-timeout", "1"]);
    let mut stream = server.raw_client();
    let call = format!("[2,\"{}\",\"x\"]", "i".repeat(100));
    let frames = [text(&call), frame_of(0x89, b"hi")].concat();
    let frames = frames.repeat(100);
    // Until its connection is gone: then its kernel says so.
    wait_until("it is gone", || stream.write_all(&frames).is_err());
    let peak = server.peak_bytes();
    assert!(peak < 32 << 20, "{peak}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.ping_timeout"), 1, "{summary}");
}
