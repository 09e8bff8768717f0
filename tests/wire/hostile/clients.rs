//! Clients with a good token that do too much of something: pings, fragments, subscriptions, calls,
//! prefixes. Each is bounded, a client over a bound is closed with the right code, and
//! others are served.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kit::hostile::{SLACK_BYTES, SetOnDrop, Witness, close_code, entry, text};
use kit::raw::{Ear, Heard, frame_of};
use kit::stream::Patient;
use kit::{Server, wait_until};
use socket2::SockRef;

/// The frames that come until a ping is answered that is sent after `last`.
fn until_settled(stream: &mut TcpStream) -> Vec<Heard> {
    stream.write_all(&frame_of(0x89, b"settled")).expect("open");
    let mut ear = Ear::opened();
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        for heard in ear.by_ref() {
            if heard == Heard::Frame(0x8A, b"settled".to_vec()) {
                return all;
            }
            all.push(heard);
        }
        let n = stream.read(&mut buffer).expect("a pong");
        assert!(n > 0, "its end");
        ear.push(&buffer[..n]);
    }
}

/// In bytes, what the kernel keeps of each flood. A flood ends when the server has read all of it.
const FLOOD_BUFFER_BYTES: usize = 128 << 10;

/// Sends `frames` from each of `floods` clients, which read whatever comes, without a pause: `times` times at
/// the least, and until the witness has heard `events` events meanwhile.
fn flood(server: &Server, floods: usize, frames: &[u8], times: usize, events: u64) {
    let mut witness = Witness::new(server);
    let piece = frames.repeat(1 + (64 << 10) / frames.len());
    let pieces = (frames.len() * times).div_ceil(piece.len());
    let streams: Vec<TcpStream> = (0..floods).map(|_| server.raw_client()).collect();
    let is_enough = AtomicBool::new(false);
    let has_begun = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood_end = SetOnDrop(&is_enough);
        let mut ends = Vec::new();
        for stream in &streams {
            SockRef::from(stream)
                .set_send_buffer_size(FLOOD_BUFFER_BYTES)
                .expect("set");
            let (piece, is_enough, has_begun) = (&piece, &is_enough, &has_begun);
            scope.spawn(move || {
                let mut stream = stream;
                let mut sent = 0;
                while sent < pieces || !is_enough.load(Ordering::Relaxed) {
                    stream.write_all(piece).expect("open");
                    has_begun.store(true, Ordering::Relaxed);
                    sent += 1;
                }
                stream.shutdown(Shutdown::Write).expect("open");
            });
            ends.push(scope.spawn(move || {
                let mut stream = Patient(stream);
                let mut buffer = vec![0; 256 * 1024];
                loop {
                    let is_over = is_enough.load(Ordering::Relaxed);
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(_) => {}
                        // Some floods are not answered, so a read finds nothing for as long as they last.
                        Err(error) if error.kind() == ErrorKind::WouldBlock && !is_over => {}
                        Err(error) => panic!("the server neither answers nor closes: {error}"),
                    }
                }
            }));
        }
        wait_until("the flood has begun", || has_begun.load(Ordering::Relaxed));
        // Each of these waits for its event while the floods go on: that it comes is what is tested.
        for _ in 0..events {
            witness.check();
        }
        drop(flood_end);
        while !ends.iter().all(|end| end.is_finished()) {
            witness.check();
        }
    });
}

