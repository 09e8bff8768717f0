//! Peers that behave, and too much of everything: events that cannot be gathered, large
//! ones among small ones, more topics than a queue of libzmq's holds, publishers that never pause, a log
//! that nobody reads.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use kit::hostile::{Witness, entry, text};
use kit::observe::{Reader, envelope, event_frame, publish_all, read_all};
use kit::port::Port;
use kit::raw::{Ear, Heard};
use kit::{QUIET, Server, wait_until};

/// Every event is of another topic, and every two topics have a member in common.
fn rotate(topics: usize, members: usize, events: usize) {
    let server = Server::start(QUIET);
    let names: Vec<String> = (0..topics).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Every second member has every topic, the others every second one.
    let expected: Vec<Vec<u8>> = [1, 2]
        .iter()
        .map(|step| {
            let events = (0..events).filter(|n| (n % topics).is_multiple_of(*step));
            events
                .flat_map(|n| event_frame(names[n % topics], &n.to_string()))
                .collect()
        })
        .collect();
    let some: Vec<&str> = names.iter().copied().step_by(2).collect();
    let mut readers: Vec<Reader<'_>> = (0..members)
        .map(|n| match n % 2 {
            0 => Reader::new(server.subscriber(&names), &expected[0]),
            _ => Reader::new(server.subscriber(&some), &expected[1]),
        })
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            publish_all(
                &server.pull,
                (0..events).map(|n| envelope(names[n % topics], &n.to_string())),
            );
        });
        read_all(&mut readers);
    });
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "events"), events as u64);
    assert_eq!(entry(&books, "closed.shutdown"), members as u64);
    let every_second = (0..events)
        .filter(|n| (n % topics).is_multiple_of(2))
        .count();
    let heard = members.div_ceil(2) * events + members / 2 * every_second;
    assert_eq!(entry(&books, "deliveries"), heard as u64);
}

#[test]
fn topics_in_rotation_keep_their_order() {
    rotate(300, 40, 2_000);
}

#[test]
#[ignore = "half a million writes"]
fn a_thousand_topics_in_rotation_keep_their_order() {
    rotate(1_000, 200, 5_000);
}

/// Large events for `readers` of which none takes more than a little at a time, while a small topic
/// flows.
fn large_among_small(readers: usize, large: usize, small: u64) {
    let server = Server::start(&[QUIET, &["--outboxes-bytes-max", "1GiB"]].concat());
    let mut witness = Witness::of(&server, "small");
    let data = format!("\"{}\"", "x".repeat(2 * 1024 * 1024 - 100));
    let frame = event_frame("large", &data);
    let mut streams: Vec<(TcpStream, usize)> = (0..readers)
        .map(|_| {
            let stream = server.raw_subscriber(&["large"]);
            stream.set_nonblocking(true).expect("set");
            (stream, 0)
        })
        .collect();
    let before = server.resident_bytes();
    publish_all(&server.pull, (0..large).map(|_| envelope("large", &data)));
    let mut buffer = vec![0; 32 * 1024];
    let whole = large * frame.len();
    wait_until("all have all of it", || {
        for (stream, at) in &mut streams {
            match stream.read(&mut buffer) {
                Ok(0) => panic!("its end after {at} bytes"),
                Ok(n) => {
                    let from = *at % frame.len();
                    let to = (from + n).min(frame.len());
                    assert!(buffer[..to - from] == frame[from..to]);
                    assert!(buffer[to - from..n] == frame[..n + from - to]);
                    *at += n;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        if witness.heard() < small {
            witness.check();
            // The small ones are not behind the large ones.
            assert!(
                streams.iter().any(|&(_, at)| at < whole),
                "{}",
                witness.heard()
            );
        }
        streams.iter().all(|&(_, at)| at == whole)
    });
    assert_eq!(witness.heard(), small);
    let grown = server.peak_bytes().saturating_sub(before);
    // All readers share what they owe.
    assert!(grown < (2 * large + 32) << 20, "{grown}");
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.shutdown"), readers as u64 + 1);
}

#[test]
fn a_large_event_does_not_hold_up_small_ones() {
    large_among_small(50, 1, 10);
}

#[test]
#[ignore = "1.6 GB to 200 readers"]
fn large_events_do_not_hold_up_small_ones() {
    large_among_small(200, 4, 100);
}

/// Events of all sizes from a publisher that never pauses. Readers that keep up miss nothing.
fn publish_at_full_speed(rounds: usize, readers: usize) {
    const EVENTS: usize = 2_000;
    let server = Server::start(&[]);
    let data = |n: usize| {
        let bytes = match n % 100 {
            0 => 100_000,
            n if n % 10 == 0 => 5_000,
            n => n,
        };
        format!("\"{n} {}\"", "x".repeat(bytes))
    };
    let expected: Vec<u8> = (0..EVENTS)
        .flat_map(|n| event_frame("t", &data(n)))
        .collect();
    let messages: Vec<String> = (0..EVENTS).map(|n| envelope("t", &data(n))).collect();
    let mut streams: Vec<TcpStream> = (0..readers)
        .map(|_| server.raw_subscriber(&["t"]))
        .collect();
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    for _ in 0..rounds {
        let mut readers: Vec<Reader<'_>> = streams
            .iter()
            .map(|stream| Reader::of(stream, &expected))
            .collect();
        thread::scope(|scope| {
            scope.spawn(|| publish_all(&server.pull, &messages));
            read_all(&mut readers);
        });
        witness.check();
    }
    let grown = server.peak_bytes().saturating_sub(before);
    // What is on its way, and what ZeroMQ's queue holds, its thousand messages being as large as these.
    assert!(grown < (32 + 8 + 16) << 20, "{grown}");
    streams.clear();
    server.wait_for_connections(1);
    server.assert_idle();
    let books = server.stop_and_balance();
    let events = (rounds * EVENTS) as u64;
    assert_eq!(entry(&books, "events"), events + witness.heard());
    assert_eq!(
        entry(&books, "deliveries"),
        events * readers as u64 + witness.heard()
    );
}

#[test]
fn a_publisher_that_never_pauses_is_heard_by_all() {
    publish_at_full_speed(2, 50);
}

#[test]
#[ignore = "9 GB to 50 readers"]
fn a_publisher_that_never_pauses_for_long_is_heard_by_all() {
    publish_at_full_speed(60, 50);
}

/// Everything is logged, and the log goes into a pipe that nobody reads.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let (log, pipe) = std::io::pipe().expect("a pipe");
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>&0"])
        .arg(env!("CARGO_BIN_EXE_newswire"))
        .stdin(pipe);
    let server = Server::start_with(command, &["--log-level", "trace"]);
    let mut witness = Witness::new(&server);
    for n in 0..2_000 {
        // Some lines each.
        server.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        if n % 100 == 0 {
            witness.check();
        }
    }
    server.assert_idle();
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "refused.not_upgrade"), 2_000);
    drop(log);
}

