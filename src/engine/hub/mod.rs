//! Where events meet their subscribers: topics, the batches on their way to their audiences, and kept events.
//!
//! The hub keeps them in step: a member that subscribes while a batch waits is not owed what was
//! ingested before, an audience that ends takes its batches along, and a topic lives while events of it are kept. An event
//! is encoded once for each audience of its topic.
//!
//! The two things that live beside the present, rules for topics and kept events, are in `past`.
//!
//! Never here: connections (a member is a number, and keeps the set of its own audiences itself),
//! protocols (an encoder knows them), sockets, clocks (moments are handed in).

mod past;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::audiences::AudienceId;
use super::batch::LossMark;
use super::flush::{Finished, Flush, Recipients, WriteBudget};
use super::histories::Histories;
use super::idset::IdSet;
use super::session::{Encoder, Encoding};
use super::subscription_ids::SubscriptionIds;
use super::topic_rules::TopicRules;
use super::topics::{Subscribed, TopicId, TopicView, Topics, Unsubscribed};
use super::walk::PendingEvent;
use crate::wire::envelope::Event;
use crate::wire::id::Epoch;
use crate::wire::topic_rule::SlowPolicy;

/// What sources that filter by topic have to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TopicChange {
    /// The topic has its first subscriber, or events of it are kept from now on.
    First(Rc<str>),
    /// The last subscriber has left the topic, and no events of it are kept.
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

/// What became of an event.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Published {
    /// How many connections are subscribed to its topic.
    pub subscribers: usize,
    /// True exactly when it is kept.
    pub is_kept: bool,
}

/// Topics, batches on their way, and kept events.
#[derive(Debug)]
pub struct Hub {
    topics: Topics,
    flush: Flush,
    /// `None` when nobody asks for them.
    changes: Option<VecDeque<TopicChange>>,
    encoder: Encoder,
    subscription_ids: SubscriptionIds,
    rules: TopicRules,
    /// Never 0. Another one with other rules.
    rules_version: u8,
    /// Topics with kept events to which the rules have not been applied since they last changed.
    unruled: Vec<TopicId>,
    history: Histories,
}

impl Hub {
    /// A hub without topics; `tells_changes` when [`Hub::poll_change`] will be asked. `own` is the epoch of the ids that
    /// this server gives.
    pub fn new(tells_changes: bool, own: Epoch) -> Self {
        Self {
            topics: Topics::default(),
            flush: Flush::default(),
            changes: tells_changes.then(VecDeque::new),
            encoder: Encoder::default(),
            subscription_ids: SubscriptionIds::default(),
            rules: TopicRules::default(),
            rules_version: 1,
            unruled: Vec::new(),
            history: Histories::new(own),
        }
    }

    fn find_or_create(&mut self, name: &str) -> TopicId {
        self.topics.find(name).unwrap_or_else(|| {
            let name: Rc<str> = name.into();
            if let Some(changes) = &mut self.changes {
                changes.push_back(TopicChange::First(Rc::clone(&name)));
            }
            self.topics.create(name)
        })
    }

    fn note_ended(&mut self, topic: TopicId, ended: Option<Rc<str>>) {
        let Some(name) = ended else { return };
        self.subscription_ids.forget(topic);
        if let Some(changes) = &mut self.changes {
            changes.push_back(TopicChange::Last(name));
        }
    }

    /// A client waits for kept events of the topic `name` before it becomes a member.
    pub fn await_events(&mut self, name: &str) -> TopicId {
        let topic = self.find_or_create(name);
        self.topics.await_events(topic);
        topic
    }

    /// A client waits for events of a topic no more.
    pub fn end_awaiting(&mut self, topic: TopicId) {
        let ended = self.topics.end_awaiting(topic);
        self.note_ended(topic, ended);
    }

    /// The id of the subscriptions to a topic, which gets one if it has none and the encoding has ids; 0 where it has
    /// none.
    pub fn subscription_of(&mut self, topic: TopicId, encoding: Encoding) -> u64 {
        match encoding.has_subscription_ids() {
            true => self.subscription_ids.of(topic),
            false => 0,
        }
    }

    /// The id of the subscriptions to a topic to which somebody has subscribed in this encoding; 0 where it has none.
    pub fn known_subscription(&self, topic: TopicId, encoding: Encoding) -> u64 {
        match encoding.has_subscription_ids() {
            true => (self.subscription_ids.get(topic)).expect("an id since somebody subscribed"),
            false => 0,
        }
    }

    /// The name of a topic.
    pub fn name(&self, topic: TopicId) -> Rc<str> {
        self.topics.name_of(topic)
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

    /// The id of the subscriptions to a topic; `None` where no protocol has asked for one.
    pub fn subscription_id(&self, topic: TopicId) -> Option<u64> {
        self.subscription_ids.get(topic)
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
            subscription: self.subscription_of(audience.topic(), encoding),
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
                self.note_ended(audience.topic(), topic);
            }
        }
        true
    }

    /// Takes an event in, encoded once for each audience of its topic. It came `now`, which comes back with
    /// [`Hub::poll_finished`] when the event `is_measured`.
    pub fn publish(&mut self, event: &Event<'_>, now: Duration, is_measured: bool) -> Published {
        let second = now.as_secs() as u32;
        let since = is_measured.then_some(now);
        let (known, rule) = self.find_ruled(&event.topic);
        if let Some(id) = event.id {
            self.history.timeline_mut().note(id, now);
        }
        let kept_id = event.id.filter(|_| self.rules.keeps(rule));
        let topic = match (known, kept_id) {
            (None, None) => return Published::default(),
            (Some(topic), _) => topic,
            (None, Some(_)) => self.find_or_create(&event.topic),
        };
        match (event.id, kept_id) {
            (Some(id), Some(_)) => self.keep_event(topic, rule, (id, second), event),
            (Some(id), None) => self.pass_event(topic, id),
            (None, _) => {}
        }
        let members = self.topics.note_event(topic, second);
        let mark = match self.rules.slow(rule) {
            SlowPolicy::Close => None,
            policy => Some(LossMark {
                topic,
                is_replaced: policy == SlowPolicy::Latest,
            }),
        };
        if members > 0 {
            self.encoder.begin(event);
        }
        for (audience, encoding) in self.topics.audiences(topic) {
            let subscription = self.known_subscription(topic, encoding);
            let encoded = self.encoder.encode(encoding, subscription, event);
            let pending = PendingEvent {
                id: event.id,
                since,
                frame_bytes: encoded.bytes(),
                mark,
            };
            self.flush.add(audience, pending, |out| encoded.write(out));
        }
        // Last: it may end topics.
        self.release_forgotten();
        Published {
            subscribers: members,
            is_kept: kept_id.is_some(),
        }
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
            .filter_map(|&id| Some((id, self.topic_view(id.place(), second)?)))
            .filter(|(_, view)| view.rate > 0.0)
            .collect();
        busy.sort_by(|(_, a), (_, b)| b.rate.total_cmp(&a.rate));
        busy.truncate(count);
        let views;
        (*before, views) = busy.into_iter().unzip();
        views
    }

    /// The topic in a place, as of `second`; `None` where there is none.
    pub fn topic_view(&self, place: u32, second: u32) -> Option<TopicView> {
        let view = self.topics.view(place, second)?;
        let kept = self.history.view(TopicId::of_place(place), second);
        Some(TopicView { kept, ..view })
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
