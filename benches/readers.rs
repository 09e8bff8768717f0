//! What readers that are too slow cost the others and get themselves, and what readers that vanish miss.
//!
//! `cargo bench --bench readers`; `-- --quick` takes about a minute, and `slow` and `blink` choose parts.
//!
//! *Slow*: 990 subscribers that read at once, on one core with their publisher; the server on another core; 50 events of
//! 2 kB a second. Ten more read 1 kB a second, once for each policy (`slow=close`, `oldest`, `latest`), and once they are
//! not there. These four runs alternate, each with a server of its own, and a run is compared with that of its round in
//! which nobody was slow. The 990 are a `newswire load` with the same options in all runs. The slow ones are
//! connections of the benchmark's own, so that they change nothing in how the latency of the others is measured. After
//! the run they read what is left as fast as they can, which shows what the server kept for them.
//!
//! *Blink*: subscribers that vanish for 2 s every 15 s, by protocol, with a history and without.
//!
//! Never here: assertions on figures. An event that one of the 990 does not get ends the run, though.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kit::Server;
use kit::raw::frame_of;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const TOKEN: &str = "readers";
/// The topic of `newswire load`.
const TOPIC: &str = "load-0";
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

const GOOD: usize = 990;
const SLOW: usize = 10;
/// In bytes a second.
const SLOW_RATE: usize = 1_000;
/// Between two reads of a slow reader.
const SIP: Duration = Duration::from_millis(100);
/// In bytes, what the kernel is asked to keep for a slow reader (it takes twice as much), and its largest segment: those
/// of a loopback are so large that the kernel would take everything for a reader that reads nothing.
const SLOW_BUFFER_BYTES: usize = 4_096;
const SLOW_SEGMENT_BYTES: u32 = 1_460;

/// An outbox that is full after some seconds, so that the policies act; and a server that takes a reader of 1 kB a second
/// for slow and not for dead. With the defaults it would be dead, below 1.3 kB a second.
const SLOW_OPTIONS: &[&str] = &[
    "--event-bytes-max",
    "64KiB",
    "--outbox-bytes-max",
    "256KiB",
    "--unsent-bytes-max",
    "4KiB",
    "--ping-interval",
    "120",
];
const POLICIES: [Option<&str>; 4] = [None, Some("close"), Some("oldest"), Some("latest")];

/// How long nothing may come before a slow reader has everything.
const QUIET: Duration = Duration::from_secs(1);

/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(500);

const BLINKING: usize = 500;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let (is_quick, is_all) = (has("--quick"), !has("slow") && !has("blink"));
    if is_all || has("slow") {
        match is_quick {
            true => slow(1, 8),
            false => slow(3, 12),
        }
    }
    if is_all || has("blink") {
        blink(if is_quick { 15 } else { 30 });
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processes and threads inherit it.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // On a host with one core everything runs there.
    let _ = sched_setaffinity(None, &set);
}

/// A server on its core; what is started after it is on the other one.
fn server(options: &[&str]) -> Server {
    pin(SERVER_CORE);
    let mut command = kit::newswire();
    command.env("NEWSWIRE_LOG_LEVEL", "error");
    let options = [&["--token", TOKEN], options].concat();
    let server = Server::start_with(command, &options);
    pin(CLIENT_CORE);
    server
}

