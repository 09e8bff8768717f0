//! Strangers: clients that have not shown a token yet. Each takes a place for as long as a handshake may take and gets an
//! answer that says what was wrong, and no other client notices them.
//!
//! # Which input is bounded by which limit
//! The files of this folder belong together. This table says what others send, which limit of
//! `limits.rs` (or which option) bounds it, and which test holds it.
//!
//! | input | bound | test |
//! |---|---|---|
//! | connections | `connections-max`, `ROOM_MILLISECONDS_MIN`, `TURN_ACCEPTS_MAX` | `thousands_that_say_nothing_are_given_up` |
//! | bytes of a head | `head-bytes-max`, `HEADERS_MAX` | `heads_without_an_end_are_refused_and_not_kept` |
//! | time of a head | `handshake-timeout` | `many_requests_that_come_byte_by_byte_are_given_up` |
//! | bytes behind a head | `head-bytes-max`, `TURN_READ_COST` | `what_comes_behind_the_heads_is_within_the_budget_too` (engine) |
//! | connections that come and go | `TURN_LEAVES_MAX`, `REAP_LEAVES` | `who_comes_and_goes_at_full_speed_leaves_nothing_behind` |
//! | readable connections at a time | `FIRST_SHARE_BYTES`, `TURN_READ_COST` | `those_who_say_one_thing_do_not_wait_for_those_who_never_pause` (engine) |
//! | messages and bytes of clients | `SHARE_BYTES`, `TURN_READ_COST` | `floods_of_small_messages_starve_nobody` |
//! | one message | `message-bytes-max` | `a_message_of_exactly_the_bound_is_understood_in_every_form` |
//! | fragments | `message-bytes-max` (`wire/growth.rs`) | `fragments_without_an_end_cost_what_has_come_of_them` |
//! | answers that a client asks for | `ANSWERS_OWED_BYTES_MAX`, `READ_PIECE_BYTES` | `floods_without_reading_are_bounded` |
//! | pings that a client sends | one answer is owed | `floods_without_reading_are_bounded` |
//! | subscriptions | `subscriptions-max`, `topic-bytes-max` | `who_wants_too_many_subscriptions_loses_all_and_costs_nothing` |
//! | subscriptions that end at a time | `TURN_LEAVES_MAX` | `a_crowd_that_leaves_at_once_is_freed_turn_by_turn` (engine) |
//! | sessions that end at a time | `TURN_PLACES_MAX`, `END_PLACES` | `those_who_end_together_end_turn_by_turn` (engine) |
//! | topics that publishers are asked for | `SUB_TOPICS_MAX`, `SUB_TOPIC_BYTES_MAX`, `SUB_CHANGES_MAX`, `TURN_TOPIC_BYTES_MAX` | `beyond_the_bound_of_names_everything_comes_and_is_filtered_here` |
//! | prefixes | `PREFIXES_MAX`, `TOPIC_BYTES_MAX` | `prefixes_are_bounded_in_number_and_length` |
//! | events that one client does not read | `outbox-bytes-max` | `fifty_megabytes_for_those_who_do_not_read` |
//! | clients that come over that bound at a time | `TURN_DISCONNECTS_MAX` | `those_who_are_too_slow_together_end_turn_by_turn` (engine) |
//! | events that all clients do not read | `outboxes-bytes-max`, `STALLED_SECONDS` | `callers_that_do_not_read_cost_an_honest_reader_nothing` |
//! | kept events that clients ask for at a time | `TURN_REPLAY_BYTES_MAX`, `REPLAY_COST_BYTES`, `REPLAY_TOPIC_BYTES` | `however_many_ask_for_everything_a_turn_is_not_longer_and_live_events_leave_in_it` (engine) |
//! | kept events that one client asks for again and again | one place on the list, `REPLAY_STEP_BYTES` | `who_asks_again_and_again_has_no_larger_share` (engine) |
//! | kept events that a client asks for and does not read | `REPLAY_OWED_BYTES_MAX` | `who_asks_for_everything_and_reads_nothing_is_sent_no_more` |
//! | topics whose kept events a client waits for | `subscriptions-max` | `topics_that_are_still_replayed_count_as_subscriptions` (engine) |
//! | events that are kept | `history-bytes-max`, `TOPIC_HISTORY_EVENTS_MAX` | `all_kept_events_together_are_bounded_and_the_oldest_are_forgotten` |
//! | kept events that become too old together | `TURN_KEPT_DROPS_MAX` | `events_that_become_too_old_together_are_dropped_turn_by_turn` (engine) |
//! | kept events that other rules keep no more | `TURN_KEPT_DROPS_MAX`, `TOPIC_RULE_COST` | `what_other_rules_do_not_keep_goes_turn_by_turn` (engine) |
//! | topics of which the server has missed events | `GAP_TOPICS_MAX`, `GAP_PLACES`, `TURN_PLACES_MAX` | `missed_events_of_very_many_topics_are_told_turn_by_turn` (engine) |
//! | events that a rule drops for one client | `outbox-bytes-max` | `a_rule_drops_the_oldest_events_for_who_does_not_read` |
//! | clients that read again together | `TURN_PAYMENT_BYTES_MAX`, `PAYMENT_BYTES_MIN` | `those_who_wake_up_together_starve_nobody` |
//! | silence | `ping-interval`, `ping-timeout`, `TURN_EXPIRIES_MAX` | `a_slow_client_that_takes_bytes_is_not_taken_for_dead` (engine) |
//! | events of publishers | `TURN_EVENTS_MAX`, `TURN_EVENT_BYTES_MAX`, `PENDING_BYTES_MAX` | `a_publisher_that_never_pauses_is_heard_by_all` |
//! | one part of a publisher's message | `PUBLISHER_MESSAGE_BYTES_MAX` | `one_message_that_is_far_too_large_takes_no_memory_for_long` |
//! | writes of events | `TURN_WRITES_MAX`, `TURN_WRITE_BYTES_MAX` | `a_large_event_does_not_hold_up_small_ones` |

