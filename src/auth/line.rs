//! Questions that wait for time of the loop: their answer takes arithmetic, signatures above all.
//!
//! Anybody can make up tokens that cost as much to judge as good ones. So such a question waits here, and each
//! turn of the loop spends no more than a fixed time on them.
//!
//! Never here: questions that wait for another program's answer (those are with their store), tokens.

use std::collections::VecDeque;
use std::time::Duration;

/// Returns true when the oldest of the questions that wait is next, and false when the newest is. `waited` is
/// how long the oldest has waited, and `patience` how long it may.
///
/// The oldest is next until it has waited for half of its time. Then more clients ask than the loop can answer, and
/// the newest has the best chance of an answer in time. A question whose time is over is returned too, so that its
/// client can be told.
pub fn is_oldest_next(waited: Duration, patience: Duration) -> bool {
    waited <= patience / 2 || waited > patience
}

/// The line of waiting questions. `Q` names a question.
#[derive(Debug)]
pub struct Line<Q>(VecDeque<(Duration, Q)>);

impl<Q> Line<Q> {
    /// Puts a question at the end of the line.
    pub fn push(&mut self, id: Q, now: Duration) {
        self.0.push_back((now, id));
    }

    /// The next question, and whether it has waited for longer than `patience`.
    pub fn take(&mut self, now: Duration, patience: Duration) -> Option<(Q, bool)> {
        let &(since, _) = self.0.front()?;
        let next = match is_oldest_next(now.saturating_sub(since), patience) {
            true => self.0.pop_front(),
            false => self.0.pop_back(),
        };
        next.map(|(since, id)| (id, now.saturating_sub(since) > patience))
    }

    /// Returns true when no question waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<Q> Default for Line<Q> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_until_it_has_waited_for_long() {
        let mut line = Line::default();
        let seconds = Duration::from_secs;
        for n in 1..=4 {
            line.push(n, seconds(n));
        }
        let mut take = |now| line.take(seconds(now), seconds(10));
        assert_eq!(take(6), Some((1, false)));
        assert_eq!(take(8), Some((4, false)), "2 has waited for 6 s");
        assert_eq!(take(13), Some((2, true)));
        assert_eq!(take(13), Some((3, false)), "it is the last one");
        assert_eq!(take(13), None);
    }
}
