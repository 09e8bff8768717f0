//! What each form of an event costs: plain and compressed, of one protocol and of several, over real sockets.
//!
//! `cargo bench --bench encodings`. The server is pinned to one core and the subscribers' side to another. Each line
//! compares crowds that are subscribed to topics of their own on one server; rounds alternate between them, so what is
//! compared ran side by side in the same minute. CPU is the server's own, all threads, in nanoseconds of the kernel's
//! accounting. Bytes are what a subscriber's socket received.
//!
//! Never here: assertions on figures. An event that does not come ends the run, though.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use kit::Server;
use kit::raw::frame_of;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use newswire::cli::load::process::usage;
use rustix::thread::{CpuSet, sched_setaffinity};

const TOKEN: &str = "encodings";
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;

/// How long nothing may come before an event counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// In rounds of each line.
const ROUNDS: usize = 7;

/// In deliveries of one round, before the bounds below.
const ROUND_DELIVERIES: usize = 20_000;
/// In events of one round.
const ROUND_EVENTS: std::ops::RangeInclusive<usize> = 5..=400;

/// What a subscriber speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Wamp1,
    Wamp1Deflate,
    Wamp2,
    Sse,
}

/// One subscriber: what it has received, as far as it is to be understood.
struct Member {
    stream: TcpStream,
    form: Form,
    /// In bytes that belong to the frame that is coming, and have not come.
    left: usize,
    /// The beginning of a frame's header, or the last byte of a stream.
    kept: Vec<u8>,
    events: usize,
    bytes: usize,
}

impl Member {
    fn connect(server: &Server, form: Form, topic: &str) -> Self {
        let mut stream = std::net::TcpStream::connect(server.address).expect("it listens");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let upgrade = |lines: &str| {
            format!(
                "GET /?token={TOKEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{lines}\r\n"
            )
        };
        let (request, hello) = match form {
            Form::Wamp1 => (upgrade(""), None),
            Form::Wamp1Deflate => (
                upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n"),
                None,
            ),
            Form::Wamp2 => (
                upgrade("Sec-WebSocket-Protocol: wamp.2.json\r\n"),
                Some(r#"[1,"r",{"roles":{"subscriber":{}}}]"#),
            ),
            Form::Sse => (
                format!(
                    "GET /?token={TOKEN}&topic={topic} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
                ),
                None,
            ),
        };
        stream.write_all(request.as_bytes()).expect("open");
        read_until(&mut stream, b"\r\n\r\n");
        if let Some(hello) = hello {
            let hello = frame_of(0x81, hello.as_bytes());
            stream.write_all(&hello).expect("open");
        }
        let subscribe = match form {
            Form::Wamp1 | Form::Wamp1Deflate => Some(format!("[5,\"{topic}\"]")),
            Form::Wamp2 => Some(format!("[32,1,{{}},\"{topic}\"]")),
            Form::Sse => None,
        };
        match subscribe {
            Some(text) => {
                // The pong comes when the subscription is there, and is the last thing before events.
                stream
                    .write_all(&frame_of(0x81, text.as_bytes()))
                    .expect("open");
                stream.write_all(&frame_of(0x89, b"done")).expect("open");
                read_until(&mut stream, b"\x8a\x04done");
            }
            None => read_until(&mut stream, b"\n\n"),
        }
        stream.set_nonblocking(true).expect("set");
        Self {
            stream: TcpStream::from_std(stream),
            form,
            left: 0,
            kept: Vec::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Reads what there is.
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("a subscriber was closed"),
                Ok(n) => {
                    self.bytes += n;
                    match self.form {
                        Form::Sse => self.take_stream(&buffer[..n]),
                        _ => self.take_frames(&buffer[..n]),
                    }
                    if n < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take_stream(&mut self, bytes: &[u8]) {
        let mut last = self.kept.pop().unwrap_or_default();
        for &byte in bytes {
            self.events += usize::from(last == b'\n' && byte == b'\n');
            last = byte;
        }
        self.kept.push(last);
    }

    fn take_frames(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                self.events += usize::from(self.left == 0);
                continue;
            }
            self.kept.push(bytes[0]);
            bytes = &bytes[1..];
            self.left = match self.kept[..] {
                [_, len @ 0..=125] => len.into(),
                [_, 126, high, low] => u16::from_be_bytes([high, low]).into(),
                [_, 127, _, _, _, _, a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => continue,
            };
            self.kept.clear();
        }
    }
}

/// Reads what comes before events.
fn read_until(stream: &mut std::net::TcpStream, end: &[u8]) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.read_exact(&mut byte).expect("an answer in time");
        bytes.extend(byte);
    }
}

/// Subscribers of one topic.
struct Crowd {
    topic: String,
    members: Vec<Member>,
    poll: Poll,
}

/// What a round took, for each event.
#[derive(Clone, Copy)]
struct Cost {
    /// In microseconds of the server.
    cpu: f64,
    /// In bytes of a subscriber.
    bytes: f64,
}

impl Crowd {
    fn new(server: &Server, topic: &str, forms: &[Form]) -> Self {
        let poll = Poll::new().expect("a poller");
        let mut members: Vec<Member> = forms
            .iter()
            .map(|&form| Member::connect(server, form, topic))
            .collect();
        for (n, member) in members.iter_mut().enumerate() {
            poll.registry()
                .register(&mut member.stream, Token(n), Interest::READABLE)
                .expect("registered");
        }
        Self {
            topic: topic.to_owned(),
            members,
            poll,
        }
    }

