//! Finds out how many events of a relay did not arrive.
//!
//! A relay numbers the events of each topic ([`Event::place`]). When a number is skipped, the events between were lost on
//! the way: this server read too slowly, or its connection was down. A relay that was started again counts from 1, so
//! what it sent before this server was back was lost, too; what its last run sent at the end is not known. A topic's first
//! number is a beginning, and so is the first one after its last subscriber has left: meanwhile the relay was not asked for
//! the topic.
//!
//! Never here: what follows from a loss.

use std::collections::HashMap;

use crate::limits;
use crate::wire::envelope::Event;
use crate::wire::id::TopicPlace;

/// The last number of each topic, of the relay at one source.
#[derive(Debug, Default)]
pub struct Continuity {
    /// At most `limits::RELAY_TOPICS_COUNTED_MAX`.
    last: HashMap<Box<str>, TopicPlace>,
}

impl Continuity {
    /// Notes an event, and returns how many events of its topic were missed before it.
    pub fn note(&mut self, event: &Event<'_>) -> u64 {
        let Some(place) = event.place else {
            return 0;
        };
        if let Some(last) = self.last.get_mut(&*event.topic) {
            let known = match last.epoch == place.epoch {
                true => last.nth,
                false => 0,
            };
            *last = place;
            return place.nth.saturating_sub(known).saturating_sub(1);
        }
        if self.last.len() >= limits::RELAY_TOPICS_COUNTED_MAX {
            self.last.clear();
        }
        self.last.insert((*event.topic).into(), place);
        0
    }

    /// The next event of `topic` is a beginning.
    pub fn forget(&mut self, topic: &str) {
        self.last.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::{Epoch, EventId};

    fn event(topic: &'static str, epoch: u8, nth: u64) -> Event<'static> {
        // Some events have the ids of a relay before this one.
        let id = EventId {
            epoch: Epoch::new([nth as u8 % 2; 8]),
            sequence: 99,
        };
        let epoch = Epoch::new([epoch; 8]);
        Event {
            id: Some(id),
            place: Some(TopicPlace { epoch, nth }),
            ..Event::new(topic.into(), "1")
        }
    }

    #[test]
    fn a_number_that_is_skipped_was_missed() {
        let mut continuity = Continuity::default();
        let mut note = |topic, epoch, nth| continuity.note(&event(topic, epoch, nth));
        assert_eq!(note("a", 1, 7), 0, "a beginning");
        assert_eq!(note("b", 1, 3), 0, "another topic");
        assert_eq!(note("a", 1, 8), 0);
        assert_eq!(note("a", 1, 12), 3);
        assert_eq!(
            note("a", 1, 12),
            0,
            "no number comes twice, and none is below zero"
        );
        assert_eq!(note("a", 2, 40), 39, "another run");
        assert_eq!(note("a", 2, 42), 1);
        assert_eq!(note("b", 2, 1), 0);
        continuity.forget("a");
        assert_eq!(continuity.note(&event("a", 2, 50)), 0);
    }
}
