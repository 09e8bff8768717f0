//! Every token that has a session, or was accepted lately, or about which a store is being asked.
//!
//! Some stores answer about a token alone, others about a token and the client that brought it. So an entry is
//! either for a token, whoever brings it, or for a token and one [`Caller`]. The ledger finds an entry by its
//! [`VerdictKey`], and all entries of a token by the digest of any name that the token has: to revoke a token is to
//! end all of them.
//!
//! Each entry has one moment at which the gate looks at it again. Entries are a slab with a number for each tenant,
//! as connections are, because answers outlive the turn in which they named an entry. Cost: see the test of
//! allocations.
//!
//! Never here: refused tokens (`refused`), stores, what follows from an answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use slab::Slab;

use super::sealed::Sealed;
use crate::auth::Question;
use crate::standing::Standing;
use crate::stats::Store;
use crate::wire::token::Digest;

/// One entry, for as long as it is in the ledger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EntryId {
    index: u32,
    tenant: u32,
}

impl EntryId {
    /// The ticket of the entry, which stores see.
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

/// The subject of a verdict: a token, or a token and a caller. It is a SHA-256, so it holds neither.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct VerdictKey([u8; 32]);

impl VerdictKey {
    /// The key of a token, whoever brings it.
    pub fn of_token(token: &Digest) -> Self {
        Self(*token.as_bytes())
    }

    /// The key of a token which this client brings from this page.
    pub fn of_caller(token: &Digest, client: IpAddr, origin: Option<&str>) -> Self {
        let client = match client.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut hash = Sha256::new();
        hash.update(token.as_bytes());
        hash.update(client.octets());
        hash.update([u8::from(origin.is_some())]);
        hash.update(origin.unwrap_or_default());
        Self(hash.finalize().into())
    }

    /// Half of it: enough to tell one key from any other (nobody finds two with the same half in less than
    /// 2^64 tries), and half the memory.
    pub fn half(&self) -> [u8; 16] {
        let (half, _) = self.0.split_first_chunk().expect("it has 32 bytes");
        *half
    }
}

/// The client that an entry is for.
#[derive(Debug)]
pub struct Caller {
    /// [`VerdictKey::of_caller`] of the two and the token.
    pub key: VerdictKey,
    /// The client's address.
    pub client: IpAddr,
    /// The origin of the client's page, if the client named one.
    pub origin: Option<Box<str>>,
}

/// A question about a token that is under way.
#[derive(Debug)]
pub struct Asking {
    /// The question as stores get it. It holds the token until the answer is there.
    pub question: Arc<Question>,
    /// The place of the store that is asked now or next.
    pub store: usize,
    /// True once a store was asked whose answer may depend on the caller.
    pub is_of_caller: bool,
    /// True once a store was skipped that might know the token.
    pub is_partial: bool,
    /// True once a store that was asked could not tell.
    pub had_no_answer: bool,
    /// True once a store of JWTs has said that none of its keys signed the token.
    pub is_unsigned: bool,
    /// The tickets of the clients that wait for the answer.
    pub waiting: Vec<u64>,
}

impl Asking {
    /// A question that no store was asked yet.
    pub fn new(question: Question, waiting: Vec<u64>) -> Self {
        Self {
            question: Arc::new(question),
            store: 0,
            is_of_caller: false,
            is_partial: false,
            had_no_answer: false,
            is_unsigned: false,
            waiting,
        }
    }
}

/// What the gate knows about a token.
#[derive(Debug)]
pub struct Entry {
    /// The digest of the token as clients present it.
    pub token: Digest,
    /// The caller; `None`: every caller.
    pub caller: Option<Box<Caller>>,
    /// The token itself, when a store needs it to be asked again.
    pub sealed: Option<Sealed>,
    /// What the token is worth; `None` before the first answer, and after the token has ended.
    pub standing: Option<Rc<Standing>>,
    /// The store that accepted the token, while there is a standing.
    pub accepted_by: Option<Store>,
    /// `Some` exactly while a store is being asked, or is to be.
    pub asking: Option<Box<Asking>>,
    /// How often the stores had changed when a store accepted the token.
    pub accepted_in: u32,
    /// Until then the last answer counts for newcomers.
    pub fresh_until: Duration,
    /// When the gate has to ask again about the token of its sessions.
    pub recheck_at: Duration,
    /// Since when no store could tell; `None` when the last question had an answer. Set by `Outage` alone.
    pub lost_since: Option<Duration>,
    /// The store's own name of the token, if it has one. Kept by [`Ledger::name`].
    known_as: Option<Box<Digest>>,
    /// Its one moment in `Ledger::due`; `Duration::MAX`: it is not in there.
    due_at: Duration,
}

impl Entry {
    /// The entry of a token about which nothing is known yet.
    pub fn new(token: Digest, caller: Option<Caller>) -> Self {
        Self {
            token,
            caller: caller.map(Box::new),
            sealed: None,
            standing: None,
            accepted_by: None,
            asking: None,
            accepted_in: 0,
            fresh_until: Duration::ZERO,
            recheck_at: Duration::ZERO,
            lost_since: None,
            known_as: None,
            due_at: Duration::MAX,
        }
    }

