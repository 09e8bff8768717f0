//! The engine's history among clients that vanish, come back with what they have, and read slowly, in virtual time, from
//! one seed.
//!
//! Rules for topics keep few or many events, for a while, and drop events for slow readers in both ways; all kept events
//! together have a tight bound or a wide one. Relays start again with another epoch, and sources miss events. Clients speak
//! WAMP v1, v2 and server-sent events; their sockets take little, much or nothing; they come back with the position of one
//! that has left, or with something that was never an id.
//!
//! The model is a log of all events. A client has every event of a topic behind its position once and in order, or was told
//! that it has not: by the notice of its subscription, or by a gap.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use kit::raw::{Ear, Heard};
use newswire::engine::{Engine, Farewell, Rules, SlotId};
use newswire::standing::{Standing, Verdict};
use newswire::wire::envelope::Event;
use newswire::wire::id::{Epoch, EventId};
use newswire::wire::topic_rule::TopicRule;
use serde_json::Value;

use super::subscriber::{masked, topic};
use super::{World, simulate};
use crate::stream::{FakeStream, Pipe};

const STEPS: u64 = 60_000;
const STEPS_PER_WORLD: u64 = 1_500;

/// A connection to a source counts as new for so long.
const SETTLES: Duration = Duration::from_millis(newswire::limits::SOURCE_SETTLES_MILLISECONDS);

/// Beyond all that a world can keep.
const WIDE: usize = 1 << 24;

/// An event that was taken in.
struct Logged {
    topic: usize,
    id: EventId,
    at: Duration,
}

/// What may be the answer to a client that asks for the past.
#[derive(Debug, Eq, PartialEq)]
enum Expected {
    /// Everything behind this sequence.
    Recovered,
    /// Nothing, for this reason.
    Not(&'static str),
    /// Either of both: what is kept depends on time or room.
    RecoveredOrFloor,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dialect {
    Wamp1,
    Wamp2,
    Sse,
}

/// What a client asks of the past.
#[derive(Clone, Debug, Default)]
struct Asked {
    since: Option<String>,
    last: Option<usize>,
}

/// A topic of a client.
#[derive(Default)]
struct Subscription {
    /// Places in the log of the events that it is to get, in order.
    owed: VecDeque<usize>,
    /// Places in the log of those that it may get or not.
    optional: BTreeSet<usize>,
    /// True exactly when it was told of a gap, and has heard no event since.
    was_told: bool,
    /// True exactly when that gap is one of the history. Where room is tight, the ring of a topic goes whole, and nobody knows
    /// any more what was in it: then the client is told to be on the safe side.
    is_of_history: bool,
    /// True exactly when it has heard an event behind one that it did not get, and was not told.
    is_untold: bool,
    /// True once the relay has started again, or events wait that came under other rules: then a notice of a gap may come
    /// too early, or be about nothing.
    may_be_false: bool,
    /// The server has missed events before this place in the log, and it was not told yet.
    untold_from: Option<usize>,
    /// WAMP v2: its position.
    position: Option<EventId>,
}

/// A request whose answer was not heard yet.
struct Request {
    topic: usize,
    asked: Asked,
    expected: Expected,
    /// Places in the log of the events behind its `since`, and of the last ones.
    behind: Vec<usize>,
    last: Vec<usize>,
}

struct Client {
    id: SlotId,
    wire: Rc<RefCell<Pipe>>,
    ear: Ear,
    dialect: Dialect,
    topics: BTreeMap<usize, Subscription>,
    /// By the number of the request; those of a stream have none.
    requests: BTreeMap<u64, Request>,
    of_stream: Vec<Request>,
    /// Topics by the number of their subscription.
    numbers: BTreeMap<u64, usize>,
    /// A stream's position.
    position: Option<EventId>,
    /// True exactly when one of a stream's topics keeps nothing: it can never recover, and its live events do not wait for
    /// the kept ones of the others.
    is_mixed: bool,
    takes_notices: bool,
    is_ended: bool,
}

struct HistoryWorld {
    dice: Dice,
    rules: Rules,
    engine: Engine<FakeStream>,
    now: Duration,
    topics: usize,
    log: Vec<Logged>,
    epoch: u8,
    sequence: u64,
    /// Of the present epoch: up to here events of any topic may have been missed.
    floor: u64,
    /// The same, perhaps.
    unsure_floor: u64,
    /// The same, of one topic.
    missed: BTreeMap<usize, u64>,
    joined: Option<Duration>,
    /// True exactly when events of any topic were missed that a relay has numbered, and none has come since.
    has_gap: bool,
    /// Places in the log before which nothing is known of what is kept.
    unsure_before: usize,
    clients: Vec<Client>,
    /// Positions of clients that have left, by topic.
    left: Vec<(Dialect, BTreeMap<usize, EventId>)>,
    requests: u64,
}

fn epoch(n: u8) -> Epoch {
    Epoch::new([n; 8])
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
            ..Rules::default()
        };
        let mut world = Self {
            engine: Engine::new(rules.clone(), dice.roll()),
            rules,
            now: Duration::from_millis(dice.roll() % 5_000),
            topics,
            log: Vec::new(),
            epoch: 0,
            sequence: 0,
            floor: 0,
            unsure_floor: 0,
            missed: BTreeMap::new(),
            joined: None,
            has_gap: false,
            unsure_before: 0,
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
            client.check_end(&self.log);
        }
        self.engine.close_all(Farewell::Silent);
        for _ in 0..20 {
            self.now += Duration::from_secs(1);
            self.turn();
        }
        assert_eq!(self.engine.connections(), 0, "a slot is left");
        assert_eq!(self.engine.subscriptions(), 0, "a subscription is left");
        self.rules.topics.clear();
        self.engine.set_rules(self.rules.clone());
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

    fn rule(&self, n: usize) -> Option<&TopicRule> {
        let name = topic(n);
        self.rules.topics.iter().find(|rule| rule.matches(&name))
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.dice.below(self.clients.len()))
    }

