//! Which topics clients want, as sources see it, and how much a turn may tell publishers about it.
//!
//! Never here: what a publisher was told (each source knows that), and who wants a topic.

use std::rc::Rc;

/// In bytes, what telling a name costs beyond the name's own bytes.
pub const NAME_COST: usize = 64;

/// In places, how many cost as much to look at as telling one name.
const PLACES_A_NAME: usize = 16;

/// The topics that clients want now.
pub trait Wanted {
    /// Returns true when a client is subscribed to `topic`.
    fn is_wanted(&self, topic: &str) -> bool;
    /// Returns true when every topic is wanted, whatever its name.
    fn wants_everything(&self) -> bool {
        false
    }
    /// How many topics are wanted.
    fn topics(&self) -> usize;
    /// In bytes, their names.
    fn bytes(&self) -> usize;
    /// How many places there are for topics, taken or free.
    fn places(&self) -> u32;
    /// The topic in a place.
    fn topic_at(&self, place: u32) -> Option<Rc<str>>;
}

/// What may still be told in this turn, over all sources.
#[derive(Debug)]
pub struct TellBudget {
    bytes: usize,
    places: usize,
}

impl TellBudget {
    /// A budget of so many bytes, [`NAME_COST`] of each name included.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes,
            places: PLACES_A_NAME,
        }
    }

    /// Returns true when something may still be told.
    pub fn is_left(&self) -> bool {
        self.bytes > 0
    }

    /// A name is told.
    pub fn take_name(&mut self, topic: &str) {
        self.bytes = self.bytes.saturating_sub(topic.len() + NAME_COST);
    }

    /// A place was looked at.
    pub fn take_place(&mut self) {
        self.places -= 1;
        if self.places == 0 {
            self.places = PLACES_A_NAME;
            self.bytes = self.bytes.saturating_sub(NAME_COST);
        }
    }

    /// Nothing more is told in this turn.
    pub fn end(&mut self) {
        self.bytes = 0;
    }
}