    /// The subject of its verdict.
    pub fn key(&self) -> VerdictKey {
        (self.caller.as_ref())
            .map_or_else(|| VerdictKey::of_token(&self.token), |caller| caller.key)
    }

    /// The question about it that is under way; the caller has begun one.
    pub fn asking(&mut self) -> &mut Asking {
        self.asking.as_mut().expect("it is being asked about")
    }

    /// The store's own name of the token, when that is another text than clients present.
    pub fn known_as(&self) -> Option<&Digest> {
        self.known_as.as_deref()
    }

    /// Returns true while the last answer counts for newcomers. `changes`: how often stores have changed.
    pub fn is_fresh(&self, changes: u32, now: Duration) -> bool {
        self.accepted_in == changes && now < self.fresh_until
    }

    /// A number that an entry keeps, and in which most entries differ.
    pub fn spread(&self) -> u8 {
        self.key().0[0]
    }

    /// How many sessions have it.
    pub fn sessions(&self) -> usize {
        // One share of the standing is the entry's own.
        let count = self.standing.as_ref().map_or(1, Rc::strong_count);
        count - 1
    }

    /// Returns true when this is a name of the token.
    fn is_named(&self, name: &Digest) -> bool {
        let known_as = self.known_as.as_ref();
        self.token.matches(name) || known_as.is_some_and(|known| known.matches(name))
    }
}

/// All entries.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Slab<(u32, Entry)>,
    /// Every entry, by the beginning of its key. A digest is not worth its token, so it does no harm that the
    /// time of a look-up depends on it.
    by_key: BTreeSet<(u64, u32)>,
    /// By the beginnings of a token's names, except for those that are the entry's key.
    by_name: BTreeSet<(u64, u32)>,
    /// The entries that have a moment, in the order of the moments.
    due: BTreeSet<(Duration, u32)>,
    tenants: u32,
    /// One more than the largest index that was ever taken.
    places: u32,
}

/// The beginning of a digest.
fn start(digest: &[u8; 32]) -> u64 {
    let (start, _) = digest.split_first_chunk().expect("it has 32 bytes");
    u64::from_be_bytes(*start)
}

impl Ledger {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many places entries may have: those of [`Ledger::at`].
    pub fn places(&self) -> u32 {
        self.places
    }

    /// The entry in a place, if there is one.
    pub fn at(&self, place: u32) -> Option<EntryId> {
        let (tenant, _) = self.entries.get(place as usize)?;
        Some(EntryId {
            index: place,
            tenant: *tenant,
        })
    }

