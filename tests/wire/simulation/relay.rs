//! A relay in memory, the links on which servers receive its events, and a server's source at the end of a link.
//!
//! Relay and links are simple. What a server does at its end is newswire's own: when it connects, what it asks for,
//! and how many events it says it has missed. The relay's log says how many these are.
//!
//! Never here: what happens when (the world's dice say that), and clients (`truth`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use newswire::ingest::subscriptions::Subscriptions;
use newswire::ingest::wanted::{TellBudget, Wanted};
use newswire::ingest::zeromq::monitor::PeerEvent;
use newswire::ingest::zeromq::uplink::Uplink;
use newswire::ingest::{Host, Received, Settlement, Source, SourceId};
use newswire::limits;
use newswire::net::HostPort;
use newswire::net::names::{Answer, Resolve};
use newswire::relay::TopicNumbers;
use newswire::stats::{Counter, Ingest};
use newswire::wire::id::{Epoch, Numbering};

use super::subscriber::topic;
use super::truth::Shared;

pub type SharedRelay = Rc<RefCell<MemoryRelay>>;
pub type SharedLink = Rc<RefCell<Link>>;

/// In events that wait for a server which does not read. The relay drops further ones.
const UNREAD_MAX: usize = 50;

/// Where an event stands: the relay's run, and the place in that run's log.
type Mark = (usize, usize);

/// An event on its way.
struct Sent {
    mark: Mark,
    topic: usize,
    /// As a relay sends it.
    parts: [String; 4],
}

/// See the module.
pub struct MemoryRelay {
    number: u8,
    /// The topics of all events of each run, in order. The last run is the present one.
    logs: Vec<Vec<usize>>,
    /// Gives the ids of events that publishers push here, and of those that come from a relay before this one.
    ids: [Numbering; 2],
    numbers: TopicNumbers,
    is_up: bool,
    links: Vec<SharedLink>,
}

/// The epoch of a relay's run, or of one that is before it.
fn epoch(relay: u8, run: usize, is_before: bool) -> Epoch {
    Epoch::new([relay, run as u8, is_before.into(), 0, 0, 0, 0, 0])
}

impl MemoryRelay {
    pub fn new(number: u8) -> Self {
        let mut relay = Self {
            number,
            logs: Vec::new(),
            ids: [false, true].map(|is_before| Numbering::new(epoch(number, 0, is_before))),
            numbers: TopicNumbers::default(),
            is_up: false,
            links: Vec::new(),
        };
        relay.start();
        relay
    }

    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// A new run begins.
    pub fn start(&mut self) {
        self.ids[0] = Numbering::new(epoch(self.number, self.logs.len(), false));
        self.logs.push(Vec::new());
        self.numbers = TopicNumbers::default();
        self.is_up = true;
    }

    /// The run ends, and with it all connections.
    pub fn stop(&mut self, dice: &mut Dice) {
        self.is_up = false;
        for link in &self.links {
            link.borrow_mut().cut(dice);
        }
    }

    /// A way for one server.
    pub fn add_link(&mut self) -> SharedLink {
        let link = SharedLink::default();
        self.links.retain(|link| Rc::strong_count(link) > 1);
        self.links.push(Rc::clone(&link));
        link
    }

    /// Hands an event on to all servers that have asked for its topic.
    pub fn publish(&mut self, n: usize, data: &str, is_relayed: bool) {
        let run = self.logs.len() - 1;
        let mark = (run, self.logs[run].len());
        self.logs[run].push(n);
        let name = topic(n);
        let nth = format!("{}-{}", self.ids[0].own(), self.numbers.give(&name));
        let id = self.ids[usize::from(is_relayed)].give(None);
        let parts = [name.clone(), data.to_owned(), id.to_string(), nth];
        for link in &self.links {
            let mut link = link.borrow_mut();
            if link.asks_for(&name) && link.unread.len() < UNREAD_MAX {
                link.unread.push_back(Sent {
                    mark,
                    topic: n,
                    parts: parts.clone(),
                });
            }
        }
    }

