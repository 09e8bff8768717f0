//! For tests with hostile peers: an ordinary subscriber that has to be served meanwhile, attacks, and the server's
//! counters, which have to agree with each other at the end.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::observe::{envelope, event_frame, hear};
use super::raw::{Ear, Heard, frame_of};
use super::stream::Patient;
use super::{PATIENCE, Server, wait_until};

/// Some MB for allocators, buffers and whatever else is not the subject.
pub const SLACK_BYTES: usize = 8 << 20;

/// Publishes `count` events, each when two who read have heard its forerunner, so that the only memory in question is
/// the one of who does not read. After each, `then`.
pub fn publish_paced(
    server: &Server,
    topic: &str,
    data: &str,
    count: usize,
    mut then: impl FnMut(usize),
) {
    let mut readers = [
        server.raw_subscriber(&[topic]),
        server.raw_subscriber(&[topic]),
    ];
    let (_context, socket) = server.publisher();
    let frame = event_frame(topic, data);
    for n in 0..count {
        socket.send(&envelope(topic, data), 0).expect("taken");
        for reader in &mut readers {
            hear(reader, &frame);
        }
        then(n);
    }
}

/// Sets its flag when it is dropped, also because of a panic: threads that go on until the flag is set would otherwise
/// keep a test that has failed from its end.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A subscriber with a publisher of its own: hears what is published to it, and nothing else.
pub struct Witness {
    stream: TcpStream,
    ear: Ear,
    socket: zmq::Socket,
    _context: zmq::Context,
    topic: String,
    heard: u64,
}

impl Witness {
    /// Of the topic `witness`.
    pub fn new(server: &Server) -> Self {
        Self::of(server, "witness")
    }

    /// Of a topic.
    pub fn of(server: &Server, topic: &str) -> Self {
        let (context, socket) = server.publisher();
        Self {
            stream: server.raw_subscriber(&[topic]),
            ear: Ear::opened(),
            socket,
            _context: context,
            topic: topic.to_owned(),
            heard: 0,
        }
    }

    /// One more event is published, and is the next one that is heard.
    pub fn check(&mut self) {
        let data = self.heard.to_string();
        self.socket
            .send(&envelope(&self.topic, &data), 0)
            .expect("taken");
        self.hear(format!("[8,{:?},{data}]", self.topic).as_bytes());
        self.heard += 1;
    }

    /// Waits for a text, and for nothing else but pings, which it answers.
    fn hear(&mut self, expected: &[u8]) {
        let mut buffer = [0; 4_096];
        loop {
            match self.ear.next() {
                Some(Heard::Frame(0x89, payload)) => {
                    let pong = frame_of(0x8A, &payload);
                    self.stream.write_all(&pong).expect("it is open");
                }
                Some(Heard::Frame(0x81, text)) if text == expected => return,
                Some(other) => panic!("{other} instead of {}", expected.escape_ascii()),
                None => {
                    let n = Patient(&self.stream).read(&mut buffer).expect("an event");
                    assert!(n > 0, "its end instead of {}", expected.escape_ascii());
                    self.ear.push(&buffer[..n]);
                }
            }
        }
    }

    /// An event of somebody else's is the next one that is heard.
    pub fn check_other(&mut self, data: &str) {
        self.hear(format!("[8,{:?},{data}]", self.topic).as_bytes());
    }

    /// How many events of its own were heard.
    pub fn heard(&self) -> u64 {
        self.heard
    }
}

/// A TCP connection from one of 200 loopback addresses, each of which has ports of its own.
pub fn dial(address: SocketAddr, n: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    let source = Ipv4Addr::new(127, 0, 2, 1 + (n % 200) as u8);
    let source = SocketAddr::from((source, 0));
    socket.bind(&source.into()).expect("a port");
    socket.connect(&address.into()).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream.set_nodelay(true).expect("set");
    stream
}

/// Ends a connection by a reset, which destroys whatever is under way.
pub fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    // One that the other side has reset has nothing to be set.
    let _ = linger;
}

/// Makes a client's kernel take little that its program does not read.
pub fn narrow(stream: &TcpStream) {
    SockRef::from(stream)
        .set_recv_buffer_size(4_096)
        .expect("set");
}

/// A text message of a client.
pub fn text(message: &str) -> Vec<u8> {
    frame_of(0x81, message.as_bytes())
}

/// How an open connection ended: the code of its Close frame, if it had one. What came before is
/// passed over, but it has to be frames.
pub fn close_code(stream: &mut TcpStream) -> Option<u16> {
    let mut ear = Ear::opened();
    let mut code = None;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match Patient(&*stream).read(&mut buffer) {
            Ok(0) => return code,
            Ok(n) => ear.push(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return code,
            Err(error) => panic!("{error}"),
        }
        for heard in ear.by_ref() {
            match heard {
                Heard::Frame(0x88, payload) if payload.len() >= 2 => {
                    code = Some(u16::from_be_bytes([payload[0], payload[1]]));
                }
                Heard::Frame(0x81 | 0x88 | 0x89 | 0x8A, _) => {}
                other => panic!("{other}"),
            }
        }
    }
}

/// Everything that a summary says.
pub fn books(summary: &str) -> BTreeMap<String, u64> {
    summary
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

fn sum(books: &BTreeMap<String, u64>, kind: &str) -> u64 {
    let entries = books.iter().filter(|(name, _)| name.starts_with(kind));
    entries.map(|(_, count)| count).sum()
}

impl Server {
    /// What SIGUSR1 tells.
    pub fn now(&self) -> BTreeMap<String, u64> {
        let before = self.log().matches("summary: ").count();
        self.signal("USR1");
        wait_until("a summary", || {
            let log = self.log();
            log.ends_with('\n') && log.matches("summary: ").count() > before
        });
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("summary: "));
        books(line.expect("it was seen"))
    }

    /// Waits until only `count` connections are there.
    pub fn wait_for_connections(&self, count: u64) {
        wait_until(&format!("{count} connections"), || {
            self.now().get("connected") == Some(&count)
        });
    }

    /// Asserts that there is nothing to do: for a second, as the kernel counts it, it uses less than
    /// a third of a processor. (Nothing takes a few ticks, a loop that spins a hundred.)
    pub fn assert_idle(&self) {
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        one.set_read_timeout(Some(Duration::from_secs(1)))
            .expect("set");
        let before = self.processor_ticks();
        assert!((&one).read(&mut [0]).is_err(), "nobody writes");
        let used = self.processor_ticks() - before;
        assert!(used < 33, "{used} ticks in a second without anything to do");
    }

    /// Stops it, and asserts that every connection has ended for one reason, every refusal is a
    /// connection that was refused, and every message was an event or dropped.
    pub fn stop_and_balance(self) -> BTreeMap<String, u64> {
        let summary = self.stop();
        let books = books(&summary);
        let count = |name: &str| books.get(name).copied().unwrap_or(0);
        assert_eq!(sum(&books, "closed."), count("connections"), "{summary}");
        let turned_away = count("refused.full") + count("refused.address_full");
        assert!(
            sum(&books, "refused.") <= count("closed.refused") + turned_away,
            "{summary}"
        );
        let dropped = sum(&books, "dropped.") - count("dropped.no_subscriber");
        assert_eq!(count("events") + dropped, count("ingested"), "{summary}");
        books
    }
}

/// An entry of the books; what is not in them has not happened.
pub fn entry(books: &BTreeMap<String, u64>, name: &str) -> u64 {
    books.get(name).copied().unwrap_or(0)
}
