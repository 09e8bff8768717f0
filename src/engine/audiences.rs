//! The audiences of a topic: its members, by the encoding in which they receive its events.
//!
//! A topic has at most one audience in each encoding. The topic's place and the encoding's number make the id
//! of an audience. So no table leads from one to the other, and an audience costs its set of members and
//! nothing else.
//!
//! Never here: names of topics, what a member is beyond its number, events.

use std::hash::{BuildHasherDefault, Hasher};

use super::idset::IdSet;
use super::names::TopicId;
use super::session::Encoding;

const ENCODINGS: u32 = Encoding::ALL.len() as u32;

/// The members of one topic that receive its events in one encoding, for as long as the topic lives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AudienceId(u32);

impl AudienceId {
    /// The audience of `topic` in `encoding`.
    pub fn new(topic: TopicId, encoding: Encoding) -> Self {
        Self(topic.place() * ENCODINGS + encoding.place())
    }

    /// The audience with that number, as it stands in a connection's own set.
    pub fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its topic.
    pub fn topic(self) -> TopicId {
        TopicId::of_place(self.0 / ENCODINGS)
    }

    /// Its place among the audiences of its topic.
    fn place(self) -> usize {
        (self.0 - self.topic().place() * ENCODINGS) as usize
    }
}

/// For tables of audiences, or of topics.
pub type AudienceHash = BuildHasherDefault<AudienceHasher>;

/// Hashes the number of an audience or a topic, several times for each event. The server gives the numbers, so no client can
/// choose ones that collide.
#[derive(Debug, Default)]
pub struct AudienceHasher(u64);

impl Hasher for AudienceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2^64 divided by the golden ratio. The table takes its place from the low bits and a tag from the high ones.
        let product = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The members of one topic.
///
/// One set for each encoding, 16 bytes each.
#[derive(Debug, Default)]
pub struct Audiences([IdSet; Encoding::ALL.len()]);

impl Audiences {
    /// The members of an audience of this topic.
    pub fn get(&self, audience: AudienceId) -> &IdSet {
        &self.0[audience.place()]
    }

    /// The same, to change them.
    pub fn get_mut(&mut self, audience: AudienceId) -> &mut IdSet {
        &mut self.0[audience.place()]
    }

    /// The encodings in which there are members.
    pub fn encodings(&self) -> impl Iterator<Item = Encoding> {
        let all = Encoding::ALL.into_iter().zip(&self.0);
        all.filter(|(_, members)| !members.is_empty())
            .map(|(encoding, _)| encoding)
    }

    /// How many members there are in all.
    pub fn members(&self) -> usize {
        self.0.iter().map(IdSet::len).sum()
    }

    /// Returns true when there is no member at all.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(IdSet::is_empty)
    }
}
