//! A client of the history: what it hears in its protocol, and up to where it has everything.
//!
//! Never here: what the client is owed (`subscription`), and what it does next (the world's dice say that).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kit::raw::{Ear, Heard};
use newswire::engine::SlotId;
use newswire::wire::id::EventId;
use serde_json::Value;

use super::log::{Logged, Request};
use super::subscription::Subscription;
use crate::stream::Pipe;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    Wamp1,
    Wamp2,
    Sse,
}

/// See the module.
pub struct Client {
    pub id: SlotId,
    pub wire: Rc<RefCell<Pipe>>,
    ear: Ear,
    pub dialect: Dialect,
    pub topics: BTreeMap<usize, Subscription>,
    /// By the number of the request; those of a stream have none.
    pub requests: BTreeMap<u64, Request>,
    pub of_stream: Vec<Request>,
    /// Topics by the number of their subscription.
    pub numbers: BTreeMap<u64, usize>,
    /// A stream's position.
    position: Option<EventId>,
    /// True exactly when one of a stream's topics keeps nothing: it can never recover, and its live events do not wait for
    /// the kept ones of the others.
    pub is_mixed: bool,
    pub takes_notices: bool,
    pub is_ended: bool,
}

/// What a notice says of the events behind a position: they follow, or `Err` is the reason why they do not.
fn outcome<'a>(is_recovered: &Value, reason: &'a Value) -> Result<(), &'a str> {
    match (is_recovered.as_bool(), reason.as_str()) {
        (Some(true), None) => Ok(()),
        (Some(false), Some(reason)) => Err(reason),
        _ => panic!("{is_recovered} {reason}"),
    }
}

impl Client {
    pub fn new(id: SlotId, wire: Rc<RefCell<Pipe>>, dialect: Dialect) -> Self {
        Self {
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
        }
    }

    fn whose(&self, n: usize) -> String {
        format!("{:?} {:?} topic-{n}", self.id, self.dialect)
    }

    /// Up to where the client has everything of a topic, as far as it knows.
    pub fn position(&self, n: usize) -> Option<EventId> {
        match self.dialect {
            Dialect::Sse => self.position,
            _ => self.topics.get(&n)?.position,
        }
    }

    /// Returns true when the client waits for the answer to a request for this topic.
    pub fn is_waiting(&self, n: usize) -> bool {
        self.requests.values().any(|request| request.topic == n)
    }

    /// Takes what the server has written, and compares it with what is owed.
    pub fn listen(&mut self, log: &[Logged]) {
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
                if let Some(&n) = self.numbers.get(&number(1)) {
                    self.hear_details(n, &value[3]);
                }
            }
            (_, kind) => panic!("{kind}: {value}"),
        }
    }

    /// Hears the details of an EVENT that has no arguments.
    fn hear_details(&mut self, n: usize, details: &Value) {
        assert!(self.takes_notices, "a notice for a client that takes none");
        if let Some(gap) = details["x_gap"].as_str() {
            return self.hear_gap(n, gap);
        }
        let number = self.requests.iter().find(|(_, r)| r.topic == n);
        let number = *number.expect("the client has asked").0;
        let request = self.requests.remove(&number).expect("it is there");
        let id = details["x_id"].as_str().expect("an id");
        let outcome = outcome(&details["x_recovered"], &details["x_reason"]);
        let position = self.hear_recovery(&[request], id, outcome);
        let subscription = self.topics.get_mut(&n).expect("it is subscribed");
        subscription.position = Some(position);
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
        assert_eq!(id, data["id"].as_str());
        let requests = std::mem::take(&mut self.of_stream);
        let outcome = outcome(&data["recovered"], &data["reason"]);
        let position = self.hear_recovery(&requests, id.expect("an id"), outcome);
        self.position = Some(position);
    }

    /// Hears what becomes of the past of these topics, in one notice. Returns the position that the client has now.
    fn hear_recovery(
        &mut self,
        requests: &[Request],
        id: &str,
        outcome: Result<(), &str>,
    ) -> EventId {
        let mut allowed = requests
            .iter()
            .map(|request| request.expected.allows(outcome));
        let is_good = match outcome {
            Ok(()) => allowed.all(|is_allowed| is_allowed),
            // One topic is enough.
            Err(_) => allowed.any(|is_allowed| is_allowed),
        };
        let expected: Vec<_> = requests.iter().map(|request| &request.expected).collect();
        assert!(is_good, "{:?} is told {outcome:?}: {expected:?}", self.id);
        for request in requests {
            if outcome.is_ok() {
                assert_eq!(request.asked.since.as_deref(), Some(id));
            }
            if let Some(subscription) = self.topics.get_mut(&request.topic) {
                match outcome {
                    Ok(()) => subscription.start_over(&request.behind, request.asked_at),
                    // It keeps what it is owed.
                    Err(_) if request.is_again => {}
                    Err(_) => subscription.offer_past(&request.last),
                }
            }
        }
        EventId::parse_position(id.as_bytes()).expect("a position")
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
        if let Some(subscription) = self.topics.get_mut(&n) {
            subscription.hear_gap(gap);
        }
    }

    /// Checks that no position is beyond an event that the client did not get and was not told of.
    pub fn check_position(&self, log: &[Logged]) {
        for (&n, subscription) in self.topics.iter().filter(|_| !self.is_mixed) {
            if let Some(position) = self.position(n) {
                subscription.check_position(position, log, &self.whose(n));
            }
        }
    }

    /// Everything that was to come has come.
    pub fn check_end(&self, log: &[Logged]) {
        if self.is_ended || self.wire.borrow().server_ended {
            return;
        }
        self.check_position(log);
        for (&n, subscription) in self.topics.iter().filter(|_| self.takes_notices) {
            subscription.check_end(&self.whose(n));
        }
    }
}
