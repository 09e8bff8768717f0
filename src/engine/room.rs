//! Which connections can be ended when all places are taken, and in which order.
//!
//! A client that sends nothing holds a place until its handshake times out. So does a client that was
//! told the last word and does not end its half. While places are free, that harms nobody. When they
//! are all taken, a newcomer gets the place of such a connection: first the one that has waited
//! longest for its end, then the one that has been longest without a whole upgrade. A connection
//! that waits for its token's verdict is never ended for a newcomer: it has sent a whole request, and
//! a store makes it wait.
//!
//! Each of them has [`limits::ROOM_MILLISECONDS_MIN`] for itself: a client's request comes right
//! behind its connection, so honest newcomers do not end one another. When all such connections are younger, a
//! newcomer waits in the kernel until one is old enough.
//!
//! Connections are kept in the order of time. An entry whose connection has moved on stays until it is at
//! the front. So an idle connection needs no link to its entry, and costs nothing.
//!
//! Never here: how a connection ends (`ending`), what a refused newcomer is told (the server's).

use std::collections::VecDeque;
use std::time::Duration;

use super::Engine;
use super::connection::Connection;
use super::link::{Stream, Unread};
use super::session::Stage;
use super::slots::{SlotId, Slots};
use crate::limits;
use crate::stats::{Close, Refusal};

/// In entries that one turn drops from the front, at an estimated 20 ns each.
const DROPS_MAX: usize = 1_024;

/// In entries. An empty list gives the memory back that it had beyond this.
const KEPT_CAPACITY: usize = 1_024;

/// When a newcomer can have a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vacancy {
    /// At once.
    Now,
    /// Not before this moment, at which a connection may be ended for it.
    At(Duration),
    /// Nobody knows when.
    Never,
}

/// Connections that came into one stage, the oldest first. Some may have moved on.
#[derive(Debug, Default)]
pub struct ByAge(VecDeque<(SlotId, u64)>);

impl ByAge {
    /// A connection has come into this stage.
    pub fn push(&mut self, id: SlotId, now: Duration) {
        // A connection that is left out still ends with its deadline.
        if self.0.len() >= limits::ROOM_ENTRIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, now.as_millis() as u64));
    }

    /// The connection that has been in this stage longest, and when it may be ended. It drops whatever has
    /// moved on before it: each entry once, of `ROOM_ENTRIES_MAX` at the most.
    fn oldest(&mut self, is_there: impl Fn(SlotId) -> bool) -> Option<(SlotId, Duration)> {
        while let Some(&(id, since)) = self.0.front() {
            if is_there(id) {
                let until = since + limits::ROOM_MILLISECONDS_MIN;
                return Some((id, Duration::from_millis(until)));
            }
            self.0.pop_front();
        }
        None
    }

    /// Forgets connections that are in this stage no more, as many as a turn's budget allows.
    fn forget(&mut self, is_there: impl Fn(SlotId) -> bool) {
        for _ in 0..DROPS_MAX {
            match self.0.front() {
                Some(&(id, _)) if !is_there(id) => self.0.pop_front(),
                _ => break,
            };
        }
        if self.0.is_empty() && self.0.capacity() > KEPT_CAPACITY {
            self.0 = VecDeque::new();
        }
    }
}

/// The connections that can be ended, and how many have been.
#[derive(Debug, Default)]
pub struct Sparable {
    /// Connections without a whole upgrade.
    pub upgrading: ByAge,
    /// Connections that only wait for their end.
    pub closing: ByAge,
    /// In connections that were ended to make room and have not been reaped yet.
    ended: usize,
}

impl Sparable {
    /// In connections that were ended to make room: places that are free when this turn ends, or soon.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// A connection has been ended to make room.
    pub fn note_ended(&mut self) {
        self.ended += 1;
    }

    /// Only `left` connections that have ended have not been reaped yet.
    pub fn note_reaped(&mut self, left: usize) {
        self.ended = self.ended.min(left);
    }

    /// The connection that is to end first, and when it may be ended. `is_in` tells whether a connection is
    /// in a stage.
    pub fn first(
        &mut self,
        is_in: impl Fn(SlotId, Stage) -> bool,
        now: Duration,
    ) -> Option<(SlotId, Duration)> {
        let closing = self.closing.oldest(|id| is_in(id, Stage::Closing));
        if closing.is_some_and(|(_, at)| at <= now) {
            return closing;
        }
        let upgrading = self.upgrading.oldest(|id| is_in(id, Stage::Upgrading));
        [closing, upgrading]
            .into_iter()
            .flatten()
            .min_by_key(|&(_, at)| at)
    }

