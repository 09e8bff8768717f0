//! Subscribers that do not read, hardly read, end their half, or are reset in the middle of everything,
//! while others have to receive every event.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use kit::hostile::{SLACK_BYTES, Witness, close_code, entry, narrow, publish_paced, reset, text};
use kit::observe::{envelope, event_frame, hear, publish_all};
use kit::{Server, wait_until};

/// In bytes of each event's text.
const TEXT_BYTES: usize = 100_000;

/// A server whose stalled subscribers are closed after 4 MB, and end soon.
fn server() -> Server {
    Server::start(&[
        "--event-bytes-max",
        "200KiB",
        "--outbox-bytes-max",
        "4MiB",
        "--close-timeout",
        "1",
        "--shutdown-timeout",
        "2",
    ])
}

/// The data of each event.
fn data() -> String {
    format!("\"{}\"", "x".repeat(TEXT_BYTES))
}

/// One of each kind that can be a nuisance, several times, and events meanwhile.
#[test]
fn fifty_megabytes_for_those_who_do_not_read() {
    const EACH: usize = 5;
    let server = server();
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let subscribe = || {
        let stream = server.raw_subscriber(&["t"]);
        narrow(&stream);
        stream
    };
    let never: Vec<TcpStream> = (0..EACH).map(|_| subscribe()).collect();
    // A byte for each event: at this rate it never comes to the end of one.
    let mut hardly: Vec<TcpStream> = (0..EACH).map(|_| subscribe()).collect();
    let mut talks: Vec<TcpStream> = (0..EACH).map(|_| subscribe()).collect();
    let mut half_closed: Vec<TcpStream> = (0..EACH).map(|_| subscribe()).collect();
    let mut resets: Vec<TcpStream> = (0..EACH).map(|_| subscribe()).collect();
    publish_paced(&server, "t", &data(), 500, |n| {
        witness.check();
        for stream in &mut hardly {
            let _ = stream.read(&mut [0]);
        }
        for stream in &mut talks {
            // Whoever talks and does not listen is as slow as whoever is silent.
            let _ = stream.write_all(&text("[5,\"t\"]"));
        }
        if n % 4 == 3
            && let Some(stream) = half_closed.pop()
        {
            stream.shutdown(Shutdown::Write).expect("open");
            // It is kept open on this side, and not read.
            half_closed.insert(0, stream);
        }
        if n % 4 == 1
            && let Some(stream) = resets.pop()
        {
            reset(stream);
        }
    });
    // Those who come to read now find what their kernels had, a frame that was begun, and a reason.
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < (4 << 20) + SLACK_BYTES, "{grown}");
    drop((never, hardly, talks, half_closed));
    server.wait_for_connections(1);
    let books = server.now();
    assert_eq!(
        (entry(&books, "topics"), entry(&books, "outboxes_bytes")),
        (1, 0),
        "{books:?}"
    );
    server.assert_idle();
    let books = server.stop_and_balance();
    let each = EACH as u64;
    assert_eq!(entry(&books, "closed.slow_consumer"), 3 * each, "{books:?}");
    // An end of its half, and a reset, come in whatever order the kernel tells.
    let left = entry(&books, "closed.peer_gone") + entry(&books, "closed.socket_error");
    assert_eq!(left, 2 * each + 2, "{books:?}");
}

/// Who wakes up before its time is over hears whole events, and then why it was closed.
#[test]
fn who_wakes_up_in_time_is_told_why() {
    let server = Server::start(&[
        "--event-bytes-max",
        "200KiB",
        "--outbox-bytes-max",
        "1MiB",
        "--close-timeout",
        "100",
    ]);
    let mut sleepers: Vec<TcpStream> = (0..10).map(|_| server.raw_subscriber(&["t"])).collect();
    publish_paced(&server, "t", &data(), 200, |_| {});
    wait_until("all are closed", || {
        entry(&server.now(), "closed.slow_consumer") == 10
    });
    for stream in &mut sleepers {
        assert_eq!(close_code(stream), Some(1008));
    }
    drop(sleepers);
    server.wait_for_connections(0);
    server.stop_and_balance();
}

