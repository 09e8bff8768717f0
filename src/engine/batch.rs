//! Whole frames in one block of memory, which any number of connections may owe.
//!
//! A batch is written once, never changed once it is shared, and freed when the last connection that owes it has
//! paid. [`Held`] counts the memory of all batches that anybody owes, each once, and of every share in one: of
//! tiny events, that is the larger part.
//!
//! Never here: what the frames say, who owes them (`outbox`).

use std::cell::Cell;
use std::rc::Rc;

use super::names::TopicId;

/// In bytes of a batch's memory that are not worth giving back.
const TRIM_BYTES_MIN: usize = 256;

/// Marks an event that a slow reader loses before it is closed, and names whose event it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LossMark {
    /// Its topic; a later one, perhaps, when its own has ended while it waits. Then that one's subscriber is told of a gap
    /// once too often.
    pub topic: TopicId,
    /// True exactly when a newer event of the topic takes the place of one that waits.
    pub is_replaced: bool,
}

/// Events that one connection has lost, by their marks.
#[derive(Debug, Default)]
pub struct Losses(Vec<(LossMark, usize)>);

impl Losses {
    /// So many events with this mark were dropped.
    pub fn add(&mut self, mark: LossMark, events: usize) {
        match self.0.last_mut() {
            Some((last, count)) if *last == mark => *count += events,
            _ => self.0.push((mark, events)),
        }
    }

    /// Returns true when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all of them out.
    pub fn drain(&mut self) -> impl Iterator<Item = (LossMark, usize)> {
        self.0.drain(..)
    }
}

/// A part of a batch whose frames have one mark, or none.
#[derive(Clone, Copy, Debug)]
pub struct MarkedPart {
    /// In bytes, the start of a frame.
    pub start: usize,
    /// In bytes, the end of a frame.
    pub end: usize,
    /// Of each frame.
    pub mark: Option<LossMark>,
}

/// Whole frames in one block, on their way to any number of sockets.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// From which byte on frames have which mark, ascending. Empty in most batches: no frame has a mark.
    marks: Vec<(usize, Option<LossMark>)>,
    /// In outboxes.
    holders: Cell<u32>,
}

impl Batch {
    /// Appends one frame, which `encode` writes.
    pub fn push_frame(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Appends what `encode` writes as one frame; nothing, if it writes nothing.
    pub fn push_answer<T>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let outcome = encode(&mut self.bytes);
        if self.bytes.len() > before {
            self.ends.push(self.bytes.len());
        }
        outcome
    }

