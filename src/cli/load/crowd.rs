//! What is known of the subscribers of a load test: who was served, who is away, and what the server has said.
//!
//! Never here: deliveries (`tally`), sockets (`fleet`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::speech::HeadMeaning;

/// The subscribers, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// By subscriber.
    pub(super) pasts: Vec<Past>,
    /// Subscribers that were served ([`HeadMeaning::Ready`]).
    pub(super) welcome: usize,
    /// Subscribers that were served, or had an end before that: the test does not wait for their first answer any more.
    pub(super) settled: usize,
    /// The first denial of a topic: the subscriber, and the server's reason. A stream is denied with a status alone.
    pub(super) denial: Option<(usize, Option<String>)>,
    /// The first reason of the server's for ending a session.
    pub(super) farewell: Option<String>,
    pub(super) handshakes: u64,
    pub(super) refused: BTreeMap<u16, u64>,
    pub(super) ended: u64,
    /// Of those, connections of slow readers.
    pub(super) slow_ended: u64,
    pub(super) returned: u64,
    pub(super) missed: u64,
    /// Messages that are no event of the test, and do not belong to the protocol's beginning.
    pub(super) strangers: u64,
    /// When subscribers connect again, in the order in which their connections ended.
    pub(super) to_redial: VecDeque<(Duration, usize)>,
}

/// What happened to a subscriber so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// True exactly when it was served.
    pub(super) was_welcome: bool,
    /// True exactly when its connection has ended.
    pub(super) was_away: bool,
}

impl Crowd {
    /// A subscriber received a message that is no event of the test.
    pub(super) fn note(&mut self, seat: usize, meaning: HeadMeaning) {
        match meaning {
            HeadMeaning::Ready => self.note_welcome(seat),
            HeadMeaning::Greeting | HeadMeaning::Recovery(_) | HeadMeaning::Gap(_) => {}
            HeadMeaning::Denied(reason) => {
                self.denial.get_or_insert((seat, Some(reason)));
            }
            HeadMeaning::Farewell(reason) => {
                self.farewell.get_or_insert(reason);
            }
            HeadMeaning::Stranger => self.strangers += 1,
        }
    }

    fn note_welcome(&mut self, seat: usize) {
        let past = &mut self.pasts[seat];
        if !std::mem::replace(&mut past.was_welcome, true) {
            self.welcome += 1;
            self.settled += usize::from(!past.was_away);
        }
    }

    /// Sets the flag. Returns true the first time.
    pub(super) fn note_end(&mut self, seat: usize) -> bool {
        let past = &mut self.pasts[seat];
        let is_first = !std::mem::replace(&mut past.was_away, true);
        self.settled += usize::from(is_first && !past.was_welcome);
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_settles_once_whatever_happens_to_it() {
        let mut crowd = Crowd {
            pasts: vec![Past::default(); 2],
            ..Crowd::default()
        };
        // Welcome, gone, back.
        crowd.note_welcome(0);
        assert!(crowd.note_end(0));
        crowd.note_welcome(0);
        assert_eq!((crowd.welcome, crowd.settled), (1, 1));
        // Refused twice, and then welcome.
        assert!(crowd.note_end(1));
        assert!(!crowd.note_end(1));
        assert_eq!((crowd.welcome, crowd.settled), (1, 2));
        crowd.note_welcome(1);
        assert_eq!((crowd.welcome, crowd.settled), (2, 2));
    }
}