/// `newswire load` for `server`, which prints JSON.
fn load(server: &Server, scheme: &str, options: &[&str]) -> Command {
    let mut command = kit::newswire();
    command
        .arg("load")
        .arg(format!("{scheme}://{}/?token={TOKEN}", server.address))
        .args(["--to", &server.pull, "--json"])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The report of a load test. One in which events were lost has an exit code of its own, and a report all the same.
fn report(child: Child) -> Value {
    let output = child.wait_with_output().expect("it runs");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

// --- Slow readers --------------------------------------------------------------------------------

/// What the slow readers of one run got.
#[derive(Clone, Copy, Default)]
struct Got {
    /// During the run, at their own pace.
    events: usize,
    bytes: usize,
    /// After it, when they read as fast as all do what still waited for them.
    events_after: usize,
    /// In both.
    gaps: usize,
    /// 1 for a reader that has seen the end of its connection.
    ended: usize,
    /// 1 for a reader that has the newest event of the run in the end.
    up_to_date: usize,
}

impl Got {
    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
            events_after: self.events_after + other.events_after,
            gaps: self.gaps + other.gaps,
            ended: self.ended + other.ended,
            up_to_date: self.up_to_date + other.up_to_date,
        }
    }
}

/// One run.
struct Run {
    policy: Option<&'static str>,
    p50: f64,
    p99: f64,
    /// In bytes, at most.
    resident: f64,
    outbox: f64,
    got: Got,
    /// How many connections the server has closed for being slow.
    closed: f64,
    /// In events, what the server has dropped for them.
    dropped: f64,
}

fn slow(rounds: usize, seconds: usize) {
    println!(
        "{GOOD} subscribers beside {SLOW} that read {SLOW_RATE} B/s, 50 events of 2 kB a second for {seconds} s; medians \
         of {rounds} alternating rounds\n"
    );
    let runs: Vec<Vec<Run>> = (0..rounds)
        .map(|round| {
            // Whoever comes first in one round comes last in another.
            let mut policies = POLICIES;
            policies.rotate_left(round % POLICIES.len());
            policies.map(|policy| run(policy, seconds)).into()
        })
        .collect();
    println!(
        "             | resident  outbox | the others              ratio | a slow one: in time |  after it | \
         gaps  newest | closed    ended  dropped"
    );
    println!(
        "  policy     |      MiB     KiB |  p50 ms   p99 ms    p50    p99 |   events     bytes  |    events | \
         told   of {SLOW} |  of {SLOW}    of {SLOW}   events"
    );
    for policy in POLICIES {
        let of = |value: &dyn Fn(&Run, &Run) -> f64| {
            median(runs.iter().map(|round| {
                let find = |policy| round.iter().find(|run| run.policy == policy);
                value(find(policy).expect("run"), find(None).expect("run"))
            }))
        };
        let each = |value: &dyn Fn(Got) -> usize| of(&|run, _| value(run.got) as f64) / SLOW as f64;
        println!(
            "  {:<10} | {:>8.1} {:>7.0} | {:>7.2} {:>8.2} {:>6.2} {:>6.2} | {:>8.1} {:>9.0}  | {:>9.1} | \
             {:>4.1} {:>7.0} | {:>6.0} {:>8.0} {:>8.0}",
            policy.unwrap_or("none slow"),
            of(&|run, _| run.resident) / f64::from(1 << 20),
            of(&|run, _| run.outbox) / 1_024.0,
            of(&|run, _| run.p50) / 1e6,
            of(&|run, _| run.p99) / 1e6,
            of(&|run, quiet| run.p50 / quiet.p50),
            of(&|run, quiet| run.p99 / quiet.p99),
            each(&|got| got.events),
            each(&|got| got.bytes),
            each(&|got| got.events_after),
            each(&|got| got.gaps),
            of(&|run, _| run.got.up_to_date as f64),
            of(&|run, _| run.closed),
            of(&|run, _| run.got.ended as f64),
            of(&|run, _| run.dropped),
        );
        let spread: Vec<String> = runs
            .iter()
            .map(|round| {
                let p99 = |policy| {
                    round
                        .iter()
                        .find(|run| run.policy == policy)
                        .map(|run| run.p99)
                };
                let ratio = p99(policy).zip(p99(None)).map_or(f64::NAN, |(a, b)| a / b);
                format!("{ratio:.2}")
            })
            .collect();
        if policy.is_some() {
            println!(
                "             |   ratios of p99 by round: {}",
                spread.join(" ")
            );
        }
    }
    println!(
        "\nresident and outbox: the most of what was seen twice a second. In an outbox, an event that many wait for counts \
         once.\n"
    );
}

