//! The shares of one outbox, in the order in which they leave, of which some may be dropped before they do.
//!
//! A share that may be dropped is one event, and has a mark. Which of these is the oldest, and where the event of a topic
//! stands that a newer one replaces, is known without a search: shares have numbers that rise from the front to the back. A
//! share that is dropped leaves its place empty, so the numbers of the others stay. When half of the places are empty, they
//! are closed up.
//!
//! The first event of a topic that is dropped leaves its place for a notice: the client has to hear of the loss before it
//! hears of anything later, or it would take itself for up to date. While that notice waits, it stands for further losses
//! of the topic too.
//!
//! Never here: bounds (`outbox`), and what a notice says (`gaps`).

use std::collections::{HashMap, VecDeque};

use super::audiences::AudienceHash;
use super::batch::{Held, LossMark, Share, ShareKind};
use super::names::TopicId;

/// In places that may be empty before they are closed up.
const EMPTY_MAX: usize = 16;

/// Where the first share of an outbox stands. Shares are also put in before it.
const FIRST: u64 = 1 << 32;

/// What stands in a place.
#[derive(Debug)]
enum SharePlace {
    Share(Share),
    /// A notice that an event of this topic was dropped is to come here.
    Lost(TopicId),
    Empty,
}

/// What is known of the shares that may be dropped. A number that is kept here may be another share's by now.
#[derive(Debug, Default)]
struct Marked {
    /// The numbers of shares that have a mark, or had one. They rise.
    numbers: VecDeque<u64>,
    /// The number of the share with the topic's one event that a newer one replaces.
    replaced: HashMap<TopicId, u64, AudienceHash>,
    /// The number of the topic's notice of a loss, or of the place for it.
    notices: HashMap<TopicId, u64, AudienceHash>,
    /// How many places are empty.
    empty: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Shares {
    /// The first place is never empty.
    places: VecDeque<SharePlace>,
    /// The number of the first place.
    first: u64,
    /// `None` while no share has had a mark.
    marked: Option<Box<Marked>>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            first: FIRST,
            marked: None,
        }
    }
}

