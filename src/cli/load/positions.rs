//! Up to where each subscriber has everything of its topic, and what the server says of events that it does not get.
//!
//! Never here: which events arrived (`tally`). The reader of the report compares what the server promises
//! with what arrives.

use std::collections::BTreeMap;

use super::super::past::raise;
use super::speech::HeadMeaning;
use crate::wire::id::EventId;

/// How often something was said, by the word for it.
pub(super) type Words = BTreeMap<String, u64>;

/// What one subscriber remembers.
#[derive(Clone, Copy, Debug, Default)]
struct SeatPosition {
    position: Option<EventId>,
    /// True from a return until the server has said what became of the events in between.
    is_asking: bool,
}

/// See above.
#[derive(Debug)]
pub(super) struct Positions {
    /// By subscriber.
    places: Vec<SeatPosition>,
    /// Subscribers below this number are slow readers.
    slow: usize,
    /// How many subscribers have come back and were not told yet what became of the events in between.
    pub(super) asking: usize,
    /// What the server said to subscribers that came back: `recovered`, or why not.
    pub(super) recoveries: Words,
    /// The gaps that were told, by reason; those of slow readers apart.
    pub(super) gaps: Words,
    pub(super) slow_gaps: Words,
}

impl Positions {
    /// For so many subscribers, of which the first `slow` read slowly.
    pub(super) fn new(subscribers: usize, slow: usize) -> Self {
        Self {
            places: vec![SeatPosition::default(); subscribers],
            slow,
            asking: 0,
            recoveries: Words::new(),
            gaps: Words::new(),
            slow_gaps: Words::new(),
        }
    }

    /// An event with this id was received.
    pub(super) fn note_event(&mut self, seat: usize, id: EventId) {
        raise(&mut self.places[seat].position, id);
    }

    /// The server has told something; `id` is the position that it names.
    pub(super) fn note(&mut self, seat: usize, meaning: &HeadMeaning, id: Option<EventId>) {
        match meaning {
            HeadMeaning::Recovery(word) => {
                let place = &mut self.places[seat];
                place.position = id.or(place.position);
                if std::mem::take(&mut place.is_asking) {
                    self.asking -= 1;
                    *self.recoveries.entry(word.clone()).or_default() += 1;
                }
            }
            HeadMeaning::Gap(reason) => {
                let gaps = match seat < self.slow {
                    true => &mut self.slow_gaps,
                    false => &mut self.gaps,
                };
                *gaps.entry(reason.clone()).or_default() += 1;
            }
            _ => {}
        }
    }

    /// The subscriber comes back. Returns the position that it names.
    pub(super) fn come_back(&mut self, seat: usize) -> Option<EventId> {
        let place = &mut self.places[seat];
        self.asking += usize::from(!std::mem::replace(&mut place.is_asking, true));
        place.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_to_those_who_come_back_is_counted() {
        let id = |text: &str| EventId::parse_position(text.as_bytes()).expect("a position");
        let recovery = |word: &str| HeadMeaning::Recovery(word.to_owned());
        let mut positions = Positions::new(2, 1);
        // The answer to a first subscription is a position and no recovery.
        positions.note(1, &recovery("none"), Some(id("aaaaaaaa-7")));
        assert!(positions.recoveries.is_empty());
        assert_eq!(positions.come_back(1), Some(id("aaaaaaaa-7")));
        positions.note(1, &recovery("recovered"), Some(id("aaaaaaaa-7")));
        positions.note_event(1, id("aaaaaaaa-9"));
        positions.note_event(1, id("aaaaaaaa-8"));
        assert_eq!(positions.come_back(1), Some(id("aaaaaaaa-9")));
        positions.note(1, &recovery("floor"), None);
        for seat in [0, 1, 1] {
            positions.note(seat, &HeadMeaning::Gap("slow".to_owned()), None);
        }
        assert_eq!(positions.recoveries["recovered"], 1);
        assert_eq!(positions.recoveries["floor"], 1);
        assert_eq!(
            (positions.gaps["slow"], positions.slow_gaps["slow"]),
            (2, 1)
        );
        assert_eq!(
            (positions.come_back(0), positions.come_back(0)),
            (None, None)
        );
        assert_eq!(positions.asking, 1);
    }
}
