//! What is true in the world of a server: which clients there are, what tokens are worth, which events were
//! taken in. Everybody in that world shares it: the loop's outside, sources and token stores.
//!
//! The model of tokens follows what stores have answered; the model of events is [`Subscriber`]'s.
//!
//! Never here: what happens next (the world's dice say that).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kit::dice::Dice;
use kit::raw::Heard;
use newswire::auth::{Answer, Question};
use newswire::engine::SlotId;
use newswire::limits;
use newswire::server::Budgets;
use newswire::stats::{Cause, Ingest, Stats};
use newswire::wire::grant::Grant;
use newswire::wire::token::Token;

use super::subscriber::{Route, Subscriber, may_hear};

/// The store whose tokens stand in the configuration.
pub const LIST: usize = 0;

/// The store that may answer about callers.
pub const CALLERS: usize = 2;

/// The page from which some clients come.
const PAGE: &str = "https://page.test";

pub type Shared = Rc<RefCell<Truth>>;

/// A client, from the moment at which it connects.
pub struct Client {
    pub peer: Subscriber,
    /// Where the server keeps it, once it is accepted.
    pub id: Option<SlotId>,
    /// Where its connection comes from.
    pub from: SocketAddr,
    /// Its address, as the server sees it once it has read the head. A client behind the proxy has no port.
    pub address: SocketAddr,
    /// The number of its token.
    pub token: Option<usize>,
    pub is_dashboard: bool,
    /// The turn in which it was let in.
    pub opened: Option<u64>,
    pub accepted: Option<Duration>,
    /// True exactly when it reads as fast as it can.
    pub is_reading: bool,
    /// True once it has broken a rule, left, or been told to leave: it is owed nothing more.
    pub is_doomed: bool,
    /// True once a write was short: what ends it may then not show at once.
    pub is_blurred: bool,
    /// True once its token has ended: it may hear no event any more.
    pub is_mute: bool,
    /// True once an administrator was told that it is disconnected.
    pub is_disconnected: bool,
    /// True once a flush has left it without an event, and its publisher was told otherwise.
    pub is_late: bool,
    /// The turn in which it last heard an event.
    served: u64,
    /// True exactly when it has heard a ping that it has not answered.
    pub was_pinged: bool,
}

impl Client {
    /// Somebody connects on `route`.
    pub fn new(peer: Subscriber, route: &Route, port: u16) -> Self {
        let is_forwarded = route.peer != route.address;
        Self {
            peer,
            id: None,
            from: SocketAddr::new(route.peer, port),
            address: SocketAddr::new(route.address, if is_forwarded { 0 } else { port }),
            token: None,
            is_dashboard: false,
            opened: None,
            accepted: None,
            is_reading: true,
            is_doomed: false,
            is_blurred: false,
            is_mute: false,
            is_disconnected: false,
            is_late: false,
            served: 0,
            was_pinged: false,
        }
    }

    /// Returns true when it has to hear every event of its topics at once.
    pub fn is_good(&self) -> bool {
        self.opened.is_some() && !self.is_doomed && !self.is_blurred && !self.peer.was_closed()
    }

    /// Its end has begun.
    pub fn mute(&mut self) {
        self.is_doomed = true;
        self.is_mute = true;
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    Good,
    Refused,
    Unknown,
}

/// The address and the page from which a token is brought.
pub type Caller = (IpAddr, Option<String>);

/// A token: what it is worth, and what the gate was told of it.
pub struct Known {
    pub token: Token,
    /// Who brings it, where its store answers about callers. Each caller's answer is another one, so a token is
    /// known once for each.
    pub caller: Option<Caller>,
    /// The store that knows it.
    pub store: usize,
    pub worth: Worth,
    pub topics: Vec<String>,
    pub expires_at: Option<u64>,
    pub is_revoked: bool,
    /// What the gate was told last that its sessions may hear.
    granted: Vec<String>,
    /// The turn and the time in which a store last accepted it.
    accepted: Option<(u64, Duration)>,
    /// The turn in which a store last did not.
    ended: Option<u64>,
    /// The turn in which something about it last changed.
    pub troubled: u64,
    /// Since when no store accepts it.
    pub bad_since: Option<Duration>,
}

impl Known {
    fn new(text: &str, caller: Option<Caller>, store: usize) -> Self {
        Self {
            token: Token::new(text),
            caller,
            store,
            worth: Worth::Good,
            topics: Vec::new(),
            expires_at: None,
            is_revoked: false,
            granted: Vec::new(),
            accepted: None,
            ended: None,
            troubled: 0,
            bad_since: None,
        }
    }
}

/// A body that a publisher has sent by HTTP: its events, or `None` when it makes no sense.
pub struct Body {
    pub publisher: u32,
    pub events: Option<Vec<(usize, Rc<str>)>>,
}

/// How many subscribers an event has at least and at most: some may be leaving.
pub type Count = (usize, usize);

/// See the module.
pub struct Truth {
    pub turn: u64,
    pub now: Duration,
    pub clients: Vec<Client>,
    pub tokens: Vec<Known>,
    /// Until when each store cannot tell.
    pub outages: [Duration; 3],
    /// True exactly when a store has to say that its tokens have changed.
    pub changed: [bool; 3],
    /// Until when a verdict may be used again.
    pub cache_max: Duration,
    pub budgets: Budgets,
    /// True exactly when the last store answers about callers.
    pub asks_of_callers: bool,
    /// True exactly while the server makes a turn.
    pub is_turning: bool,
    /// In tokens of open sessions about which the gate has begun to ask in this turn.
    pub rechecks: usize,
    /// In bytes of topics' names that publishers were told in this turn.
    pub told_bytes: usize,
    /// In clients that heard an event in this turn, all at once: how many there are and may be.
    served: usize,
    pub served_max: usize,
    /// When the stores have late answers.
    pub answers_due: Vec<Duration>,
    /// Bodies that wait, and the answers that are due for those that were taken.
    pub bodies: VecDeque<Body>,
    pub published: BTreeMap<u32, Vec<Count>>,
    pub stats: Rc<Stats>,
    /// In events that were lost on links to relays, as far as later ones have shown it.
    pub missed: u64,
    /// In connections to relays that were made again.
    pub rejoined: u64,
    http_events: u64,
}

impl Truth {
    pub fn new(stats: Rc<Stats>) -> Self {
        Self {
            turn: 0,
            now: Duration::ZERO,
            clients: Vec::new(),
            tokens: Vec::new(),
            outages: [Duration::ZERO; 3],
            changed: [false; 3],
            cache_max: Duration::ZERO,
            budgets: Budgets::default(),
            asks_of_callers: false,
            is_turning: false,
            rechecks: 0,
            told_bytes: 0,
            served: 0,
            served_max: usize::MAX,
            answers_due: Vec::new(),
            bodies: VecDeque::new(),
            published: BTreeMap::new(),
            stats,
            missed: 0,
            rejoined: 0,
            http_events: 0,
        }
    }

