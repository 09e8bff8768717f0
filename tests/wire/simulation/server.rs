//! The whole server among virtual publishers, clients, token stores and administrators.
//!
//! Beyond what happens to the engine alone, newcomers find no descriptor, tokens change their worth while stores
//! answer late or cannot tell, publishers of several sources wait for acknowledgements and those over HTTP for
//! answers, administrators revoke, disconnect and come with dashboards, the configuration is read again, and the
//! shutdown comes at any moment. The model (`truth`, `subscriber`) follows all of that in the same turn.
//!
//! Never here: what is true (`truth`), and what is around the server (`outside`, `sources`, `stores`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use kit::observe::upgrade;
use newswire::admin::{Command, PageRequest, Whom};
use newswire::auth::{Moment, TokenStore};
use newswire::config::{Config, ShutdownClose};
use newswire::ingest::{Descriptor, Source, SourceId};
use newswire::limits;
use newswire::server::{Budgets, Core, Ready, Seeds};
use newswire::stats::{CLOSED, Close, Counter, DROPPED, Dropped, EVENTS, REFUSED};
use newswire::wire::http::{Acceptance, accept_key};
use newswire::wire::publication::{Media, Publication};

use super::outside::{Asked, Memory, is_meant};
use super::sources::{Backlog, MemorySource, Message};
use super::stores::{LATENCY_MAX, MemoryStore};
use super::subscriber::{Route, Subscriber, What, masked, proxies, topic};
use super::truth::{Body, Client, LIST, Shared, Truth, Worth, draw_caller};
use super::{World, simulate};
use crate::stream::FakeStream;

const STEPS: u64 = 20_000;
const STEPS_PER_WORLD: u64 = 2_000;

const STORES: usize = 3;
const CLIENTS_MAX: usize = 50;

/// More than events of one turn may wait for: the engine is congested in the middle of a turn.
const MANY_TOPICS: usize = limits::PENDING_WALKS_MAX + 100;

/// In turns: a loop that turns so often without a pause has lost its way. Where the budget is one change a turn, a source
/// that is told of many topics takes some thousand.
const SPINS_MAX: u32 = 2 * limits::SUB_CHANGES_MAX as u32;

/// In seconds, the longest intervals that a configuration of this world has.
const HANDSHAKE_MAX: u32 = 10;
const CACHE_MAX: u32 = 15;
const RECHECK_MAX: u32 = 60;
const GRACE_MAX: u32 = 40;

struct ServerWorld {
    dice: Dice,
    truth: Shared,
    core: Core<Memory>,
    outside: Memory,
    config: Config,
    connections_max: usize,
    /// In connections of one address, as many as any rules so far have allowed; 0 is no bound.
    per_address_max: usize,
    backlogs: Vec<Rc<RefCell<Backlog>>>,
    now: Duration,
    topics: usize,
    events: u32,
    /// Whoever came last by HTTP.
    publisher: u32,
    /// Whoever came last as a client.
    port: u16,
    /// True exactly when some clients do not read, or take little at a time.
    has_slow_clients: bool,
    /// In steps until the shutdown.
    lifetime: u64,
    is_shutting_down: bool,
}

