//! A shutdown under load: events that were published before the signal are delivered, a client that stalls does not
//! hold the shutdown up for ever, and the exit code is 0.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use kit::observe::{
    Reader, answer, counted, envelope, event_frame, hear, publish_all, read_all, upgrade,
};
use kit::{Client, Server};

const EVENTS: usize = 5_000;

fn data(n: usize) -> String {
    format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(200))
}

fn publish(server: &Server) {
    publish_all(&server.pull, (0..EVENTS).map(|n| envelope("t", &data(n))));
}

fn expected() -> Vec<u8> {
    (0..EVENTS)
        .flat_map(|n| event_frame("t", &data(n)))
        .collect()
}

/// The signal comes when the last byte has left the publisher, wherever it is by then; nobody reads
/// before the signal.
#[test]
fn what_was_sent_before_the_signal_is_delivered() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&[]);
        let expected = expected();
        let mut readers: Vec<Reader<'_>> = (0..20)
            .map(|_| Reader::new(server.subscriber(&["t"]), &expected))
            .collect();
        publish(&server);
        server.signal(signal);
        read_all(&mut readers);
        let (status, summary) = server.wait();
        assert_eq!(status.code(), Some(0), "{summary}");
        assert_eq!(counted(&summary, "events"), EVENTS as u64, "{summary}");
        assert_eq!(counted(&summary, "deliveries"), 20 * EVENTS as u64);
        assert_eq!(counted(&summary, "closed.shutdown"), 20, "{summary}");
    }
}

/// Publishers that never pause do not keep it alive, and what was heard has no gap.
#[test]
fn publishers_that_go_on_do_not_hold_it_up() {
    let server = Server::start(&["--shutdown-timeout", "1"]);
    let mut client = server.subscriber(&["t"]);
    let (context, socket) = server.publisher();
    socket.set_linger(0).expect("set");
    socket.set_sndtimeo(1_000).expect("set");
    let pull = server.pull.clone();
    let publisher = thread::spawn(move || {
        let _context = context;
        let mut n = 0_u64;
        // Until nobody takes any more.
        while socket.send(&envelope("t", &n.to_string()), 0).is_ok() {
            n += 1;
        }
        assert!(n > 100, "{pull}");
    });
    for n in 0..100 {
        assert_eq!(client.text(), format!("[8,\"t\",{n}]"));
    }
    server.signal("TERM");
    let mut n = 100;
    while let Ok(message) = client.socket.read() {
        assert!(!message.is_close(), "a Close frame after {n} events");
        assert_eq!(message.to_text().expect("text"), format!("[8,\"t\",{n}]"));
        n += 1;
    }
    let (status, summary) = server.wait();
    assert_eq!(status.code(), Some(0), "{summary}");
    assert_eq!(counted(&summary, "deliveries"), n, "{summary}");
    publisher.join().expect("no panic");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start(&["--shutdown-timeout", "250"]);
    let _stalled = server.subscriber(&["t"]);
    let mut witness = server.raw_subscriber(&["t"]);
    let (_context, socket) = server.publisher();
    let data = format!("\"{}\"", "x".repeat(100_000));
    let frame = event_frame("t", &data);
    // More than the kernel keeps, and less than what makes a slow consumer.
    for _ in 0..75 {
        socket.send(&envelope("t", &data), 0).expect("taken");
        hear(&mut witness, &frame);
    }
    server.signal("TERM");
    server.wait_for_log("shutdown: begins");
    // It still owes something, so only the second signal ends it within a test's patience. Signals
    // that come together would be one.
    server.signal("TERM");
    let (status, summary) = server.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert_eq!(counted(&summary, "closed.slow_consumer"), 0, "{summary}");
}

/// A server that may take a second to shut down, and a subscriber to which it owes more than the socket takes.
fn start_with_a_stalled_subscriber() -> (Server, Client) {
    let server = Server::start(&["--shutdown-timeout", "1"]);
    let stalled = server.subscriber(&["t"]);
    let mut witness = server.raw_subscriber(&["t"]);
    let data = format!("\"{}\"", "x".repeat(100_000));
    publish_all(&server.pull, (0..75).map(|_| envelope("t", &data)));
    hear(&mut witness, &event_frame("t", &data).repeat(75));
    (server, stalled)
}

#[test]
fn a_stalled_subscriber_does_not_hold_it_up_for_ever() {
    let (server, _stalled) = start_with_a_stalled_subscriber();
    server.signal("TERM");
    server.wait_for_log("shutdown: out of time, undelivered_bytes=");
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn connections_end_without_a_close_frame_or_with_one() {
    for (way, code) in [("drop", None), ("frame", Some(1001))] {
        let server = Server::start(&["--shutdown-close", way]);
        let mut client = server.client();
        // One that has not said anything is not left without an answer.
        let mut silent = server.connect();
        server.signal("TERM");
        match code {
            Some(code) => {
                assert_eq!(client.close_code(), code);
                // The answer, and the end of both halves.
                while client.socket.read().is_ok() {}
            }
            None => {
                let mut rest = Vec::new();
                let _ = client.socket.get_mut().read_to_end(&mut rest);
                assert_eq!(rest, b"");
            }
        }
        // It may have come just too late to be accepted.
        if let Ok(1..) = silent.peek(&mut [0]) {
            assert_eq!(answer(&mut silent).0, 503);
        }
        let (status, summary) = server.wait();
        assert_eq!(status.code(), Some(0), "{summary}");
        assert_eq!(counted(&summary, "closed.shutdown"), 1, "{summary}");
    }
}

#[test]
fn nobody_is_let_in_on_the_way_down() {
    let (server, _stalled) = start_with_a_stalled_subscriber();
    let mut waiting = server.connect();
    // It is in: its request's first half was not refused.
    use std::io::Write;
    let head = upgrade(&Server::target(), "");
    waiting.write_all(&head.as_bytes()[..20]).expect("sent");
    server.client().settle();
    server.signal("TERM");
    server.wait_for_log("shutdown: begins");
    assert_eq!(answer(&mut waiting).0, 503);
    assert!(std::net::TcpStream::connect(server.address).is_err());
    server.wait();
}
