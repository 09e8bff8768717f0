//! The rules for topics, and what is kept of them.
//!
//! A topic of which an event is kept stays without a subscriber. It goes when its events have gone, unless a rule names it.
//!
//! Never here: how long events are kept and how they are found (`histories`), what a client is sent (`replay`).

use std::rc::Rc;
use std::time::Duration;

use super::Hub;
use crate::engine::audiences::AudienceId;
use crate::engine::histories::{Histories, ReplayStart};
use crate::engine::session::Encoding;
use crate::engine::topic_rules::{RuleNumber, TopicRules};
use crate::engine::topics::TopicId;
use crate::limits;
use crate::wire::envelope::Event;
use crate::wire::id::EventId;
use crate::wire::past::{PastWish, Unrecovered};
use crate::wire::topic_rule::TopicRule;

/// What a client can get of a topic's past.
#[derive(Clone, Copy, Debug)]
pub struct Prospect {
    /// True exactly when events of the topic are kept.
    pub is_kept: bool,
    /// Whether the client gets everything behind its own position.
    pub outcome: Result<(), Unrecovered>,
    /// From here on it gets everything.
    pub position: EventId,
    /// Kept events behind this one are to be sent to it; `None` when there are none.
    pub replay: Option<ReplayStart>,
}

impl Hub {
    /// Other rules for topics, and another bound for all kept events, in bytes. [`Hub::maintain`] applies them step by step
    /// to what is kept already. Returns true when the rules are others.
    pub fn set_topic_rules(&mut self, rules: &[TopicRule], history_bytes_max: usize) -> bool {
        self.history.set_bytes_max(history_bytes_max);
        let before: Vec<String> = self.rules.kept_names().map(str::to_owned).collect();
        if !self.rules.replace(rules) {
            return false;
        }
        self.history.timeline_mut().forget_all();
        self.rules_version = self.rules_version.checked_add(1).unwrap_or_else(|| {
            self.topics.forget_rules();
            1
        });
        let names = before.iter().filter_map(|name| self.topics.find(name));
        self.unruled.extend(self.history.topics().chain(names));
        self.unruled.sort_unstable();
        self.unruled.dedup();
        let names: Vec<Rc<str>> = self.rules.kept_names().map(Rc::from).collect();
        for name in names {
            let topic = self.find_or_create(&name);
            self.topics.keep(topic);
        }
        true
    }

    /// The rules for topics.
    pub fn topic_rules(&self) -> &TopicRules {
        &self.rules
    }

    /// The kept events.
    pub fn history(&self) -> &Histories {
        &self.history
    }

    /// The kept events, to tell what has happened to them.
    pub fn history_mut(&mut self) -> &mut Histories {
        &mut self.history
    }

    /// Events of a topic were missed, just before the one that comes next.
    pub fn note_missed(&mut self, name: &str, at: Option<EventId>, now: Duration) {
        let (known, rule) = self.find_ruled(name);
        if self.rules.keeps(rule) {
            self.history.note_missed(known, at, now);
        } else if let Some(at) = at {
            self.history.timeline_mut().note(at, now);
        }
    }

    /// Drops kept events that are too old, or that other rules keep no more, as many as a turn's budget allows.
    pub fn maintain(&mut self, second: u32) {
        self.history.drop_due(second);
        self.release_forgotten();
        let mut left = limits::TURN_KEPT_DROPS_MAX;
        while left > 0
            && let Some(topic) = self.unruled.pop()
        {
            let before = self.history.events();
            self.apply_rule(topic);
            let dropped = before - self.history.events();
            left = left.saturating_sub(limits::TOPIC_RULE_COST + dropped);
        }
    }

    /// In which second [`Hub::maintain`] has something to do next; it may have passed. `None` while nothing is due.
    pub fn maintenance_due(&self) -> Option<u32> {
        match self.unruled.is_empty() {
            true => self.history.next_due(),
            false => Some(0),
        }
    }

    /// Keeps of a topic what its rule says. Without kept events, the topic lives on only if a rule names it.
    fn apply_rule(&mut self, topic: TopicId) {
        // It may have ended meanwhile.
        if !self.topics.has(topic) {
            return;
        }
        let rule = self.rule(topic);
        let rule = self.rules.get(rule).filter(|rule| rule.keeps());
        match rule {
            Some(rule) => self.history.set_rule(topic, rule),
            None => drop(self.history.forget(topic)),
        }
        let is_named = rule.is_some_and(|rule| rule.exact_name().is_some());
        if !is_named && self.history.ring(topic).is_none() {
            let ended = self.topics.stop_keeping(topic);
            self.note_ended(topic, ended);
        }
    }

