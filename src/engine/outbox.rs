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

use super::batch::{Batch, Held, Losses, MarkedPart, Share};
use super::names::TopicId;
use super::shares::{Loss, Shares};
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

/// What an outbox may hold, and what it costs to stay within that.
#[derive(Debug)]
pub struct OutboxRoom<'a> {
    /// In bytes, the bound of one outbox.
    pub bytes_max: usize,
    /// What all outboxes hold.
    pub held: &'a mut Held,
    /// The events that are dropped for it.
    pub lost: &'a mut Losses,
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

    /// Adds `batch` from `start` on. An event that waits and that a newer one replaces is dropped. Then those of the oldest
    /// events that may be dropped are, until no more is owed than there is room for, if that is possible.
    pub fn push(
        &mut self,
        batch: &Rc<Batch>,
        start: usize,
        now: Duration,
        room: &mut OutboxRoom<'_>,
    ) {
        if start == batch.bytes().len() {
            return;
        }
        let owed = self.owed(now);
        // What is left of a frame that has begun to leave is a share of its own: it stays.
        let begun = MarkedPart {
            start,
            end: batch.frame_end(start),
            mark: None,
        };
        if begun.end > start {
            owed.add(batch, begun, room.held);
        }
        for part in batch.parts(begun.end) {
            match part.mark.is_some_and(|mark| mark.is_replaced) {
                true => owed.add_newest(batch, part, room),
                false => owed.add(batch, part, room.held),
            }
        }
        self.make_room(room);
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

    fn make_room(&mut self, room: &mut OutboxRoom<'_>) {
        let Some(owed) = &mut self.0 else { return };
        if owed.bytes > room.bytes_max {
            owed.shares.part_begun_frame(room.held);
        }
        while let Some(surplus) = owed.bytes.checked_sub(room.bytes_max).filter(|&n| n > 0)
            && let Some(loss) = owed.shares.drop_oldest(surplus, room.held)
        {
            owed.note_loss(loss, room.lost);
        }
        let moved = owed.shares.close_up(owed.last_answer);
        owed.last_answer -= moved;
        if owed.shares.is_empty() {
            let pong = owed.pong.take();
            pong.iter().for_each(|pong| room.held.release(pong));
            self.0 = None;
        }
    }

    /// Returns true when a place is kept for the notice that events of a topic were lost.
    pub fn awaits_notice(&self, topic: TopicId) -> bool {
        let owed = self.0.as_ref();
        owed.is_some_and(|owed| owed.shares.awaits_notice(topic))
    }

    /// Puts the notice that events of a topic were dropped into the place that is kept for it, or gives that place up. Room
    /// is made as in [`Outbox::push`]. The notice must be awaited.
    pub fn fill_notice(
        &mut self,
        topic: TopicId,
        notice: Option<&Rc<Batch>>,
        room: &mut OutboxRoom<'_>,
    ) {
        let Some(owed) = &mut self.0 else { return };
        let share = notice.map(|notice| {
            room.held.take(notice);
            owed.bytes += notice.bytes().len();
            Share {
                batch: Rc::clone(notice),
                start: 0,
                end: notice.bytes().len(),
                mark: None,
            }
        });
        owed.shares.fill_notice(topic, share);
        self.make_room(room);
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
                mark: None,
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
        owed.answers = 0;
        owed.bytes = 0;
        if let Some(front) = owed.shares.front_mut() {
            front.end = front.batch.frame_end(front.start).min(front.end);
            front.mark = None;
            owed.bytes = front.end - front.start;
        }
        owed.shares.keep_front(held);
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
    /// Adds the last event of a part of a batch, in the place of the others, and of the one that waits.
    fn add_newest(&mut self, batch: &Rc<Batch>, part: MarkedPart, room: &mut OutboxRoom<'_>) {
        let Some(mark) = part.mark else { return };
        self.shares.part_begun_frame(room.held);
        if let Some(loss) = self.shares.drop_replaced(mark.topic, room.held) {
            self.note_loss(loss, room.lost);
        }
        let start = batch.last_start(part.end).max(part.start);
        let older = batch.frames_between(part.start, start);
        let newest = MarkedPart { start, ..part };
        match older {
            0 => self.add(batch, newest, room.held),
            _ => {
                room.lost.add(mark, older);
                let share = self.share(batch, newest, room.held);
                self.shares.push_behind_loss(share, mark.topic);
            }
        }
    }

    /// Adds a part of a batch.
    fn add(&mut self, batch: &Rc<Batch>, part: MarkedPart, held: &mut Held) {
        let share = self.share(batch, part, held);
        self.shares.push_back(share);
    }

    fn share(&mut self, batch: &Rc<Batch>, part: MarkedPart, held: &mut Held) -> Share {
        held.take(batch);
        self.bytes += part.end - part.start;
        Share {
            batch: Rc::clone(batch),
            start: part.start,
            end: part.end,
            mark: part.mark,
        }
    }

    fn note_loss(&mut self, loss: Loss, lost: &mut Losses) {
        self.bytes -= loss.bytes;
        lost.add(loss.mark, loss.events);
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
        let mut lost = Losses::default();
        let mut room = OutboxRoom {
            bytes_max: max,
            held,
            lost: &mut lost,
        };
        outbox.push(batch, from, Duration::ZERO, &mut room);
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