impl World for ServerWorld {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let stats = Rc::default();
        let topics = [1, 3, 20, MANY_TOPICS][dice.below(4)];
        let mut truth = Truth::new(Rc::clone(&stats));
        truth.cache_max = Duration::from_secs(CACHE_MAX.into());
        truth.asks_of_callers = dice.one_in(2);
        truth.budgets = draw_budgets(&mut dice);
        // Each walk serves at least one: a topic's has another behind it at most.
        truth.served_max = truth.budgets.writes.max(2 * topics);
        (0..9).for_each(|n| truth.add_token(n % STORES));
        let budgets = truth.budgets;
        let truth: Shared = Rc::new(RefCell::new(truth));
        let mut config = Config::default();
        config.listen.trusted_proxies = proxies(dice.one_in(2));
        config.ingest.sub = vec!["tcp://memory:1".to_owned()];
        config.clients.outbox_bytes_max = [4_096, 1 << 20][dice.below(2)];
        config.clients.outboxes_bytes_max = [6_000, 1 << 24][dice.below(2)];
        config.process.shutdown_seconds = 1 + dice.below(8) as u32;
        config.process.shutdown_close = [ShutdownClose::Drop, ShutdownClose::Frame][dice.below(2)];
        draw_rules(&mut config, &mut dice);
        let backlogs: Vec<Rc<RefCell<Backlog>>> =
            (0..dice.below(5)).map(|_| Rc::default()).collect();
        let sources = backlogs.iter().enumerate().map(|(number, backlog)| {
            backlog.borrow_mut().turn_events_max = config.ingest.turn_events_max;
            Box::new(MemorySource::new(number, &truth, backlog)) as Box<dyn Source>
        });
        let seeds = Seeds {
            sessions: dice.roll(),
            tokens: [7; 32],
            epoch: [0; 8],
        };
        let connections_max = [4, 20, 200][dice.below(3)];
        let per_address_max = config.clients.connections_per_address_max;
        let mut world = Self {
            core: Core::new(
                &config,
                connections_max,
                stores(&truth, &mut dice),
                sources.collect(),
                seeds,
                budgets,
                stats,
            ),
            outside: Memory::new(&truth),
            truth,
            config,
            connections_max,
            per_address_max,
            backlogs,
            now: Duration::from_millis(dice.roll() % 5_000),
            topics,
            events: 0,
            publisher: 0,
            port: 0,
            has_slow_clients: dice.one_in(2),
            lifetime: STEPS_PER_WORLD / 2 + dice.roll() % STEPS_PER_WORLD,
            is_shutting_down: false,
            dice,
        };
        let watched = world.core.watch_sources(&mut world.outside);
        watched.expect("memory can be watched");
        world.turn();
        world
    }

    fn step(&mut self) {
        if self.core.is_complete() {
            return;
        }
        self.lifetime = self.lifetime.saturating_sub(1);
        if self.lifetime == 0 && !self.is_shutting_down {
            self.shut_down();
        }
        match self.dice.below(100) {
            0..9 => self.connect(),
            9..28 => self.speak(),
            28..32 => self.misbehave(),
            32..44 => self.give_room(),
            44..68 => self.publish(),
            68..76 => self.publish_by_http(),
            76 => self.lose_publisher(),
            77..80 => self.change_worth(),
            80..84 => self.wait(),
            84 if self.dice.one_in(4) => self.reload(),
            84 if self.dice.one_in(3) => self.revoke(),
            84 => self.ask(),
            85 => self.disconnect(),
            86 if self.dice.one_in(4) => self.outside.is_unwatchable = true,
            86 => self.come_with_dashboard(),
            _ => self.turn(),
        }
        if self.dice.one_in(2) {
            self.turn();
        }
    }

    fn end(&mut self) {
        let is_orderly = !self.is_shutting_down;
        if is_orderly {
            self.drain();
            // What was sent before the signal is delivered.
            self.publish();
            self.shut_down();
        }
        let time = Duration::from_secs(self.config.process.shutdown_seconds.into());
        let end = self.now + time + Duration::from_secs(3);
        while !self.core.is_complete() {
            assert!(self.now < end, "the shutdown takes too long");
            self.sleep(Duration::from_millis(50));
        }
        self.core.finish();
        if is_orderly {
            for backlog in &self.backlogs {
                assert!(backlog.borrow().waiting.is_empty(), "a message is left");
            }
        }
        for client in &mut self.truth.borrow_mut().clients {
            client.is_doomed = true;
            client.peer.wire.borrow_mut().peer_ended = true;
            let has_ended = true;
            let id = client.id.expect("nobody is in the kernel any more");
            self.outside.ready.push(Ready::Readable { id, has_ended });
        }
        // The gate forgets what it was told.
        for _ in 0..2 * (RECHECK_MAX + GRACE_MAX + CACHE_MAX) {
            self.now += Duration::from_secs(1);
            self.turn();
        }
        let (engine, stats) = (self.core.engine(), self.core.stats());
        assert_eq!(engine.connections(), 0, "a slot is left");
        assert_eq!(engine.subscriptions(), 0, "a bit is left");
        assert_eq!(engine.topics(), 0, "a topic is left");
        assert_eq!(engine.outboxes_bytes(), 0, "a byte is left");
        assert_eq!(engine.poll_timeout(), None, "a deadline is left");
        assert_eq!(self.core.gate().entries(), 0, "a token is left");
        assert!(self.outside.asked.is_empty(), "somebody was not answered");
        let truth = self.truth.borrow();
        assert!(
            truth.bodies.is_empty() && truth.published.is_empty(),
            "a body is left"
        );
        assert_eq!(CLOSED.total(stats), stats.counter(Counter::Connections));
        let refused = self.outside.refused + self.outside.turned_away;
        assert_eq!(REFUSED.total(stats), stats.closes(Close::Refused) + refused);
    }
}

