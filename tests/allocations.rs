//! What makes the fan-out cheap, as counts: no allocation for a delivery, and one write for all the
//! events that a member hears in a turn. And what a token costs whose session stays.
//!
//! This is a test binary of its own because counting replaces the allocator of the whole process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use allocation_counter::measure;
use newswire::auth::gate::{Gate, GateRules};
use newswire::auth::{Answer, Moment, Question, TokenStore};
use newswire::config::Config;
use newswire::engine::{Engine, Rules, Stream};
use newswire::limits;
use newswire::server::gate_rules;
use newswire::standing::{Applicant, Verdict};
use newswire::stats::{Stats, Store};
use newswire::wire::envelope::Event;
use newswire::wire::grant::Grant;
use newswire::wire::token::Token;

/// Says an upgrade and a SUBSCRIBE, takes every write, and counts them.
#[derive(Debug)]
struct Counting {
    steps: u8,
    writes: Arc<AtomicUsize>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let says: &[u8] = match self.steps {
            0 => {
                b"GET /?token=t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                  Sec-WebSocket-Version: 13\r\n\r\n"
            }
            1 => b"\x81\x87\0\0\0\0[5,\"t\"]",
            _ => return Err(ErrorKind::WouldBlock.into()),
        };
        self.steps += 1;
        buffer[..says.len()].copy_from_slice(says);
        Ok(says.len())
    }
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Counting {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn engine(members: usize, writes: &Arc<AtomicUsize>) -> Engine<Counting> {
    let mut engine = Engine::new(
        Rules {
            subscriptions_max: 1,
            ..Rules::default()
        },
        1,
    );
    let peer = SocketAddr::from(([127, 0, 0, 1], 7));
    for _ in 0..members {
        let stream = Counting {
            steps: 0,
            writes: Arc::clone(writes),
        };
        let id = engine.handle_connection(stream, peer).expect("a place");
        engine.handle_readable(id, false);
        engine.read();
        let check = engine.poll_check().expect("a token to be judged");
        engine.handle_verdict(check.id, Verdict::Accepted(Rc::default()));
        engine.handle_readable(id, false);
        engine.read();
    }
    assert_eq!(engine.subscriptions(), members);
    writes.store(0, Ordering::Relaxed);
    engine
}

/// Allocations and writes of one turn with `events`.
fn turn(engine: &mut Engine<Counting>, events: usize, writes: &AtomicUsize) -> (u64, usize) {
    writes.store(0, Ordering::Relaxed);
    let info = measure(|| {
        for _ in 0..events {
            engine.handle_event(&Event {
                topic: "t".into(),
                data: r#"{"n":1}"#,
            });
        }
        engine.flush();
        engine.reap();
    });
    assert!(engine.owes_nothing());
    (info.count_total, writes.load(Ordering::Relaxed))
}

#[test]
fn a_delivery_allocates_nothing() {
    let writes = Arc::default();
    let (mut few, mut many) = (engine(10, &writes), engine(2_000, &writes));
    for events in [1, 32, 256] {
        // The first turn makes the memory that later ones use again.
        turn(&mut few, events, &writes);
        turn(&mut many, events, &writes);
        let (for_few, _) = turn(&mut few, events, &writes);
        let (for_many, _) = turn(&mut many, events, &writes);
        assert_eq!(
            for_few, for_many,
            "{events} events: it depends on the members"
        );
        assert!(for_many <= 8, "{events} events: {for_many}");
    }
}

#[test]
fn the_events_of_a_turn_are_one_write_a_member() {
    let writes = Arc::default();
    let mut engine = engine(1_000, &writes);
    for events in [1, 32, 256] {
        assert_eq!(turn(&mut engine, events, &writes).1, 1_000);
    }
}

/// Knows everybody, and has to be shown the token each time.
struct Everybody;

impl TokenStore for Everybody {
    fn kind(&self) -> Store {
        Store::Http
    }

    fn needs_token(&self) -> bool {
        true
    }

    fn ask(&mut self, _question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        Some(Answer::Accepted(Grant {
            name: "user 12345".to_owned(),
            ..Grant::default()
        }))
    }
}

#[test]
fn a_token_of_ones_own_costs_less_than_half_a_kilobyte() {
    const TOKENS: usize = 20_000;
    let rules = gate_rules(&Config::default());
    let mut standings = Vec::with_capacity(TOKENS);
    let mut gate = Gate::new(vec![Box::new(Everybody)], rules, [7; 32]);
    let info = measure(|| {
        for n in 0..TOKENS {
            // As long as Web Publisher's own.
            let token = Token::new(format!("{n:050}"));
            let applicant = Applicant {
                token: Some(token),
                client: Ipv4Addr::LOCALHOST.into(),
                origin: None,
            };
            let moment = Moment::default();
            gate.check(n as u64, applicant, moment, &mut Stats::default());
            while let Some((_, verdict)) = gate.poll_verdict() {
                match verdict {
                    Verdict::Accepted(standing) => standings.push(standing),
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    let bytes = info.bytes_current as usize / TOKENS;
    println!("{bytes} bytes a token");
    assert_eq!(standings.len(), TOKENS);
    assert!((1..512).contains(&bytes), "{bytes} bytes a token");
}

/// Knows nobody, but keeps everybody waiting who has a long token.
struct Nobody;

impl TokenStore for Nobody {
    fn kind(&self) -> Store {
        Store::Http
    }

    fn needs_token(&self) -> bool {
        true
    }

    fn asks_of_callers(&self) -> bool {
        true
    }

    fn ask(&mut self, question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        let is_short = question.presented().bytes().len() < 100;
        is_short.then_some(Answer::Unknown)
    }
}

/// In bytes, what `count` strangers leave behind whose tokens and origins are so long.
fn left_by(gate: &mut Gate, count: usize, token: usize, origin: usize) -> usize {
    let info = measure(|| {
        for n in 0..count {
            let applicant = Applicant {
                token: Some(Token::new(format!("{n:0token$}"))),
                client: Ipv4Addr::LOCALHOST.into(),
                origin: Some("o".repeat(origin)),
            };
            let moment = Moment::default();
            gate.check(n as u64, applicant, moment, &mut Stats::default());
            while gate.poll_verdict().is_some() {}
        }
    });
    usize::try_from(info.bytes_current).expect("nothing was there before")
}

#[test]
fn what_is_kept_of_strangers_is_what_the_memory_line_says() {
    // A tenth of what is in force, so that it does not take long.
    let whole = gate_rules(&Config::default());
    let rules = GateRules {
        remembered_max: whole.remembered_max / 10,
        asking_bytes_max: whole.asking_bytes_max / 10,
        ..whole
    };
    let gate = || Gate::new(vec![Box::new(Nobody)], rules, [7; 32]);
    // Three times as many as are remembered, each from the longest page that there is.
    let count = 3 * rules.remembered_max;
    let bytes = left_by(&mut gate(), count, 50, limits::ORIGIN_BYTES_MAX);
    let each = bytes / rules.remembered_max;
    println!("{each} bytes a refused token");
    assert!((16..=limits::AUTH_REFUSED_BYTES).contains(&each), "{each}");

    // Those that wait for an answer, with short tokens and with the longest ones.
    for token in [100, 900, limits::HEAD_BYTES_MAX] {
        let bytes = left_by(&mut gate(), 4_000, token, limits::ORIGIN_BYTES_MAX);
        println!("{bytes} bytes in questions of {token}");
        let range = rules.asking_bytes_max / 2..=rules.asking_bytes_max;
        assert!(range.contains(&bytes), "{bytes}");
    }
}
