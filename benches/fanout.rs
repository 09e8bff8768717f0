//! Fan-out over real sockets, beside the floor: what the kernel itself asks for the same deliveries.
//!
//! `cargo bench --bench fanout` measures everything; `-- --quick` a part of it in a minute. The words
//! `one-topic`, `topics-1`, `topics-10`, `common` and `slow` choose parts: `-- --quick common`.
//!
//! Four processes: the floor and newswire, pinned to one core, and a client for each, pinned to
//! another. The floor is a loop that does nothing but accept, answer every upgrade with the same
//! bytes, and `send()` one ready-made frame to each socket for each event. With one topic, a byte on a
//! connection is an event for the floor; with many topics, it reads the same ZeroMQ messages as newswire. Both servers are alive at
//! the same time with the same number of subscribers, and rounds alternate between them, so what is
//! compared ran side by side on the same machine in the same minute. CPU is the server's own user
//! and system time, all threads, from the kernel's accounting in nanoseconds.
//!
//! Never here: assertions on figures. A lost or doubled delivery ends the run, though.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};
use rustix::thread::{CpuSet, sched_setaffinity};

const TOPIC: &str = "fanout";
const TOKEN: &str = "fanout";
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

/// In deliveries of one round, before the bounds below.
const ROUND_DELIVERIES: usize = 100_000;
/// In deliveries of all rounds of one line: of the largest, there are three rounds.
const ROUNDS_DELIVERIES: usize = 5_000_000;
/// In bytes of one round: at 50 kB the kernel copies some gigabytes a second.
const ROUND_BYTES_MAX: usize = 1_500_000_000;

/// How long nothing may come before a delivery counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["floor"] => floor(),
        ["floor-topics", topics, bytes] => floor_of_topics(
            topics.parse().expect("a number"),
            bytes.parse().expect("a number"),
        ),
        ["client", kind, address, publish, ref crowd @ ..] => client(
            kind,
            address.parse().expect("an address"),
            publish,
            Crowd::parse(crowd),
        ),
        _ => measure(&words),
    }
}

// --- The floor -----------------------------------------------------------------------------------

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n\
    \x81\x31[0,\"0123456789abcdef01234567\",1,\"newswire/0.1.0\"]";

const LISTENER: Token = Token(0);
const EVENTS: Token = Token(1);
/// In tokens before that of the first stream.
const STREAMS: usize = 2;

/// A server that knows nothing: its poller, and its clients.
struct Floor {
    poll: Poll,
    listener: mio::net::TcpListener,
    streams: Vec<mio::net::TcpStream>,
    /// Which of the streams were answered.
    answered: Vec<bool>,
    buffer: Vec<u8>,
}

impl Floor {
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_nonblocking(true).expect("set");
        socket.set_tcp_nodelay(true).expect("set");
        let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&address.into()).expect("bound");
        socket.listen(65_535).expect("listening");
        let mut listener = mio::net::TcpListener::from_std(socket.into());
        let poll = Poll::new().expect("a poller");
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .expect("registered");
        Self {
            poll,
            listener,
            streams: Vec::new(),
            answered: Vec::new(),
            buffer: vec![0; 65_536],
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    fn wait(&mut self, readiness: &mut Events) {
        while let Err(error) = self.poll.poll(readiness, None) {
            assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        }
    }

    fn accept(&mut self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.streams.len() + STREAMS);
            self.poll
                .registry()
                .register(&mut stream, token, both)
                .expect("registered");
            self.streams.push(stream);
            self.answered.push(false);
        }
    }

    /// Reads a stream once: a short read has emptied the socket. Answers the first bytes, and hands out what
    /// comes after these.
    fn read(&mut self, index: usize) -> &[u8] {
        let stream = &mut self.streams[index];
        let n = stream.read(&mut self.buffer).unwrap_or(0);
        if n > 0 && !self.answered[index] {
            self.answered[index] = true;
            stream.write_all(ANSWER).expect("an empty buffer");
            return &[];
        }
        &self.buffer[..n]
    }
}

