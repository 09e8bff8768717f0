//! What a connection still owes its socket.
//!
//! Most connections owe nothing at any moment, so an empty outbox is one null pointer. What is owed
//! is kept as shares in batches. Where a topic's rule says so, events that have not begun to leave are dropped when the
//! outbox is full, or when a newer one takes their place.
//!
//! Never here: what the frames say, sockets (a stream is anything that can be written to), what happens when an outbox is
//! full of what cannot be dropped (the engine closes the connection).

use std::io::{self, ErrorKind, IoSlice, Write};
use std::rc::Rc;
use std::time::Duration;

use super::batch::{Batch, Held, LossMark, Share, ShareKind};
use super::names::TopicId;
use super::shares::Shares;
use crate::limits;

/// In shares, how many one system call takes along.
const SLICES_MAX: usize = 16;

/// What is owed, while anything is.
#[derive(Debug)]
struct Owed {
    /// Never empty.
    shares: Shares,
    /// In bytes, the sum of the shares (and of no pong).
    bytes: usize,
    /// The answer to the latest ping, to leave between two frames. A peer that pings and does not
    /// read is owed one, not all of them (RFC 6455 s. 5.5.3 allows that).
    pong: Option<Rc<Batch>>,
    /// In bytes, the answers to the peer's own messages that were added since there was none.
    answers: usize,
    /// The number of the share with the last answer; what it says while `answers` is 0 means nothing.
    last_answer: u64,
    /// When the stream last took a byte, or when the first of this was added.
    moved: Duration,
}

/// What one connection owes, in the order in which it came to owe it.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Owed>>);

const _: () = assert!(size_of::<Outbox>() == size_of::<usize>());