/// All that costs a client little to send, at full speed, from four at once.
fn flood_with_everything(bytes: usize, events: u64) {
    let server = Server::start(&[]);
    let before = server.resident_bytes();
    let messages = |message: &str| (text(message), 1);
    let fragments = [
        frame_of(0x01, b""),
        frame_of(0x00, b"").repeat(1_000),
        frame_of(0x80, b"[7,\"x\",1]"),
    ];
    let floods = [
        (frame_of(0x89, b""), 1),
        (frame_of(0x89, &[b'p'; 125]), 1),
        (frame_of(0x8A, b""), 1),
        messages("[2,\"\",\"x\"]"),
        messages("[7,\"x\",1]"),
        messages("[1,\"x\",\"y\"]"),
        ([text("[5,\"x\"]"), text("[6,\"x\"]")].concat(), 2),
        (fragments.concat(), 1_000),
    ];
    for (frames, _) in &floods {
        flood(&server, 4, frames, bytes / frames.len(), events);
    }
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown}");
    server.wait_for_connections(0);
    server.assert_idle();
    let books = server.stop_and_balance();
    assert!(entry(&books, "pings_received") >= 8 * (bytes / 131) as u64);
    assert!(entry(&books, "calls") > 0 && entry(&books, "client_publishes") > 0);
    assert_eq!(entry(&books, "closed.slow_consumer"), 0, "{books:?}");
}

#[test]
fn floods_of_small_messages_starve_nobody() {
    flood_with_everything(1_000_000, 5);
}

#[test]
#[ignore = "half a gigabyte of small messages"]
fn long_floods_of_small_messages_starve_nobody() {
    flood_with_everything(15_000_000, 10);
}

/// A ping flood whose pongs nobody reads, and a flood of fragments without an end.
#[test]
fn floods_without_reading_are_bounded() {
    let server = Server::start(&[
        "--close-timeout",
        "1",
        "--outbox-bytes-max",
        "64KiB",
        "--event-bytes-max",
        "1000",
    ]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    // Each CALL is answered thirty times as long as it is.
    let long = "http://example.com/".repeat(26);
    let prefix = text(&format!("[1,\"p\",{long:?}]"));
    let calls = text("[2,\"\",\"p:\"]").repeat(5_000);
    let mut caller = server.raw_client();
    caller.write_all(&prefix).expect("open");
    let mut pinger = server.raw_client();
    let pings = frame_of(0x89, &[b'p'; 125]).repeat(2_000);
    let mut fragments = server.raw_client();
    fragments.write_all(&frame_of(0x01, b" ")).expect("open");
    let empty = frame_of(0x00, b"").repeat(10_000);
    for stream in [&caller, &pinger] {
        stream.set_nonblocking(true).expect("set");
    }
    let (mut called, mut pinged) = (0, 0);
    for _ in 0..100 {
        // What its kernel does not take is not sent.
        let rest = &calls[called % calls.len()..];
        called += caller.write(rest).unwrap_or(0);
        let mut rest = &pings[pinged % 131..];
        while let Ok(n) = pinger.write(rest) {
            pinged += n;
            rest = &rest[n..];
            if rest.is_empty() {
                break;
            }
        }
        fragments.write_all(&empty).expect("open");
        witness.check();
    }
    // The caller is not read any further since it does not take its answers. The pinger is owed one pong,
    // and what its socket did not take of those before.
    let books = server.now();
    let calls_sent = entry(&books, "calls");
    assert!((1..20_000).contains(&calls_sent), "{books:?}");
    assert!(entry(&books, "outboxes_bytes") < 512 << 10, "{books:?}");
    assert_eq!(entry(&books, "closed.slow_consumer"), 0, "{books:?}");
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown}");
    // The million fragments are one message.
    fragments
        .write_all(&frame_of(0x80, b"[7,\"x\",1]"))
        .expect("open");
    assert_eq!(until_settled(&mut fragments), []);
    assert_eq!(entry(&server.now(), "client_publishes"), 1);
    drop((caller, pinger, fragments));
    witness.check();
    server.wait_for_connections(1);
    server.stop_and_balance();
}

/// A CALL of `len` bytes, and how it is answered.
fn call(len: usize) -> (Vec<u8>, Heard) {
    let id = "i".repeat(len - 10);
    let answer = format!("[4,\"{id}\",\"x\",\"You are not allowed to make calls\"]");
    let message = format!("[2,\"{id}\",\"x\"]");
    assert_eq!(message.len(), len);
    (
        message.into_bytes(),
        Heard::Frame(0x81, answer.into_bytes()),
    )
}

