//! Counts what makes the fan-out cheap: no allocation for a delivery, and one write for all the events that a member
//! receives in a turn. Also measures the memory of a token whose session stays.
//!
//! This is a test binary of its own because counting replaces the allocator of the whole process.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::measure;
use kit::hostile::text;
use kit::observe::upgrade;
use newswire::auth::gate::{Gate, GateRules};
use newswire::auth::{Answer, Moment, Question, TokenStore};
use newswire::config::Config;
use newswire::engine::{Engine, Rules, Stream};
use newswire::limits;
use newswire::server::{Budgets, gate_rules};
use newswire::standing::{Applicant, Verdict};
use newswire::stats::Store;
use newswire::wire::envelope::Event;
use newswire::wire::grant::Grant;
use newswire::wire::id::EventId;
use newswire::wire::token::Token;
use newswire::wire::topic_rule::TopicRule;
use stream::{FakeStream, Pipe};

#[path = "kit/stream.rs"]
mod stream;

struct World {
    engine: Engine<FakeStream>,
    pipes: Vec<Rc<RefCell<Pipe>>>,
}

impl World {
    /// An engine with `members` of the topic `t`.
    fn new(members: usize) -> Self {
        let rules = Rules {
            subscriptions_max: 1,
            ..Rules::default()
        };
        let mut engine = Engine::new(rules, 1);
        let peer = SocketAddr::from(([127, 0, 0, 1], 7));
        let open = |_| {
            let (stream, pipe) = FakeStream::new();
            let id = engine.handle_connection(stream, peer).expect("a place");
            let say = |bytes: &[u8], engine: &mut Engine<FakeStream>| {
                pipe.borrow_mut().to_server.extend(bytes);
                engine.handle_readable(id, false);
                engine.read();
            };
            say(upgrade("/?token=t", "").as_bytes(), &mut engine);
            let check = engine.poll_check().expect("a token to be judged");
            engine.handle_verdict(check.id, Verdict::Accepted(Rc::default()));
            say(&text("[5,\"t\"]"), &mut engine);
            pipe
        };
        let pipes = (0..members).map(open).collect();
        assert_eq!(engine.subscriptions(), members);
        Self { engine, pipes }
    }

    /// Allocations and writes of one turn with `events`. What members have heard is forgotten first: the pipes
    /// keep the memory, so a second turn of this size allocates none for them.
    fn turn(&mut self, events: usize) -> (u64, usize) {
        for pipe in &self.pipes {
            let mut pipe = pipe.borrow_mut();
            pipe.writes = 0;
            pipe.from_server.clear();
        }
        let engine = &mut self.engine;
        let info = measure(|| {
            for _ in 0..events {
                engine.handle_event(&Event::new("t".into(), r#"{"n":1}"#));
            }
            engine.flush();
            engine.reap();
        });
        assert!(engine.owes_nothing());
        let writes = self.pipes.iter().map(|pipe| pipe.borrow().writes).sum();
        (info.count_total, writes)
    }
}

#[test]
fn a_delivery_allocates_nothing() {
    let (mut few, mut many) = (World::new(10), World::new(2_000));
    for events in [1, 32, 256] {
        // The first turn makes the memory that later ones use again.
        few.turn(events);
        many.turn(events);
        let (for_few, _) = few.turn(events);
        let (for_many, _) = many.turn(events);
        assert_eq!(
            for_few, for_many,
            "{events} events: it depends on the members"
        );
        assert!(for_many <= 8, "{events} events: {for_many}");
    }
}

#[test]
fn the_events_of_a_turn_are_one_write_a_member() {
    let mut world = World::new(1_000);
    for events in [1, 32, 256] {
        assert_eq!(world.turn(events).1, 1_000);
    }
}

/// In bytes, what an engine that keeps the events of `publish` takes for them, and what it counts.
fn kept_bytes(rule: &str, publish: impl FnOnce(&mut Engine<FakeStream>)) -> (usize, usize) {
    let mut engine = Engine::new(
        Rules {
            topics: vec![TopicRule::parse(rule).expect("a rule")],
            history_bytes_max: 1 << 30,
            ..Rules::default()
        },
        1,
    );
    let info = measure(|| publish(&mut engine));
    let taken =
        usize::try_from(info.bytes_current).expect("nothing is freed that was there before");
    (taken, engine.history_bytes())
}

/// Publishes `count` events of the topics that `topic` names.
fn keep(engine: &mut Engine<FakeStream>, count: usize, topic: impl Fn(usize) -> String) {
    for n in 0..count {
        let id = EventId {
            epoch: Rules::default().epoch,
            sequence: n as u64 + 1,
        };
        engine.handle_event(&Event {
            id: Some(id),
            ..Event::new(topic(n).into(), "12345678")
        });
    }
    engine.flush();
}

#[test]
fn kept_events_take_no_more_memory_than_is_counted() {
    // What an engine takes once, however much it keeps.
    const ONCE: usize = 2_048;
    let check = |what: String, (taken, counted): (usize, usize)| {
        println!("{what}: {taken} bytes, {counted} counted");
        assert!(taken <= counted + ONCE, "{what}: {taken} {counted}");
        assert!(taken + ONCE > counted / 2, "{what}: {taken} {counted}");
    };
    // Just behind the sizes at which lists and tables double.
    for count in [1, 5, 9, 17, 1_025, 4_097] {
        let of_one = |engine: &mut Engine<_>| keep(engine, count, |_| "t".to_owned());
        let kept = kept_bytes("* history=100000", of_one);
        check(format!("{count} events of a topic"), kept);
    }
    for count in [1_000, 1_800, 3_600, 14_400] {
        let of_many = |engine: &mut Engine<_>| keep(engine, count, |n| format!("topic {n:06}"));
        check(
            format!("{count} topics"),
            kept_bytes("* history=1", of_many),
        );
    }
    // Lists that had many events, of which few are left.
    for left in [1, 4, 5, 9, 17, 32, 33] {
        let of_some = |engine: &mut Engine<_>| {
            keep(engine, 200 * 128, |n| format!("topic {:06}", n % 200));
            let _ = engine.set_rules(Rules {
                topics: vec![TopicRule::parse(&format!("* history={left}")).expect("a rule")],
                history_bytes_max: 1 << 30,
                ..Rules::default()
            });
        };
        let kept = kept_bytes("* history=128", of_some);
        check(format!("{left} of 128 events"), kept);
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
    let rules = gate_rules(&Config::default(), Budgets::default());
    let mut standings = Vec::with_capacity(TOKENS);
    let mut gate = Gate::new(vec![Box::new(Everybody)], rules, [7; 32], Rc::default());
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
            gate.check(n as u64, applicant, moment);
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
            gate.check(n as u64, applicant, moment);
            while gate.poll_verdict().is_some() {}
        }
    });
    usize::try_from(info.bytes_current).expect("nothing was there before")
}

#[test]
fn what_is_kept_of_strangers_is_what_the_memory_line_says() {
    // A tenth of what is in force, so that it does not take long.
    let whole = gate_rules(&Config::default(), Budgets::default());
    let rules = GateRules {
        remembered_max: whole.remembered_max / 10,
        asking_bytes_max: whole.asking_bytes_max / 10,
        ..whole
    };
    let gate = || Gate::new(vec![Box::new(Nobody)], rules, [7; 32], Rc::default());
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
