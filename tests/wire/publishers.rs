//! Publishers as they are: thousands that connect, push one event and close, and all that can be
//! wrong with what they push.

#![expect(
    clippy::disallowed_methods,
    reason = "a bound on log lines over a time needs that time"
)]

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use kit::observe::{counted, envelope, publish_all};
use kit::{Client, Server, zmtp};

/// Hears exactly the events `0..count`, in any order.
fn hear_all(client: &mut Client, count: usize) {
    let mut heard = HashSet::new();
    while heard.len() < count {
        let text = client.text();
        let number = text
            .strip_prefix("[8,\"t\",")
            .and_then(|text| text.strip_suffix(']'));
        let number: usize = number.expect("an event").parse().expect("a number");
        assert!(number < count && heard.insert(number), "{number} twice");
    }
}

#[test]
fn five_thousand_publishers_of_one_event_each() {
    const PUBLISHERS: usize = 5_000;
    // libzmq allows a context some thousand sockets, and a closed one counts until it has lingered.
    const CONTEXT_SOCKETS: usize = 250;
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t"]);
    thread::scope(|scope| {
        for half in 0..2 {
            let server = &server;
            scope.spawn(move || {
                let (from, to) = (half * PUBLISHERS / 2, (half + 1) * PUBLISHERS / 2);
                for first in (from..to).step_by(CONTEXT_SOCKETS) {
                    let context = zmq::Context::new();
                    for n in first..first + CONTEXT_SOCKETS {
                        let socket = context.socket(zmq::PUSH).expect("a socket");
                        socket.connect(&server.pull).expect("an endpoint");
                        socket
                            .send(&envelope("t", &n.to_string()), 0)
                            .expect("taken");
                    }
                }
            });
        }
        hear_all(&mut client, PUBLISHERS);
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "events"), PUBLISHERS as u64, "{summary}");
}

/// As PHP: the message and the end leave together. A message must not leave before the other side's
/// READY has come (libzmq ends such a connection), so that is waited for.
#[test]
fn data_that_comes_together_with_the_end_of_its_connection() {
    const PUBLISHERS: usize = 500;
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t"]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..PUBLISHERS {
                let mut stream = zmtp::connect(&server);
                let message = zmtp::part(envelope("t", &n.to_string()).as_bytes(), false);
                stream.write_all(&message).expect("sent");
                match n % 2 {
                    0 => stream.shutdown(Shutdown::Write).expect("open"),
                    _ => drop(stream),
                }
            }
        });
        hear_all(&mut client, PUBLISHERS);
    });
    server.stop();
}

#[test]
fn bad_messages_are_counted_by_reason_and_the_server_goes_on() {
    const ROUNDS: u64 = 50;
    let started = Instant::now();
    let server = Server::start(&["--event-bytes-max", "1000", "--topic-bytes-max", "20"]);
    let mut client = server.subscriber(&["t"]);
    let large = envelope("t", &format!("\"\x1b[2J{}\"", "x".repeat(1000)));
    let long_topic = envelope(&"t".repeat(21), "1");
    let garbage: Vec<u8> = (0..=255).collect();
    let bad: &[(&str, &[&[u8]])] = &[
        ("empty", &[b""]),
        ("empty", &[b"", b""]),
        ("too_large", &[large.as_bytes()]),
        ("parts", &[b"t", b"1", b"2"]),
        ("parts", &[b"t", b"1", b"2", b"3", b"4"]),
        ("bad_json", &[b"{\"topic\":\"t\",\"data\":}"]),
        ("bad_json", &[b"{\"topic\":\"t\",\"data\":\"\xFF\"}"]),
        ("bad_json", &[&garbage]),
        ("bad_json", &[b"t", b"no JSON"]),
        ("bad_json", &[b"\xFF\xFE", b"1"]),
        ("no_topic", &[b"{\"data\":1}"]),
        ("no_topic", &[b"[1]"]),
        ("no_topic", &[b"", b"1"]),
        ("topic_too_long", &[long_topic.as_bytes()]),
    ];
    let (_context, socket) = server.publisher();
    for round in 0..ROUNDS {
        for (_, parts) in bad {
            socket
                .send_multipart(parts.iter().copied(), 0)
                .expect("taken");
        }
        socket
            .send(&envelope("t", &round.to_string()), 0)
            .expect("taken");
    }
    for round in 0..ROUNDS {
        assert_eq!(client.text(), format!("[8,\"t\",{round}]"));
    }
    // Lines come through a thread of their own; the last one comes last.
    server.signal("TERM");
    server.wait_for_log("shutdown: complete");
    let log = server.log();
    // The first, one an interval, and the rest at the end.
    let lines_max = 2 + started.elapsed().as_secs() as usize / 10;
    let (_, summary) = server.wait();
    assert_eq!(
        counted(&summary, "ingested"),
        ROUNDS * (bad.len() as u64 + 1),
        "{summary}"
    );
    assert_eq!(counted(&summary, "events"), ROUNDS, "{summary}");
    for (reason, _) in bad {
        let kinds = bad.iter().filter(|(other, _)| other == reason).count() as u64;
        assert_eq!(
            counted(&summary, &format!("dropped.{reason}")),
            kinds * ROUNDS,
            "{summary}"
        );
        let lines = log.matches(&format!("dropped: reason={reason} ")).count();
        assert!((1..=lines_max).contains(&lines), "{reason}: {log}");
    }
    // Printable, bounded, and of use.
    assert!(
        log.contains(r#"begins="{\"topic\":\"t\",\"data\":\"\x1b[2Jxxx"#),
        "{log}"
    );
    assert!(
        log.bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "{log}"
    );
    assert!(log.lines().all(|line| line.len() < 600), "{log}");
}

#[test]
fn what_is_no_zeromq_disturbs_nobody() {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t"]);
    let address = server.pull.trim_start_matches("tcp://");
    let mut strangers = Vec::new();
    let garbage = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xFF; 100],
        &[0; 100],
        b"",
        &zmtp::hello()[..70],
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(bytes).expect("sent");
        strangers.push(stream);
    }
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(client.text(), "[8,\"t\",1]");
    drop(strangers);
    publish_all(&server.pull, [envelope("t", "2")]);
    assert_eq!(client.text(), "[8,\"t\",2]");
    let summary = server.stop();
    assert_eq!(counted(&summary, "ingested"), 2, "{summary}");
}
