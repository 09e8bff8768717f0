//! From events to members: in which order batches leave, and how far a turn gets.
//!
//! The events of one audience gather in one batch, and a *walk* hands the batch to the audience's members
//! in the order of their places, so that memory is read forwards. A walk has a cursor: an audience of a
//! hundred thousand members would keep all others waiting for half a second, so a turn serves a
//! slice of it and the next turn goes on. Events that come meanwhile for the same audience gather in
//! the batch behind it (`lanes`).
//!
//! **Order.** A member receives events in the order in which they were ingested, across topics too. Most
//! members are in one lane only, whose walks stand in that order. A member that is in several lanes
//! at once is served by the walk that reaches it first, with all that any lane owes it, merged into
//! one batch (`merge`); the later walks find its number in `Flush::served` and pass it by. So
//! audiences gather whatever members they have in common, and only those members cost more.
//!
//! A member that subscribes while a batch waits or walks is owed only what is appended afterwards:
//! `Walk::ahead` says from which byte on. Where none of this happens, a walk costs one look at the next place
//! and one call for each member.
//!
//! Never here: sockets and outboxes (a delivery is a call-back), protocols (a frame is written by
//! the caller), clocks (when an event came is the caller's to say, and comes back with its batch).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::audiences::AudienceId;
use super::batch::Batch;
use super::idset::IdSet;
use super::lanes::{Lane, Lanes};
use super::merge::{Claim, Merger};
use super::topics::Topics;
use super::walk::PendingEvent;
use crate::wire::id::EventId;

/// Those who are served: the engine's connections, or those of a test.
pub trait Recipients {
    /// The audiences of `member`; `None` when there is no such member any more.
    fn audiences(&self, member: u32) -> Option<&IdSet>;
    /// Hands `member` the events of `batch` from byte `from` on.
    fn deliver(&mut self, member: u32, batch: &Rc<Batch>, from: usize);
}

/// Batches that have reached all their members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Finished {
    /// When the first event of each came. The others came in the same turn, or while the batch before it was
    /// on its way.
    pub since: Duration,
    /// In events.
    pub events: usize,
}

/// How much one turn may send.
#[derive(Clone, Copy, Debug)]
pub struct WriteBudget {
    /// In writes over all walks.
    pub writes: usize,
    /// In bytes over all walks.
    pub bytes: usize,
}

impl WriteBudget {
    /// The part of it for one of `walks` walks, in writes of `bytes` each. Every walk gets an equal
    /// share of what is left, so that no large one keeps the small ones waiting, and what a small one
    /// leaves is for those behind it.
    fn share(&self, walks: usize, bytes: usize) -> usize {
        let walks = walks.max(1);
        let writes = self.writes / walks;
        writes.min(self.bytes / walks / bytes.max(1)).max(1)
    }

