//! Subscribers that vanish and come back, as phones in a tunnel do: each of them at its own time, again and again.
//!
//! Never here: sockets, and what a subscriber misses.

use std::collections::VecDeque;
use std::time::Duration;

/// How long each subscriber is away, and how often (`--blink AWAY/EVERY`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BlinkRhythm {
    pub(super) away: Duration,
    /// From one time to the next; longer than `away`.
    pub(super) every: Duration,
}

impl BlinkRhythm {
    /// Parses `AWAY/EVERY` in seconds.
    ///
    /// # Errors
    /// What is needed instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| {
            let seconds = text.parse().ok().filter(|s| (0.001..=86_400.0).contains(s));
            seconds.map(Duration::from_secs_f64)
        };
        text.split_once('/')
            .and_then(|(away, every)| Some((seconds(away)?, seconds(every)?)))
            .filter(|(away, every)| away < every)
            .map(|(away, every)| Self { away, every })
            .ok_or_else(|| {
                "SECONDS/EVERY is needed, such as 2/15: away for 2 s, every 15 s".to_owned()
            })
    }
}

/// Which subscriber vanishes or comes back next, and when.
#[derive(Debug)]
pub(super) struct Blinks {
    rhythm: BlinkRhythm,
    /// In the order of their times, as all have the same rhythm.
    to_vanish: VecDeque<(Duration, usize)>,
    to_return: VecDeque<(Duration, usize)>,
    /// How often a subscriber has vanished.
    pub(super) count: u64,
    /// When a subscriber connected again for the last time.
    pub(super) last_return: Duration,
}

impl Blinks {
    /// From `now` on, these subscribers vanish, one after the other.
    pub(super) fn begin(rhythm: BlinkRhythm, seats: std::ops::Range<usize>, now: Duration) -> Self {
        let share = rhythm.every.div_f64(seats.len().max(1) as f64);
        let times = (1..).map(|n| now + share.mul_f64(f64::from(n)));
        Self {
            rhythm,
            to_vanish: times.zip(seats).collect(),
            to_return: VecDeque::new(),
            count: 0,
            last_return: now,
        }
    }

    /// Returns a subscriber whose time it is to vanish, and sets its next time: a subscriber that has no connection now
    /// vanishes then.
    pub(super) fn next_to_vanish(&mut self, now: Duration) -> Option<usize> {
        let &(due, seat) = self.to_vanish.front().filter(|(due, _)| *due <= now)?;
        self.to_vanish.pop_front();
        self.to_vanish.push_back((due + self.rhythm.every, seat));
        Some(seat)
    }

    /// The subscriber has vanished.
    pub(super) fn vanished(&mut self, seat: usize, now: Duration) {
        self.count += 1;
        self.to_return.push_back((now + self.rhythm.away, seat));
    }

    /// Returns a subscriber whose time it is to come back.
    pub(super) fn next_to_return(&mut self, now: Duration) -> Option<usize> {
        let &(_, seat) = self.to_return.front().filter(|(due, _)| *due <= now)?;
        self.to_return.pop_front();
        self.last_return = now;
        Some(seat)
    }

    /// Nobody vanishes any more.
    pub(super) fn stop(&mut self) {
        self.to_vanish.clear();
    }

    /// Returns true while a subscriber is away that will come back.
    pub(super) fn has_absent(&self) -> bool {
        !self.to_return.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_rhythm_is_shorter_away_than_there_is_time() {
        let rhythm = BlinkRhythm {
            away: seconds(2),
            every: seconds(15),
        };
        assert_eq!(BlinkRhythm::parse("2/15"), Ok(rhythm));
        assert!(BlinkRhythm::parse("0.5/1.5").is_ok());
        for text in [
            "", "2", "2/", "/15", "15/2", "2/2", "0/2", "-1/2", "2/inf", "2/NaN",
        ] {
            let needed = BlinkRhythm::parse(text).expect_err(text);
            assert!(needed.contains("such as 2/15"), "{text}");
        }
    }

    #[test]
    fn each_has_its_own_time_again_and_again() {
        let rhythm = BlinkRhythm {
            away: seconds(2),
            every: seconds(10),
        };
        let mut blinks = Blinks::begin(rhythm, 3..5, seconds(100));
        assert_eq!(blinks.next_to_vanish(seconds(104)), None);
        assert_eq!(blinks.next_to_vanish(seconds(105)), Some(3));
        blinks.vanished(3, seconds(105));
        assert_eq!(blinks.next_to_return(seconds(106)), None);
        assert_eq!(blinks.next_to_return(seconds(107)), Some(3));
        assert!(!blinks.has_absent());
        assert_eq!(blinks.next_to_vanish(seconds(116)), Some(4));
        assert_eq!(blinks.next_to_vanish(seconds(116)), Some(3));
        assert_eq!(blinks.next_to_vanish(seconds(116)), None);
        blinks.vanished(3, seconds(116));
        blinks.stop();
        assert_eq!(blinks.next_to_vanish(seconds(999)), None);
        assert!(blinks.has_absent());
        assert_eq!((blinks.count, blinks.last_return), (2, seconds(107)));
    }
}
