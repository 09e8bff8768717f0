//! One client to the model, which is too simple to be wrong: what it said, which topics it is subscribed to
//! therefore, and which events it is owed, in which order.
//!
//! Never here: whether a client is open, and what its token allows (the worlds know that).

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use kit::deflate::{deflate, inflate};
use kit::dice::Dice;
use kit::raw::{Ear, Heard, masked_frame};

use crate::stream::Pipe;

/// See the module.
pub struct Subscriber {
    pub wire: Rc<RefCell<Pipe>>,
    /// In bytes that it has sent, its head included.
    pub sent_bytes: usize,
    /// Its messages that the server has not read whole.
    pub said: VecDeque<Said>,
    pub topics: BTreeSet<usize>,
    /// The events that it is owed, in order.
    owed: VecDeque<Owed>,
    /// True exactly when its frames may be compressed, both ways.
    pub inflates: bool,
    ear: Ear,
    /// What it has heard and not looked at.
    pub heard: VecDeque<Heard>,
}

/// A message, and where it ends in all that its client has sent.
#[derive(Debug)]
pub struct Said {
    pub end: usize,
    pub bytes: usize,
    what: What,
}

/// What a message is to the model.
#[derive(Debug)]
pub enum What {
    Subscribe(usize),
    Unsubscribe(usize),
    Other,
}

/// One event that a client is to hear.
#[derive(Debug)]
struct Owed {
    /// The text of its message.
    text: Rc<str>,
    topic: usize,
    /// True once the subscription has ended: the event may have been on its way, or not.
    is_optional: bool,
}

/// The name of a topic.
pub fn topic(n: usize) -> String {
    format!("topic-{n}")
}

/// Returns true when a grant of these patterns allows a topic.
pub fn may_hear(grant: &[String], n: usize) -> bool {
    let matches = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => topic(n).starts_with(prefix),
        None => *pattern == topic(n),
    };
    grant.is_empty() || grant.iter().any(matches)
}

/// The proxy, where it is trusted.
pub const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));

/// The proxies that a server trusts.
pub fn proxies(is_trusted: bool) -> Vec<ipnet::IpNet> {
    let network = is_trusted.then(|| "10.9.0.0/16".parse().expect("a network"));
    network.into_iter().collect()
}

/// The way on which a client reaches the server.
pub struct Route {
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// The client's address, as the server has to see it.
    pub address: IpAddr,
    /// Its `X-Forwarded-For`, if it has one.
    pub headers: String,
}

impl Route {
    /// The way without a proxy.
    pub fn straight(own: IpAddr) -> Self {
        Self {
            peer: own,
            address: own,
            headers: String::new(),
        }
    }

    /// A way for a client at `own`: straight or through the proxy.
    pub fn draw(own: IpAddr, is_proxy_trusted: bool, dice: &mut Dice) -> Self {
        // The rightmost element is the proxy's word; who is reached directly can write what it likes.
        let (peer, headers) = match dice.below(4) {
            0 => (own, format!("X-Forwarded-For: {PROXY}\r\n")),
            1 => {
                let lie = IpAddr::from([192, 0, 2, dice.below(4) as u8]);
                (PROXY, format!("X-Forwarded-For: {lie}, {own}\r\n"))
            }
            _ => (own, String::new()),
        };
        Self {
            peer,
            address: if is_proxy_trusted { own } else { peer },
            headers,
        }
    }
}

/// A client's frame with a mask from the dice.
pub fn masked(first: u8, payload: &[u8], dice: &mut Dice) -> Vec<u8> {
    masked_frame(first, payload, (dice.roll() as u32).to_be_bytes())
}