impl ServerWorld {
    fn turn(&mut self) {
        self.truth.borrow_mut().begin_turn(self.now);
        self.truth.borrow_mut().is_turning = true;
        let moment = Moment {
            now: self.now,
            unix: self.now,
        };
        self.core.begin(moment, &self.outside);
        self.core.turn(&mut self.outside);
        self.truth.borrow_mut().is_turning = false;
        self.look();
        self.check_books();
    }

    /// The loop turns as often as it wants to, and sleeps for so long.
    fn sleep(&mut self, time: Duration) {
        let until = self.now + time;
        let mut spins = 0;
        loop {
            let pause = self.core.timeout(&self.outside).unwrap_or(time);
            if self.now == until && (!pause.is_zero() || spins > 0) {
                return;
            }
            spins = if pause.is_zero() { spins + 1 } else { 0 };
            assert!(spins < SPINS_MAX, "the loop never sleeps");
            if !pause.is_zero() {
                self.check_rest();
            }
            self.now = until.min(self.now + pause);
            self.turn();
        }
    }

    /// Before the loop sleeps, nothing is left over.
    fn check_rest(&self) {
        for client in &self.truth.borrow().clients {
            let is_owed = client.is_good() && client.is_reading && client.peer.owed() > 0;
            assert!(!is_owed, "the loop sleeps: {:?} waits", client.id);
        }
        for backlog in &self.backlogs {
            assert_eq!(backlog.borrow().untold, 0, "the loop sleeps");
        }
    }

    fn wait(&mut self) {
        let longest = match self.dice.below(30) {
            _ if self.is_shutting_down => 50,
            0 => 130_000,
            _ => 4_000,
        };
        let time = Duration::from_millis(self.dice.roll() % longest);
        self.sleep(time);
    }

    /// Everybody looks at what has come, answers pings, makes room, and some have left.
    fn look(&mut self) {
        let mut truth = self.truth.borrow_mut();
        truth.catch_up();
        let unix = truth.unix();
        for known in &mut truth.tokens {
            let has_ended = known.expires_at.is_some_and(|end| unix > end);
            let is_bad = known.worth != Worth::Good || has_ended;
            known.bad_since = is_bad.then(|| known.bad_since.unwrap_or(self.now));
        }
        for n in 0..truth.clients.len() {
            truth.look(n);
            let client = &mut truth.clients[n];
            let Some(id) = client.id else { continue };
            if !client.is_reading {
                continue;
            }
            let mut wire = client.peer.wire.borrow_mut();
            if std::mem::take(&mut wire.wants_room) {
                self.outside.ready.push(Ready::Writable(id));
            }
            drop(wire);
            if std::mem::take(&mut client.was_pinged) && !client.peer.wire.borrow().peer_ended {
                client.peer.send(&masked(0x8A, b"", &mut self.dice));
                let has_ended = false;
                self.outside.ready.push(Ready::Readable { id, has_ended });
            }
        }
        for client in &truth.clients {
            self.check(client, &truth);
        }
        truth
            .clients
            .retain(|client| !client.peer.wire.borrow().is_dropped);
    }

