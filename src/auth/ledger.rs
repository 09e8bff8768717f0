//! Every token that somebody lives by, that is being asked about, or that was judged lately.
//!
//! One entry a token, found by its digest, and woken when it is due: to be asked about again, or to
//! be forgotten. Entries are a slab with a number for each tenant, as connections are, since answers
//! and moments that are due outlive the turn in which they named an entry. Cost: see
//! `tests/allocations.rs`.
//!
//! Never here: stores, what follows from an answer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::sealed::Sealed;
use crate::standing::Standing;
use crate::stats::{Cause, Store};
use crate::wire::token::Digest;

/// One entry, for as long as it is in the ledger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EntryId {
    index: u32,
    tenant: u32,
}

impl EntryId {
    /// In one number: what stores see.
    pub fn to_bits(self) -> u64 {
        u64::from(self.tenant) << 32 | u64::from(self.index)
    }

    /// The inverse of [`EntryId::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            tenant: (bits >> 32) as u32,
        }
    }
}

/// The question that is under way about a token.
#[derive(Debug, Default)]
pub struct Asking {
    /// The store that is asked now, by its place in the order.
    pub store: usize,
    /// True exactly when it is asked for the sessions' sake, not for a newcomer's.
    pub is_recheck: bool,
    /// True once one that was asked could not tell.
    pub had_no_answer: bool,
    /// True once a store of JWTs has said that none of its keys signed the token.
    pub is_unsigned: bool,
    /// Who waits for the answer.
    pub waiting: Vec<u64>,
}

/// What is known of a token.
#[derive(Debug)]
pub struct Entry {
    /// Which token.
    pub digest: Digest,
    /// The token itself, where a store needs it to be asked again.
    pub token: Option<Sealed>,
    /// Who came with it first.
    pub client: IpAddr,
    /// From which page.
    pub origin: Option<Box<str>>,
    /// What it is worth; `None` when it was refused, or was not judged yet.
    pub standing: Option<Rc<Standing>>,
    /// Who has accepted it, while there is a standing.
    pub accepted_by: Option<Store>,
    /// Why it was refused, while there is no standing.
    pub cause: Cause,
    /// `Some` exactly while a store is being asked.
    pub asking: Option<Box<Asking>>,
    /// Until then the last answer is as good as a new one.
    pub fresh_until: Duration,
    /// When its sessions' token has to be asked about again.
    pub recheck_at: Duration,
    /// Since when nobody could tell; `None` while the last answer was one.
    pub lost_since: Option<Duration>,
    /// The one moment of it in `Ledger::due` that counts.
    due_at: Duration,
}

impl Entry {
    /// That of a token of which nothing is known.
    pub fn new(digest: Digest, client: IpAddr, origin: Option<String>) -> Self {
        Self {
            digest,
            token: None,
            client,
            origin: origin.map(String::into_boxed_str),
            standing: None,
            accepted_by: None,
            cause: Cause::Unknown,
            asking: None,
            fresh_until: Duration::ZERO,
            recheck_at: Duration::ZERO,
            lost_since: None,
            due_at: Duration::MAX,
        }
    }

    /// The question that is under way about it, for whoever has begun one.
    pub fn asking(&mut self) -> &mut Asking {
        self.asking.as_mut().expect("it is being asked about")
    }

    /// How many sessions live by it.
    pub fn sessions(&self) -> usize {
        // One share of the standing is the entry's own.
        let count = self.standing.as_ref().map_or(1, Rc::strong_count);
        count - 1
    }
}

/// All entries.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Slab<(u32, Entry)>,
    /// A digest is not worth its token: which bucket is looked at tells nothing that helps to make one, and
    /// the map's hash has a key of its own.
    ids: HashMap<[u8; 32], EntryId>,
    due: BinaryHeap<Reverse<(Duration, EntryId)>>,
    tenants: u32,
}

impl Ledger {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of a token.
    pub fn find(&self, digest: &Digest) -> Option<EntryId> {
        self.ids.get(digest.as_bytes()).copied()
    }