mod clients;
mod crowds;
mod publishers;
mod readers;
mod replays;
mod shutdown;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use kit::hostile::{Witness, dial, entry, reset, text};
use kit::observe::{answer, upgrade};
use kit::{Server, wait_until};

/// What has come, if anything: the beginning of an answer, or the end.
fn peek(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let came = match stream.peek(&mut [0]) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).expect("set");
    came
}

#[test]
fn many_requests_that_come_byte_by_byte_are_given_up() {
    const STRANGERS: usize = 400;
    let server = Server::start(&["--handshake-timeout", "1"]);
    let mut witness = Witness::new(&server);
    let head = upgrade(&Server::target(), &"Cookie: a=b\r\n".repeat(40));
    let mut strangers: Vec<TcpStream> = (0..STRANGERS).map(|n| dial(server.address, n)).collect();
    let mut ended = 0;
    let mut bytes = head.bytes();
    wait_until("all are given up", || {
        let byte = [bytes.next().expect("not the whole request")];
        strangers.retain_mut(|stream| {
            if !peek(stream) {
                // It may be given up just now.
                let _ = stream.write_all(&byte);
                return true;
            }
            assert_eq!(answer(stream).0, 408);
            ended += 1;
            false
        });
        witness.check();
        strangers.is_empty()
    });
    assert_eq!(ended, STRANGERS);
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "refused.timeout"), STRANGERS as u64);
}

/// Each sends a megabyte at the least if nobody stops it.
#[test]
fn heads_without_an_end_are_refused_and_not_kept() {
    let server = Server::start(&["--close-timeout", "1"]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let start = "GET / HTTP/1.1\r\n";
    let line = "X-Padding: 0123456789\r\n";
    let endless = [
        (start.to_owned(), "a".repeat(1_000)),
        (start.to_owned(), "a: b\r\n".to_owned()),
        (start.to_owned(), line.to_owned()),
        (start.to_owned(), format!("X: {}\r\n", "y".repeat(3_000))),
        (String::new(), "\r\n".to_owned()),
        (String::new(), "\n".to_owned()),
        (String::new(), "G".to_owned()),
        ("GET /".to_owned(), "%41".to_owned()),
        ("GET / HTTP/1.1\r\nX:".to_owned(), " ".to_owned()),
    ];
    for (n, (start, more)) in endless.iter().enumerate() {
        let mut stream = dial(server.address, n);
        let _ = stream.write_all(start.as_bytes());
        let piece = more.repeat(1 + 1_000 / more.len());
        // Until the server has had enough of it: then its kernel says so.
        let mut sent = 0;
        while sent < 1 << 20 && stream.write_all(piece.as_bytes()).is_ok() {
            sent += piece.len();
        }
        let (status, text) = answer(&mut stream);
        assert!(matches!(status, 400 | 413), "{start:?} {more:?}: {text}");
        witness.check();
    }
    let books = server.now();
    let refused = entry(&books, "refused.head_too_large") + entry(&books, "refused.bad_request");
    assert_eq!(refused, endless.len() as u64, "{books:?}");
    // Thousands of lines at once.
    let head = format!("{start}{}\r\n", line.repeat(5_000));
    assert_eq!(server.ask(&head).0, 413);
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown}");
    server.stop_and_balance();
}

