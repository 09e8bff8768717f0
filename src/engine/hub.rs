//! Where events meet their subscribers: topics, and the batches on their way through them.
//!
//! The hub keeps the two in step: whoever subscribes while a batch waits is not owed what was
//! ingested before, and a topic that ends takes its batches along.
//!
//! Never here: connections (a member is a number, and keeps the set of its own topics itself),
//! sockets, clocks (moments are handed in).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::flush::{Budget, Finished, Flush, Members};
use super::idset::IdSet;
use super::session::{Encoder, Encoding};
use super::topics::{Subscribed, TopicId, TopicView, Topics, Unsubscribed};
use crate::wire::envelope::Event;

/// What sources that filter by topic have to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TopicChange {
    /// The topic has its first subscriber.
    First(Rc<str>),
    /// The last subscriber has left the topic.
    Last(Rc<str>),
}

/// Topics, and batches on their way.
#[derive(Debug, Default)]
pub struct Hub {
    topics: Topics,
    flush: Flush,
    /// `None` when nobody wants to know.
    changes: Option<VecDeque<TopicChange>>,
    encoder: Encoder,
}

impl Hub {
    /// A hub without topics; `tells_changes` when [`Hub::poll_change`] will be asked.
    pub fn new(tells_changes: bool) -> Self {
        Self {
            changes: tells_changes.then(VecDeque::new),
            ..Self::default()
        }
    }

    /// The topics that are alive.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// True once after very many topics have ended.
    pub fn poll_freed(&mut self) -> bool {
        self.topics.take_freed()
    }

    /// The next topic that came or went, in their order.
    pub fn poll_change(&mut self) -> Option<TopicChange> {
        self.changes.as_mut()?.pop_front()
    }

    /// Makes `member` hear `name`; false when it does already.
    pub fn subscribe(&mut self, member: u32, own: &mut IdSet, name: &str) -> bool {
        match self.topics.subscribe(member, own, name) {
            Subscribed::Already => return false,
            Subscribed::Joined(topic) => self.flush.note_subscribed(topic, member),
            Subscribed::Created(name) => {
                if let Some(changes) = &mut self.changes {
                    changes.push_back(TopicChange::First(name));
                }
            }
        }
        true
    }

    /// Makes `member` hear `name` no longer; false when it did not.
    pub fn unsubscribe(&mut self, member: u32, own: &mut IdSet, name: &str) -> bool {
        match self.topics.unsubscribe(member, own, name) {
            Unsubscribed::NotSubscribed => return false,
            Unsubscribed::Left => {}
            Unsubscribed::Gone(topic, name) => self.note_gone(topic, name),
        }
        true
    }

    /// Takes `member` out of one of the topics in `own`; false when there was none.
    pub fn leave(&mut self, member: u32, own: &mut IdSet) -> bool {
        match self.topics.leave_one(member, own) {
            Unsubscribed::NotSubscribed => return false,
            Unsubscribed::Left => {}
            Unsubscribed::Gone(topic, name) => self.note_gone(topic, name),
        }
        true
    }

    fn note_gone(&mut self, topic: TopicId, name: Rc<str>) {
        self.flush.note_gone(topic);
        if let Some(changes) = &mut self.changes {
            changes.push_back(TopicChange::Last(name));
        }
    }

    /// Takes an event in, encoded once for all its members; answers how many there are. `second` is
    /// when, and `since` comes back with [`Hub::poll_finished`].
    pub fn publish(&mut self, event: &Event<'_>, second: u32, since: Option<Duration>) -> usize {
        let Some(topic) = self.topics.find(&event.topic) else {
            return 0;
        };
        let members = self.topics.note_event(topic, second);
        self.encoder.begin(&event.topic);
        let encoded = self.encoder.encode(Encoding::Wamp1, event);
        self.flush
            .add(topic, encoded.bytes(), since, |out| encoded.write(out));
        members
    }

    /// The next batch that has reached everybody since the last [`Hub::run`] began.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.flush.poll_finished()
    }

    /// The topics that had most events a second lately, the busiest first: `count` of those that had
    /// any since this was last asked, and of `before`, its last answer.
    pub fn busiest(
        &mut self,
        count: usize,
        second: u32,
        before: &mut Vec<TopicId>,
    ) -> Vec<TopicView> {
        before.append(&mut self.topics.take_active());
        before.sort_unstable();
        before.dedup();
        let views = before.iter();
        let mut busy: Vec<(TopicId, TopicView)> = views
            .filter_map(|&id| Some((id, self.topics.view(id.place(), second)?)))
            .filter(|(_, view)| view.rate > 0.0)
            .collect();
        busy.sort_by(|(_, a), (_, b)| b.rate.total_cmp(&a.rate));
        busy.truncate(count);
        let views;
        (*before, views) = busy.into_iter().unzip();
        views
    }

    /// Hands out what waits, as far as `budget` goes.
    pub fn run(&mut self, budget: Budget, members: &mut impl Members) {
        self.flush.run(&self.topics, budget, members);
    }

    /// Whether every batch has reached everybody.
    pub fn is_done(&self) -> bool {
        self.flush.is_done()
    }

    /// Whether so much is on its way that no more should be taken in.
    pub fn is_congested(&self) -> bool {
        self.flush.is_congested()
    }
}
