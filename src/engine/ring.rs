//! The kept events of one topic.
//!
//! Events come in at one end and are dropped at the other. The *floor* is the sequence of the last event that was dropped.
//! A client that has everything up to there can get the rest, if the server has missed nothing since.
//!
//! Never here: how many events are kept and for how long (`histories`), what clients ask for.

use std::collections::VecDeque;

use super::floor::Floor;
use crate::wire::id::{Epoch, EventId};

/// In events, the room that is not worth giving back. A list that has had an event has so much.
const CAPACITY_KEPT: usize = 4;

/// An event that is kept.
#[derive(Debug)]
pub struct KeptEvent {
    /// The number of its id.
    pub sequence: u64,
    /// When it came.
    pub second: u32,
    /// Its data.
    pub data: Box<str>,
}

/// The kept events of one topic. They are all of one epoch.
#[derive(Debug)]
pub struct Ring {
    /// The epoch of their ids.
    epoch: Epoch,
    /// Rises with each epoch that the server sees.
    generation: u32,
    /// The sequence of the last event that was dropped, or of the last one that this ring does not know of.
    floor: u64,
    /// The floor when the ring was new: it has dropped no event of its own while its floor is that.
    begin: u64,
    /// Up to where the server itself may have missed events of the topic.
    missed: Floor,
    /// The generation of the ring before this one, and the sequence of its newest event.
    before: Option<(u32, u64)>,
    events: VecDeque<KeptEvent>,
    /// In bytes, the data of all events.
    data_bytes: usize,
}

impl Ring {
    /// A ring without events, in the place of the topic's ring of an older epoch. It knows nothing of events up to `floor`.
    pub fn new(epoch: Epoch, generation: u32, floor: u64, before: Option<&Self>) -> Self {
        Self {
            epoch,
            generation,
            floor,
            begin: floor,
            missed: Floor::default(),
            before: before.map(|ring| (ring.generation, ring.newest())),
            events: VecDeque::new(),
            data_bytes: 0,
        }
    }

    /// The epoch of the ids of its events.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Rises with each epoch that the server sees. The events of older ones are dropped first.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The sequence of the last event that was dropped, or of the last one that this ring does not know of.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// In bytes, the data of all events.
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Returns true when a client that has everything up to `sequence` of an older generation can get all the rest: it had
    /// the older ring's newest event, and this ring has dropped none.
    pub fn follows(&self, generation: u32, sequence: u64) -> bool {
        let is_behind = |before| before <= (generation, sequence);
        self.floor == self.begin && self.before.is_some_and(is_behind)
    }

    /// Events of the topic were missed, just before its next one. They have used up the number `at`; `None` where a relay
    /// gives the numbers.
    pub fn note_missed(&mut self, at: Option<u64>) {
        self.missed.note_missed(at);
    }

    /// Returns true when it has all events behind this position.
    pub fn reaches(&self, position: u64) -> bool {
        position >= self.floor && self.missed.allows(position)
    }

    /// From this sequence on it has all events whose numbers are known.
    pub fn complete_from(&self) -> u64 {
        self.floor.max(self.missed.sequence())
    }

    /// The oldest one.
    pub fn oldest(&self) -> Option<&KeptEvent> {
        self.events.front()
    }

    /// The sequence of the newest event that the topic has had, as far as the ring knows.
    pub fn newest(&self) -> u64 {
        (self.events.back()).map_or(self.floor, |event| event.sequence)
    }

    /// Adds the newest event.
    pub fn push(&mut self, event: KeptEvent) {
        debug_assert!(event.sequence > self.newest(), "ids rise");
        self.missed.note_event(event.sequence);
        self.data_bytes += event.data.len();
        self.events.push_back(event);
    }

    /// Drops the oldest event. Returns false when there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let Some(event) = self.events.pop_front() else {
            return false;
        };
        self.floor = event.sequence;
        self.data_bytes -= event.data.len();
        // No more than half of it is ever empty: `limits::KEPT_EVENT_BYTES` counts on that.
        let (len, room) = (self.events.len(), self.events.capacity());
        if room > CAPACITY_KEPT && len < room / 2 {
            self.events.shrink_to((len + len / 2).max(CAPACITY_KEPT));
        }
        true
    }

    /// The events behind the one with this sequence, the oldest first.
    pub fn behind(&self, sequence: u64) -> impl Iterator<Item = &KeptEvent> {
        let first = self
            .events
            .partition_point(|event| event.sequence <= sequence);
        self.events.range(first..)
    }

    /// The sequence behind which there are `count` events, or all.
    pub fn before_last(&self, count: usize) -> u64 {
        match self.events.len().checked_sub(count) {
            None | Some(0) => self.floor,
            Some(place) => self.events[place - 1].sequence,
        }
    }

    /// The id of one of its events.
    pub fn id(&self, event: &KeptEvent) -> EventId {
        EventId {
            epoch: self.epoch,
            sequence: event.sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_last_event_that_was_dropped() {
        let mut ring = Ring::new(Epoch::new([0; 8]), 0, 2, None);
        assert_eq!((ring.newest(), ring.before_last(3)), (2, 2));
        for sequence in [5, 7, 8] {
            let data = "x".into();
            ring.push(KeptEvent {
                sequence,
                second: 0,
                data,
            });
        }
        let behind =
            |ring: &Ring, at| -> Vec<u64> { ring.behind(at).map(|event| event.sequence).collect() };
        assert_eq!(behind(&ring, 2), [5, 7, 8]);
        assert_eq!(behind(&ring, 6), [7, 8]);
        assert!(behind(&ring, 8).is_empty());
        assert_eq!([1, 2, 3, 4].map(|n| ring.before_last(n)), [7, 5, 2, 2]);
        assert!(ring.drop_oldest());
        assert_eq!((ring.floor, ring.newest(), ring.data_bytes()), (5, 8, 2));
        assert_eq!(ring.before_last(3), 5);
        while ring.drop_oldest() {}
        assert_eq!((ring.floor, ring.newest(), ring.len()), (8, 8, 0));
    }
}
