//! Finds out how many events of a relay did not arrive.
//!
//! A relay numbers the events of each topic ([`Event::nth`]). When a number is skipped, the events between were lost on
//! the way: this server read too slowly, or its connection was down. A topic's first number is a beginning, and so is
//! the first one after its last subscriber has left: meanwhile the relay was not asked for the topic.
//!
//! Never here: what follows from a loss.

use std::collections::HashMap;

use crate::limits;
use crate::wire::envelope::Event;
use crate::wire::id::Epoch;

/// The last number of each topic.
#[derive(Debug, Default)]
pub struct Continuity {
    /// At most `limits::RELAY_TOPICS_COUNTED_MAX`.
    last: HashMap<Box<str>, (Epoch, u64)>,
}

impl Continuity {
    /// Notes an event, and returns how many events of its topic were missed before it.
    pub fn note(&mut self, event: &Event<'_>) -> u64 {
        let (Some(id), Some(nth)) = (event.id, event.nth) else {
            return 0;
        };
        if let Some((epoch, last)) = self.last.get_mut(&*event.topic) {
            let missed = match *epoch == id.epoch {
                true => nth.saturating_sub(*last).saturating_sub(1),
                // Another run counts from the beginning.
                false => 0,
            };
            (*epoch, *last) = (id.epoch, nth);
            return missed;
        }
        if self.last.len() >= limits::RELAY_TOPICS_COUNTED_MAX {
            self.last.clear();
        }
        self.last.insert((*event.topic).into(), (id.epoch, nth));
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
    use crate::wire::id::EventId;

    fn event(topic: &'static str, epoch: u8, nth: u64) -> Event<'static> {
        Event {
            topic: topic.into(),
            data: "1",
            id: Some(EventId {
                epoch: Epoch::new([epoch; 8]),
                sequence: 99,
            }),
            nth: Some(nth),
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
        assert_eq!(note("a", 2, 40), 0, "another run");
        assert_eq!(note("a", 2, 42), 1);
        continuity.forget("a");
        assert_eq!(continuity.note(&event("a", 2, 50)), 0);
    }
}
