//! Very many real connections to one `newswire serve --workers N`, on one machine.
//!
//! `cargo bench --bench workers -- 100000` holds so many loopback connections (100,000 unless told), with as many workers
//! as the limit of open files asks for, or `-- 100000 4` with four. All of them subscribe to one topic. Then ten events are
//! published, one after the other, each when the last subscriber has the one before.
//!
//! It prints the connections, the memory of newswire and of the machine for one connection, the CPU of all of newswire's
//! processes for a handshake and for a delivery, the time from an event to its last subscriber, and losses. Both ends are on
//! the same cores, so the times are those of the machine as a whole.
//!
//! Never here: assertions on figures. A lost or doubled delivery ends the run, though.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};

const TOPIC: &str = "workers";
const TOKEN: &str = "workers";
const EVENTS: usize = 10;

/// In files of one process that are no connections of clients.
const FILES_KEPT: u64 = 600;

/// How long nothing may come before a delivery counts as lost.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with("--"))
        .collect();
    match words[..] {
        ["client", address, count] => client(
            address.parse().expect("an address"),
            count.parse().expect("a number"),
        ),
        _ => measure(
            words
                .first()
                .map_or(100_000, |count| count.parse().expect("connections")),
            words.get(1).map(|count| count.parse().expect("workers")),
        ),
    }
}

// --- A client ------------------------------------------------------------------------------------

/// Connects `count` subscribers, says so, and then says for each line that comes when all have one event more.
fn client(address: SocketAddr, count: usize) {
    let request = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: \
         Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let course = Course {
        address,
        request: request.into_bytes(),
        topics: vec![TOPIC.to_owned()],
    };
    let mut fleet = Fleet::new(course).expect("a poller");
    let (mut welcomes, mut events) = (0, 0);
    let mut poll = |fleet: &mut Fleet, patience, welcomes: &mut usize| {
        let before = events;
        fleet
            .poll(Some(patience), |_, heard| match heard {
                FleetEvent::Text(head, _) if head.starts_with(b"[0,") => *welcomes += 1,
                FleetEvent::Text(..) => events += 1,
                FleetEvent::Opened => {}
                FleetEvent::Ended(status) => panic!("a subscriber has ended: {status:?}"),
            })
            .expect("polled");
        (before, events)
    };
    while welcomes < count {
        // A window of unfinished handshakes, so that no SYN is dropped and sent again.
        while fleet.len() < count && fleet.len() < welcomes + 64 {
            fleet.add().expect("a socket");
        }
        poll(&mut fleet, PATIENCE, &mut welcomes);
    }
    println!("ready");
    let mut expected = 0;
    for line in std::io::stdin().lines() {
        line.expect("a line");
        expected += count;
        let mut last = Instant::now();
        loop {
            let (before, after) = poll(&mut fleet, PATIENCE, &mut welcomes);
            assert!(after <= expected, "a delivery came twice");
            if after == expected {
                break;
            }
            if after > before {
                last = Instant::now();
            }
            assert!(
                last.elapsed() < PATIENCE,
                "{} deliveries are lost",
                expected - after
            );
        }
        println!("done");
    }
}