fn run(policy: Option<&'static str>, seconds: usize) -> Run {
    let rule = policy.map(|policy| format!("{TOPIC} slow={policy}"));
    let mut options = SLOW_OPTIONS.to_vec();
    options.extend(rule.iter().flat_map(|rule| ["--topic", rule]));
    let server = server(&options);
    let newest = Arc::new(AtomicU64::new(0));
    let readers: Vec<JoinHandle<Got>> = (0..SLOW)
        .filter(|_| policy.is_some())
        .map(|_| {
            let stream = subscribe_slowly(&server);
            let newest = Arc::clone(&newest);
            thread::spawn(move || read_slowly(stream, &newest))
        })
        .collect();
    let (connections, duration) = (GOOD.to_string(), seconds.to_string());
    let mut others = load(
        &server,
        "ws",
        &[
            "--protocol",
            "wamp2",
            "--connections",
            &connections,
            "--rate",
            "50",
            "--bytes",
            "2000",
            "--duration",
            &duration,
        ],
    )
    .spawn()
    .expect("it runs");
    let (mut resident, mut outbox) = (0.0_f64, 0.0_f64);
    while others.try_wait().expect("a child").is_none() {
        resident = resident.max(server.resident_bytes() as f64);
        outbox = outbox.max(server.metric("newswire_outbox_bytes"));
        thread::sleep(LOOK);
    }
    let report = report(others);
    assert_eq!(report["losses"], 0, "{report}");
    let published = report["published"].as_u64().expect("a number");
    newest.store(published, Ordering::Relaxed);
    let latency = |name: &str| {
        report["latency_ns_to_each"][name]
            .as_f64()
            .expect("a number")
    };
    let got = readers
        .into_iter()
        .map(|reader| reader.join().expect("it ends"));
    let got = got.fold(Got::default(), Got::add);
    let dropped = |reason| {
        server.metric(&format!(
            "newswire_slow_events_dropped_total{{reason=\"{reason}\"}}"
        ))
    };
    Run {
        policy,
        p50: latency("p50"),
        p99: latency("p99"),
        resident,
        outbox,
        got,
        closed: server.metric("newswire_closed_total{reason=\"slow_consumer\"}"),
        dropped: dropped("oldest") + dropped("replaced"),
    }
}

/// A client of WAMP v2 with small buffers, subscribed, that asks to be told of gaps.
fn subscribe_slowly(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    // Before the connection: the window that it begins with cannot be taken back.
    socket.set_recv_buffer_size(SLOW_BUFFER_BYTES).expect("set");
    socket.set_tcp_mss(SLOW_SEGMENT_BYTES).expect("set");
    socket.connect(&server.address.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(kit::PATIENCE)).expect("set");
    let request = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: wamp.2.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    read_until(&mut stream, b"\r\n\r\n");
    let hello = r#"[1,"r",{"roles":{"subscriber":{}}}]"#.to_owned();
    // Only those who ask for the past are told of gaps.
    let subscribe = format!("[32,1,{{\"x_last\":0}},\"{TOPIC}\"]");
    for text in [hello, subscribe] {
        let frame = frame_of(0x81, text.as_bytes());
        stream.write_all(&frame).expect("sent");
    }
    // The pong comes behind the answers, and before events.
    stream.write_all(&frame_of(0x89, b"done")).expect("sent");
    read_until(&mut stream, b"\x8a\x04done");
    stream.set_nonblocking(true).expect("set");
    stream
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).expect("an answer in time");
        bytes.extend(byte);
    }
}

