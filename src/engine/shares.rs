//! The shares of one outbox, in the order in which they leave. Events of some can be dropped before they do.
//!
//! Shares have numbers that rise from the front to the back. So the oldest event that may be dropped, and the event of a topic
//! that a newer one replaces, are known without a search. A share whose last event is dropped leaves its place empty, and the
//! numbers of the others stay. When half of the places are empty, they are closed up.
//!
//! Where the first event of a topic was dropped, a place is kept for a notice: the client has to hear of the loss before it
//! hears of anything later, or it would take itself for up to date. While that notice waits, it stands for further losses of
//! the topic too.
//!
//! Never here: bounds (`outbox`), and what a notice says (`gaps`).

use std::collections::{HashMap, VecDeque};

use super::audiences::AudienceHash;
use super::batch::{Held, LossMark, SHARE_BYTES, Share};
use super::names::TopicId;

/// In places that may be empty before they are closed up.
const EMPTY_MAX: usize = 16;

/// The number of the first share of an outbox. Shares are also put in before it.
const FIRST: u64 = 1 << 32;

/// The notice that events of a topic were dropped.
#[derive(Debug)]
struct LossNotice {
    topic: TopicId,
    /// `None` until it is written.
    share: Option<Share>,
}

/// A notice, and the share that leaves behind it. Each of them may be missing.
#[derive(Debug, Default)]
struct SharePlace {
    notice: Option<Box<LossNotice>>,
    share: Option<Share>,
}

const _: () = assert!(size_of::<SharePlace>() == SHARE_BYTES);

impl SharePlace {
    fn is_empty(&self) -> bool {
        self.notice.is_none() && self.share.is_none()
    }

    /// What leaves from here, in its order; `None` for a notice that is not written yet.
    fn parts(&self) -> impl Iterator<Item = Option<&Share>> {
        let notice = self.notice.iter().map(|notice| notice.share.as_ref());
        notice.chain(self.share.iter().map(Some))
    }
}

/// Events of one topic that were dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Loss {
    /// The mark that they had.
    pub mark: LossMark,
    /// How many they are.
    pub events: usize,
    /// In bytes.
    pub bytes: usize,
}

/// What is known of the places, by their numbers.
#[derive(Debug, Default)]
struct Index {
    /// The places of shares that have a mark, or had one. They rise.
    marked: VecDeque<u64>,
    /// The place of the topic's one event that waits and that a newer one replaces.
    replaced: HashMap<TopicId, u64, AudienceHash>,
    /// The place of the topic's notice.
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
    index: Option<Box<Index>>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            first: FIRST,
            index: None,
        }
    }
}

