//! The engine among virtual publishers and clients, in virtual time, from one seed.
//!
//! Clients of all protocols connect, some of them through a proxy, speak in fragments, stall, reset, half-close, and send
//! garbage; their sockets take bytes in part or not at all; verdicts come at once, late or never, and are
//! taken back or narrowed; events burst, and some are large; an administrator disconnects clients and changes
//! the rules; the shutdown comes at any moment. Beside the engine runs a model that is too simple to be wrong:
//! what each client subscribed to, which events it is therefore owed, in which order, and what it has to do by
//! when. After every step the engine's own books are audited.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use kit::raw::{Heard, close_payload};
use newswire::engine::{Check, Engine, Farewell, Rules, SessionRules, SlotId};
use newswire::standing::{Standing, Verdict};
use newswire::stats::{Cause, Close};
use newswire::wire::envelope::Event;
use newswire::wire::grant::Grant;

use super::dialect::Dialect;
use super::subscriber::{PROXY, Route, Subscriber, What, masked, may_hear, proxies, topic};
use super::{World, simulate};
use crate::stream::FakeStream;

const STEPS: u64 = 100_000;
const STEPS_PER_WORLD: u64 = 3_000;

/// The outbox of a world in which every event that is large can be delivered.
const ROOMY: usize = 1 << 20;

/// What a client is to the model.
struct Client {
    id: SlotId,
    peer: Subscriber,
    dialect: Dialect,
    /// Where what it says of itself ends, in all that it has sent; 0 when it says nothing.
    hello_end: usize,
    /// Where the client is, if the rules did not change while its head was under way.
    address: Option<IpAddr>,
    grant: Vec<String>,
    /// True exactly when its verdict was handed over and accepted.
    is_open: bool,
    /// True once it has broken a rule, left, or been told to leave: it is owed nothing more.
    is_doomed: bool,
    /// True exactly when it reads as fast as it can.
    is_reading: bool,
    /// What its token is worth, while it is open.
    standing: Option<Rc<Standing>>,
    /// What has to happen next, and in which tick.
    waits: (Wait, u64),
    /// True once a write was short: what ends it may then not show at once, and its deadlines are no
    /// longer followed.
    is_blurred: bool,
    /// How much the engine had read when it was last observed.
    heard_bytes: usize,
    /// In bytes of its head.
    head_bytes: usize,
    /// True exactly when it was opened after the engine last read: what it sent with its head, the engine
    /// has and does not know yet.
    is_fresh: bool,
    /// True once an administrator has disconnected it.
    is_disconnected: bool,
    /// Where a message ends that is longer than the rules allow.
    too_much: Option<usize>,
    upgraded: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    Head,
    Verdict,
    Hello,
    Silence,
    Pong,
    Close,
}

struct EngineWorld {
    dice: Dice,
    rules: Rules,
    engine: Engine<FakeStream>,
    now: Duration,
    clients: Vec<Client>,
    /// Tokens whose verdict is still to come.
    checks: Vec<Check>,
    /// Some of those whose place was freed.
    departed: Vec<SlotId>,
    events: u32,
    topics: usize,
    /// True exactly when some events have more than 16 KiB.
    has_large_events: bool,
    /// In connections of one address, as many as any rules so far have allowed; 0 is no bound.
    per_address_max: usize,
    /// True exactly when the bounds on outboxes are beyond all that this world can send.
    is_generous: bool,
    is_shutting_down: bool,
    is_over: bool,
}