#[test]
fn a_message_of_exactly_the_bound_is_understood_in_every_form() {
    const MAX: usize = 64 << 10;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let (fits, answer) = call(MAX);
    let (over, _) = call(MAX + 1);
    let fragmented = |message: &[u8], size: usize| {
        let count = message.len().div_ceil(size);
        let pieces = message.chunks(size).enumerate().map(|(n, piece)| {
            let first = if n == 0 { 0x01 } else { 0x00 };
            let last = if n + 1 == count { 0x80 } else { 0x00 };
            // A ping may come between two of them.
            [frame_of(first | last, piece), frame_of(0x89, b"")].concat()
        });
        pieces.collect::<Vec<_>>().concat()
    };
    let mut forms = vec![(frame_of(0x81, &fits), frame_of(0x81, &over))];
    for size in [1, 2, 7, 1_000, MAX - 1, MAX] {
        forms.push((fragmented(&fits, size), fragmented(&over, size)));
    }
    // The last fragment may be empty.
    let end = frame_of(0x80, b"");
    forms.push((
        [frame_of(0x01, &fits), end.clone()].concat(),
        [frame_of(0x01, &over), end].concat(),
    ));
    let count = forms.len() as u64;
    for (fits, over) in forms {
        let mut stream = server.raw_client();
        stream.write_all(&fits).expect("open");
        let mut heard = until_settled(&mut stream);
        heard.retain(|heard| *heard != Heard::Frame(0x8A, Vec::new()));
        assert!(heard == [answer.clone()]);
        let _ = stream.write_all(&over);
        assert_eq!(close_code(&mut stream), Some(1009));
        witness.check();
    }
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.message_too_large"), count);
    assert_eq!(entry(&books, "calls"), 1 + count);
}

/// Memory is taken for bytes that have come, not for those that were announced, and only while their
/// message is under way.
#[test]
fn unfinished_messages_cost_what_has_come_of_them() {
    const CLIENTS: usize = 300;
    const MAX: usize = 64 << 10;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut streams: Vec<TcpStream> = (0..CLIENTS).map(|_| server.raw_client()).collect();
    let start = server.resident_bytes();
    let message = frame_of(0x81, &[b' '; MAX]);
    for stream in &mut streams {
        stream.write_all(&message[..20]).expect("open");
        witness.check();
    }
    let grown = server.resident_bytes().saturating_sub(start);
    assert!(grown < 4 << 20, "{grown} for what was announced");
    let tail = 100;
    for stream in &mut streams {
        let upto = message.len() - tail;
        stream.write_all(&message[20..upto]).expect("open");
        witness.check();
    }
    let grown = server.resident_bytes().saturating_sub(start);
    assert!(grown < CLIENTS * MAX + SLACK_BYTES, "{grown}");
    // Spaces alone are no message.
    for stream in &mut streams {
        stream
            .write_all(&message[message.len() - tail..])
            .expect("open");
        assert_eq!(close_code(stream), Some(1007));
    }
    drop(streams);
    server.wait_for_connections(1);
    // A thread gives it back.
    wait_until("the memory is back when all are gone", || {
        server.resident_bytes().saturating_sub(start) < SLACK_BYTES
    });
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.bad_message"), CLIENTS as u64);
}

/// The same in fragments, of which none says how long the message will be. Buffers that grow together
/// leave little behind.
#[test]
fn fragments_without_an_end_cost_what_has_come_of_them() {
    const CLIENTS: usize = 300;
    const FRAGMENT: usize = 1_000;
    const MAX: usize = 64 << 10;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut streams: Vec<TcpStream> = (0..CLIENTS).map(|_| server.raw_client()).collect();
    let start = server.resident_bytes();
    for n in 0..MAX / FRAGMENT {
        let first = if n == 0 { 0x01 } else { 0x00 };
        let fragment = frame_of(first, &[b' '; FRAGMENT]);
        for stream in &mut streams {
            stream.write_all(&fragment).expect("open");
        }
        witness.check();
    }
    for stream in &mut streams {
        assert_eq!(until_settled(stream), []);
    }
    let grown = server.resident_bytes().saturating_sub(start);
    assert!(grown < CLIENTS * MAX * 5 / 4 + SLACK_BYTES / 2, "{grown}");
    drop(streams);
    server.wait_for_connections(1);
    server.stop_and_balance();
}