/// Readers that were stalled together and wake up together. What they are owed leaves in many turns, and
/// others' events leave in each of these.
#[test]
fn those_who_wake_up_together_starve_nobody() {
    const READERS: usize = 60;
    let server = Server::start(&["--outbox-bytes-max", "32MiB"]);
    let mut witness = Witness::new(&server);
    let sleepers: Vec<TcpStream> = (0..READERS)
        .map(|_| server.raw_subscriber(&["t"]))
        .collect();
    publish_paced(&server, "t", &data(), 200, |_| {});
    let whole = READERS * 200 * event_frame("t", &data()).len();
    for sleeper in &sleepers {
        sleeper.set_nonblocking(true).expect("set");
    }
    thread::scope(|scope| {
        let awake = scope.spawn(|| {
            let mut buffer = vec![0; 4 << 20];
            let mut left = whole;
            wait_until("all have all", || {
                for mut sleeper in &sleepers {
                    match sleeper.read(&mut buffer) {
                        Ok(n) => {
                            assert!(n > 0, "its end");
                            left -= n;
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
                left == 0
            });
        });
        while !awake.is_finished() {
            witness.check();
        }
    });
    assert!(witness.heard() >= 20, "{}", witness.heard());
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.slow_consumer"), 0, "{books:?}");
}

/// Forty ask without end and take no answer, and the bound of all outboxes is small: what they are owed
/// does not close a client that reads steadily, though slowly.
#[test]
fn callers_that_do_not_read_cost_an_honest_reader_nothing() {
    const CALLERS: usize = 40;
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
    let mut witness = Witness::new(&server);
    let mut honest = server.raw_subscriber(&["t"]);
    // Its kernel takes little ahead, so that newswire holds what it has not read.
    socket2::SockRef::from(&honest)
        .set_recv_buffer_size(64 << 10)
        .expect("set");
    let calls = text(&format!("[2,\"{}\",\"x\"]", "i".repeat(400))).repeat(100);
    let callers: Vec<TcpStream> = (0..CALLERS).map(|_| server.raw_client()).collect();
    for caller in &callers {
        narrow(caller);
        caller.set_nonblocking(true).expect("set");
    }
    let data = data();
    let frame = event_frame("t", &data);
    let mut sent = [0; CALLERS];
    // The honest one is behind by some megabytes, which is half of what it may be, and reads on.
    publish_all(&server.pull, (0..60).map(|_| envelope("t", &data)));
    for _ in 0..60 {
        for (caller, sent) in callers.iter().zip(&mut sent) {
            let mut caller = caller;
            while let Ok(n) = caller.write(&calls[*sent % calls.len()..]) {
                *sent += n;
            }
        }
        hear(&mut honest, &frame);
        witness.check();
    }
    let books = server.now();
    assert!(entry(&books, "calls") > CALLERS as u64, "{books:?}");
    assert_eq!(entry(&books, "closed.slow_consumer"), 0, "{books:?}");
    assert_eq!(entry(&books, "closed.outboxes_full"), 0, "{books:?}");
    drop((callers, honest));
    server.wait_for_connections(1);
    server.stop_and_balance();
}

/// The walk through the members is cut by its budget, and members vanish between its slices.
#[test]
fn members_that_vanish_while_an_event_is_handed_out() {
    const MEMBERS: usize = 600;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let data = format!("\"{}\"", "x".repeat(1_000_000));
    let frame = event_frame("t", &data);
    for round in 0..3 {
        let mut members: Vec<TcpStream> = (0..MEMBERS)
            .map(|_| server.raw_subscriber(&["t"]))
            .collect();
        // 600 MB are many turns.
        publish_all(&server.pull, [envelope("t", &data)]);
        hear(&mut members[0], &frame);
        let mut kept = Vec::new();
        for (n, member) in members.into_iter().enumerate().skip(1) {
            match (n + round) % 3 {
                0 => reset(member),
                1 => drop(member),
                _ => kept.push(member),
            }
        }
        // New ones take the places that are free again; they came after the event.
        let mut newcomers: Vec<TcpStream> =
            (0..50).map(|_| server.raw_subscriber(&["t"])).collect();
        witness.check();
        publish_all(&server.pull, [envelope("t", "1")]);
        let after = event_frame("t", "1");
        for newcomer in &mut newcomers {
            hear(newcomer, &after);
        }
        for member in &mut kept {
            hear(member, &frame);
            hear(member, &after);
        }
        drop((kept, newcomers));
        server.wait_for_connections(1);
    }
    let books = server.now();
    assert_eq!(
        (entry(&books, "topics"), entry(&books, "subscriptions")),
        (1, 1)
    );
    assert_eq!(entry(&books, "outboxes_bytes"), 0);
    server.assert_idle();
    server.stop_and_balance();
}

/// Thousands of tiny events for one who does not read: what keeps account of them costs more than they
/// do, and is bounded with them.
#[test]
fn tiny_events_that_nobody_reads_are_bounded() {
    const EVENTS: usize = 60_000;
    let server = Server::start(&["--outboxes-bytes-max", "16MiB", "--shutdown-timeout", "1"]);
    let stalled = server.raw_subscriber(&["t", "other"]);
    let mut witness = Witness::new(&server);
    let mut reader = server.raw_subscriber(&["t"]);
    let before = server.resident_bytes();
    // The topics alternate, so that nothing can be gathered.
    let messages = (0..EVENTS).map(|n| envelope(["t", "other"][n % 2], "1"));
    publish_all(&server.pull, messages);
    hear(&mut reader, &event_frame("t", "1").repeat(EVENTS / 2));
    witness.check();
    assert!(entry(&server.now(), "outboxes_bytes") > 0);
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < (16 << 20) + 2 * SLACK_BYTES, "{grown}");
    stalled.set_nonblocking(true).expect("set");
    let mut bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    // It was not too slow, as far as its bytes go: it gets all of them when it reads.
    let whole = event_frame("t", "1").repeat(EVENTS / 2).len()
        + event_frame("other", "1").repeat(EVENTS / 2).len();
    wait_until("it has heard all", || {
        match (&stalled).read(&mut buffer) {
            Ok(n) => {
                assert!(n > 0, "its end");
                bytes += n;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        bytes == whole
    });
    assert_eq!(entry(&server.now(), "outboxes_bytes"), 0);
    server.stop_and_balance();
}