impl World for EngineWorld {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let topics = [1, 2, 5, 40][dice.below(4)];
        let outbox_bytes_max = [600, 4_000, ROOMY][dice.below(3)];
        let outboxes_bytes_max = [5_000, 1 << 24][dice.below(2)];
        let is_roomy = outbox_bytes_max == ROOMY && outboxes_bytes_max > ROOMY;
        let has_large_events = is_roomy && dice.one_in(2);
        let per_address_max = [0, 10][dice.below(2)];
        let rules = Rules {
            session: SessionRules {
                message_bytes_max: 125,
                trusted_proxies: proxies(dice.one_in(2)),
                ..SessionRules::default()
            },
            connections_max: [3, 30, 300][dice.below(3)],
            connections_per_address_max: per_address_max,
            subscriptions_max: 50,
            topic_bytes_max: 50,
            outbox_bytes_max,
            outboxes_bytes_max,
            compress_bytes_min: [0, 100, usize::MAX][dice.below(3)],
            turn_writes_max: [3, 20, 2_000][dice.below(3)],
            tells_topic_changes: dice.one_in(2),
            ..Rules::default()
        };
        let mut world = Self {
            engine: Engine::new(rules.clone(), dice.roll()),
            rules,
            now: Duration::from_millis(dice.roll() % 5_000),
            clients: Vec::new(),
            checks: Vec::new(),
            departed: Vec::new(),
            events: 0,
            topics,
            has_large_events,
            per_address_max,
            is_generous: outboxes_bytes_max > ROOMY && !has_large_events,
            is_shutting_down: false,
            is_over: false,
            dice,
        };
        // From here on the engine's time is the world's.
        world.turn();
        world
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..8 => self.connect(),
            8..30 => self.speak(),
            30..34 => self.misbehave(),
            34..50 => self.give_room(),
            50..54 => self.judge_late(),
            54..84 => self.publish(),
            84..87 => self.wait(),
            87 if self.dice.one_in(6) => self.reload(),
            87 if self.dice.one_in(3) => self.disconnect(),
            87 => self.say_too_much(),
            88 if self.dice.one_in(400) => self.shut_down(),
            88 if self.dice.one_in(4) => self.withdraw(),
            88 => self.narrow(),
            89..92 => self.haunt(),
            _ => self.turn(),
        }
        if self.dice.one_in(3) {
            self.turn();
        }
    }

    /// Everything comes to its end: what is owed is paid, everybody leaves, and nothing is left.
    fn end(&mut self) {
        for _ in 0..100_000 {
            for client in &self.clients {
                client.peer.wire.borrow_mut().room = usize::MAX;
            }
            for index in 0..self.clients.len() {
                self.writable(index);
            }
            self.turn();
            if self.engine.owes_nothing() {
                break;
            }
        }
        for client in &self.clients {
            let is_whole = client.is_open && !client.is_doomed && !client.peer.was_closed();
            assert!(
                !is_whole || client.peer.owed() == 0,
                "{:?} is still owed {} events",
                client.id,
                client.peer.owed()
            );
        }
        for client in &mut self.clients {
            client.look();
            let is_owed_welcome = client.is_open
                && !client.is_doomed
                && !client.peer.was_closed()
                && client.waits.0 == Wait::Silence;
            let is_welcome = !client.dialect.awaits_welcome();
            assert!(
                is_welcome || !is_owed_welcome,
                "{:?} is not welcomed",
                client.id
            );
        }
        self.is_over = true;
        let farewell = if self.dice.one_in(2) {
            Farewell::Silent
        } else {
            Farewell::CloseFrame
        };
        self.engine.close_all(farewell);
        for client in &mut self.clients {
            client.is_doomed = true;
        }
        for _ in 0..20 {
            self.now += Duration::from_secs(1);
            self.turn();
        }
        assert_eq!(self.engine.connections(), 0, "a slot is left");
        assert_eq!(self.engine.subscriptions(), 0, "a bit is left");
        assert_eq!(self.engine.topics(), 0, "a topic is left");
        assert_eq!(self.engine.outboxes_bytes(), 0, "a byte is left");
        assert_eq!(self.engine.poll_timeout(), None, "a deadline is left");
    }
}

