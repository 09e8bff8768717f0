//! Finds the topic that has a name.
//!
//! A table that doubles moves all its entries at once: with a million topics, that keeps all clients waiting
//! for a tenth of a second. So there are many small tables, and each of them grows and shrinks by itself.
//! The hash of a name says which table the name is in. The hash is kept beside the id, so a table that grows
//! looks at no name.
//!
//! Never here: the names themselves (the topics have them, and the caller compares).

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// A topic, for as long as it is alive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicId(u32);

impl TopicId {
    /// The topic in that place.
    pub fn of_place(place: u32) -> Self {
        Self(place)
    }

    /// Its place.
    pub fn place(self) -> u32 {
        self.0
    }
}

/// In tables. Of a million topics each has some four thousand.
const TABLES: usize = 256;

/// In entries, the room in a table that is not worth giving back while there is anything in it.
const ROOM_MIN: usize = 7;

/// One table's entry.
#[derive(Debug)]
struct NameEntry {
    hash: u64,
    topic: TopicId,
}

/// Ids by names.
#[derive(Debug)]
pub struct Names {
    hasher: RandomState,
    tables: Box<[HashTable<NameEntry>]>,
    len: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// In entries, how many there is room for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.tables.iter().map(HashTable::capacity).sum()
    }

    /// The topic of that name, if `is_name` says so of one with the same hash.
    pub fn find(&self, name: &str, is_name: impl Fn(TopicId) -> bool) -> Option<TopicId> {
        let hash = self.hasher.hash_one(name);
        let entry = self.tables[place(hash)]
            .find(hash, |entry| entry.hash == hash && is_name(entry.topic))?;
        Some(entry.topic)
    }

    /// Adds a name that is not there.
    pub fn insert(&mut self, name: &str, topic: TopicId) {
        let hash = self.hasher.hash_one(name);
        let entry = NameEntry { hash, topic };
        self.tables[place(hash)].insert_unique(hash, entry, |entry| entry.hash);
        self.len += 1;
    }

    /// Takes the name of `topic` out.
    pub fn remove(&mut self, name: &str, topic: TopicId) {
        let hash = self.hasher.hash_one(name);
        let table = &mut self.tables[place(hash)];
        let Ok(entry) = table.find_entry(hash, |entry| entry.topic == topic) else {
            debug_assert!(false, "no topic ends twice");
            return;
        };
        entry.remove();
        self.len -= 1;
        // A table that is mostly empty gives its memory back.
        let is_sparse = table.capacity() > ROOM_MIN && table.len() * 8 < table.capacity();
        if table.is_empty() || is_sparse {
            table.shrink_to(2 * table.len(), |entry| entry.hash);
        }
    }
}

/// The table for a hash. The tables themselves use its other bits.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_while_their_tables_grow_and_shrink() {
        const NAMES: u32 = 20_000;
        let name = |n: u32| format!("topic-{n}");
        let mut names = Names::default();
        for n in 0..NAMES {
            names.insert(&name(n), TopicId::of_place(n));
        }
        let find = |names: &Names, n: u32| {
            names
                .find(&name(n), |topic| topic.place() == n)
                .map(TopicId::place)
        };
        assert!((0..NAMES).all(|n| find(&names, n) == Some(n)));
        for n in (0..NAMES).filter(|n| n % 100 != 0) {
            names.remove(&name(n), TopicId::of_place(n));
        }
        assert_eq!(names.len(), NAMES as usize / 100);
        assert!((0..NAMES).all(|n| find(&names, n) == (n % 100 == 0).then_some(n)));
        assert!(names.capacity() < 20 * names.len(), "{}", names.capacity());
    }
}
