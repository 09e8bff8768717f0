//! Fan-out over real sockets, beside the floor: what the kernel itself asks for the same deliveries.
//!
//! `cargo bench --bench fanout` measures everything; `-- --quick` a part of it in half a minute.
//!
//! Four processes: the floor and newswire, pinned to one core, and a client for each, pinned to
//! another. The floor is a loop that does nothing but accept, answer every upgrade with the same
//! bytes, and `send()` one ready-made frame to each socket for each event. Both servers are alive at
//! the same time with the same number of subscribers, and rounds alternate between them, so what is
//! compared ran side by side on the same machine in the same minute. CPU is the server's own user
//! and system time, all threads, from the kernel's accounting in nanoseconds.
//!
//! Never here: assertions on figures. A lost or doubled delivery ends the run, though.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use newswire::cli::load::fleet::{Course, Fleet, Heard};
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
        ["client", kind, address, publish, subscribers, bytes] => client(
            kind,
            address.parse().expect("an address"),
            publish,
            subscribers.parse().expect("a number"),
            bytes.parse().expect("a number"),
        ),
        _ => measure(words.contains(&"--quick")),
    }
}

// --- The floor -----------------------------------------------------------------------------------

/// Accepts, answers, reads one message, and sends a ready-made frame to everybody for each byte that
/// comes on the control connection, whose first line is the frame's payload length.
fn floor() {
    use mio::{Events, Interest, Poll, Token};
    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n\
        \x81\x31[0,\"0123456789abcdef01234567\",1,\"newswire/0.1.0\"]";
    let own = || "127.0.0.1:0".parse().expect("an address");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_nonblocking(true).expect("set");
    socket.set_tcp_nodelay(true).expect("set");
    let address: SocketAddr = own();
    socket.bind(&address.into()).expect("bound");
    socket.listen(65_535).expect("listening");
    let mut listener = mio::net::TcpListener::from_std(socket.into());
    let control = TcpListener::bind(own()).expect("bound");
    println!(
        "{} {}",
        listener.local_addr().expect("bound"),
        control.local_addr().expect("bound")
    );
    let (control, _) = control.accept().expect("a client");
    let mut line = String::new();
    BufReader::with_capacity(1, &control)
        .read_line(&mut line)
        .expect("a length");
    let frame = frame(line.trim().parse().expect("a number"));
    control.set_nonblocking(true).expect("set");
    let mut control = mio::net::TcpStream::from_std(control);

    let mut poll = Poll::new().expect("a poller");
    let registry = poll.registry().try_clone().expect("a registry");
    let both = Interest::READABLE | Interest::WRITABLE;
    registry
        .register(&mut listener, Token(0), Interest::READABLE)
        .expect("registered");
    registry
        .register(&mut control, Token(1), Interest::READABLE)
        .expect("registered");
    let mut streams: Vec<mio::net::TcpStream> = Vec::new();
    let mut subscribed = Vec::new();
    let mut readiness = Events::with_capacity(1_024);
    let mut buffer = vec![0; 65_536];
    loop {
        poll.poll(&mut readiness, None).expect("polled");
        for event in &readiness {
            match event.token() {
                Token(0) => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        let token = Token(streams.len() + 2);
                        registry
                            .register(&mut stream, token, both)
                            .expect("registered");
                        streams.push(stream);
                        subscribed.push(0_u8);
                    }
                }
                Token(1) => loop {
                    match control.read(&mut buffer) {
                        Ok(0) => return,
                        Ok(events) => (0..events).for_each(|_| send_all(&mut streams, &frame)),
                        Err(_) => break,
                    }
                },
                Token(n) if event.is_readable() => {
                    let stream = &mut streams[n - 2];
                    // A short read has emptied the socket; so it is read once.
                    if stream.read(&mut buffer).is_ok_and(|n| n > 0) && subscribed[n - 2] == 0 {
                        subscribed[n - 2] = 1;
                        stream.write_all(ANSWER).expect("an empty buffer");
                    }
                }
                Token(_) => {}
            }
        }
    }
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

fn frame(payload_bytes: usize) -> Vec<u8> {
    let payload = format!("[8,\"{TOPIC}\",{}]", data(payload_bytes));
    let mut frame = Vec::new();
    newswire::wire::websocket::encode_text_header(payload.len(), &mut frame);
    frame.extend(payload.bytes());
    frame
}

// --- The client ----------------------------------------------------------------------------------

