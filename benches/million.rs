//! A million connections in the engine's own memory: what an idle one costs, how long a walk takes
//! without sockets, how long it takes to lose them all; and what a set of members should be made of.
//!
//! `cargo bench --bench million`. Streams here are four bytes, as a descriptor is, and take every
//! write, so what is measured is newswire's part alone. Memory is what the allocator was asked for.
//!
//! Never here: assertions on figures.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::HashSet;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use newswire::engine::idset::IdSet;
use newswire::engine::{Engine, Rules, SlotId, Stream};
use newswire::standing::Verdict;
use newswire::wire::envelope::Event;
use roaring::RoaringBitmap;

const MILLION: u32 = 1_000_000;
const TOPIC: &str = "package_created";

fn main() {
    connections();
    topic_sets();
}

/// Says its upgrade, then its SUBSCRIBE, then nothing.
#[derive(Debug)]
struct NullStream(u32);

impl Read for NullStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let says: &[u8] = match self.0 {
            0 => {
                b"GET /?token=t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                  Sec-WebSocket-Version: 13\r\n\r\n"
            }
            1 => b"\x81\x95\0\0\0\0[5,\"package_created\"]",
            _ => return Err(ErrorKind::WouldBlock.into()),
        };
        self.0 += 1;
        buffer[..says.len()].copy_from_slice(says);
        Ok(says.len())
    }
}