    /// In seconds. The two clocks of this world go alike.
    pub fn unix(&self) -> u64 {
        self.now.as_secs()
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Duration) {
        self.turn += 1;
        self.now = now;
        self.answers_due.retain(|&due| due > now);
        (self.rechecks, self.told_bytes, self.served) = (0, 0, 0);
    }

    /// There is another token, which `store` knows.
    pub fn add_token(&mut self, store: usize) {
        let text = format!("token-{}", self.tokens.len());
        let mut callers = vec![None];
        if self.asks_of_callers && store == CALLERS {
            callers = all_callers().map(Some).collect();
        }
        let known = callers
            .into_iter()
            .map(|caller| Known::new(&text, caller, store));
        self.tokens.extend(known);
    }

    /// Follows what the server has read, and which events have come by HTTP since.
    pub fn catch_up(&mut self) {
        let Self {
            clients, tokens, ..
        } = self;
        for client in clients.iter_mut().filter(|client| !client.is_doomed) {
            // What came with its head is understood in the turn behind the one that lets it in.
            if client.opened.is_some_and(|turn| turn < self.turn) {
                let token = client.token.map(|n| &tokens[n]);
                client.peer.understand(|n| allows(token, n));
            }
        }
        while self.http_events < self.stats.events(Ingest::Http) {
            let body = self.bodies.pop_front().expect("nobody has sent it");
            let Some(events) = body.events else { continue };
            self.http_events += events.len() as u64;
            let counts = events.iter().map(|(n, text)| self.publish(*n, text));
            let counts = counts.collect();
            self.published.insert(body.publisher, counts);
        }
    }

    /// An event is taken in now.
    pub fn publish(&mut self, n: usize, text: &Rc<str>) -> Count {
        let (mut least, mut most) = (0, 0);
        for client in &mut self.clients {
            let is_subscribed = client.peer.topics.contains(&n);
            if client.is_good() && is_subscribed {
                least += 1;
            }
            let trouble = client.token.map_or(0, |n| self.tokens[n].troubled);
            let is_unsure = !client.is_good() || trouble + 1 >= self.turn;
            if is_subscribed || is_unsure {
                most += 1;
            }
            if client.opened.is_some() && !client.is_doomed {
                client.peer.publish(n, text);
            }
        }
        (least, most)
    }

    /// The flush is over: whoever takes everything has everything.
    pub fn check_flushed(&mut self) {
        self.catch_up();
        // With fewer writes a turn, some wait for the next one.
        if self.budgets.writes < limits::TURN_WRITES_MAX {
            return;
        }
        // Outboxes that are too full put deliveries off.
        let is_stalled =
            |client: &Client| client.is_blurred || client.peer.wire.borrow().wants_room;
        if self.clients.iter().any(is_stalled) {
            return;
        }
        for n in 0..self.clients.len() {
            self.look(n);
            let client = &mut self.clients[n];
            // It may have been ended without a word. That shows at the end of the turn.
            client.is_late |= client.is_good() && client.peer.owed() > 0;
        }
    }