    /// What had to happen to a client by now.
    fn check(&self, client: &Client, truth: &Truth) {
        let known = client.token.map(|n| &truth.tokens[n]);
        let id = client.id;
        if client.peer.was_closed() {
            let troubled = known.map_or(0, |known| known.troubled);
            let is_steady = client.opened.is_some_and(|turn| turn > troubled);
            let is_quick = client.is_reading && !client.is_blurred;
            let is_good = is_steady && is_quick && !client.is_doomed && !self.is_shutting_down;
            assert!(!is_good, "{id:?} was left without a reason");
            return;
        }
        if client.is_blurred {
            return;
        }
        let was_withdrawn = client.is_mute && client.opened.is_some_and(|turn| turn < truth.turn);
        assert!(
            !client.is_disconnected,
            "{id:?} was disconnected, and stays"
        );
        assert!(!was_withdrawn, "{id:?} outlives its token");
        if client.is_doomed {
            return;
        }
        assert!(!client.is_late, "{id:?} was owed an event after the flush");
        let patience = Duration::from_secs((2 * HANDSHAKE_MAX + 2).into());
        let is_late = client.accepted.is_some_and(|at| self.now > at + patience);
        assert!(client.opened.is_some() || !is_late, "{id:?} has no answer");
        let rechecks = RECHECK_MAX * 11 / 10 + GRACE_MAX + 10;
        let longest =
            Duration::from_secs(rechecks.into()) + Duration::from_millis(LATENCY_MAX) * 10;
        let bad_since = known.and_then(|known| known.bad_since);
        let is_overdue = bad_since.is_some_and(|since| self.now > since + longest);
        let is_overdue = is_overdue && client.opened.is_some();
        assert!(!is_overdue, "{id:?} has had a bad token for too long");
    }

    /// No address has more sessions than the rules have ever allowed, whoever is between.
    fn check_addresses(&self) {
        if self.per_address_max == 0 {
            return;
        }
        let mut sessions = BTreeMap::new();
        for client in &self.truth.borrow().clients {
            if client.opened.is_some() && !client.is_dashboard && !client.peer.was_closed() {
                *sessions.entry(client.address.ip()).or_insert(0) += 1;
            }
        }
        let max = self.per_address_max;
        assert!(sessions.values().all(|&n| n <= max), "{sessions:?}: {max}");
    }

    fn check_books(&mut self) {
        self.check_addresses();
        let (engine, stats) = (self.core.engine(), self.core.stats());
        // An audit looks at every subscription.
        if (engine.subscriptions() < 100 || self.dice.one_in(50))
            && let Err(text) = engine.audit()
        {
            panic!("the books do not agree: {text}");
        }
        let max = self.config.clients.outboxes_bytes_max;
        assert!(engine.outboxes_bytes() <= max, "too much is held");
        let accepted = stats.counter(Counter::Connections);
        assert_eq!(accepted, self.outside.accepted - self.outside.refused);
        let closed = CLOSED.total(stats);
        let open = engine.connections() as u64;
        assert!(closed <= accepted && accepted <= closed + open);
        let unheard = stats.drops(Dropped::NoSubscriber) + stats.drops(Dropped::Filtered);
        let events = EVENTS.total(stats);
        let bad = DROPPED.total(stats) - unheard;
        assert_eq!(stats.counter(Counter::Events), events);
        assert_eq!(stats.counter(Counter::Ingested), events + bad);
    }

    fn pick(&mut self) -> Option<usize> {
        let clients = self.truth.borrow().clients.len();
        (clients > 0).then(|| self.dice.below(clients))
    }