    /// The entry of a key.
    pub fn find(&self, key: &VerdictKey) -> Option<EntryId> {
        let start = start(&key.0);
        let mut alike = self.by_key.range((start, 0)..=(start, u32::MAX));
        alike.find_map(|&(_, index)| {
            let (_, entry) = self.entries.get(index as usize)?;
            (entry.key() == *key).then(|| self.at(index)).flatten()
        })
    }

    /// All entries of the token that has this name.
    pub fn find_all(&self, name: &Digest) -> Vec<EntryId> {
        let start = start(name.as_bytes());
        let alike = (start, 0)..=(start, u32::MAX);
        let alike = (self.by_key.range(alike.clone())).chain(self.by_name.range(alike));
        let mut found: Vec<EntryId> = alike
            .filter_map(|&(_, index)| {
                let (_, entry) = self.entries.get(index as usize)?;
                entry.is_named(name).then(|| self.at(index)).flatten()
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Adds an entry; there must be none with its key.
    pub fn insert(&mut self, entry: Entry) -> EntryId {
        debug_assert!(self.find(&entry.key()).is_none(), "one entry a key");
        self.tenants = self.tenants.wrapping_add(1);
        // It grows by an eighth at a time, as the slab of connections does: often each client has a token of its
        // own.
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(64 + self.entries.len() / 8);
        }
        let index = self.entries.insert((self.tenants, entry));
        let id = EntryId {
            index: u32::try_from(index).expect("tokens in force are below 2^32"),
            tenant: self.tenants,
        };
        self.places = self.places.max(id.index + 1);
        self.index(id.index);
        id
    }

    /// The entry of `id`. The caller knows that it is there: it was found, or returned from here, in this turn.
    pub fn entry(&mut self, id: EntryId) -> &mut Entry {
        self.get_mut(id).expect("it was found in this turn")
    }

    /// The question under way about the entry of `id`, if there is one.
    pub fn asking(&mut self, id: EntryId) -> Option<&mut Asking> {
        self.get_mut(id)?.asking.as_deref_mut()
    }

    /// The entry of `id`, if it is still there.
    fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        let (tenant, entry) = self.entries.get_mut(id.index as usize)?;
        (*tenant == id.tenant).then_some(entry)
    }

    /// Forgets the entry of `id`.
    pub fn remove(&mut self, id: EntryId) {
        if self.get_mut(id).is_some() {
            self.unindex(id.index);
            self.wake_at(id, Duration::MAX);
            self.entries.remove(id.index as usize);
        }
    }

    /// Makes the entry of a caller the entry of the token, whoever brings it; the token must have none.
    pub fn widen(&mut self, id: EntryId) {
        self.unindex(id.index);
        self.entry(id).caller = None;
        self.index(id.index);
    }

    /// Notes the store's own name of the token.
    pub fn name(&mut self, id: EntryId, known_as: Option<Digest>) {
        let entry = self.entry(id);
        let known_as = known_as.filter(|name| !name.matches(&entry.token));
        let is_same = match (&known_as, entry.known_as()) {
            (Some(name), Some(before)) => name.matches(before),
            (name, before) => name.is_none() && before.is_none(),
        };
        if !is_same {
            self.unindex(id.index);
            self.entry(id).known_as = known_as.map(Box::new);
            self.index(id.index);
        }
    }

    /// Sets the one moment at which the entry comes out of [`Ledger::pop_due`]. `Duration::MAX`: never.
    pub fn wake_at(&mut self, id: EntryId, at: Duration) {
        if let Some(entry) = self.get_mut(id) {
            let before = std::mem::replace(&mut entry.due_at, at);
            self.due.remove(&(before, id.index));
            if at != Duration::MAX {
                self.due.insert((at, id.index));
            }
        }
    }

    /// The next entry that is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<EntryId> {
        let &(at, index) = self.due.first()?;
        if at > now {
            return None;
        }
        let id = self.at(index).expect("what is due is there");
        self.wake_at(id, Duration::MAX);
        Some(id)
    }

