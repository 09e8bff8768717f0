//! The poller's tokens: what an event of the poller is about, and the number that stands for it.
//!
//! A connection's number is its `SlotId`, which needs both halves of 64 bits; its upper half is never
//! zero. All other numbers are smaller: a kind in the upper 4 of 32 bits, an index in the others.
//!
//! Never here: what follows from an event.

use mio::Token;

use crate::engine::SlotId;
use crate::ingest::{Descriptor, SourceId};
use crate::stats::Door;

const _: () = assert!(usize::BITS >= 64, "newswire needs a 64-bit host");

/// In bits, an index.
const INDEX_BITS: u32 = 28;
/// One more than the largest index.
const INDEX_END: usize = 1 << INDEX_BITS;

/// What an event of the poller is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PollToken {
    /// A client's connection.
    Client(SlotId),
    /// Signals.
    Signals,
    /// Another thread has something for the loop; each turn asks all of them.
    Wake,
    /// A listener for clients.
    Listener(usize),
    /// A listener for administrators or publishers.
    AdminListener(Door, usize),
    /// A connection of an administrator or publisher: its place in the lobby.
    Lobby(usize),
    /// A descriptor of a source.
    Source(SourceId, Descriptor),
    /// A descriptor of the relay.
    Relay(usize),
}

impl From<PollToken> for Token {
    /// # Panics
    /// When an index is over 2^28. No process has so many descriptors.
    fn from(token: PollToken) -> Self {
        let (kind, index) = match token {
            PollToken::Client(id) => return Self(id.to_bits() as usize),
            PollToken::Signals => (0, 0),
            PollToken::Wake => (1, 0),
            PollToken::Listener(index) => (2, index),
            PollToken::AdminListener(Door::Admin, index) => (3, index),
            PollToken::AdminListener(Door::Publish, index) => (4, index),
            PollToken::Lobby(place) => (5, place),
            PollToken::Source(id, Descriptor::Messages) => (6, id.0 as usize),
            PollToken::Source(id, Descriptor::Peers) => (7, id.0 as usize),
            PollToken::Relay(index) => (8, index),
        };
        assert!(index < INDEX_END, "{token:?} has no number");
        Self(kind << INDEX_BITS | index)
    }
}

impl PollToken {
    /// The inverse of the conversion to a token; `None` for a number that no token has.
    pub fn of(token: Token) -> Option<Self> {
        if let Some(id) = SlotId::from_bits(token.0 as u64) {
            return Some(Self::Client(id));
        }
        let (kind, index) = (token.0 >> INDEX_BITS, token.0 % INDEX_END);
        let source = SourceId(index as u32);
        Some(match kind {
            0 => Self::Signals,
            1 => Self::Wake,
            2 => Self::Listener(index),
            3 => Self::AdminListener(Door::Admin, index),
            4 => Self::AdminListener(Door::Publish, index),
            5 => Self::Lobby(index),
            6 => Self::Source(source, Descriptor::Messages),
            7 => Self::Source(source, Descriptor::Peers),
            8 => Self::Relay(index),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_token_has_a_number_of_its_own() {
        let mut numbers = HashSet::new();
        let single = [PollToken::Signals, PollToken::Wake];
        let indexed = [0, 1, 500, 1_000, 5_000, INDEX_END - 1].map(|index| {
            let id = SourceId(index as u32);
            let slot = |generation| SlotId::new(index as u32, generation).expect("a tenant");
            [
                PollToken::Client(slot(1)),
                PollToken::Client(slot(u32::MAX)),
                PollToken::Listener(index),
                PollToken::AdminListener(Door::Admin, index),
                PollToken::AdminListener(Door::Publish, index),
                PollToken::Lobby(index),
                PollToken::Source(id, Descriptor::Messages),
                PollToken::Source(id, Descriptor::Peers),
                PollToken::Relay(index),
            ]
        });
        for token in single.into_iter().chain(indexed.into_iter().flatten()) {
            let number = Token::from(token);
            assert!(numbers.insert(number), "{token:?}");
            assert_eq!(PollToken::of(number), Some(token));
        }
        assert_eq!(PollToken::of(Token(9 << INDEX_BITS)), None);
    }
}
