//! Bounds: what is over a bound is refused with the right words and counted, and all other clients are served.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use kit::hostile::text;
use kit::observe::{answer, counted, envelope, publish_all, upgrade};
use kit::raw::frame_of;
use kit::stream::Patient;
use kit::{Server, wait_until};

#[test]
fn one_connection_too_many_gets_503_until_one_leaves() {
    let server = Server::start(&["--connections-max", "3"]);
    let mut first = server.subscriber(&["t"]);
    let second = server.client();
    let _third = server.client();
    for _ in 0..3 {
        let (status, text) = server.ask(&upgrade(&Server::target(), ""));
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("\"error\""), "{text}");
    }
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(first.text(), "[8,\"t\",1]");
    drop(second);
    lets_in_again(server, 3);
}

/// Waits until the server lets a client in, which refuses clients until then and has refused `refused` of them.
fn lets_in_again(server: Server, mut refused: u64) {
    wait_until("a client is let in again", || {
        let (status, _) = server.ask(&upgrade(&Server::target(), ""));
        refused += u64::from(status == 503);
        status == 101
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "refused.full"), refused, "{summary}");
}

/// More silent sockets than there are places, and each comes again when it is ended.
#[test]
fn silent_sockets_keep_nobody_out() {
    const PLACES: usize = 40;
    let places = PLACES.to_string();
    let server = Server::start(&["--connections-max", &places, "--handshake-timeout", "120"]);
    let mut subscriber = server.subscriber(&["t"]);
    let mut crowd: Vec<TcpStream> = (0..3 * PLACES).map(|_| server.connect()).collect();
    for n in 0..10 {
        let (status, text) = server.ask(&upgrade(&Server::target(), ""));
        assert_eq!(status, 101, "{n}: {text}");
        for stream in &mut crowd {
            stream.set_nonblocking(true).expect("set");
            if !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            {
                *stream = server.connect();
            }
        }
    }
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(subscriber.text(), "[8,\"t\",1]");
    let ended = server.now()["closed.made_room"];
    assert!(ended >= 2 * PLACES as u64, "{ended}");
    server.assert_idle();
    drop(crowd);
    let books = server.stop_and_balance();
    assert_eq!(books.get("refused.full"), None, "{books:?}");
}

#[test]
fn one_connection_too_many_of_an_address_gets_429_or_503() {
    let server = Server::start(&["--connections-per-address-max", "2"]);
    let first = server.client();
    let _second = server.client();
    let mut refused = 0;
    for _ in 0..3 {
        let (status, text) = server.ask(&upgrade(&Server::target(), ""));
        assert!(status == 429 || status == 503, "{text}");
        refused += 1;
    }
    drop(first);
    wait_until("a place is free again", || {
        let (status, _) = server.ask(&upgrade(&Server::target(), ""));
        refused += u64::from(status != 101);
        status == 101
    });
    let summary = server.stop();
    assert_eq!(
        counted(&summary, "refused.address_full"),
        refused,
        "{summary}"
    );
}

#[test]
fn one_subscription_too_many_is_1008() {
    let server = Server::start(&["--subscriptions-max", "2"]);
    let mut client = server.subscriber(&["a", "b"]);
    // One that is there already is none too many, and one that has gone makes room.
    client.send("[5,\"a\"]");
    client.send("[6,\"b\"]");
    client.send("[5,\"c\"]");
    client.settle();
    client.send("[5,\"d\"]");
    assert_eq!(client.close_code(), 1008);
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.limit"), 1, "{summary}");
}

#[test]
fn a_topic_too_long_is_1008() {
    let server = Server::start(&["--topic-bytes-max", "10"]);
    let mut client = server.subscriber(&["0123456789"]);
    client.send("[5,\"0123456789a\"]");
    assert_eq!(client.close_code(), 1008);
    // In bytes, not in characters, and as it is after its prefix was replaced.
    let mut client = server.client();
    client.send("[1,\"p\",\"12345\"]");
    client.send("[5,\"p:éé\"]");
    client.settle();
    client.send("[5,\"p:ééé\"]");
    assert_eq!(client.close_code(), 1008);
    server.stop();
}