impl EngineWorld {
    fn pick(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.dice.below(self.clients.len()))
    }

    fn connect(&mut self) {
        let piece = match self.dice.below(4) {
            // A large event in tiny pieces takes too long.
            0 if self.has_large_events => 500 + self.dice.below(5_000),
            0 => 1 + self.dice.below(20),
            _ => usize::MAX,
        };
        let is_reading = !self.dice.one_in(4);
        let own = IpAddr::from([10, 0, 0, self.dice.below(4) as u8]);
        let is_proxy_trusted = self.rules.session.trusts(PROXY);
        let route = Route::draw(own, is_proxy_trusted, &mut self.dice);
        let (stream, wire) = FakeStream::new();
        wire.borrow_mut().room = if is_reading { usize::MAX } else { 400 };
        wire.borrow_mut().piece = piece;
        let peer = SocketAddr::from((route.peer, 7));
        let Ok(id) = self.engine.handle_connection(stream, peer) else {
            return;
        };
        let grant = match self.dice.below(3) {
            0 => vec![topic(0), "topic-1*".to_owned()],
            _ => Vec::new(),
        };
        let dialect = Dialect::draw(self.topics, &mut self.dice);
        let mut headers = route.headers;
        let mut peer = Subscriber::new(wire);
        peer.inflates = dialect.stream().is_none() && self.dice.one_in(2);
        if peer.inflates {
            headers.push_str("Sec-WebSocket-Extensions: permessage-deflate\r\n");
        }
        let head = dialect.head(&headers);
        self.clients.push(Client {
            id,
            peer,
            hello_end: 0,
            // A stream cannot be asked whether it is still there, and waits for nothing.
            is_blurred: dialect.stream().is_some(),
            dialect,
            address: Some(route.address),
            grant,
            is_open: false,
            is_doomed: false,
            is_reading,
            standing: None,
            waits: (Wait::Head, self.due(self.rules.handshake_seconds)),
            heard_bytes: 0,
            head_bytes: head.len(),
            is_fresh: false,
            is_disconnected: false,
            too_much: None,
            upgraded: false,
        });
        let index = self.clients.len() - 1;
        // The head may come in two pieces.
        let cut = match self.dice.below(3) {
            0 => self.dice.below(head.len()),
            _ => 0,
        };
        let (first, rest) = head.as_bytes().split_at(cut);
        if !first.is_empty() {
            self.send(index, first);
        }
        self.send(index, rest);
        self.greet(index);
    }

    /// A client that introduces itself does so at once, or later.
    fn greet(&mut self, index: usize) {
        let client = &self.clients[index];
        let has_said = client.hello_end > 0 || client.peer.wire.borrow().peer_ended;
        let hello = client.dialect.hello();
        if !hello.is_empty() && !has_said && self.dice.one_in(2) {
            let mut frames = Vec::new();
            for text in hello {
                frames.extend(masked(0x81, text.as_bytes(), &mut self.dice));
            }
            let client = &mut self.clients[index];
            client.hello_end = client.peer.sent_bytes + frames.len();
            self.send(index, &frames);
        }
    }

    /// A client sends bytes, and the engine hears of them.
    fn send(&mut self, index: usize, bytes: &[u8]) {
        let client = &mut self.clients[index];
        client.peer.send(bytes);
        self.readable(index);
    }

    /// The engine hears of bytes, and reads them now or in a later turn; the model understands what was
    /// read.
    fn readable(&mut self, index: usize) {
        let client = &self.clients[index];
        let ended = client.peer.wire.borrow().peer_ended;
        self.engine.handle_readable(client.id, ended);
        if self.dice.one_in(2) {
            self.read();
            self.judge_now();
        }
    }

    /// What came with the head counts as heard when it is understood.
    fn note_fresh(&mut self) {
        for client in &mut self.clients {
            // What it has shown its token with is not early.
            let shown_bytes = match client.dialect.shows_ticket() {
                true => client.hello_end,
                false => client.head_bytes,
            };
            let has_early = client.peer.wire.borrow().read_bytes > shown_bytes;
            if std::mem::take(&mut client.is_fresh) && has_early {
                client.heard_bytes = 0;
            }
        }
    }

    /// The engine reads, and the model understands the same.
    fn read(&mut self) {
        self.note_fresh();
        self.engine.read();
        self.understand_all();
    }

    /// The tick in which something passes that begins now.
    fn due(&self, seconds: u32) -> u64 {
        self.now.as_secs() + u64::from(seconds) + 1
    }

    /// The model follows what connections wait for, from what can be seen of them.
    fn observe(&mut self) {
        let verdict_due = self.due(self.rules.handshake_seconds);
        let silence_due = self.due(self.rules.ping_seconds);
        let close_due = self.due(self.rules.close_seconds);
        let tick = match self.is_shutting_down || self.is_over {
            true => u64::MAX,
            false => self.now.as_secs(),
        };
        for client in &mut self.clients {
            let wire = client.peer.wire.borrow();
            client.is_blurred |= wire.wants_room;
            let has_spoken = wire.read_bytes > client.heard_bytes;
            client.heard_bytes = wire.read_bytes;
            match client.waits.0 {
                Wait::Close => {}
                _ if wire.server_ended => {
                    if client.waits.0 == Wait::Hello && !client.is_doomed {
                        // A verdict that came too late was no verdict: the answer was another.
                        // Who has shown no token may have to make room.
                        let is_known = client.upgraded && !client.dialect.shows_ticket();
                        let had_time = is_known && client.waits.1 > tick;
                        assert!(!had_time, "{:?} had time to say hello", client.id);
                        client.is_doomed = true;
                    }
                    client.waits = (Wait::Close, close_due);
                }
                Wait::Head if wire.read_bytes >= client.head_bytes => {
                    let next = match client.dialect.shows_ticket() {
                        true => Wait::Hello,
                        false => Wait::Verdict,
                    };
                    client.waits = (next, verdict_due);
                }
                Wait::Silence | Wait::Pong if has_spoken => {
                    client.waits = (Wait::Silence, silence_due);
                }
                _ => {}
            }
            let shows_ticket = client.dialect.shows_ticket();
            if client.waits.0 == Wait::Verdict && client.is_open {
                client.waits = match !shows_ticket && !client.dialect.hello().is_empty() {
                    true => (Wait::Hello, verdict_due),
                    false => (Wait::Silence, silence_due),
                };
            }
            if client.waits.0 == Wait::Hello
                && client.hello_end > 0
                && !client.is_fresh
                && wire.read_bytes >= client.hello_end
            {
                client.waits = match shows_ticket {
                    true => (Wait::Verdict, verdict_due),
                    false => (Wait::Silence, silence_due),
                };
            }
        }
    }

    /// What was due in this turn has happened in it, and what is not due has not.
    fn check_deadlines(&mut self) {
        let tick = self.now.as_secs();
        let pong_due = self.due(self.rules.pong_seconds);
        for client in self.clients.iter_mut().filter(|c| !c.is_blurred) {
            client.peer.listen();
            let wire = client.peer.wire.borrow();
            if wire.wants_room {
                continue;
            }
            let (wait, due) = client.waits;
            let is_gone = wire.is_dropped;
            let is_ping = |heard: &Heard| matches!(heard, Heard::Frame(0x89, _));
            let was_pinged = client.peer.heard.iter().any(is_ping);
            let id = client.id;
            assert!(!was_pinged || wait == Wait::Silence, "{id:?} was pinged");
            if tick < due {
                assert!(!was_pinged, "{id:?} was pinged before it was silent");
                continue;
            }
            match wait {
                Wait::Head | Wait::Verdict | Wait::Hello => {
                    assert!(is_gone || wire.server_ended, "{id:?} is late: {wait:?}");
                }
                Wait::Silence => {
                    assert!(
                        is_gone || wire.server_ended || was_pinged,
                        "{id:?} is silent"
                    );
                    client.waits = (Wait::Pong, pong_due);
                }
                Wait::Pong | Wait::Close => assert!(is_gone, "{id:?} is late: {wait:?}"),
            }
        }
    }

    /// A token loses its worth.
    fn withdraw(&mut self) {
        let Some(index) = self.pick() else { return };
        let reason = [Close::TokenEnded, Close::AuthLost][self.dice.below(2)];
        let client = &mut self.clients[index];
        if let Some(standing) = &client.standing {
            standing.end(reason);
            client.is_doomed = true;
            self.engine.handle_changed_standings();
            self.turn();
            let mut left = self.clients.iter().filter(|c| c.is_open);
            let is_left = left.any(|c| {
                let ending = c.standing.as_ref().and_then(|s| s.ending());
                ending.is_some() && !c.is_blurred && !c.peer.was_closed()
            });
            assert!(!is_left, "a session outlives its token");
        }
    }

    /// A token is good for other topics from now on.
    fn narrow(&mut self) {
        let Some(index) = self.pick() else { return };
        let grant = vec![topic(self.dice.below(self.topics)), "topic-2*".to_owned()];
        let client = &mut self.clients[index];
        if let Some(standing) = &client.standing {
            standing.renew(Grant {
                topics: grant.clone(),
                ..Grant::default()
            });
            client.grant = grant;
            client.peer.lose(|n| !standing.allows(&topic(n)));
            client.dialect.lose(|n| !standing.allows(&topic(n)));
            self.engine.handle_changed_standings();
            self.turn();
        }
    }

    /// An administrator disconnects a client, which is told so and ends.
    fn disconnect(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = &mut self.clients[index];
        // A client that has reset the connection is told nothing.
        let is_told = client.is_open && !client.is_doomed;
        if !self.engine.disconnect(client.id) {
            // It is ending, though that need not show while bytes are owed.
            let is_owed = client.is_blurred || client.peer.wire.borrow().wants_room;
            if !client.is_doomed && !client.peer.was_closed() && !is_owed {
                // It has made room for another: its place is free when the turn ends.
                let (id, wire) = (client.id, Rc::clone(&client.peer.wire));
                self.turn();
                assert!(wire.borrow().is_dropped, "{id:?} stays");
            }
            return;
        }
        client.is_doomed = true;
        assert!(!self.engine.disconnect(client.id), "it ends twice");
        client.peer.listen();
        if is_told && !client.is_blurred && !client.peer.wire.borrow().wants_room {
            let told = close_payload(1008, "disconnected by an administrator");
            assert_eq!(client.peer.heard.back(), Some(&Heard::Frame(0x88, told)));
        }
        client.is_disconnected = true;
        self.turn();
    }

    /// Other rules are in force from now on.
    fn reload(&mut self) {
        let rules = &mut self.rules;
        rules.connections_max = [3, 30, 300][self.dice.below(3)];
        rules.connections_per_address_max = [0, 5, 10, 20][self.dice.below(4)];
        rules.turn_writes_max = [3, 20, 2_000][self.dice.below(3)];
        rules.session.message_bytes_max = [125, 200, 500][self.dice.below(3)];
        rules.handshake_seconds = [5, 10][self.dice.below(2)];
        rules.ping_seconds = [10, 25, 40][self.dice.below(3)];
        rules.pong_seconds = [5, 20][self.dice.below(2)];
        rules.close_seconds = [2, 5][self.dice.below(2)];
        // A large event has to have room, and what is held already cannot be taken back.
        if !self.has_large_events {
            rules.outbox_bytes_max = [600, 4_000, ROOMY][self.dice.below(3)];
        }
        self.per_address_max = match (self.per_address_max, rules.connections_per_address_max) {
            (0, _) | (_, 0) => 0,
            (one, other) => one.max(other),
        };
        let had_proxy = !rules.session.trusted_proxies.is_empty();
        let has_proxy = self.dice.one_in(2);
        rules.session.trusted_proxies = proxies(has_proxy);
        let message_bytes_max = rules.session.message_bytes_max;
        for client in &mut self.clients {
            client.is_doomed |= client.peer.said.iter().any(|s| s.bytes > message_bytes_max);
            client.too_much = None;
            if had_proxy != has_proxy && client.waits.0 == Wait::Head {
                client.address = None;
            }
        }
        let _ = self.engine.set_rules(self.rules.clone());
        self.turn();
    }

    /// No address has more sessions than the rules have ever allowed, whoever is between.
    fn check_addresses(&self) {
        if self.per_address_max == 0 {
            return;
        }
        let mut sessions = BTreeMap::new();
        for client in self
            .clients
            .iter()
            .filter(|c| c.is_open && !c.peer.was_closed())
        {
            if let Some(address) = client.address {
                *sessions.entry(address).or_insert(0) += 1;
            }
        }
        // The proxy's own address has no bound while it is trusted.
        sessions.remove(&PROXY);
        let max = self.per_address_max;
        assert!(sessions.values().all(|&n| n <= max), "{sessions:?}: {max}");
    }

    /// The model follows what the engine has read, message by message.
    fn understand_all(&mut self) {
        self.observe();
        for client in &mut self.clients {
            if !client.is_open || client.is_doomed || client.is_fresh {
                continue;
            }
            let Client { peer, grant, .. } = client;
            peer.understand(|n| may_hear(grant, n));
        }
    }

    fn judge_now(&mut self) {
        while let Some(check) = self.engine.poll_check() {
            // At once, late, or never.
            match self.dice.below(8) {
                0 | 1 => self.checks.push(check),
                2 => {}
                _ => self.judge(&check),
            }
        }
    }

    fn judge_late(&mut self) {
        if self.checks.is_empty() {
            return;
        }
        let check = self.checks.swap_remove(self.dice.below(self.checks.len()));
        self.judge(&check);
        // A store that answers twice means nobody any more.
        if self.dice.one_in(4) {
            self.engine
                .handle_verdict(check.id, Verdict::Refused(Cause::Unknown));
        }
    }

    fn judge(&mut self, check: &Check) {
        let client = self.clients.iter_mut().find(|c| c.id == check.id);
        let verdict = match self.dice.below(10) {
            0 => Verdict::Refused(Cause::Unknown),
            1 => Verdict::Unavailable,
            _ => Verdict::Accepted(Standing::new(Grant {
                topics: client.as_ref().map_or(Vec::new(), |c| c.grant.clone()),
                ..Grant::default()
            })),
        };
        if let Some(client) = client {
            let told = check.applicant.client;
            assert!(
                client.address.is_none_or(|a| a == told),
                "{told} is another"
            );
            match &verdict {
                Verdict::Accepted(standing) => {
                    client.is_open = true;
                    if let Some(topics) = client.dialect.stream() {
                        client.is_doomed |= !topics.iter().all(|&n| may_hear(&client.grant, n));
                        client.peer.topics.extend(topics);
                    }
                    client.standing = Some(Rc::clone(standing));
                    client.is_fresh = true;
                }
                _ => client.is_doomed = true,
            }
        }
        self.engine.handle_verdict(check.id, verdict);
        self.understand_all();
    }

    fn speak(&mut self) {
        let Some(index) = self.pick() else { return };
        let n = self.dice.below(self.topics);
        self.greet(index);
        if !self.may_speak(index) {
            return;
        }
        let phrase = self.clients[index].dialect.phrase(n, &mut self.dice);
        if let Some((what, text)) = phrase {
            self.say(index, what, text.as_bytes());
        }
    }

    /// Returns true when a client has said of itself what it has to.
    fn may_speak(&self, index: usize) -> bool {
        let client = &self.clients[index];
        let has_said = client.dialect.hello().is_empty() || client.hello_end > 0;
        has_said && !client.peer.wire.borrow().peer_ended
    }

    /// A client sends a message.
    fn say(&mut self, index: usize, what: What, text: &[u8]) {
        if self.clients[index].peer.wire.borrow().peer_ended {
            return;
        }
        let [first, rest] = self.clients[index].peer.say(what, text, &mut self.dice);
        self.send(index, &first);
        if !rest.is_empty() {
            self.send(index, &rest);
        }
    }

    /// A message of any length: one that is longer than the rules allow ends its client.
    fn say_too_much(&mut self) {
        let Some(index) = self.pick() else { return };
        let bytes = 90 + self.dice.below(500);
        let text = self.clients[index].dialect.call(bytes);
        let Some(text) = text.filter(|_| self.may_speak(index)) else {
            return;
        };
        let is_too_much = text.len() > self.rules.session.message_bytes_max;
        self.clients[index].is_doomed |= is_too_much;
        self.say(index, What::Other, text.as_bytes());
        let client = &mut self.clients[index];
        if is_too_much && client.too_much.is_none() {
            client.too_much = client.peer.said.back().map(|said| said.end);
        }
    }

    fn misbehave(&mut self) {
        let Some(index) = self.pick() else { return };
        self.clients[index].is_doomed = true;
        let wire = Rc::clone(&self.clients[index].peer.wire);
        match self.dice.below(4) {
            0 => wire.borrow_mut().is_broken = true,
            1 => wire.borrow_mut().peer_ended = true,
            2 => {
                let close = masked(0x88, &[3, 232], &mut self.dice);
                wire.borrow_mut().to_server.extend(close);
            }
            _ => {
                let length = 1 + self.dice.below(200);
                let garbage: Vec<u8> = (0..length).map(|_| self.dice.roll() as u8).collect();
                wire.borrow_mut().to_server.extend(garbage);
            }
        }
        self.readable(index);
    }

    /// What is late for somebody who has left touches nobody, whoever lives there now.
    fn haunt(&mut self) {
        if self.departed.is_empty() {
            return;
        }
        let id = self.departed[self.dice.below(self.departed.len())];
        let moved = |world: &Self| -> usize {
            let wires = world.clients.iter().map(|client| client.peer.wire.borrow());
            wires.map(|wire| wire.read_bytes + wire.writes).sum()
        };
        let before = (moved(self), self.engine.connections());
        self.engine.handle_readable(id, true);
        self.engine.handle_writable(id);
        self.engine
            .handle_verdict(id, Verdict::Accepted(Rc::default()));
        let is_ended = self.engine.disconnect(id);
        assert!(!is_ended, "{id:?} is gone, and is disconnected");
        assert!(
            before == (moved(self), self.engine.connections()),
            "{id:?} haunts"
        );
    }

    fn give_room(&mut self) {
        let Some(index) = self.pick() else { return };
        let room = self.dice.below(2_000);
        let wire = Rc::clone(&self.clients[index].peer.wire);
        let before = wire.borrow().room;
        wire.borrow_mut().room = before.saturating_add(room);
        self.writable(index);
    }

    /// A writable edge comes exactly after a short write.
    fn writable(&mut self, index: usize) {
        let client = &self.clients[index];
        if std::mem::take(&mut client.peer.wire.borrow_mut().wants_room) {
            self.engine.handle_writable(client.id);
        }
    }

    fn publish(&mut self) {
        let burst = if self.dice.one_in(10) { 40 } else { 1 };
        for _ in 0..burst {
            // As the server does: then publishers wait.
            if self.engine.is_congested() {
                return;
            }
            let n = self.dice.below(self.topics);
            self.events += 1;
            let length = match self.dice.below(50) {
                0 => 300,
                1 if self.has_large_events => 16 * 1024 + self.dice.below(64 * 1024),
                _ => 0,
            };
            let data = format!("[{},\"{}\"]", self.events, "x".repeat(length));
            let text = format!("[8,\"topic-{n}\",{data}]").into();
            for client in &mut self.clients {
                if client.is_open && !client.is_doomed {
                    client.peer.publish(n, &text);
                }
            }
            self.engine
                .handle_event(&Event::new(topic(n).into(), &data));
            // One that is large is enough for a turn.
            if length > 300 {
                return;
            }
        }
    }

    fn wait(&mut self) {
        // Now and then the machine sleeps.
        let longest = if self.dice.one_in(50) { 130_000 } else { 4_000 };
        self.now += Duration::from_millis(self.dice.roll() % longest);
        self.turn();
    }

    fn shut_down(&mut self) {
        if !self.is_shutting_down {
            self.is_shutting_down = true;
            self.engine.handle_shutdown();
        }
    }

    fn turn(&mut self) {
        self.engine.start_turn(self.now);
        self.note_fresh();
        self.engine.take_in();
        self.understand_all();
        self.judge_now();
        self.engine.hand_out();
        self.engine.reap();
        self.check_deadlines();
        self.observe();
        while self.engine.poll_topic_change().is_some() {}
        for index in 0..self.clients.len() {
            self.writable_if_reading(index);
        }
        self.look();
        self.check_addresses();
        let held = self.engine.outboxes_bytes();
        let max = self.rules.outboxes_bytes_max;
        assert!(held <= max, "{held} bytes are held");
        if let Err(text) = self.engine.audit() {
            panic!("the books do not agree: {text}");
        }
    }

    /// A client that reads makes room at once, even where its socket takes little at a time; and it
    /// answers pings.
    fn writable_if_reading(&mut self, index: usize) {
        let client = &self.clients[index];
        if !client.is_reading {
            return;
        }
        while client.peer.wire.borrow().wants_room && !client.peer.wire.borrow().is_broken {
            client.peer.wire.borrow_mut().wants_room = false;
            self.engine.handle_writable(client.id);
            self.engine.pay();
        }
    }

    /// Every client looks at what it has heard.
    fn look(&mut self) {
        let mut pongs = Vec::new();
        for (index, client) in self.clients.iter_mut().enumerate() {
            let pings = client.look();
            if pings && client.is_reading {
                pongs.push(index);
            }
        }
        for index in pongs {
            if !self.clients[index].peer.wire.borrow().peer_ended {
                let pong = masked(0x8A, b"", &mut self.dice);
                self.send(index, &pong);
            }
        }
        let is_generous = self.is_generous;
        let departed = &mut self.departed;
        self.clients.retain(|client| {
            let has_to_end = client.is_disconnected || client.has_said_too_much();
            let is_late = has_to_end && !client.is_blurred && !client.peer.was_closed();
            assert!(!is_late, "{:?} has to end", client.id);
            let is_gone = client.peer.wire.borrow().is_dropped;
            if is_gone {
                // The end of a stream does not tell its reason: it may have been called slow.
                let tells_reason = client.dialect.stream().is_none();
                client.check_end(is_generous && tells_reason);
                departed.push(client.id);
            }
            !is_gone
        });
    }
}

