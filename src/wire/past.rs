//! What a client asks of a topic's past, and what it is told about it.
//!
//! Never here: how a protocol writes it, and which events are kept.

use super::id::EventId;

/// What a client says that it has of its topics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// Everything up to this event.
    Position(EventId),
    /// Something that is no id.
    Malformed,
}

impl Since {
    /// Parses the client's word.
    pub fn parse(text: &str) -> Self {
        EventId::parse_position(text.as_bytes()).map_or(Self::Malformed, Self::Position)
    }
}

/// What a client asks of a topic's past.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PastWish {
    /// The events behind this one.
    pub since: Option<Since>,
    /// So many of the newest events, where `since` is not there or cannot be served.
    pub last: Option<u64>,
}

impl PastWish {
    /// Returns true when the client wants to be told what it gets.
    pub fn is_asked(&self) -> bool {
        self.since.is_some() || self.last.is_some()
    }
}

/// Why the events behind a client's position cannot be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unrecovered {
    /// The position is one of another run.
    Epoch,
    /// Some of the events behind it are not kept any more.
    Floor,
    /// The position is no id, or none that there has been.
    Unknown,
    /// The client has named no position, or nothing of its topic is kept.
    None,
}

impl Unrecovered {
    /// The word that clients read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Floor => "floor",
            Self::Unknown => "unknown",
            Self::None => "none",
        }
    }
}

/// What a client is told that has asked for the past.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecoveryNotice {
    /// From here on the client receives everything.
    pub position: EventId,
    /// The events behind the client's own position follow; or why they do not.
    pub outcome: Result<(), Unrecovered>,
}
