//! One of several servers behind relays, with its clients, which read at once.
//!
//! Never here: relays, and processes.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use kit::observe::upgrade;
use kit::raw::frame_of;
use newswire::auth::Moment;
use newswire::config::Config;
use newswire::ingest::Source;
use newswire::server::{Budgets, Core, Ready, Seeds};
use newswire::stats::Counter;

use super::outside::Memory;
use super::relay::{RelaySource, SharedLink, SharedRelay};
use super::stores::MemoryStore;
use super::subscriber::{Route, Subscriber, What};
use super::truth::{Client, LIST, Shared, Truth};
use crate::stream::FakeStream;

const CONNECTIONS_MAX: usize = 200;

/// In seconds.
const SHUTDOWN: u32 = 5;

/// See the module.
pub struct Member {
    core: Core<Memory>,
    outside: Memory,
    truth: Shared,
    /// To each relay.
    links: Vec<SharedLink>,
    /// Whoever came last.
    port: u16,
    /// The topics of clients that have lost their connection, and will come back.
    homeless: Vec<BTreeSet<usize>>,
}

impl Member {
    pub fn new(relays: &[SharedRelay], now: Duration, dice: &mut Dice) -> Self {
        let stats = Rc::default();
        let mut config = Config::default();
        config.process.shutdown_seconds = SHUTDOWN;
        config.ingest.sub = vec!["ipc:///relay".to_owned()];
        let mut truth = Truth::new(Rc::clone(&stats));
        truth.cache_max = Duration::from_secs(config.auth.cache_seconds.into());
        truth.add_token(LIST);
        let truth: Shared = Shared::new(truth.into());
        let links = relays.iter().map(|relay| relay.borrow_mut().add_link());
        let links: Vec<SharedLink> = links.collect();
        let sources = relays.iter().zip(&links).map(|(relay, link)| {
            Box::new(RelaySource::new(&truth, relay, link, now)) as Box<dyn Source>
        });
        let store = MemoryStore::new(&truth, LIST, dice.roll());
        let seeds = Seeds {
            sessions: dice.roll(),
            tokens: [7; 32],
            epoch: [0; 8],
        };
        let mut member = Self {
            core: Core::new(
                &config,
                CONNECTIONS_MAX,
                vec![Box::new(store)],
                sources.collect(),
                seeds,
                Budgets::default(),
                stats,
            ),
            outside: Memory::new(&truth),
            truth,
            links,
            port: 0,
            homeless: Vec::new(),
        };
        member.turn(now);
        member
    }

    /// Returns true when it is connected everywhere, and has asked for all that it wants.
    pub fn is_settled(&self) -> bool {
        self.links.iter().all(|link| link.borrow().is_settled())
    }

    /// Returns true when nothing is left to receive or to tell.
    pub fn is_quiet(&self) -> bool {
        self.links.iter().all(|link| link.borrow().is_quiet())
    }

    /// A link drops, and may stay down.
    pub fn cut(&mut self, stays_down: bool, dice: &mut Dice) {
        let mut link = self.links[dice.below(self.links.len())].borrow_mut();
        link.cut(dice);
        link.is_down = stays_down;
    }

    /// No link is down any more.
    pub fn repair(&mut self) {
        for link in &self.links {
            link.borrow_mut().is_down = false;
        }
    }

    pub fn turn(&mut self, now: Duration) {
        self.truth.borrow_mut().begin_turn(now);
        self.truth.borrow_mut().is_turning = true;
        self.core.begin(Moment { now, unix: now }, &self.outside);
        self.core.turn(&mut self.outside);
        self.truth.borrow_mut().is_turning = false;
        self.look();
        if let Err(text) = self.core.engine().audit() {
            panic!("the books do not agree: {text}");
        }
    }

    /// How long the loop may sleep.
    pub fn timeout(&self) -> Option<Duration> {
        self.core.timeout(&self.outside)
    }

    /// Clients look at what has come. Some were closed.
    fn look(&mut self) {
        let mut truth = self.truth.borrow_mut();
        truth.catch_up();
        for n in 0..truth.clients.len() {
            truth.look(n);
            let client = &mut truth.clients[n];
            let id = client.id.expect("it was accepted at once");
            assert!(!client.is_late, "{id:?} was owed an event after the flush");
            let was_closed = client.peer.was_closed();
            let is_ending = client.is_doomed || self.core.is_going_down();
            assert!(!was_closed || is_ending, "{id:?} was left without a reason");
            let mut has_ended = client.peer.wire.borrow().peer_ended;
            if std::mem::take(&mut client.was_pinged) && !has_ended {
                client.peer.send(&frame_of(0x8A, b""));
            } else if was_closed && !has_ended {
                has_ended = true;
                client.peer.wire.borrow_mut().peer_ended = true;
            } else {
                continue;
            }
            self.outside.ready.push(Ready::Readable { id, has_ended });
        }
        let is_gone = |client: &mut Client| client.peer.wire.borrow().is_dropped;
        for client in truth.clients.extract_if(.., is_gone) {
            if !client.is_doomed {
                self.homeless.push(client.peer.topics);
            }
        }
    }

