//! Publishers, and strangers at the publishers' port, that send too much, too large, in too many parts,
//! or nothing that makes sense. Messages that are not events are counted, and the events of other publishers arrive.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use kit::hostile::{SLACK_BYTES, Witness, entry, reset};
use kit::observe::{envelope, publish_all};
use kit::{Server, wait_until, zmtp};

/// What libzmq's own thread may hold of messages of one publisher that have not been taken in.
const QUEUE_MESSAGES: usize = 1_000;

/// `bytes` of messages that are no events, of all sizes.
fn send_garbage(bytes: usize) {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let mut random = 3_u32;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .collect();
    let mut count = 0;
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let (context, socket) = server.publisher();
            let (mut sent, mut count) = (0, 0_u64);
            while sent < bytes {
                let from = (count * 7_919 % 100_000) as usize;
                let len = [1, 10, 100, 1_000, 10_000, 100_000][count as usize % 6];
                socket.send(&noise[from..from + len], 0).expect("taken");
                sent += len;
                count += 1;
            }
            drop((socket, context));
            count
        });
        while !sent.is_finished() {
            witness.check();
        }
        count = sent.join().expect("no panic");
    });
    wait_until("all has been taken in", || {
        entry(&server.now(), "ingested") == count + witness.heard()
    });
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES + QUEUE_MESSAGES * 20_000, "{grown}");
    server.assert_idle();
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "events"), witness.heard());
    // Some byte may happen to be a digit.
    let bad = entry(&books, "dropped.bad_json") + entry(&books, "dropped.no_topic");
    assert_eq!(bad, count);
}

#[test]
fn garbage_in_many_messages_is_counted() {
    send_garbage(20_000_000);
}

#[test]
#[ignore = "half a gigabyte of garbage"]
fn half_a_gigabyte_of_garbage_is_counted() {
    send_garbage(500_000_000);
}

/// Over 64 MiB libzmq ends the publisher's connection; over `event-bytes-max` it is dropped.
#[test]
fn one_message_that_is_far_too_large_takes_no_memory_for_long() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    // Announced, and then sent as long as anybody takes it.
    let mut stream = zmtp::connect(&server);
    let mut head = vec![0x02];
    head.extend(100_000_000_u64.to_be_bytes());
    stream.write_all(&head).expect("open");
    let piece = vec![b' '; 1 << 20];
    let sent = (0..100).take_while(|_| stream.write_all(&piece).is_ok());
    let sent = sent.count();
    assert!(sent < 100, "nobody stopped it");
    witness.check();
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown}");

    publish_all(
        &server.pull,
        [envelope(
            "witness",
            &format!("\"{}\"", "x".repeat(60 << 20)),
        )],
    );
    wait_until("it is dropped", || {
        entry(&server.now(), "dropped.too_large") == 1
    });
    witness.check();
    let left = server.resident_bytes().saturating_sub(before);
    assert!(left < SLACK_BYTES, "{left}");
    // Announced, and never sent: what has not come costs nothing that is ever touched.
    let announced: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = zmtp::connect(&server);
            let mut head = vec![0x02];
            head.extend((60_u64 << 20).to_be_bytes());
            stream.write_all(&head).expect("open");
            stream.write_all(b"{").expect("open");
            stream
        })
        .collect();
    witness.check();
    let left = server.resident_bytes().saturating_sub(before);
    assert!(left < SLACK_BYTES, "{left}");
    drop(announced);
    witness.check();
    server.stop_and_balance();
}

#[test]
fn a_message_of_very_many_parts_is_one_dropped_message() {
    // In libzmq, 64 bytes each: far more than the slack.
    const PARTS: usize = 500_000;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let parts = (0..PARTS).map(|_| "witness");
    let (context, socket) = server.publisher();
    socket.send_multipart(parts, 0).expect("taken");
    socket
        .send_multipart(["witness", "\"two parts\""], 0)
        .expect("taken");
    drop((socket, context));
    witness.check_other("\"two parts\"");
    witness.check();
    wait_until("its memory has come back", || {
        server.resident_bytes() < before + SLACK_BYTES
    });
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "dropped.parts"), 1);
}