    /// What was told and dialled on the links arrives, except for what the dice hold back.
    pub fn carry(&mut self, now: Duration, dice: &mut Dice) {
        for link in &self.links {
            link.borrow_mut().carry(self.is_up, now, dice);
        }
    }

    /// In events of `topic`, between two of them: those that did not arrive, as far as the last one's run has them.
    fn between(&self, topic: usize, first: Mark, (run, last): Mark) -> u64 {
        let begin = if first.0 == run { first.1 + 1 } else { 0 };
        let log = &self.logs[run][begin..last];
        log.iter().filter(|&&n| n == topic).count() as u64
    }
}

/// A way from a relay to one server.
#[derive(Default)]
pub struct Link {
    /// True exactly while no connection can be made.
    pub is_down: bool,
    is_joined: bool,
    /// Since when the server waits for a connection.
    dialled: Option<Duration>,
    /// True exactly when the server has asked for all that it wants.
    is_told: bool,
    /// What the server has told on this connection, and the relay has not read.
    asks: VecDeque<(String, bool)>,
    asked: BTreeSet<String>,
    unread: VecDeque<Sent>,
    /// What the server's socket has to tell about its peer.
    news: VecDeque<PeerEvent>,
}

impl Link {
    /// The connection is lost, and with it the last events that were on their way.
    pub fn cut(&mut self, dice: &mut Dice) {
        if !std::mem::take(&mut self.is_joined) {
            return;
        }
        self.is_told = false;
        self.asks.clear();
        self.asked.clear();
        self.unread.truncate(dice.below(self.unread.len() + 1));
        self.news.push_back(PeerEvent::Left);
    }

    /// The server makes a new socket, which connects.
    fn dial(&mut self, now: Duration) {
        assert!(!self.is_joined && self.unread.is_empty(), "it was in use");
        self.news.clear();
        self.dialled = Some(now);
    }

    fn carry(&mut self, is_relay_up: bool, now: Duration, dice: &mut Dice) {
        let attempt = Duration::from_secs(limits::DIAL_ATTEMPT_SECONDS);
        if self.dialled.is_some_and(|at| now < at + attempt) && !dice.one_in(4) {
            if is_relay_up && !self.is_down {
                self.dialled = None;
                self.is_joined = true;
                self.news.push_back(PeerEvent::Joined);
            } else if dice.one_in(2) {
                self.dialled = None;
                self.news.push_back(PeerEvent::Unreachable);
            }
        }
        while !dice.one_in(8)
            && let Some((topic, is_wanted)) = self.asks.pop_front()
        {
            match is_wanted {
                true => self.asked.insert(topic),
                false => self.asked.remove(&topic),
            };
        }
    }

    fn asks_for(&self, topic: &str) -> bool {
        self.asked.contains(topic) || self.asked.contains("")
    }

    /// Checks that the relay was asked for topic `n`, if it can have been.
    pub fn check_asked(&self, n: usize) {
        if self.is_joined && self.is_told && self.asks.is_empty() {
            assert!(self.asks_for(&topic(n)), "topic {n} was not asked for");
        }
    }

    /// Returns true when nothing is left to receive or to tell.
    pub fn is_quiet(&self) -> bool {
        self.unread.is_empty() && self.asks.is_empty() && self.news.is_empty()
    }

    /// Returns true when the server is connected and has asked for all that it wants.
    pub fn is_settled(&self) -> bool {
        self.is_joined && self.is_told && self.is_quiet()
    }
}

/// There are no names in this world.
struct Nobody;

impl Resolve for Nobody {
    fn resolve(&mut self, name: &HostPort) -> Answer {
        panic!("{name:?} is resolved");
    }
}

/// A server's source at the end of a link.
pub struct RelaySource {
    truth: Shared,
    relay: SharedRelay,
    link: SharedLink,
    uplink: Uplink,
    subscriptions: Subscriptions,
    current: [String; 4],
    /// The last event of each topic, since the topic's first subscriber came.
    last: BTreeMap<usize, Mark>,
    has_joined: bool,
}

