//! Topics by name, and who their members are.
//!
//! A topic is alive while somebody subscribes to it: the first subscriber makes it, the last one
//! that leaves takes it along, so that names invented by clients cannot pile up. The other
//! direction (a connection's own topics) is an [`IdSet`] of [`TopicId`]s that the connection keeps
//! and hands in, so that leaving everything costs as much as it had, not as much as there is.
//!
//! Never here: what a member is beyond its number, frames, time.

use std::collections::HashMap;
use std::rc::Rc;

use slab::Slab;

use super::idset::IdSet;

/// In topics, for how many the memory is kept that they have once taken.
const CAPACITY_KEPT: usize = 64;

/// A topic, for as long as somebody subscribes to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TopicId(u32);

#[derive(Debug)]
struct Topic {
    /// Shared with the key in `Topics::ids`.
    name: Rc<str>,
    /// Never empty.
    members: IdSet,
}

/// What a subscription changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subscribed {
    /// Nothing: the member had it.
    Already,
    /// The topic has one more member.
    Joined(TopicId),
    /// There was no such topic.
    Created(Rc<str>),
}

/// What the end of a subscription changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unsubscribed {
    /// Nothing: the member did not have it.
    NotSubscribed,
    /// The topic has one member less.
    Left,
    /// It was the last one; the topic is gone, and its id may be given to another.
    Gone(TopicId, Rc<str>),
}

/// All topics that are alive.
///
/// Invariant: `ids` and `topics` name each other, and member `m` is in topic `t` exactly when `t`
/// is in `m`'s own set.
#[derive(Debug, Default)]
pub struct Topics {
    ids: HashMap<Rc<str>, TopicId>,
    topics: Slab<Topic>,
    subscriptions: usize,
    /// In topics, how many there have been at a time since memory was last given back.
    most: usize,
}

