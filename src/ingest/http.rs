//! The source of events that come by HTTP: bodies of requests, and a receipt for each.
//!
//! The server hands bodies in with [`Http::push`] and fetches receipts with [`Http::poll_receipt`].
//! A body waits here while there is no room for its events, but not for ever. It is published as a whole or
//! not at all. Its receipt comes after the flush that has handed its events to their subscribers.
//!
//! Each connection of a publisher sends one request at a time. Bodies of publishers that have left may be
//! forgotten ([`Http::retain`]), so there are not many.
//!
//! Never here: connections (`P` names a publisher and means nothing here), HTTP's heads and answers.

use std::collections::VecDeque;
use std::time::Duration;

use super::intake::TakenEvent;
use super::{Received, Settlement, Source};
use crate::limits;
use crate::stats::Ingest;
use crate::wire::publication::{Publication, PublicationFault};

/// How long a body may wait.
const PATIENCE: Duration = Duration::from_secs(limits::ADMIN_ANSWER_SECONDS);

/// What became of a body.
#[derive(Debug, Eq, PartialEq)]
pub enum Receipt {
    /// Its events went to the engine.
    Published {
        /// True exactly when the body was an array, or lines.
        is_batch: bool,
        /// Its events, in their order.
        events: Vec<TakenEvent>,
    },
    /// It makes no sense.
    Bad(PublicationFault),
    /// There was no room for its events for too long.
    TimedOut,
    /// The server goes down and takes no more events.
    Closing,
}

/// A body that has not been taken yet.
#[derive(Debug)]
struct WaitingBody<P> {
    publisher: P,
    since: Duration,
    publication: Publication,
}

/// The bodies, and their receipts.
#[derive(Debug)]
pub struct Http<P> {
    /// In the order in which they came.
    waiting: VecDeque<WaitingBody<P>>,
    /// The body that was received and not settled.
    current: Option<WaitingBody<P>>,
    /// Receipts that wait for the flush.
    settled: Vec<(P, Receipt)>,
    /// Receipts to be fetched.
    receipts: VecDeque<(P, Receipt)>,
    is_closing: bool,
}

impl<P> Default for Http<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            current: None,
            settled: Vec::new(),
            receipts: VecDeque::new(),
            is_closing: false,
        }
    }
}

impl<P> Http<P> {
    /// A publisher has sent a body.
    pub fn push(&mut self, publisher: P, now: Duration, publication: Publication) {
        if self.is_closing {
            return self.receipts.push_back((publisher, Receipt::Closing));
        }
        self.waiting.push_back(WaitingBody {
            publisher,
            since: now,
            publication,
        });
    }

    /// The next receipt, and whose it is.
    pub fn poll_receipt(&mut self) -> Option<(P, Receipt)> {
        self.receipts.pop_front()
    }

    /// In bytes, all bodies that wait.
    pub fn waiting_bytes(&self) -> usize {
        let bodies = self.waiting.iter();
        bodies.map(|body| body.publication.bytes().len()).sum()
    }

    /// Forgets the bodies of publishers that are not there any more.
    pub fn retain(&mut self, mut is_there: impl FnMut(&P) -> bool) {
        self.waiting.retain(|body| is_there(&body.publisher));
    }

    /// Takes no more bodies, and refuses those that wait.
    pub fn close(&mut self) {
        self.is_closing = true;
        let waiting = self.waiting.drain(..);
        let closing = waiting.map(|body| (body.publisher, Receipt::Closing));
        self.receipts.extend(closing);
    }
}

impl<P> Source for Http<P> {
    fn name(&self) -> &str {
        "POST /publish"
    }

    fn kind(&self) -> Ingest {
        Ingest::Http
    }

    fn is_ready(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        self.current = self.waiting.pop_front();
        let publication = &self.current.as_ref()?.publication;
        Some(Received::Body {
            from: "POST /publish",
            publication,
        })
    }

    fn settle(&mut self, settlement: Settlement) {
        if let (Some(body), Settlement::Body(receipt)) = (self.current.take(), settlement) {
            self.settled.push((body.publisher, receipt));
        }
    }

    fn flushed(&mut self, now: Duration) {
        self.receipts.extend(self.settled.drain(..));
        // There was no room for these in this turn either.
        while self.lag(now).is_some_and(|lag| lag >= PATIENCE)
            && let Some(body) = self.waiting.pop_front()
        {
            self.receipts.push_back((body.publisher, Receipt::TimedOut));
        }
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        if !self.receipts.is_empty() {
            return Some(Duration::ZERO);
        }
        Some(PATIENCE.saturating_sub(self.lag(now)?))
    }

    fn lag(&self, now: Duration) -> Option<Duration> {
        let oldest = self.waiting.front()?;
        Some(now.saturating_sub(oldest.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::{Epoch, EventId};
    use crate::wire::publication::Media;

    const ZERO: Duration = Duration::ZERO;

    fn body() -> Publication {
        let body = br#"{"topic":"t","data":1}"#.to_vec();
        Publication::new(body, Media::Json)
    }

    #[test]
    fn a_receipt_comes_after_the_flush() {
        let mut http = Http::default();
        http.push('a', ZERO, body());
        http.push('b', ZERO, body());
        assert!(matches!(http.receive(), Some(Received::Body { .. })));
        let published = || Receipt::Published {
            is_batch: false,
            events: vec![TakenEvent {
                id: EventId {
                    epoch: Epoch::new([0; 8]),
                    sequence: 1,
                },
                subscribers: 3,
            }],
        };
        http.settle(Settlement::Body(published()));
        assert_eq!(http.poll_receipt(), None);
        http.flushed(ZERO);
        assert_eq!(http.timeout(ZERO), Some(ZERO));
        assert_eq!(http.poll_receipt(), Some(('a', published())));
        assert!(http.is_ready(), "b waits for its turn");
        assert_eq!(http.poll_receipt(), None);
    }

    #[test]
    fn a_body_waits_for_room_but_not_for_ever() {
        let mut http = Http::default();
        http.push('a', ZERO, body());
        http.push('b', Duration::from_secs(1), body());
        assert_eq!(http.timeout(ZERO), Some(PATIENCE));
        http.flushed(PATIENCE / 2);
        assert_eq!(http.poll_receipt(), None);
        http.flushed(PATIENCE);
        assert_eq!(http.poll_receipt(), Some(('a', Receipt::TimedOut)));
        assert_eq!(http.poll_receipt(), None);
        assert_eq!(http.timeout(PATIENCE), Some(Duration::from_secs(1)));
    }

    #[test]
    fn nothing_is_taken_of_publishers_that_have_left_or_come_too_late() {
        let mut http = Http::default();
        http.push('a', ZERO, body());
        http.push('b', ZERO, body());
        http.retain(|&publisher| publisher == 'b');
        http.close();
        http.push('c', ZERO, body());
        assert!(!http.is_ready());
        for publisher in ['b', 'c'] {
            assert_eq!(http.poll_receipt(), Some((publisher, Receipt::Closing)));
        }
        assert_eq!(http.poll_receipt(), None);
    }
}