    /// Forgets connections that have moved on.
    pub fn forget(&mut self, is_in: impl Fn(SlotId, Stage) -> bool) {
        self.upgrading.forget(|id| is_in(id, Stage::Upgrading));
        self.closing.forget(|id| is_in(id, Stage::Closing));
    }
}

/// Tells whether a connection is in a stage, and has not been given up yet. Whoever has shown no token counts as
/// upgrading, even when it has the answer to its upgrade.
fn is_in<S>(slots: &Slots<Connection<S>>) -> impl Fn(SlotId, Stage) -> bool {
    |id, stage| {
        slots.get(id).is_some_and(|c| {
            let is_in = match stage {
                Stage::Upgrading => c.session.is_unproven(),
                stage => c.session.stage() == stage,
            };
            is_in && c.link.unread != Unread::Gone
        })
    }
}

impl<S: Stream> Engine<S> {
    /// True exactly when all places are taken. Those that will be free when the turn ends count as free.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() - self.room.ended() >= self.rules.connections_max
    }

    /// When a newcomer can have a place. Until then it is better off in the kernel.
    pub fn vacancy(&mut self) -> Vacancy {
        if !self.is_full() {
            return Vacancy::Now;
        }
        let now = self.desk.now;
        match self.sparable() {
            None => Vacancy::Never,
            // In this turn no more are ended; the next one comes at once.
            Some(_) if self.room.ended() >= limits::TURN_ROOM_MAX => Vacancy::At(now),
            Some((_, at)) if at > now => Vacancy::At(at),
            Some(_) => Vacancy::Now,
        }
    }

    /// The connection that is to end first when places are short, and when it may be ended.
    fn sparable(&mut self) -> Option<(SlotId, Duration)> {
        self.room.first(is_in(&self.slots), self.desk.now)
    }

    /// Ends a connection that can be spared, and answers whether there was one. Its place is free when
    /// the turn ends.
    pub fn make_room(&mut self) -> bool {
        let Some((id, at)) = self.sparable() else {
            return false;
        };
        if at > self.desk.now || self.room.ended() >= limits::TURN_ROOM_MAX {
            return false;
        }
        let session_id = self.session_id(id);
        if let Some(connection) = self.slots.get_mut(id)
            && connection.session.is_unproven()
        {
            let answer = connection.session.refusal(Refusal::Full, session_id);
            // What follows is the same when this fails.
            let _ = connection.link.send(&answer, &mut self.desk);
        }
        self.lose(id, Close::MadeRoom);
        self.room.note_ended();
        true
    }

    /// Forgets connections that can be ended no more to make room.
    pub(super) fn tidy_room(&mut self) {
        self.room.forget(is_in(&self.slots));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(limits::ROOM_MILLISECONDS_MIN);

    fn id(index: u32) -> SlotId {
        SlotId::new(index, 1).expect("a generation")
    }

    #[test]
    fn who_waits_for_its_end_goes_first_once_it_is_old_enough() {
        let mut room = Sparable::default();
        let at = Duration::from_secs;
        room.upgrading.push(id(0), at(1));
        room.upgrading.push(id(1), at(2));
        room.closing.push(id(2), at(3));
        let mut first = |now| room.first(|_, _| true, now);
        assert_eq!(first(at(3)), Some((id(0), at(1) + MIN)));
        assert_eq!(first(at(9)), Some((id(2), at(3) + MIN)));
        let first = room.first(|_, state| state == Stage::Upgrading, at(9));
        assert_eq!(first, Some((id(0), at(1) + MIN)));
        let first = room.first(|other, _| other == id(1), at(9));
        assert_eq!(first, Some((id(1), at(2) + MIN)));
        assert_eq!(room.first(|_, _| false, at(9)), None);
    }

    #[test]
    fn the_lists_are_bounded_and_give_their_memory_back() {
        let mut room = Sparable::default();
        for n in 0..limits::ROOM_ENTRIES_MAX as u32 + 5 {
            room.upgrading.push(id(n), Duration::ZERO);
        }
        assert_eq!(room.upgrading.0.len(), limits::ROOM_ENTRIES_MAX);
        let first = room.first(|_, _| true, Duration::ZERO);
        assert_eq!(first, Some((id(5), MIN)));
        room.forget(|_, _| true);
        assert_eq!(room.upgrading.0.len(), limits::ROOM_ENTRIES_MAX);
        while !room.upgrading.0.is_empty() {
            let before = room.upgrading.0.len();
            room.forget(|_, state| state != Stage::Upgrading);
            assert!(before - room.upgrading.0.len() <= DROPS_MAX);
        }
        assert!(room.upgrading.0.capacity() <= KEPT_CAPACITY);
    }
}