impl Outbox {
    /// Returns true when nothing is owed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// In bytes, what is owed.
    pub fn owed_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |owed| owed.bytes)
    }

    /// Since when the stream has taken no byte of what is owed; `None` when nothing is owed.
    pub fn stalled_since(&self) -> Option<Duration> {
        self.0.as_ref().map(|owed| owed.moved)
    }

    /// In bytes, the answers to the peer's own messages that are owed. The number only falls when the
    /// stream has taken all of them: then it is 0.
    pub fn answers_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |owed| owed.answers)
    }

    /// All batches that it holds a share of, one for each share.
    pub fn batches(&self) -> impl Iterator<Item = &Rc<Batch>> {
        let shares = self.0.iter().flat_map(|owed| owed.shares.iter());
        let pongs = self.0.iter().filter_map(|owed| owed.pong.as_ref());
        shares.map(|share| &share.batch).chain(pongs)
    }

    /// Adds `batch` from `start` on. Events that a newer one replaces are dropped, and those of the oldest that may be
    /// dropped, until no more than `max` bytes are owed, if that is possible. The marks of all dropped events are added to
    /// `lost`.
    pub fn push(
        &mut self,
        batch: &Rc<Batch>,
        start: usize,
        max: usize,
        now: Duration,
        held: &mut Held,
        lost: &mut Vec<LossMark>,
    ) {
        if start == batch.bytes().len() {
            return;
        }
        let owed = self.owed(now);
        // What is left of a frame that has begun to leave is a share of its own: it stays.
        let begun_end = batch.frame_end(start);
        if begun_end > start {
            owed.add(batch, (start, begun_end, None), held);
        }
        for (start, end, mark) in batch.stretches(begun_end) {
            match mark {
                None => owed.add(batch, (start, end, None), held),
                Some(mark) => owed.add_marked(batch, (start, end, mark), held, lost),
            }
        }
        self.make_room(max, held, lost);
    }

    fn owed(&mut self, now: Duration) -> &mut Owed {
        self.0.get_or_insert_with(|| {
            Box::new(Owed {
                shares: Shares::default(),
                bytes: 0,
                pong: None,
                answers: 0,
                last_answer: 0,
                moved: now,
            })
        })
    }

    /// Drops the oldest events that may be dropped until no more than `max` bytes are owed, if that is possible.
    fn make_room(&mut self, max: usize, held: &mut Held, lost: &mut Vec<LossMark>) {
        let Some(owed) = &mut self.0 else { return };
        if owed.bytes > max {
            owed.shares.part_begun_frame(held);
        }
        while owed.bytes > max
            && let Some((mark, bytes)) = owed.shares.drop_oldest(held)
        {
            owed.bytes -= bytes;
            lost.push(mark);
        }
        let moved = owed.shares.close_up(owed.last_answer);
        owed.last_answer -= moved;
        if owed.shares.is_empty() {
            let pong = owed.pong.take();
            pong.iter().for_each(|pong| held.release(pong));
            self.0 = None;
        }
    }

    /// Returns true when a place is kept for the notice that events of a topic were lost.
    pub fn awaits_notice(&self, topic: TopicId) -> bool {
        let owed = self.0.as_ref();
        owed.is_some_and(|owed| owed.shares.awaits_notice(topic))
    }

    /// Puts the notice that events of a topic were lost into the place that the first of them has left, or gives the place
    /// up. Room is made as in [`Outbox::push`].
    pub fn fill_notice(
        &mut self,
        topic: TopicId,
        notice: Option<&Rc<Batch>>,
        max: usize,
        held: &mut Held,
        lost: &mut Vec<LossMark>,
    ) {
        let Some(owed) = &mut self.0 else { return };
        let share = notice.map(|notice| Share {
            batch: Rc::clone(notice),
            start: 0,
            end: notice.bytes().len(),
            kind: ShareKind::Notice(topic),
        });
        if !owed.shares.fill_notice(topic, share) {
            return;
        }
        if let Some(notice) = notice {
            held.take(notice);
            owed.bytes += notice.bytes().len();
        }
        self.make_room(max, held, lost);
    }

    /// The last `bytes` that were added are answers to the peer's own messages.
    pub fn note_answers(&mut self, bytes: usize) {
        if let Some(owed) = &mut self.0 {
            owed.answers += bytes;
            owed.last_answer = owed.shares.last_number();
        }
    }

    /// Makes `pong` the one that will be sent, while anything is owed.
    pub fn set_pong(&mut self, pong: &Rc<Batch>, held: &mut Held) {
        debug_assert!(!self.is_empty(), "nothing keeps it from being sent");
        let Some(owed) = &mut self.0 else { return };
        held.take(pong);
        if let Some(older) = owed.pong.replace(Rc::clone(pong)) {
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
        while let Some(owed) = &mut self.0
            && *budget > 0
            && owed.shares.ready().next().is_some()
        {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, share) in slices.iter_mut().zip(owed.shares.ready()) {
                *slice = IoSlice::new(&share.batch.bytes()[share.start..share.end]);
                used += 1;
            }
            let outcome = stream.write_vectored(&slices[..used]);
            let written = *outcome.as_ref().unwrap_or(&0);
            *budget = budget.saturating_sub(written.max(limits::PAYMENT_BYTES_MIN));
            match outcome {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    taken += written;
                    owed.moved = now;
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
        let Some(owed) = &mut self.0 else { return };
        owed.bytes -= written;
        while let Some(front) = owed.shares.front_mut() {
            let left = front.end - front.start;
            if written < left {
                front.start += written;
                return;
            }
            written -= left;
            if let Some(paid) = owed.shares.pop_front() {
                held.release(&paid.batch);
            }
            if owed.shares.has_left(owed.last_answer) {
                owed.answers = 0;
            }
            if written == 0 {
                break;
            }
        }
        // Between two frames: the place for a control frame (RFC 6455 s. 5.4).
        if let Some(pong) = owed.pong.take() {
            let end = pong.bytes().len();
            owed.bytes += end;
            owed.shares.push_front(Share {
                batch: pong,
                start: 0,
                end,
                kind: ShareKind::Kept,
            });
        }
        if owed.shares.is_empty() {
            self.0 = None;
        }
    }

    /// Gives up everything but the rest of a frame that has begun to leave. A last word may follow there,
    /// and nowhere else.
    pub fn keep_begun_frame(&mut self, held: &mut Held) {
        let Some(owed) = &mut self.0 else { return };
        if let Some(pong) = owed.pong.take() {
            held.release(&pong);
        }
        owed.bytes = owed.shares.front_mut().map_or(0, |front| {
            front.end = front.batch.frame_end(front.start).min(front.end);
            front.end - front.start
        });
        owed.answers = 0;
        for share in owed.shares.drain_rest() {
            held.release(&share.batch);
        }
        if owed.bytes == 0 {
            let front = owed.shares.pop_front();
            front.iter().for_each(|share| held.release(&share.batch));
            self.0 = None;
        }
    }

    /// Gives up everything. Returns true when that was between two frames.
    pub fn clear(&mut self, held: &mut Held) -> bool {
        self.keep_begun_frame(held);
        let Some(owed) = self.0.take() else {
            return true;
        };
        for share in owed.shares.iter() {
            held.release(&share.batch);
        }
        false
    }
}

impl Owed {
    /// Adds the events of a stretch of a batch, each as a share of its own. Where a newer one replaces the one that waits,
    /// that one is dropped.
    fn add_marked(
        &mut self,
        batch: &Rc<Batch>,
        (start, end, mark): (usize, usize, LossMark),
        held: &mut Held,
        lost: &mut Vec<LossMark>,
    ) {
        let mut at = start;
        while at < end {
            if mark.is_replaced {
                self.shares.part_begun_frame(held);
                let waiting = self.shares.drop_replaced(mark.topic, held);
                lost.extend(waiting.map(|(mark, bytes)| {
                    self.bytes -= bytes;
                    mark
                }));
            }
            let next = batch.next_end(at).min(end);
            self.add(batch, (at, next, Some(mark)), held);
            at = next;
        }
    }

    /// Adds a stretch of a batch.
    fn add(
        &mut self,
        batch: &Rc<Batch>,
        (start, end, mark): (usize, usize, Option<LossMark>),
        held: &mut Held,
    ) {
        held.take(batch);
        self.bytes += end - start;
        self.shares.push_back(Share {
            batch: Rc::clone(batch),
            start,
            end,
            kind: mark.map_or(ShareKind::Kept, ShareKind::Marked),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::batch::SHARE_BYTES;

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

    fn push(outbox: &mut Outbox, batch: &Rc<Batch>, from: usize, max: usize, held: &mut Held) {
        let mut lost = Vec::new();
        outbox.push(batch, from, max, Duration::ZERO, held, &mut lost);
        assert!(lost.is_empty());
    }

    fn filled(held: &mut Held, batches: &[&Rc<Batch>]) -> Outbox {
        let mut outbox = Outbox::default();
        for batch in batches {
            push(&mut outbox, batch, 0, usize::MAX, held);
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
        push(&mut outbox, &batch(&["event"]), 0, usize::MAX, &mut held);
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
}
