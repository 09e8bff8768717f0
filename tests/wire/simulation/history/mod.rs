//! The engine's history among clients that vanish, come back with what they have, and read slowly, in virtual time, from
//! one seed.
//!
//! Rules for topics keep few or many events, for a while, and drop events for slow readers in both ways; all kept events
//! together have a tight bound or a wide one. Relays start again with another epoch, and sources miss events. Clients speak
//! WAMP v1, v2 and server-sent events; their sockets take little, much or nothing; they come back with the position of one
//! that has left, or with something that was never an id.
//!
//! The model is a log of all events ([`log`]). A client has every event of a topic behind its position once and in order,
//! or was told that it has not: by the notice of its subscription ([`client`]), or by a gap ([`subscription`]).
//!
//! Never here: what the model says. This is the world and its dice.

mod client;
mod log;
mod subscription;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use client::{Client, Dialect};
use kit::dice::Dice;
use log::{Asked, Log, Request, WIDE, epoch, keeps};
use newswire::engine::{Engine, Farewell, Rules};
use newswire::standing::{Standing, Verdict};
use newswire::wire::envelope::Event;
use newswire::wire::id::EventId;
use newswire::wire::topic_rule::TopicRule;
use serde_json::Value;
use subscription::Subscription;

use super::subscriber::{masked, topic};
use super::{World, simulate};
use crate::stream::FakeStream;

const STEPS: u64 = 60_000;
const STEPS_PER_WORLD: u64 = 1_500;

/// In positions, of clients that have left.
const LEFT_MAX: usize = 40;

struct HistoryWorld {
    dice: Dice,
    rules: Rules,
    engine: Engine<FakeStream>,
    now: Duration,
    topics: usize,
    log: Log,
    clients: Vec<Client>,
    /// Topics, and the positions in them of clients that have left: others may come back with these.
    left: Vec<(usize, EventId)>,
    /// How many requests were made, which is the number of the newest one.
    requests: u64,
}

fn draw_rules(topics: usize, dice: &mut Dice) -> Vec<TopicRule> {
    let mut lines = Vec::new();
    for n in 0..topics {
        if dice.one_in(4) {
            continue;
        }
        let mut line = format!("topic-{n}");
        if !dice.one_in(4) {
            line += &format!(" history={}", [1, 3, 10, 200][dice.below(4)]);
            if dice.one_in(4) {
                line += &format!(" age={}", 1 + dice.below(20));
            }
        }
        if dice.one_in(3) {
            line += " last";
        }
        line += ["", " slow=oldest", " slow=latest"][dice.below(3)];
        lines.push(line);
    }
    if dice.one_in(2) {
        lines.push("topic-* history=5 slow=oldest".to_owned());
    }
    let rules = lines.iter().map(|line| TopicRule::parse(line));
    rules.collect::<Result<_, _>>().expect("rules")
}

impl World for HistoryWorld {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let topics = 1 + dice.below(5);
        let rules = Rules {
            topics: draw_rules(topics, &mut dice),
            history_bytes_max: [3_000, 20_000, WIDE][dice.below(3)],
            outbox_bytes_max: [1_000, 4_000, 1 << 20][dice.below(3)],
            turn_writes_max: [3, 2_000][dice.below(2)],
            turn_gap_places_max: [1, 2, 1_000][dice.below(3)],
            tells_topic_changes: dice.one_in(2),
            ..Rules::default()
        };
        let mut world = Self {
            engine: Engine::new(rules.clone(), dice.roll()),
            rules,
            now: Duration::from_millis(dice.roll() % 5_000),
            topics,
            log: Log::default(),
            clients: Vec::new(),
            left: Vec::new(),
            requests: 0,
            dice,
        };
        world.turn();
        world
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..10 => self.connect(),
            10..26 => self.subscribe(),
            26..29 => self.unsubscribe(),
            29..36 => self.leave(),
            36..54 => self.give_room(),
            54..84 => self.publish(),
            84..88 => {
                self.now += Duration::from_millis(self.dice.roll() % 3_000);
                self.turn();
            }
            88 if self.dice.one_in(8) => self.reload(),
            89 if self.dice.one_in(8) => self.change_epoch(),
            90 if self.dice.one_in(4) => self.miss(),
            _ => self.turn(),
        }
        if self.dice.one_in(3) {
            self.turn();
        }
    }

    fn end(&mut self) {
        for client in &self.clients {
            client.wire.borrow_mut().room = usize::MAX;
        }
        for _ in 0..10_000 {
            let waits: Vec<usize> = (0..self.clients.len())
                .filter(|&index| self.clients[index].wire.borrow().wants_room)
                .collect();
            let is_idle = self.engine.poll_timeout() != Some(Duration::ZERO);
            if waits.is_empty() && is_idle && self.engine.owes_nothing() {
                break;
            }
            waits.into_iter().for_each(|index| self.writable(index));
            self.turn();
        }
        (0..5).for_each(|_| self.turn());
        for client in &self.clients {
            client.check_end(&self.log.events);
        }
        self.engine.close_all(Farewell::Silent);
        for _ in 0..20 {
            self.now += Duration::from_secs(1);
            self.turn();
        }
        assert_eq!(self.engine.connections(), 0, "a slot is left");
        assert_eq!(self.engine.subscriptions(), 0, "a subscription is left");
        self.rules.topics.clear();
        let _ = self.engine.set_rules(self.rules.clone());
        self.turn();
        assert_eq!(self.engine.topics(), 0, "a topic is left");
        assert_eq!(self.engine.history_bytes(), 0, "an event is left");
    }
}

