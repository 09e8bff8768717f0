//! The id of an event: `EPOCH-SEQ`, one counter for all events of a run.
//!
//! The process that takes an event in gives it an id, unless its source has brought one along: a relay's events keep
//! their ids, so all servers behind one relay agree on them ([`Numbering`]). The epoch names the run that counts. It is
//! random, so ids of two runs are never taken for each other.
//!
//! A client names the last event that it has by its id. Where it has none yet, the same form names the place before the
//! first event: `EPOCH-0`.
//!
//! Never here: which events are kept.

use std::fmt;

/// The characters of an epoch (RFC 4648 s. 6, in lower case).
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// In characters, an epoch.
const EPOCH_CHARS: usize = 8;

/// Names one run of a server or relay that counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Epoch([u8; EPOCH_CHARS]);

impl Epoch {
    /// Makes an epoch of random bytes.
    pub fn new(random: [u8; EPOCH_CHARS]) -> Self {
        Self(random.map(|byte| ALPHABET[usize::from(byte % 32)]))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).expect("the alphabet is ASCII"))
    }
}

/// The id of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventId {
    /// The run that has given the id.
    pub epoch: Epoch,
    /// Its number there; the first event is 1.
    pub sequence: u64,
}

impl EventId {
    /// Parses `EPOCH-SEQ`. `None` when `text` is anything else, such as a number with a leading zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::parse_position(text).filter(|id| id.sequence > 0)
    }

    /// Parses what a client says that it has: the id of an event, or `EPOCH-0`.
    pub fn parse_position(text: &[u8]) -> Option<Self> {
        let (epoch, rest) = text.split_first_chunk::<EPOCH_CHARS>()?;
        let is_good = epoch.iter().all(|byte| ALPHABET.contains(byte));
        let sequence = number(rest.strip_prefix(b"-")?)?;
        is_good.then_some(Self {
            epoch: Epoch(*epoch),
            sequence,
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// The place of an event in its topic: `EPOCH-NTH`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TopicPlace {
    /// The run of the relay that counts.
    pub epoch: Epoch,
    /// The event's number in its topic; the first event is 1.
    pub nth: u64,
}

impl TopicPlace {
    /// Parses `EPOCH-NTH`, which is written like an id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let EventId { epoch, sequence } = EventId::parse(text)?;
        Some(Self {
            epoch,
            nth: sequence,
        })
    }
}

impl fmt::Display for TopicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.nth)
    }
}

/// Parses a whole number in its only form: decimal digits without a leading zero.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain =
        text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'));
    str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

/// Gives every event its id.
///
/// Ids that a relay has given are kept while all events come from that relay: then their numbers rise within one epoch,
/// and another epoch means that the relay was started again. As soon as anything else is seen (an event without an id, an
/// epoch that comes back, a number that does not rise), events come from more than one place. Nobody else knows in which
/// order these came here, so from then on this process gives ids of its own.
#[derive(Debug)]
pub struct Numbering {
    own: Epoch,
    /// The last number that was given here, or used up.
    last: u64,
    state: Numbers,
    /// The epochs that were followed, the present one included.
    followed: Vec<Epoch>,
}

#[derive(Debug)]
enum Numbers {
    /// There was no event yet.
    Unknown,
    /// The last id, which a relay has given.
    Relayed(EventId),
    /// There was one with an id that was given here.
    Own,
}

/// In epochs. A relay that was started again so often is taken for several relays.
const FOLLOWED_MAX: usize = 1_000;

impl Numbering {
    /// Begins. `own` is the epoch of the ids that are given here.
    pub fn new(own: Epoch) -> Self {
        Self {
            own,
            last: 0,
            state: Numbers::Unknown,
            followed: Vec::new(),
        }
    }

    /// The epoch of the ids that are given here.
    pub fn own(&self) -> Epoch {
        self.own
    }

    /// Returns the id of the next event, to which its source has given `brought`.
    pub fn give(&mut self, brought: Option<EventId>) -> EventId {
        if let Some(id) = brought
            && self.follows(id)
        {
            self.state = Numbers::Relayed(id);
            return id;
        }
        self.state = Numbers::Own;
        self.next()
    }

