//! What the server has taken in and what it has missed, and therefore what it may answer to a client that asks for the
//! past.
//!
//! The log has every event and forgets none, so the model needs no rings and no bytes. Where an answer depends on room or
//! on the last second, the model allows both.
//!
//! Never here: what a client hears (`client`), and what happens next (the world's dice say that).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use newswire::engine::Rules;
use newswire::limits;
use newswire::wire::id::{Epoch, EventId};
use newswire::wire::topic_rule::TopicRule;

use super::super::subscriber::topic;

/// A connection to a source, or a rule, counts as new for so long.
const SETTLES: Duration = Duration::from_millis(limits::SOURCE_SETTLES_MILLISECONDS);

/// Beyond all that a world can keep.
pub const WIDE: usize = 1 << 24;

/// An event that was taken in.
pub struct Logged {
    pub topic: usize,
    pub id: EventId,
    at: Duration,
}

/// What a client asks of the past.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub since: Option<String>,
    pub last: Option<usize>,
}

/// What the server may answer to a client that asks for the past.
#[derive(Debug, Eq, PartialEq)]
pub enum Expected {
    /// Every event behind the client's position follows.
    Recovered,
    /// They do not follow, for this reason.
    Not(&'static str),
    /// Either of both: what is kept depends on time or room.
    RecoveredOrFloor,
}

/// A request that the server has not answered yet.
pub struct Request {
    pub topic: usize,
    pub asked: Asked,
    /// The place in the log of the event that came next.
    pub asked_at: usize,
    /// True exactly when the client had the topic already.
    pub is_again: bool,
    pub expected: Expected,
    /// Places in the log of the events behind the position that the client names.
    pub behind: Vec<usize>,
    /// Places in the log of the newest events, as many as the client or the rule asks for.
    pub last: Vec<usize>,
}

/// See the module.
#[derive(Default)]
pub struct Log {
    /// In the order in which they were taken in. A place in the log is an index of this.
    pub events: Vec<Logged>,
    epoch: u8,
    /// The newest number of the present epoch.
    pub sequence: u64,
    /// Up to this number of the present epoch, events of any topic may have been missed.
    floor: u64,
    /// The server may be so careful as to count from this number, but need not.
    unsure_floor: u64,
    /// Up to these numbers, events of one topic were missed.
    missed: BTreeMap<usize, u64>,
    /// When a source was connected for the last time.
    joined: Option<Duration>,
    /// True exactly when the next event's number says up to where events of any topic may have been missed.
    has_gap: bool,
    /// When the rules for topics changed for the last time.
    reloaded: Option<Duration>,
    /// Up to this number of the present epoch, other rules have kept more, or less.
    reload_floor: u64,
    /// True exactly when the next event's number says up to where that is.
    has_reload_gap: bool,
    /// Topics that are kept since then, and were not before. Sources need not have sent events of them.
    unlearned: BTreeSet<usize>,
}

impl Expected {
    /// Returns true when this may be the answer; `Err` is the server's reason.
    pub fn allows(&self, outcome: Result<(), &str>) -> bool {
        match (self, outcome) {
            (Self::Recovered | Self::RecoveredOrFloor, Ok(())) => true,
            (Self::Not(expected), Err(reason)) => reason == *expected,
            (Self::RecoveredOrFloor, Err(reason)) => reason == "floor",
            (Self::Recovered, Err(_)) | (Self::Not(_), Ok(())) => false,
        }
    }
}

/// Returns true when what was changed then is so new that publishers may not know it yet.
fn is_new(changed: Option<Duration>, now: Duration) -> bool {
    changed.is_some_and(|at| now < at + SETTLES)
}

/// Returns the rule for a topic.
fn rule(rules: &[TopicRule], n: usize) -> Option<&TopicRule> {
    let name = topic(n);
    rules.iter().find(|rule| rule.matches(&name))
}

/// Returns true when the events of a topic are kept.
pub fn keeps(rules: &[TopicRule], n: usize) -> bool {
    rule(rules, n).is_some_and(TopicRule::keeps)
}

/// An epoch, told apart from all others by its number.
pub fn epoch(n: u8) -> Epoch {
    Epoch::new([n; 8])
}

impl Log {
    /// The id with this number in the present epoch.
    pub fn id(&self, sequence: u64) -> EventId {
        EventId {
            epoch: epoch(self.epoch),
            sequence,
        }
    }

    /// An event comes whose number is `step` above the newest one. Returns its place.
    pub fn take_in(&mut self, topic: usize, step: u64, now: Duration) -> usize {
        let id = self.count_up(step);
        if is_new(self.joined, now) {
            self.floor = self.sequence;
        }
        if is_new(self.reloaded, now) {
            self.reload_floor = self.sequence;
        }
        self.events.push(Logged { topic, id, at: now });
        self.events.len() - 1
    }

    /// The newest number rises: an event has it, or the server has used it up for events that it has missed.
    pub fn count_up(&mut self, step: u64) -> EventId {
        self.sequence += step;
        if std::mem::take(&mut self.has_gap) {
            self.floor = self.sequence - 1;
        }
        if std::mem::take(&mut self.has_reload_gap) {
            self.learn(self.sequence - 1);
        }
        self.id(self.sequence)
    }

    /// Up to this number, events of topics that are newly kept may have been missed.
    fn learn(&mut self, floor: u64) {
        self.reload_floor = floor;
        for n in std::mem::take(&mut self.unlearned) {
            self.missed.insert(n, floor);
        }
    }

