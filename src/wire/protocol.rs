//! The protocols that subscribers speak, by their names.
//!
//! Never here: messages of a protocol (`wamp`, `wamp2`, `sse`), the form in which it travels.

use super::http::WAMP2;

/// A protocol of subscribers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// WAMP v1 over WebSocket.
    #[default]
    Wamp1,
    /// WAMP v2, as JSON, over WebSocket.
    Wamp2,
    /// Server-sent events.
    Sse,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wamp1, Self::Wamp2, Self::Sse];

    /// As administrators read it and commands take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wamp1 => "wamp",
            Self::Wamp2 => "wamp2",
            Self::Sse => "sse",
        }
    }

    /// The sub-protocol that a client offers; `None` exactly when the protocol needs no WebSocket.
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Wamp1 => Some("wamp"),
            Self::Wamp2 => Some(WAMP2),
            Self::Sse => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::SUBPROTOCOLS;

    #[test]
    fn every_sub_protocol_that_the_server_speaks_has_its_protocol() {
        let offered = Protocol::ALL.iter().filter_map(|all| all.subprotocol());
        assert_eq!(offered.collect::<Vec<_>>(), SUBPROTOCOLS);
    }
}