    fn newest(&self) -> u64 {
        self.sequence
    }

    /// Something that a client may say that it has of a topic: what one had that has left, or something wrong.
    fn draw_since(&mut self, n: usize) -> String {
        let known: Vec<EventId> = (self.left.iter())
            .filter_map(|(_, positions)| positions.get(&n).copied())
            .collect();
        match self.dice.below(8) {
            0 => ["", "-", "abc", "aaaaaaaa-01", "aaaaaaaa-+1"][self.dice.below(5)].to_owned(),
            1 => format!("{}-{}", epoch(200), 1 + self.dice.below(9)),
            2 => format!("{}-{}", epoch(self.epoch), self.newest() + 1),
            3 => format!(
                "{}-{}",
                epoch(self.epoch),
                self.dice.below(1 + self.newest() as usize)
            ),
            _ if known.is_empty() => format!("{}-0", epoch(self.epoch)),
            _ => known[self.dice.below(known.len())].to_string(),
        }
    }

    fn draw_asked(&mut self, n: usize) -> Asked {
        Asked {
            since: (!self.dice.one_in(3)).then(|| self.draw_since(n)),
            last: self.dice.one_in(2).then(|| self.dice.below(6)),
        }
    }

    /// Places in the log of a topic's events that may be kept, and of those that are kept for sure.
    fn kept(&self, n: usize) -> (Vec<usize>, Vec<usize>) {
        let Some(rule) = self.rule(n).filter(|rule| rule.keeps()) else {
            return Default::default();
        };
        let events = (0..self.log.len()).filter(|&at| self.log[at].topic == n);
        let events: Vec<usize> = events.collect();
        // The ring of another epoch is dropped with the first event of this one.
        let newest = events.last().map(|&at| self.log[at].id.epoch);
        let mut kept: Vec<usize> = events
            .into_iter()
            .filter(|&at| Some(self.log[at].id.epoch) == newest)
            .collect();
        kept.drain(..kept.len().saturating_sub(rule.events_kept()));
        let is_sure = |&at: &usize| {
            let age = (self.now - self.log[at].at).as_secs();
            let is_young = rule.age_seconds.is_none_or(|max| age + 1 < max.into());
            is_young && self.rules.history_bytes_max == WIDE && at >= self.unsure_before
        };
        let sure = kept.iter().copied().filter(is_sure).collect();
        (kept, sure)
    }