/// Reads a little now and then until the run is over: then `newest` is the number of its last event. After that, reads what
/// is left.
fn read_slowly(mut stream: TcpStream, newest: &AtomicU64) -> Got {
    let mut all = Vec::new();
    let mut buffer = vec![0; 65_536];
    let mut got = Got::default();
    let began = Instant::now();
    while newest.load(Ordering::Relaxed) == 0 {
        thread::sleep(SIP);
        let earned = (began.elapsed().as_secs_f64() * SLOW_RATE as f64) as usize;
        let due = earned.saturating_sub(all.len()).min(buffer.len());
        if got.ended > 0 || due == 0 {
            continue;
        }
        match stream.read(&mut buffer[..due]) {
            Ok(n @ 1..) => all.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => got.ended = 1,
        }
    }
    got.bytes = all.len();
    got.events = events(&all).count();
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(QUIET)).expect("set");
    while got.ended == 0 {
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => all.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Ok(_) | Err(_) => got.ended = 1,
        }
    }
    got.events_after = events(&all).count() - got.events;
    got.gaps = frames(&all)
        .filter(|text| text.contains("\"x_gap\""))
        .count();
    let newest = newest.load(Ordering::Relaxed);
    got.up_to_date = usize::from(events(&all).any(|number| number == newest));
    got
}

/// The whole frames in `bytes`.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let (payload, behind) = frame(bytes)?;
        bytes = behind;
        Some(String::from_utf8_lossy(payload).into_owned())
    })
}

/// The numbers of the events in `bytes`. That of a probe, before the run, is 0, and is left out.
fn events(bytes: &[u8]) -> impl Iterator<Item = u64> {
    frames(bytes).filter_map(|text| {
        let (_, number) = text.split_once("\"n\":")?;
        let number: u64 = number.split(',').next()?.parse().ok()?;
        (number > 0).then_some(number)
    })
}

/// The payload of the first frame, if it is whole, and what stands behind it.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, head) = match *bytes {
        [_, len @ ..=125, ..] => (len.into(), 2),
        [_, 126, high, low, ..] => (u16::from_be_bytes([high, low]).into(), 4),
        _ => return None,
    };
    bytes[head..].split_at_checked(len)
}

// --- Those that vanish ---------------------------------------------------------------------------

/// All four at the same time: nothing here is a time.
fn blink(seconds: usize) {
    println!(
        "{BLINKING} subscribers that vanish for 2 s every 15 s, 10 events a second for {seconds} s\n"
    );
    println!(
        "  protocol history |  expected  delivered      %    missed  twice | blinks, and what the server said"
    );
    let (connections, duration) = (BLINKING.to_string(), seconds.to_string());
    let rule = format!("{TOPIC} history=10000");
    let tests: Vec<_> = [("wamp2", "ws"), ("sse", "http")]
        .into_iter()
        .flat_map(|protocol| [(protocol, true), (protocol, false)])
        .map(|((protocol, scheme), has_history)| {
            let options = ["--topic", &rule];
            let server = server(if has_history { &options } else { &[] });
            let options = [
                "--protocol",
                protocol,
                "--connections",
                &connections,
                "--rate",
                "10",
                "--duration",
                &duration,
                "--blink",
                "2/15",
            ];
            let test = load(&server, scheme, &options).spawn().expect("it runs");
            (protocol, has_history, server, test)
        })
        .collect();
    for (protocol, has_history, server, test) in tests {
        let report = report(test);
        let blink = &report["blink"];
        let number = |value: &Value| value.as_u64().expect("a number");
        let (expected, delivered) = (number(&blink["expected"]), number(&report["deliveries"]));
        println!(
            "  {protocol:<8} {:<7} | {expected:>9} {delivered:>10} {:>6.2} {:>9} {:>6} | {}, {}",
            if has_history { "yes" } else { "no" },
            100.0 * delivered as f64 / expected as f64,
            number(&report["losses"]),
            number(&report["doubles"]),
            number(&blink["blinks"]),
            blink["recoveries"],
        );
        drop(server);
    }
}