#[test]
fn who_wants_too_many_subscriptions_loses_all_and_costs_nothing() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    for _ in 0..20 {
        let mut stream = server.raw_client();
        let wanted: Vec<u8> = (0..5_000)
            .flat_map(|n| text(&format!("[5,\"topic {n}\"]")))
            .collect();
        let _ = stream.write_all(&wanted);
        assert_eq!(close_code(&mut stream), Some(1008));
        witness.check();
    }
    server.wait_for_connections(1);
    let books = server.now();
    assert_eq!(
        (entry(&books, "topics"), entry(&books, "subscriptions")),
        (1, 1)
    );
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.limit"), 20);
    assert_eq!(entry(&books, "subscribes"), 1 + 20 * 1_000);
}

/// `clients` that have 1,000 topics of their own each, at the same time, and `rounds` of that.
fn name_topics(clients: usize, rounds: usize) {
    const EACH: usize = 1_000;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut peaks = Vec::new();
    let start = server.resident_bytes();
    for round in 0..rounds {
        let mut streams: Vec<TcpStream> = (0..clients).map(|_| server.raw_client()).collect();
        for (n, stream) in streams.iter_mut().enumerate() {
            let name = |topic| format!("http://example.com/round/{round}/client/{n}/topic/{topic}");
            let wanted: Vec<u8> = (0..EACH)
                .flat_map(|topic| text(&format!("[5,{:?}]", name(topic))))
                .collect();
            stream.write_all(&wanted).expect("open");
            assert_eq!(until_settled(stream), []);
            witness.check();
        }
        let books = server.now();
        assert_eq!(entry(&books, "topics"), (clients * EACH + 1) as u64);
        for (n, stream) in streams.iter_mut().enumerate() {
            // One half takes leave of each topic, the other just leaves.
            if n % 2 == 0 {
                let name =
                    |topic| format!("http://example.com/round/{round}/client/{n}/topic/{topic}");
                let unwanted: Vec<u8> = (0..EACH)
                    .flat_map(|topic| text(&format!("[6,{:?}]", name(topic))))
                    .collect();
                stream.write_all(&unwanted).expect("open");
                assert_eq!(until_settled(stream), []);
            }
            witness.check();
        }
        drop(streams);
        server.wait_for_connections(1);
        let books = server.now();
        assert_eq!(
            (entry(&books, "topics"), entry(&books, "subscriptions")),
            (1, 1)
        );
        peaks.push(server.peak_bytes());
        // Beside the names themselves there is what finds them, and allocators give back late.
        let grown = peaks[round] - start;
        assert!(grown < SLACK_BYTES + clients * EACH * 250, "{grown}");
        // A thread gives it back.
        wait_until("the memory of the topics is given back", || {
            let left = server.resident_bytes().saturating_sub(start);
            left < SLACK_BYTES + clients * EACH * 140
        });
    }
    let grown = peaks[rounds - 1] - peaks[0];
    assert!(grown < SLACK_BYTES + peaks[0] / 4, "{peaks:?}");
    server.stop_and_balance();
}

#[test]
fn topics_that_nobody_wants_any_more_are_forgotten() {
    name_topics(50, 3);
}

#[test]
#[ignore = "a million topics at a time"]
fn a_million_topics_that_nobody_wants_any_more_are_forgotten() {
    name_topics(1_000, 2);
}

/// One client, and a new name each time, so that a million have been there and few at a time.
#[test]
fn names_that_come_and_go_leave_no_memory_behind() {
    const NAMES: usize = 40_000;
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut stream = server.raw_client();
    let mut before = 0;
    for block in 0..NAMES / 500 {
        let frames: Vec<u8> = (0..500)
            .flat_map(|n| {
                let name = format!("{} {}", block * 500 + n, "x".repeat(100));
                [
                    text(&format!("[5,{name:?}]")),
                    text(&format!("[6,{name:?}]")),
                ]
                .concat()
            })
            .collect();
        stream.write_all(&frames).expect("open");
        if block % 20 == 0 {
            witness.check();
        }
        if block == 20 {
            before = server.resident_bytes();
        }
    }
    assert_eq!(until_settled(&mut stream), []);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown}");
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "unsubscribes"), NAMES as u64);
}