impl Client {
    /// Returns true when the engine has read a message that is too long.
    fn has_said_too_much(&self) -> bool {
        let read_bytes = self.peer.wire.borrow().read_bytes;
        let is_read = self.too_much.is_some_and(|end| end <= read_bytes);
        is_read && self.is_open && !self.is_fresh
    }

    /// Compares what was heard with what was owed. Answers whether a ping was among it.
    fn look(&mut self) -> bool {
        let mut pinged = false;
        self.peer.listen();
        while let Some(heard) = self.peer.heard.pop_front() {
            match heard {
                Heard::Http(http) if matches!(http.status, 101 | 200) => {
                    assert_eq!(http.status == 200, self.dialect.stream().is_some());
                    let may_be = self.is_open || self.dialect.shows_ticket();
                    assert!(may_be, "upgraded without a verdict");
                    self.upgraded = true;
                }
                Heard::Http(_) => self.is_doomed = true,
                Heard::Frame(0x88, _) => {
                    // Whose socket takes little at a time may be called slow; who was not welcomed may be refused.
                    if !self.dialect.awaits_welcome() {
                        self.check_end(false);
                    }
                    self.is_doomed = true;
                }
                Heard::Frame(0x81, text) => {
                    let text = String::from_utf8(text).expect("text");
                    // Whoever has broken a rule may hear on until the engine has seen it.
                    if let Some(event) = self.dialect.hear(&text).filter(|_| !self.is_doomed) {
                        self.peer.hear(&event);
                    }
                }
                Heard::Event(lines) => {
                    let event = self.dialect.hear_stream(&lines);
                    if let Some(event) = event.filter(|_| !self.is_doomed) {
                        self.peer.hear(&event);
                    }
                }
                Heard::Frame(0x89, _) => pinged = true,
                Heard::Frame(0x8A, _) => {}
                other => panic!("{other}"),
            }
        }
        pinged
    }

    /// The engine let go of it. Whoever reads and keeps the rules is never left; but where bounds
    /// are tight, a socket that takes little at a time may look like a slow one.
    fn check_end(&self, is_generous: bool) {
        let is_quick = is_generous || self.peer.wire.borrow().piece == usize::MAX;
        let is_good = self.is_open && !self.is_doomed && self.is_reading && is_quick;
        assert!(!is_good, "{:?} was left without a reason", self.id);
    }
}

#[test]
fn everybody_gets_what_is_owed_and_nothing_is_left() {
    simulate::<EngineWorld>(STEPS, STEPS_PER_WORLD);
}