    /// Appends the frames of `other` that lie between `start` and `end`, which are ends of frames.
    pub fn copy_frames(&mut self, other: &Self, start: usize, end: usize) {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[start..end]);
        let first = other.ends.partition_point(|&frame_end| frame_end <= start);
        let frames = other.ends[first..].iter();
        let frames = frames.take_while(|&&frame_end| frame_end <= end);
        self.ends
            .extend(frames.map(|&frame_end| frame_end - start + shift));
        let parts = other.parts(start);
        for part in parts.take_while(|part| part.start < end) {
            self.mark_from(part.start - start + shift, part.mark);
        }
    }

    /// The frames that are appended from `start` on, where the batch ends, have this mark.
    pub fn mark_from(&mut self, start: usize, mark: Option<LossMark>) {
        if self.marks.last().and_then(|&(_, last)| last) != mark {
            self.marks.push((start, mark));
        }
    }

    /// Its parts from `from` on, which is the end of a frame.
    pub fn parts(&self, from: usize) -> impl Iterator<Item = MarkedPart> {
        let behind = self.marks.partition_point(|&(start, _)| start <= from);
        let mark = self.marks[..behind].last().and_then(|&(_, mark)| mark);
        let starts = std::iter::once((from, mark)).chain(self.marks[behind..].iter().copied());
        let ends = self.marks[behind..].iter().map(|&(start, _)| start);
        let parts = starts.zip(ends.chain([self.bytes.len()]));
        let parts = parts.map(|((start, mark), end)| MarkedPart { start, end, mark });
        parts.filter(|part| part.start < part.end)
    }

    /// The first end of a frame at `at` or behind it.
    pub fn first_end(&self, at: usize) -> usize {
        let first = self.ends.partition_point(|&end| end < at);
        self.ends.get(first).copied().unwrap_or(self.bytes.len())
    }

    /// Where the last frame before `end` begins, which is the end of a frame.
    pub fn last_start(&self, end: usize) -> usize {
        let frames = self.ends.partition_point(|&frame_end| frame_end < end);
        frames.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// How many frames there are between two ends of frames.
    pub fn frames_between(&self, start: usize, end: usize) -> usize {
        self.frames_from(start) - self.frames_from(end)
    }

    /// A batch of frames that go to one connection alone.
    pub fn of_frame(bytes: Vec<u8>) -> Rc<Self> {
        Rc::new(Self {
            ends: vec![bytes.len()],
            bytes,
            ..Self::default()
        })
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many shares of it are held.
    pub fn holders(&self) -> u32 {
        self.holders.get()
    }

    /// How many frames begin at `from` or behind it.
    pub fn frames_from(&self, from: usize) -> usize {
        self.ends.len() - self.ends.partition_point(|&end| end <= from)
    }

    /// Where the frame ends of which `sent` bytes into the batch are the middle; `sent` itself when
    /// it lies between two frames.
    pub fn frame_end(&self, sent: usize) -> usize {
        self.ends[self.ends.partition_point(|&end| end < sent)..]
            .first()
            .copied()
            .filter(|_| sent > 0)
            .unwrap_or(sent)
    }

    /// Gives back memory that a larger batch has left it, before anybody keeps it.
    pub fn trim(&mut self) {
        if self.bytes.capacity() > 2 * self.bytes.len() + TRIM_BYTES_MIN {
            self.bytes.shrink_to_fit();
            self.ends.shrink_to_fit();
        }
    }

    /// In bytes, what it costs to keep it. It does not change while anybody holds it.
    pub fn footprint(&self) -> usize {
        size_of::<Self>()
            + self.bytes.capacity()
            + size_of_val(&self.ends[..])
            + size_of_val(&self.marks[..])
    }

    /// Makes it empty, its memory kept for the next one.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.marks.clear();
    }

    /// In bytes, the memory that it keeps when it is empty.
    pub fn spare_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// In bytes, how many there is room for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A share in a batch: from `start` to `end`.
#[derive(Clone, Debug)]
pub struct Share {
    /// What it is a share of.
    pub batch: Rc<Batch>,
    /// In bytes.
    pub start: usize,
    /// In bytes.
    pub end: usize,
    /// Of all its frames.
    pub mark: Option<LossMark>,
}

/// In bytes, what each share in a batch costs beside it, with its place in an outbox.
pub const SHARE_BYTES: usize = size_of::<Share>() + size_of::<usize>();

/// In bytes of memory, all batches that any outbox holds, each counted once, and all shares in them.
#[derive(Debug, Default)]
pub struct Held(usize);

impl Held {
    /// The sum.
    pub fn bytes(&self) -> usize {
        self.0
    }

    /// An outbox has one share more in `batch`.
    pub fn take(&mut self, batch: &Batch) {
        self.0 += SHARE_BYTES;
        if batch.holders.get() == 0 {
            self.0 += batch.footprint();
        }
        batch.holders.set(batch.holders.get() + 1);
    }

    /// An outbox has one share less in `batch`.
    pub fn release(&mut self, batch: &Batch) {
        batch.holders.set(batch.holders.get() - 1);
        self.0 -= SHARE_BYTES;
        if batch.holders.get() == 0 {
            self.0 -= batch.footprint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_does_not_keep_a_large_ones_memory() {
        let mut batch = Batch::default();
        batch.push_frame(|out| out.resize(100_000, b'x'));
        batch.clear();
        assert!(batch.capacity() >= 100_000, "for the next one");
        batch.push_frame(|out| out.extend(b"abc"));
        batch.trim();
        assert!(batch.capacity() < 1_000);
        assert_eq!(batch.bytes(), b"abc");
    }

    #[test]
    fn a_batch_knows_how_many_frames_are_left() {
        let mut batch = Batch::default();
        for frame in ["abc", "de"] {
            batch.push_frame(|out| out.extend(frame.bytes()));
        }
        assert_eq!(batch.frames_from(0), 2);
        assert_eq!(batch.frames_from(3), 1);
        assert_eq!(batch.frames_from(5), 0);
    }
}
