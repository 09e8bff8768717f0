//! Decides whether a store is asked at all: not while it is down, but for a probe.
//!
//! A store that hangs would make every newcomer wait for a whole time-out before it gets 503, and each newcomer
//! would add a question to its load. So after some failures in a row the breaker is open: it lets one question at a
//! time through, at most one a second, and the first one with an answer closes it again.
//!
//! Never here: threads, clocks (the time is an argument), the log, questions themselves.

use std::time::Duration;

use crate::limits;

/// How long after a probe the next one may be sent.
const PROBE_INTERVAL: Duration = Duration::from_secs(limits::AUTH_PROBE_SECONDS);

/// What the caller may do with a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Ask it.
    Ask,
    /// Ask it, and tell the breaker how that ended.
    Probe,
    /// Do not ask it; the text says what was wrong with the last one.
    Refuse(String),
}

/// What changed for the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// The store counts as down from now on.
    Opened,
    /// The store counts as up again.
    Closed,
}

/// The state of one store, as its answers show it.
#[derive(Debug, Default)]
pub struct Breaker {
    /// In failures since the last question with an answer.
    failures: u32,
    /// `Some` exactly while `failures >= limits::AUTH_FAILURES_MAX`.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// What was wrong with the last question.
    reason: String,
    /// True exactly while a probe is on its way.
    is_probing: bool,
    /// No other probe goes before this time.
    probe_due: Duration,
}

impl Breaker {
    /// Decides about the next question. An [`Admission::Probe`] is the only one until [`Breaker::answered`],
    /// [`Breaker::failed`] or [`Breaker::probe_lost`] ends it.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let Some(open) = &mut self.open else {
            return Admission::Ask;
        };
        if open.is_probing || now < open.probe_due {
            return Admission::Refuse(open.reason.clone());
        }
        open.is_probing = true;
        open.probe_due = now + PROBE_INTERVAL;
        Admission::Probe
    }

    /// The store answered.
    pub fn answered(&mut self) -> Change {
        self.failures = 0;
        match self.open.take() {
            Some(_) => Change::Closed,
            None => Change::None,
        }
    }

    /// The store did not answer, for `reason`. `was_probe`: the question was a probe.
    pub fn failed(&mut self, now: Duration, reason: &str, was_probe: bool) -> Change {
        self.failures = self.failures.saturating_add(1);
        if let Some(open) = &mut self.open {
            open.reason.clear();
            open.reason.push_str(reason);
            open.is_probing &= !was_probe;
            return Change::None;
        }
        if self.failures < limits::AUTH_FAILURES_MAX {
            return Change::None;
        }
        self.open = Some(Open {
            reason: reason.to_owned(),
            is_probing: false,
            probe_due: now + PROBE_INTERVAL,
        });
        Change::Opened
    }

    /// A probe was dropped before it was sent.
    pub fn probe_lost(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(7);

    /// A breaker that has just opened at that time.
    fn open(now: Duration) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..limits::AUTH_FAILURES_MAX {
            assert_eq!(breaker.failed(now, "early", false), Change::None);
            assert_eq!(breaker.admit(now), Admission::Ask);
        }
        assert_eq!(breaker.failed(now, "late", false), Change::Opened);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let now = START;
        let mut breaker = open(now);
        assert_eq!(breaker.admit(now), Admission::Refuse("late".to_owned()));
        // Said once.
        assert_eq!(breaker.failed(now, "later", false), Change::None);
        assert_eq!(breaker.admit(now), Admission::Refuse("later".to_owned()));
    }

    #[test]
    fn an_answer_between_failures_keeps_it_closed() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..limits::AUTH_FAILURES_MAX {
                assert_eq!(breaker.failed(START, "no", false), Change::None);
            }
            assert_eq!(breaker.answered(), Change::None);
        }
        assert_eq!(breaker.admit(START), Admission::Ask);
    }

    #[test]
    fn one_probe_at_a_time_and_one_a_second() {
        let start = START;
        let mut breaker = open(start);
        let refused = Admission::Refuse("late".to_owned());
        let almost = start + PROBE_INTERVAL - Duration::from_millis(1);
        assert_eq!(breaker.admit(almost), refused);
        let then = start + PROBE_INTERVAL;
        assert_eq!(breaker.admit(then), Admission::Probe);
        // However long it takes.
        assert_eq!(breaker.admit(then + 9 * PROBE_INTERVAL), refused);
        // Another question's failure is not its end.
        breaker.failed(then, "late", false);
        assert_eq!(breaker.admit(then + 9 * PROBE_INTERVAL), refused);
        breaker.failed(then, "late", true);
        assert_eq!(breaker.admit(then), refused);
        assert_eq!(breaker.admit(then + PROBE_INTERVAL), Admission::Probe);
        breaker.probe_lost();
        assert_eq!(breaker.admit(then + 2 * PROBE_INTERVAL), Admission::Probe);
    }

    #[test]
    fn the_first_answer_closes_it() {
        let start = START;
        let mut breaker = open(start);
        assert_eq!(breaker.admit(start + PROBE_INTERVAL), Admission::Probe);
        assert_eq!(breaker.answered(), Change::Closed);
        assert_eq!(breaker.admit(start), Admission::Ask);
        // It takes as many failures as before to open it again.
        assert_eq!(breaker.failed(start, "no", true), Change::None);
        assert_eq!(breaker.admit(start), Admission::Ask);
    }
}