impl Topics {
    /// How many topics are alive.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// How many pairs of connection and topic there are.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// The topic of that name, if somebody subscribes to it.
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.ids.get(name).copied()
    }

    /// The members of a topic that is alive.
    pub fn members(&self, topic: TopicId) -> &IdSet {
        &self.topics[topic.0 as usize].members
    }

    /// The name of the topic with that number, as it stands in a connection's own set.
    pub fn name(&self, topic: u32) -> Rc<str> {
        Rc::clone(&self.topics[topic as usize].name)
    }

    /// Whether the topic with that number, as it stands in a connection's own set, has `member`.
    pub fn is_member(&self, topic: u32, member: u32) -> bool {
        let topic = self.topics.get(topic as usize);
        topic.is_some_and(|topic| topic.members.contains(member))
    }

    /// Whether there are `subscriptions` pairs in all, counted in every way.
    ///
    /// # Errors
    /// What does not agree.
    pub fn audit(&self, subscriptions: usize) -> Result<(), String> {
        let members: usize = self.topics.iter().map(|(_, t)| t.members.len()).sum();
        if members != subscriptions || self.subscriptions != subscriptions {
            let counted = self.subscriptions;
            return Err(format!(
                "{subscriptions} subscriptions, {members} members, {counted} counted"
            ));
        }
        for (index, topic) in &self.topics {
            if topic.members.is_empty() || self.ids.get(&topic.name) != Some(&TopicId(index as u32))
            {
                return Err(format!("topic {:?} is not as it should be", topic.name));
            }
        }
        if self.ids.len() != self.topics.len() {
            return Err(format!(
                "{} names, {} topics",
                self.ids.len(),
                self.topics.len()
            ));
        }
        Ok(())
    }

    /// Makes `member` hear `name`; `own` is its reverse index.
    pub fn subscribe(&mut self, member: u32, own: &mut IdSet, name: &str) -> Subscribed {
        if let Some(id) = self.find(name) {
            if !own.insert(id.0) {
                return Subscribed::Already;
            }
            self.topics[id.0 as usize].members.insert(member);
            self.subscriptions += 1;
            return Subscribed::Joined(id);
        }
        let name: Rc<str> = name.into();
        let mut members = IdSet::default();
        members.insert(member);
        let id = TopicId(self.topics.insert(Topic {
            name: Rc::clone(&name),
            members,
        }) as u32);
        self.ids.insert(Rc::clone(&name), id);
        self.most = self.most.max(self.topics.len());
        own.insert(id.0);
        self.subscriptions += 1;
        Subscribed::Created(name)
    }

    /// Makes `member` hear `name` no longer.
    pub fn unsubscribe(&mut self, member: u32, own: &mut IdSet, name: &str) -> Unsubscribed {
        match self.find(name) {
            Some(id) if own.remove(id.0) => self.leave(member, id),
            _ => Unsubscribed::NotSubscribed,
        }
    }

    /// Takes `member` out of all that is in `own`, which it gives up; `gone` hears of each topic
    /// that ends with it.
    pub fn leave_all(&mut self, member: u32, own: IdSet, mut gone: impl FnMut(TopicId, Rc<str>)) {
        for id in own.iter() {
            if let Unsubscribed::Gone(id, name) = self.leave(member, TopicId(id)) {
                gone(id, name);
            }
        }
    }

    fn leave(&mut self, member: u32, id: TopicId) -> Unsubscribed {
        let topic = &mut self.topics[id.0 as usize];
        let was_member = topic.members.remove(member);
        debug_assert!(was_member, "the two directions agree");
        self.subscriptions -= 1;
        if !topic.members.is_empty() {
            return Unsubscribed::Left;
        }
        let topic = self.topics.remove(id.0 as usize);
        self.ids.remove(&topic.name);
        self.shrink();
        Unsubscribed::Gone(id, topic.name)
    }

    /// Gives back the memory of a million names when most of them are gone. It takes a look at every
    /// place, and comes after seven of eight topics have ended, or the last.
    fn shrink(&mut self) {
        let len = self.topics.len();
        let is_large = self.topics.capacity().max(self.ids.capacity()) > CAPACITY_KEPT;
        if is_large && (len == 0 || len < self.most / 8) {
            self.most = len;
            self.ids.shrink_to(2 * len);
            self.topics.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_lives_as_long_as_somebody_subscribes() {
        let mut topics = Topics::default();
        let (mut one, mut two) = (IdSet::default(), IdSet::default());
        let created = topics.subscribe(1, &mut one, "news");
        assert_eq!(created, Subscribed::Created("news".into()));
        let id = topics.find("news").expect("it was created");
        assert_eq!(topics.subscribe(1, &mut one, "news"), Subscribed::Already);
        assert_eq!(
            topics.subscribe(2, &mut two, "news"),
            Subscribed::Joined(id)
        );
        assert_eq!(topics.subscriptions(), 2);
        assert!(topics.members(id).iter().eq([1, 2]));

        assert_eq!(topics.unsubscribe(1, &mut one, "news"), Unsubscribed::Left);
        assert_eq!(
            topics.unsubscribe(1, &mut one, "news"),
            Unsubscribed::NotSubscribed
        );
        assert_eq!(
            topics.unsubscribe(2, &mut two, "news"),
            Unsubscribed::Gone(id, "news".into())
        );
        assert!(topics.len() == 0 && topics.find("news").is_none());
        assert_eq!(topics.subscriptions(), 0);
    }

    #[test]
    fn leaving_everything_names_what_ends() {
        let mut topics = Topics::default();
        let (mut one, mut two) = (IdSet::default(), IdSet::default());
        for name in ["a", "b", "c"] {
            topics.subscribe(1, &mut one, name);
        }
        topics.subscribe(2, &mut two, "b");
        let mut gone = Vec::new();
        topics.leave_all(1, one, |_, name| gone.push(name.to_string()));
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
            topics.subscribe(1, &mut own, &name(n));
        }
        let kept = |topics: &Topics| topics.ids.capacity().max(topics.topics.capacity());
        assert!(kept(&topics) >= 100_000);
        for n in (0..100_000).filter(|n| n % 10_000 != 5) {
            topics.unsubscribe(1, &mut own, &name(n));
        }
        // A place that is taken stays where it is, and so do all before it.
        assert!(
            topics.ids.capacity() <= 10 * 8 * 4,
            "{}",
            topics.ids.capacity()
        );
        for n in 0..10 {
            let name = name(n * 10_000 + 5);
            let id = topics.find(&name).expect("it is alive");
            assert!(topics.members(id).contains(1));
            topics.unsubscribe(1, &mut own, &name);
        }
        assert!(own.is_empty() && topics.len() == 0);
        assert_eq!(topics.audit(0), Ok(()));
        for n in 0..100_000 {
            topics.subscribe(1, &mut own, &name(n));
        }
        topics.leave_all(1, own, |_, _| {});
        assert!(kept(&topics) <= CAPACITY_KEPT, "{}", kept(&topics));
    }
}
