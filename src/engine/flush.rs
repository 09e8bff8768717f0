//! From events to members: what is gathered, in which order it leaves, and how far a turn gets.
//!
//! The events of one topic gather in one batch, and a *walk* hands the batch to the topic's members
//! in the order of their places, so that memory is read forwards. A walk has a cursor: a topic of a
//! hundred thousand members would keep everybody else waiting for half a second, so a turn serves a
//! slice of it and the next turn goes on. Events that come meanwhile for the same topic gather in
//! the batch behind it.
//!
//! **Order.** A member hears events in the order in which they were ingested, across topics too.
//! Walks stand in a queue by age, and two rules keep that order:
//! 1. An event joins the waiting batch of its topic only if no younger batch of another topic has
//!    a member in common with it; else it begins a batch of its own.
//! 2. Before a walk serves a member, it serves that member whatever older walks still owe it. What
//!    a member has had ahead of its turn is noted in the older walk (`Walk::ahead`).
//!
//! `ahead` also serves who subscribes while a batch waits or walks: it is owed only what is
//! appended afterwards. It is empty unless one of these things happened, and then a walk costs one
//! look at the next place and one call a member.
//!
//! Never here: sockets and outboxes (a delivery is a call-back), protocols (a frame is written by
//! the caller), clocks (when an event came is the caller's to say, and comes back with its batch).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::outbox::Batch;
use super::topics::{TopicId, Topics};
use crate::limits;

/// How many younger batches an event looks past before it begins a batch of its own.
const LOOK_BACK_MAX: usize = 64;

/// A batch on its way through the members of its topic.
#[derive(Debug)]
struct Walk {
    topic: TopicId,
    batch: Rc<Batch>,
    /// The first place that has not been served.
    cursor: u32,
    /// True exactly when the batch gathers no more: some member was served, or it is one big event.
    is_closed: bool,
    /// Members that need less than the whole batch: from which byte on.
    ahead: HashMap<u32, usize>,
    /// When its first event came, if anybody wants to know.
    since: Option<Duration>,
}

/// A batch that has reached everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Finished {
    /// When its first event came. The others came in the same turn, or while the batch before it was
    /// on its way.
    pub since: Duration,
    /// In events.
    pub events: usize,
}

impl Walk {
    /// Its batch gathers no more, and is about to be shared.
    fn close(&mut self) {
        self.is_closed = true;
        if let Some(batch) = Rc::get_mut(&mut self.batch) {
            batch.trim();
        }
    }

    /// From which byte on `member` is still owed this batch; `None` when it is not.
    fn owes(&self, member: u32, topics: &Topics) -> Option<usize> {
        if member < self.cursor || !topics.members(self.topic).contains(member) {
            return None;
        }
        let from = self.ahead.get(&member).copied().unwrap_or(0);
        (from < self.batch.bytes().len()).then_some(from)
    }
}

/// How much one turn may send.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// In writes over all walks.
    pub writes: usize,
    /// In bytes over all walks.
    pub bytes: usize,
}

/// All batches that have not reached all of their members.
#[derive(Debug, Default)]
pub struct Flush {
    /// By age.
    walks: VecDeque<Walk>,
    /// In bytes, the sum of the batches of `walks`.
    pending_bytes: usize,
    /// Where in `walks` the youngest of each topic stands.
    youngest: HashMap<TopicId, usize>,
    /// Emptied batches, whose memory serves the next ones.
    spare: Vec<Batch>,
    /// What the last run has finished.
    finished: Vec<Finished>,
}

impl Flush {
    /// Whether every batch has reached everybody.
    pub fn is_done(&self) -> bool {
        self.walks.is_empty()
    }

    /// Whether so much is on its way that no more should be taken in.
    pub fn is_congested(&self) -> bool {
        self.pending_bytes > limits::PENDING_BYTES_MAX
            || self.walks.len() > limits::PENDING_WALKS_MAX
    }