    fn connect(&mut self) {
        if self.is_shutting_down || self.truth.borrow().clients.len() >= CLIENTS_MAX {
            return;
        }
        if self.dice.one_in(20) {
            return self.outside.newcomers.push_back(None);
        }
        let token = match self.dice.below(10) {
            0 => None,
            _ => Some(self.dice.below(self.truth.borrow().tokens.len())),
        };
        let known = token.map(|n| {
            let known = &self.truth.borrow().tokens[n];
            (known.token.reveal(), known.caller.clone())
        });
        let (target, caller) = match known {
            Some((text, caller)) => (format!("/?token={text}"), caller),
            None => ("/".to_owned(), None),
        };
        let (own, page) = caller.unwrap_or_else(|| draw_caller(&mut self.dice));
        let is_proxy_trusted = !self.config.listen.trusted_proxies.is_empty();
        let mut route = Route::draw(own, is_proxy_trusted, &mut self.dice);
        // Its store would hear of another caller.
        if route.address != own {
            route = Route::straight(own);
        }
        let (stream, n) = self.arrive(&route);
        self.truth.borrow_mut().clients[n].token = token;
        let from = self.truth.borrow().clients[n].from;
        self.outside.newcomers.push_back(Some((stream, from)));
        let origin = page.map_or(String::new(), |page| format!("Origin: {page}\r\n"));
        let head = upgrade(&target, &(route.headers + &origin));
        // The head may come in two pieces, or never.
        let cut = match self.dice.below(4) {
            0 => self.dice.below(head.len()),
            _ => head.len(),
        };
        let (first, rest) = head.as_bytes().split_at(cut);
        self.send(n, first);
        if self.dice.one_in(2) {
            self.turn();
        }
        // Meanwhile it may have been turned away.
        let last = self.truth.borrow().clients.len();
        if let Some(n) = (n < last).then_some(n)
            && self.truth.borrow().clients[n].from == from
            && !rest.is_empty()
        {
            match self.dice.one_in(6) {
                true => self.truth.borrow_mut().clients[n].is_doomed = true,
                false => self.send(n, rest),
            }
        }
    }

    /// Somebody connects who will be a client.
    fn arrive(&mut self, route: &Route) -> (FakeStream, usize) {
        let (stream, wire) = FakeStream::new();
        let is_slow = self.has_slow_clients && self.dice.one_in(3);
        if is_slow && self.dice.one_in(2) {
            wire.borrow_mut().piece = 20 + self.dice.below(100);
        }
        let is_reading = !is_slow || self.dice.one_in(2);
        if !is_reading {
            wire.borrow_mut().room = 400;
        }
        self.port += 1;
        let mut truth = self.truth.borrow_mut();
        let mut client = Client::new(Subscriber::new(wire), route, self.port);
        client.is_reading = is_reading;
        truth.clients.push(client);
        (stream, truth.clients.len() - 1)
    }

    fn send(&mut self, n: usize, bytes: &[u8]) {
        self.truth.borrow_mut().clients[n].peer.send(bytes);
        self.readable(n);
    }

    fn readable(&mut self, n: usize) {
        let truth = self.truth.borrow();
        let client = &truth.clients[n];
        if let Some(id) = client.id {
            let has_ended = client.peer.wire.borrow().peer_ended;
            self.outside.ready.push(Ready::Readable { id, has_ended });
        }
    }

    fn speak(&mut self) {
        let Some(n) = self.pick() else { return };
        if self.topics == MANY_TOPICS && self.dice.one_in(40) {
            for topic in 0..self.topics {
                self.say(n, What::Subscribe(topic), &format!("[5,\"topic-{topic}\"]"));
            }
            return;
        }
        let topic = self.dice.below(self.topics);
        let (what, text) = match self.dice.below(8) {
            0..5 => (What::Subscribe(topic), format!("[5,\"topic-{topic}\"]")),
            5 => (What::Unsubscribe(topic), format!("[6,\"topic-{topic}\"]")),
            6 => (What::Other, "[5,\"$sys/stats\"]".to_owned()),
            _ => (What::Other, "[2,\"call\",\"x\"]".to_owned()),
        };
        self.say(n, what, &text);
    }

