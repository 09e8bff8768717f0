//! Crowds that ask for everything that is kept, all at once, and clients that ask for it and do not read it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use kit::hostile::{SLACK_BYTES, Witness, dial, entry, narrow};
use kit::observe::{envelope, publish_all};
use kit::{QUIET, Server, TOKEN, wait_until};
use newswire::limits;

const TOPICS: usize = 50;

/// In bytes, the data of each event.
const DATA_BYTES: usize = 10_000;

/// A server that keeps an event of each of [`TOPICS`].
fn start(options: &[&str]) -> Server {
    let server = Server::start(&[QUIET, &["--topic", "k* history=1"], options].concat());
    let data = format!("\"{}\"", "x".repeat(DATA_BYTES));
    publish_all(
        &server.pull,
        (0..TOPICS).map(|n| envelope(&format!("k{n}"), &data)),
    );
    wait_until("all are kept", || {
        server.metric("newswire_history_events") == TOPICS as f64
    });
    server
}

/// A client that has asked for the last event of each topic.
fn ask_for_all(server: &Server, n: usize) -> TcpStream {
    let mut stream = dial(server.address, n);
    let topics: String = (0..TOPICS).map(|n| format!("&topic=k{n}")).collect();
    let head = format!(
        "GET /?token={TOKEN}&last=1{topics} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// In bytes, the most that is held for a client of what it has asked for. A step begins while less than the bound is owed,
/// so two of them can be owed, each in a block that may be half empty.
const OWED_MAX: usize = 2 * 2 * (limits::REPLAY_STEP_BYTES + DATA_BYTES);
const _: () = assert!(limits::REPLAY_OWED_BYTES_MAX <= limits::REPLAY_STEP_BYTES);

fn ask_together(clients: usize) {
    let server = start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let mut herd: Vec<(TcpStream, usize)> =
        (0..clients).map(|n| (ask_for_all(&server, n), 0)).collect();
    for (stream, _) in &herd {
        stream.set_nonblocking(true).expect("set");
    }
    let whole = TOPICS * DATA_BYTES;
    let mut buffer = vec![0; 64 * 1024];
    let mut meanwhile = 0;
    wait_until("all have all", || {
        for (stream, heard) in &mut herd {
            match stream.read(&mut buffer) {
                Ok(0) => panic!("its end after {heard} bytes"),
                Ok(n) => *heard += n,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        // The next event of somebody else's is heard, however much is still to be sent again.
        witness.check();
        let is_done = herd.iter().all(|&(_, heard)| heard >= whole);
        meanwhile += u64::from(!is_done);
        is_done
    });
    assert!(meanwhile >= 5, "{meanwhile}");
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < clients * OWED_MAX + SLACK_BYTES, "{grown}");
    let replayed = server.metric("newswire_events_replayed_total");
    assert_eq!(replayed, (clients * TOPICS) as f64);
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.shutdown"), clients as u64 + 1);
}

#[test]
fn a_crowd_that_asks_for_everything_keeps_nobody_from_live_events() {
    ask_together(150);
}

#[test]
#[ignore = "a thousand clients, 500 MB"]
fn a_thousand_that_ask_for_everything_keep_nobody_from_live_events() {
    ask_together(1_000);
}

#[test]
fn who_asks_for_everything_and_reads_nothing_is_sent_no_more() {
    const CLIENTS: usize = 40;
    let server = start(&[]);
    let mut witness = Witness::new(&server);
    let mut clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|n| {
            let stream = ask_for_all(&server, n);
            narrow(&stream);
            stream
        })
        .collect();
    wait_until("all were answered", || {
        entry(&server.now(), "connected") == CLIENTS as u64 + 1
            && server.metric("newswire_events_replayed_total") >= CLIENTS as f64
    });
    server.assert_idle();
    witness.check();
    let owed = entry(&server.now(), "outboxes_bytes");
    assert!(owed <= (CLIENTS * OWED_MAX) as u64, "{owed}");
    // Whoever wakes up is served on.
    let mut some = [0; 2 * DATA_BYTES];
    clients[0].read_exact(&mut some).expect("more of it");
    drop(clients);
    server.wait_for_connections(1);
    assert_eq!(entry(&server.now(), "outboxes_bytes"), 0);
    server.stop_and_balance();
}

#[test]
fn what_crowds_do_not_read_of_the_past_is_within_the_bound_of_all_outboxes() {
    const CLIENTS: usize = 300;
    const BOUND: usize = 4 << 20;
    let bounds = ["--outboxes-bytes-max", "4MiB", "--outbox-bytes-max", "2MiB"];
    let server = start(&[&bounds[..], &["--event-bytes-max", "64KiB"]].concat());
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|n| {
            let stream = ask_for_all(&server, n);
            narrow(&stream);
            if n % 10 == 0 {
                witness.check();
            }
            stream
        })
        .collect();
    wait_until("some had to give up", || {
        let books = server.now();
        let owed = entry(&books, "outboxes_bytes") as usize;
        assert!(
            owed <= BOUND + 2 * OWED_MAX + limits::TURN_REPLAY_BYTES_MAX,
            "{owed}"
        );
        entry(&books, "closed.outboxes_full") > 0
    });
    witness.check();
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < 2 * BOUND + SLACK_BYTES, "{grown}");
    drop(clients);
    server.wait_for_connections(1);
    witness.check();
    server.stop_and_balance();
}