#[test]
fn a_message_too_large_is_1009() {
    let server = Server::start(&["--message-bytes-max", "200", "--topic-bytes-max", "100"]);
    let mut client = server.client();
    let message = |len: usize| format!("[2,\"{}\",\"x\"]", "i".repeat(len - 10));
    client.send(&message(200));
    assert!(client.text().starts_with("[4,\"iii"));
    client.send(&message(201));
    assert_eq!(client.close_code(), 1009);

    // A header that announces more is enough: nobody waits for the rest.
    let mut stream = server.raw_client();
    let mut frame = vec![0x81, 0xFF];
    frame.extend(u64::to_be_bytes(1 << 40));
    frame.extend([0; 4]);
    stream.write_all(&frame).expect("sent");
    let mut close = [0; 4];
    stream.read_exact(&mut close).expect("a close");
    assert_eq!(
        (close[0], u16::from_be_bytes([close[2], close[3]])),
        (0x88, 1009)
    );

    // Fragments count together.
    let mut stream = server.raw_client();
    let frames = [frame_of(0x01, &[b' '; 100]), frame_of(0x80, &[b' '; 101])].concat();
    stream.write_all(&frames).expect("sent");
    stream.read_exact(&mut close).expect("a close");
    assert_eq!(
        (close[0], u16::from_be_bytes([close[2], close[3]])),
        (0x88, 1009)
    );
    let summary = server.stop();
    assert_eq!(
        counted(&summary, "closed.message_too_large"),
        3,
        "{summary}"
    );
}

#[test]
fn origins_that_are_not_listed_get_403() {
    let server = Server::start(&[
        "--origin",
        "https://example.com",
        "--origin",
        "http://localhost:8000",
    ]);
    for (origin, expected) in [
        ("Origin: https://example.com\r\n", 101),
        ("Origin: HTTPS://Example.COM\r\n", 101),
        ("origin: http://localhost:8000\r\n", 101),
        ("", 101),
        ("Origin: https://example.com.evil.org\r\n", 403),
        ("Origin: https://evil.org/https://example.com\r\n", 403),
        ("Origin: http://example.com\r\n", 403),
        ("Origin: https://example.com:8443\r\n", 403),
        ("Origin: http://localhost\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin:\r\n", 403),
    ] {
        let (status, text) = server.ask(&upgrade(&Server::target(), origin));
        assert_eq!(status, expected, "{origin:?}: {text}");
    }
    let summary = server.stop();
    assert_eq!(counted(&summary, "refused.origin"), 7, "{summary}");
}

#[test]
fn a_head_too_large_gets_413() {
    let server = Server::start(&["--head-bytes-max", "1000"]);
    let fits = upgrade(&Server::target(), "");
    let cookie = |len: usize| format!("Cookie: {}\r\n", "c".repeat(len - 10));
    let exact = upgrade(&Server::target(), &cookie(1000 - fits.len()));
    assert_eq!(exact.len(), 1000);
    assert_eq!(server.ask(&exact).0, 101);
    let over = upgrade(&Server::target(), &cookie(1001 - fits.len()));
    assert_eq!(server.ask(&over).0, 413);
    // One without an end is not waited for.
    assert_eq!(server.ask(&over[..1000]).0, 413);
    assert_eq!(server.ask(&"x".repeat(100_000)).0, 413);
    let summary = server.stop();
    assert_eq!(counted(&summary, "refused.head_too_large"), 3, "{summary}");
}