/// A POST that a page can make a browser send. For ZMTP 1.0, whose frames begin with a length and a byte of
/// flags, the body is many short messages, and then one with an event.
fn http_request(filling: usize) -> Vec<u8> {
    let event = envelope("t", "\"by a page\"");
    let mut body = vec![0x02; filling];
    body.extend([event.len() as u8 + 1, 0]);
    body.extend(event.bytes());
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:5555\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// A publisher of ZMTP 2.0 as bytes: greeting of a PUSH socket without identity, and a message.
fn zmtp_2(message: &str) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 1, 8, 0, 0];
    bytes.extend([0, message.len() as u8]);
    bytes.extend(message.bytes());
    bytes
}

#[test]
fn a_web_page_cannot_publish_and_neither_can_old_libzmq_unless_it_is_allowed() {
    const FILLINGS: std::ops::Range<usize> = 600..603;
    let send = |server: &Server, bytes: &[u8]| {
        let address = server.pull.trim_start_matches("tcp://");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(bytes).expect("open");
        stream
    };
    // libzmq by itself takes both.
    let server = Server::start(&["--pull-zmtp", "any"]);
    let mut client = server.subscriber(&["t"]);
    let pages: Vec<_> = FILLINGS
        .map(|filling| send(&server, &http_request(filling)))
        .collect();
    assert_eq!(client.text(), "[8,\"t\",\"by a page\"]");
    drop(pages);
    let old = send(&server, &zmtp_2(&envelope("t", "\"old\"")));
    while client.text() != "[8,\"t\",\"old\"]" {}
    drop(old);
    server.stop();

    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t"]);
    let mut strangers: Vec<_> = FILLINGS
        .map(|filling| send(&server, &http_request(filling)))
        .collect();
    strangers.push(send(&server, &zmtp_2(&envelope("t", "\"old\""))));
    let refused = "newswire_refused_peers_total{reason=\"wrong_protocol\"}";
    wait_until("all are refused", || {
        server.metric(refused) == strangers.len() as f64
    });
    server.wait_for_log("refused: peer endpoint=tcp://127.0.0.1:");
    publish_all(&server.pull, [envelope("t", "\"good\"")]);
    assert_eq!(client.text(), "[8,\"t\",\"good\"]");
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "ingested"), 1);
    assert_eq!(entry(&books, "refused_peer.wrong_protocol"), 4);
}

/// The host of the first one has lost power, as far as newswire can tell.
#[test]
fn a_publisher_that_answers_no_ping_is_dropped_and_one_that_does_stays() {
    const PING_BYTES: usize = 9;
    // The answers of `alive` have 2.4 s to come, however busy the machine is.
    let server = Server::start(&["--publisher-timeout", "3"]);
    let mut client = server.subscriber(&["t"]);
    let mut alive = zmtp::connect(&server);
    let mut answers = alive.try_clone().expect("a descriptor");
    let answering = thread::spawn(move || {
        let mut ping = [0; PING_BYTES];
        while answers.read_exact(&mut ping).is_ok() {
            assert!(ping.starts_with(b"\x04\x07\x04PING"), "{ping:?}");
            if answers.write_all(b"\x04\x05\x04PONG").is_err() {
                break;
            }
        }
    });
    let mut silent = zmtp::connect(&server);
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).expect("newswire closes it");
    assert!(heard.starts_with(b"\x04\x07\x04PING"), "{heard:?}");
    let event = envelope("t", "\"alive\"");
    alive
        .write_all(&zmtp::part(event.as_bytes(), false))
        .expect("open");
    assert_eq!(client.text(), "[8,\"t\",\"alive\"]");
    server.stop();
    answering.join().expect("it only answered");
}

