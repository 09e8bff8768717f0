//! Tokens that were refused a moment ago, so that the gate does not ask stores about them again.
//!
//! Anybody can have tokens refused, as fast as connections are made. So the list keeps as little as possible of
//! each, in memory of a known size: half of a SHA-256 and a moment. When the list is full, it forgets the oldest
//! refusal first.
//!
//! Never here: tokens, addresses, origins; accepted tokens (those are in the ledger).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::ledger::VerdictKey;
use crate::limits;
use crate::stats::Cause;

/// In tenths of a second, how long a refusal counts. It is one interval for all, so the oldest ends first.
const INTERVAL: u32 = 10 * limits::AUTH_REFUSED_SECONDS as u32;

/// In tenths of a second, which overflow after 13 years; a `Duration` is four times as large.
fn tenths(now: Duration) -> u32 {
    (now.as_millis() / 100) as u32
}

/// The refusals.
#[derive(Debug)]
pub struct Refused {
    /// In refusals.
    max: usize,
    /// Until when each refusal counts, and its cause.
    until: HashMap<[u8; 16], (u32, Cause)>,
    /// The refusals in the order in which they end. A token that was refused again before the end stands here twice.
    order: VecDeque<(u32, [u8; 16])>,
}

impl Refused {
    /// Remembers `max` refusals at most.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            until: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The cause for which the gate refuses this key without asking a store; `None`: it has to ask.
    pub fn find(&self, key: &VerdictKey, now: Duration) -> Option<Cause> {
        let &(until, cause) = self.until.get(&key.half())?;
        (tenths(now) < until).then_some(cause)
    }

    /// Remembers a refusal.
    pub fn add(&mut self, key: &VerdictKey, cause: Cause, now: Duration) {
        self.expire(now);
        while self.order.len() >= self.max {
            self.pop();
        }
        let until = tenths(now) + INTERVAL;
        self.until.insert(key.half(), (until, cause));
        self.order.push_back((until, key.half()));
    }

    /// Forgets all refusals, because stores have changed.
    pub fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// How many refusals are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Forgets a few of those that have ended: each call makes room for more than one addition, and none
    /// takes long.
    fn expire(&mut self, now: Duration) {
        for _ in 0..8 {
            match self.order.front() {
                Some(&(until, _)) if until <= tenths(now) => self.pop(),
                _ => return,
            }
        }
    }

    fn pop(&mut self) {
        if let Some((until, half)) = self.order.pop_front()
            && (self.until.get(&half)).is_some_and(|&(last, _)| last == until)
        {
            self.until.remove(&half);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::token::Token;

    const MAX: usize = 100;

    fn key(n: usize) -> VerdictKey {
        VerdictKey::of_token(&Token::new(n.to_string()).digest())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn has(refused: &Refused, n: usize, now: u64) -> bool {
        refused.find(&key(n), seconds(now)).is_some()
    }

    #[test]
    fn a_refusal_ends_and_counts_from_the_last_time() {
        let mut refused = Refused::new(MAX);
        refused.add(&key(1), Cause::Unknown, seconds(10));
        assert!(has(&refused, 1, 14) && !has(&refused, 2, 14));
        refused.add(&key(1), Cause::Unknown, seconds(14));
        refused.add(&key(2), Cause::Unknown, seconds(16));
        assert!(has(&refused, 1, 18));
        assert!(!has(&refused, 1, 19));
        refused.add(&key(3), Cause::Unknown, seconds(30));
        assert_eq!((refused.len(), refused.order.len()), (1, 1));
    }

    #[test]
    fn the_oldest_is_forgotten_first_when_there_are_too_many() {
        let mut refused = Refused::new(MAX);
        for n in 0..MAX + 10 {
            refused.add(&key(n), Cause::Unknown, seconds(1));
        }
        assert_eq!(refused.len(), MAX);
        assert!(!has(&refused, 9, 1) && has(&refused, 10, 1));
        refused.clear();
        assert!(!has(&refused, 10, 1));
    }
}
