//! What a connection still owes its socket.
//!
//! Most connections owe nothing at any moment, so an empty outbox is one null pointer. What is owed
//! is kept as shares in batches: a batch is encoded once, never changed once it is shared, and
//! freed when the last who owes it has paid. [`Held`] counts the memory of all batches that anybody
//! owes, each once, and of every share in one: of tiny events, that is the larger part.
//!
//! Never here: what the frames say, sockets (a stream is anything that can be written to), bounds
//! (the engine closes who is over them).

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::limits;

/// How many pieces one system call takes along.
const SLICES_MAX: usize = 16;

/// In bytes of a batch's memory that are not worth giving back.
const TRIM_BYTES_MIN: usize = 256;

/// Whole frames in one block, on their way to any number of sockets.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// In outboxes.
    holders: Cell<u32>,
}

impl Batch {
    /// Appends one frame, which `encode` writes.
    pub fn push_frame(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
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
    }

    /// A batch of frames that go to one connection alone.
    pub fn of_frame(bytes: Vec<u8>) -> Rc<Self> {
        Rc::new(Self {
            ends: vec![bytes.len()],
            bytes,
            holders: Cell::new(0),
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
    fn frame_end(&self, sent: usize) -> usize {
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
        size_of::<Self>() + self.bytes.capacity() + size_of_val(&self.ends[..])
    }

    /// Makes it empty, its memory kept for the next one.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// In bytes, the memory it keeps.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// In bytes, what each share in a batch costs beside it.
pub const SHARE_BYTES: usize = size_of::<Piece>();

/// In bytes of memory, all batches that any outbox holds, each counted once, and all shares in them.
#[derive(Debug, Default)]
pub struct Held(usize);

impl Held {
    /// The sum.
    pub fn bytes(&self) -> usize {
        self.0
    }

    fn take(&mut self, batch: &Batch) {
        self.0 += SHARE_BYTES;
        if batch.holders.get() == 0 {
            self.0 += batch.footprint();
        }
        batch.holders.set(batch.holders.get() + 1);
    }

    fn release(&mut self, batch: &Batch) {
        batch.holders.set(batch.holders.get() - 1);
        self.0 -= SHARE_BYTES;
        if batch.holders.get() == 0 {
            self.0 -= batch.footprint();
        }
    }
}

/// A share in a batch: from `start` to its end.
#[derive(Debug)]
struct Piece {
    batch: Rc<Batch>,
    start: usize,
    /// Where this share ends; the batch's end but for a connection that is being closed.
    end: usize,
}

#[derive(Debug)]
struct Queue {
    /// Never empty.
    pieces: VecDeque<Piece>,
    /// In bytes, the sum of the pieces (and of no pong).
    owed: usize,
    /// The answer to the latest ping, to leave between two frames. A peer that pings and does not
    /// read is owed one, not a queue of them (RFC 6455 s. 5.5.3 allows that).
    pong: Option<Rc<Batch>>,
    /// In bytes, the answers to the peer's own messages that were added since there was none.
    answers: usize,
    /// In bytes of `owed` from the front on, where the last answer ends; 0 when none is owed.
    answers_end: usize,
    /// When the stream last took a byte, or when this queue began.
    moved: Duration,
}

/// What one connection owes, in the order in which it came to owe it.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Queue>>);

const _: () = assert!(size_of::<Outbox>() == size_of::<usize>());

impl Outbox {
    /// Whether nothing is owed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// In bytes, what is owed.
    pub fn owed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.owed)
    }

    /// Since when the stream has taken no byte of what is owed; `None` when nothing is owed.
    pub fn stalled_since(&self) -> Option<Duration> {
        self.0.as_ref().map(|queue| queue.moved)
    }

    /// In bytes, the answers to the peer's own messages that are owed. The number only falls when the
    /// stream has taken all of them: then it is 0.
    pub fn answers_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.answers)
    }

    /// All batches that it holds a share of, one for each share.
    pub fn batches(&self) -> impl Iterator<Item = &Rc<Batch>> {
        let pieces = self.0.iter().flat_map(|queue| &queue.pieces);
        let pongs = self.0.iter().filter_map(|queue| queue.pong.as_ref());
        pieces.map(|piece| &piece.batch).chain(pongs)
    }

    /// Adds `batch` from `start` on.
    pub fn push(&mut self, batch: &Rc<Batch>, start: usize, now: Duration, held: &mut Held) {
        let end = batch.bytes.len();
        if start == end {
            return;
        }
        held.take(batch);
        let queue = self.0.get_or_insert_with(|| {
            Box::new(Queue {
                pieces: VecDeque::new(),
                owed: 0,
                pong: None,
                answers: 0,
                answers_end: 0,
                moved: now,
            })
        });
        queue.owed += end - start;
        queue.pieces.push_back(Piece {
            batch: Rc::clone(batch),
            start,
            end,
        });
    }