    /// What the answer to a client has to be that names a position.
    fn expected(&self, n: usize, since: Option<&str>) -> Expected {
        if !self.rule(n).is_some_and(TopicRule::keeps) {
            return Expected::Not("none");
        }
        let Some(since) = since else {
            return Expected::Not("none");
        };
        let Some(position) = EventId::parse_position(since.as_bytes()) else {
            return Expected::Not("unknown");
        };
        if position.epoch != epoch(self.epoch) {
            return Expected::Not("epoch");
        }
        if position.sequence > self.newest() {
            return Expected::Not("unknown");
        }
        let missed = self.missed.get(&n).copied().unwrap_or(0);
        if self.has_gap || position.sequence < self.floor.max(missed) {
            return Expected::Not("floor");
        }
        let behind = self.behind(n, position);
        let (kept, sure) = self.kept(n);
        // Other rules have kept more, or less.
        if self.unsure_before > 0 {
            return Expected::RecoveredOrFloor;
        }
        if !behind.iter().all(|at| kept.contains(at)) {
            return Expected::Not("floor");
        }
        let is_sure = behind.iter().all(|at| sure.contains(at))
            && position.sequence >= self.unsure_floor
            && self.rules.history_bytes_max == WIDE;
        match is_sure {
            true => Expected::Recovered,
            false => Expected::RecoveredOrFloor,
        }
    }

    /// Places in the log of a topic's events behind a position.
    fn behind(&self, n: usize, position: EventId) -> Vec<usize> {
        let is_behind = |&at: &usize| {
            let Logged { topic, id, .. } = self.log[at];
            topic == n && id.epoch == position.epoch && id.sequence > position.sequence
        };
        (0..self.log.len()).filter(is_behind).collect()
    }

