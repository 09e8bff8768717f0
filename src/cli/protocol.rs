//! Which protocol a subscriber speaks (`--protocol`), and what follows from the name alone.
//!
//! Never here: messages (those are in `dialect`), connections.

use clap::builder::PossibleValue;
use clap::{Arg, ValueEnum, value_parser};

use crate::wire::http::WAMP2;

/// A protocol of subscribers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// WAMP v1 over WebSocket.
    #[default]
    Wamp1,
    /// WAMP v2 over WebSocket.
    Wamp2,
    /// Server-sent events.
    Sse,
}

impl Protocol {
    /// The name in the command line and in reports, which is the server's own in its listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wamp1 => "wamp",
            Self::Wamp2 => "wamp2",
            Self::Sse => "sse",
        }
    }

    /// The sub-protocol that a client offers; `None` exactly when the protocol needs no WebSocket.
    pub(super) fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Wamp1 => Some("wamp"),
            Self::Wamp2 => Some(WAMP2),
            Self::Sse => None,
        }
    }

    /// Returns true when the server answers a subscription.
    pub(super) fn confirms(self) -> bool {
        self != Self::Wamp1
    }
}

impl ValueEnum for Protocol {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Wamp1, Self::Wamp2, Self::Sse]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::Wamp1 => value.alias("wamp1").help("WAMP v1 over WebSocket"),
            Self::Wamp2 => value.alias(WAMP2).help("WAMP v2 over WebSocket"),
            Self::Sse => value.help("server-sent events"),
        })
    }
}

/// `--protocol`.
pub(super) fn argument() -> Arg {
    Arg::new("protocol")
        .long("protocol")
        .value_name("PROTOCOL")
        .value_parser(value_parser!(Protocol))
        .default_value(Protocol::default().name())
        .help("What to speak with the server")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::SUBPROTOCOLS;

    #[test]
    fn every_protocol_has_a_name_of_its_own_and_a_sub_protocol_that_the_server_speaks() {
        let all = Protocol::value_variants();
        for protocol in all {
            assert_eq!(
                Protocol::from_str(protocol.name(), false).as_ref(),
                Ok(protocol)
            );
            let offered = protocol.subprotocol();
            assert!(offered.is_none_or(|name| SUBPROTOCOLS.contains(&name)));
        }
        let offered = all.iter().filter_map(|protocol| protocol.subprotocol());
        assert_eq!(offered.collect::<Vec<_>>(), SUBPROTOCOLS);
        assert_eq!(Protocol::from_str(WAMP2, false), Ok(Protocol::Wamp2));
    }
}