    /// Adds one frame of `frame_bytes` for the members of `topic`; `encode` writes it. `since` is when
    /// the event came.
    pub fn add(
        &mut self,
        topic: TopicId,
        topics: &Topics,
        frame_bytes: usize,
        since: Option<Duration>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.pending_bytes += frame_bytes;
        if let Some(batch) = self.open_batch(topic, topics, frame_bytes) {
            let before = batch.bytes().len();
            batch.push_frame(encode);
            debug_assert_eq!(batch.bytes().len() - before, frame_bytes);
            return;
        }
        let is_big = frame_bytes >= limits::BIG_EVENT_BYTES;
        let spare = if is_big { None } else { self.spare.pop() };
        let mut batch = spare.unwrap_or_default();
        batch.push_frame(|out| {
            out.reserve_exact(frame_bytes);
            encode(out);
        });
        self.youngest.insert(topic, self.walks.len());
        self.walks.push_back(Walk {
            topic,
            batch: Rc::new(batch),
            cursor: 0,
            is_closed: is_big,
            ahead: HashMap::new(),
            since,
        });
    }

    /// The next of what the last run has finished.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.finished.pop()
    }

    /// The batch of `topic` to which a frame may be appended without leaving the order.
    fn open_batch(
        &mut self,
        topic: TopicId,
        topics: &Topics,
        frame_bytes: usize,
    ) -> Option<&mut Batch> {
        if frame_bytes >= limits::BIG_EVENT_BYTES {
            return None;
        }
        let at = *self.youngest.get(&topic)?;
        let walk = &self.walks[at];
        let full = walk.batch.bytes().len() + frame_bytes > limits::BATCH_BYTES_MAX;
        if walk.is_closed || full || self.walks.len() - at > LOOK_BACK_MAX {
            return None;
        }
        let members = topics.members(topic);
        let in_order = self
            .walks
            .range(at + 1..)
            .all(|younger| members.is_disjoint(topics.members(younger.topic)));
        if !in_order {
            return None;
        }
        Rc::get_mut(&mut self.walks[at].batch)
    }

    /// `member` has subscribed to `topic` just now: what was ingested before is not for it.
    pub fn note_subscribed(&mut self, topic: TopicId, member: u32) {
        if !self.youngest.contains_key(&topic) {
            return;
        }
        for walk in &mut self.walks {
            if walk.topic == topic && member >= walk.cursor {
                walk.ahead.insert(member, walk.batch.bytes().len());
            }
        }
    }

    /// The topic's last member has left; its id may come to mean another topic.
    pub fn note_gone(&mut self, topic: TopicId) {
        if self.youngest.remove(&topic).is_some() {
            let walks = std::mem::take(&mut self.walks);
            for walk in walks {
                if walk.topic == topic {
                    self.retire(walk.batch);
                } else {
                    self.walks.push_back(walk);
                }
            }
            self.renumber();
        }
    }

    /// Hands out as much as `budget` allows, through `deliver` (member, batch, from which byte on).
    /// Answers whether anything is left.
    pub fn run(
        &mut self,
        topics: &Topics,
        budget: Budget,
        mut deliver: impl FnMut(u32, &Rc<Batch>, usize),
    ) -> bool {
        self.finished.clear();
        if self.walks.is_empty() {
            return false;
        }
        let (mut writes_left, mut bytes_left) = (budget.writes, budget.bytes);
        let mut done = vec![false; self.walks.len()];
        // Of the walks before the one at hand, those that have not reached everybody, by topic.
        let mut unfinished: HashMap<TopicId, Vec<usize>> = HashMap::new();
        let walks = self.walks.make_contiguous();
        for at in 0..walks.len() {
            let (older, rest) = walks.split_at_mut(at);
            let walk = &mut rest[0];
            // The batch of the same topic before this one has the right of way, and this one
            // gathers on: then the next walk is one larger batch instead of many small ones.
            if !unfinished.contains_key(&walk.topic) {
                // Every walk gets an equal share of what is left, so that no large one keeps the
                // small ones waiting, and what a small one leaves is for those behind it.
                let walks_left = done.len() - at;
                let writes = writes_left / walks_left;
                let bytes = bytes_left / walks_left / walk.batch.bytes().len();
                let slice = writes.min(bytes).max(1);
                let members = topics.members(walk.topic);
                let mut first: Vec<usize> = unfinished
                    .iter()
                    .filter(|&(&topic, _)| !members.is_disjoint(topics.members(topic)))
                    .flat_map(|(_, walks)| walks)
                    .copied()
                    .collect();
                first.sort_unstable();
                let served;
                (served, done[at]) = advance(walk, older, &first, topics, slice, &mut deliver);
                writes_left = writes_left.saturating_sub(served);
                bytes_left = bytes_left.saturating_sub(served * walk.batch.bytes().len());
            }
            if !done[at] {
                unfinished.entry(walk.topic).or_default().push(at);
            }
        }
        self.remove(&done);
        !self.walks.is_empty()
    }

    fn remove(&mut self, done: &[bool]) {
        if !done.contains(&true) {
            return;
        }
        for &done in done {
            let Some(walk) = self.walks.pop_front() else {
                break;
            };
            if done {
                let events = walk.batch.frames_from(0);
                let finished = walk.since.map(|since| Finished { since, events });
                self.finished.extend(finished);
                self.retire(walk.batch);
            } else {
                self.walks.push_back(walk);
            }
        }
        self.renumber();
    }

    /// Forgets a batch; keeps its memory when nobody owes it any more and it is of the usual size.
    fn retire(&mut self, batch: Rc<Batch>) {
        self.pending_bytes -= batch.bytes().len();
        if let Ok(mut batch) = Rc::try_unwrap(batch)
            && batch.capacity() <= limits::BATCH_BYTES_MAX
            && self.spare.len() < 4
        {
            batch.clear();
            self.spare.push(batch);
        }
    }

    fn renumber(&mut self) {
        self.youngest.clear();
        self.youngest.extend(
            self.walks
                .iter()
                .enumerate()
                .map(|(at, walk)| (walk.topic, at)),
        );
    }
}

