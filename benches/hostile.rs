//! How long an ordinary subscriber waits while others do their worst.
//!
//! `cargo bench --bench hostile`; words choose cases: `-- flood-400 leave`. Each case has a server of its
//! own, pinned to one core; the subscriber, its publisher and the attackers share another. Every 20 ms an
//! event is published, and the time from there to the subscriber is what is shown: first while nothing
//! else happens, then during the attack. `turns` counts the turns of the loop that took over 10 ms.
//!
//! Never here: assertions on figures.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

const TOKEN: &str = "hostile";
const WITNESS: &str = "witness";
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
const INTERVAL: Duration = Duration::from_millis(20);
/// How long the quiet part lasts.
const QUIET: Duration = Duration::from_secs(3);
/// How long an attack may last, and how long the subscriber is watched after it.
const ATTACK_MAX: Duration = Duration::from_secs(30);
const AFTER: Duration = Duration::from_secs(2);

/// A name, whether the server has a publisher that it tells topics to, and what is done to it.
type Case = (&'static str, bool, fn(&Server));

const CASES: &[Case] = &[
    ("flood-400", false, |server| flood(server, 400)),
    ("flood-1000", false, |server| flood(server, 1_000)),
    ("flood-5000", false, |server| flood(server, 5_000)),
    ("leave", false, |server| leave(server, 1_000, 1)),
    ("sub-leave", true, |server| leave(server, 100, 512)),
    ("parts", false, parts),
    ("forged", false, forged),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |name: &str| words.iter().any(|word| word == name);
    let is_all = !CASES.iter().any(|(name, ..)| is_asked(name));
    println!("Time from an event to a subscriber, in milliseconds\n");
    println!(
        "  case       | quiet:  p50    p99  worst | attacked:  p50    p99   worst | turns over 10 ms"
    );
    for &(name, has_sub, attack) in CASES {
        if is_all || is_asked(name) {
            measure(name, has_sub, attack);
        }
    }
}

fn measure(name: &str, has_sub: bool, attack: fn(&Server)) {
    let upstream = has_sub.then(Upstream::start);
    let server = Server::start(upstream.as_ref().map(|upstream| &*upstream.endpoint));
    let witness = Witness::start(&server);
    thread::sleep(QUIET);
    let quiet = witness.take();
    let before = server.turns();
    attack(&server);
    thread::sleep(AFTER);
    let attacked = witness.take();
    let after = server.turns();
    let turns = match (before, after) {
        (Some((slow, all)), Some((slow_after, all_after))) => {
            format!("{} of {}", slow_after - slow, all_after - all)
        }
        _ => "–".to_owned(),
    };
    let [q50, q99, worst_quiet] = percentiles(quiet);
    let [a50, a99, worst] = percentiles(attacked);
    println!(
        "  {name:<10} |      {q50:>6.1} {q99:>6.1} {worst_quiet:>6.1} |         {a50:>5.1} {a99:>6.1} \
         {worst:>7.1} | {turns}"
    );
    witness.stop();
}

fn percentiles(mut delays: Vec<Duration>) -> [f64; 3] {
    delays.sort_unstable();
    assert!(!delays.is_empty(), "nothing was delivered");
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    [at(50), at(99), at(100)]
}

// --- The server ----------------------------------------------------------------------------------

struct Server {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    /// The first one is the subscriber's, the second the attacker's.
    pulls: [String; 2],
    /// True exactly when it tells topics to a publisher.
    has_sub: bool,
}

impl Server {
    fn start(sub: Option<&str>) -> Self {
        pin(SERVER_CORE);
        let mut child = kit::newswire()
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--pull", "tcp://127.0.0.1:*", "--pull", "tcp://127.0.0.2:*"])
            .args(["--token", TOKEN, "--log-level", "error"])
            .args(["--auth-jwt-algorithm", "RS256"])
            .args(keys().iter().flat_map(|key| ["--auth-jwt-key", key]))
            .args(sub.iter().flat_map(|endpoint| ["--sub", endpoint]))
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        pin(CLIENT_CORE);
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (mut addresses, mut pulls) = (Vec::new(), Vec::new());
        for line in stdout.lines() {
            let line = line.expect("a line");
            let (name, value) = line.split_once(' ').unwrap_or((&line, ""));
            let value = value.trim();
            match name {
                "listening" | "admin" => {
                    let address = value.split('/').nth(2).expect("a URL");
                    addresses.push(address.parse().expect("an address"));
                }
                "pull" => pulls.push(value.to_owned()),
                "capacity" => break,
                _ => {}
            }
        }
        let [address, admin] = addresses[..] else {
            panic!("two addresses were expected: {addresses:?}");
        };
        Self {
            child,
            address,
            admin,
            pulls: pulls.try_into().expect("two endpoints"),
            has_sub: sub.is_some(),
        }
    }

    /// How many turns took over 10 ms, and how many there were; `None` where the server does not say.
    fn turns(&self) -> Option<(u64, u64)> {
        let mut stream = TcpStream::connect(self.admin).expect("connected");
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        )
        .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse::<u64>().ok()
        };
        let all = value("newswire_turn_seconds_count")?;
        let quick = value("newswire_turn_seconds_bucket{le=\"0.01\"}")?;
        Some((all - quick, all))
    }

    /// A client with an open session.
    fn client(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        write!(
            stream,
            "GET /?token={TOKEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .expect("sent");
        let (mut answer, mut buffer) = (Vec::new(), [0; 1_024]);
        while !String::from_utf8_lossy(&answer).contains("\"newswire") {
            let n = stream.read(&mut buffer).expect("an answer");
            assert!(n > 0, "refused");
            answer.extend_from_slice(&buffer[..n]);
        }
        stream
    }

    /// So many of them.
    fn clients(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.client()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files with seven public keys of RSA-4096. Nobody has the private ones.
fn keys() -> Vec<String> {
    (1..=7)
        .map(|n| {
            let mut modulus = vec![0xa5 ^ n; 512];
            (modulus[0], modulus[511]) = (0xc1, 0x01 | n << 1);
            // SubjectPublicKeyInfo (RFC 5280 s. 4.1.2.7) around RSAPublicKey (RFC 8017 s. A.1.1).
            let mut der = vec![0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09];
            der.extend([
                0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
            ]);
            der.extend([0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a]);
            der.extend([0x02, 0x82, 0x02, 0x01, 0x00]);
            der.extend(modulus);
            der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
            let text = data_encoding::BASE64.encode(&der);
            let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
            let path = path.join(format!("hostile-{n}.pem"));
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
            std::fs::write(&path, pem).expect("written");
            path.into_os_string().into_string().expect("UTF-8")
        })
        .collect()
}

/// Processes and threads inherit it.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // On a host with one core everything runs there.
    let _ = sched_setaffinity(None, &set);
}

/// A client's text frame, masked with zeros.
fn frame(text: &str, out: &mut Vec<u8>) {
    match text.len() {
        short @ ..126 => out.extend([0x81, 0x80 | short as u8]),
        long => {
            let long = u16::try_from(long).expect("no longer form is needed");
            out.extend([0x81, 0x80 | 126]);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(text.bytes());
}

/// A publisher that the server connects to, and that takes in which topics are wanted.
struct Upstream {
    endpoint: String,
}

impl Upstream {
    fn start() -> Self {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::XPUB).expect("a socket");
        socket.set_rcvhwm(0).expect("set");
        socket.bind("tcp://127.0.0.1:*").expect("bound");
        let endpoint = socket.get_last_endpoint().expect("bound").expect("UTF-8");
        thread::spawn(move || while socket.recv_bytes(0).is_ok() {});
        Self { endpoint }
    }
}

// --- The subscriber ------------------------------------------------------------------------------

/// A subscriber and its publisher.
struct Witness {
    delays: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    publisher: thread::JoinHandle<()>,
    subscriber: thread::JoinHandle<()>,
}

impl Witness {
    fn start(server: &Server) -> Self {
        let mut stream = server.client();
        let mut subscribe = Vec::new();
        frame(&format!("[5,\"{WITNESS}\"]"), &mut subscribe);
        stream.write_all(&subscribe).expect("sent");
        let context = zmq::Context::new();
        let socket = context.socket(zmq::PUSH).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.connect(&server.pulls[0]).expect("connected");

        let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let received = Arc::new(AtomicUsize::new(0));
        let delays: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let publisher = thread::spawn({
            let (sent, received, is_over) = (sent.clone(), received.clone(), is_over.clone());
            move || {
                let _context = context;
                while !is_over.load(Ordering::Relaxed) {
                    let n = {
                        let mut sent = sent.lock().expect("unpoisoned");
                        sent.push(Instant::now());
                        sent.len() - 1
                    };
                    let event = format!("{{\"topic\":\"{WITNESS}\",\"data\":{n}}}");
                    socket.send(event.as_bytes(), 0).expect("sent");
                    thread::sleep(INTERVAL);
                }
                // What is still on its way counts.
                let all = sent.lock().expect("unpoisoned").len();
                let deadline = Instant::now() + ATTACK_MAX;
                while received.load(Ordering::Relaxed) < all && Instant::now() < deadline {
                    thread::sleep(INTERVAL);
                }
            }
        });
        let subscriber = thread::spawn({
            let delays = delays.clone();
            move || {
                let (mut pending, mut buffer) = (Vec::new(), vec![0; 65_536]);
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    let now = Instant::now();
                    pending.extend_from_slice(&buffer[..n]);
                    while pending.len() >= 2 && pending.len() >= 2 + usize::from(pending[1]) {
                        let rest = pending.split_off(2 + usize::from(pending[1]));
                        let one = std::mem::replace(&mut pending, rest);
                        let text = String::from_utf8_lossy(&one[2..]).into_owned();
                        let Some(number) = text.strip_prefix(&format!("[8,\"{WITNESS}\",")) else {
                            continue;
                        };
                        let number: usize = number.trim_end_matches(']').parse().expect("a number");
                        let sent_at = sent.lock().expect("unpoisoned")[number];
                        delays.lock().expect("unpoisoned").push(now - sent_at);
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self {
            delays,
            is_over,
            publisher,
            subscriber,
        }
    }

    /// The delays since this was last asked.
    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.delays.lock().expect("unpoisoned"))
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.publisher.join().expect("it ends");
        drop(self.subscriber);
    }
}

// --- The attacks ---------------------------------------------------------------------------------

/// `count` clients send 200 kB of SUBSCRIBE and UNSUBSCRIBE each, at the same moment.
fn flood(server: &Server, count: usize) {
    let mut load = Vec::new();
    let mut n = 0;
    while load.len() < 200_000 {
        frame(&format!("[5,\"t{n}\"]"), &mut load);
        frame(&format!("[6,\"t{n}\"]"), &mut load);
        n = (n + 1) % 100;
    }
    let mut clients: Vec<(TcpStream, usize)> = server
        .clients(count)
        .into_iter()
        .map(|stream| (stream, 0))
        .collect();
    for (stream, _) in &clients {
        stream.set_nonblocking(true).expect("set");
    }
    let deadline = Instant::now() + ATTACK_MAX;
    while !clients.is_empty() && Instant::now() < deadline {
        clients.retain_mut(|(stream, at)| match stream.write(&load[*at..]) {
            Ok(written) => {
                *at += written;
                *at < load.len()
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(Duration::from_millis(1));
    }
    // The clients end here, and all of them at once.
}

/// `count` clients with a thousand topics each, whose names have `bytes` or a few more, leave at once.
fn leave(server: &Server, count: usize, bytes: usize) {
    let mut clients = server.clients(count);
    for (index, stream) in clients.iter_mut().enumerate() {
        let mut subscribes = Vec::new();
        for topic in 0..1_000 {
            let name = format!("{index}-{topic}");
            frame(&format!("[5,\"{name:-<bytes$}\"]"), &mut subscribes);
        }
        // A CALL behind them is answered when all of them are done.
        frame("[2,\"done\",\"u\"]", &mut subscribes);
        stream.write_all(&subscribes).expect("sent");
    }
    for stream in &mut clients {
        let mut answer = [0; 1_024];
        assert!(stream.read(&mut answer).expect("an answer") > 0);
    }
    if server.has_sub {
        // The publisher is told under a budget; then all of them leave.
        thread::sleep(AFTER);
    }
}

/// A publisher sends one message of ten million parts of two bytes to the second PULL socket.
fn parts(server: &Server) {
    let endpoint = server.pulls[1].trim_start_matches("tcp://");
    let mut stream = TcpStream::connect(endpoint).expect("connected");
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    let ready = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH";
    let mut answer = [0; 64];
    stream.write_all(&greeting).expect("sent");
    stream.read_exact(&mut answer).expect("a greeting");
    stream.write_all(ready).expect("sent");
    stream.read_exact(&mut answer[..28]).expect("a READY");
    let more: Vec<u8> = [1, 2, b'x', b'x'].repeat(16_384);
    for _ in 0..10_000_000 / 16_384 {
        stream.write_all(&more).expect("sent");
    }
    stream.write_all(&[0, 2, b'x', b'x']).expect("sent");
    thread::sleep(Duration::from_secs(2));
}

/// For five seconds 2,000 clients a second come with a JWT of their own, whose signature is made up.
fn forged(server: &Server) {
    const RATE: u32 = 2_000;
    let base64 = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let head = base64(br#"{"alg":"RS256"}"#);
    let mut waiting: Vec<TcpStream> = Vec::new();
    let began = Instant::now();
    let mut next = began;
    for n in 0..5 * RATE {
        let claims = base64(format!("{{\"sub\":\"{n}\",\"exp\":4070908800}}").as_bytes());
        let signature = base64(&[(n % 0xc0) as u8; 512]);
        let mut stream = TcpStream::connect(server.address).expect("connected");
        write!(
            stream,
            "GET /?token={head}.{claims}.{signature} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        )
        .expect("sent");
        waiting.push(stream);
        if waiting.len() > 4_000 {
            waiting.remove(0);
        }
        next += Duration::from_secs(1) / RATE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
