//! Topics by name, their members and their statistics.
//!
//! A topic is alive while it has a subscriber: the first one makes it and the last one that leaves takes it along, so names
//! that clients invent cannot pile up. A topic whose events are kept stays without one. A subscriber is a member, or waits to
//! become one: it is sent kept events first.
//!
//! The members of a topic stand in its audiences, one for each encoding. The other direction (the audiences of a connection)
//! is an [`IdSet`] of [`AudienceId`]s that the connection keeps and hands in. So to leave all of them costs as much as the
//! connection had, not as much as there is. A member is in at most one audience of a topic, because it has one encoding.
//!
//! A topic also counts its events, and how many a second it has lately: what an administrator asks
//! first. That is 16 bytes a topic, written where its members are looked up anyway.
//!
//! Never here: what a member is beyond its number, frames, clocks (a second is a number that is handed
//! in).

use std::rc::Rc;

use slab::Slab;

use super::audiences::{AudienceId, Audiences};
use super::histories::KeptView;
use super::idset::IdSet;
use super::names::Names;
use super::session::Encoding;
use super::topic_rules::RuleNumber;

pub use super::names::TopicId;

use crate::limits;

/// In topics, for how many the memory is kept that they have once taken.
const CAPACITY_KEPT: usize = 64;

/// What a second leaves of a rate: e^(-1/10), so that one is of the last ten seconds, roughly.
const RATE_KEPT: f32 = 0.904_837_4;

/// In seconds after which nothing is left of a rate.
const RATE_SECONDS_MAX: u32 = 300;

/// In topics, how many of those that had an event are remembered for [`Topics::take_active`].
const ACTIVE_MAX: usize = 4_096;

#[derive(Debug)]
struct Topic {
    name: Rc<str>,
    /// Empty only while the topic is kept, or awaited.
    audiences: Audiences,
    /// Since it is alive.
    events: u64,
    /// In events a second, as of `second`.
    rate: f32,
    /// When `rate` was last brought up to date.
    second: u32,
    /// How many clients wait for events that it had before they become members.
    awaiting: u32,
    /// The rule that counts for it, if these are the rules of that version.
    rule: RuleNumber,
    rules_version: u8,
    /// True exactly when it stays without a member.
    is_kept: bool,
}

const _: () = assert!(size_of::<Topic>() == 120);

impl Topic {
    fn rate_at(&self, second: u32) -> f32 {
        match second.saturating_sub(self.second) {
            0 => self.rate,
            gone @ 1..RATE_SECONDS_MAX => self.rate * RATE_KEPT.powi(gone as i32),
            _ => 0.0,
        }
    }

    /// How many clients are subscribed to it.
    fn subscribers(&self) -> usize {
        self.audiences.members() + self.awaiting as usize
    }

    /// Returns true when nobody needs it any more.
    fn is_over(&self) -> bool {
        !self.is_kept && self.awaiting == 0 && self.audiences.is_empty()
    }
}

/// A topic, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct TopicView {
    /// Its name.
    pub name: Rc<str>,
    /// How many connections are subscribed to it.
    pub subscribers: usize,
    /// How many events it has had since it is alive.
    pub events: u64,
    /// In events a second over the last ten, roughly.
    pub rate: f32,
    /// What is kept of it, if anything is.
    pub kept: Option<KeptView>,
}

/// What a subscription changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subscribed {
    /// Nothing: the member had it.
    Already,
    /// The audience has one more member.
    Joined,
    /// There was no such topic.
    Created(Rc<str>),
}

/// What the end of a subscription changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unsubscribed {
    /// Nothing: the member did not have it.
    NotSubscribed,
    /// The audience has one member less.
    Left,
    /// It was the last one: the audience is gone. With it its topic, when that is named here, and then the
    /// id may be given to another.
    Gone(AudienceId, Option<Rc<str>>),
}