impl Write for NullStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn write_vectored(&mut self, _: &[io::IoSlice<'_>]) -> io::Result<usize> {
        unreachable!("nothing is ever owed")
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for NullStream {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn engine() -> Engine<NullStream> {
    let rules = Rules::default();
    Engine::new(rules, 1)
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed(), result)
}

fn connect(engine: &mut Engine<NullStream>, count: u32) -> Vec<SlotId> {
    let standing = Rc::default();
    (0..count)
        .map(|n| {
            let peer = SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 7);
            let stream = NullStream(0);
            let id = engine.handle_connection(stream, peer).expect("a place");
            engine.handle_readable(id, false);
            engine.read();
            while let Some(check) = engine.poll_check() {
                engine.handle_verdict(check.id, Verdict::Accepted(Rc::clone(&standing)));
            }
            engine.handle_readable(id, false);
            engine.read();
            engine.reap();
            id
        })
        .collect()
}

fn connections() {
    println!("connections idle and subscribed to one topic, in memory\n");
    println!("  connections | bytes each | connect each |  walk all | a delivery | lose them all");
    for count in [15_000, 19_000, 100_000, MILLION] {
        let mut engine = engine();
        let (mut took, mut ids) = (Duration::ZERO, Vec::new());
        let memory = measure(|| (took, ids) = timed(|| connect(&mut engine, count)));
        let own = std::mem::size_of_val(&ids[..]) as i64;
        // The ids are the benchmark's own, and `collect` reserved exactly that.
        let each = (memory.bytes_current - own) as f64 / f64::from(count);
        assert_eq!(engine.subscriptions(), count as usize);

        let event = Event::new(TOPIC.into(), r#"{"n":1}"#);
        let mut walks: Vec<Duration> = (0..5)
            .map(|_| {
                engine.handle_event(&event);
                timed(|| {
                    while !engine.owes_nothing() {
                        engine.flush();
                    }
                })
                .0
            })
            .collect();
        walks.sort_unstable();
        let walk = walks[walks.len() / 2];

        let (lost, ()) = timed(|| {
            for id in ids {
                engine.handle_unwatched(id);
            }
            while engine.connections() > 0 {
                engine.reap();
            }
        });
        println!(
            "  {count:>11} | {each:>10.1} | {:>9.2} µs | {:>6.2} ms | {:>7.2} ns | {:>10.1} ms",
            took.as_nanos() as f64 / f64::from(count) / 1e3,
            walk.as_secs_f64() * 1e3,
            walk.as_nanos() as f64 / f64::from(count),
            lost.as_secs_f64() * 1e3,
        );
    }
}

/// What a set of members could be.
trait Set: Default {
    fn add(&mut self, id: u32);
    fn take(&mut self, id: u32);
    fn walk(&self) -> u64;
}

impl Set for IdSet {
    fn add(&mut self, id: u32) {
        self.insert(id);
    }
    fn take(&mut self, id: u32) {
        self.remove(id);
    }
    fn walk(&self) -> u64 {
        self.iter().map(u64::from).sum()
    }
}

impl Set for RoaringBitmap {
    fn add(&mut self, id: u32) {
        self.insert(id);
    }
    fn take(&mut self, id: u32) {
        self.remove(id);
    }
    fn walk(&self) -> u64 {
        self.iter().map(u64::from).sum()
    }
}

impl Set for HashSet<u32> {
    fn add(&mut self, id: u32) {
        self.insert(id);
    }
    fn take(&mut self, id: u32) {
        self.remove(&id);
    }
    fn walk(&self) -> u64 {
        self.iter().copied().map(u64::from).sum()
    }
}

/// Sorted.
impl Set for Vec<u32> {
    fn add(&mut self, id: u32) {
        if let Err(at) = self.binary_search(&id) {
            self.insert(at, id);
        }
    }
    fn take(&mut self, id: u32) {
        if let Ok(at) = self.binary_search(&id) {
            self.remove(at);
        }
    }
    fn walk(&self) -> u64 {
        self.iter().copied().map(u64::from).sum()
    }
}

/// Which members each topic has.
struct Shape {
    name: &'static str,
    /// How many of the shape's topics are really made; the figures are for one membership anyway.
    topics: u32,
    members: fn(u32) -> Box<dyn Iterator<Item = u32>>,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "1 topic of 1,000,000",
        topics: 1,
        members: |_| Box::new(0..MILLION),
    },
    Shape {
        name: "100,000 topics of 10",
        topics: 100_000,
        members: |topic| Box::new((0..10).map(move |n| (topic * 10 + n * 97_711) % MILLION)),
    },
    Shape {
        name: "1,000,000 topics of 1",
        topics: MILLION,
        members: |topic| Box::new(std::iter::once(topic)),
    },
    // A tenth of the thousand: a sorted array of each would take 2 GB.
    Shape {
        name: "100 topics of 500,000",
        topics: 100,
        members: |topic| Box::new((0..MILLION / 2).map(move |n| 2 * n + topic % 2)),
    },
];

fn topic_sets() {
    println!("\nsets of members, for one membership\n");
    println!(
        "  shape                  set          |     bytes |  subscribe |      walk |     leave"
    );
    for shape in &SHAPES {
        set::<IdSet>(shape, "IdSet");
        set::<RoaringBitmap>(shape, "roaring");
        set::<Vec<u32>>(shape, "sorted array");
        set::<HashSet<u32>>(shape, "hash set");
    }
}

fn set<S: Set>(shape: &Shape, name: &str) {
    let mut sets: Vec<S> = Vec::new();
    let mut subscribe = Duration::ZERO;
    let memory = measure(|| {
        sets = Vec::with_capacity(shape.topics as usize);
        (subscribe, ()) = timed(|| {
            for topic in 0..shape.topics {
                let mut set = S::default();
                (shape.members)(topic).for_each(|member| set.add(member));
                sets.push(set);
            }
        });
    });
    let memberships: u64 = (0..shape.topics.min(10))
        .map(|topic| (shape.members)(topic).count() as u64)
        .sum::<u64>()
        * u64::from(shape.topics)
        / u64::from(shape.topics.min(10));
    let (walk, _) = timed(|| black_box(sets.iter().map(S::walk).sum::<u64>()));
    // From the front, in an order that is not the best for any of them; a part of the largest sets,
    // from which a sorted array would take minutes to be emptied.
    let mut left = 0_u64;
    let (leave, ()) = timed(|| {
        for (topic, set) in (0..).zip(&mut sets) {
            for member in (shape.members)(topic).step_by(3).take(2_000) {
                set.take(member);
                left += 1;
            }
        }
    });
    let per = |took: Duration, n: u64| took.as_nanos() as f64 / n as f64;
    println!(
        "  {:<22} {name:<12} | {:>9.2} | {:>7.1} ns | {:>6.2} ns | {:>6.1} ns",
        shape.name,
        memory.bytes_current as f64 / memberships as f64,
        per(subscribe, memberships),
        per(walk, memberships),
        per(leave, left),
    );
}