    /// The topic `name`, if it is alive, and the rule that counts for it. If the rule keeps nothing, the events that an
    /// older rule has kept are dropped first: the event that comes now would be missing among them.
    pub(super) fn find_ruled(&mut self, name: &str) -> (Option<TopicId>, RuleNumber) {
        let known = self.topics.find(name);
        let rule = self.rule_of(known, name);
        match known.filter(|_| !self.unruled.is_empty() && !self.rules.keeps(rule)) {
            Some(topic) => {
                self.apply_rule(topic);
                (self.topics.find(name), rule)
            }
            None => (known, rule),
        }
    }

    /// A slow client has lost events of a topic, because of the topic's rule.
    pub fn note_dropped(&mut self, topic: TopicId, events: u64) {
        if self.topics.has(topic) {
            let rule = self.rule(topic);
            self.rules.note_dropped(rule, events);
        }
    }

    /// The rule that counts for the topic `name`, which is `known` if it is alive.
    fn rule_of(&mut self, known: Option<TopicId>, name: &str) -> RuleNumber {
        match known {
            Some(topic) => self.rule(topic),
            None => self.rules.find(name),
        }
    }

    /// The rule that counts for a topic.
    fn rule(&mut self, topic: TopicId) -> RuleNumber {
        let (rule, version) = self.topics.rule(topic);
        if version == self.rules_version {
            return rule;
        }
        let rule = self.rules.find(&self.topics.name_of(topic));
        self.topics.set_rule(topic, rule, self.rules_version);
        rule
    }

    /// Returns true when events of the topic are wanted: it has a subscriber, or its events are kept.
    pub fn wants(&self, name: &str) -> bool {
        self.topics.find(name).is_some() || self.rules.keeps(self.rules.find(name))
    }

    /// Keeps an event, and its topic with it.
    pub(super) fn keep_event(
        &mut self,
        topic: TopicId,
        rule: RuleNumber,
        (id, second): (EventId, u32),
        event: &Event<'_>,
    ) {
        self.topics.keep(topic);
        if let Some(rule) = self.rules.get(rule) {
            let kept = (id, second, event.data);
            self.history.keep(topic, event.topic.len(), rule, kept);
        }
    }

    /// An event is not kept. A client may wait for events of its topic, which were kept until other rules came.
    pub(super) fn pass_event(&mut self, topic: TopicId, id: EventId) {
        if self.topics.is_awaited(topic) {
            self.history.timeline_mut().forget(id.sequence);
        }
    }

    /// Topics whose events were dropped to make room end, unless a rule names them.
    pub(super) fn release_forgotten(&mut self) {
        while let Some(topic) = self.history.poll_forgotten() {
            self.apply_rule(topic);
        }
    }

    /// What a client that asks for `past` can get of the topic `name`.
    pub fn prospect(&mut self, name: &str, past: PastWish) -> Prospect {
        let topic = self.topics.find(name);
        let rule = self.rule_of(topic, name);
        let Some(rule) = self.rules.get(rule).filter(|rule| rule.keeps()) else {
            return Prospect {
                is_kept: false,
                outcome: Err(Unrecovered::None),
                position: self.history.position(topic),
                replay: None,
            };
        };
        let recovered = match past.since {
            Some(since) => self.history.recover(topic, since),
            None => Err(Unrecovered::None),
        };
        let ring = topic.and_then(|topic| self.history.ring(topic));
        let last = past.last.unwrap_or(0).max(rule.sends_last.into());
        let replay = ring.and_then(|ring| {
            let after = match recovered {
                Ok(_) if ring.generation() != self.history.timeline().generation() => return None,
                Ok(position) => position.sequence,
                Err(_) => ring.before_last(usize::try_from(last).unwrap_or(usize::MAX)),
            };
            let generation = ring.generation();
            let has_events = ring.behind(after).next().is_some();
            has_events.then_some(ReplayStart { generation, after })
        });
        Prospect {
            is_kept: true,
            outcome: recovered.map(drop),
            position: recovered.unwrap_or_else(|_| self.history.position(topic)),
            replay,
        }
    }

    /// The position of a member of a topic, which `position` would be if no event were on its way to it.
    pub fn position_of_member(
        &self,
        member: u32,
        topic: TopicId,
        encoding: Encoding,
        position: EventId,
    ) -> EventId {
        let first = self
            .flush
            .first_waiting(AudienceId::new(topic, encoding), member);
        first.map_or(position, |id| EventId {
            sequence: id.sequence - 1,
            ..id
        })
    }

    /// Checks that a topic lives on without subscribers only while events of it are kept, a rule names it, or its rule is
    /// still to be applied.
    ///
    /// # Errors
    /// What does not agree.
    pub fn audit(&self) -> Result<(), String> {
        self.history.audit()?;
        for topic in self.topics.kept() {
            let name = self.topics.name_of(topic);
            let rule = self.rules.get(self.rules.find(&name));
            let is_named = rule.is_some_and(|rule| rule.keeps() && rule.exact_name().is_some());
            if !is_named && self.history.ring(topic).is_none() && !self.unruled.contains(&topic) {
                return Err(format!("{name} is kept, and nothing of it is"));
            }
        }
        Ok(())
    }
}