/// Accepts, answers, reads one message, and sends a ready-made frame to all clients for each byte that
/// comes on the control connection, whose first line is the frame's payload length.
fn floor() {
    let mut floor = Floor::new();
    let control = TcpListener::bind("127.0.0.1:0").expect("bound");
    println!(
        "{} {}",
        floor.address(),
        control.local_addr().expect("bound")
    );
    let (control, _) = control.accept().expect("a client");
    let mut line = String::new();
    BufReader::with_capacity(1, &control)
        .read_line(&mut line)
        .expect("a length");
    let frame = frame(TOPIC, line.trim().parse().expect("a number"));
    control.set_nonblocking(true).expect("set");
    let mut control = mio::net::TcpStream::from_std(control);
    floor
        .poll
        .registry()
        .register(&mut control, EVENTS, Interest::READABLE)
        .expect("registered");
    let mut readiness = Events::with_capacity(1_024);
    let mut buffer = vec![0; 65_536];
    loop {
        floor.wait(&mut readiness);
        for event in &readiness {
            match event.token() {
                LISTENER => floor.accept(),
                EVENTS => loop {
                    match control.read(&mut buffer) {
                        Ok(0) => return,
                        Ok(events) => {
                            (0..events).for_each(|_| send_all(&mut floor.streams, &frame));
                        }
                        Err(_) => break,
                    }
                },
                Token(n) if event.is_readable() => {
                    floor.read(n - STREAMS);
                }
                Token(_) => {}
            }
        }
    }
}

/// As [`floor`], with many topics: reads the events by ZeroMQ as newswire does, and sends the ready-made frame of an
/// event's topic to each of its members.
fn floor_of_topics(topics: usize, payload_bytes: usize) {
    let mut floor = Floor::new();
    let context = zmq::Context::new();
    let pull = context.socket(zmq::PULL).expect("a socket");
    pull.bind("tcp://127.0.0.1:*").expect("bound");
    let endpoint = pull.get_last_endpoint().expect("bound").expect("text");
    let descriptor = pull.get_fd().expect("a descriptor");
    floor
        .poll
        .registry()
        .register(&mut SourceFd(&descriptor), EVENTS, Interest::READABLE)
        .expect("registered");
    println!("{} {endpoint}", floor.address());
    let frames: Vec<Vec<u8>> = (0..topics)
        .map(|n| frame(&format!("{TOPIC}-{n}"), payload_bytes))
        .collect();
    let mut members = vec![Vec::new(); topics];
    let mut readiness = Events::with_capacity(1_024);
    let mut message = zmq::Message::new();
    loop {
        floor.wait(&mut readiness);
        for event in &readiness {
            match event.token() {
                LISTENER => floor.accept(),
                EVENTS => {}
                Token(n) if event.is_readable() => {
                    if let [_, _, 0, 0, 0, 0, subscribe @ ..] = floor.read(n - STREAMS) {
                        members[topic_number(subscribe)].push(n - STREAMS);
                    }
                }
                Token(_) => {}
            }
        }
        // Its descriptor tells of a change once, and any call may take that signal.
        while pull.recv(&mut message, zmq::DONTWAIT).is_ok() {
            let topic = topic_number(&message);
            for &member in &members[topic] {
                send_all(&mut floor.streams[member..=member], &frames[topic]);
            }
        }
    }
}

/// The number behind the first name of a topic.
fn topic_number(text: &[u8]) -> usize {
    let name = b"fanout-";
    let at = text.windows(name.len()).position(|part| part == name);
    let digits = &text[at.expect("a topic") + name.len()..];
    let digits = digits.iter().take_while(|c| c.is_ascii_digit());
    digits.fold(0, |number, digit| 10 * number + usize::from(digit - b'0'))
}

