//! Subscribers that do not read: they take a bounded amount of memory and delay no other client.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;

use kit::hostile::{SLACK_BYTES, publish_paced, text};
use kit::observe::{counted, envelope, event_frame, hear};
use kit::past::{Dialect, Peer, Told};
use kit::raw::frame_of;
use kit::{QUIET, Server, wait_until};
use serde_json::json;
use socket2::SockRef;

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

/// Makes a client's kernel take some events that its program does not read. With less room, the kernels would take seconds
/// for a megabyte when it reads again.
fn hold_little(stream: &TcpStream) {
    SockRef::from(stream)
        .set_recv_buffer_size(128 << 10)
        .expect("set");
}

/// How a topic with a rule for slow readers is published to three clients that do not read, and what they find afterwards.
fn drop_for_slow_readers(policy: &str, reason: &str) {
    const EVENTS: u64 = 130;
    const BOUND: usize = 512 << 10;
    let rule = format!("t slow={policy}");
    let bounds = ["--event-bytes-max", "64KiB", "--outbox-bytes-max", "512KiB"];
    let server = Server::start(&[QUIET, &bounds[..], &["--topic", &rule]].concat());
    let streams = Dialect::ALL.map(|_| server.connect());
    streams.iter().for_each(hold_little);
    let mut slow: Vec<Peer> = Dialect::ALL
        .iter()
        .zip(&streams)
        .map(|(&dialect, stream)| {
            let stream = stream.try_clone().expect("a clone");
            Peer::asks(dialect, stream, "t", None, None).0
        })
        .collect();
    // One that is not told, because its protocol has no place for it.
    let mut old = server.subscriber(&["t"]);
    hold_little(&old.socket.get_ref().0);
    let padding = "x".repeat(50_000);
    for n in 0..EVENTS {
        let event = json!({"topic": "t", "data": {"n": n, "padding": padding}});
        assert_eq!(server.post("/publish", &event.to_string()).status, 200);
        if n % 10 > 0 {
            continue;
        }
        let owed = server.metric("newswire_outbox_bytes") as usize;
        // The same events are owed to all three, and counted once.
        assert!(owed <= 3 * BOUND + SLACK_BYTES, "{owed}");
    }
    assert_eq!(
        server.metric("newswire_connections"),
        3.0,
        "none was closed"
    );
    let dropped = server.metric(&format!(
        "newswire_slow_events_dropped_total{{reason={reason:?}}}"
    ));
    let of_rule =
        format!("newswire_topic_rule_dropped_events_total{{rule=\"t\",policy={policy:?}}}");
    assert_eq!(server.metric(&of_rule), dropped);
    let mut missing = 0;
    for peer in &mut slow {
        let (mut heard, mut gaps) = (Vec::new(), BTreeMap::new());
        while heard.last() != Some(&(EVENTS - 1)) {
            match peer.told() {
                Told::Event(id, data) => {
                    assert!(id.is_some());
                    heard.push(data["n"].as_u64().expect("a number"));
                }
                Told::Gap(gap) => {
                    assert_eq!(gap, "slow");
                    gaps.insert(heard.len(), heard.last().copied());
                }
                other => panic!("{other:?}"),
            }
        }
        // The notice stands where the first event was lost, and nowhere else is one missing.
        let place = heard
            .windows(2)
            .position(|two| two[0] + 1 < two[1])
            .expect("some are lost");
        assert!(
            heard
                .windows(2)
                .skip(place + 1)
                .all(|two| two[0] + 1 == two[1]),
            "{heard:?}"
        );
        assert_eq!(
            gaps,
            BTreeMap::from([(place + 1, Some(heard[place]))]),
            "{heard:?}"
        );
        missing += EVENTS - heard.len() as u64;
        let newest = heard.len() - place - 1;
        match policy {
            "latest" => assert_eq!(newest, 1, "{heard:?}"),
            _ => assert!((5..=BOUND / 50_000).contains(&newest), "{heard:?}"),
        }
    }
    let mut heard = 0;
    loop {
        let text = old.text();
        heard += 1;
        if text.contains(&format!("\"n\":{},", EVENTS - 1)) {
            break;
        }
    }
    missing += EVENTS - heard;
    assert_eq!(dropped, missing as f64, "each loss is counted once");
    assert_eq!(server.metric("newswire_gaps_total{reason=\"slow\"}"), 2.0);
    // They are up to date, and hear what comes.
    let live = server.publish("t", [7]);
    slow.iter_mut().for_each(|peer| peer.expect(&live));
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.slow_consumer"), 0, "{summary}");
}

#[test]
fn a_rule_drops_the_oldest_events_for_who_does_not_read() {
    drop_for_slow_readers("oldest", "oldest");
}

#[test]
fn a_rule_keeps_the_newest_event_alone_for_who_does_not_read() {
    drop_for_slow_readers("latest", "replaced");
}