/// A process with subscribers.
struct Clients {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    fn start(address: SocketAddr, count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["client", &address.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self {
            orders: child.stdin.take().expect("piped"),
            answers: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn order(&mut self) {
        writeln!(self.orders, "next").expect("it reads");
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), word, "a client has ended");
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// --- The measurement -----------------------------------------------------------------------------

/// `newswire serve --workers`.
struct Parent {
    child: Child,
    address: SocketAddr,
    pull: String,
}

impl Parent {
    fn start(workers: usize) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_newswire"))
            .args(["serve", "--workers", &workers.to_string()])
            .args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"])
            .args([
                "--admin",
                "off",
                "--token",
                TOKEN,
                "--ping-interval",
                "120",
                "--log-level",
                "error",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("newswire starts");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut value = |name: &str| loop {
            let line = banner.next().expect("a banner").expect("text");
            if let Some(value) = line.strip_prefix(name) {
                return value.trim().to_owned();
            }
        };
        let address = value("listening");
        let address = address.trim_start_matches("ws://").trim_end_matches('/');
        let address = address.split('/').next().expect("an address");
        let pull = value("pull");
        Self {
            address: address.parse().expect("an address"),
            pull,
            child,
        }
    }

    /// The parent and its workers.
    fn processes(&self) -> Vec<u32> {
        let parent = self.child.id();
        let children = format!("/proc/{parent}/task");
        let tasks = fs::read_dir(children).expect("it runs");
        let mut all = vec![parent];
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        all
    }

    /// In bytes, the memory of all processes; what they share counts once.
    fn memory(&self) -> u64 {
        let each = self.processes().into_iter().map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            kib(&text, "Pss:")
        });
        each.sum::<u64>() * 1_024
    }

    /// The CPU time of all processes.
    fn cpu(&self) -> Duration {
        let each = self.processes().into_iter().map(|pid| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten();
            let times = tasks.flatten().map(|task| {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let first = text.split_whitespace().next().unwrap_or_default();
                first.parse::<u64>().unwrap_or_default()
            });
            times.sum::<u64>()
        });
        Duration::from_nanos(each.sum())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // It ends its workers, and removes what it has made.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// The number behind `name` in a text of the kernel's.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// In bytes, what the machine has left.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("Linux");
    kib(&text, "MemAvailable:") * 1_024
}

fn measure(connections: usize, workers: Option<usize>) {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let each = usize::try_from(files - FILES_KEPT).expect("a number");
    // The kernel spreads connections by a hash, not evenly: a tenth is kept free.
    let workers = workers.unwrap_or_else(|| (connections + connections / 10).div_ceil(each).max(2));
    println!("{connections} connections, {workers} workers, {files} files a process");
    let parent = Parent::start(workers);
    let (memory, free, cpu) = (parent.memory(), available(), parent.cpu());

    let began = Instant::now();
    let mut clients = Vec::new();
    let mut left = connections;
    while left > 0 {
        let count = left.min(each);
        clients.push(Clients::start(parent.address, count));
        left -= count;
    }
    for client in &mut clients {
        client.wait_for("ready");
    }
    let took = began.elapsed();
    let per = |bytes: u64| bytes as f64 / connections as f64;
    println!(
        "connected in {:.1} s, {:.1} µs of newswire's CPU a handshake",
        took.as_secs_f64(),
        (parent.cpu() - cpu).as_secs_f64() * 1e6 / connections as f64
    );
    println!(
        "memory a connection: {:.0} bytes in newswire, {:.0} in all (both ends, mostly the kernel's)",
        per(parent.memory().saturating_sub(memory)),
        per(free.saturating_sub(available()))
    );

    let context = zmq::Context::new();
    let push = context.socket(zmq::PUSH).expect("a socket");
    push.connect(&parent.pull).expect("connected");
    let cpu = parent.cpu();
    let mut times = Vec::new();
    for n in 0..EVENTS {
        for client in &mut clients {
            client.order();
        }
        let began = Instant::now();
        let event = format!("{{\"topic\":\"{TOPIC}\",\"data\":{n}}}");
        push.send(&event, 0).expect("sent");
        for client in &mut clients {
            client.wait_for("done");
        }
        times.push(began.elapsed());
    }
    times.sort();
    let deliveries = (EVENTS * connections) as f64;
    println!(
        "{EVENTS} events to all: {:.2} s to the last subscriber (median), {:.2} s at most; {:.2} µs of newswire's CPU a \
         delivery; nothing lost",
        times[times.len() / 2].as_secs_f64(),
        times[times.len() - 1].as_secs_f64(),
        (parent.cpu() - cpu).as_secs_f64() * 1e6 / deliveries
    );
}