#[test]
fn prefixes_are_bounded_in_number_and_length() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    // The same ones, over and over, are no more.
    let mut stream = server.raw_client();
    for round in 0..500 {
        let frames: Vec<u8> = (0..32)
            .flat_map(|n| text(&format!("[1,\"p{n}\",\"{round} {}\"]", "u".repeat(400))))
            .collect();
        stream.write_all(&frames).expect("open");
    }
    assert_eq!(until_settled(&mut stream), []);
    stream
        .write_all(&text("[1,\"one more\",\"u\"]"))
        .expect("open");
    assert_eq!(close_code(&mut stream), Some(1008));
    let mut stream = server.raw_client();
    let long = text(&format!("[1,\"p\",\"{}\"]", "u".repeat(60_000)));
    stream.write_all(&long).expect("open");
    assert_eq!(close_code(&mut stream), Some(1008));
    // What a prefix makes of a name is bounded as the name is.
    let mut stream = server.raw_client();
    let long = text(&format!("[1,\"p\",\"{}\"]", "u".repeat(511)));
    stream
        .write_all(&[long, text("[5,\"p:a\"]"), text("[5,\"p:ab\"]")].concat())
        .expect("open");
    assert_eq!(close_code(&mut stream), Some(1008));
    witness.check();
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown}");
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.limit"), 3);
    assert_eq!(entry(&books, "subscribes"), 2);
}

/// What a parser could choke on: depth, escapes, numbers, and bytes without any sense.
#[test]
fn senseless_messages_end_their_sender_only() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let deep = "[".repeat(60_000);
    let nested = format!(
        "[2,\"id\",\"x\",{}{}]",
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    let objects = format!(
        "[7,\"t\",{}1{}]",
        "{\"a\":".repeat(9_000),
        "}".repeat(9_000)
    );
    let good = [
        nested.as_str(),
        &objects,
        "[7,\"t\",1e999999]",
        "[7,\"t\",-0]",
        "[7,\"t\",\"\\u0000\"]",
    ];
    let digits = format!("[5,{}]", "9".repeat(60_000));
    let bad = [
        (deep.as_str(), 1007),
        (&objects[..objects.len() / 2], 1007),
        ("[5,\"\\ud800\"]", 1007),
        ("[5,\"\\u12\"]", 1007),
        ("[5,NaN]", 1007),
        ("[5 \"t\"]", 1007),
        ("[5,\"t\"]]", 1007),
        ("[184467440737095516165,\"t\"]", 1007),
        ("[-5,\"t\"]", 1007),
        ("[05,\"t\"]", 1007),
        (&digits, 1008),
        ("", 1007),
        ("\u{FEFF}[5,\"t\"]", 1007),
    ];
    for message in good {
        let mut stream = server.raw_client();
        stream.write_all(&text(message)).expect("open");
        until_settled(&mut stream);
    }
    for (message, code) in bad {
        let mut stream = server.raw_client();
        stream.write_all(&text(message)).expect("open");
        let shown = &message[..message.len().min(40)];
        assert_eq!(close_code(&mut stream), Some(code), "{shown}");
        witness.check();
    }
    // Noise instead of frames: each ends for a reason, or waits for more.
    let mut random = 7_u32;
    for _ in 0..300 {
        let mut stream = server.raw_client();
        let noise: Vec<u8> = (0..500)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(Shutdown::Write);
        let code = close_code(&mut stream);
        assert!(matches!(code, None | Some(1002 | 1007 | 1009)), "{code:?}");
        witness.check();
    }
    server.wait_for_connections(1);
    server.stop_and_balance();
}
