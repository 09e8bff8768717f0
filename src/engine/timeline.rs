//! What all events have in common, whatever their topic: their epoch, the newest of them, and from where on none was missed.
//!
//! The server gives ids itself, or a relay does. A relay that has started again begins a new epoch, and with it everything
//! begins anew.
//!
//! Never here: kept events, and floors of single topics (`histories`).

use std::time::Duration;

use super::floor::Floor;
use crate::limits;
use crate::wire::id::{Epoch, EventId};
use crate::wire::past::Unrecovered;

/// How long after it was made a connection's publisher may not know yet which topics are wanted.
pub const SOURCE_SETTLES: Duration = Duration::from_millis(limits::SOURCE_SETTLES_MILLISECONDS);

/// See the module.
#[derive(Debug)]
pub struct Timeline {
    /// The epoch of the ids that this server gives.
    own: Epoch,
    /// The epoch of the last event, or the server's own.
    epoch: Epoch,
    /// Rises with each epoch.
    generation: u32,
    /// The sequence of the last event.
    newest: u64,
    /// Up to where the server may have missed events of any topic.
    floor: Floor,
    /// Up to where events were not kept, or were missed, of topics of which nothing is kept.
    forgotten: Floor,
    /// Until this moment `forgotten` rises with each event: which topics are kept has changed so lately that some publishers
    /// may not know it yet.
    learned_at: Duration,
    /// Until this moment the floor rises with each event: publishers were asked for topics so lately that some may not
    /// know it yet.
    settles_at: Duration,
}

impl Timeline {
    /// No event has come yet. `own` is the epoch of the ids that this server gives.
    pub fn new(own: Epoch) -> Self {
        Self {
            own,
            epoch: own,
            generation: 0,
            newest: 0,
            floor: Floor::default(),
            forgotten: Floor::default(),
            learned_at: Duration::ZERO,
            settles_at: Duration::ZERO,
        }
    }

    /// An event came.
    pub fn note(&mut self, id: EventId, now: Duration) {
        if self.epoch != id.epoch {
            // The first event of a relay's run says that its others are behind it. Own numbers may follow a relay's at any
            // moment, and nobody knows what the relay would have sent.
            let is_own = id.epoch == self.own;
            *self = Self {
                epoch: id.epoch,
                generation: self.generation + 1,
                floor: Floor::new(id.sequence - u64::from(!is_own)),
                learned_at: self.learned_at,
                settles_at: self.settles_at,
                ..Self::new(self.own)
            };
        }
        self.newest = id.sequence;
        self.floor.note_event(id.sequence);
        self.forgotten.note_event(id.sequence);
        if now < self.settles_at {
            self.floor.raise(id.sequence);
        }
        if now < self.learned_at {
            self.forgotten.raise(id.sequence);
        }
    }

    /// A connection to a publisher was made: events of any topic may have been missed before. `at` is as in
    /// [`Timeline::note_gap`].
    pub fn note_source_joined(&mut self, at: Option<EventId>, now: Duration) {
        self.note_gap(at, now);
        self.settles_at = now + SOURCE_SETTLES;
    }

    /// Events of any topic may have been missed, just before the one that comes next. They have used up the number `at`;
    /// `None` where a relay gives the numbers.
    pub fn note_gap(&mut self, at: Option<EventId>, now: Duration) {
        if let Some(at) = at {
            self.note(at, now);
        }
        self.floor.note_missed(at.map(|at| at.sequence));
    }

    /// An event of the present epoch is not kept any more, or never was, and its topic has none that are.
    pub fn forget(&mut self, sequence: u64) {
        self.forgotten.raise(sequence);
    }

    /// Nobody knows which of the events up to now were kept.
    pub fn forget_all(&mut self) {
        self.forgotten.raise(self.newest);
    }

    /// Other topics are kept from now on, and sources filter by topic: they have perhaps not sent what came of these before.
    /// `at` is as in [`Timeline::note_gap`].
    pub fn note_other_topics(&mut self, at: Option<EventId>, now: Duration) {
        self.learned_at = now + SOURCE_SETTLES;
        if let Some(at) = at {
            self.note(at, now);
        }
        self.forgotten.note_missed(at.map(|at| at.sequence));
    }

    /// The epoch of the last event, or the server's own.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns true while this server gives the ids.
    pub fn is_own(&self) -> bool {
        self.epoch == self.own
    }

    /// Rises with each epoch.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The sequence of the last event.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Up to where the server may have missed events of any topic.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Up to where events were not kept, or were missed, of topics of which nothing is kept.
    pub fn forgotten(&self) -> &Floor {
        &self.forgotten
    }

    /// Judges a client's position for what concerns all topics.
    ///
    /// # Errors
    /// Why the client cannot get what came behind it.
    pub fn judge(&self, position: EventId) -> Result<(), Unrecovered> {
        if position.epoch != self.epoch {
            Err(Unrecovered::Epoch)
        } else if position.sequence > self.newest {
            Err(Unrecovered::Unknown)
        } else if !self.floor.allows(position.sequence) {
            Err(Unrecovered::Floor)
        } else {
            Ok(())
        }
    }
}
