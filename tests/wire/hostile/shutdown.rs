//! SIGTERM at the worst moments: the server ends with code 0 within its time-out, and delivers every event that it can.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use kit::hostile::{Witness, books, dial, entry, narrow, text};
use kit::observe::{envelope, event_frame, hear, publish_all, upgrade};
use kit::raw::frame_of;
use kit::{Server, TOKEN, wait_until};
use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};

/// The end of a server that was told to: with code 0, and its books.
fn end(server: Server) -> std::collections::BTreeMap<String, u64> {
    let (status, summary) = server.wait();
    assert_eq!(status.code(), Some(0), "{summary}");
    let books = books(&summary);
    let closed: u64 = books
        .iter()
        .filter(|(name, _)| name.starts_with("closed."))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(closed, entry(&books, "connections"), "{summary}");
    books
}

/// Everybody is somewhere between the connection and the first event. Nobody is left without an end.
#[test]
fn in_the_middle_of_a_herd() {
    const HERD: usize = 2_000;
    for way in ["drop", "frame"] {
        let server = Server::start(&["--shutdown-timeout", "3", "--shutdown-close", way]);
        let request = upgrade(&format!("/?token={TOKEN}"), "");
        let mut fleet = Fleet::new(Course {
            address: server.address,
            request: request.into_bytes(),
            topics: vec!["t".to_owned()],
        })
        .expect("a poller");
        let (mut opened, mut refused) = (0, 0);
        let mut is_told = false;
        let (_context, publisher) = server.publisher();
        // It may be left with what nobody takes any more.
        publisher.set_linger(0).expect("set");
        wait_until("each has an answer", || {
            while fleet.len() < HERD {
                fleet.add().expect("a socket");
            }
            fleet
                .poll(Some(Duration::from_millis(10)), |_, what| match what {
                    FleetEvent::Opened => opened += 1,
                    FleetEvent::Text(..) | FleetEvent::Ended(None) => {}
                    // 0: it was in the kernel's queue, and got a reset.
                    FleetEvent::Ended(Some(0 | 503)) => refused += 1,
                    other @ FleetEvent::Ended(_) => panic!("{other:?}"),
                })
                .expect("polled");
            let _ = publisher.send(&envelope("t", "1"), zmq::DONTWAIT);
            if opened > HERD / 10 && !is_told {
                is_told = true;
                server.signal("TERM");
            }
            opened + refused == HERD
        });
        let books = end(server);
        assert!(entry(&books, "handshakes") >= opened as u64, "{books:?}");
    }
}

/// An event is on its way through its members when the signal comes: all of them hear it.
#[test]
fn in_the_middle_of_a_walk() {
    const MEMBERS: usize = 300;
    let server = Server::start(&["--shutdown-timeout", "20"]);
    let data = format!("\"{}\"", "x".repeat(1_500_000));
    let frame = event_frame("t", &data);
    let mut members: Vec<TcpStream> = (0..MEMBERS)
        .map(|_| server.raw_subscriber(&["t"]))
        .collect();
    publish_all(
        &server.pull,
        [envelope("t", &data), envelope("t", "\"last\"")],
    );
    // The first has some of it, and the last has a long way to go.
    members[0].read_exact(&mut [0; 1]).expect("its beginning");
    server.signal("TERM");
    let last = event_frame("t", "\"last\"");
    let mut first = true;
    for member in &mut members {
        let from = usize::from(std::mem::take(&mut first));
        hear(member, &frame[from..]);
        hear(member, &last);
    }
    // Nothing but the end comes behind that.
    for member in &mut members {
        assert!(matches!(member.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    let books = end(server);
    assert_eq!(entry(&books, "deliveries"), 2 * MEMBERS as u64);
    assert_eq!(entry(&books, "closed.shutdown"), MEMBERS as u64);
}

/// Nobody reads, nobody answers, and somebody talks without a pause.
#[test]
fn with_all_clients_stalled() {
    const CLIENTS: usize = 100;
    for way in ["drop", "frame"] {
        let server = Server::start(&["--shutdown-timeout", "1", "--shutdown-close", way]);
        let stalled: Vec<TcpStream> = (0..CLIENTS)
            .map(|_| {
                let stream = server.raw_subscriber(&["t"]);
                narrow(&stream);
                stream
            })
            .collect();
        let silent: Vec<TcpStream> = (0..CLIENTS).map(|n| dial(server.address, n)).collect();
        let mut witness = server.raw_subscriber(&["t"]);
        let data = format!("\"{}\"", "x".repeat(1_000_000));
        publish_all(&server.pull, (0..5).map(|_| envelope("t", &data)));
        hear(&mut witness, &event_frame("t", &data).repeat(5));
        thread::scope(|scope| {
            for stream in &stalled[..4] {
                scope.spawn(move || {
                    let mut stream = stream;
                    let pings = [frame_of(0x89, b"x"), text("[2,\"\",\"x\"]")]
                        .concat()
                        .repeat(1_000);
                    // Until it is cut off, or not read any more for good.
                    stream
                        .set_write_timeout(Some(Duration::from_secs(5)))
                        .expect("set");
                    while stream.write_all(&pings).is_ok() {}
                });
            }
            server.signal("TERM");
            server.wait_for_log("shutdown: out of time, undelivered_bytes=");
            let books = end(server);
            assert!(
                entry(&books, "closed.shutdown") >= CLIENTS as u64 - 4,
                "{books:?}"
            );
        });
        drop((stalled, silent, witness));
    }
}

/// Clients that have been refused or closed, and do not end their half, are no reason to wait.
#[test]
fn with_everybody_on_the_way_out() {
    let server = Server::start(&["--close-timeout", "100", "--shutdown-timeout", "2"]);
    let mut witness = Witness::new(&server);
    let mut leaving: Vec<TcpStream> = (0..50).map(|_| server.raw_client()).collect();
    for (n, stream) in leaving.iter_mut().enumerate() {
        let last = match n % 3 {
            0 => frame_of(0x88, &1000_u16.to_be_bytes()),
            1 => text("nonsense"),
            _ => text("[5,\"t\"]"),
        };
        stream.write_all(&last).expect("open");
    }
    let mut refused: Vec<TcpStream> = (0..50).map(|n| dial(server.address, n)).collect();
    for stream in &mut refused {
        stream.write_all(b"nonsense\r\n\r\n").expect("open");
    }
    let half: Vec<TcpStream> = (0..50).map(|n| dial(server.address, n)).collect();
    for stream in &half {
        stream.shutdown(Shutdown::Write).expect("open");
    }
    witness.check();
    wait_until("they are on the way out", || {
        let books = server.now();
        entry(&books, "closed.refused") == 50
            && entry(&books, "closed.peer_closed") == 17
            && entry(&books, "closed.bad_message") == 17
            && entry(&books, "closed.probe") == 50
    });
    server.signal("TERM");
    let books = end(server);
    assert_eq!(entry(&books, "closed.shutdown"), 16 + 1, "{books:?}");
    drop((leaving, refused));
}

/// Signals of all kinds, again and again, while it serves: they are counted, not feared.
#[test]
fn summaries_without_a_pause_are_no_nuisance() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    for _ in 0..200 {
        server.signal("USR1");
        witness.check();
    }
    server.assert_idle();
    witness.check();
    server.signal("TERM");
    end(server);
}