impl RelaySource {
    pub fn new(truth: &Shared, relay: &SharedRelay, link: &SharedLink, now: Duration) -> Self {
        let opened = Uplink::open("ipc:///relay", now, Nobody, || {});
        let (uplink, address) = opened.expect("an endpoint");
        assert!(address.is_some(), "its address is known");
        link.borrow_mut().dial(now);
        Self {
            truth: Rc::clone(truth),
            relay: Rc::clone(relay),
            link: Rc::clone(link),
            uplink,
            subscriptions: Subscriptions::default(),
            current: Default::default(),
            last: BTreeMap::new(),
            has_joined: false,
        }
    }
}

impl Source for RelaySource {
    fn name(&self) -> &str {
        self.uplink.endpoint()
    }

    fn kind(&self) -> Ingest {
        Ingest::Sub
    }

    fn is_ready(&self) -> bool {
        self.truth.borrow_mut().catch_up();
        !self.link.borrow().unread.is_empty()
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        let Sent { mark, topic, parts } = self.link.borrow_mut().unread.pop_front()?;
        let text = format!("[8,{:?},{}]", parts[0], parts[1]);
        let mut truth = self.truth.borrow_mut();
        truth.publish(topic, &text.into());
        if let Some(first) = self.last.insert(topic, mark) {
            truth.missed += self.relay.borrow().between(topic, first, mark);
        }
        self.current = parts;
        Some(Received::Message {
            from: self.uplink.endpoint(),
            parts: self.current.iter().map(String::as_bytes).collect(),
        })
    }

    fn settle(&mut self, settlement: Settlement) {
        assert!(matches!(settlement, Settlement::Taken), "{settlement:?}");
        let truth = self.truth.borrow();
        let counted = truth.stats.counter(Counter::Missed);
        assert_eq!(counted, truth.missed, "missed, at {:?}", self.current);
    }

    fn flushed(&mut self, _now: Duration) {
        self.truth.borrow_mut().check_flushed();
    }

    fn tend(&mut self, _id: SourceId, now: Duration, _budget: &mut usize, host: &mut dyn Host) {
        let mut link = self.link.borrow_mut();
        let mut truth = self.truth.borrow_mut();
        while let Some(event) = link.news.pop_front() {
            if event == PeerEvent::Joined {
                truth.rejoined += u64::from(self.has_joined);
                self.has_joined = true;
            }
            self.uplink
                .follow(now, event, &mut self.subscriptions, host);
        }
        let counted = truth.stats.counter(Counter::SourceGaps);
        assert_eq!(counted, truth.rejoined, "connections made again");
        let has_messages = !link.unread.is_empty();
        if self.uplink.dial(now, has_messages).is_some() {
            link.dial(now);
        }
    }

    fn note_topic(&mut self, topic: &Rc<str>) {
        let n = topic.strip_prefix("topic-").and_then(|n| n.parse().ok());
        self.last.remove(&n.expect("a topic of this world"));
        self.subscriptions.note(topic);
    }

    fn tell(&mut self, now: Duration, wanted: &dyn Wanted, budget: &mut TellBudget) {
        self.subscriptions.decide(now, wanted);
        let mut link = self.link.borrow_mut();
        self.subscriptions
            .tell(wanted, budget, &mut |topic, is_wanted| {
                if link.is_joined {
                    link.asks.push_back((topic.to_owned(), is_wanted));
                }
            });
        let is_behind = self.subscriptions.timeout(now) == Some(Duration::ZERO);
        link.is_told = self.uplink.is_connected() && !is_behind;
    }

    fn asks_for_everything(&self) -> bool {
        self.subscriptions.has_everything()
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        if !self.link.borrow().news.is_empty() {
            return Some(Duration::ZERO);
        }
        let dial = self.uplink.deadline().map(|at| at.saturating_sub(now));
        let next = [dial, self.subscriptions.timeout(now)];
        next.into_iter().flatten().min()
    }
}
