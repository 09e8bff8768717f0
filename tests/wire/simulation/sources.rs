//! A source of events in memory, which acknowledges its messages, and compares the topics that it is told with
//! those that are wanted.
//!
//! Never here: what is published (the world's dice say that), and who receives it (`truth`).

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use newswire::ingest::wanted::{NAME_COST, TellBudget, Wanted};
use newswire::ingest::{Descriptor, Parts, Received, Settlement, Source};
use newswire::limits;
use newswire::stats::Ingest;

use super::subscriber::topic;
use super::truth::Shared;

/// A message of a publisher: its topic and what its subscribers hear, or `None` when it makes no sense.
pub type Message = Option<(usize, String)>;

/// What the publisher of a source knows.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Messages that were sent and not received.
    pub waiting: VecDeque<Message>,
    /// In messages.
    pub received: usize,
    /// In messages whose settlement is known.
    settled: usize,
    /// In messages that were acknowledged.
    pub acknowledged: usize,
    /// In messages and bytes a turn, as many as the rules allow.
    pub turn_events_max: usize,
    /// In topics that came or went and that the publisher was not told.
    pub untold: usize,
}

/// See the module.
pub struct MemorySource {
    name: String,
    kind: Ingest,
    truth: Shared,
    backlog: Rc<RefCell<Backlog>>,
    is_awake: bool,
    asks_for_everything: bool,
    current: Vec<u8>,
    is_current_good: bool,
    /// In messages and bytes that were received in this turn.
    spent: (usize, usize),
    /// Topics that came or went, and those that the publisher was told.
    noted: VecDeque<Rc<str>>,
    told: BTreeSet<Rc<str>>,
}

impl MemorySource {
    pub fn new(number: usize, truth: &Shared, backlog: &Rc<RefCell<Backlog>>) -> Self {
        Self {
            name: format!("memory-{number}"),
            kind: [Ingest::Pull, Ingest::Sub][number % 2],
            truth: Rc::clone(truth),
            backlog: Rc::clone(backlog),
            is_awake: false,
            asks_for_everything: number == 3,
            current: Vec::new(),
            is_current_good: true,
            spent: (0, 0),
            noted: VecDeque::new(),
            told: BTreeSet::new(),
        }
    }
}

impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Ingest {
        self.kind
    }

    fn is_ready(&self) -> bool {
        self.truth.borrow_mut().catch_up();
        self.is_awake
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        let mut truth = self.truth.borrow_mut();
        truth.catch_up();
        let mut backlog = self.backlog.borrow_mut();
        let Some(message) = backlog.waiting.pop_front() else {
            self.is_awake = false;
            return None;
        };
        let (messages, bytes) = self.spent;
        assert!(messages < backlog.turn_events_max && bytes < limits::TURN_EVENT_BYTES_MAX);
        backlog.received += 1;
        self.is_current_good = message.is_some();
        self.current = match message {
            Some((n, data)) => {
                let name = topic(n);
                truth.publish(n, &format!("[8,{name:?},{data}]").into());
                kit::observe::envelope(&name, &data).into_bytes()
            }
            None => b"no event".to_vec(),
        };
        self.spent = (messages + 1, bytes + self.current.len());
        Some(Received::Message {
            from: &self.name,
            parts: Parts::from_iter([&*self.current]),
        })
    }

    fn settle(&mut self, settlement: Settlement) {
        let mut backlog = self.backlog.borrow_mut();
        backlog.settled += 1;
        assert_eq!(backlog.settled, backlog.received, "settled twice");
        let is_taken = matches!(settlement, Settlement::Taken);
        assert_eq!(is_taken, self.is_current_good, "{settlement:?}");
    }

    fn flushed(&mut self, now: Duration) {
        let mut truth = self.truth.borrow_mut();
        assert_eq!(now, truth.now);
        self.spent = (0, 0);
        let mut backlog = self.backlog.borrow_mut();
        assert_eq!(backlog.settled, backlog.received, "not settled");
        if backlog.acknowledged < backlog.settled {
            truth.check_flushed();
            backlog.acknowledged = backlog.settled;
        }
    }

    fn handle_readiness(&mut self, descriptor: Descriptor) {
        self.is_awake |= descriptor == Descriptor::Messages;
    }

    fn note_topic(&mut self, topic: &Rc<str>) {
        self.noted.push_back(Rc::clone(topic));
    }

    fn tell(&mut self, _now: Duration, wanted: &dyn Wanted, budget: &mut TellBudget) {
        if self.noted.is_empty() {
            return;
        }
        while budget.is_left()
            && let Some(topic) = self.noted.pop_front()
        {
            let mut truth = self.truth.borrow_mut();
            assert!(
                truth.told_bytes < truth.budgets.topic_bytes,
                "too much is told"
            );
            truth.told_bytes += topic.len() + NAME_COST;
            budget.take_name(&topic);
            match wanted.is_wanted(&topic) {
                true => self.told.insert(topic),
                false => self.told.remove(&topic),
            };
        }
        self.backlog.borrow_mut().untold = self.noted.len();
        if !self.noted.is_empty() {
            return;
        }
        let topics = (0..wanted.places()).filter_map(|place| wanted.topic_at(place));
        let topics: BTreeSet<_> = topics.filter(|name| wanted.is_wanted(name)).collect();
        assert_eq!(topics, self.told, "the publisher was told others");
    }

    fn timeout(&self, _now: Duration) -> Option<Duration> {
        (!self.noted.is_empty()).then_some(Duration::ZERO)
    }

    fn asks_for_everything(&self) -> bool {
        self.asks_for_everything
    }
}
