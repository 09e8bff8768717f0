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
