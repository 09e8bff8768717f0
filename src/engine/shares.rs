//! The shares of one outbox, in the order in which they leave, of which some may be dropped before they do.
//!
//! A share whose events may be dropped has a mark. Which of these is the oldest, and where the event of a topic stands
//! that a newer one replaces, is known without a search: shares have numbers that rise from the front to the back. A
//! share that is dropped leaves an empty place, so the numbers of the others stay. When half of the places are empty, they
//! are closed up.
//!
//! Never here: bounds (`outbox`), and what clients are told of a loss (`gaps`).

use std::collections::{HashMap, VecDeque};

use super::audiences::AudienceHash;
use super::batch::{Held, LossMark, Share, ShareKind};
use super::names::TopicId;

/// In places that may be empty before they are closed up.
const EMPTY_MAX: usize = 16;

/// Where the first share of an outbox stands. Shares are also put in before it.
const FIRST: u64 = 1 << 32;

/// What is known of the shares that may be dropped.
#[derive(Debug, Default)]
struct Marked {
    /// The numbers of shares that have a mark, or had one. They rise; some may be empty, gone or another's by now.
    numbers: VecDeque<u64>,
    /// The number of the share with the topic's one event that a newer one replaces; the share may be gone, and the
    /// number another's.
    replaced: HashMap<TopicId, u64, AudienceHash>,
    /// The same of the topic's notice of a loss.
    notices: HashMap<TopicId, u64, AudienceHash>,
    /// How many places are empty.
    empty: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Shares {
    /// The first place is never empty. The last one may be.
    places: VecDeque<Option<Share>>,
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
    /// Returns true when there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Share> {
        self.places.iter().flatten()
    }

    /// The first one.
    pub fn front_mut(&mut self) -> Option<&mut Share> {
        self.places.front_mut()?.as_mut()
    }

    /// The number that no other share has, of the last place.
    pub fn last_number(&self) -> u64 {
        (self.first + self.places.len() as u64).saturating_sub(1)
    }

    /// Returns true when the share with this number has left.
    pub fn has_left(&self, number: u64) -> bool {
        number < self.first
    }

    /// Adds a share behind all others.
    pub fn push_back(&mut self, share: Share) {
        let kind = share.kind;
        self.places.push_back(Some(share));
        self.note(self.last_number(), kind);
    }

    fn note(&mut self, number: u64, kind: ShareKind) {
        if kind == ShareKind::Kept {
            return;
        }
        let marked = self.marked.get_or_insert_default();
        match kind {
            ShareKind::Kept => {}
            ShareKind::Notice(topic) => {
                marked.notices.insert(topic, number);
            }
            ShareKind::Marked(mark) => {
                marked.numbers.push_back(number);
                if mark.is_replaced {
                    marked.replaced.insert(mark.topic, number);
                }
            }
        }
    }

    /// Puts a share before all others. It must not be one that may be dropped.
    pub fn push_front(&mut self, share: Share) {
        let kind = share.kind;
        self.places.push_front(Some(share));
        self.first -= 1;
        self.note(self.first, kind);
    }

    /// Takes the first one out.
    pub fn pop_front(&mut self) -> Option<Share> {
        let share = self.places.pop_front()??;
        self.first += 1;
        self.skip_empty();
        Some(share)
    }

    fn skip_empty(&mut self) {
        while let Some(None) = self.places.front() {
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
        self.places.drain(keep..).flatten()
    }

    /// The share with this number, and its place.
    fn share(&self, number: u64) -> Option<(usize, &Share)> {
        let place = number.checked_sub(self.first)? as usize;
        Some((place, self.places.get(place)?.as_ref()?))
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

    /// Drops the oldest event that may be dropped. Returns its mark and its bytes; `None` when there is none.
    pub fn drop_oldest(&mut self, held: &mut Held) -> Option<(LossMark, usize)> {
        loop {
            let number = *self.marked.as_ref()?.numbers.front()?;
            let (place, mark) = match self.share(number) {
                Some((place, share)) => (place, share.kind),
                None => (0, ShareKind::Kept),
            };
            let ShareKind::Marked(mark) = mark else {
                self.marked.as_mut()?.numbers.pop_front();
                continue;
            };
            let share = self.places[place].as_mut()?;
            let start = share.start;
            share.start = share.batch.next_end(start).min(share.end);
            let bytes = share.start - start;
            if share.start == share.end {
                self.empty(place, held);
            }
            return Some((mark, bytes));
        }
    }

    /// Drops the event of a topic that waits and is replaced. Returns its bytes; `None` when there is none.
    pub fn drop_replaced(&mut self, topic: TopicId, held: &mut Held) -> Option<usize> {
        let number = self.marked.as_mut()?.replaced.remove(&topic)?;
        let (place, share) = self.share(number)?;
        let is_meant = matches!(share.kind, ShareKind::Marked(mark) if mark.is_replaced && mark.topic == topic);
        let bytes = share.end - share.start;
        is_meant.then(|| {
            self.empty(place, held);
            bytes
        })
    }

    /// Puts a share before all others, but behind a frame that has begun to leave.
    pub fn push_next(&mut self, share: Share, held: &mut Held) {
        self.part_begun_frame(held);
        let begun = self
            .front_mut()
            .is_some_and(|front| front.batch.frame_end(front.start) != front.start);
        let begun = match begun {
            true => self.places.pop_front().flatten(),
            false => None,
        };
        self.first += u64::from(begun.is_some());
        self.push_front(share);
        begun.into_iter().for_each(|begun| self.push_front(begun));
    }

    /// Returns true while a notice of a loss waits that is about this topic.
    pub fn has_notice(&self, topic: TopicId) -> bool {
        let marked = self.marked.as_ref();
        let number = marked.and_then(|marked| marked.notices.get(&topic));
        let share = number.and_then(|&number| self.share(number));
        share.is_some_and(|(_, share)| share.kind == ShareKind::Notice(topic))
    }

    /// Makes a place empty.
    fn empty(&mut self, place: usize, held: &mut Held) {
        if let Some(share) = self.places[place].take() {
            held.release(&share.batch);
        }
        if let Some(marked) = &mut self.marked {
            marked.empty += 1;
        }
        self.skip_empty();
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
        for (old, share) in (self.first..).zip(std::mem::take(&mut self.places)) {
            match share {
                Some(share) => self.push_back(share),
                None => moved += u64::from(old < of),
            }
        }
        moved
    }
}