/// One `send()` a socket. Where a socket is full the floor waits for it, which is no part of what is
/// measured: rounds are made so small that this does not happen but for the largest events.
fn send_all(streams: &mut [mio::net::TcpStream], frame: &[u8]) {
    for stream in streams {
        let mut rest = frame;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

/// A value that makes the frame's payload as long as `payload_bytes`.
fn data(payload_bytes: usize) -> String {
    let around = format!("[8,\"{TOPIC}\",\"\"]").len();
    format!("\"{}\"", "x".repeat(payload_bytes - around))
}

fn frame(topic: &str, payload_bytes: usize) -> Vec<u8> {
    let payload = format!("[8,\"{topic}\",{}]", data(payload_bytes));
    let mut frame = Vec::new();
    newswire::wire::websocket::encode_text_header(payload.len(), &mut frame);
    frame.extend(payload.bytes());
    frame
}

// --- The client ----------------------------------------------------------------------------------

/// Who subscribes to what.
#[derive(Clone, Copy)]
struct Crowd {
    subscribers: usize,
    /// In bytes, the payload of one event's frame.
    bytes: usize,
    /// The subscribers are spread over as many, and events come to one after the other.
    topics: usize,
    /// True exactly when one subscriber more has all of the topics.
    has_common: bool,
}

impl Crowd {
    /// Subscribers to one topic.
    fn of_one_topic(subscribers: usize, bytes: usize) -> Self {
        Self {
            subscribers,
            bytes,
            topics: 1,
            has_common: false,
        }
    }

    fn parse(words: &[&str]) -> Self {
        let numbers: Vec<usize> = words
            .iter()
            .map(|word| word.parse().expect("a number"))
            .collect();
        let [subscribers, bytes, topics, common] = numbers[..] else {
            panic!("four numbers are needed: {words:?}");
        };
        Self {
            subscribers,
            bytes,
            topics,
            has_common: common == 1,
        }
    }

    fn words(self) -> [String; 4] {
        [
            self.subscribers,
            self.bytes,
            self.topics,
            usize::from(self.has_common),
        ]
        .map(|number| number.to_string())
    }

    /// How many of the counted subscribers hear one event.
    fn members(self) -> usize {
        self.subscribers / self.topics
    }

    fn topic_names(self) -> Vec<String> {
        match self.topics {
            1 => vec![TOPIC.to_owned()],
            topics => (0..topics).map(|n| format!("{TOPIC}-{n}")).collect(),
        }
    }
}

/// One subscriber more, to all topics. It reads what comes, and nobody counts it.
fn common_subscriber(address: SocketAddr, request: &[u8], topics: &[String]) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(request).expect("sent");
    let mut buffer = vec![0; 1 << 20];
    let mut head = Vec::new();
    while !String::from_utf8_lossy(&head).contains("[0,") {
        let n = stream.read(&mut buffer).expect("an answer");
        assert!(n > 0, "refused");
        head.extend_from_slice(&buffer[..n]);
    }
    for topic in topics {
        let text = format!("[5,\"{topic}\"]");
        // Masked with zeros: a client's frame, in its shortest form.
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend(text.bytes());
        stream.write_all(&frame).expect("sent");
    }
    std::thread::spawn(move || while stream.read(&mut buffer).is_ok_and(|n| n > 0) {});
}

enum Publisher {
    Floor(TcpStream),
    /// The socket, an event of each topic, and which one is next.
    ZeroMq(zmq::Socket, Vec<Vec<u8>>, usize),
}

impl Publisher {
    fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) => "floor",
            Self::ZeroMq(..) => "newswire",
        }
    }

    fn publish(&mut self, events: usize) {
        match self {
            Self::Floor(control) => control.write_all(&vec![1; events]).expect("sent"),
            Self::ZeroMq(socket, events_of_topics, next) => {
                for _ in 0..events {
                    socket.send(&events_of_topics[*next][..], 0).expect("sent");
                    *next = (*next + 1) % events_of_topics.len();
                }
            }
        }
    }
}