/// Nobody hears a part of it, and what others send meanwhile is not put between.
#[test]
fn a_publisher_that_ends_in_the_middle_of_a_message_has_said_nothing() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let event = envelope("witness", "\"never whole\"");
    for n in 0..100 {
        let mut stream = zmtp::connect(&server);
        match n % 4 {
            // In the middle of a part.
            0 => stream.write_all(&zmtp::part(event.as_bytes(), false)[..30]),
            // Between two.
            1 => stream.write_all(&zmtp::part(b"witness", true)),
            // In the second one.
            2 => {
                let mut bytes = zmtp::part(b"witness", true);
                bytes.extend(&zmtp::part(b"\"never whole\"", false)[..12]);
                stream.write_all(&bytes)
            }
            // In the middle of a part's header, behind a good message.
            _ => {
                let good = zmtp::part(envelope("nobody", "1").as_bytes(), false);
                stream.write_all(&[&good, &good[..5]].concat())
            }
        }
        .expect("open");
        witness.check();
        if n % 3 == 0 {
            reset(stream);
        }
    }
    witness.check();
    let count = || entry(&server.now(), "dropped.no_subscriber");
    wait_until("the good ones have come", || count() == 25);
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "events"), 25 + witness.heard());
}

#[test]
fn strangers_at_the_publishers_port_disturb_nobody() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let address = server.pull.trim_start_matches("tcp://");
    let mut random = 11_u32;
    for n in 0..400 {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let mut bytes: Vec<u8> = (0..1 + n * 13 % 3_000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        match n % 4 {
            0 => {}
            // As far as a greeting goes it is ZMTP.
            1 => bytes
                .splice(0..0, [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3])
                .for_each(drop),
            2 => {
                stream = zmtp::connect(&server);
            }
            _ => bytes.clear(),
        }
        let _ = stream.write_all(&bytes);
        if n % 10 == 0 {
            witness.check();
        }
    }
    witness.check();
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < 4 * SLACK_BYTES, "{grown}");
    server.assert_idle();
    let (status, text) = server.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status, 426, "{text}");
    server.stop();
}

/// Its parts are kept by libzmq until the last one has come. None of libzmq's bounds counts them, so it
/// may take all memory; what can be asked is that nobody else notices, and that it ends with its sender.
#[test]
fn a_message_without_an_end_lasts_as_long_as_its_publisher() {
    const PARTS: usize = 200;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let mut stream = zmtp::connect(&server);
    let bytes = zmtp::part(&vec![b'x'; 1 << 20], true);
    for _ in 0..PARTS {
        stream.write_all(&bytes).expect("open");
        witness.check();
    }
    drop(stream);
    wait_until("its memory has come back", || {
        witness.check();
        server.resident_bytes() < before + PARTS / 4 * (1 << 20)
    });
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "events"), witness.heard());
}

/// A publisher that cannot be let in waits in the kernel's queue. (libzmq's own thread spins meanwhile:
/// it asks for it again and again, and has no option against that.)
#[test]
fn publishers_that_find_no_file_left_wait() {
    const FILES: usize = 64;
    let server = Server::start_with_files(FILES as u32, &["--handshake-timeout", "100"]);
    let mut witness = Witness::new(&server);
    let address = server.pull.trim_start_matches("tcp://");
    let mut others = Vec::new();
    while server.files_left(FILES) > 0 {
        let before = server.files_left(FILES);
        others.push(TcpStream::connect(address).expect("it listens"));
        wait_until("it is in", || server.files_left(FILES) < before);
    }
    let (_context, socket) = server.publisher();
    socket
        .send(&envelope("witness", "\"late\""), 0)
        .expect("taken");
    for _ in 0..100 {
        witness.check();
    }
    drop(others);
    witness.check_other("\"late\"");
    server.stop();
}