enum Publisher {
    Floor(TcpStream),
    ZeroMq(zmq::Socket, Vec<u8>),
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
            Self::ZeroMq(socket, event) => {
                (0..events).for_each(|_| socket.send(&event[..], 0).expect("sent"));
            }
        }
    }
}

/// Connects subscribers, says `ready`, and then runs one round for each line `WINDOW EVENTS` that it
/// reads; answers each with the nanoseconds it took, and those to the last subscriber (median).
fn client(kind: &str, address: SocketAddr, publish: &str, subscribers: usize, bytes: usize) {
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
        let event = format!("{{\"topic\":\"{TOPIC}\",\"data\":{}}}", data(bytes));
        Publisher::ZeroMq(socket, event.into_bytes())
    };
    let course = Course {
        address,
        request: request.into_bytes(),
        topics: vec![TOPIC.to_owned()],
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
                Heard::Text(..) => welcomes += 1,
                Heard::Opened => {}
                Heard::Ended(status) => panic!("a subscriber has ended: {status:?}"),
            })
            .expect("polled");
    }
    println!("ready {}", began.elapsed().as_micros());

    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let (window, events) = line.split_once(' ').expect("two numbers");
        let window: usize = window.parse().expect("a number");
        let events: usize = events.parse().expect("a number");
        round(&mut fleet, &mut publisher, window, events);
    }
}

fn round(fleet: &mut Fleet, publisher: &mut Publisher, window: usize, events: usize) {
    let subscribers = fleet.len();
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
                Heard::Text(..) => heard += 1,
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_newswire"));
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
        let output = Command::new(env!("CARGO_BIN_EXE_newswire"))
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
    handshake_cpu: f64,
    resident_per_connection: f64,
}

impl Side {
    fn floor(subscribers: usize, bytes: usize) -> Self {
        let this = std::env::current_exe().expect("this program");
        let mut server = Process::start(SERVER_CORE, Command::new(this).arg("floor"));
        let line = server.line();
        let (address, control) = line.split_once(' ').expect("two addresses");
        Self::connect(server, "floor", address, control, subscribers, bytes)
    }

    fn newswire(subscribers: usize, bytes: usize) -> Self {
        let (server, address, pull) = newswire();
        Self::connect(server, "newswire", &address, &pull, subscribers, bytes)
    }

    fn connect(
        server: Process,
        kind: &str,
        address: &str,
        publish: &str,
        subscribers: usize,
        bytes: usize,
    ) -> Self {
        let (cpu, resident) = (server.cpu(), server.resident());
        let this = std::env::current_exe().expect("this program");
        let mut client = Process::start(
            CLIENT_CORE,
            Command::new(this)
                .args(["client", kind, address, publish])
                .args([subscribers.to_string(), bytes.to_string()]),
        );
        let ready = client.line();
        assert!(ready.starts_with("ready"), "{ready}");
        Self {
            handshake_cpu: (server.cpu() - cpu) as f64 / subscribers as f64,
            resident_per_connection: (server.resident() as f64 - resident as f64)
                / subscribers as f64,
            server,
            client,
        }
    }

    /// In nanoseconds: CPU of the server for one delivery, and the time to the last subscriber.
    fn round(&mut self, subscribers: usize, window: usize, events: usize) -> (f64, f64) {
        let cpu = self.server.cpu();
        writeln!(self.client.stdin, "{window} {events}").expect("sent");
        let line = self.client.line();
        let (_, to_last) = line.split_once(' ').expect("two numbers");
        let cpu = (self.server.cpu() - cpu) as f64 / (events * subscribers) as f64;
        (cpu, to_last.parse().expect("a number"))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(quick: bool) {
    let rounds = if quick { 3 } else { 7 };
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
            let mut floor = Side::floor(subscribers, bytes);
            let mut newswire = Side::newswire(subscribers, bytes);
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
                    let (floor_cpu, floor_last) = floor.round(subscribers, window, events);
                    let (cpu, last) = newswire.round(subscribers, window, events);
                    // The first one warms up.
                    if round > 0 {
                        floors.push(floor_cpu);
                        cpus.push(cpu);
                        ratios.push(cpu / floor_cpu);
                        lasts.push(last / floor_last);
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
    let slow_readers = slow_readers(if quick { 2_000 } else { 10_000 }, rounds);
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let machine = machine
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let record =
        serde_json::json!({ "machine": machine, "records": records, "slow_readers": slow_readers });
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("fanout.json");
    std::fs::write(&path, format!("{record:#}\n")).expect("written");
    println!("\nmachine: {machine}\nas JSON: {}", path.display());
}