/// Serves up to `slice` members of one walk; those of `older` that are in `first` may owe them
/// something. Answers how many were served, and whether that was the end of it.
fn advance(
    walk: &mut Walk,
    older: &mut [Walk],
    first: &[usize],
    topics: &Topics,
    slice: usize,
    deliver: &mut impl FnMut(u32, &Rc<Batch>, usize),
) -> (usize, bool) {
    walk.close();
    let mut members = topics.members(walk.topic).iter_from(walk.cursor);
    let mut served = 0;
    for member in members.by_ref().take(slice) {
        served += 1;
        walk.cursor = member + 1;
        if first.is_empty() && walk.ahead.is_empty() {
            deliver(member, &walk.batch, 0);
            continue;
        }
        let from = walk.ahead.get(&member).copied().unwrap_or(0);
        if from == walk.batch.bytes().len() {
            continue;
        }
        for &at in first {
            let walk = &mut older[at];
            if let Some(from) = walk.owes(member, topics) {
                walk.close();
                deliver(member, &walk.batch, from);
                walk.ahead.insert(member, walk.batch.bytes().len());
            }
        }
        deliver(member, &walk.batch, from);
    }
    (served, members.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::idset::IdSet;
    use super::super::topics::Subscribed;
    use super::*;

    const SINCE: Duration = Duration::from_secs(7);

    const ALL: Budget = Budget {
        writes: usize::MAX,
        bytes: usize::MAX,
    };

    /// Topics, a flush, and what each member has heard.
    #[derive(Default)]
    struct Hall {
        topics: Topics,
        own: HashMap<u32, IdSet>,
        flush: Flush,
        heard: HashMap<u32, String>,
        /// How many deliveries there were.
        writes: usize,
    }

    impl Hall {
        fn with(members: &[(u32, &str)]) -> Self {
            let mut hall = Self::default();
            for &(member, topic) in members {
                hall.subscribe(member, topic);
            }
            hall
        }

        fn subscribe(&mut self, member: u32, topic: &str) {
            let own = self.own.entry(member).or_default();
            if let Subscribed::Joined(id) = self.topics.subscribe(member, own, topic) {
                self.flush.note_subscribed(id, member);
            }
        }

        fn add(&mut self, topic: &str, text: &str) {
            let id = self.topics.find(topic).expect("has members");
            self.flush
                .add(id, &self.topics, text.len(), Some(SINCE), |out| {
                    out.extend(text.bytes());
                });
        }

        fn run(&mut self, budget: Budget) -> bool {
            let (heard, writes) = (&mut self.heard, &mut self.writes);
            self.flush.run(&self.topics, budget, |member, batch, from| {
                *writes += 1;
                let text = std::str::from_utf8(&batch.bytes()[from..]).expect("text");
                heard.entry(member).or_default().push_str(text);
            })
        }

        fn heard(&self, member: u32) -> &str {
            self.heard.get(&member).map_or("", String::as_str)
        }
    }

    #[test]
    fn the_events_of_a_turn_are_one_write_a_member() {
        let mut hall = Hall::with(&[(1, "a"), (2, "a"), (3, "b")]);
        for text in ["1", "2", "3"] {
            hall.add("a", text);
            hall.add("b", text);
        }
        assert!(!hall.run(ALL));
        assert_eq!(
            (hall.heard(1), hall.heard(2), hall.heard(3)),
            ("123", "123", "123")
        );
        assert_eq!(hall.writes, 3);
        assert_eq!(hall.flush.pending_bytes, 0);
    }

    #[test]
    fn topics_with_a_common_member_keep_their_order() {
        let mut hall = Hall::with(&[(1, "a"), (1, "b"), (2, "a"), (3, "b")]);
        for (topic, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
            hall.add(topic, text);
        }
        hall.run(ALL);
        assert_eq!(hall.heard(1), "1234");
        assert_eq!((hall.heard(2), hall.heard(3)), ("13", "24"));
    }

    #[test]
    fn a_cut_walk_goes_on_and_does_not_hold_up_small_topics() {
        let mut hall = Hall::default();
        (0..100).for_each(|member| hall.subscribe(member, "large"));
        hall.subscribe(500, "small");
        hall.subscribe(99, "small");
        hall.add("large", "L");
        hall.add("small", "s");
        let slice = Budget {
            writes: 32,
            bytes: usize::MAX,
        };
        assert!(hall.run(slice));
        let finished = Finished {
            since: SINCE,
            events: 1,
        };
        assert_eq!(hall.flush.poll_finished(), Some(finished));
        assert_eq!(hall.flush.poll_finished(), None);
        assert_eq!(hall.heard(500), "s", "left in its own turn");
        assert_eq!(hall.heard(99), "Ls", "had what it was owed first");
        assert_eq!(hall.heard(98), "");
        while hall.run(slice) {}
        assert!((0..99).all(|member| hall.heard(member) == "L"));
        assert_eq!(hall.heard(99), "Ls");
        assert_eq!(hall.writes, 102);
    }

    #[test]
    fn events_gather_behind_a_cut_walk() {
        let mut hall = Hall::default();
        (0..40).for_each(|member| hall.subscribe(member, "t"));
        let slice = Budget {
            writes: 10,
            bytes: usize::MAX,
        };
        hall.add("t", "1");
        hall.run(slice);
        for text in ["2", "3"] {
            hall.add("t", text);
            hall.run(slice);
        }
        while hall.run(slice) {}
        assert!((0..40).all(|member| hall.heard(member) == "123"));
        assert!(hall.writes <= 40 + 40 + 40);
    }

    #[test]
    fn who_comes_while_a_batch_waits_hears_only_what_follows() {
        let mut hall = Hall::default();
        (0..40).for_each(|member| hall.subscribe(member, "t"));
        let slice = Budget {
            writes: 10,
            bytes: usize::MAX,
        };
        hall.add("t", "1");
        hall.run(slice);
        hall.add("t", "2");
        hall.subscribe(100, "t");
        hall.add("t", "3");
        while hall.run(slice) {}
        assert_eq!(hall.heard(39), "123");
        assert_eq!(hall.heard(100), "3");
    }

    #[test]
    fn a_topic_that_ends_takes_its_batches_along() {
        let mut hall = Hall::with(&[(1, "a"), (2, "b")]);
        hall.add("a", "1");
        hall.add("b", "2");
        let own = hall.own.remove(&1).expect("subscribed");
        let (topics, flush) = (&mut hall.topics, &mut hall.flush);
        topics.leave_all(1, own, |id, _| flush.note_gone(id));
        hall.subscribe(3, "c");
        hall.run(ALL);
        assert_eq!((hall.heard(1), hall.heard(2), hall.heard(3)), ("", "2", ""));
        assert_eq!(hall.flush.pending_bytes, 0);
    }

    #[test]
    fn a_big_event_has_a_batch_of_its_own_at_its_exact_size() {
        let mut hall = Hall::with(&[(1, "t")]);
        let big = "B".repeat(limits::BIG_EVENT_BYTES);
        hall.add("t", "a");
        hall.add("t", &big);
        hall.add("t", "z");
        assert_eq!(hall.flush.walks.len(), 3);
        assert_eq!(hall.flush.walks[1].batch.capacity(), big.len());
        hall.run(ALL);
        assert_eq!(hall.heard(1), format!("a{big}z"));
    }
}