/// Connects subscribers, says `ready`, and then runs one round for each line `WINDOW EVENTS` that it
/// reads; answers each with the nanoseconds it took, and those to the last subscriber (median).
fn client(kind: &str, address: SocketAddr, publish: &str, crowd: Crowd) {
    let Crowd {
        subscribers, bytes, ..
    } = crowd;
    let topics = crowd.topic_names();
    let request = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: \
         Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let context = zmq::Context::new();
    let mut publisher = if kind == "floor" {
        let mut control = TcpStream::connect(publish).expect("connected");
        control.set_nodelay(true).expect("set");
        control
            .write_all(format!("{bytes}\n").as_bytes())
            .expect("sent");
        Publisher::Floor(control)
    } else {
        let socket = context.socket(zmq::PUSH).expect("a socket");
        socket.set_sndhwm(0).expect("set");
        socket.connect(publish).expect("connected");
        let event = |topic| format!("{{\"topic\":\"{topic}\",\"data\":{}}}", data(bytes));
        let events = topics.iter().map(|topic| event(topic).into_bytes());
        Publisher::ZeroMq(socket, events.collect(), 0)
    };
    if crowd.has_common {
        common_subscriber(address, request.as_bytes(), &topics);
    }
    let course = Course {
        address,
        request: request.into_bytes(),
        topics,
    };
    let mut fleet = Fleet::new(course).expect("a poller");
    let mut welcomes = 0;
    let began = Instant::now();
    while welcomes < subscribers {
        // A window of unfinished handshakes, so that no SYN is dropped and sent again.
        while fleet.len() < subscribers && fleet.len() < welcomes + 512 {
            fleet.add().expect("a socket");
        }
        fleet
            .poll(Some(PATIENCE), |_, heard| match heard {
                FleetEvent::Text(..) => welcomes += 1,
                FleetEvent::Opened => {}
                FleetEvent::Ended(status) => panic!("a subscriber has ended: {status:?}"),
            })
            .expect("polled");
    }
    println!("ready {}", began.elapsed().as_micros());

    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let (window, events) = line.split_once(' ').expect("two numbers");
        let window: usize = window.parse().expect("a number");
        let events: usize = events.parse().expect("a number");
        round(&mut fleet, &mut publisher, crowd.members(), window, events);
    }
}

/// Publishes `events`, each of which `subscribers` hear, `window` of them at a time.
fn round(
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    subscribers: usize,
    window: usize,
    events: usize,
) {
    let (mut published, mut heard) = (0, 0);
    let mut to_last = Vec::new();
    let began = Instant::now();
    let mut sent_at = began;
    let mut last_heard = began;
    while heard < events * subscribers {
        let outstanding = published - heard / subscribers;
        let more = (window - outstanding).min(events - published);
        if more > 0 {
            if window == 1 && published > 0 {
                to_last.push(sent_at.elapsed().as_nanos() as u64);
            }
            sent_at = Instant::now();
            publisher.publish(more);
            published += more;
        }
        let before = heard;
        fleet
            .poll(Some(PATIENCE), |_, what| match what {
                FleetEvent::Text(..) => heard += 1,
                other => panic!("{other:?}"),
            })
            .expect("polled");
        // A poll may bring a part of a frame, or nothing but room to write.
        if heard > before {
            last_heard = Instant::now();
        }
        assert!(
            last_heard.elapsed() < PATIENCE,
            "{}: lost: {heard} of {}",
            publisher.name(),
            published * subscribers
        );
    }
    let took = began.elapsed();
    to_last.push(sent_at.elapsed().as_nanos() as u64);
    assert_eq!(heard, events * subscribers, "doubled");
    to_last.sort_unstable();
    println!("{} {}", took.as_nanos() as u64, to_last[to_last.len() / 2]);
}

// --- The measurement -----------------------------------------------------------------------------

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(core: usize, command: &mut Command) -> Self {
        pin(core);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        Self {
            stdin: child.stdin.take().expect("piped"),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self.stdout.read_line(&mut line).expect("a line");
        assert!(n > 0, "a process has ended");
        line.trim().to_owned()
    }

    /// In nanoseconds, user and system, all threads.
    fn cpu(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(tasks)
            .expect("it runs")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// In bytes.
    fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()));
        let statm = statm.expect("it runs");
        let pages: usize = statm
            .split(' ')
            .nth(1)
            .expect("a field")
            .parse()
            .expect("a number");
        pages * rustix::param::page_size()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes inherit it.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // On a host with one core everything runs there.
    let _ = sched_setaffinity(None, &set);
}

/// A newswire on free ports: where subscribers connect, and where to publish.
fn newswire() -> (Process, String, String) {
    let mut command = kit::newswire();
    command.args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"]);
    command.args(["--token", TOKEN, "--log-level", "error", "--admin", "off"]);
    // 256 events of 50 kB at once are more than the default grants a reader that is slower than the
    // server; here the reader is the benchmark's own.
    command.args([
        "--outbox-bytes-max",
        "64MiB",
        "--outboxes-bytes-max",
        "1GiB",
    ]);
    let mut server = Process::start(SERVER_CORE, &mut command);
    let mut field = |name: &str| loop {
        let line = server.line();
        if let Some(value) = line.strip_prefix(name) {
            return value.trim().to_owned();
        }
    };
    let address = field("listening").replace("ws://", "").replace('/', "");
    let pull = field("pull");
    (server, address, pull)
}