    /// Publishes `events` one after the other: the next when all have the last.
    fn round(
        &mut self,
        server: &Server,
        publisher: &zmq::Socket,
        data: &str,
        events: usize,
    ) -> Cost {
        let envelope = format!("{{\"topic\":\"{}\",\"data\":{data}}}", self.topic);
        let mut readiness = Events::with_capacity(1_024);
        let mut buffer = vec![0; 1 << 18];
        let bytes_before: usize = self.members.iter().map(|member| member.bytes).sum();
        let before = usage(server.pid()).expect("it runs").cpu;
        for _ in 0..events {
            let heard: usize = self.members.iter().map(|member| member.events).sum();
            publisher.send(&envelope, 0).expect("it has a server");
            let deadline = Instant::now() + PATIENCE;
            let mut now = heard;
            while now < heard + self.members.len() {
                assert!(Instant::now() < deadline, "an event was lost");
                self.poll
                    .poll(&mut readiness, Some(PATIENCE))
                    .expect("polled");
                for event in &readiness {
                    let member = &mut self.members[event.token().0];
                    let events_before = member.events;
                    member.read(&mut buffer);
                    now += member.events - events_before;
                }
            }
        }
        let cpu = usage(server.pid()).expect("it runs").cpu - before;
        let bytes: usize = self.members.iter().map(|member| member.bytes).sum();
        Cost {
            cpu: cpu as f64 / events as f64 / 1_000.0,
            bytes: (bytes - bytes_before) as f64 / events as f64 / self.members.len() as f64,
        }
    }
}

/// JSON as news systems send it: items with texts, names and dates, of about so many bytes.
fn news(bytes: usize) -> String {
    const WORDS: [&str; 40] = [
        "government",
        "minister",
        "said",
        "the",
        "on",
        "Tuesday",
        "that",
        "a",
        "new",
        "plan",
        "would",
        "be",
        "presented",
        "to",
        "parliament",
        "before",
        "end",
        "of",
        "year",
        "after",
        "months",
        "negotiation",
        "with",
        "opposition",
        "parties",
        "and",
        "trade",
        "unions",
        "which",
        "had",
        "called",
        "for",
        "strike",
        "in",
        "several",
        "cities",
        "police",
        "reported",
        "no",
        "incidents",
    ];
    let mut dice = kit::dice::Dice(7);
    let mut text = String::from("{\"items\":[");
    let mut n = 0;
    while text.len() < bytes.saturating_sub(60) || n == 0 {
        let words: Vec<&str> = (0..25.min(bytes / 12))
            .map(|_| WORDS[dice.below(WORDS.len())])
            .collect();
        let separator = if n > 0 { "," } else { "" };
        text.push_str(&format!(
            "{separator}{{\"guid\":\"urn:newsml:localhost:{:016x}\",\"headline\":\"{}\",\"priority\":{},\
             \"versioncreated\":\"2026-11-28T10:{:02}:{:02}+0000\",\"type\":\"text\"}}",
            dice.roll(),
            words.join(" "),
            n % 7,
            n % 60,
            n % 59,
        ));
        n += 1;
    }
    text.push_str("]}");
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs rounds over all crowds in turn: the median of each.
fn compare(
    server: &Server,
    publisher: &zmq::Socket,
    crowds: &mut [Crowd],
    data: &str,
) -> Vec<Cost> {
    let members = crowds[0].members.len();
    let events = (ROUND_DELIVERIES / members).clamp(*ROUND_EVENTS.start(), *ROUND_EVENTS.end());
    let mut costs = vec![Vec::new(); crowds.len()];
    for round in 0..=ROUNDS {
        for (crowd, costs) in crowds.iter_mut().zip(&mut costs) {
            let cost = crowd.round(server, publisher, data, events);
            // The first round warms up.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    costs
        .into_iter()
        .map(|costs: Vec<Cost>| Cost {
            cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
            bytes: median(costs.iter().map(|cost| cost.bytes).collect()),
        })
        .collect()
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // On a host with one core everything runs there.
    let _ = sched_setaffinity(None, &set);
}

fn main() {
    pin(SERVER_CORE);
    let mut command = kit::newswire();
    command.args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"]);
    command.args(["--token", TOKEN, "--log-level", "error", "--admin", "off"]);
    let server = Server::launch_as_it_is(command);
    pin(CLIENT_CORE);
    let (_context, publisher) = server.publisher();

    println!(
        "plain and compressed, one event at a time: µs of the server an event, bytes of a subscriber an event"
    );
    println!(
        "{:>8} {:>8} {:>10} {:>10} {:>7} {:>10} {:>10} {:>7}",
        "bytes", "members", "µs plain", "µs deflate", "ratio", "plain", "deflate", "left"
    );
    for bytes in [200, 2_000, 20_000, 200_000] {
        let data = news(bytes);
        for members in [1, 10, 1_000] {
            let mut crowds: Vec<Crowd> = [Form::Wamp1, Form::Wamp1Deflate]
                .into_iter()
                .map(|form| {
                    let topic = format!("{form:?}-{bytes}-{members}");
                    Crowd::new(&server, &topic, &vec![form; members])
                })
                .collect();
            let costs = compare(&server, &publisher, &mut crowds, &data);
            let [plain, deflate] = costs[..] else {
                unreachable!("two crowds");
            };
            println!(
                "{:>8} {members:>8} {:>10.1} {:>10.1} {:>7.2} {:>10.0} {:>10.0} {:>6.0}%",
                data.len(),
                plain.cpu,
                deflate.cpu,
                deflate.cpu / plain.cpu,
                plain.bytes,
                deflate.bytes,
                100.0 * deflate.bytes / plain.bytes
            );
        }
    }

    println!(
        "\n1,000 subscribers of one topic, 200 bytes an event: µs of the server an event, against WAMP v1 alone"
    );
    let halves = |one: Form, two: Form| -> Vec<Form> {
        (0..1_000)
            .map(|n| if n % 2 == 0 { one } else { two })
            .collect()
    };
    let lines: [(&str, Vec<Form>); 6] = [
        ("WAMP v1", vec![Form::Wamp1; 1_000]),
        ("WAMP v2", vec![Form::Wamp2; 1_000]),
        ("server-sent events", vec![Form::Sse; 1_000]),
        (
            "half v1, half v1 deflate",
            halves(Form::Wamp1, Form::Wamp1Deflate),
        ),
        ("half v1, half v2", halves(Form::Wamp1, Form::Wamp2)),
        (
            "a quarter each",
            (0..1_000)
                .map(|n| [Form::Wamp1, Form::Wamp1Deflate, Form::Wamp2, Form::Sse][n % 4])
                .collect(),
        ),
    ];
    let data = news(200);
    let mut crowds: Vec<Crowd> = lines
        .iter()
        .enumerate()
        .map(|(n, (_, forms))| Crowd::new(&server, &format!("forms-{n}"), forms))
        .collect();
    let costs = compare(&server, &publisher, &mut crowds, &data);
    for ((name, _), cost) in lines.iter().zip(&costs) {
        println!(
            "{name:<26} {:>8.0} µs  {:>5.2}",
            cost.cpu,
            cost.cpu / costs[0].cpu
        );
    }
}