/// A PUB socket, its context and its endpoint, which is free again when both have been dropped.
fn bind_publisher(endpoint: &str) -> (zmq::Socket, zmq::Context, String) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PUB).expect("a socket");
    socket.set_sndhwm(0).expect("set");
    socket.set_linger(0).expect("set");
    // A process that another test starts has this one's sockets for a moment, before its program begins.
    wait_until("the port is free", || socket.bind(endpoint).is_ok());
    let endpoint = socket.get_last_endpoint().expect("bound").expect("UTF-8");
    (socket, context, endpoint)
}

/// More topics than libzmq queues subscriptions for by itself.
#[test]
fn a_publisher_is_asked_for_every_topic_however_many() {
    const TOPICS: usize = 5_000;
    let held = Port::hold();
    let (mut publisher, mut context, endpoint) = bind_publisher(&held.endpoint());
    let server = Server::start(&["--sub", &endpoint, "--subscriptions-max", "10000"]);
    let mut stream = server.raw_client();
    let wanted = (0..TOPICS).flat_map(|n| text(&format!("[5,\"{n:04}\"]")));
    stream.write_all(&wanted.collect::<Vec<_>>()).expect("open");
    stream.set_nonblocking(true).expect("set");
    for round in 0..2 {
        // A publisher drops what it has not been asked for yet, so each is said until it is heard.
        let mut missing: BTreeSet<usize> = (0..TOPICS).collect();
        let mut ear = Ear::opened();
        let mut buffer = vec![0; 256 * 1024];
        wait_until("an event of every topic", || {
            for n in &missing {
                let parts = [format!("{n:04}"), round.to_string()];
                publisher.send_multipart(&parts, 0).expect("taken");
            }
            while let Ok(n) = stream.read(&mut buffer) {
                assert!(n > 0, "its end");
                ear.push(&buffer[..n]);
            }
            for heard in ear.by_ref() {
                let Heard::Frame(0x81, text) = heard else {
                    continue;
                };
                let text = String::from_utf8(text).expect("text");
                let topic = text.split('"').nth(1).expect("a topic");
                // What is left of the round before has been heard there.
                if text.ends_with(&format!(",{round}]")) {
                    missing.remove(&topic.parse().expect("a number"));
                }
            }
            missing.is_empty()
        });
        // It comes back, and is asked for all of them again.
        drop((publisher, context));
        (publisher, context, _) = bind_publisher(&endpoint);
    }
    server.stop();
}