/// What a hundred readers that have stalled do to the others: the 99th percentile of the time to each
/// of them, with and without, in alternating runs of `newswire load` at a fixed rate.
fn slow_readers(subscribers: usize, rounds: usize) -> serde_json::Value {
    let (_server, address, pull) = newswire();
    pin(CLIENT_CORE);
    let p99 = |stalled: usize| -> f64 {
        let output = kit::newswire()
            .arg("load")
            .arg(format!("ws://{address}/?token={TOKEN}"))
            .args([
                "--publish",
                &pull,
                "--json",
                "--rate",
                "5",
                "--duration",
                "5",
            ])
            .args(["--connections", &(subscribers + stalled).to_string()])
            .args(["--stalled", &stalled.to_string()])
            .output()
            .expect("it runs");
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["losses"], 0, "{report}");
        report["latency_ns_to_each"]["p99"]
            .as_f64()
            .expect("a number")
    };
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (quiet, stalled) = (p99(0), p99(100));
        without.push(quiet);
        with.push(stalled);
        ratios.push(stalled / quiet);
    }
    let (without, with, ratio) = (median(without), median(with), median(ratios));
    println!(
        "\np99 to each of {subscribers} subscribers: {:.1} ms; beside 100 that have stalled: {:.1} ms; \
         ratio {ratio:.2}",
        without / 1e6,
        with / 1e6
    );
    serde_json::json!({ "p99_ns": without, "p99_ns_beside_100_stalled": with, "ratio": ratio })
}

/// A server with its subscribers.
struct Side {
    server: Process,
    client: Process,
    /// How many hear one event.
    members: usize,
    handshake_cpu: f64,
    resident_per_connection: f64,
}

impl Side {
    fn floor(crowd: Crowd) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        let kind = match crowd.topics {
            1 => "floor",
            _ => "floor-topics",
        };
        command.arg(kind);
        if crowd.topics > 1 {
            command.args([crowd.topics.to_string(), crowd.bytes.to_string()]);
        }
        let mut server = Process::start(SERVER_CORE, &mut command);
        let line = server.line();
        let (address, publish) = line.split_once(' ').expect("two addresses");
        Self::connect(server, kind, address, publish, crowd)
    }

    fn newswire(crowd: Crowd) -> Self {
        let (server, address, pull) = newswire();
        Self::connect(server, "newswire", &address, &pull, crowd)
    }

    fn connect(server: Process, kind: &str, address: &str, publish: &str, crowd: Crowd) -> Self {
        let (cpu, resident) = (server.cpu(), server.resident());
        let this = std::env::current_exe().expect("this program");
        let mut client = Process::start(
            CLIENT_CORE,
            Command::new(this)
                .args(["client", kind, address, publish])
                .args(crowd.words()),
        );
        let ready = client.line();
        assert!(ready.starts_with("ready"), "{ready}");
        Self {
            handshake_cpu: (server.cpu() - cpu) as f64 / crowd.subscribers as f64,
            resident_per_connection: (server.resident() as f64 - resident as f64)
                / crowd.subscribers as f64,
            members: crowd.members(),
            server,
            client,
        }
    }

    fn round(&mut self, window: usize, events: usize) -> Round {
        let cpu = self.server.cpu();
        writeln!(self.client.stdin, "{window} {events}").expect("sent");
        let line = self.client.line();
        let (took, to_last) = line.split_once(' ').expect("two numbers");
        let deliveries = (events * self.members) as f64;
        Round {
            cpu: (self.server.cpu() - cpu) as f64 / deliveries,
            to_last: to_last.parse().expect("a number"),
            took: took.parse::<f64>().expect("a number") / deliveries,
        }
    }
}

/// In nanoseconds.
struct Round {
    /// CPU of the server for one delivery.
    cpu: f64,
    /// From an event to its last subscriber.
    to_last: f64,
    /// All of the round, for one delivery.
    took: f64,
}