    /// The last `bytes` that were added are answers to the peer's own messages.
    pub fn note_answers(&mut self, bytes: usize) {
        if let Some(queue) = &mut self.0 {
            queue.answers += bytes;
            queue.answers_end = queue.owed;
        }
    }

    /// Makes `pong` the one that will be sent, while anything is owed.
    pub fn set_pong(&mut self, pong: &Rc<Batch>, held: &mut Held) {
        debug_assert!(!self.is_empty(), "nothing keeps it from being sent");
        let Some(queue) = &mut self.0 else { return };
        held.take(pong);
        if let Some(older) = queue.pong.replace(Rc::clone(pong)) {
            held.release(&older);
        }
    }

    /// Writes until all is paid, the stream takes no more, or `budget` (in bytes) is used up; the last
    /// write may pass it. A write costs at least [`limits::PAYMENT_BYTES_MIN`] of the budget. Answers how
    /// many bytes the stream took.
    ///
    /// # Errors
    /// Those of the stream, but neither `WouldBlock` nor `Interrupted`.
    pub fn write_to(
        &mut self,
        stream: &mut impl Write,
        budget: &mut usize,
        now: Duration,
        held: &mut Held,
    ) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(queue) = &mut self.0
            && *budget > 0
        {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&queue.pieces) {
                *slice = IoSlice::new(&piece.batch.bytes[piece.start..piece.end]);
                used += 1;
            }
            let outcome = stream.write_vectored(&slices[..used]);
            let written = *outcome.as_ref().unwrap_or(&0);
            *budget = budget.saturating_sub(written.max(limits::PAYMENT_BYTES_MIN));
            match outcome {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    taken += written;
                    queue.moved = now;
                    self.pay(written, held);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Takes `written` bytes off the front.
    fn pay(&mut self, mut written: usize, held: &mut Held) {
        let Some(queue) = &mut self.0 else { return };
        queue.owed -= written;
        queue.answers_end = queue.answers_end.saturating_sub(written);
        if queue.answers_end == 0 {
            queue.answers = 0;
        }
        while let Some(front) = queue.pieces.front_mut() {
            let owed = front.end - front.start;
            if written < owed {
                front.start += written;
                return;
            }
            written -= owed;
            if let Some(paid) = queue.pieces.pop_front() {
                held.release(&paid.batch);
            }
            if written == 0 {
                break;
            }
        }
        // Between two frames: the place for a control frame (RFC 6455 s. 5.4).
        if let Some(pong) = queue.pong.take() {
            let end = pong.bytes.len();
            queue.owed += end;
            if queue.answers_end > 0 {
                queue.answers_end += end;
            }
            queue.pieces.push_front(Piece {
                batch: pong,
                start: 0,
                end,
            });
        }
        if queue.pieces.is_empty() {
            self.0 = None;
        }
    }

    /// Gives up everything but the rest of a frame that has begun to leave: a Close frame may follow
    /// there, and nowhere else.
    pub fn keep_begun_frame(&mut self, held: &mut Held) {
        let Some(queue) = &mut self.0 else { return };
        if let Some(pong) = queue.pong.take() {
            held.release(&pong);
        }
        let Some(front) = queue.pieces.front_mut() else {
            return;
        };
        front.end = front.batch.frame_end(front.start).min(front.end);
        queue.owed = front.end - front.start;
        (queue.answers, queue.answers_end) = (0, 0);
        let keep = usize::from(queue.owed > 0);
        for piece in queue.pieces.drain(keep..) {
            held.release(&piece.batch);
        }
        if queue.pieces.is_empty() {
            self.0 = None;
        }
    }

    /// Gives up everything. Answers whether that was between two frames.
    pub fn clear(&mut self, held: &mut Held) -> bool {
        self.keep_begun_frame(held);
        let Some(queue) = self.0.take() else {
            return true;
        };
        for piece in queue.pieces {
            held.release(&piece.batch);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `takes.pop()` bytes a call, then would block.
    struct Slow {
        takes: Vec<usize>,
        got: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = self.takes.pop().ok_or(ErrorKind::WouldBlock)?;
            let n = n.min(bytes.len());
            self.got.extend(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch(frames: &[&str]) -> Rc<Batch> {
        let mut batch = Batch::default();
        for frame in frames {
            batch.push_frame(|out| out.extend(frame.bytes()));
        }
        Rc::new(batch)
    }

    fn filled(held: &mut Held, batches: &[&Rc<Batch>]) -> Outbox {
        let mut outbox = Outbox::default();
        for batch in batches {
            outbox.push(batch, 0, Duration::ZERO, held);
        }
        outbox
    }

    fn write(outbox: &mut Outbox, stream: &mut Slow, held: &mut Held) -> usize {
        outbox
            .write_to(stream, &mut { usize::MAX }, Duration::ZERO, held)
            .expect("no error")
    }

    fn rest(outbox: &mut Outbox, held: &mut Held) -> String {
        let mut stream = Slow {
            takes: vec![1; 100],
            got: Vec::new(),
        };
        write(outbox, &mut stream, held);
        assert!(outbox.is_empty());
        String::from_utf8(stream.got).expect("text")
    }

    #[test]
    fn short_writes_lose_nothing() {
        let mut held = Held::default();
        let mut outbox = filled(&mut held, &[&batch(&["abc", "de"]), &batch(&["fgh"])]);
        assert_eq!(outbox.owed_bytes(), 8);
        let mut stream = Slow {
            takes: vec![2, 1],
            got: Vec::new(),
        };
        assert_eq!(write(&mut outbox, &mut stream, &mut held), 3);
        assert_eq!(outbox.owed_bytes(), 5);
        assert_eq!(rest(&mut outbox, &mut held), "defgh");
        assert!(outbox.is_empty());
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn a_batch_that_many_owe_is_counted_once() {
        let mut held = Held::default();
        let shared = batch(&["abcd"]);
        let mut boxes: Vec<Outbox> = (0..5).map(|_| filled(&mut held, &[&shared])).collect();
        let (batch, share) = (shared.footprint(), SHARE_BYTES);
        assert!(batch >= 4 + size_of::<Batch>());
        assert_eq!(held.bytes(), batch + 5 * share);
        for outbox in &mut boxes[1..] {
            outbox.clear(&mut held);
        }
        assert_eq!(held.bytes(), batch + share);
        assert_eq!(rest(&mut boxes[0], &mut held), "abcd");
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn only_the_latest_pong_waits_and_it_leaves_between_frames() {
        let mut held = Held::default();
        let mut outbox = filled(&mut held, &[&batch(&["abc"]), &batch(&["def"])]);
        let mut stream = Slow {
            takes: vec![1],
            got: Vec::new(),
        };
        write(&mut outbox, &mut stream, &mut held);
        outbox.set_pong(&batch(&["1"]), &mut held);
        outbox.set_pong(&batch(&["2"]), &mut held);
        assert_eq!(rest(&mut outbox, &mut held), "bc2def");
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn answers_are_owed_until_the_last_of_them_has_left() {
        let mut held = Held::default();
        let mut outbox = filled(&mut held, &[&batch(&["abc"]), &batch(&["answer"])]);
        outbox.note_answers(6);
        outbox.push(&batch(&["event"]), 0, Duration::ZERO, &mut held);
        outbox.set_pong(&batch(&["1"]), &mut held);
        for (taken, owed) in [(2, 6), (1, 6), (1, 6), (5, 6), (1, 0), (4, 0)] {
            let mut stream = Slow {
                takes: vec![taken],
                got: Vec::new(),
            };
            write(&mut outbox, &mut stream, &mut held);
            let got = String::from_utf8(stream.got).expect("text");
            assert_eq!(outbox.answers_bytes(), owed, "after {got:?}");
        }
        outbox.note_answers(1);
        outbox.keep_begun_frame(&mut held);
        assert_eq!(outbox.answers_bytes(), 0);
    }

    #[test]
    fn small_writes_use_the_budget_up_too() {
        let mut held = Held::default();
        let mut outbox = filled(&mut held, &[&batch(&["abcdefgh"])]);
        let mut stream = Slow {
            takes: vec![1; 8],
            got: Vec::new(),
        };
        let mut budget = 3 * limits::PAYMENT_BYTES_MIN;
        let taken = outbox.write_to(&mut stream, &mut budget, Duration::ZERO, &mut held);
        assert_eq!((taken.expect("no error"), budget), (3, 0));
        outbox.clear(&mut held);
    }

    #[test]
    fn what_is_given_up_ends_with_the_frame_that_has_begun() {
        for (sent, kept) in [(0, ""), (1, "bc"), (3, ""), (4, "e"), (5, "")] {
            let mut held = Held::default();
            let mut outbox = filled(&mut held, &[&batch(&["abc", "de"]), &batch(&["f"])]);
            let mut stream = Slow {
                takes: vec![sent],
                got: Vec::new(),
            };
            if sent > 0 {
                write(&mut outbox, &mut stream, &mut held);
            }
            outbox.keep_begun_frame(&mut held);
            assert_eq!(outbox.owed_bytes(), kept.len(), "after {sent} bytes");
            assert_eq!(rest(&mut outbox, &mut held), kept, "after {sent} bytes");
            assert_eq!(held.bytes(), 0);
        }
    }

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
        let batch = batch(&["abc", "de"]);
        assert_eq!(batch.frames_from(0), 2);
        assert_eq!(batch.frames_from(3), 1);
        assert_eq!(batch.frames_from(5), 0);
    }
}
