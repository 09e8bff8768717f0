//! The ids by which clients know their subscriptions, for protocols that have them (WAMP v2).
//!
//! All subscribers of a topic know it by the same id, whether they take compressed events or not, so one encoded event
//! serves a whole audience. An id lives as long as its topic and is never given again. Topics to which nobody has
//! subscribed in such a protocol cost nothing here.
//!
//! Never here: who is subscribed to a topic, and how an id is written.

use std::collections::HashMap;

use super::audiences::AudienceHash;
use super::names::TopicId;

/// Ids of topics' subscriptions, both ways.
#[derive(Debug, Default)]
pub struct SubscriptionIds {
    /// The last id that was given.
    last: u64,
    by_topic: HashMap<TopicId, u64, AudienceHash>,
    by_id: HashMap<u64, TopicId>,
}

impl SubscriptionIds {
    /// The id of a topic's subscriptions, which gets one if it has none.
    pub fn of(&mut self, topic: TopicId) -> u64 {
        *self.by_topic.entry(topic).or_insert_with(|| {
            self.last += 1;
            self.by_id.insert(self.last, topic);
            self.last
        })
    }

    /// The id of a topic's subscriptions, if it has one.
    pub fn get(&self, topic: TopicId) -> Option<u64> {
        self.by_topic.get(&topic).copied()
    }

    /// The topic whose subscriptions have this id.
    pub fn find(&self, id: u64) -> Option<TopicId> {
        self.by_id.get(&id).copied()
    }

    /// The topic has ended.
    pub fn forget(&mut self, topic: TopicId) {
        if let Some(id) = self.by_topic.remove(&topic) {
            self.by_id.remove(&id);
            if self.by_topic.is_empty() {
                self.by_topic = HashMap::default();
                self.by_id = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_topics_until_it_ends_and_never_anothers() {
        let mut ids = SubscriptionIds::default();
        let [one, two] = [1, 2].map(TopicId::of_place);
        assert_eq!((ids.of(one), ids.of(two), ids.of(one)), (1, 2, 1));
        assert_eq!((ids.get(one), ids.find(2)), (Some(1), Some(two)));
        ids.forget(one);
        assert_eq!((ids.get(one), ids.find(1)), (None, None));
        assert_eq!(ids.of(one), 3);
        ids.forget(one);
        ids.forget(two);
        assert_eq!(ids.of(two), 4);
    }
}
