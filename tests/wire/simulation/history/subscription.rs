//! One topic of one client: which events the client is owed, and what it was told of those that it did not get.
//!
//! The invariant of this simulation stands here: the client hears every event that it is owed once and in order, or it is
//! told of a gap, and of no gap that is none.
//!
//! Never here: which events a client is owed at first (`log`), and how it hears them (`client`).

use std::collections::{BTreeSet, VecDeque};

use newswire::wire::id::EventId;

use super::log::Logged;

/// See the module.
#[derive(Default)]
pub struct Subscription {
    /// Places in the log of the events that the client is to get, in order.
    owed: VecDeque<usize>,
    /// Places in the log of those that the client may get or not.
    optional: BTreeSet<usize>,
    /// True exactly when the client was told of a gap, and has heard no event since.
    was_told: bool,
    /// True exactly when that gap is one of the history. Where room is tight, the ring of a topic goes whole, and nobody knows
    /// any more what was in it: then the client is told to be on the safe side.
    is_of_history: bool,
    /// True exactly when the client has heard an event behind one that it did not get, and was not told.
    is_untold: bool,
    /// True once the relay has started again, or events wait that came under other rules: then a notice of a gap may come
    /// too early, or be about nothing.
    may_be_false: bool,
    /// The server has missed events before this place in the log, and the client was not told yet.
    untold_from: Option<usize>,
    /// The client's position in this topic (WAMP v2).
    pub position: Option<EventId>,
}

impl Subscription {
    /// The client is owed an event that has just come.
    pub fn owe(&mut self, at: usize) {
        self.owed.push_back(at);
    }

    /// The client is owed these events of the past, and then those from `next` on. Whatever it has not heard before has
    /// either gone, or comes again.
    pub fn start_over(&mut self, past: &[usize], next: usize) {
        self.owed.retain(|&at| at >= next);
        self.owe_past(past);
        self.optional.clear();
        self.was_told = false;
    }

    fn owe_past(&mut self, past: &[usize]) {
        past.iter().rev().for_each(|&at| self.owed.push_front(at));
    }

    /// The client may get these events of the past, before all others, if the server still has them.
    pub fn offer_past(&mut self, past: &[usize]) {
        self.optional.extend(past);
        self.owe_past(past);
    }

    /// What the client is told of a gap need not be exact from here on.
    pub fn allow_false_gaps(&mut self) {
        self.may_be_false = true;
    }

    /// The server has missed events: the client has to be told before it hears the event at this place.
    pub fn expect_notice(&mut self, at: usize) {
        self.untold_from = Some(at);
    }

    /// The client hears an event of the topic.
    pub fn hear(&mut self, at: usize, takes_notices: bool, whose: &str) {
        let (mut has_lost, mut has_skipped) = (false, false);
        loop {
            let Some(next) = self.owed.pop_front() else {
                panic!("{whose}: hears event {at}, which it is not owed");
            };
            if next == at {
                break;
            }
            assert!(next < at, "{whose}: hears {at} before {next}");
            has_skipped = true;
            has_lost |= !self.optional.contains(&next);
        }
        assert!(
            self.untold_from.is_none_or(|from| at < from),
            "{whose}: hears {at} before it is told what was missed"
        );
        let is_careful = self.may_be_false || self.is_of_history;
        assert!(
            !self.was_told || has_skipped || is_careful,
            "{whose}: was told of a gap before {at} that is none"
        );
        let has_to_know = takes_notices && !self.was_told && !self.may_be_false;
        self.is_untold |= has_lost && has_to_know;
        self.was_told = false;
    }

    /// The client is told of a gap: `slow`, `history` or `upstream`.
    pub fn hear_gap(&mut self, gap: &str) {
        match gap {
            // The log has only what was taken in.
            "upstream" => self.untold_from = None,
            "slow" | "history" => {
                self.is_of_history = gap == "history";
                self.was_told |= !std::mem::take(&mut self.is_untold);
            }
            _ => panic!("{gap}"),
        }
    }

    /// Checks that `position` is not beyond an event that the client did not get and was not told of.
    pub fn check_position(&self, position: EventId, log: &[Logged], whose: &str) {
        if self.was_told || self.may_be_false {
            return;
        }
        let is_overtaken = |&&at: &&usize| {
            let id = log[at].id;
            id.epoch == position.epoch
                && id.sequence <= position.sequence
                && !self.optional.contains(&at)
        };
        let overtaken = self.owed.iter().find(is_overtaken);
        assert_eq!(overtaken, None, "{whose}: its position is {position}");
    }

    /// Everything that was to come has come, to a client that takes notices.
    pub fn check_end(&self, whose: &str) {
        let is_owed = |at: &&usize| !self.optional.contains(at);
        let owed = self.owed.iter().filter(is_owed).count();
        assert!(owed == 0 || self.was_told, "{whose}: is owed {owed} events");
        assert!(!self.is_untold, "{whose}: was not told of a gap");
    }
}
