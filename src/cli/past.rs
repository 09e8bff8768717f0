//! What a subscriber asks of its topics' past (`--since`, `--last`), and the position with which it comes back.
//!
//! Never here: how a protocol says it, and what the server answers.

use clap::{Arg, ArgMatches, value_parser};

use super::Failure;
use super::arguments::text;
use crate::wire::id::EventId;

/// What the user asks of the past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PastArguments {
    /// The id of the last event that the user has.
    pub(super) since: Option<EventId>,
    /// So many of the newest events.
    pub(super) last: Option<u64>,
}

/// What one subscription asks of the past.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Wish<'a> {
    /// The events behind this one.
    pub(super) since: Option<&'a str>,
    /// So many of the newest events, where `since` is not there or cannot be served. 0 asks only to be told what there
    /// is.
    pub(super) last: Option<u64>,
}

/// `--since` and `--last`.
pub(super) fn arguments() -> [Arg; 2] {
    let since = Arg::new("since")
        .long("since")
        .value_name("ID")
        .help("First print the events behind this one, as --ids prints it (wamp2, sse)");
    let last = Arg::new("last")
        .long("last")
        .value_name("N")
        .value_parser(value_parser!(u64))
        .allow_negative_numbers(true)
        .help(
            "First print so many of the newest events, of each topic, as far as the server keeps them; with --since, \
             only where the events behind that id are not kept any more (wamp2, sse)",
        );
    [since, last]
}

impl PastArguments {
    /// Makes one of the arguments `--since` and `--last`.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let since = match text(matches, "since") {
            "" => None,
            given => Some(EventId::parse_position(given.as_bytes()).ok_or_else(|| {
                Failure::Usage(format!(
                    "--since: {given:?}: the id of an event is needed, such as abcdefgh-17"
                ))
            })?),
        };
        Ok(Self {
            since,
            last: matches.get_one("last").copied(),
        })
    }
}

/// Moves a position to an event that was received: the subscriber has everything up to there. An event that is sent again
/// may be older than the position, which then stays. The ids of two epochs cannot be compared; another epoch is a later one.
pub(super) fn raise(position: &mut Option<EventId>, id: EventId) {
    let is_behind = position.is_some_and(|at| at.epoch == id.epoch && at.sequence >= id.sequence);
    if !is_behind {
        *position = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_rises_and_another_epoch_replaces_it() {
        let mut position = None;
        for (id, expected) in [
            ("aaaaaaaa-2", "aaaaaaaa-2"),
            ("aaaaaaaa-9", "aaaaaaaa-9"),
            ("aaaaaaaa-3", "aaaaaaaa-9"),
            ("bbbbbbbb-1", "bbbbbbbb-1"),
        ] {
            raise(&mut position, EventId::parse(id.as_bytes()).expect("an id"));
            let shown = position.map(|id| id.to_string());
            assert_eq!(shown.as_deref(), Some(expected));
        }
    }
}