impl Shares {
    /// Returns true when there is none, and no notice is to come.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Share> {
        self.places.iter().flat_map(SharePlace::parts).flatten()
    }

    /// Those that may leave now, the first one first: no share overtakes a notice that is to come.
    pub fn ready(&self) -> impl Iterator<Item = &Share> {
        let parts = self.places.iter().flat_map(SharePlace::parts);
        parts.map_while(|part| part)
    }

    /// The first one; `None` when a notice is to come before all.
    pub fn front_mut(&mut self) -> Option<&mut Share> {
        let place = self.places.front_mut()?;
        match &mut place.notice {
            Some(notice) => notice.share.as_mut(),
            None => place.share.as_mut(),
        }
    }

    /// The number of the last place, which no other has.
    pub fn last_number(&self) -> u64 {
        (self.first + self.places.len() as u64).saturating_sub(1)
    }

    /// Returns true when everything in the place with this number has left.
    pub fn has_left(&self, number: u64) -> bool {
        number < self.first
    }

    /// Adds a share behind all others.
    pub fn push_back(&mut self, share: Share) {
        self.push_place(SharePlace {
            notice: None,
            share: Some(share),
        });
    }

    /// Adds the same, behind events of its topic that were dropped.
    pub fn push_behind_loss(&mut self, share: Share, topic: TopicId) {
        self.push_back(share);
        self.note_loss(self.places.len() - 1, topic);
    }

    fn push_place(&mut self, place: SharePlace) {
        let topic = place.notice.as_ref().map(|notice| notice.topic);
        let mark = place.share.as_ref().and_then(|share| share.mark);
        self.places.push_back(place);
        let number = self.last_number();
        if let Some(topic) = topic {
            self.index().notices.insert(topic, number);
        }
        if let Some(mark) = mark {
            self.index().marked.push_back(number);
            if mark.is_replaced {
                self.index().replaced.insert(mark.topic, number);
            }
        }
    }

    fn index(&mut self) -> &mut Index {
        self.index.get_or_insert_default()
    }

    /// Puts a share before all others, which cannot be dropped.
    pub fn push_front(&mut self, share: Share) {
        debug_assert_eq!(share.mark, None);
        self.places.push_front(SharePlace {
            notice: None,
            share: Some(share),
        });
        self.first -= 1;
    }

    /// Takes the first one out.
    pub fn pop_front(&mut self) -> Option<Share> {
        let place = self.places.front_mut()?;
        let share = match &mut place.notice {
            Some(notice) => {
                let share = notice.share.take()?;
                let topic = notice.topic;
                place.notice = None;
                self.index().notices.remove(&topic);
                share
            }
            None => {
                let share = place.share.take()?;
                self.forget_replaced(share.mark);
                share
            }
        };
        if self.places.front().is_some_and(SharePlace::is_empty) {
            self.places.pop_front();
            self.first += 1;
        }
        self.skip_empty();
        Some(share)
    }

    /// A share with this mark does not wait any more.
    fn forget_replaced(&mut self, mark: Option<LossMark>) {
        if let Some(mark) = mark.filter(|mark| mark.is_replaced) {
            self.index().replaced.remove(&mark.topic);
        }
    }

    fn skip_empty(&mut self) {
        while self.places.front().is_some_and(SharePlace::is_empty) {
            self.places.pop_front();
            self.first += 1;
            self.index().empty -= 1;
        }
        let first = self.first;
        if self.places.is_empty() {
            self.index = None;
        } else if let Some(index) = &mut self.index {
            while index.marked.front().is_some_and(|&number| number < first) {
                index.marked.pop_front();
            }
        }
    }

    /// Gives up all but the first one.
    pub fn keep_front(&mut self, held: &mut Held) {
        let front = self.pop_front();
        self.iter().for_each(|share| held.release(&share.batch));
        *self = Self::default();
        front.into_iter().for_each(|front| self.push_back(front));
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
            let mark = front.mark.take();
            self.forget_replaced(mark);
            return;
        }
        let begun = Share {
            end,
            mark: None,
            ..front.clone()
        };
        front.start = end;
        held.take(&begun.batch);
        self.push_front(begun);
    }

    /// Drops events of the oldest share with a mark until `bytes` are gone, or all of its events. `None` when there is no
    /// such share. A frame that has begun to leave must be a share of its own.
    pub fn drop_oldest(&mut self, bytes: usize, held: &mut Held) -> Option<Loss> {
        loop {
            let number = *self.index.as_ref()?.marked.front()?;
            let place = self.place(number);
            if let Some(loss) = place.and_then(|place| self.drop_events(place, bytes, held)) {
                return Some(loss);
            }
            self.index().marked.pop_front();
        }
    }

    /// Drops the event of a topic that waits and is replaced. `None` when there is none. What has begun to leave is as in
    /// [`Shares::drop_oldest`].
    pub fn drop_replaced(&mut self, topic: TopicId, held: &mut Held) -> Option<Loss> {
        let number = *self.index.as_ref()?.replaced.get(&topic)?;
        self.drop_events(self.place(number)?, usize::MAX, held)
    }

    /// Drops events of the share in a place until `bytes` are gone, or all of its events. `None` when it has no mark.
    fn drop_events(&mut self, place: usize, bytes: usize, held: &mut Held) -> Option<Loss> {
        let share = self.places[place].share.as_mut()?;
        let mark = share.mark?;
        let start = share.start;
        let enough = start.saturating_add(bytes).min(share.end);
        share.start = share.batch.first_end(enough);
        let loss = Loss {
            mark,
            events: share.batch.frames_between(start, share.start),
            bytes: share.start - start,
        };
        if share.start == share.end {
            held.release(&share.batch);
            self.places[place].share = None;
            self.forget_replaced(Some(mark));
        }
        self.note_loss(place, mark.topic);
        Some(loss)
    }

    /// Events of a topic were dropped here: a notice is to come, unless one waits already.
    fn note_loss(&mut self, place: usize, topic: TopicId) {
        if self.notice(topic).is_none() {
            let notice = LossNotice { topic, share: None };
            self.places[place].notice = Some(Box::new(notice));
            let number = self.first + place as u64;
            self.index().notices.insert(topic, number);
        } else {
            self.note_emptied(place);
        }
    }

    /// Something was taken out of a place, perhaps all of it.
    fn note_emptied(&mut self, place: usize) {
        if self.places[place].is_empty() {
            self.index().empty += 1;
            self.skip_empty();
        }
    }

    /// The place of a topic's notice, and the notice.
    fn notice(&self, topic: TopicId) -> Option<(usize, &LossNotice)> {
        let number = *self.index.as_ref()?.notices.get(&topic)?;
        let place = self.place(number)?;
        Some((place, self.places[place].notice.as_deref()?))
    }

    /// Returns true when a topic's notice is to come.
    pub fn awaits_notice(&self, topic: TopicId) -> bool {
        let notice = self.notice(topic);
        notice.is_some_and(|(_, notice)| notice.share.is_none())
    }

    /// Puts a topic's notice into its place, or gives the place up when there is no notice. It must be awaited.
    pub fn fill_notice(&mut self, topic: TopicId, notice: Option<Share>) {
        let Some((place, _)) = self.notice(topic) else {
            return;
        };
        if notice.is_some() {
            self.places[place].notice = Some(Box::new(LossNotice {
                topic,
                share: notice,
            }));
            return;
        }
        self.places[place].notice = None;
        self.index().notices.remove(&topic);
        self.note_emptied(place);
    }

    /// Closes up when half of the places are empty. Returns by how many places the share with the number `of` has moved
    /// towards the front.
    pub fn close_up(&mut self, of: u64) -> u64 {
        let empty = self.index.as_ref().map_or(0, |index| index.empty);
        if empty <= EMPTY_MAX || empty * 2 < self.places.len() {
            return 0;
        }
        self.index = None;
        let mut moved = 0;
        for (old, place) in (self.first..).zip(std::mem::take(&mut self.places)) {
            match place.is_empty() {
                true => moved += u64::from(old < of),
                false => self.push_place(place),
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
        fn share(&mut self, texts: &[&str], mark: Option<LossMark>) -> Share {
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
                mark,
            }
        }

        fn push(&mut self, texts: &[&str], mark: Option<LossMark>) {
            let share = self.share(texts, mark);
            self.shares.push_back(share);
        }

        /// Events of one topic; its name is their first letter.
        fn events(&mut self, texts: &[&str], is_replaced: bool) {
            let name = texts[0].chars().next().expect("a letter");
            let mark = LossMark {
                topic: topic(name),
                is_replaced,
            };
            self.push(texts, Some(mark));
        }

        fn event(&mut self, text: &str, is_replaced: bool) {
            self.events(&[text], is_replaced);
        }

        /// How many bytes of the oldest event were dropped.
        fn drop_oldest(&mut self) -> Option<usize> {
            let loss = self.shares.drop_oldest(1, &mut self.held);
            loss.map(|loss| loss.bytes)
        }

        fn drop_replaced(&mut self, name: char) -> Option<usize> {
            let loss = self.shares.drop_replaced(topic(name), &mut self.held);
            loss.map(|loss| loss.bytes)
        }

        /// Puts a topic's notice into the place that waits for it. Returns false when none does.
        fn tell(&mut self, name: char) -> bool {
            let topic = topic(name);
            let is_due = self.shares.awaits_notice(topic);
            if is_due {
                let share = self.share(&[&format!("!{name}")], None);
                self.shares.fill_notice(topic, Some(share));
            }
            is_due
        }

        fn has_notice(&self, name: char) -> bool {
            let notice = self.shares.notice(topic(name));
            notice.is_some_and(|(_, notice)| notice.share.is_some())
        }

        /// The texts in the order in which they leave, `?` for a notice that is not there yet.
        fn texts(&self) -> String {
            let parts = self.shares.places.iter().flat_map(SharePlace::parts);
            let texts = parts.map(|part| match part {
                Some(share) => {
                    let bytes = &share.batch.bytes()[share.start..share.end];
                    String::from_utf8_lossy(bytes).into_owned()
                }
                None => "?".to_owned(),
            });
            texts.collect::<Vec<_>>().join(" ")
        }

        /// Lets all of them leave.
        fn leave(mut self) {
            while let Some(share) = self.shares.pop_front() {
                self.held.release(&share.batch);
            }
            assert!(self.shares.is_empty() && self.shares.index.is_none());
            assert_eq!(self.held.bytes(), 0);
        }
    }

    #[test]
    fn the_first_loss_of_a_topic_leaves_its_place_for_a_notice_and_later_ones_leave_none() {
        let mut world = World::default();
        world.push(&["x"], None);
        for event in ["a1", "b1", "a2", "b2", "a3"] {
            world.event(event, false);
        }
        assert_eq!(
            (world.drop_oldest(), world.texts()),
            (Some(2), "x ? b1 a2 b2 a3".to_owned())
        );
        assert!(world.tell('a') && !world.tell('a') && !world.tell('b'));
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
        assert!(world.shares.awaits_notice(topic('a')));
        world.shares.fill_notice(topic('a'), None);
        assert_eq!(world.texts(), "a2");
        world.drop_oldest();
        assert!(!world.shares.is_empty());
        world.shares.fill_notice(topic('a'), None);
        assert!(world.shares.is_empty());
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
        let pong = world.share(&["pong"], None);
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
                false => world.push(texts, None),
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
        world.push(&["x"], None);
        for n in 0..40 {
            world.event(&format!("a{n}"), false);
            world.event(&format!("b{n}"), n == 39);
        }
        world.push(&["answer"], None);
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
            let places = &world.shares.places;
            let empty = places.iter().filter(|place| place.is_empty()).count();
            assert!(empty <= EMPTY_MAX.max(places.len() / 2));
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

    #[test]
    fn events_of_one_share_are_dropped_from_its_front_and_counted() {
        let mut world = World::default();
        world.events(&["a1", "a2", "a3", "a4"], false);
        world.event("b1", false);
        let loss = |events, bytes| {
            let mark = LossMark {
                topic: topic('a'),
                is_replaced: false,
            };
            Some(Loss {
                mark,
                events,
                bytes,
            })
        };
        assert_eq!(world.shares.drop_oldest(3, &mut world.held), loss(2, 4));
        assert_eq!(world.texts(), "? a3a4 b1");
        world.tell('a');
        assert_eq!(world.shares.drop_oldest(100, &mut world.held), loss(2, 4));
        assert_eq!(world.texts(), "!a b1");
        world.leave();
    }

    #[test]
    fn the_newest_event_of_several_waits_behind_one_notice() {
        let mut world = World::default();
        world.event("a1", true);
        world.drop_replaced('a');
        let mark = LossMark {
            topic: topic('a'),
            is_replaced: true,
        };
        let newest = world.share(&["a3"], Some(mark));
        world.shares.push_behind_loss(newest, mark.topic);
        assert_eq!(world.texts(), "? a3");
        world.tell('a');
        let mark = LossMark {
            topic: topic('b'),
            is_replaced: true,
        };
        let newest = world.share(&["b2"], Some(mark));
        world.shares.push_behind_loss(newest, mark.topic);
        assert_eq!(world.texts(), "!a a3 ? b2");
        world.tell('b');
        assert_eq!(world.texts(), "!a a3 !b b2");
        world.leave();
    }

    #[test]
    fn what_has_left_is_not_remembered_while_others_wait() {
        let mut world = World::default();
        for n in 0..100_u8 {
            let name = char::from(b'!' + n % 90);
            world.event(&format!("{name}1"), true);
            world.drop_replaced(name);
            world.tell(name);
            world.event(&format!("{name}2"), n % 2 == 0);
            if n > 0 {
                for _ in 0..2 {
                    let share = world.shares.pop_front().expect("an earlier one");
                    world.held.release(&share.batch);
                }
            }
            let index = world.shares.index.as_deref().expect("marks");
            let known = index.marked.len() + index.replaced.len() + index.notices.len();
            assert!(known <= 4, "{known} after {n}");
        }
        world.leave();
    }
}
