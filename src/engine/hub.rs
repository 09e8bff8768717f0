//! Where events meet their subscribers: topics, and the batches on their way to their audiences.
//!
//! The hub keeps the two in step: a member that subscribes while a batch waits is not owed what was
//! ingested before, and an audience that ends takes its batches along. An event is encoded once for each
//! audience of its topic.
//!
//! Never here: connections (a member is a number, and keeps the set of its own audiences itself),
//! protocols (an encoder knows them), sockets, clocks (moments are handed in).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::audiences::AudienceId;
use super::flush::{Finished, Flush, Recipients, WriteBudget};
use super::idset::IdSet;
use super::session::{Encoder, Encoding};
use super::subscription_ids::SubscriptionIds;
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

/// What a wish to subscribe came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Membership {
    /// False when the member had it before.
    pub is_new: bool,
    /// The id of the subscription; 0 where the protocol has none.
    pub subscription: u64,
}

/// Topics, and batches on their way.
#[derive(Debug, Default)]
pub struct Hub {
    topics: Topics,
    flush: Flush,
    /// `None` when nobody asks for them.
    changes: Option<VecDeque<TopicChange>>,
    encoder: Encoder,
    subscription_ids: SubscriptionIds,
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

    /// The id of the subscriptions to an audience's topic; `None` where no protocol has asked for one.
    pub fn subscription_id(&self, audience: AudienceId) -> Option<u64> {
        self.subscription_ids.get(audience.topic())
    }

    /// The audience, in an encoding, of the topic whose subscriptions have this id.
    pub fn find_subscription(&self, id: u64, encoding: Encoding) -> Option<AudienceId> {
        let topic = self.subscription_ids.find(id)?;
        Some(AudienceId::new(topic, encoding))
    }

    /// Returns true when `own`, a member's audiences, has that of the topic `name` in this encoding.
    pub fn is_subscribed(&self, own: &IdSet, encoding: Encoding, name: &str) -> bool {
        let audience = (self.topics.find(name)).map(|topic| AudienceId::new(topic, encoding));
        audience.is_some_and(|audience| own.contains(audience.number()))
    }

    /// Makes `member` a subscriber of the topic `name`.
    pub fn subscribe(
        &mut self,
        member: u32,
        own: &mut IdSet,
        encoding: Encoding,
        name: &str,
    ) -> Membership {
        let (audience, subscribed) = self.topics.subscribe(member, own, encoding, name);
        let is_new = subscribed != Subscribed::Already;
        match subscribed {
            Subscribed::Already => {}
            Subscribed::Joined => self.flush.note_joined(audience, member),
            Subscribed::Created(name) => {
                if let Some(changes) = &mut self.changes {
                    changes.push_back(TopicChange::First(name));
                }
            }
        }
        Membership {
            is_new,
            subscription: match encoding.has_subscription_ids() {
                true => self.subscription_ids.of(audience.topic()),
                false => 0,
            },
        }
    }

    /// Ends the subscription of `member` to the topic `name`; returns false when there was none.
    pub fn unsubscribe(
        &mut self,
        member: u32,
        own: &mut IdSet,
        encoding: Encoding,
        name: &str,
    ) -> bool {
        let left = self.topics.unsubscribe(member, own, encoding, name);
        self.note_left(left)
    }

    /// Takes `member` out of an audience; returns false when it was not in it.
    pub fn leave(&mut self, member: u32, own: &mut IdSet, audience: AudienceId) -> bool {
        let left = self.topics.leave(member, own, audience);
        self.note_left(left)
    }

    /// Takes `member` out of one of the audiences in `own`; returns false when there was none.
    pub fn leave_one(&mut self, member: u32, own: &mut IdSet) -> bool {
        let left = self.topics.leave_one(member, own);
        self.note_left(left)
    }

    fn note_left(&mut self, left: Unsubscribed) -> bool {
        match left {
            Unsubscribed::NotSubscribed => return false,
            Unsubscribed::Left => {}
            Unsubscribed::Gone(audience, topic) => {
                self.flush.note_gone(audience);
                if let Some(name) = topic {
                    self.subscription_ids.forget(audience.topic());
                    if let Some(changes) = &mut self.changes {
                        changes.push_back(TopicChange::Last(name));
                    }
                }
            }
        }
        true
    }

    /// Takes an event in, encoded once for each audience of its topic. Answers how many members these have.
    /// `second` is when, and `since` comes back with [`Hub::poll_finished`].
    pub fn publish(&mut self, event: &Event<'_>, second: u32, since: Option<Duration>) -> usize {
        let Some(topic) = self.topics.find(&event.topic) else {
            return 0;
        };
        let members = self.topics.note_event(topic, second);
        self.encoder.begin(&event.topic);
        for (audience, encoding) in self.topics.audiences(topic) {
            let subscription = match encoding.has_subscription_ids() {
                true => (self.subscription_ids.get(topic)).expect("an id since its first member"),
                false => 0,
            };
            let encoded = self.encoder.encode(encoding, subscription, event);
            let write = |out: &mut Vec<u8>| encoded.write(out);
            self.flush.add(audience, encoded.bytes(), since, write);
        }
        members
    }

    /// The next batch that has reached all its members since the last [`Hub::run`] began.
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
    pub fn run(&mut self, budget: WriteBudget, recipients: &mut impl Recipients) {
        self.flush.run(&self.topics, budget, recipients);
    }

    /// Returns true when every batch has reached all its members.
    pub fn is_done(&self) -> bool {
        self.flush.is_done()
    }

    /// Returns true when so much is on its way that no more should be taken in.
    pub fn is_congested(&self) -> bool {
        self.flush.is_congested() || !self.encoder.has_budget()
    }

    /// A turn is over: the budget for compression begins anew. Answers how many events the turn has compressed, each
    /// once for every audience.
    pub fn finish_turn(&mut self) -> u64 {
        self.encoder.finish_turn()
    }

    /// Messages that are shorter, in bytes, are not compressed.
    pub fn set_compress_bytes_min(&mut self, bytes: usize) {
        self.encoder.set_compress_bytes_min(bytes);
    }
}
