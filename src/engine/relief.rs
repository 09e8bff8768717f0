//! All outboxes together are over their bound, so some connections have to give up what they are owed.
//!
//! The greedy go first, and a client that reads steadily goes last. So first come the connections whose
//! streams have taken no byte for a while, then the others; in both classes those that are owed most come
//! first, and of equals those that have stalled longest. Enough end that an eighth of the bound is free
//! again, so that this does not come back at once.
//!
//! One search takes a look at every place, `TURN_PLACES_MAX` of them a turn. Then those that it found end,
//! `TURN_DISCONNECTS_MAX` of them a turn. Meanwhile nothing is delivered and nothing is read, so what is held
//! does not grow.
//!
//! Never here: the bound of one outbox (`link`).

use std::cmp::Reverse;
use std::time::Duration;

use super::Engine;
use super::link::Stream;
use super::round::Round;
use super::session::{LastWord, Stage};
use super::slots::SlotId;
use crate::limits;
use crate::stats::Close;

/// A stream that has taken no byte for so long counts as stalled.
const STALLED: Duration = Duration::from_secs(limits::STALLED_SECONDS);

/// What a connection is owed, and since when. Connections are ended in the order in which these sort.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Debt {
    is_moving: bool,
    owed_bytes: Reverse<usize>,
    stalled_since: Duration,
}

/// How far the search is for connections that have to give up, and which it has found.
#[derive(Debug, Default)]
pub(super) struct Relief {
    round: Round,
    /// Of all connections that were looked at, those to end first: up to twice `limits::DEBTS_MAX`. When the
    /// search is over, the last of the list is ended first.
    found: Vec<(Debt, SlotId)>,
}

impl Relief {
    /// Returns true when it goes on next turn.
    pub(super) fn is_under_way(&self) -> bool {
        self.round.is_under_way() || !self.found.is_empty()
    }

    fn note(&mut self, debt: Debt, id: SlotId) {
        if self.found.len() >= 2 * limits::DEBTS_MAX {
            self.keep_first();
        }
        self.found.push((debt, id));
    }

    fn keep_first(&mut self) {
        self.found.sort_unstable_by_key(|&(debt, _)| debt);
        self.found.truncate(limits::DEBTS_MAX);
    }
}

impl<S: Stream> Engine<S> {
    /// Goes on with the search, or with ending the connections that it found.
    pub(super) fn relieve(&mut self) {
        if !self.relief.is_under_way() {
            self.relief.round.begin(self.slots.places());
        }
        if self.relief.round.is_under_way() {
            self.find_debts();
        }
        if !self.relief.round.is_under_way() {
            self.end_debts();
        }
    }

    fn find_debts(&mut self) {
        for _ in 0..limits::TURN_PLACES_MAX {
            let Some(place) = self.relief.round.next(self.slots.places()) else {
                break;
            };
            let Some((id, connection)) = self.slots.at(place) else {
                continue;
            };
            let outbox = connection.link.outbox();
            if let Some(stalled_since) = outbox.stalled_since() {
                let debt = Debt {
                    is_moving: self.desk.now.saturating_sub(stalled_since) < STALLED,
                    owed_bytes: Reverse(outbox.owed_bytes()),
                    stalled_since,
                };
                self.relief.note(debt, id);
            }
        }
        if !self.relief.round.is_under_way() {
            self.relief.keep_first();
            self.relief.found.reverse();
        }
    }

    fn end_debts(&mut self) {
        // They end without a Close frame unless they are between two frames: to finish one would hold on
        // to what must be given up.
        let enough = self.rules.outboxes_bytes_max / 8 * 7;
        for _ in 0..limits::TURN_DISCONNECTS_MAX {
            if self.desk.held.bytes() <= enough {
                self.relief.found.clear();
            }
            let Some((_, id)) = self.relief.found.pop() else {
                break;
            };
            let Some(connection) = self.slots.get_mut(id) else {
                continue;
            };
            // It may have taken everything since it was found.
            if connection.link.outbox().is_empty() {
                continue;
            }
            let is_between_frames = connection.link.clear(&mut self.desk);
            if is_between_frames && connection.session.stage() == Stage::Open {
                self.part_with(id, Close::OutboxesFull, LastWord::SlowConsumer);
            } else {
                self.lose(id, Close::OutboxesFull);
            }
        }
        if self.relief.found.is_empty() {
            self.relief.found = Vec::new();
        }
    }
}