impl Shares {
    /// Returns true when there is none, and no place for a notice.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Share> {
        self.places.iter().filter_map(|place| match place {
            SharePlace::Share(share) => Some(share),
            SharePlace::Lost(_) | SharePlace::Empty => None,
        })
    }

    /// Those that may leave now, the first one first: no share overtakes a notice that is to come.
    pub fn ready(&self) -> impl Iterator<Item = &Share> {
        let until = self
            .places
            .iter()
            .take_while(|place| !matches!(place, SharePlace::Lost(_)));
        until.filter_map(|place| match place {
            SharePlace::Share(share) => Some(share),
            SharePlace::Lost(_) | SharePlace::Empty => None,
        })
    }

    /// The first one; `None` when a notice is to come before all.
    pub fn front_mut(&mut self) -> Option<&mut Share> {
        match self.places.front_mut()? {
            SharePlace::Share(share) => Some(share),
            SharePlace::Lost(_) | SharePlace::Empty => None,
        }
    }

    /// The number of the last place, which no other has.
    pub fn last_number(&self) -> u64 {
        (self.first + self.places.len() as u64).saturating_sub(1)
    }

    /// Returns true when the share with this number has left.
    pub fn has_left(&self, number: u64) -> bool {
        number < self.first
    }

    /// Adds a share behind all others. One with a mark must be one event.
    pub fn push_back(&mut self, share: Share) {
        self.push_place(SharePlace::Share(share));
    }

    fn push_place(&mut self, place: SharePlace) {
        let kind = match &place {
            SharePlace::Share(share) => share.kind,
            SharePlace::Lost(topic) => ShareKind::Notice(*topic),
            SharePlace::Empty => ShareKind::Kept,
        };
        self.places.push_back(place);
        if kind == ShareKind::Kept {
            return;
        }
        let number = self.last_number();
        let marked = self.marked.get_or_insert_default();
        match kind {
            ShareKind::Kept => {}
            ShareKind::Notice(topic) => drop(marked.notices.insert(topic, number)),
            ShareKind::Marked(mark) => {
                marked.numbers.push_back(number);
                if mark.is_replaced {
                    marked.replaced.insert(mark.topic, number);
                }
            }
        }
    }

    /// Puts a share before all others, which cannot be dropped.
    pub fn push_front(&mut self, share: Share) {
        debug_assert_eq!(share.kind, ShareKind::Kept);
        self.places.push_front(SharePlace::Share(share));
        self.first -= 1;
    }

    /// Takes the first one out.
    pub fn pop_front(&mut self) -> Option<Share> {
        self.front_mut()?;
        let Some(SharePlace::Share(share)) = self.places.pop_front() else {
            return None;
        };
        self.first += 1;
        self.skip_empty();
        Some(share)
    }

    fn skip_empty(&mut self) {
        while let Some(SharePlace::Empty) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
            if let Some(marked) = &mut self.marked {
                marked.empty -= 1;
            }
        }
        if self.places.is_empty() {
            self.marked = None;
        }
    }

    /// Takes out all but the first one.
    pub fn drain_rest(&mut self) -> impl Iterator<Item = Share> {
        self.marked = None;
        let keep = self.places.len().min(1);
        self.places.drain(keep..).filter_map(|place| match place {
            SharePlace::Share(share) => Some(share),
            SharePlace::Lost(_) | SharePlace::Empty => None,
        })
    }

    /// The place with this number; `None` when it has left.
    fn place(&self, number: u64) -> Option<usize> {
        let place = number.checked_sub(self.first)? as usize;
        (place < self.places.len()).then_some(place)
    }

    /// Makes what is left of a frame that has begun to leave a share of its own, which stays.
    pub fn part_begun_frame(&mut self, held: &mut Held) {
        let Some(front) = self.front_mut() else {
            return;
        };
        let end = front.batch.frame_end(front.start).min(front.end);
        if end == front.start {
            return;
        }
        if end == front.end {
            front.kind = ShareKind::Kept;
            return;
        }
        let begun = Share {
            end,
            kind: ShareKind::Kept,
            ..front.clone()
        };
        front.start = end;
        held.take(&begun.batch);
        self.push_front(begun);
    }

    /// Drops the oldest event that may be dropped. Returns its mark and its bytes; `None` when there is none. A frame that
    /// has begun to leave must be a share of its own.
    pub fn drop_oldest(&mut self, held: &mut Held) -> Option<(LossMark, usize)> {
        loop {
            let number = self.marked.as_mut()?.numbers.pop_front()?;
            if let Some(place) = self.place(number)
                && let Some(dropped) = self.drop_marked(place, held)
            {
                return Some(dropped);
            }
        }
    }

    /// Drops the event of a topic that waits and is replaced, as [`Shares::drop_oldest`] does.
    pub fn drop_replaced(&mut self, topic: TopicId, held: &mut Held) -> Option<(LossMark, usize)> {
        let number = self.marked.as_mut()?.replaced.remove(&topic)?;
        let place = self.place(number)?;
        let is_meant = matches!(&self.places[place], SharePlace::Share(share)
            if matches!(share.kind, ShareKind::Marked(mark) if mark.topic == topic));
        is_meant.then(|| self.drop_marked(place, held))?
    }

    /// Drops the share in a place, if it has a mark.
    fn drop_marked(&mut self, place: usize, held: &mut Held) -> Option<(LossMark, usize)> {
        let SharePlace::Share(share) = &self.places[place] else {
            return None;
        };
        let ShareKind::Marked(mark) = share.kind else {
            return None;
        };
        let bytes = share.end - share.start;
        held.release(&share.batch);
        let number = self.first + place as u64;
        let has_notice = self.has_notice(mark.topic);
        let marked = self.marked.get_or_insert_default();
        if has_notice {
            self.places[place] = SharePlace::Empty;
            marked.empty += 1;
        } else {
            self.places[place] = SharePlace::Lost(mark.topic);
            marked.notices.insert(mark.topic, number);
        }
        self.skip_empty();
        Some((mark, bytes))
    }

    /// Returns true while a notice waits that events of this topic were lost, or a place for it.
    fn has_notice(&self, topic: TopicId) -> bool {
        let marked = self.marked.as_ref();
        let number = marked.and_then(|marked| marked.notices.get(&topic));
        let place = number.and_then(|&number| self.place(number));
        place.is_some_and(|place| match &self.places[place] {
            SharePlace::Share(share) => share.kind == ShareKind::Notice(topic),
            SharePlace::Lost(other) => *other == topic,
            SharePlace::Empty => false,
        })
    }

    /// Returns true when a place is kept for a topic's notice.
    pub fn awaits_notice(&self, topic: TopicId) -> bool {
        self.place_of_notice(topic).is_some()
    }

    fn place_of_notice(&self, topic: TopicId) -> Option<usize> {
        let number = *self.marked.as_ref()?.notices.get(&topic)?;
        let place = self.place(number)?;
        let is_meant = matches!(&self.places[place], SharePlace::Lost(other) if *other == topic);
        is_meant.then_some(place)
    }

    /// Fills the place for a topic's notice, or gives it up when there is no notice. Answers false when there is no such
    /// place.
    pub fn fill_notice(&mut self, topic: TopicId, notice: Option<Share>) -> bool {
        let Some(place) = self.place_of_notice(topic) else {
            return false;
        };
        match notice {
            Some(share) => self.places[place] = SharePlace::Share(share),
            None => {
                self.places[place] = SharePlace::Empty;
                if let Some(marked) = &mut self.marked {
                    marked.empty += 1;
                }
                self.skip_empty();
            }
        }
        true
    }

    /// Closes up when half of the places are empty. Returns by how many places the share with the number `of` has moved
    /// towards the front.
    pub fn close_up(&mut self, of: u64) -> u64 {
        let Some(marked) = &mut self.marked else {
            return 0;
        };
        if marked.empty <= EMPTY_MAX || marked.empty * 2 < self.places.len() {
            return 0;
        }
        **marked = Marked::default();
        let mut moved = 0;
        for (old, place) in (self.first..).zip(std::mem::take(&mut self.places)) {
            match place {
                SharePlace::Empty => moved += u64::from(old < of),
                place => self.push_place(place),
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::batch::Batch;
    use super::*;

    /// Shares, and what is held for them.
    #[derive(Default)]
    struct World {
        shares: Shares,
        held: Held,
    }

    fn topic(name: char) -> TopicId {
        TopicId::of_place(name.into())
    }

    impl World {
        fn share(&mut self, texts: &[&str], kind: ShareKind) -> Share {
            let mut batch = Batch::default();
            for text in texts {
                batch.push_frame(|out| out.extend(text.bytes()));
            }
            let batch = Rc::new(batch);
            self.held.take(&batch);
            let end = batch.bytes().len();
            Share {
                batch,
                start: 0,
                end,
                kind,
            }
        }

        fn push(&mut self, texts: &[&str], kind: ShareKind) {
            let share = self.share(texts, kind);
            self.shares.push_back(share);
        }

        /// An event; its first letter is its topic.
        fn event(&mut self, text: &str, is_replaced: bool) {
            let name = text.chars().next().expect("a letter");
            let mark = LossMark {
                topic: topic(name),
                is_replaced,
            };
            self.push(&[text], ShareKind::Marked(mark));
        }

        fn drop_oldest(&mut self) -> Option<usize> {
            let dropped = self.shares.drop_oldest(&mut self.held);
            dropped.map(|(_, bytes)| bytes)
        }

        fn drop_replaced(&mut self, name: char) -> Option<usize> {
            let dropped = self.shares.drop_replaced(topic(name), &mut self.held);
            dropped.map(|(_, bytes)| bytes)
        }

        /// Fills the place for a topic's notice.
        fn tell(&mut self, name: char) -> bool {
            let text = format!("!{name}");
            let share = self.share(&[&text], ShareKind::Notice(topic(name)));
            self.shares.fill_notice(topic(name), Some(share))
        }

        /// Returns true when a place waits for a topic's notice, which it does not get.
        fn tell_again(&mut self, name: char) -> bool {
            let share = self.share(&["?"], ShareKind::Notice(topic(name)));
            self.held.release(&share.batch);
            self.shares.fill_notice(topic(name), Some(share))
        }

        fn has_notice(&self, name: char) -> bool {
            self.shares.has_notice(topic(name))
        }

        /// The texts in the order in which they leave, `?` for a notice that is not there yet.
        fn texts(&self) -> String {
            let texts = self.shares.places.iter().filter_map(|place| match place {
                SharePlace::Share(share) => {
                    let bytes = &share.batch.bytes()[share.start..share.end];
                    Some(String::from_utf8_lossy(bytes).into_owned())
                }
                SharePlace::Lost(_) => Some("?".to_owned()),
                SharePlace::Empty => None,
            });
            texts.collect::<Vec<_>>().join(" ")
        }

        /// Lets all of them leave.
        fn leave(mut self) {
            while let Some(share) = self.shares.pop_front() {
                self.held.release(&share.batch);
            }
            assert!(self.shares.is_empty() && self.shares.marked.is_none());
            assert_eq!(self.held.bytes(), 0);
        }
    }

    #[test]
    fn the_first_loss_of_a_topic_leaves_its_place_for_a_notice_and_later_ones_leave_none() {
        let mut world = World::default();
        world.push(&["x"], ShareKind::Kept);
        for event in ["a1", "b1", "a2", "b2", "a3"] {
            world.event(event, false);
        }
        assert_eq!(
            (world.drop_oldest(), world.texts()),
            (Some(2), "x ? b1 a2 b2 a3".to_owned())
        );
        assert!(world.tell('a') && !world.tell_again('a') && !world.tell_again('b'));
        assert_eq!(world.texts(), "x !a b1 a2 b2 a3");
        // Another topic has a notice of its own, and what waits for `a` stands for the next loss too.
        world.drop_oldest();
        world.drop_oldest();
        assert_eq!(world.texts(), "x !a ? b2 a3");
        assert!(world.tell('b'));
        // Once it has left, the next loss is told again, in its own place.
        for _ in 0..2 {
            let share = world.shares.pop_front().expect("x, then the notice");
            world.held.release(&share.batch);
        }
        world.drop_oldest();
        world.drop_oldest();
        assert_eq!(world.texts(), "!b ?");
        assert_eq!((world.drop_oldest(), world.tell('a')), (None, true));
        assert_eq!(world.texts(), "!b !a");
        world.leave();
    }

    #[test]
    fn nothing_leaves_before_a_notice_whose_place_comes_first() {
        let mut world = World::default();
        for event in ["a1", "a2"] {
            world.event(event, false);
        }
        world.drop_oldest();
        assert!(world.shares.front_mut().is_none() && world.shares.pop_front().is_none());
        // Where a client takes no notices, its place is given up.
        assert!(world.shares.fill_notice(topic('a'), None));
        assert_eq!(world.texts(), "a2");
        world.drop_oldest();
        assert!(!world.shares.is_empty());
        assert!(world.shares.fill_notice(topic('a'), None) && world.shares.is_empty());
        world.leave();
    }

    #[test]
    fn a_newer_event_replaces_the_one_of_its_own_topic_and_no_other() {
        let mut world = World::default();
        world.event("a1", true);
        world.event("b1", true);
        assert_eq!(
            (world.drop_replaced('c'), world.drop_replaced('a')),
            (None, Some(2))
        );
        assert_eq!(world.drop_replaced('a'), None, "it is gone");
        world.tell('a');
        world.event("a2", true);
        assert_eq!(world.texts(), "!a b1 a2");
        world.drop_replaced('a');
        world.event("a3", true);
        assert_eq!(world.texts(), "!a b1 a3");
        // What has left is not replaced.
        for _ in 0..3 {
            let share = world.shares.pop_front().expect("all three");
            world.held.release(&share.batch);
        }
        // Another share has its number by now.
        let pong = world.share(&["pong"], ShareKind::Kept);
        world.shares.push_front(pong);
        assert_eq!(
            (world.drop_replaced('a'), world.drop_oldest()),
            (None, None)
        );
        world.leave();
    }

    #[test]
    fn a_frame_that_has_begun_to_leave_stays() {
        for (texts, kind) in [(&["abc"][..], true), (&["abc", "de"], false)] {
            let mut world = World::default();
            match kind {
                true => world.event(texts[0], false),
                false => world.push(texts, ShareKind::Kept),
            }
            world.event("f", false);
            world.shares.part_begun_frame(&mut world.held);
            let before = world.shares.places.len();
            assert_eq!(before, 2, "nothing has begun");
            world.shares.front_mut().expect("abc").start = 1;
            world.shares.part_begun_frame(&mut world.held);
            world.shares.part_begun_frame(&mut world.held);
            assert_eq!(world.drop_oldest(), Some(1), "not the one that has begun");
            assert_eq!(world.drop_oldest(), None);
            world.tell('f');
            assert_eq!(world.texts(), if kind { "bc !f" } else { "bc de !f" });
            world.leave();
        }
    }

    #[test]
    fn empty_places_are_closed_up_and_the_order_and_the_notices_stay() {
        let mut world = World::default();
        world.push(&["x"], ShareKind::Kept);
        for n in 0..40 {
            world.event(&format!("a{n}"), false);
            world.event(&format!("b{n}"), true);
        }
        world.push(&["answer"], ShareKind::Kept);
        let answer = world.shares.last_number();
        world.event("c", false);
        // Of each topic the first loss keeps its place.
        let mut moved = 0;
        for n in 0..60 {
            world.drop_oldest();
            if n < 2 {
                assert!(world.tell(['a', 'b'][n]));
            }
            let step = world.shares.close_up(answer - moved);
            moved += step;
            let empty = world
                .shares
                .places
                .iter()
                .filter(|place| matches!(place, SharePlace::Empty));
            assert!(empty.count() <= EMPTY_MAX.max(world.shares.places.len() / 2));
        }
        assert!(moved >= 40, "{moved}");
        let events = (30..40).map(|n| format!("a{n} b{n}"));
        let events = events.collect::<Vec<_>>().join(" ");
        assert_eq!(world.texts(), format!("x !a !b {events} answer c"));
        // What was known of the places is still known.
        assert_eq!(world.drop_replaced('b'), Some(3));
        assert!(world.has_notice('b') && !world.has_notice('c'));
        let events = events.strip_suffix(" b39").expect("the newest one");
        assert_eq!(world.texts(), format!("x !a !b {events} answer c"));
        while !world.texts().starts_with("answer") {
            assert!(!world.shares.has_left(answer - moved));
            let share = world.shares.pop_front().expect("the answer comes");
            world.held.release(&share.batch);
        }
        assert!(!world.shares.has_left(answer - moved));
        let share = world.shares.pop_front().expect("the answer");
        world.held.release(&share.batch);
        assert!(world.shares.has_left(answer - moved));
        world.leave();
    }
}