    fn take(&mut self, bytes: usize) {
        self.writes = self.writes.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Hands batches to the members of their audiences.
#[derive(Debug, Default)]
pub struct Flush {
    lanes: Lanes,
    /// Members that were served by several lanes at once: the last run that they had. Empty when no
    /// walk is left. At most one entry a member.
    served: HashMap<u32, u64>,
    merger: Merger,
    /// What the last run has finished.
    finished: Vec<Finished>,
}

impl Flush {
    /// Returns true when every batch has reached all its members.
    pub fn is_done(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Returns true when so much is on its way that no more should be taken in.
    pub fn is_congested(&self) -> bool {
        self.lanes.is_congested()
    }

    /// The id of the oldest event of an audience that has perhaps not reached this member.
    pub fn first_waiting(&self, audience: AudienceId, member: u32) -> Option<EventId> {
        let mut walks = self.lanes.get(audience)?.walks();
        walks.find(|walk| member >= walk.cursor)?.first_id
    }

    /// As [`Lanes::add`].
    pub fn add(
        &mut self,
        audience: AudienceId,
        event: PendingEvent,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.lanes.add(audience, event, encode);
    }

    /// The next of what the last run has finished.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.finished.pop()
    }

    /// `member` has joined `audience` just now: what was ingested before is not for it.
    pub fn note_joined(&mut self, audience: AudienceId, member: u32) {
        self.lanes.note_joined(audience, member);
    }

    /// The last member has left the audience; its id may come to mean another one.
    pub fn note_gone(&mut self, audience: AudienceId) {
        self.lanes.remove(audience);
        self.rest();
    }

    /// Hands out as much as `budget` allows. Returns true while anything is left.
    pub fn run(
        &mut self,
        topics: &Topics,
        mut budget: WriteBudget,
        recipients: &mut impl Recipients,
    ) -> bool {
        self.finished.clear();
        let mut walks_left = self.lanes.walks();
        for _ in 0..self.lanes.in_order() {
            let Some(audience) = self.lanes.take_next() else {
                break;
            };
            while let Some(waiting) = self.lanes.get(audience).map(Lane::waiting) {
                let is_done = self.advance(audience, topics, walks_left, &mut budget, recipients);
                walks_left = walks_left.saturating_sub(1);
                if is_done {
                    self.finish(audience);
                    continue;
                }
                // The walks behind this one wait, and gather on: then the next walk is one larger
                // batch instead of many small ones.
                walks_left = walks_left.saturating_sub(waiting);
                self.lanes.put_back(audience);
                break;
            }
        }
        self.merger.clear();
        self.rest();
        !self.is_done()
    }

    /// Serves its share of members of the front walk of `audience`. Returns true when that was the end of it.
    fn advance(
        &mut self,
        audience: AudienceId,
        topics: &Topics,
        walks: usize,
        budget: &mut WriteBudget,
        recipients: &mut impl Recipients,
    ) -> bool {
        // A lone walk has no member in common with another.
        let is_alone = self.lanes.walks() == 1;
        let Some(lane) = self.lanes.get_mut(audience) else {
            return true;
        };
        lane.front.close();
        let batch = Rc::clone(&lane.front.batch);
        let share = budget.share(walks, batch.bytes().len());
        let mut places = topics.members(audience).iter_from(lane.front.cursor);
        let has_exceptions = !lane.front.ahead.is_empty() || !self.served.is_empty();
        let mut cursor = lane.front.cursor;
        for member in places.by_ref().take(share) {
            cursor = member + 1;
            let is_single = || {
                recipients
                    .audiences(member)
                    .is_some_and(|own| own.len() == 1)
            };
            if !has_exceptions && (is_alone || is_single()) {
                recipients.deliver(member, &batch, 0);
                budget.take(batch.bytes().len());
            } else {
                self.serve(member, audience, budget, recipients);
            }
        }
        if let Some(lane) = self.lanes.get_mut(audience) {
            lane.front.cursor = cursor;
        }
        places.next().is_none()
    }

    /// Serves one member, which the front walk of `audience` has reached, with all that it is owed.
    fn serve(
        &mut self,
        member: u32,
        audience: AudienceId,
        budget: &mut WriteBudget,
        recipients: &mut impl Recipients,
    ) {
        let served = self.served.get(&member).copied().unwrap_or(0);
        let Some(walk) = self.lanes.get(audience).map(|lane| &lane.front) else {
            return;
        };
        let Some(from) = walk.owes(member, served) else {
            return;
        };
        let Some(own) = recipients.audiences(member) else {
            return;
        };
        let lanes = &self.lanes;
        let claims = self.merger.claims();
        let mut note = |audience: AudienceId, lane: &Lane| {
            for walk in lane.walks() {
                if let Some(from) = walk.owes(member, served) {
                    claims.push(Claim {
                        audience,
                        walk: walk.sequence(),
                        from,
                    });
                }
            }
        };
        // By whichever are fewer. The order does not matter, as long as it is the same for all.
        if own.len() <= lanes.len() {
            for id in own.iter().map(AudienceId::of_number) {
                if let Some(lane) = lanes.get(id) {
                    note(id, lane);
                }
            }
        } else {
            let mut common: Vec<_> = lanes
                .iter()
                .filter(|(id, _)| own.contains(id.number()))
                .collect();
            common.sort_unstable_by_key(|&(id, _)| id);
            for (id, lane) in common {
                note(id, lane);
            }
        }
        if claims.iter().all(|claim| claim.audience == audience) {
            // The walks behind this one keep their place.
            recipients.deliver(member, &walk.batch, from);
            budget.take(walk.batch.bytes().len() - from);
            return;
        }
        for (batch, from) in self.merger.merge(lanes) {
            recipients.deliver(member, batch, *from);
            budget.take(batch.bytes().len() - from);
        }
        // The next event is behind what this member has had.
        self.served.insert(member, self.lanes.end_run());
    }

    /// The front walk of `audience` has reached all members.
    fn finish(&mut self, audience: AudienceId) {
        let finished = self.lanes.finish_front(audience);
        let Some((Some(since), events)) = finished else {
            return;
        };
        match self.finished.last_mut() {
            Some(last) if last.since == since => last.events += events,
            _ => self.finished.push(Finished { since, events }),
        }
    }

    /// Forgets who was served by several lanes, once no walk is left that could serve them again.
    fn rest(&mut self) {
        if self.is_done() && !self.served.is_empty() {
            self.served = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Encoding;
    use super::super::topics::Subscribed;
    use super::super::walk::Walk;
    use super::*;
    use crate::limits;

    const SINCE: Duration = Duration::from_secs(7);

    const ALL: WriteBudget = WriteBudget {
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
        /// The batches that were delivered and are kept by whoever has them, and their bytes.
        batches: HashMap<*const Batch, usize>,
        kept: Vec<Rc<Batch>>,
    }

    /// The members of a hall, while a flush serves them.
    struct Crowd<'a> {
        own: &'a HashMap<u32, IdSet>,
        heard: &'a mut HashMap<u32, String>,
        writes: &'a mut usize,
        batches: &'a mut HashMap<*const Batch, usize>,
        kept: &'a mut Vec<Rc<Batch>>,
    }

    impl Recipients for Crowd<'_> {
        fn audiences(&self, member: u32) -> Option<&IdSet> {
            self.own.get(&member)
        }

        fn deliver(&mut self, member: u32, batch: &Rc<Batch>, from: usize) {
            *self.writes += 1;
            let known = self.batches.insert(Rc::as_ptr(batch), batch.bytes().len());
            if known.is_none() {
                self.kept.push(Rc::clone(batch));
            }
            let text = std::str::from_utf8(&batch.bytes()[from..]).expect("text");
            self.heard.entry(member).or_default().push_str(text);
        }
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
            let encoding = Encoding::Wamp1;
            let (audience, subscribed) = self.topics.subscribe(member, own, encoding, topic);
            if subscribed == Subscribed::Joined {
                self.flush.note_joined(audience, member);
            }
        }

        fn audience(&self, topic: &str) -> AudienceId {
            let topic = self.topics.find(topic).expect("it has members");
            AudienceId::new(topic, Encoding::Wamp1)
        }

        fn add(&mut self, topic: &str, text: &str) {
            let audience = self.audience(topic);
            let event = PendingEvent {
                id: None,
                since: Some(SINCE),
                frame_bytes: text.len(),
                mark: None,
            };
            self.flush
                .add(audience, event, |out| out.extend(text.bytes()));
        }

        fn run(&mut self, budget: WriteBudget) -> bool {
            let mut crowd = Crowd {
                own: &self.own,
                heard: &mut self.heard,
                writes: &mut self.writes,
                batches: &mut self.batches,
                kept: &mut self.kept,
            };
            self.flush.run(&self.topics, budget, &mut crowd)
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
        assert_eq!(hall.flush.lanes.pending_bytes(), 0);
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

    /// A hundred members of `a`, a hundred of `b`, and member 500 of both.
    fn two_crowds() -> Hall {
        let mut hall = Hall::default();
        (0..100).for_each(|member| hall.subscribe(member, "a"));
        (200..300).for_each(|member| hall.subscribe(member, "b"));
        hall.subscribe(500, "a");
        hall.subscribe(500, "b");
        hall
    }

    #[test]
    fn a_common_member_does_not_keep_topics_from_gathering() {
        let mut hall = two_crowds();
        for n in 0..10 {
            hall.add("a", &n.to_string());
            hall.add("b", &n.to_string());
        }
        assert!(!hall.run(ALL));
        assert_eq!(hall.writes, 201, "one write a member");
        assert_eq!(hall.heard(0), "0123456789");
        assert_eq!(hall.heard(200), "0123456789");
        assert_eq!(hall.heard(500), "00112233445566778899");
        assert!(hall.flush.served.is_empty(), "nothing is remembered");
    }

    #[test]
    fn who_has_the_same_topics_shares_what_was_merged() {
        let mut hall = Hall::default();
        for member in 0..100 {
            hall.subscribe(member, "a");
            hall.subscribe(member, "b");
        }
        for text in ["1", "2", "3"] {
            hall.add("a", text);
            hall.add("b", text);
        }
        hall.run(ALL);
        assert_eq!(hall.writes, 100);
        assert!((0..100).all(|member| hall.heard(member) == "112233"));
        assert_eq!(hall.batches.len(), 1);
    }

    #[test]
    fn what_comes_after_a_merged_batch_follows_it() {
        let mut hall = two_crowds();
        let slice = WriteBudget {
            writes: 30,
            bytes: usize::MAX,
        };
        // The cuts fall at other places in each round.
        for round in 0..40 {
            hall.add("a", &format!("<a{round}>"));
            hall.add("b", &format!("<b{round}>"));
            if round % 3 == 0 {
                hall.add("a", &format!("<A{round}>"));
            }
            hall.run(slice);
        }
        while hall.run(slice) {}
        let mut all = String::new();
        let (mut of_a, mut of_b) = (String::new(), String::new());
        for round in 0..40 {
            let (a, b) = (format!("<a{round}>"), format!("<b{round}>"));
            let second = if round % 3 == 0 {
                format!("<A{round}>")
            } else {
                String::new()
            };
            all.extend([&*a, &*b, &*second]);
            of_a.extend([&*a, &*second]);
            of_b += &b;
        }
        assert!((0..100).all(|member| hall.heard(member) == of_a));
        assert!((200..300).all(|member| hall.heard(member) == of_b));
        assert_eq!(hall.heard(500), all);
        assert_eq!(hall.flush.lanes.pending_bytes(), 0);
    }

    #[test]
    fn a_member_that_leaves_one_of_its_topics_has_nothing_twice() {
        let mut hall = two_crowds();
        hall.add("a", "1");
        hall.add("b", "2");
        // The walk of `a` reaches its last member, which is owed both; the walk of `b` has begun.
        while !hall.heard.contains_key(&500) {
            hall.run(WriteBudget {
                writes: 40,
                bytes: usize::MAX,
            });
        }
        assert_eq!(hall.heard(500), "12");
        hall.add("b", "3");
        let mut own = hall.own.remove(&500).expect("it is there");
        hall.topics.unsubscribe(500, &mut own, Encoding::Wamp1, "a");
        hall.own.insert(500, own);
        while hall.run(ALL) {}
        assert_eq!(hall.heard(500), "123");
        assert_eq!(hall.heard(299), "23");
    }

    #[test]
    fn a_big_event_is_shared_with_a_member_of_several_topics_and_not_copied() {
        let mut hall = two_crowds();
        let big = "B".repeat(limits::BIG_EVENT_BYTES);
        hall.add("b", "1");
        hall.add("a", "2");
        hall.add("b", &big);
        hall.add("a", "3");
        hall.add("b", "4");
        while hall.run(ALL) {}
        assert_eq!(hall.heard(500), format!("12{big}34"));
        assert_eq!(hall.heard(200), format!("1{big}4"));
        let big_batches = hall
            .batches
            .iter()
            .filter(|(_, bytes)| **bytes >= big.len());
        assert_eq!(big_batches.count(), 1);
    }

    #[test]
    fn a_cut_walk_goes_on_and_does_not_hold_up_small_topics() {
        let mut hall = Hall::default();
        (0..100).for_each(|member| hall.subscribe(member, "large"));
        hall.subscribe(500, "small");
        hall.subscribe(99, "small");
        hall.add("large", "L");
        hall.add("small", "s");
        let slice = WriteBudget {
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
        assert_eq!(hall.writes, 101, "member 99 had both in one");
    }

    #[test]
    fn events_gather_behind_a_cut_walk() {
        let mut hall = Hall::default();
        (0..40).for_each(|member| hall.subscribe(member, "t"));
        let slice = WriteBudget {
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
        let slice = WriteBudget {
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
        assert_eq!(hall.flush.lanes.pending_bytes(), 0);
    }

    #[test]
    fn a_big_event_has_a_batch_of_its_own_at_its_exact_size() {
        let mut hall = Hall::with(&[(1, "t")]);
        let big = "B".repeat(limits::BIG_EVENT_BYTES);
        hall.add("t", "a");
        hall.add("t", &big);
        hall.add("t", "z");
        let lane = hall.flush.lanes.get(hall.audience("t"));
        let walks: Vec<&Walk> = lane.expect("it has events").walks().collect();
        assert_eq!(walks.len(), 3);
        assert_eq!(walks[1].batch.capacity(), big.len());
        hall.run(ALL);
        assert_eq!(hall.heard(1), format!("a{big}z"));
    }
}