#[test]
fn what_is_no_request_is_answered_in_http_and_ends() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut client_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    client_hello.extend((0..500).map(|n| (n * 7 + 3) as u8));
    let mut zmtp = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3];
    zmtp.resize(64, 0);
    let mut random = 1_u32;
    let mut noise = |len: usize| -> Vec<u8> {
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        // A control character first: noise that begins like a request would be waited for.
        let mut bytes = vec![1];
        bytes.extend((0..len).map(|_| next()));
        bytes
    };
    let mut cases: Vec<(Vec<u8>, &[u16])> = vec![
        (client_hello, &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[505]),
        (zmtp, &[400]),
        (vec![0; 100], &[400]),
        (text("[5,\"t\"]"), &[400]),
        (b"\x05\x01\x00".to_vec(), &[400]),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), &[400]),
        (b"GET /\r\n\r\n".to_vec(), &[400]),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &[405]),
        (b"GET / HTTP/0.9\r\n\r\n".to_vec(), &[400, 505]),
    ];
    cases.extend((0..200).map(|n| (noise(20 + 37 * n), &[400_u16][..])));
    for (n, (bytes, statuses)) in cases.iter().enumerate() {
        let mut stream = dial(server.address, n);
        let _ = stream.write_all(bytes);
        let (status, text) = answer(&mut stream);
        let shown = bytes[..bytes.len().min(40)].escape_ascii();
        assert!(statuses.contains(&status), "{shown}: {text}");
        witness.check();
    }
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "closed.refused"), cases.len() as u64);
}

/// `count` connections that say nothing.
fn say_nothing(count: usize, handshake_seconds: &str) {
    let server = Server::start(&["--handshake-timeout", handshake_seconds]);
    let mut witness = Witness::new(&server);
    let before = server.resident_bytes();
    let mut silent = Vec::new();
    for n in 0..count {
        silent.push(dial(server.address, n));
        if n % 50 == 0 {
            witness.check();
        }
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < (4 << 20) + count * 1_024, "{grown}");
    let mut status = [0; 12];
    for stream in &mut silent {
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 408");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the rest");
    }
    witness.check();
    drop(silent);
    server.client().settle();
    server.assert_idle();
    witness.check();
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "refused.timeout"), count as u64);
}

#[test]
fn thousands_that_say_nothing_are_given_up() {
    say_nothing(3_000, "3");
}

#[test]
#[ignore = "needs 15,000 descriptors on each side; ulimit -n has to allow that"]
fn fifteen_thousand_that_say_nothing_are_given_up() {
    say_nothing(15_000, "10");
}

/// How far somebody goes before leaving.
fn visit(server: &Server, n: usize) {
    let mut stream = dial(server.address, n);
    let head = upgrade(&Server::target(), "");
    let messages = [
        text(&format!("[5,\"topic {n}\"]")),
        text("[5,\"churn\"]"),
        text("[2,\"id\",\"x\"]"),
    ]
    .concat();
    let all = [head.as_bytes(), &messages].concat();
    let said = match n % 6 {
        0 => 0,
        1 => head.len() / 2,
        2 => head.len(),
        3 => all.len() - 5,
        _ => all.len(),
    };
    let _ = stream.write_all(&all[..said]);
    if n % 6 == 5 {
        let _ = stream.read(&mut [0; 4_096]);
    }
    if n.is_multiple_of(2) {
        reset(stream);
    }
}

/// Two threads that come and go, `rounds` times `VISITS`; an event goes to whoever is there.
fn come_and_go(mut goes_on: impl FnMut() -> bool) {
    const VISITS: usize = 1_000;
    let server = Server::start(&[]);
    let mut witness = Witness::of(&server, "churn");
    let mut round = |first: usize| {
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..2)
                .map(|half| {
                    let server = &server;
                    let from = first + half * VISITS / 2;
                    scope.spawn(move || (from..from + VISITS / 2).for_each(|n| visit(server, n)))
                })
                .collect();
            while !visitors.iter().all(|visitor| visitor.is_finished()) {
                witness.check();
            }
        });
    };
    // The first ones make it take what it needs for so many at a time.
    round(0);
    let before = server.resident_bytes();
    let mut rounds = 1;
    while goes_on() {
        round(rounds * VISITS);
        rounds += 1;
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} after {rounds} rounds");
    // Nobody is left, but the witness and whoever has not had the time to leave yet.
    server.wait_for_connections(1);
    let books = server.now();
    assert_eq!(
        (entry(&books, "topics"), entry(&books, "subscriptions")),
        (1, 1),
        "{books:?}"
    );
    server.assert_idle();
    let books = server.stop_and_balance();
    assert_eq!(entry(&books, "connections"), (rounds * VISITS + 1) as u64);
}

#[test]
fn who_comes_and_goes_at_full_speed_leaves_nothing_behind() {
    let mut rounds = 4;
    come_and_go(|| {
        rounds -= 1;
        rounds > 0
    });
}

#[test]
#[ignore = "comes and goes for half a minute"]
#[expect(clippy::disallowed_methods, reason = "a load for so long")]
fn who_comes_and_goes_for_half_a_minute_leaves_nothing_behind() {
    let started = std::time::Instant::now();
    come_and_go(|| started.elapsed() < Duration::from_secs(30));
}
