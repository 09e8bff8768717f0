//! When each connection is due: one byte a place, one tick a second.
//!
//! A connection waits for one thing at a time (its upgrade, a verdict, silence, the end of a
//! close), so one deadline a place is enough; the session's stage says what it means. To set a deadline
//! stores one byte, so every message of a client may do it. Each tick compares the bytes with the tick's own
//! value: a million of them are a megabyte, read straight through. They stand in an array of their own for
//! that: the same bytes inside the connections would cost two hundred times as much to sweep.
//!
//! Never here: clocks (the tick is an argument), what happens when a deadline passes.

use memchr::memchr;

use crate::limits;

/// No deadline.
const NONE: u8 = 0;
/// Ticks are counted modulo this; [`NONE`] is left out.
const ROUND: u64 = 255;

/// The deadlines of all places.
#[derive(Debug, Default)]
pub struct Deadlines {
    due: Vec<u8>,
    /// The tick up to which everything has been swept.
    swept: u64,
    /// Where the sweep of tick `swept + 1` goes on.
    cursor: usize,
    /// How many deadlines are set: without any, nobody has to wake up for the next tick.
    armed: usize,
}

fn value(tick: u64) -> u8 {
    (tick % ROUND) as u8 + 1
}

impl Deadlines {
    /// With room for `expected` places.
    pub fn with_room(expected: usize) -> Self {
        Self {
            due: Vec::with_capacity(expected),
            ..Self::default()
        }
    }

    /// Makes `index` due when `seconds` have passed, counted from tick `now`: never earlier, and
    /// less than a tick later.
    #[inline]
    pub fn set(&mut self, index: u32, now: u64, seconds: u32) {
        debug_assert!(seconds <= limits::DEADLINE_SECONDS_MAX);
        let index = index as usize;
        if index >= self.due.len() {
            if index >= self.due.capacity() {
                let growth = index + 1 - self.due.len() + index / 8;
                self.due.reserve_exact(growth);
            }
            self.due.resize(index + 1, NONE);
        }
        self.armed += usize::from(self.due[index] == NONE);
        // `now` has begun already, so a full number of seconds ends within the tick after.
        self.due[index] = value(now + u64::from(seconds) + 1);
    }

    /// Makes `index` due no more.
    pub fn clear(&mut self, index: u32) {
        if let Some(due) = self.due.get_mut(index as usize) {
            self.armed -= usize::from(*due != NONE);
            *due = NONE;
        }
    }

    /// Returns true while any deadline is set.
    pub fn is_armed(&self) -> bool {
        self.armed > 0
    }

    /// Moves up to `budget` places that are due by tick `now` into `expired`, and clears them. Every
    /// tick that was missed is swept. Answers whether all is done; if not, the next call goes on.
    pub fn expire(&mut self, now: u64, budget: usize, expired: &mut Vec<u32>) -> bool {
        // A stall longer than a whole round has made everything due once; sweep each value once.
        if now.saturating_sub(self.swept) > ROUND {
            self.swept = now - ROUND;
        }
        while self.swept < now {
            let due = value(self.swept + 1);
            while let Some(at) = memchr(due, &self.due[self.cursor..]) {
                if expired.len() >= budget {
                    return false;
                }
                let index = self.cursor + at;
                self.due[index] = NONE;
                self.armed -= 1;
                expired.push(index as u32);
                self.cursor = index + 1;
            }
            self.cursor = 0;
            self.swept += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(deadlines: &mut Deadlines, now: u64) -> Vec<u32> {
        let mut expired = Vec::new();
        assert!(deadlines.expire(now, usize::MAX, &mut expired));
        expired
    }

    #[test]
    fn a_deadline_passes_once_in_the_tick_after_its_seconds() {
        let mut deadlines = Deadlines::default();
        deadlines.set(5, 100, 25);
        assert!(deadlines.is_armed());
        assert_eq!(expired(&mut deadlines, 125), [0; 0]);
        assert_eq!(expired(&mut deadlines, 126), [5]);
        assert_eq!(expired(&mut deadlines, 500), [0; 0]);
        assert!(!deadlines.is_armed());
    }

    #[test]
    fn setting_it_again_replaces_it_and_clearing_ends_it() {
        let mut deadlines = Deadlines::default();
        deadlines.set(0, 0, 10);
        deadlines.set(0, 5, 10);
        deadlines.set(1, 5, 10);
        deadlines.clear(1);
        assert_eq!(expired(&mut deadlines, 15), [0; 0]);
        assert_eq!(expired(&mut deadlines, 16), [0]);
        assert!(!deadlines.is_armed());
    }

    #[test]
    fn every_tick_missed_in_a_stall_is_swept() {
        let mut deadlines = Deadlines::default();
        assert_eq!(expired(&mut deadlines, 1_000), [0; 0]);
        for index in 0..limits::DEADLINE_SECONDS_MAX {
            deadlines.set(index, 1_000, index + 1);
        }
        assert_eq!(expired(&mut deadlines, 1_100).len(), 99);
        assert_eq!(expired(&mut deadlines, 9_999).len(), 21);
    }

    #[test]
    fn the_longest_deadline_is_not_taken_for_now() {
        let mut deadlines = Deadlines::default();
        for start in 1_000..1_300 {
            assert_eq!(expired(&mut deadlines, start), [0; 0]);
            deadlines.set(0, start, limits::DEADLINE_SECONDS_MAX);
        }
    }

    #[test]
    fn a_budget_cuts_the_sweep_and_nobody_is_forgotten() {
        let mut deadlines = Deadlines::default();
        (0..10).for_each(|index| deadlines.set(index, 0, 1));
        let mut all = Vec::new();
        let mut turns = 0;
        loop {
            let mut some = Vec::new();
            let done = deadlines.expire(50, 3, &mut some);
            assert!(some.len() <= 3);
            all.extend(some);
            turns += 1;
            if done {
                break;
            }
        }
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(turns, 4);
    }
}
