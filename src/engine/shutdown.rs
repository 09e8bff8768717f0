//! How all connections end when the server does.
//!
//! Never here: when that is, and how long it may take (the server's).

use super::Engine;
use super::link::Stream;
use super::session::{LastWord, Stage};
use crate::limits;
use crate::stats::{Close, Refusal};

/// How open connections end at a shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Farewell {
    /// Without a Close frame: clients take it for an accident, and come back.
    Silent,
    /// With Close 1001.
    CloseFrame,
}

/// Which connections end at a shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Parting {
    /// Those that are not upgraded yet.
    Unfinished,
    /// All, in this way.
    All(Farewell),
}

impl<S: Stream> Engine<S> {
    /// No upgrade is let through any more; those under way are refused.
    pub fn handle_shutdown(&mut self) {
        self.is_shutting_down = true;
        self.begin_parting(Parting::Unfinished);
    }

    /// Every connection ends.
    pub fn close_all(&mut self, farewell: Farewell) {
        self.is_shutting_down = true;
        self.begin_parting(Parting::All(farewell));
    }

    fn begin_parting(&mut self, parting: Parting) {
        self.parting = parting;
        self.parting_round.begin(self.slots.places());
        self.part();
    }

    /// Goes on with ending the connections of a shutdown, as far as a turn's budget goes.
    pub(super) fn part(&mut self) {
        let mut left = limits::TURN_PLACES_MAX;
        while left > 0
            && let Some(place) = self.parting_round.next(self.slots.places())
        {
            left -= 1;
            let Some((id, connection)) = self.slots.at(place) else {
                continue;
            };
            match (self.parting, connection.session.stage()) {
                (_, Stage::Closing) if self.parting != Parting::All(Farewell::Silent) => {}
                (Parting::Unfinished, Stage::Open) => {}
                (Parting::All(Farewell::Silent), _) => self.lose(id, Close::Shutdown),
                (Parting::All(Farewell::CloseFrame), Stage::Open) => {
                    self.part_with(id, Close::Shutdown, LastWord::GoingAway);
                    left = left.saturating_sub(limits::END_PLACES);
                }
                (Parting::Unfinished | Parting::All(Farewell::CloseFrame), _) => {
                    self.refuse(id, Refusal::ShuttingDown);
                    left = left.saturating_sub(limits::END_PLACES);
                }
            }
        }
    }
}
