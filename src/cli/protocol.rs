//! Which protocol a subscriber speaks (`--protocol`), and what follows from the name alone.
//!
//! Never here: messages (those are in `dialect`), connections.

use clap::builder::PossibleValue;
use clap::{Arg, ValueEnum, value_parser};

use crate::wire::http::WAMP2;
pub use crate::wire::protocol::Protocol;

impl ValueEnum for Protocol {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
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

impl Protocol {
    /// Returns true when the server answers a subscription.
    pub(super) fn confirms(self) -> bool {
        self != Self::Wamp1
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

    #[test]
    fn every_protocol_is_taken_by_its_name() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_str(protocol.name(), false), Ok(protocol));
        }
        assert_eq!(Protocol::from_str(WAMP2, false), Ok(Protocol::Wamp2));
    }
}