#[test]
fn who_sends_its_request_a_byte_at_a_time_gets_408() {
    let server = Server::start(&["--handshake-timeout", "5"]);
    let mut slow = server.connect();
    let silent = server.connect();
    slow.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("set");
    let head = upgrade(&Server::target(), "");
    let mut bytes = head.bytes();
    let mut beginning = [0; 12];
    wait_until("an answer", || {
        // Far fewer are sent than there are: it would be a good request in the end.
        let byte = bytes.next().expect("not the whole request");
        slow.write_all(&[byte]).expect("open");
        match Patient(&slow).read(&mut beginning) {
            Ok(n) => n == 12,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Meanwhile others are served.
                server.client();
                false
            }
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(&beginning, b"HTTP/1.1 408");
    let (status, _) = answer(&mut { silent });
    assert_eq!(status, 408);
    let summary = server.stop();
    assert_eq!(counted(&summary, "refused.timeout"), 2, "{summary}");
}

/// The capacity that the start prints is one that there is, and publishers have room beside it.
#[test]
fn as_many_as_the_start_promises_are_let_in() {
    // Other tests of this process have ZeroMQ sockets too, whose descriptors a child inherits.
    let _others = [0; 8].map(|_| {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::PUSH).expect("a socket");
        socket.connect("inproc://nobody").expect("an endpoint");
        (context, socket)
    });
    let server = Server::start_with_files(64, &[]);
    let mut lines = server.banner.lines();
    let note = lines.find_map(|line| line.strip_prefix("capacity"));
    let promised = note.and_then(|note| note.split_whitespace().next()?.parse().ok());
    let promised: usize = promised.expect("a number");
    let mut clients: Vec<_> = (0..promised).map(|_| server.subscriber(&["t"])).collect();
    assert_eq!(server.ask(&upgrade(&Server::target(), "")).0, 503);
    publish_all(&server.pull, [envelope("t", "1")]);
    for client in &mut clients {
        assert_eq!(client.text(), "[8,\"t\",1]");
    }
    let summary = server.stop();
    assert_eq!(counted(&summary, "refused.full"), 1, "{summary}");
}

/// Publishers that use up what is kept for them of `files`, until four are left.
fn publishers_that_leave_four(server: &Server, files: usize) -> Vec<TcpStream> {
    let mut publishers = Vec::new();
    while server.files_left(files) > 4 {
        let before = server.files_left_at_rest(files);
        let address = server.pull.trim_start_matches("tcp://");
        publishers.push(TcpStream::connect(address).expect("it listens"));
        wait_until("it is in", || server.files_left(files) < before);
    }
    publishers
}

/// Publishers have used up what is kept for them, and clients the rest.
#[test]
fn without_files_newcomers_get_503_and_nothing_spins() {
    const FILES: usize = 64;
    let server = Server::start_with_files(FILES as u32, &["--handshake-timeout", "120"]);
    let mut subscriber = server.subscriber(&["t"]);
    let publishers = publishers_that_leave_four(&server, FILES);
    let mut taken = Vec::new();
    while server.files_left(FILES) > 0 {
        let before = server.files_left_at_rest(FILES);
        taken.push(server.raw_subscriber(&["t"]));
        wait_until("it is in", || server.files_left(FILES) < before);
    }
    // One after another, and each gets its answer.
    for _ in 0..20 {
        let (status, text) = server.ask(&upgrade(&Server::target(), ""));
        assert_eq!(status, 503, "{text}");
    }
    // And for a second, as the kernel counts it, there is nothing to do.
    let before = server.processor_ticks();
    let idle = &mut taken[0];
    idle.set_read_timeout(Some(Duration::from_secs(1)))
        .expect("set");
    assert!(idle.read(&mut [0]).is_err(), "nothing is said");
    let used = server.processor_ticks() - before;
    assert!(used < 30, "{used} ticks in a second without anything to do");

    drop(publishers);
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(subscriber.text(), "[8,\"t\",1]");
    drop(taken);
    lets_in_again(server, 20);
}

/// The same, but the clients say nothing: they make room.
#[test]
fn without_files_silent_sockets_keep_nobody_out() {
    const FILES: usize = 64;
    let server = Server::start_with_files(FILES as u32, &["--handshake-timeout", "120"]);
    let publishers = publishers_that_leave_four(&server, FILES);
    let mut silent = Vec::new();
    while server.files_left(FILES) > 0 {
        let before = server.files_left_at_rest(FILES);
        silent.push(server.connect());
        wait_until("it is in", || server.files_left(FILES) < before);
    }
    wait_until("a newcomer is let in", || {
        server.ask(&upgrade(&Server::target(), "")).0 == 101
    });
    assert!(server.now()["closed.made_room"] >= 1);
    drop((silent, publishers));
    server.stop();
}

/// Strangers who say nothing to the publish listener have few of the few files.
#[test]
fn with_few_files_silent_publishers_leave_clients_their_places() {
    const FILES: usize = 128;
    const CLIENTS: usize = 80;
    let publish = ["--publish", "127.0.0.1:0", "--publish-token", "sesame"];
    let server = Server::start_with_files(FILES as u32, &publish);
    assert!(
        server.banner.contains(&format!("{CLIENTS} (of")),
        "{}",
        server.banner
    );
    let address = server.publish.expect("it listens");
    let crowd: Vec<TcpStream> = (0..300)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_nonblocking(true).expect("set");
            stream
        })
        .collect();
    let is_open = |stream: &&TcpStream| matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    wait_until("the others have made room", || {
        crowd.iter().filter(is_open).count() <= 8
    });
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    let ended = crowd.len() - crowd.iter().filter(is_open).count();
    let name = "newswire_listener_made_room_total";
    assert_eq!(
        server.metric(&format!("{name}{{listener=\"publish\"}}")),
        ended as f64
    );
    assert_eq!(server.metric(&format!("{name}{{listener=\"admin\"}}")), 0.0);
    wait_until("the log says so", || {
        server.log().contains("closed: made_room=") && server.log().contains("listener=publish")
    });
    drop((clients, crowd));
    let summary = server.stop();
    assert!(!summary.contains("refused.full"), "{summary}");
}