impl Subscriber {
    pub fn new(wire: Rc<RefCell<Pipe>>) -> Self {
        Self {
            wire,
            sent_bytes: 0,
            said: VecDeque::new(),
            topics: BTreeSet::new(),
            owed: VecDeque::new(),
            inflates: false,
            ear: Ear::default(),
            heard: VecDeque::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.sent_bytes += bytes.len();
        self.wire.borrow_mut().to_server.extend(bytes);
    }

    /// Notes a message that is sent now, and makes bytes of it: whole or in fragments, with a ping between them
    /// now and then. The bytes come in two pieces, of which the second may be empty.
    pub fn say(&mut self, what: What, text: &[u8], dice: &mut Dice) -> [Vec<u8>; 2] {
        let mut bytes = Vec::new();
        let mut opcode = if dice.one_in(6) { 2 } else { 1 };
        let compressed;
        let mut rest = text;
        if self.inflates && dice.one_in(3) {
            compressed = deflate(text);
            (opcode, rest) = (opcode | 0x40, &compressed);
        }
        while dice.one_in(4) {
            let (fragment, behind) = rest.split_at(dice.below(rest.len() + 1));
            bytes.extend(masked(opcode, fragment, dice));
            (opcode, rest) = (0, behind);
            if dice.one_in(5) {
                bytes.extend(masked(0x89, b"ping", dice));
            }
        }
        bytes.extend(masked(0x80 | opcode, rest, dice));
        self.said.push_back(Said {
            end: self.sent_bytes + bytes.len(),
            bytes: text.len(),
            what,
        });
        if dice.one_in(8) {
            bytes.extend(masked(0x89, b"ping", dice));
        }
        // The end of it may come later than the rest.
        let keep = match dice.below(4) {
            0 => dice.below(6),
            _ => 0,
        };
        let last = bytes.split_off(bytes.len() - keep);
        [bytes, last]
    }

    /// Follows what the server has read, message by message.
    pub fn understand(&mut self, may_hear: impl Fn(usize) -> bool) {
        let read_bytes = self.wire.borrow().read_bytes;
        while self.said.front().is_some_and(|s| s.end <= read_bytes)
            && let Some(said) = self.said.pop_front()
        {
            match said.what {
                What::Subscribe(n) if may_hear(n) => {
                    self.topics.insert(n);
                }
                What::Unsubscribe(n) => self.lose(|topic| topic == n),
                What::Subscribe(_) | What::Other => {}
            }
        }
    }

    /// An event is published: it is owed if it was subscribed to.
    pub fn publish(&mut self, n: usize, text: &Rc<str>) {
        if self.topics.contains(&n) {
            self.owed.push_back(Owed {
                text: Rc::clone(text),
                topic: n,
                is_optional: false,
            });
        }
    }

    /// Subscriptions end.
    pub fn lose(&mut self, is_lost: impl Fn(usize) -> bool) {
        for owed in self.owed.iter_mut().filter(|owed| is_lost(owed.topic)) {
            owed.is_optional = true;
        }
        self.topics.retain(|&n| !is_lost(n));
    }

    /// In events that have to come.
    pub fn owed(&self) -> usize {
        self.owed.iter().filter(|owed| !owed.is_optional).count()
    }

    /// Takes what the server has written.
    pub fn listen(&mut self) {
        let bytes = std::mem::take(&mut self.wire.borrow_mut().from_server);
        self.ear.push(&bytes);
        let inflates = self.inflates;
        let heard = self.ear.by_ref().map(|heard| match heard {
            Heard::Frame(0xC1, payload) => {
                assert!(inflates, "compressed for a client that does not inflate");
                let text = inflate(&payload).expect("DEFLATE");
                assert!(text.len() > payload.len(), "compressed and not shorter");
                Heard::Frame(0x81, text)
            }
            other => other,
        });
        self.heard.extend(heard);
    }

    /// Returns true when the answer to its upgrade has begun, and is 101.
    pub fn is_let_in(&self) -> bool {
        let is_101 = |heard: &Heard| matches!(heard, Heard::Http(http) if http.status == 101);
        self.heard.iter().any(is_101) || self.ear.rest().starts_with(b"HTTP/1.1 101 ")
    }

    /// It heard an event, which has to be the next one.
    pub fn hear(&mut self, text: &str) {
        let is_passed_over = |owed: &Owed| owed.is_optional && *owed.text != *text;
        while self.owed.front().is_some_and(is_passed_over) {
            self.owed.pop_front();
        }
        let next = self.owed.pop_front().map(|owed| owed.text);
        let shown = |text: &str| text.chars().take(60).collect::<String>();
        assert!(
            next.as_deref() == Some(text),
            "hears {} and is owed {:?}",
            shown(text),
            next.as_deref().map(shown)
        );
    }

    /// Returns true once the server has ended its half, or more.
    pub fn was_closed(&self) -> bool {
        let wire = self.wire.borrow();
        wire.server_ended || wire.is_dropped
    }
}