/// Many topics with few subscribers each, beside the floor.
fn many_topics(each: usize, rounds: usize) -> serde_json::Value {
    const TOPICS: usize = 1_000;
    const WINDOW: usize = 32;
    let crowd = Crowd {
        topics: TOPICS,
        ..Crowd::of_one_topic(TOPICS * each, 200)
    };
    let mut floor = Side::floor(crowd);
    let mut newswire = Side::newswire(crowd);
    let events = 2 * ROUND_DELIVERIES / (each + 1);
    let (mut floors, mut cpus, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let bare = floor.round(WINDOW, events);
        let ours = newswire.round(WINDOW, events);
        // The first one warms up.
        if round > 0 {
            floors.push(bare.cpu * each as f64);
            cpus.push(ours.cpu * each as f64);
            ratios.push(ours.cpu / bare.cpu);
        }
    }
    let (floor_cpu, cpu, ratio) = (median(floors), median(cpus), median(ratios));
    println!(
        "\n{TOPICS} topics of {each} subscribers, {WINDOW} events in flight, CPU of the server for one event: floor \
         {:.2} µs, newswire {:.2} µs, ratio {ratio:.3}",
        floor_cpu / 1e3,
        cpu / 1e3,
    );
    serde_json::json!({
        "topics": TOPICS,
        "subscribers_each": each,
        "in_flight": WINDOW,
        "events_per_round": events,
        "cpu_ns_per_event": cpu,
        "cpu_ns_per_event_floor": floor_cpu,
        "cpu_ratio": ratio,
    })
}