/// All topics that are alive.
///
/// Invariant: `names` and `topics` name each other, and member `m` is in audience `a` exactly when `a`
/// is in `m`'s own set.
#[derive(Debug, Default)]
pub struct Topics {
    names: Names,
    topics: Slab<Topic>,
    subscriptions: usize,
    /// In bytes, the names of all topics.
    name_bytes: usize,
    /// In topics, how many there have been at a time since memory was last given back.
    most: usize,
    /// True exactly when very many topics have ended, and that was not asked about yet.
    has_freed: bool,
    /// Topics that had an event in some second since this was last taken, each second's once. Some
    /// may have ended since, or be others.
    active: Vec<TopicId>,
}

impl Topics {
    /// True once after very many topics have ended.
    pub fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.has_freed)
    }

    /// How many topics are alive.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// In bytes, the names of all topics that are alive.
    pub fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// How many pairs of connection and topic there are.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// The topic of that name, if it is alive.
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.names
            .find(name, |id| &*self.topics[id.place() as usize].name == name)
    }

    /// The members of an audience of a topic that is alive.
    #[inline]
    pub fn members(&self, audience: AudienceId) -> &IdSet {
        let topic = &self.topics[audience.topic().place() as usize];
        topic.audiences.get(audience)
    }

    /// The audiences of a topic that is alive, as far as they have members, with their encodings.
    pub fn audiences(&self, topic: TopicId) -> impl Iterator<Item = (AudienceId, Encoding)> {
        let encodings = self.topics[topic.place() as usize].audiences.encodings();
        encodings.map(move |encoding| (AudienceId::new(topic, encoding), encoding))
    }

    /// How many clients are subscribed to the topic of that name.
    pub fn subscribers(&self, name: &str) -> usize {
        let topic = self.find(name).map(|id| &self.topics[id.place() as usize]);
        topic.map_or(0, Topic::subscribers)
    }

    /// The number of the rule that counts for a topic, and the version of the rules in which it did.
    pub fn rule(&self, id: TopicId) -> (RuleNumber, u8) {
        let topic = &self.topics[id.place() as usize];
        (topic.rule, topic.rules_version)
    }

    /// This rule counts for a topic, in this version of the rules.
    pub fn set_rule(&mut self, id: TopicId, rule: RuleNumber, version: u8) {
        let topic = &mut self.topics[id.place() as usize];
        (topic.rule, topic.rules_version) = (rule, version);
    }

    /// Returns true when the topic is alive.
    pub fn has(&self, id: TopicId) -> bool {
        self.topics.contains(id.place() as usize)
    }

    /// No topic knows any more which rule counts for it. It looks at every topic.
    pub fn forget_rules(&mut self) {
        for (_, topic) in &mut self.topics {
            topic.rules_version = 0;
        }
    }

    /// Returns true when a client waits for events that a topic had before it becomes a member.
    pub fn is_awaited(&self, id: TopicId) -> bool {
        self.topics[id.place() as usize].awaiting > 0
    }

    /// A client waits for events that a topic had before it becomes a member.
    pub fn await_events(&mut self, id: TopicId) {
        self.topics[id.place() as usize].awaiting += 1;
        self.subscriptions += 1;
    }

    /// A client waits no more. Answers the topic's name when that was the end of it.
    pub fn end_awaiting(&mut self, id: TopicId) -> Option<Rc<str>> {
        self.topics[id.place() as usize].awaiting -= 1;
        self.subscriptions -= 1;
        self.end_if_over(id)
    }

    /// A topic stays without a member. Returns false when it did so before.
    pub fn keep(&mut self, id: TopicId) -> bool {
        !std::mem::replace(&mut self.topics[id.place() as usize].is_kept, true)
    }

    /// The topics that do not end with their last member.
    pub fn kept(&self) -> impl Iterator<Item = TopicId> {
        let kept = self.topics.iter().filter(|(_, topic)| topic.is_kept);
        kept.map(|(place, _)| TopicId::of_place(place as u32))
    }

    /// A topic ends with its last member. Answers its name when that was the end of it.
    pub fn stop_keeping(&mut self, id: TopicId) -> Option<Rc<str>> {
        self.topics[id.place() as usize].is_kept = false;
        self.end_if_over(id)
    }

    /// The topic has an event, in this second. Answers how many clients are subscribed to it.
    pub fn note_event(&mut self, id: TopicId, second: u32) -> usize {
        let topic = &mut self.topics[id.place() as usize];
        if topic.second != second {
            topic.rate = topic.rate_at(second);
            topic.second = second;
            if self.active.len() < ACTIVE_MAX {
                self.active.push(id);
            }
        }
        topic.events += 1;
        // The sum of what all seconds leave of one event each is one event a second. Beyond some hundred
        // thousand of them the rounding shows, by a few in a hundred.
        topic.rate += 1.0 - RATE_KEPT;
        topic.subscribers()
    }

    /// The topics that had events since this was last asked, as many as are remembered.
    pub fn take_active(&mut self) -> Vec<TopicId> {
        std::mem::take(&mut self.active)
    }

    /// How many places there are for topics, taken or free.
    pub fn places(&self) -> u32 {
        self.topics.capacity() as u32
    }

    /// The topic in a place, as of `second`; `None` where there is none.
    pub fn view(&self, place: u32, second: u32) -> Option<TopicView> {
        let topic = self.topics.get(place as usize)?;
        Some(TopicView {
            name: Rc::clone(&topic.name),
            subscribers: topic.subscribers(),
            events: topic.events,
            rate: topic.rate_at(second),
            kept: None,
        })
    }

    /// The name of the topic in a place; `None` where there is none.
    pub fn name_at(&self, place: u32) -> Option<Rc<str>> {
        let topic = self.topics.get(place as usize)?;
        Some(Rc::clone(&topic.name))
    }

    /// The name of a topic that is alive.
    pub fn name_of(&self, topic: TopicId) -> Rc<str> {
        Rc::clone(&self.topics[topic.place() as usize].name)
    }

    /// Returns true when the audience is there and has `member`.
    pub fn is_member(&self, audience: AudienceId, member: u32) -> bool {
        let topic = self.topics.get(audience.topic().place() as usize);
        topic.is_some_and(|topic| topic.audiences.get(audience).contains(member))
    }

    /// Checks that there are `subscriptions` pairs in all, counted in every way.
    ///
    /// # Errors
    /// What does not agree.
    pub fn audit(&self, subscriptions: usize) -> Result<(), String> {
        let all = self.topics.iter();
        let members: usize = all.map(|(_, topic)| topic.subscribers()).sum();
        if members != subscriptions || self.subscriptions != subscriptions {
            let counted = self.subscriptions;
            return Err(format!(
                "{subscriptions} subscriptions, {members} members, {counted} counted"
            ));
        }
        for (index, topic) in &self.topics {
            if topic.is_over() || self.find(&topic.name) != Some(TopicId::of_place(index as u32)) {
                return Err(format!("topic {:?} is not as it should be", topic.name));
            }
        }
        let name_bytes: usize = self.topics.iter().map(|(_, topic)| topic.name.len()).sum();
        if name_bytes != self.name_bytes {
            let counted = self.name_bytes;
            return Err(format!("{name_bytes} bytes of names, {counted} counted"));
        }
        if self.names.len() != self.topics.len() {
            return Err(format!(
                "{} names, {} topics",
                self.names.len(),
                self.topics.len()
            ));
        }
        Ok(())
    }

    /// Makes `member` a subscriber of the topic `name`, in its encoding; `own` is its reverse index.
    pub fn subscribe(
        &mut self,
        member: u32,
        own: &mut IdSet,
        encoding: Encoding,
        name: &str,
    ) -> (AudienceId, Subscribed) {
        let known = self.find(name);
        let (topic, created) = match known {
            Some(topic) => (topic, None),
            None => {
                let name: Rc<str> = name.into();
                (self.create(Rc::clone(&name)), Some(name))
            }
        };
        let audience = AudienceId::new(topic, encoding);
        if !own.insert(audience.number()) {
            return (audience, Subscribed::Already);
        }
        let audiences = &mut self.topics[topic.place() as usize].audiences;
        audiences.get_mut(audience).insert(member);
        self.subscriptions += 1;
        let subscribed = created.map_or(Subscribed::Joined, Subscribed::Created);
        (audience, subscribed)
    }

    /// Makes a topic, which must not be there. Somebody must need it.
    pub fn create(&mut self, name: Rc<str>) -> TopicId {
        self.name_bytes += name.len();
        let id = TopicId::of_place(self.topics.insert(Topic {
            name: Rc::clone(&name),
            audiences: Audiences::default(),
            events: 0,
            rate: 0.0,
            second: 0,
            awaiting: 0,
            rule: RuleNumber::NONE,
            rules_version: 0,
            is_kept: false,
        }) as u32);
        self.names.insert(&name, id);
        self.most = self.most.max(self.topics.len());
        id
    }

    /// Takes `member`, which has this encoding, out of the topic `name`.
    pub fn unsubscribe(
        &mut self,
        member: u32,
        own: &mut IdSet,
        encoding: Encoding,
        name: &str,
    ) -> Unsubscribed {
        match self.find(name) {
            Some(topic) => self.leave(member, own, AudienceId::new(topic, encoding)),
            None => Unsubscribed::NotSubscribed,
        }
    }

    /// Takes `member` out of one of the audiences in `own`.
    pub fn leave_one(&mut self, member: u32, own: &mut IdSet) -> Unsubscribed {
        match own.pop() {
            Some(number) => self.remove(member, AudienceId::of_number(number)),
            None => Unsubscribed::NotSubscribed,
        }
    }

    /// Takes `member` out of an audience.
    pub fn leave(&mut self, member: u32, own: &mut IdSet, audience: AudienceId) -> Unsubscribed {
        match own.remove(audience.number()) {
            true => self.remove(member, audience),
            false => Unsubscribed::NotSubscribed,
        }
    }

    /// Takes `member` out of all that is in `own`; `gone` is told of each topic that ends with it. A
    /// server leaves one topic at a time.
    #[cfg(test)]
    pub fn leave_all(
        &mut self,
        member: u32,
        mut own: IdSet,
        mut gone: impl FnMut(AudienceId, Option<Rc<str>>),
    ) {
        loop {
            match self.leave_one(member, &mut own) {
                Unsubscribed::NotSubscribed => return,
                Unsubscribed::Left => {}
                Unsubscribed::Gone(id, name) => gone(id, name),
            }
        }
    }

    fn remove(&mut self, member: u32, audience: AudienceId) -> Unsubscribed {
        let place = audience.topic().place() as usize;
        let audiences = &mut self.topics[place].audiences;
        let members = audiences.get_mut(audience);
        let was_member = members.remove(member);
        debug_assert!(was_member, "the two directions agree");
        self.subscriptions -= 1;
        if !members.is_empty() {
            return Unsubscribed::Left;
        }
        Unsubscribed::Gone(audience, self.end_if_over(audience.topic()))
    }

    fn end_if_over(&mut self, id: TopicId) -> Option<Rc<str>> {
        let place = id.place() as usize;
        if !self.topics[place].is_over() {
            return None;
        }
        let topic = self.topics.remove(place);
        self.name_bytes -= topic.name.len();
        self.names.remove(&topic.name, id);
        self.shrink();
        Some(topic.name)
    }

    /// Gives back the places of a million topics when most of them are gone. It looks at every place, so it is
    /// done after seven of eight topics have ended, or the last.
    fn shrink(&mut self) {
        let len = self.topics.len();
        if self.topics.capacity() > CAPACITY_KEPT && (len == 0 || len < self.most / 8) {
            self.has_freed |= self.most >= limits::TOPICS_KEPT_MAX;
            self.most = len;
            self.topics.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAMP: Encoding = Encoding::Wamp1;

    #[test]
    fn a_topic_lives_as_long_as_somebody_subscribes() {
        let mut topics = Topics::default();
        let (mut one, mut two) = (IdSet::default(), IdSet::default());
        let (audience, created) = topics.subscribe(1, &mut one, WAMP, "news");
        assert_eq!(created, Subscribed::Created("news".into()));
        let topic = topics.find("news").expect("it was created");
        assert_eq!(audience, AudienceId::new(topic, WAMP));
        assert!(topics.audiences(topic).eq([(audience, WAMP)]));
        assert_eq!(
            topics.subscribe(1, &mut one, WAMP, "news").1,
            Subscribed::Already
        );
        assert_eq!(
            topics.subscribe(2, &mut two, WAMP, "news").1,
            Subscribed::Joined
        );
        assert_eq!(topics.subscriptions(), 2);
        assert!(topics.members(audience).iter().eq([1, 2]));

        assert_eq!(
            topics.unsubscribe(1, &mut one, WAMP, "news"),
            Unsubscribed::Left
        );
        assert_eq!(
            topics.unsubscribe(1, &mut one, WAMP, "news"),
            Unsubscribed::NotSubscribed
        );
        assert_eq!(
            topics.unsubscribe(2, &mut two, WAMP, "news"),
            Unsubscribed::Gone(audience, Some("news".into()))
        );
        assert!(topics.len() == 0 && topics.find("news").is_none());
        assert_eq!(topics.subscriptions(), 0);
    }

    #[test]
    fn a_steady_rate_is_found_and_fades() {
        let mut topics = Topics::default();
        topics.subscribe(1, &mut IdSet::default(), WAMP, "t");
        let id = topics.find("t").expect("it was created");
        for second in 1..=60 {
            for _ in 0..20 {
                assert_eq!(topics.note_event(id, second), 1);
            }
        }
        let rate = |second| topics.view(id.place(), second).expect("alive").rate;
        assert!((19.5..20.5).contains(&rate(60)), "{}", rate(60));
        assert!((6.0..9.0).contains(&rate(70)), "{}", rate(70));
        assert!(rate(60 + RATE_SECONDS_MAX) == 0.0);
        assert_eq!(topics.view(id.place(), 60).expect("alive").events, 1_200);
        assert_eq!(topics.take_active().len(), 60);
        assert!(topics.take_active().is_empty());
    }

    #[test]
    fn leaving_everything_names_what_ends() {
        let mut topics = Topics::default();
        let (mut one, mut two) = (IdSet::default(), IdSet::default());
        for name in ["a", "b", "c"] {
            topics.subscribe(1, &mut one, WAMP, name);
        }
        topics.subscribe(2, &mut two, WAMP, "b");
        let mut gone = Vec::new();
        topics.leave_all(1, one, |_, name| {
            gone.extend(name.map(|name| name.to_string()))
        });
        gone.sort();
        assert_eq!(gone, ["a", "c"]);
        assert_eq!((topics.len(), topics.subscriptions()), (1, 1));
        assert!(topics.find("b").is_some());
    }

    #[test]
    fn topics_that_have_ended_leave_no_memory_behind() {
        let mut topics = Topics::default();
        let mut own = IdSet::default();
        let name = |n: u32| format!("topic {n}");
        for n in 0..100_000 {
            topics.subscribe(1, &mut own, WAMP, &name(n));
        }
        let kept = |topics: &Topics| topics.names.capacity().max(topics.topics.capacity());
        assert!(kept(&topics) >= 100_000);
        for n in (0..100_000).filter(|n| n % 10_000 != 5) {
            topics.unsubscribe(1, &mut own, WAMP, &name(n));
        }
        // A place that is taken stays where it is, and so do all before it.
        assert!(
            topics.names.capacity() <= 10 * 8 * 4,
            "{}",
            topics.names.capacity()
        );
        for n in 0..10 {
            let name = name(n * 10_000 + 5);
            let id = topics.find(&name).expect("it is alive");
            assert!(topics.is_member(AudienceId::new(id, WAMP), 1));
            topics.unsubscribe(1, &mut own, WAMP, &name);
        }
        assert!(own.is_empty() && topics.len() == 0);
        assert_eq!(topics.audit(0), Ok(()));
        for n in 0..100_000 {
            topics.subscribe(1, &mut own, WAMP, &name(n));
        }
        topics.leave_all(1, own, |_, _| {});
        assert!(kept(&topics) <= CAPACITY_KEPT, "{}", kept(&topics));
    }
}