    fn request(&self, n: usize, asked: Asked) -> Request {
        let since = asked.since.as_deref();
        let position = since.and_then(|text| EventId::parse_position(text.as_bytes()));
        let sends_last = self.rule(n).is_some_and(|rule| rule.sends_last);
        let count = asked.last.unwrap_or(0).max(sends_last.into());
        let (kept, _) = self.kept(n);
        Request {
            topic: n,
            expected: self.expected(n, since),
            behind: position.map_or(Vec::new(), |position| self.behind(n, position)),
            last: kept[kept.len().saturating_sub(count)..].to_vec(),
            asked,
        }
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
        let mut client = Client {
            id,
            wire,
            ear: Ear::default(),
            dialect,
            topics: BTreeMap::new(),
            requests: BTreeMap::new(),
            of_stream: Vec::new(),
            numbers: BTreeMap::new(),
            position: None,
            is_mixed: false,
            takes_notices: dialect == Dialect::Sse,
            is_ended: false,
        };
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
            client.is_mixed |= !self.rule(n).is_some_and(TopicRule::keeps);
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

    /// The engine reads what a client has sent, at once.
    fn say(&mut self, index: usize, text: &str) {
        let bytes = masked(0x81, text.as_bytes(), &mut self.dice);
        let client = &self.clients[index];
        client.wire.borrow_mut().to_server.extend(bytes);
        self.engine.handle_readable(client.id, false);
        self.engine.read();
    }

    fn subscribe(&mut self) {
        let Some(index) = self.pick() else { return };
        let n = self.dice.below(self.topics);
        let client = &self.clients[index];
        let is_waiting = client.requests.values().any(|request| request.topic == n);
        // A client that has not read its own answers is read no further.
        let is_known = client.topics.contains_key(&n);
        if client.is_ended || is_waiting || is_known || client.wire.borrow().wants_room {
            return;
        }
        match client.dialect {
            Dialect::Sse => {}
            Dialect::Wamp1 => {
                let request = self.request(n, Asked::default());
                let mut subscription = Subscription::default();
                subscription.optional.extend(&request.last);
                subscription.owed.extend(&request.last);
                self.clients[index].topics.insert(n, subscription);
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
                let request = self.request(n, asked);
                let client = &mut self.clients[index];
                if is_asked && !std::mem::replace(&mut client.takes_notices, true) {
                    // What was dropped until now is not told.
                    for subscription in client.topics.values_mut() {
                        subscription.may_be_false = true;
                    }
                }
                let mut subscription = Subscription::default();
                if !is_asked {
                    subscription.optional.extend(&request.last);
                    subscription.owed.extend(&request.last);
                }
                client.topics.insert(n, subscription);
                client.requests.insert(number, request);
                let options = Value::Object(options);
                self.say(index, &format!("[32,{number},{options},\"topic-{n}\"]"));
            }
        }
    }

    fn unsubscribe(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = &mut self.clients[index];
        let Some((&number, &n)) = client.numbers.first_key_value() else {
            return;
        };
        // What is on its way may still come: it is not followed any further.
        if client.is_ended
            || client.wire.borrow().wants_room
            || client.requests.values().any(|r| r.topic == n)
        {
            return;
        }
        client.listen(&self.log);
        client.numbers.remove(&number);
        if let Some(subscription) = client.topics.remove(&n) {
            client.note_left(n, &subscription, &mut self.left);
        }
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
        client.listen(&self.log);
        client.is_ended = true;
        client.check_position(&self.log);
        let mut positions = BTreeMap::new();
        for (&n, subscription) in &client.topics {
            let position = match client.dialect {
                Dialect::Sse => client.position,
                _ => subscription.position,
            };
            positions.extend(position.map(|position| (n, position)));
        }
        self.left.push((client.dialect, positions));
        if self.left.len() > 20 {
            self.left.remove(0);
        }
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
        self.sequence += 1 + self.dice.below(2) as u64;
        let id = EventId {
            epoch: epoch(self.epoch),
            sequence: self.sequence,
        };
        if std::mem::take(&mut self.has_gap) {
            self.floor = self.sequence - 1;
        }
        if self.joined.is_some_and(|at| self.now < at + SETTLES) {
            self.floor = self.sequence;
        }
        let at = self.log.len();
        self.log.push(Logged {
            topic: n,
            id,
            at: self.now,
        });
        let padding = "x".repeat([0, 0, 0, 200][self.dice.below(4)]);
        let data = format!("[{at},\"{padding}\"]");
        for client in self.clients.iter_mut().filter(|client| !client.is_ended) {
            if let Some(subscription) = client.topics.get_mut(&n) {
                subscription.owed.push_back(at);
            }
        }
        self.engine.handle_event(&Event {
            id: Some(id),
            ..Event::new(topic(n).into(), &data)
        });
    }

    /// Other rules, of which some keep less.
    fn reload(&mut self) {
        self.rules.topics = draw_rules(self.topics, &mut self.dice);
        self.rules.history_bytes_max = [3_000, 20_000, WIDE][self.dice.below(3)];
        self.engine.set_rules(self.rules.clone());
        self.unsure_before = self.log.len();
        self.note_break();
        self.turn();
    }

    /// The relay has started again.
    fn change_epoch(&mut self) {
        self.epoch += 1;
        self.sequence = self.dice.below(3) as u64;
        self.missed.clear();
        self.unsure_floor = 0;
        self.has_gap = false;
        self.note_break();
        // Its first event says so.
        self.floor = self.sequence;
        self.publish_one();
    }

    /// What clients are told of a gap need not be exact from here on, for the subscriptions that there are.
    fn note_break(&mut self) {
        let clients = self.clients.iter_mut();
        for subscription in clients.flat_map(|client| client.topics.values_mut()) {
            subscription.may_be_false = true;
        }
    }

    fn publish_one(&mut self) {
        let before = self.log.len();
        while self.log.len() == before {
            self.turn();
            self.publish();
        }
        self.floor = self.floor.max(self.log[before].id.sequence - 1);
    }

    /// The server misses events. They have a number that this server has used up for them, or numbers of a relay.
    fn miss(&mut self) {
        let is_own = self.dice.one_in(2);
        self.sequence += u64::from(is_own);
        let at = is_own.then_some(EventId {
            epoch: epoch(self.epoch),
            sequence: self.sequence,
        });
        if is_own && std::mem::take(&mut self.has_gap) {
            self.floor = self.sequence - 1;
        }
        if self.dice.one_in(3) {
            let is_gap = self.dice.one_in(2);
            self.engine.handle_source_joined(is_gap, at);
            self.joined = Some(self.now);
            match is_own {
                true => self.floor = self.sequence,
                false => self.has_gap = true,
            }
            if is_gap {
                (0..self.topics).for_each(|n| self.expect_notice(n));
            }
            return;
        }
        let n = self.dice.below(self.topics);
        self.engine.handle_missed(&topic(n), at);
        if is_own && self.joined.is_some_and(|at| self.now < at + SETTLES) {
            self.floor = self.sequence;
        }
        self.expect_notice(n);
        let is_kept = self.rule(n).is_some_and(TopicRule::keeps);
        let floor = match is_own {
            true => self.sequence,
            // The next one of the topic has come: that is how the loss was noticed.
            false => {
                self.publish_to(n);
                self.sequence - 1
            }
        };
        if is_kept {
            self.missed.insert(n, floor);
            // Where the engine has no ring of the topic, it is careful with all topics.
            self.unsure_floor = floor;
        }
    }

    /// All subscribers of a topic have to be told before the next event.
    fn expect_notice(&mut self, n: usize) {
        for client in self.clients.iter_mut().filter(|c| c.takes_notices) {
            if let Some(subscription) = client.topics.get_mut(&n) {
                subscription.untold_from = Some(self.log.len());
            }
        }
    }

    fn look(&mut self) {
        let max = self.rules.outbox_bytes_max;
        for client in &mut self.clients {
            client.listen(&self.log);
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

impl Subscription {
    /// An event of the topic is heard.
    fn hear(&mut self, at: usize, takes_notices: bool, whose: &str) {
        let (mut has_lost, mut has_skipped) = (false, false);
        loop {
            let Some(next) = self.owed.pop_front() else {
                panic!("{whose}: hears event {at}, which it is not owed");
            };
            if next == at {
                break;
            }
            assert!(next < at, "{whose}: hears {at} before {next}");
            has_skipped = true;
            has_lost |= !self.optional.contains(&next);
        }
        let is_untold = self.untold_from.is_some_and(|from| at >= from);
        assert!(
            !is_untold,
            "{whose}: hears {at} before it is told what was missed"
        );
        let is_careful = self.may_be_false || self.is_of_history;
        let is_false = self.was_told && !has_skipped && !is_careful;
        assert!(
            !is_false,
            "{whose}: was told of a gap before {at} that is none"
        );
        let has_to_know = takes_notices && !self.was_told && !self.may_be_false;
        self.is_untold |= has_lost && has_to_know;
        self.was_told = false;
    }

    fn tell(&mut self, is_of_history: bool) {
        self.is_of_history = is_of_history;
        match std::mem::take(&mut self.is_untold) {
            true => {}
            false => self.was_told = true,
        }
    }
}

impl Client {
    fn whose(&self, n: usize) -> String {
        format!("{:?} {:?} topic-{n}", self.id, self.dialect)
    }

    /// Takes what the server has written, and compares it with what is owed.
    fn listen(&mut self, log: &[Logged]) {
        let bytes = std::mem::take(&mut self.wire.borrow_mut().from_server);
        if self.is_ended {
            return;
        }
        self.ear.push(&bytes);
        let heard: Vec<Heard> = self.ear.by_ref().collect();
        for heard in heard {
            match heard {
                Heard::Frame(0x81, text) => self.hear_text(&text, log),
                Heard::Event(lines) => self.hear_lines(&lines, log),
                Heard::Frame(0x88, _) => self.is_ended = true,
                Heard::Frame(0x89, _) | Heard::Http(_) | Heard::End => {}
                other => panic!("{other}"),
            }
        }
    }

    fn hear_text(&mut self, text: &[u8], log: &[Logged]) {
        let value: Value = serde_json::from_slice(text).expect("JSON");
        let number = |at: usize| value[at].as_u64().expect("a number");
        match (self.dialect, number(0)) {
            (Dialect::Wamp1, 0) | (Dialect::Wamp2, 2 | 3 | 6 | 35) => {}
            (Dialect::Wamp1, 8) => {
                let at = value[2][0].as_u64().expect("a place") as usize;
                self.hear_event(at, None, log);
            }
            (Dialect::Wamp2, 33) => {
                let request = &self.requests[&number(1)];
                let n = request.topic;
                if request.asked.since.is_none() && request.asked.last.is_none() {
                    self.requests.remove(&number(1));
                }
                self.numbers.insert(number(2), n);
            }
            (Dialect::Wamp2, 36) if value.get(4).is_some() => {
                let at = value[4][0][0].as_u64().expect("a place") as usize;
                // A topic that was left is not followed any further.
                if self.numbers.get(&number(1)) == Some(&log[at].topic) {
                    let id = value[3].get("x_id").and_then(Value::as_str);
                    self.hear_event(at, id, log);
                }
            }
            (Dialect::Wamp2, 36) => {
                let Some(&n) = self.numbers.get(&number(1)) else {
                    return;
                };
                assert!(self.takes_notices, "a notice for a client that takes none");
                match value[3].get("x_gap").and_then(Value::as_str) {
                    Some(gap) => self.hear_gap(n, gap),
                    None => {
                        let asked = self.requests.iter().find(|(_, r)| r.topic == n);
                        let asked = *asked.expect("it has asked").0;
                        let request = self.requests.remove(&asked).expect("it is there");
                        let details = &value[3];
                        let position = self.hear_notice(
                            &[request],
                            details["x_recovered"] == true,
                            details["x_id"].as_str().expect("an id"),
                            details["x_reason"].as_str(),
                        );
                        let subscription = self.topics.get_mut(&n).expect("it is subscribed");
                        subscription.position = Some(position);
                    }
                }
            }
            (_, kind) => panic!("{kind}: {value}"),
        }
    }

    fn hear_lines(&mut self, lines: &str, log: &[Logged]) {
        if lines == ":" || lines.starts_with("retry: ") {
            return;
        }
        let field = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name));
        let data: Value = serde_json::from_str(field("data: ").expect("data")).expect("JSON");
        let id = field("id: ");
        if field("event: ").is_none() {
            let at = data["data"][0].as_u64().expect("a place") as usize;
            return self.hear_event(at, id, log);
        }
        if let Some(gap) = data["gap"].as_str() {
            assert_eq!(id, None, "a gap moves no position");
            let name = data["topic"].as_str().expect("a topic");
            let n = name.strip_prefix("topic-").and_then(|n| n.parse().ok());
            return self.hear_gap(n.expect("a topic of this world"), gap);
        }
        let requests = std::mem::take(&mut self.of_stream);
        let position = self.hear_notice(
            &requests,
            data["recovered"] == true,
            data["id"].as_str().expect("an id"),
            data["reason"].as_str(),
        );
        assert_eq!(id, data["id"].as_str());
        self.position = Some(position);
    }

    /// Hears what it gets of the past of these topics. Returns its position.
    fn hear_notice(
        &mut self,
        requests: &[Request],
        is_recovered: bool,
        id: &str,
        reason: Option<&str>,
    ) -> EventId {
        let position = EventId::parse_position(id.as_bytes()).expect("a position");
        assert_eq!(is_recovered, reason.is_none());
        let may_be = |request: &Request| match (&request.expected, is_recovered) {
            (Expected::Recovered | Expected::RecoveredOrFloor, true) => true,
            (Expected::Not(expected), false) => reason == Some(*expected),
            (Expected::RecoveredOrFloor, false) => reason == Some("floor"),
            (Expected::Recovered, false) | (Expected::Not(_), true) => false,
        };
        let expected: Vec<_> = requests.iter().map(|request| &request.expected).collect();
        let is_good = match is_recovered {
            true => requests.iter().all(may_be),
            // One topic is enough.
            false => requests.iter().any(may_be),
        };
        assert!(
            is_good,
            "{:?} is told {is_recovered} {reason:?}: {expected:?}",
            self.id
        );
        for request in requests {
            if is_recovered {
                assert_eq!(request.asked.since.as_deref(), Some(id));
            }
            let Some(subscription) = self.topics.get_mut(&request.topic) else {
                continue;
            };
            let before = match is_recovered {
                true => &request.behind,
                false => &request.last,
            };
            if !is_recovered {
                subscription.optional.extend(before);
            }
            for &at in before.iter().rev() {
                subscription.owed.push_front(at);
            }
        }
        position
    }

    fn hear_event(&mut self, at: usize, id: Option<&str>, log: &[Logged]) {
        let Logged {
            topic: n,
            id: expected,
            ..
        } = log[at];
        let whose = self.whose(n);
        let Some(subscription) = self.topics.get_mut(&n) else {
            return;
        };
        subscription.hear(at, self.takes_notices, &whose);
        let Some(id) = id else { return };
        assert_eq!(id, expected.to_string());
        let position = match self.dialect {
            Dialect::Sse => {
                let before = self
                    .position
                    .filter(|before| before.epoch == expected.epoch);
                let is_next = before.is_none_or(|before| before.sequence < expected.sequence);
                assert!(is_next || self.is_mixed, "{whose}: {id} takes it back");
                &mut self.position
            }
            _ => &mut subscription.position,
        };
        if let Some(position) = position {
            match position.epoch == expected.epoch {
                true => position.sequence = position.sequence.max(expected.sequence),
                false => *position = expected,
            }
        }
    }

    fn hear_gap(&mut self, n: usize, gap: &str) {
        match gap {
            // The log has only what was taken in.
            "upstream" => {
                if let Some(subscription) = self.topics.get_mut(&n) {
                    subscription.untold_from = None;
                }
            }
            "slow" | "history" => {
                if let Some(subscription) = self.topics.get_mut(&n) {
                    subscription.tell(gap == "history");
                }
            }
            _ => panic!("{gap}"),
        }
    }

    /// It leaves a topic: another client may come back with its position.
    fn note_left(
        &self,
        n: usize,
        subscription: &Subscription,
        left: &mut Vec<(Dialect, BTreeMap<usize, EventId>)>,
    ) {
        let position = subscription.position.map(|position| (n, position));
        left.push((self.dialect, position.into_iter().collect()));
    }

    /// Checks that no position is beyond an event that it did not get and was not told of.
    fn check_position(&self, log: &[Logged]) {
        for (&n, subscription) in &self.topics {
            let position = match self.dialect {
                Dialect::Sse => self.position,
                _ => subscription.position,
            };
            let is_unsure = subscription.was_told || subscription.may_be_false || self.is_mixed;
            let Some(position) = position.filter(|_| !is_unsure) else {
                continue;
            };
            let is_overtaken = |&&at: &&usize| {
                let id = log[at].id;
                id.epoch == position.epoch
                    && id.sequence <= position.sequence
                    && !subscription.optional.contains(&at)
            };
            let overtaken = subscription.owed.iter().find(is_overtaken);
            assert_eq!(
                overtaken,
                None,
                "{}: its position is {position}",
                self.whose(n)
            );
        }
    }

    /// Everything that was to come has come.
    fn check_end(&self, log: &[Logged]) {
        if self.is_ended || self.wire.borrow().server_ended {
            return;
        }
        self.check_position(log);
        for (&n, subscription) in &self.topics {
            let is_owed = |at: &&usize| !subscription.optional.contains(at);
            let owed = subscription.owed.iter().filter(is_owed).count();
            let may_miss = subscription.was_told || !self.takes_notices;
            assert!(
                owed == 0 || may_miss,
                "{}: owed {owed} events",
                self.whose(n)
            );
            let is_told = !subscription.is_untold || !self.takes_notices;
            assert!(is_told, "{}: was not told of a gap", self.whose(n));
        }
    }
}

#[test]
fn a_client_has_everything_since_its_position_or_is_told() {
    simulate::<HistoryWorld>(STEPS, STEPS_PER_WORLD);
}
