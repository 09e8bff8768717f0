//! Sessions whose token allows less than when it let them in.
//!
//! What a token allows stands in its `Standing`, which sessions share. When some of these have been
//! changed, every open session is looked at once, a share a turn. So no session costs a byte more
//! for that, and a thousand tokens that end together cost one round and not a thousand.
//!
//! Never here: why a token has ended.

use super::Engine;
use super::audiences::AudienceId;
use super::batch::Batch;
use super::ending::Ending;
use super::link::{Sent, Stream};
use crate::limits;
use crate::stats::Counter;

impl<S: Stream> Engine<S> {
    /// Some standings have been changed: sessions of those that have ended are to end, and
    /// subscriptions that are no longer granted too.
    pub fn handle_changed_standings(&mut self) {
        self.review.begin(self.slots.places());
    }

    /// Goes on with the round and with a shutdown, each as far as its budget for a turn goes.
    pub fn review(&mut self) {
        self.part();
        let mut left = limits::TURN_PLACES_MAX;
        while left > 0
            && let Some(index) = self.review.next(self.slots.places())
        {
            left = left.saturating_sub(1 + self.review_one(index));
        }
    }

    /// Looks at one place. Answers what that cost beyond a look, in looks.
    fn review_one(&mut self, index: u32) -> u32 {
        let Self {
            slots,
            hub,
            desk,
            incidents,
            replays,
            gaps,
            ..
        } = self;
        let Some((id, _)) = slots.at(index) else {
            return 0;
        };
        let Some(connection) = slots.at_mut(index) else {
            return 0;
        };
        let Some(standing) = connection.session.standing() else {
            return 0;
        };
        if let Some(reason) = standing.ending() {
            self.end(id, Ending::Withdrawn(reason));
            return limits::END_PLACES;
        }
        let mut cost = 0;
        if standing.has_changed() {
            cost = 2 * (connection.audiences.len() + replays.topics(id)) as u32;
            let audiences = connection.audiences.iter().map(AudienceId::of_number);
            let names = audiences.map(|audience| (audience, hub.name(audience.topic())));
            let lost: Vec<_> = names.filter(|(_, name)| !standing.allows(name)).collect();
            let mut told = Batch::default();
            let awaited: Vec<_> = replays.awaited(id).collect();
            for topic in awaited {
                let name = hub.name(topic);
                if standing.allows(&name) {
                    continue;
                }
                if let Some(id) = hub.subscription_id(topic) {
                    told.push_answer(|out| connection.session.revoked(id, out));
                }
                replays.cancel(id, topic, hub);
                desk.stats.count(Counter::SubscriptionsWithdrawn);
                incidents.withdrawn(&name, standing);
            }
            for (audience, name) in lost {
                if let Some(id) = hub.subscription_id(audience.topic()) {
                    told.push_answer(|out| connection.session.revoked(id, out));
                }
                hub.leave(index, &mut connection.audiences, audience);
                desk.stats.count(Counter::SubscriptionsWithdrawn);
                incidents.withdrawn(&name, standing);
            }
            if !told.bytes().is_empty() {
                let sent = connection.link.answer(told, desk);
                gaps.note(id, &mut desk.lost);
                if let Sent::Failed(reason) = sent {
                    self.end(id, Ending::Lost(reason));
                }
            }
        }
        cost
    }
}
