//! Sessions whose token is worth less than when it let them in.
//!
//! What a token is worth stands in its `Standing`, which sessions share. When some of these have been
//! changed, every open session's is looked at once, a share a turn: no session costs a byte more
//! for that, and a thousand tokens that end together cost one round and not a thousand.
//!
//! Never here: why a token has lost its worth.

use super::link::Stream;
use super::session::State;
use super::{End, Engine};
use crate::limits;
use crate::stats::Counter;

/// How far the round is that looks at everybody's standing.
#[derive(Debug, Default)]
pub(super) struct Review {
    /// The place that is looked at next.
    next: u32,
    /// How many are still to be looked at; 0 when nothing has changed.
    left: u32,
}

impl Review {
    /// Whether somebody is still to be looked at.
    pub(super) fn is_under_way(&self) -> bool {
        self.left > 0
    }
}

impl<S: Stream> Engine<S> {
    /// Some standings have been changed: sessions of those that have ended are to end, and
    /// subscriptions that are no longer granted too.
    pub fn handle_changed_standings(&mut self) {
        // A whole round from here on, wherever the present one is.
        self.review.left = self.slots.places();
    }

    /// Goes on with the round, as far as a turn's budget goes.
    pub fn review(&mut self) {
        let share = self.review.left.min(limits::TURN_REVIEWS_MAX);
        self.review.left -= share;
        for _ in 0..share {
            let index = self.review.next;
            self.review.next = (index + 1) % self.slots.places().max(1);
            self.review_one(index);
        }
    }

    fn review_one(&mut self, index: u32) {
        let Self {
            slots, hub, desk, ..
        } = self;
        let Some(connection) = slots.at_mut(index) else {
            return;
        };
        let Some(standing) = connection.session.standing() else {
            return;
        };
        debug_assert!(connection.session.state() == State::Open);
        if let Some(reason) = standing.ending() {
            let id = slots.id_at(index);
            return self.end(id, End::Withdrawn(reason));
        }
        if standing.has_changed() {
            let names = connection
                .topics
                .iter()
                .map(|topic| hub.topics().name(topic));
            let lost: Vec<_> = names.filter(|name| !standing.allows(name)).collect();
            for name in lost {
                hub.unsubscribe(index, &mut connection.topics, &name);
                desk.stats.count(Counter::SubscriptionsWithdrawn);
            }
        }
    }
}