    /// The relay starts again, and counts from `sequence` on.
    pub fn begin_epoch(&mut self, sequence: u64) {
        self.epoch += 1;
        self.sequence = sequence;
        self.missed.clear();
        self.unsure_floor = 0;
        self.reload_floor = 0;
        self.has_reload_gap = false;
        self.unlearned.clear();
        self.has_gap = true;
    }

    /// A source is connected; what it sent before is missed. `is_own`: the server has used up a number for that.
    pub fn note_joined(&mut self, is_own: bool, now: Duration) {
        self.joined = Some(now);
        match is_own {
            true => self.floor = self.sequence,
            false => self.has_gap = true,
        }
    }

    /// Events of a topic are missed: up to the newest number, which the server has used up for them (`is_own`), or up to
    /// the one before the event that has shown it.
    pub fn note_missed(&mut self, n: usize, is_own: bool, rules: &Rules, now: Duration) {
        if is_own && is_new(self.joined, now) {
            self.floor = self.sequence;
        }
        if keeps(&rules.topics, n) {
            let floor = self.sequence - u64::from(!is_own);
            self.missed.insert(n, floor);
            // Where the engine has no ring of the topic, it is careful with all topics.
            self.unsure_floor = floor;
        }
    }

    /// Other rules are in force.
    pub fn note_reload(&mut self) {
        self.reload_floor = self.sequence;
    }

    /// Other rules keep these topics for the first time, of which sources have perhaps sent nothing so far. `is_own`: the
    /// server has used up a number for that.
    pub fn note_other_topics(&mut self, newly_kept: BTreeSet<usize>, is_own: bool, now: Duration) {
        self.reloaded = Some(now);
        self.unlearned.extend(newly_kept);
        match is_own {
            true => self.learn(self.sequence),
            false => self.has_reload_gap = true,
        }
    }

    /// What the server has to do with a client that asks this of a topic.
    pub fn request(&self, n: usize, asked: Asked, rules: &Rules, now: Duration) -> Request {
        let since = asked.since.as_deref();
        let position = since.and_then(|text| EventId::parse_position(text.as_bytes()));
        let sends_last = rule(&rules.topics, n).is_some_and(|rule| rule.sends_last);
        let count = asked.last.unwrap_or(0).max(sends_last.into());
        let kept = self.kept(n, rules);
        Request {
            topic: n,
            expected: self.expected(n, since, rules, now),
            behind: position.map_or(Vec::new(), |position| self.behind(n, position)),
            last: kept[kept.len().saturating_sub(count)..].to_vec(),
            asked_at: self.events.len(),
            is_again: false,
            asked,
        }
    }

    /// Places of a topic's events that may be kept: more are not.
    fn kept(&self, n: usize, rules: &Rules) -> Vec<usize> {
        let Some(rule) = rule(&rules.topics, n).filter(|rule| rule.keeps()) else {
            return Vec::new();
        };
        let is_of_topic = |&at: &usize| self.events[at].topic == n;
        let mut kept: Vec<usize> = (0..self.events.len()).filter(is_of_topic).collect();
        // The ring of another epoch is dropped with the first event of this one.
        let newest = kept.last().map(|&at| self.events[at].id.epoch);
        kept.retain(|&at| Some(self.events[at].id.epoch) == newest);
        kept.drain(..kept.len().saturating_sub(rule.events_kept()));
        kept
    }

    /// Places of a topic's events behind a position.
    fn behind(&self, n: usize, position: EventId) -> Vec<usize> {
        let is_behind = |&at: &usize| {
            let Logged { topic, id, .. } = self.events[at];
            topic == n && id.epoch == position.epoch && id.sequence > position.sequence
        };
        (0..self.events.len()).filter(is_behind).collect()
    }

    fn expected(&self, n: usize, since: Option<&str>, rules: &Rules, now: Duration) -> Expected {
        let (Some(rule), Some(since)) = (rule(&rules.topics, n).filter(|rule| rule.keeps()), since)
        else {
            return Expected::Not("none");
        };
        let Some(position) = EventId::parse_position(since.as_bytes()) else {
            return Expected::Not("unknown");
        };
        if position.epoch != epoch(self.epoch) {
            return Expected::Not("epoch");
        }
        if position.sequence > self.sequence {
            return Expected::Not("unknown");
        }
        let missed = self.missed.get(&n).copied().unwrap_or(0);
        let is_missed = position.sequence < self.floor.max(missed) || self.unlearned.contains(&n);
        if self.has_gap || is_missed {
            return Expected::Not("floor");
        }
        if self.has_reload_gap || position.sequence < self.reload_floor {
            return Expected::RecoveredOrFloor;
        }
        let behind = self.behind(n, position);
        let kept = self.kept(n, rules);
        if !behind.iter().all(|at| kept.contains(at)) {
            return Expected::Not("floor");
        }
        let is_young = |&at: &usize| {
            let age = (now - self.events[at].at).as_secs();
            rule.age_seconds.is_none_or(|max| age + 1 < max.into())
        };
        let has_room = rules.history_bytes_max == WIDE;
        match has_room && position.sequence >= self.unsure_floor && behind.iter().all(is_young) {
            true => Expected::Recovered,
            false => Expected::RecoveredOrFloor,
        }
    }
}