    /// When the next entry is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Where an entry stands in the two indices.
    fn names(&self, index: u32) -> (u64, [Option<u64>; 2]) {
        let (_, entry) = &self.entries[index as usize];
        let is_of_caller = entry.caller.is_some();
        let token = is_of_caller.then(|| start(entry.token.as_bytes()));
        let known_as = entry.known_as().map(|name| start(name.as_bytes()));
        (start(&entry.key().0), [token, known_as])
    }

    fn index(&mut self, index: u32) {
        let (key, names) = self.names(index);
        self.by_key.insert((key, index));
        (self.by_name).extend(names.into_iter().flatten().map(|name| (name, index)));
    }

    fn unindex(&mut self, index: u32) {
        let (key, names) = self.names(index);
        self.by_key.remove(&(key, index));
        for name in names.into_iter().flatten() {
            self.by_name.remove(&(name, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::wire::token::Token;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn digest(text: &str) -> Digest {
        Token::new(text).digest()
    }

    fn entry(token: &str) -> Entry {
        Entry::new(digest(token), None)
    }

    fn entry_of(token: &str, client: IpAddr, origin: Option<&str>) -> Entry {
        let token = digest(token);
        let caller = Caller {
            key: VerdictKey::of_caller(&token, client, origin),
            client,
            origin: origin.map(Into::into),
        };
        Entry::new(token, Some(caller))
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
        assert_eq!(ledger.next_due(), None);
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
        assert_eq!(ledger.find(&VerdictKey::of_token(&digest("a"))), None);
        assert_eq!(
            ledger.find(&VerdictKey::of_token(&digest("b"))),
            Some(second)
        );
        ledger.remove(first);
        assert_eq!((ledger.len(), ledger.places()), (1, 1));
    }

    #[test]
    fn a_token_is_one_entry_for_each_caller_and_has_all_its_names() {
        let mut ledger = Ledger::default();
        let other = IpAddr::from([192, 0, 2, 7]);
        let of = |client, origin| VerdictKey::of_caller(&digest("a"), client, origin);
        let all = [
            ledger.insert(entry("a")),
            ledger.insert(entry_of("a", CLIENT, None)),
            ledger.insert(entry_of("a", other, None)),
            ledger.insert(entry_of("a", other, Some(""))),
        ];
        ledger.insert(entry_of("b", CLIENT, None));
        assert_eq!(
            ledger.find(&VerdictKey::of_token(&digest("a"))),
            Some(all[0])
        );
        assert_eq!(ledger.find(&of(CLIENT, None)), Some(all[1]));
        assert_eq!(ledger.find(&of(other, None)), Some(all[2]));
        assert_eq!(ledger.find(&of(other, Some(""))), Some(all[3]));
        assert_eq!(ledger.find(&of(CLIENT, Some(""))), None);
        assert_eq!(ledger.find_all(&digest("a")), all);

        ledger.name(all[2], Some(digest("c")));
        ledger.name(all[3], Some(digest("c")));
        ledger.name(all[3], Some(digest("d")));
        ledger.name(all[0], Some(digest("a")));
        assert_eq!(ledger.find_all(&digest("c")), [all[2]]);
        assert_eq!(ledger.find_all(&digest("d")), [all[3]]);
        assert_eq!(ledger.find_all(&digest("a")), all);

        for id in [all[0], all[2], all[3]] {
            ledger.remove(id);
        }
        ledger.widen(all[1]);
        assert_eq!(
            ledger.find(&VerdictKey::of_token(&digest("a"))),
            Some(all[1])
        );
        assert_eq!(ledger.find(&of(CLIENT, None)), None);
        assert_eq!(ledger.find_all(&digest("a")), [all[1]]);
        assert!(ledger.find_all(&digest("c")).is_empty());
        assert_eq!((ledger.by_key.len(), ledger.by_name.len()), (2, 1));
    }
}