    /// A client looks at what it has heard.
    pub fn look(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.is_blurred |= client.peer.wire.borrow().wants_room;
        client.peer.listen();
        if client.opened.is_none() && client.peer.is_let_in() {
            client.opened = Some(self.turn);
            if !client.is_dashboard {
                let token = client.token.map(|n| &self.tokens[n]);
                let token = token.expect("without a token nobody is let in");
                let (turn, at) = token.accepted.expect("no store has accepted it");
                let is_over = token.ended.is_some_and(|end| end > turn && end < self.turn);
                assert!(!is_over, "its token has ended");
                assert!(self.now <= at + self.cache_max, "its verdict is old");
            }
        }
        while let Some(heard) = client.peer.heard.pop_front() {
            match heard {
                Heard::Http(http) if http.status == 101 => {}
                Heard::Http(http) => {
                    client.is_doomed = true;
                    let known = client.token.map(|n| &self.tokens[n]);
                    let was_refused = known.is_none_or(|k| k.is_revoked || k.ended.is_some());
                    assert!(http.status != 401 || was_refused, "its token is good");
                }
                Heard::Frame(0x81, text) => {
                    let text = String::from_utf8(text).expect("text");
                    let is_event = text.starts_with("[8,") && !text.starts_with("[8,\"$sys/");
                    assert!(
                        is_event
                            || ["[0,\"", "[4,\"", "[8,"]
                                .iter()
                                .any(|s| text.starts_with(s)),
                        "{text}"
                    );
                    let is_silenced = client.is_mute && !client.is_blurred;
                    assert!(!is_event || !is_silenced, "{:?} hears {text}", client.id);
                    if is_event && !client.is_blurred && client.served != self.turn {
                        client.served = self.turn;
                        self.served += 1;
                        assert!(self.served <= self.served_max, "too many writes in a turn");
                    }
                    if is_event && !client.is_doomed {
                        client.peer.hear(&text);
                    }
                }
                Heard::Frame(0x89, _) => client.was_pinged = true,
                Heard::Frame(0x88 | 0x8A, _) => {}
                other => panic!("{other}"),
            }
        }
    }

    /// What a store says of a token, now.
    pub fn answer(&mut self, store: usize, question: &Question) -> Answer {
        // What the server has read so far counts by the old grant.
        self.catch_up();
        let is_meant = |known: &Known| {
            let (client, origin) = (question.client, &question.origin);
            let is_caller = |caller: &Caller| caller.0 == client && caller.1 == *origin;
            known.token.digest().matches(&question.digest)
                && known.caller.as_ref().is_none_or(is_caller)
        };
        let n = self.tokens.iter().position(is_meant).expect("a token");
        let (turn, now, unix) = (self.turn, self.now, self.unix());
        let known = &mut self.tokens[n];
        if self.outages[store] > now {
            known.troubled = turn;
            return Answer::Unavailable("an outage".to_owned());
        }
        if known.store != store {
            return Answer::Unknown;
        }
        let grant = Grant {
            name: format!("name-{n}"),
            topics: known.topics.clone(),
            expires_at: known.expires_at,
            token_id: None,
        };
        match known.worth {
            Worth::Good if known.is_revoked || grant.has_ended(unix) => {
                self.end_token(n);
                Answer::Accepted(grant)
            }
            Worth::Good => {
                known.accepted = Some((turn, now));
                if known.granted != known.topics {
                    known.granted.clone_from(&known.topics);
                    known.troubled = turn;
                    let known = &self.tokens[n];
                    for client in &mut self.clients {
                        if client.token == Some(n) {
                            client.peer.lose(|topic| !allows(Some(known), topic));
                        }
                    }
                }
                Answer::Accepted(grant)
            }
            Worth::Refused => {
                // The sessions of a token that was taken out of the configuration stay until their recheck.
                if store != LIST || question.is_recheck {
                    self.end_token(n);
                }
                self.tokens[n].ended = Some(turn);
                self.tokens[n].troubled = turn;
                Answer::Refused(Cause::Unknown, "it is bad".to_owned())
            }
            Worth::Unknown => {
                known.ended = Some(turn);
                known.troubled = turn;
                Answer::Unknown
            }
        }
    }

    /// A token ends in this turn, for all its sessions.
    pub fn end_token(&mut self, n: usize) {
        self.tokens[n].ended = Some(self.turn);
        self.tokens[n].troubled = self.turn;
        for client in &mut self.clients {
            if client.token == Some(n) && client.opened.is_some() {
                client.mute();
            }
        }
    }
}

/// Where a token may come from.
fn all_callers() -> impl Iterator<Item = Caller> {
    let of_page = |page: Option<&'static str>| {
        (0..3).map(move |host| (IpAddr::from([10, 0, 0, host]), page.map(str::to_owned)))
    };
    of_page(None).chain(of_page(Some(PAGE)))
}

/// One of those.
pub fn draw_caller(dice: &mut Dice) -> Caller {
    let mut callers = all_callers();
    callers.nth(dice.below(6)).expect("there are six")
}

/// Returns true when the gate was told that sessions of this token may hear a topic.
fn allows(token: Option<&Known>, n: usize) -> bool {
    token.is_none_or(|known| may_hear(&known.granted, n))
}