#[test]
fn a_client_that_says_too_much_before_its_verdict_is_heard_in_order() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    // The request, and at once everything that a client could want.
    let mut bytes = upgrade(&Server::target(), "").into_bytes();
    bytes.extend(text("[5,\"t\"]"));
    bytes.extend(text("[2,\"id\",\"x\"]"));
    stream.write_all(&bytes).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let mut socket = WebSocket::from_raw_socket(Patient(stream), Role::Client, None);
    let mut next = || match socket.read().expect("a message") {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(next().starts_with("[0,"));
    assert!(next().starts_with("[4,\"id\""));
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(next(), "[8,\"t\",1]");
    server.stop();
}

/// An upgrade through a proxy, which says for whom it comes.
fn forwarded(client: &str, token: &str) -> String {
    upgrade(
        &format!("/?token={token}"),
        &format!("X-Forwarded-For: 203.0.113.9, {client}\r\n"),
    )
}

#[test]
fn limits_for_an_address_look_behind_a_trusted_proxy() {
    let server = Server::start(&[
        "--trusted-proxy",
        "127.0.0.0/8",
        "--connections-per-address-max",
        "1",
        "--refused-tokens-max",
        "2",
    ]);
    let keep = |client: &str| {
        let mut stream = server.connect();
        let head = forwarded(client, kit::TOKEN);
        stream.write_all(head.as_bytes()).expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        (stream, String::from_utf8_lossy(&first[9..]).into_owned())
    };
    let (one, status) = keep("192.0.2.1");
    assert_eq!(status, "101");
    assert_eq!(keep("192.0.2.1").1, "503", "a second of the same client");
    let (_two, status) = keep("192.0.2.2");
    assert_eq!(status, "101", "another client of the same proxy");
    drop(one);
    wait_until("the place is free", || keep("192.0.2.1").1 == "101");

    // The minute may end in between; then the count begins anew.
    wait_until("somebody is barred", || {
        let statuses = [(); 3].map(|()| server.ask(&forwarded("192.0.2.3", "wrong")).0);
        statuses[2] == 429
    });
    let (status, text) = server.ask(&forwarded("192.0.2.4", "wrong"));
    assert_eq!(status, 401, "{text}");
    // However a proxy writes an address, and where it writes none, one client's tokens are not another's.
    for (bad, good) in [
        ("[2001:db8::9]", "[2001:db8:0:1::9]"),
        ("\"[2001:db8:0:2::b]:1\"", "fe80::1%eth0"),
        ("unknown", "unknown"),
        ("_hidden", "192.0.2.5"),
    ] {
        let statuses = [(); 5].map(|()| server.ask(&forwarded(bad, "wrong")).0);
        assert!(statuses.contains(&401), "{statuses:?}");
        let (status, text) = server.ask(&forwarded(good, kit::TOKEN));
        assert_eq!(status, 101, "{good}: {text}");
    }
    let summary = server.stop();
    assert!(
        counted(&summary, "refused.too_many_tokens") >= 1,
        "{summary}"
    );
}

#[test]
fn without_a_trusted_proxy_nobody_can_say_to_be_somebody_else() {
    let server = Server::start(&["--connections-per-address-max", "1"]);
    let _one = server.client();
    let (status, _) = server.ask(&forwarded("192.0.2.1", kit::TOKEN));
    assert_eq!(status, 503);
    server.stop();
}
