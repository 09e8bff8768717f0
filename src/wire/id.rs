//! The id of an event: `EPOCH-SEQ`, one counter for all events of a run.
//!
//! The process that takes an event in gives it an id, unless its source has brought one along: a relay's events keep
//! their ids, so all servers behind one relay agree on them. The epoch names the run that counts. It is random, so ids of
//! two runs are never taken for each other.
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
        let (epoch, rest) = text.split_first_chunk::<EPOCH_CHARS>()?;
        let is_good = epoch.iter().all(|byte| ALPHABET.contains(byte));
        let sequence = number(rest.strip_prefix(b"-")?)?;
        (is_good && sequence > 0).then_some(Self {
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

/// Gives ids.
#[derive(Debug)]
pub struct Sequencer {
    epoch: Epoch,
    last: u64,
}

impl Sequencer {
    /// Begins an epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, last: 0 }
    }

    /// Names one run of a server or relay that counts.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The id of the next event.
    pub fn give(&mut self) -> EventId {
        self.last += 1;
        EventId {
            epoch: self.epoch,
            sequence: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_parsed() {
        let mut ids = Sequencer::new(Epoch::new([0, 1, 31, 32, 255, 7, 25, 26]));
        let id = ids.give();
        assert_eq!(id.to_string(), "ab7a7hz2-1");
        assert_eq!(EventId::parse(b"ab7a7hz2-1"), Some(id));
        assert_eq!(ids.give().sequence, 2);
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
        }
    }
}