impl HistoryWorld {
    fn turn(&mut self) {
        self.engine.start_turn(self.now);
        self.engine.take_in();
        self.judge();
        self.engine.hand_out();
        self.engine.reap();
        self.look();
        if let Err(text) = self.engine.audit() {
            panic!("the books do not agree: {text}");
        }
    }

    fn judge(&mut self) {
        while let Some(check) = self.engine.poll_check() {
            let verdict = Verdict::Accepted(Standing::new(Default::default()));
            self.engine.handle_verdict(check.id, verdict);
        }
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.dice.below(self.clients.len()))
    }

    /// Something that a client may say that it has of a topic: what one had that has left, or something wrong.
    fn draw_since(&mut self, n: usize) -> String {
        let known: Vec<EventId> = (self.left.iter())
            .filter(|(topic, _)| *topic == n)
            .map(|(_, position)| *position)
            .collect();
        let newest = self.log.sequence;
        let id = match self.dice.below(8) {
            0 => return ["", "-", "abc", "aaaaaaaa-01", "aaaaaaaa-+1"][self.dice.below(5)].into(),
            1 => EventId {
                epoch: epoch(200),
                sequence: 1 + self.dice.below(9) as u64,
            },
            2 => self.log.id(newest + 1),
            3 => self.log.id(self.dice.roll() % (1 + newest)),
            _ if known.is_empty() => self.log.id(0),
            _ => known[self.dice.below(known.len())],
        };
        id.to_string()
    }

    fn draw_asked(&mut self, n: usize) -> Asked {
        Asked {
            since: (!self.dice.one_in(3)).then(|| self.draw_since(n)),
            last: self.dice.one_in(2).then(|| self.dice.below(6)),
        }
    }

    fn request(&self, n: usize, asked: Asked) -> Request {
        self.log.request(n, asked, &self.rules, self.now)
    }

    fn connect(&mut self) {
        if self.clients.len() > 12 {
            return;
        }
        let dialect = [Dialect::Wamp1, Dialect::Wamp2, Dialect::Wamp2, Dialect::Sse];
        let dialect = dialect[self.dice.below(4)];
        let (stream, wire) = FakeStream::new();
        wire.borrow_mut().room = match self.dice.below(3) {
            0 => 600,
            _ => usize::MAX,
        };
        wire.borrow_mut().piece = match self.dice.below(4) {
            0 => 1 + self.dice.below(200),
            _ => usize::MAX,
        };
        let Ok(id) = self
            .engine
            .handle_connection(stream, SocketAddr::from(([10, 0, 0, 1], 7)))
        else {
            return;
        };
        let mut client = Client::new(id, wire, dialect);
        let upgrade = |offer: &str| {
            format!(
                "GET /?token=t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: {offer}\r\n\r\n"
            )
        };
        let mut bytes = match dialect {
            Dialect::Wamp1 => upgrade("wamp").into_bytes(),
            Dialect::Wamp2 => upgrade("wamp.2.json").into_bytes(),
            Dialect::Sse => self.stream_head(&mut client).into_bytes(),
        };
        if dialect == Dialect::Wamp2 {
            bytes.extend(masked(0x81, b"[1,\"r\",{}]", &mut self.dice));
        }
        client.wire.borrow_mut().to_server.extend(bytes);
        self.clients.push(client);
        self.engine.handle_readable(id, false);
        // What is behind the head is read in the next turn.
        self.turn();
        self.turn();
    }

    fn stream_head(&mut self, client: &mut Client) -> String {
        let count = 1 + self.dice.below(self.topics);
        let topics: BTreeSet<usize> = (0..count).map(|_| self.dice.below(self.topics)).collect();
        let first = *topics.first().expect("there is one");
        let asked = self.draw_asked(first);
        let mut query = String::new();
        for &n in &topics {
            query += &format!("&topic={}", topic(n));
            client.is_mixed |= !keeps(&self.rules.topics, n);
            client.of_stream.push(self.request(n, asked.clone()));
            client.topics.insert(n, Subscription::default());
        }
        let mut lines = String::new();
        if let Some(since) = &asked.since {
            match self.dice.one_in(2) {
                true => lines = format!("Last-Event-ID: {since}\r\n"),
                false => query += &format!("&last_event_id={}", since.replace('+', "%2B")),
            }
        }
        if let Some(last) = asked.last {
            query += &format!("&last={last}");
        }
        format!(
            "GET /?token=t{query} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n"
        )
    }

    /// The engine reads what a client has sent, at once. The client must have read its own answers.
    fn say(&mut self, index: usize, text: &str) {
        let bytes = masked(0x81, text.as_bytes(), &mut self.dice);
        let client = &self.clients[index];
        client.wire.borrow_mut().to_server.extend(bytes);
        self.engine.handle_readable(client.id, false);
        self.engine.read();
        let is_read = self.clients[index].wire.borrow().to_server.is_empty();
        assert!(is_read, "{text} waits");
    }

    /// Returns true when a client can be read: it has been sent all its answers.
    fn is_readable(&mut self, index: usize) -> bool {
        self.engine.pay();
        let client = &self.clients[index];
        !client.is_ended && !client.wire.borrow().wants_room
    }

    /// A client subscribes to a topic, which it may have already.
    fn subscribe(&mut self) {
        let Some(index) = self.pick() else { return };
        let n = self.dice.below(self.topics);
        if !self.is_readable(index) || self.clients[index].is_waiting(n) {
            return;
        }
        let client = &self.clients[index];
        let is_again = client.topics.contains_key(&n);
        match client.dialect {
            Dialect::Sse => {}
            Dialect::Wamp1 => {
                let request = self.request(n, Asked::default());
                if !is_again {
                    let mut subscription = Subscription::default();
                    subscription.offer_past(&request.last);
                    self.clients[index].topics.insert(n, subscription);
                }
                self.say(index, &format!("[5,\"topic-{n}\"]"));
            }
            Dialect::Wamp2 => {
                let asked = match self.dice.one_in(4) {
                    true => Asked::default(),
                    false => self.draw_asked(n),
                };
                self.requests += 1;
                let number = self.requests;
                let mut options = serde_json::Map::new();
                if let Some(since) = &asked.since {
                    options.insert("x_since".to_owned(), since.as_str().into());
                }
                if let Some(last) = asked.last {
                    options.insert("x_last".to_owned(), last.into());
                }
                let is_asked = !options.is_empty();
                let request = Request {
                    is_again,
                    ..self.request(n, asked)
                };
                let client = &mut self.clients[index];
                if is_asked && !std::mem::replace(&mut client.takes_notices, true) {
                    // What was dropped until now is not told.
                    client
                        .topics
                        .values_mut()
                        .for_each(Subscription::allow_false_gaps);
                }
                if !is_again {
                    let mut subscription = Subscription::default();
                    if !is_asked {
                        subscription.offer_past(&request.last);
                    }
                    client.topics.insert(n, subscription);
                }
                client.requests.insert(number, request);
                let options = Value::Object(options);
                self.say(index, &format!("[32,{number},{options},\"topic-{n}\"]"));
            }
        }
    }

    fn unsubscribe(&mut self) {
        let Some(index) = self.pick() else { return };
        let is_readable = self.is_readable(index);
        let client = &mut self.clients[index];
        let Some((&number, &n)) = client.numbers.first_key_value() else {
            return;
        };
        if !is_readable || client.is_waiting(n) {
            return;
        }
        // What is on its way may still come: it is not followed any further.
        client.listen(&self.log.events);
        client.numbers.remove(&number);
        let position = client.position(n);
        self.left.extend(position.map(|position| (n, position)));
        client.topics.remove(&n);
        self.requests += 1;
        let text = format!("[34,{},{number}]", self.requests);
        self.say(index, &text);
    }

    /// A client vanishes; another one may come back with what it has.
    fn leave(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = &mut self.clients[index];
        if client.is_ended {
            return;
        }
        client.listen(&self.log.events);
        client.is_ended = true;
        client.check_position(&self.log.events);
        for &n in client.topics.keys() {
            let position = client.position(n);
            self.left.extend(position.map(|position| (n, position)));
        }
        let old = self.left.len().saturating_sub(LEFT_MAX);
        self.left.drain(..old);
        client.wire.borrow_mut().peer_ended = true;
        self.engine.handle_readable(client.id, true);
    }

    fn give_room(&mut self) {
        let Some(index) = self.pick() else { return };
        let room = self.dice.below(2_000);
        let wire = Rc::clone(&self.clients[index].wire);
        let before = wire.borrow().room;
        wire.borrow_mut().room = before.saturating_add(room);
        self.writable(index);
    }

    fn writable(&mut self, index: usize) {
        let client = &self.clients[index];
        if std::mem::take(&mut client.wire.borrow_mut().wants_room) {
            self.engine.handle_writable(client.id);
        }
    }

    fn publish(&mut self) {
        let burst = if self.dice.one_in(8) { 25 } else { 1 };
        for _ in 0..burst {
            if self.engine.is_congested() {
                return;
            }
            let n = self.dice.below(self.topics);
            self.publish_to(n);
        }
    }

    fn publish_to(&mut self, n: usize) {
        let step = 1 + self.dice.below(2) as u64;
        let at = self.log.take_in(n, step, self.now);
        let padding = "x".repeat([0, 0, 0, 200][self.dice.below(4)]);
        let data = format!("[{at},\"{padding}\"]");
        for client in self.clients.iter_mut().filter(|client| !client.is_ended) {
            if let Some(subscription) = client.topics.get_mut(&n) {
                subscription.owe(at);
            }
        }
        self.engine.handle_event(&Event {
            id: Some(self.log.events[at].id),
            ..Event::new(topic(n).into(), &data)
        });
    }

    /// Other rules, of which some keep less.
    fn reload(&mut self) {
        let before = std::mem::replace(
            &mut self.rules.topics,
            draw_rules(self.topics, &mut self.dice),
        );
        self.rules.history_bytes_max = [3_000, 20_000, WIDE][self.dice.below(3)];
        self.log.note_reload();
        if self.engine.set_rules(self.rules.clone()) {
            let own = self.dice.one_in(2).then(|| self.log.count_up(1));
            self.engine.handle_other_topics(own);
            let is_newly_kept = |&n: &usize| !keeps(&before, n) && keeps(&self.rules.topics, n);
            let newly_kept = (0..self.topics).filter(is_newly_kept).collect();
            self.log
                .note_other_topics(newly_kept, own.is_some(), self.now);
        }
        self.note_break();
        self.turn();
    }

    /// The relay starts again. Its first event says so.
    fn change_epoch(&mut self) {
        self.log.begin_epoch(self.dice.below(3) as u64);
        self.note_break();
        let before = self.log.events.len();
        while self.log.events.len() == before {
            self.turn();
            self.publish();
        }
    }

    /// What clients are told of a gap need not be exact from here on, for the subscriptions that there are.
    fn note_break(&mut self) {
        let clients = self.clients.iter_mut();
        clients
            .flat_map(|client| client.topics.values_mut())
            .for_each(Subscription::allow_false_gaps);
    }

    /// The server misses events. They have a number that this server has used up for them, or numbers of a relay.
    fn miss(&mut self) {
        let own = self.dice.one_in(2).then(|| self.log.count_up(1));
        if self.dice.one_in(3) {
            let is_gap = self.dice.one_in(2);
            self.engine.handle_source_joined(is_gap, own);
            self.log.note_joined(own.is_some(), self.now);
            if is_gap {
                (0..self.topics).for_each(|n| self.expect_notice(n));
            }
            return;
        }
        let n = self.dice.below(self.topics);
        self.engine.handle_missed(&topic(n), own);
        self.expect_notice(n);
        if own.is_none() {
            // The next one of the topic has come: that is how the loss was noticed.
            self.publish_to(n);
        }
        self.log
            .note_missed(n, own.is_some(), &self.rules, self.now);
    }

    /// All subscribers of a topic have to be told before the next event.
    fn expect_notice(&mut self, n: usize) {
        for client in self.clients.iter_mut().filter(|c| c.takes_notices) {
            if let Some(subscription) = client.topics.get_mut(&n) {
                subscription.expect_notice(self.log.events.len());
            }
        }
    }

    fn look(&mut self) {
        let max = self.rules.outbox_bytes_max;
        for client in &mut self.clients {
            client.listen(&self.log.events);
            let view = self.engine.connection_at(client.id.index());
            let owed = view
                .filter(|view| view.id == client.id)
                .map_or(0, |view| view.outbox_bytes);
            assert!(
                owed <= max || client.is_ended,
                "{:?} is owed {owed} bytes of {max}",
                client.id
            );
        }
        self.clients.retain(|client| {
            let wire = client.wire.borrow();
            !wire.is_dropped
        });
        for client in &mut self.clients {
            client.is_ended |= client.wire.borrow().server_ended;
        }
    }
}

#[test]
fn a_client_has_everything_since_its_position_or_is_told() {
    simulate::<HistoryWorld>(STEPS, STEPS_PER_WORLD);
}