    fn pick(&self, dice: &mut Dice) -> Option<usize> {
        let clients = self.truth.borrow().clients.len();
        (clients > 0).then(|| dice.below(clients))
    }

    /// A client comes, and subscribes to `topics`.
    pub fn connect(&mut self, now: Duration, topics: &BTreeSet<usize>, dice: &mut Dice) {
        let (stream, wire) = FakeStream::new();
        self.port += 1;
        let mut peer = Subscriber::new(wire);
        let (target, route) = ("/?token=token-0", Route::straight([10, 0, 0, 1].into()));
        peer.send(upgrade(target, "").as_bytes());
        let mut client = Client::new(peer, &route, self.port);
        client.token = Some(0);
        self.outside
            .newcomers
            .push_back(Some((stream, client.from)));
        self.truth.borrow_mut().clients.push(client);
        // It is accepted, and then read.
        self.turn(now);
        self.turn(now);
        let n = self.truth.borrow().clients.len() - 1;
        assert!(
            self.truth.borrow().clients[n].opened.is_some(),
            "not let in"
        );
        for &topic in topics {
            self.subscribe(n, topic, true, dice);
        }
    }

    fn subscribe(&mut self, n: usize, topic: usize, is_begin: bool, dice: &mut Dice) {
        let (what, code) = match is_begin {
            true => (What::Subscribe(topic), 5),
            false => (What::Unsubscribe(topic), 6),
        };
        let mut truth = self.truth.borrow_mut();
        let client = &mut truth.clients[n];
        if client.is_doomed || client.peer.was_closed() {
            return;
        }
        let text = format!("[{code},\"topic-{topic}\"]");
        let pieces = client.peer.say(what, text.as_bytes(), dice);
        client.peer.send(&pieces.concat());
        let id = client.id.expect("it was let in");
        let has_ended = false;
        self.outside.ready.push(Ready::Readable { id, has_ended });
    }

    /// A client changes its topics.
    pub fn speak(&mut self, topic: usize, dice: &mut Dice) {
        if let Some(n) = self.pick(dice) {
            let is_begin = !dice.one_in(3);
            self.subscribe(n, topic, is_begin, dice);
        }
    }

    /// A client leaves.
    pub fn leave(&mut self, dice: &mut Dice) {
        let Some(n) = self.pick(dice) else { return };
        let client = &mut self.truth.borrow_mut().clients[n];
        client.is_doomed = true;
        client.peer.wire.borrow_mut().peer_ended = true;
        let id = client.id.expect("it was let in");
        let has_ended = true;
        self.outside.ready.push(Ready::Readable { id, has_ended });
    }

    /// Checks that relays were asked for what clients are subscribed to.
    pub fn check_asked(&self) {
        let truth = self.truth.borrow();
        let good = truth.clients.iter().filter(|client| client.is_good());
        for &topic in good.flat_map(|client| &client.peer.topics) {
            for link in &self.links {
                link.borrow().check_asked(topic);
            }
        }
    }

    pub fn clients(&self) -> usize {
        self.truth.borrow().clients.len()
    }

    pub fn deliveries(&self) -> u64 {
        self.core.stats().counter(Counter::Deliveries)
    }

    /// What it tells its parent.
    pub fn figures(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.core.snapshot(&self.outside)).expect("JSON")
    }

    /// Its parent has it go down.
    pub fn shut_down(&mut self) {
        if !self.core.is_going_down() {
            self.core.shut_down();
        }
    }

    pub fn is_complete(&self) -> bool {
        self.core.is_complete()
    }

    /// The process ends: every connection ends with it. Returns the topics of clients that will come back.
    pub fn end(self) -> Vec<BTreeSet<usize>> {
        let Self {
            core,
            truth,
            mut homeless,
            ..
        } = self;
        drop(core);
        for client in std::mem::take(&mut truth.borrow_mut().clients) {
            assert!(client.peer.wire.borrow().is_dropped, "a client is left");
            if !client.is_doomed {
                homeless.push(client.peer.topics);
            }
        }
        homeless
    }
}