    /// Events were missed that would have come now: they use up one number, so that who has everything before them is told
    /// from who has everything since. `None` where a relay gives the numbers.
    pub fn skip(&mut self) -> Option<EventId> {
        match self.state {
            Numbers::Relayed(_) => None,
            Numbers::Unknown | Numbers::Own => Some(self.next()),
        }
    }

    fn next(&mut self) -> EventId {
        self.last += 1;
        EventId {
            epoch: self.own,
            sequence: self.last,
        }
    }

    /// Returns true when `id` is the next one of the relay that is followed.
    fn follows(&mut self, id: EventId) -> bool {
        match self.state {
            Numbers::Own => false,
            Numbers::Relayed(last) if last.epoch == id.epoch => id.sequence > last.sequence,
            Numbers::Unknown | Numbers::Relayed(_) => {
                let is_new =
                    !self.followed.contains(&id.epoch) && self.followed.len() < FOLLOWED_MAX;
                self.followed.push(id.epoch);
                is_new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_parsed() {
        let mut ids = Numbering::new(Epoch::new([0, 1, 31, 32, 255, 7, 25, 26]));
        let id = ids.give(None);
        assert_eq!(id.to_string(), "ab7a7hz2-1");
        assert_eq!(EventId::parse(b"ab7a7hz2-1"), Some(id));
        assert_eq!(ids.give(None).sequence, 2);
        let last = format!("ab7a7hz2-{}", u64::MAX);
        assert_eq!(
            EventId::parse(last.as_bytes()).map(|id| id.sequence),
            Some(u64::MAX)
        );
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in [
            "",
            "-",
            "abcdefgh",
            "abcdefgh-",
            "abcdefgh-0",
            "abcdefgh-01",
            "abcdefgh-+1",
            "abcdefgh--1",
            "abcdefgh-1 ",
            "abcdefgh-18446744073709551616",
            "Abcdefgh-1",
            "abcdefg1-1",
            "abcdefghi-1",
            "abcdefg-1",
        ] {
            assert_eq!(EventId::parse(text.as_bytes()), None, "{text}");
            let position = EventId::parse_position(text.as_bytes());
            assert_eq!(position.is_some(), text == "abcdefgh-0", "{text}");
        }
    }

    /// What `Numbering` gives for these ids, as `epoch:number`; a 0 is an event without an id.
    fn given(brought: &[(u8, u64)]) -> Vec<String> {
        let epoch = |n| Epoch::new([n; 8]);
        let mut ids = Numbering::new(epoch(0));
        let give = |&(n, sequence): &(u8, u64)| {
            let epoch = epoch(n);
            let id = ids.give((sequence > 0).then_some(EventId { epoch, sequence }));
            format!("{}:{}", &id.epoch.to_string()[..1], id.sequence)
        };
        brought.iter().map(give).collect()
    }

    #[test]
    fn the_ids_of_one_relay_are_kept_when_it_starts_again_too() {
        let ids = [(1, 7), (1, 9), (2, 1), (2, 2)];
        assert_eq!(given(&ids), ["b:7", "b:9", "c:1", "c:2"]);
    }

    #[test]
    fn what_was_missed_uses_up_a_number_that_is_given_here() {
        let mut ids = Numbering::new(Epoch::new([0; 8]));
        assert_eq!(ids.skip().map(|id| id.sequence), Some(1));
        assert_eq!(ids.give(None).sequence, 2);
        assert_eq!(ids.skip().map(|id| id.sequence), Some(3));
        assert_eq!(ids.give(None).sequence, 4);
        let mut ids = Numbering::new(Epoch::new([0; 8]));
        let epoch = Epoch::new([1; 8]);
        ids.give(Some(EventId { epoch, sequence: 7 }));
        assert_eq!(ids.skip(), None);
    }

    #[test]
    fn with_more_than_one_origin_ids_are_given_here() {
        assert_eq!(given(&[(1, 7), (0, 0), (1, 9)]), ["b:7", "a:1", "a:2"]);
        assert_eq!(given(&[(0, 0), (1, 9)]), ["a:1", "a:2"]);
        assert_eq!(given(&[(1, 7), (1, 7), (1, 8)]), ["b:7", "a:1", "a:2"]);
        let ids = [(1, 7), (2, 3), (1, 8), (2, 4)];
        assert_eq!(given(&ids), ["b:7", "c:3", "a:1", "a:2"]);
    }
}