    fn say(&mut self, n: usize, what: What, text: &str) {
        let mut truth = self.truth.borrow_mut();
        let client = &mut truth.clients[n];
        // What comes before the end of a head is a part of it.
        if client.opened.is_none() || client.peer.wire.borrow().peer_ended {
            return;
        }
        let pieces = client.peer.say(what, text.as_bytes(), &mut self.dice);
        drop(truth);
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            self.send(n, piece);
        }
    }

    fn misbehave(&mut self) {
        let Some(n) = self.pick() else { return };
        let garbage = masked(0x83, b"?", &mut self.dice);
        {
            let mut truth = self.truth.borrow_mut();
            let client = &mut truth.clients[n];
            client.is_doomed = true;
            let mut wire = client.peer.wire.borrow_mut();
            match self.dice.below(4) {
                0 => wire.is_broken = true,
                1 => wire.peer_ended = true,
                2 => wire
                    .to_server
                    .extend(masked(0x88, &[3, 232], &mut self.dice)),
                _ => wire.to_server.extend(garbage),
            }
        }
        self.readable(n);
    }

    fn give_room(&mut self) {
        let Some(n) = self.pick() else { return };
        let truth = self.truth.borrow();
        let client = &truth.clients[n];
        let mut wire = client.peer.wire.borrow_mut();
        wire.room = wire.room.saturating_add(self.dice.below(2_000));
        if let Some(id) = client.id
            && std::mem::take(&mut wire.wants_room)
        {
            self.outside.ready.push(Ready::Writable(id));
        }
    }

    fn event(&mut self) -> (usize, String) {
        self.events += 1;
        let length = match self.dice.below(20) {
            0 if self.has_slow_clients => 3_000,
            1 => 300,
            _ => 0,
        };
        let data = format!("[{},\"{}\"]", self.events, "x".repeat(length));
        (self.dice.below(self.topics), data)
    }

    fn publish(&mut self) {
        if self.backlogs.is_empty() {
            return;
        }
        let n = self.dice.below(self.backlogs.len());
        let burst = match self.dice.below(10) {
            0 if self.config.ingest.turn_events_max > self.topics => 30.max(2 * self.topics),
            0 => 30,
            _ => 1,
        };
        for _ in 0..burst {
            let message: Message = match self.dice.one_in(15) {
                true => None,
                false => Some(self.event()),
            };
            self.backlogs[n].borrow_mut().waiting.push_back(message);
        }
        let descriptor = [Descriptor::Messages, Descriptor::Peers];
        for descriptor in descriptor {
            let ready = Ready::Source(SourceId(n as u32), descriptor);
            self.outside.ready.push(ready);
        }
    }

    fn command(&mut self, asked: Asked, command: Command) {
        self.publisher += 1;
        self.outside.asked.insert(self.publisher, asked);
        self.outside.commands.push_back((self.publisher, command));
    }

    fn publish_by_http(&mut self) {
        let count = match self.dice.below(6) {
            0 => 1 + self.dice.below(40),
            _ => 1,
        };
        let events: Vec<(usize, String)> = (0..count).map(|_| self.event()).collect();
        let envelope = |(n, data): &(usize, String)| kit::observe::envelope(&topic(*n), data);
        let envelopes: Vec<String> = events.iter().map(envelope).collect();
        let is_bad = self.dice.one_in(12);
        let body = match count {
            _ if is_bad => "no events".to_owned(),
            1 => envelopes.concat(),
            _ => format!("[{}]", envelopes.join(",")),
        };
        let text = |(n, data): (usize, String)| (n, format!("[8,\"topic-{n}\",{data}]").into());
        let events = (!is_bad).then(|| events.into_iter().map(text).collect());
        let publication = Publication::new(body.into_bytes(), Media::Json);
        self.command(Asked::Publication, Command::Publish(publication));
        self.truth.borrow_mut().bodies.push_back(Body {
            publisher: self.publisher,
            events,
        });
    }

    /// Whoever has sent a command last leaves before the answer.
    fn lose_publisher(&mut self) {
        let publisher = self.publisher;
        let is_publication =
            |(&n, asked): (&u32, &Asked)| n == publisher && matches!(asked, Asked::Publication);
        if self.outside.asked.iter().any(is_publication) {
            self.outside.asked.remove(&publisher);
            self.outside.left.insert(publisher);
            let commands = self.outside.commands.len();
            self.outside.commands.retain(|(n, _)| *n != publisher);
            // What the server has may be published all the same.
            if self.outside.commands.len() < commands {
                self.truth.borrow_mut().bodies.pop_back();
            }
        }
    }

    /// Something about a token or a store becomes different.
    fn change_worth(&mut self) {
        let mut truth = self.truth.borrow_mut();
        let store = self.dice.below(STORES);
        let now = self.now;
        if store != LIST && self.dice.one_in(4) {
            let seconds = [0, 3, 60][self.dice.below(3)];
            truth.outages[store] = now + Duration::from_secs(seconds);
            return;
        }
        let n = self.dice.below(truth.tokens.len());
        let unix = truth.unix();
        let known = &mut truth.tokens[n];
        // The configuration changes at a reload.
        if known.store == LIST {
            return;
        }
        match self.dice.below(6) {
            0 => known.worth = Worth::Refused,
            1 => known.worth = Worth::Unknown,
            2 => known.expires_at = Some(unix + self.dice.roll() % 60),
            3 => known.topics = vec!["topic-0".to_owned(), "topic-1*".to_owned()],
            4 => known.topics = Vec::new(),
            _ => (known.worth, known.expires_at) = (Worth::Good, None),
        }
        let store = known.store;
        truth.changed[store] |= self.dice.one_in(2);
    }

    fn revoke(&mut self) {
        // A token that is revoked is so until the next start.
        let n = self.dice.below(self.truth.borrow().tokens.len());
        let digest = self.truth.borrow().tokens[n].token.digest();
        self.command(Asked::Other, Command::Revoke(vec![digest]));
        let mut truth = self.truth.borrow_mut();
        let store = truth.tokens[n].store;
        truth.add_token(store);
    }

    fn ask(&mut self) {
        let page = PageRequest {
            after: 0,
            limit: 10,
            has_topics: self.dice.one_in(2),
            is_kept: self.dice.one_in(2),
        };
        let command = match self.dice.below(6) {
            0 => Command::Metrics,
            1 => Command::History,
            2 => Command::Health,
            3 => Command::Readiness { has_sources: true },
            4 => Command::Topics(page),
            _ => Command::Connections(page),
        };
        self.command(Asked::Other, command);
    }

    fn disconnect(&mut self) {
        let Some(n) = self.pick() else { return };
        let mut truth = self.truth.borrow_mut();
        let client = &truth.clients[n];
        let Some(id) = client.id else { return };
        let (whom, command) = match (self.dice.below(6), client.token) {
            (0, Some(n)) => {
                let whom = Whom::Name(format!("name-{n}"));
                (Some(whom.clone()), Command::Disconnect(whom))
            }
            (1, _) => {
                let whom = Whom::Address(client.address.ip(), None);
                (Some(whom.clone()), Command::Disconnect(whom))
            }
            (2 | 3, _) => {
                let whom = Whom::Address(client.address.ip(), Some(client.address.port()));
                (Some(whom.clone()), Command::Disconnect(whom))
            }
            _ => (None, Command::DisconnectOne(id.index(), id.generation())),
        };
        let is_named = matches!(whom, Some(Whom::Name(_)));
        let mut wires = Vec::new();
        for client in truth.clients.iter_mut() {
            let is_it = match &whom {
                Some(whom) => is_meant(whom, client) && client.id.is_some(),
                None => client.id == Some(id),
            };
            if is_it {
                client.is_doomed = true;
                // Whoever has no name yet, or the proxy's address, may get another meanwhile, or not.
                let is_settled = !is_named && client.from == client.address;
                if client.opened.is_some() || is_settled || whom.is_none() {
                    wires.push(Rc::clone(&client.peer.wire));
                }
            }
        }
        drop(truth);
        self.command(Asked::Disconnection(whom, wires), command);
    }

    fn come_with_dashboard(&mut self) {
        if self.is_shutting_down || self.truth.borrow().clients.len() >= CLIENTS_MAX {
            return;
        }
        let host = self.dice.below(3) as u8;
        let (stream, n) = self.arrive(&Route::straight([10, 0, 0, host].into()));
        self.truth.borrow_mut().clients[n].is_dashboard = true;
        let early = match self.dice.one_in(2) {
            true => masked(0x81, b"[5,\"$sys/stats\"]", &mut self.dice),
            false => Vec::new(),
        };
        let address = self.truth.borrow().clients[n].address;
        let upgrade = Ok(Acceptance {
            accept_key: accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            subprotocol: None,
            deflate: None,
        });
        let command = Command::WebSocket { upgrade, early };
        self.command(Asked::Dashboard(stream, address), command);
    }

    fn reload(&mut self) {
        draw_rules(&mut self.config, &mut self.dice);
        for backlog in &self.backlogs {
            backlog.borrow_mut().turn_events_max = self.config.ingest.turn_events_max;
        }
        self.connections_max = [4, 20, 200][self.dice.below(3)];
        let max = self.config.clients.connections_per_address_max;
        self.per_address_max = match (self.per_address_max, max) {
            (0, _) | (_, 0) => 0,
            (one, other) => one.max(other),
        };
        let ends_admins = self.dice.one_in(4);
        {
            let mut truth = self.truth.borrow_mut();
            for known in truth.tokens.iter_mut().filter(|known| known.store == LIST) {
                let is_listed = !self.dice.one_in(4);
                known.worth = if is_listed {
                    Worth::Good
                } else {
                    Worth::Unknown
                };
            }
            let dashboards = truth.clients.iter_mut().filter(|c| c.is_dashboard);
            for client in dashboards.filter(|c| ends_admins && c.opened.is_some()) {
                client.mute();
            }
        }
        let stores = stores(&self.truth, &mut self.dice);
        self.core
            .reload(&self.config, self.connections_max, stores, ends_admins);
        self.turn();
    }

    fn shut_down(&mut self) {
        self.is_shutting_down = true;
        // The listeners are closed.
        let newcomers: VecDeque<_> = std::mem::take(&mut self.outside.newcomers);
        drop(newcomers);
        self.core.shut_down();
        self.turn();
    }

    /// Everybody reads, and hears what is left.
    fn drain(&mut self) {
        let is_empty = |backlog: &Rc<RefCell<Backlog>>| backlog.borrow().waiting.is_empty();
        for client in &mut self.truth.borrow_mut().clients {
            client.is_reading = true;
            client.peer.wire.borrow_mut().room = usize::MAX;
        }
        for _ in 0..SPINS_MAX {
            self.sleep(Duration::from_millis(10));
            if self.core.engine().owes_nothing() && self.backlogs.iter().all(is_empty) {
                break;
            }
        }
        for client in &self.truth.borrow().clients {
            let is_whole = client.opened.is_some() && !client.is_doomed;
            let owed = client.peer.owed();
            assert!(
                !is_whole || client.peer.was_closed() || owed == 0,
                "{:?} is owed {owed}",
                client.id
            );
        }
    }
}