/// What one subscriber to all topics does to the throughput of the others: a server without it and one
/// with it, in alternating rounds.
fn common_member(topics: usize, rounds: usize) -> serde_json::Value {
    const SUBSCRIBERS: usize = 2_000;
    const WINDOW: usize = 256;
    let crowd = Crowd {
        topics,
        ..Crowd::of_one_topic(SUBSCRIBERS, 200)
    };
    let mut without = Side::newswire(crowd);
    let mut with = Side::newswire(Crowd {
        has_common: true,
        ..crowd
    });
    let events = 2_000_000 / crowd.members();
    let (mut alone, mut beside, mut throughput, mut cpu) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let (a, b) = (without.round(WINDOW, events), with.round(WINDOW, events));
        // The first one warms up.
        if round > 0 {
            alone.push(1e3 / a.took);
            beside.push(1e3 / b.took);
            throughput.push(a.took / b.took);
            cpu.push(b.cpu / a.cpu);
        }
    }
    let (alone, beside) = (median(alone), median(beside));
    let (throughput, cpu) = (median(throughput), median(cpu));
    println!("{topics:>8} | {alone:>10.2} {beside:>10.2} {throughput:>6.2} | {cpu:>6.2}");
    serde_json::json!({
        "topics": topics,
        "subscribers": SUBSCRIBERS,
        "in_flight": WINDOW,
        "million_deliveries_per_second": alone,
        "million_deliveries_per_second_beside_common_member": beside,
        "throughput_ratio": throughput,
        "cpu_ratio": cpu,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(words: &[&str]) {
    let quick = words.contains(&"--quick");
    let rounds = if quick { 3 } else { 7 };
    let parts = ["one-topic", "topics-1", "topics-10", "common", "slow"];
    let is_all = !parts.iter().any(|part| words.contains(part));
    let is_asked = |part| is_all || words.contains(&part);
    let mut record = serde_json::Map::new();
    if is_asked("one-topic") {
        record.insert("records".into(), one_topic(quick, rounds).into());
    }
    let mut rows = Vec::new();
    for (part, each) in [("topics-1", 1), ("topics-10", 10)] {
        if is_asked(part) {
            rows.push(many_topics(each, rounds));
        }
    }
    if !rows.is_empty() {
        record.insert("many_topics".into(), rows.into());
    }
    if is_asked("common") {
        println!(
            "\nOne subscriber to all topics, beside 2,000 to one each, 256 events in flight: million \
             deliveries a second\n"
        );
        println!("  topics |    without       with  ratio |    CPU");
        let rows = [2, 20].map(|topics| common_member(topics, rounds));
        record.insert("common_members".into(), rows.to_vec().into());
    }
    if is_asked("slow") {
        let subscribers = if quick { 2_000 } else { 10_000 };
        record.insert("slow_readers".into(), slow_readers(subscribers, rounds));
    }
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let machine = machine
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    record.insert("machine".into(), machine.into());
    let record = serde_json::Value::from(record);
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fanout.json");
    std::fs::write(&path, format!("{record:#}\n")).expect("written");
    println!("\nmachine: {machine}\nas JSON: {}", path.display());
}

/// All subscribers on one topic, beside the floor.
fn one_topic(quick: bool, rounds: usize) -> Vec<serde_json::Value> {
    let sizes: &[usize] = if quick { &[200] } else { &[200, 2_000, 50_000] };
    let crowds: &[usize] = if quick {
        &[1_000]
    } else {
        &[100, 1_000, 10_000, 19_000]
    };
    let mut table = String::new();
    let mut records = Vec::new();
    println!(
        "CPU of the server for one delivery, newswire beside the floor: medians of {rounds} \
         alternating rounds (of three, for the largest)\n"
    );
    println!("  bytes subscribers in flight |  floor µs newswire µs  ratio | to the last: ratio");
    for &bytes in sizes {
        for &subscribers in crowds {
            let crowd = Crowd::of_one_topic(subscribers, bytes);
            let mut floor = Side::floor(crowd);
            let mut newswire = Side::newswire(crowd);
            if bytes == sizes[0] {
                let _ = writeln!(
                    table,
                    "  {subscribers:>11} | {:>8.1} {:>11.1} {:>6.2} | {:>8.0} {:>8.0}",
                    floor.handshake_cpu / 1e3,
                    newswire.handshake_cpu / 1e3,
                    newswire.handshake_cpu / floor.handshake_cpu,
                    floor.resident_per_connection,
                    newswire.resident_per_connection,
                );
                records.push(serde_json::json!({
                    "subscribers": subscribers,
                    "handshake_cpu_ns": newswire.handshake_cpu,
                    "handshake_cpu_ns_floor": floor.handshake_cpu,
                    "resident_bytes_per_connection": newswire.resident_per_connection,
                }));
            }
            for window in [1, 32, 256] {
                let deliveries = ROUND_DELIVERIES.max(window * subscribers);
                let deliveries = deliveries.min(ROUND_BYTES_MAX / bytes);
                let events = (deliveries / subscribers).max(1);
                if events < window {
                    println!(
                        "{bytes:>7} {subscribers:>11} {window:>9} | more than {} MB a round",
                        ROUND_BYTES_MAX / 1_000_000
                    );
                    continue;
                }
                // The floor needs half a minute for five million.
                let rounds = rounds.min((ROUNDS_DELIVERIES / deliveries).max(3));
                let (mut cpus, mut ratios, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
                let mut floors = Vec::new();
                for round in 0..=rounds {
                    let bare = floor.round(window, events);
                    let ours = newswire.round(window, events);
                    // The first one warms up.
                    if round > 0 {
                        floors.push(bare.cpu);
                        cpus.push(ours.cpu);
                        ratios.push(ours.cpu / bare.cpu);
                        lasts.push(ours.to_last / bare.to_last);
                    }
                }
                let (floor_cpu, cpu) = (median(floors), median(cpus));
                let (ratio, last) = (median(ratios), median(lasts));
                let last_shown = if window == 1 {
                    format!("{last:.2}")
                } else {
                    "–".into()
                };
                println!(
                    "{bytes:>7} {subscribers:>11} {window:>9} | {:>9.2} {:>11.3} {ratio:>6.3} | {last_shown:>18}",
                    floor_cpu / 1e3,
                    cpu / 1e3,
                );
                records.push(serde_json::json!({
                    "bytes": bytes,
                    "subscribers": subscribers,
                    "in_flight": window,
                    "events_per_round": events,
                    "rounds": rounds,
                    "cpu_ns_per_delivery": cpu,
                    "cpu_ns_per_delivery_floor": floor_cpu,
                    "cpu_ratio": ratio,
                    "to_last_ratio": (window == 1).then_some(last),
                }));
            }
        }
    }
    println!(
        "\nCPU of the server for one handshake and its SUBSCRIBE, and resident memory added\n"
    );
    println!("  subscribers | floor µs newswire µs  ratio |  floor B newswire B a connection");
    print!("{table}");
    records
}