    /// Takes a new one in; there must be none of that token.
    pub fn insert(&mut self, entry: Entry) -> EntryId {
        self.tenants = self.tenants.wrapping_add(1);
        let digest = *entry.digest.as_bytes();
        // By an eighth at a time, as places of connections: a token of one's own is the common case.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(64 + self.entries.len() / 8);
        }
        let index = self.entries.insert((self.tenants, entry));
        let id = EntryId {
            index: u32::try_from(index).expect("tokens in force are below 2^32"),
            tenant: self.tenants,
        };
        let before = self.ids.insert(digest, id);
        debug_assert!(before.is_none(), "one entry a token");
        id
    }

    /// The entry that is meant, for whoever knows that it is there: it was found, or came out of here, in
    /// this turn.
    pub fn entry(&mut self, id: EntryId) -> &mut Entry {
        self.get_mut(id).expect("it was found in this turn")
    }

    /// The entry that is meant, if it is still there.
    pub fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        let (tenant, entry) = self.entries.get_mut(id.index as usize)?;
        (*tenant == id.tenant).then_some(entry)
    }

    /// Forgets it.
    pub fn remove(&mut self, id: EntryId) {
        if self.get_mut(id).is_some() {
            let (_, entry) = self.entries.remove(id.index as usize);
            self.ids.remove(entry.digest.as_bytes());
        }
    }

    /// Has it come out of [`Ledger::pop_due`] at `at`, and at no other time.
    pub fn wake_at(&mut self, id: EntryId, at: Duration) {
        if let Some(entry) = self.get_mut(id) {
            entry.due_at = at;
            self.due.push(Reverse((at, id)));
        }
    }

    /// The next that is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<EntryId> {
        while self.next_due()? <= now {
            let Reverse((_, id)) = self.due.pop()?;
            if let Some(entry) = self.get_mut(id) {
                entry.due_at = Duration::MAX;
                return Some(id);
            }
        }
        None
    }

    /// When the next is due. Forgets on the way what has got another moment.
    pub fn next_due(&mut self) -> Option<Duration> {
        loop {
            let &Reverse((at, id)) = self.due.peek()?;
            if self.get_mut(id).is_some_and(|entry| entry.due_at == at) {
                return Some(at);
            }
            self.due.pop();
        }
    }

    /// All that are there.
    pub fn ids(&self) -> Vec<EntryId> {
        self.ids.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::token::Token;

    fn entry(token: &str) -> Entry {
        let digest = Token::new(token).digest();
        Entry::new(digest, Ipv4Addr::LOCALHOST.into(), None)
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_last_moment_that_was_set_is_the_one_that_counts() {
        let mut ledger = Ledger::default();
        let (a, b) = (ledger.insert(entry("a")), ledger.insert(entry("b")));
        ledger.wake_at(a, seconds(1));
        ledger.wake_at(a, seconds(5));
        ledger.wake_at(b, seconds(3));
        assert_eq!(ledger.next_due(), Some(seconds(3)));
        assert_eq!(ledger.pop_due(seconds(4)), Some(b));
        assert_eq!(ledger.pop_due(seconds(4)), None);
        ledger.wake_at(a, seconds(4));
        assert_eq!(ledger.pop_due(seconds(4)), Some(a));
        assert_eq!(ledger.pop_due(seconds(9)), None, "it comes out once");
    }

    #[test]
    fn what_was_forgotten_is_not_found_under_its_old_id() {
        let mut ledger = Ledger::default();
        let first = ledger.insert(entry("a"));
        ledger.wake_at(first, seconds(1));
        ledger.remove(first);
        let second = ledger.insert(entry("b"));
        assert_eq!(first.index, second.index);
        assert!(ledger.get_mut(first).is_none());
        assert_eq!(EntryId::from_bits(second.to_bits()), second);
        assert_eq!(ledger.pop_due(seconds(9)), None);
        assert_eq!(ledger.find(&Token::new("a").digest()), None);
        assert_eq!(ledger.find(&Token::new("b").digest()), Some(second));
        ledger.remove(first);
        assert_eq!(ledger.len(), 1);
    }
}