fn draw_budgets(dice: &mut Dice) -> Budgets {
    let whole = Budgets::default();
    Budgets {
        writes: [3, 20, whole.writes][dice.below(3)],
        rechecks: [1, 4, whole.rechecks][dice.below(3)],
        rechecks_waiting: [4, whole.rechecks_waiting][dice.below(2)],
        topic_bytes: [1, 2_000, whole.topic_bytes][dice.below(3)],
    }
}

/// The rules that a reload may change.
fn draw_rules(config: &mut Config, dice: &mut Dice) {
    config.ingest.turn_events_max = [1, 10, 1_024][dice.below(3)];
    config.clients.handshake_seconds = [5, HANDSHAKE_MAX][dice.below(2)];
    config.clients.ping_seconds = [10, 25][dice.below(2)];
    config.clients.connections_per_address_max = [0, 8][dice.below(2)];
    config.clients.refused_tokens_max = [0, 0, 10][dice.below(3)];
    config.auth.cache_seconds = [0, 5, CACHE_MAX][dice.below(3)];
    config.auth.recheck_seconds = [10, RECHECK_MAX][dice.below(2)];
    config.auth.grace_seconds = [0, GRACE_MAX][dice.below(2)];
    config.auth.waiting_max = [2, 1_000][dice.below(2)];
}

fn stores(truth: &Shared, dice: &mut Dice) -> Vec<Box<dyn TokenStore>> {
    // The old ones take their late answers along.
    truth.borrow_mut().answers_due.clear();
    let store = |number| Box::new(MemoryStore::new(truth, number, dice.roll())) as Box<_>;
    (0..STORES).map(store).collect()
}

#[test]
fn a_whole_server_keeps_its_promises_and_nothing_is_left() {
    simulate::<ServerWorld>(STEPS, STEPS_PER_WORLD);
}
