//! What the subscribers received of the events that were published: losses, doubles, disorder, and how late.
//!
//! An event of the load test carries the run, its number within its topic, and the time at which it was published:
//! `{"load":RUN,"n":N,"at":NANOSECONDS,…}`. A subscriber remembers the number that comes next, and the
//! earlier ones that it has not received.
//!
//! Slow readers are counted apart: what they get, and how late, says nothing of the others.
//!
//! Never here: sockets, clocks, what is printed.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::super::protocol::Protocol;
use super::holes::Holes;
use super::speech;

/// In nanoseconds; a longer time counts as this.
const LATENCY_MAX: u64 = 600_000_000_000;

/// In events of one topic that are followed until their last subscriber has them.
const FOLLOWED_MAX: usize = 10_000;

/// What one subscriber remembers.
#[derive(Clone, Debug, Default)]
struct SubscriberTally {
    /// The number that comes next; 0 until the subscriber received a probe.
    next: u32,
    /// Numbers below `next` that have not arrived.
    missing: Holes,
}

/// The events of one topic that are on their way.
#[derive(Debug, Default)]
struct TopicTally {
    /// Numbers given out.
    published: u32,
    subscribers: u32,
    /// How many subscribers have not received each event yet, from number `published - len + 1` on.
    waiting: VecDeque<u32>,
}

/// All that was counted.
#[derive(Debug)]
pub struct LoadTally {
    run: u32,
    protocol: Protocol,
    topics: Vec<TopicTally>,
    /// How an event begins, for each topic.
    prefixes: Vec<String>,
    seats: Vec<SubscriberTally>,
    /// Subscribers below this number are slow readers.
    slow: usize,
    /// When each subscriber was back for the last time, in nanoseconds; empty while all stay.
    returns: Vec<u64>,
    /// In events: every subscriber has received them.
    pub complete: u64,
    /// Events handed to the publisher's socket.
    pub published: u64,
    /// Events that a subscriber received for the first time.
    pub deliveries: u64,
    /// Of those, events that were published before the subscriber was back. How late they are is how long it was away,
    /// so the latencies leave them out.
    pub replayed: u64,
    /// The deliveries of slow readers, which are no part of all others.
    pub slow_deliveries: u64,
    /// Events that a subscriber received again.
    pub doubles: u64,
    /// Events that a subscriber received after a later one.
    pub disorder: u64,
    /// In bytes of payload received.
    pub bytes: u64,
    /// In nanoseconds, from publishing to each subscriber.
    pub to_each: Histogram<u64>,
    /// In nanoseconds, from publishing to the last subscriber, where that one was there.
    pub to_last: Histogram<u64>,
    unprobed: usize,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("bounds that it takes")
}

impl LoadTally {
    /// For `subscribers` that speak `protocol`, spread over `topics` one after the other.
    pub fn new(run: u32, protocol: Protocol, topics: &[String], subscribers: usize) -> Self {
        let data = format!("{{\"load\":{run},\"n\":");
        let prefixes = topics
            .iter()
            .map(|topic| speech::prefix(protocol, topic, &data))
            .collect();
        let topics = (0..topics.len()).map(|_| TopicTally::default()).collect();
        Self {
            run,
            protocol,
            topics,
            prefixes,
            seats: vec![SubscriberTally::default(); subscribers],
            slow: 0,
            returns: Vec::new(),
            complete: 0,
            published: 0,
            deliveries: 0,
            replayed: 0,
            slow_deliveries: 0,
            doubles: 0,
            disorder: 0,
            bytes: 0,
            to_each: histogram(),
            to_last: histogram(),
            unprobed: subscribers,
        }
    }

    /// The data of the next event of `topic`, at least `bytes` long where that can be.
    pub fn publish(&mut self, topic: usize, at: u64, bytes: usize) -> String {
        let state = &mut self.topics[topic];
        state.published += 1;
        self.published += 1;
        // The test does not wait for subscribers that are away.
        self.complete += u64::from(state.subscribers == 0);
        state.waiting.push_back(state.subscribers);
        if state.waiting.len() > FOLLOWED_MAX {
            state.waiting.pop_front();
        }
        data(self.run, state.published, at, bytes)
    }

    /// The data of an event that only finds out which subscribers are subscribed.
    pub fn probe(&self, at: u64) -> String {
        data(self.run, 0, at, 0)
    }

    /// How many subscribers have not received a probe yet.
    pub fn unprobed(&self) -> usize {
        self.unprobed
    }

    /// The number of subscribers that a probe has reached is known from now on.
    pub fn begin(&mut self) {
        let topics = self.topics.len();
        for (index, seat) in self.seats.iter().enumerate().skip(self.slow) {
            self.topics[index % topics].subscribers += u32::from(seat.next > 0);
        }
    }

    /// How many events have not reached every subscriber.
    pub fn outstanding(&self) -> u64 {
        self.published - self.complete
    }

    /// The subscriber at `seat` received at `now` a message that begins with `head` and is `bytes` long. Returns false
    /// when that is no event of this run.
    pub fn receive(&mut self, seat: usize, head: &[u8], bytes: usize, now: u64) -> bool {
        let topic = seat % self.topics.len();
        let event = speech::behind(self.protocol, head, &self.prefixes[topic]).and_then(parse);
        if let Some((n, at)) = event {
            let was_away = self.returns.get(seat).is_some_and(|&back| at < back);
            let late = (!was_away).then(|| now.saturating_sub(at));
            self.count(seat, n, late, bytes);
        }
        event.is_some()
    }

    /// The subscriber at `seat` received event `n`, so many nanoseconds after it was published; `None` when the
    /// subscriber was not there at that time.
    fn count(&mut self, seat: usize, n: u32, late: Option<u64>, bytes: usize) {
        let topic = seat % self.topics.len();
        let memory = &mut self.seats[seat];
        if n == 0 {
            if memory.next == 0 {
                memory.next = 1;
                self.unprobed -= 1;
            }
            return;
        }
        if memory.next == 0 {
            return;
        }
        if n < memory.next {
            if !memory.missing.fill(n) {
                self.doubles += 1;
                return;
            }
            self.disorder += 1;
        } else {
            memory.missing.dig(memory.next..n);
            memory.next = n + 1;
        }
        if seat < self.slow {
            self.slow_deliveries += 1;
            return;
        }
        self.deliveries += 1;
        self.bytes += bytes as u64;
        match late {
            Some(late) => self.to_each.saturating_record(late),
            None => self.replayed += 1,
        }
        let state = &mut self.topics[topic];
        let first = state.published as usize - state.waiting.len() + 1;
        let slot = (n as usize).checked_sub(first);
        if let Some(waiting @ 1..) = slot.and_then(|slot| state.waiting.get_mut(slot)) {
            *waiting -= 1;
            if *waiting == 0 {
                self.complete += 1;
                if let Some(late) = late {
                    self.to_last.saturating_record(late);
                }
            }
        }
        while state.waiting.front() == Some(&0) {
            state.waiting.pop_front();
        }
    }

    /// A subscriber lost its connection. What it misses until it is back is not the server's loss, and is counted
    /// apart.
    pub fn leave(&mut self, seat: usize) -> u64 {
        let topic = &mut self.topics[seat % self.prefixes.len()];
        let memory = &mut self.seats[seat];
        if memory.next == 0 {
            self.unprobed -= 1;
            memory.next = 1;
            return 0;
        }
        if seat < self.slow {
            return 0;
        }
        let missed = u64::from(topic.published + 1 - memory.next);
        topic.subscribers = topic.subscribers.saturating_sub(1);
        missed
    }

    /// The first `count` subscribers are slow readers.
    pub(super) fn have_slow_readers(&mut self, count: usize) {
        self.slow = count;
    }

    /// A subscriber is subscribed again at `now`.
    pub(super) fn note_return(&mut self, seat: usize, now: u64) {
        self.returns.resize(self.seats.len(), 0);
        self.returns[seat] = now;
    }

    /// A subscriber will not read: the tally leaves it out from before the first event.
    pub fn exclude(&mut self, seat: usize) {
        self.seats[seat].next = 0;
    }

    /// Deliveries that were due and have not arrived.
    pub fn losses(&self, is_away: impl Fn(usize) -> bool) -> u64 {
        self.seats
            .iter()
            .enumerate()
            .skip(self.slow)
            .filter(|&(index, seat)| seat.next > 0 && !is_away(index))
            .map(|(index, seat)| {
                seat.missing.len() as u64 + self.published_to(index) + 1 - u64::from(seat.next)
            })
            .sum()
    }

    /// How many deliveries there are when these subscribers get everything that was published to their topics.
    pub(super) fn expected(&self, seats: std::ops::Range<usize>) -> u64 {
        let subscribed = seats.filter(|&index| self.seats[index].next > 0);
        subscribed.map(|index| self.published_to(index)).sum()
    }

    fn published_to(&self, seat: usize) -> u64 {
        u64::from(self.topics[seat % self.topics.len()].published)
    }
}

fn data(run: u32, n: u32, at: u64, bytes: usize) -> String {
    let mut data = format!("{{\"load\":{run},\"n\":{n},\"at\":{at},\"pad\":\"");
    let pad = bytes.saturating_sub(data.len() + 2);
    data.extend(std::iter::repeat_n('x', pad));
    data.push_str("\"}");
    data
}

/// The number and the time of an event, from what stands behind its prefix.
fn parse(rest: &[u8]) -> Option<(u32, u64)> {
    let rest = std::str::from_utf8(rest).ok()?;
    let (n, rest) = rest.split_once(',')?;
    let at = rest.strip_prefix("\"at\":")?.split(',').next()?;
    Some((n.parse().ok()?, at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::fleet::HEAD_BYTES;
    use super::*;

    fn tally() -> (LoadTally, impl FnMut(&mut LoadTally, usize, u32)) {
        let mut tally = LoadTally::new(7, Protocol::Wamp1, &["t".to_owned()], 2);
        let receive = |tally: &mut LoadTally, seat: usize, n: u32| {
            let text = format!("[8,\"t\",{}]", data(7, n, 1_000, 100));
            assert!(tally.receive(seat, text.as_bytes(), text.len(), 3_000));
        };
        let first = receive;
        first(&mut tally, 0, 0);
        first(&mut tally, 1, 0);
        assert_eq!(tally.unprobed(), 0);
        tally.begin();
        (tally, receive)
    }

    #[test]
    fn an_event_is_complete_when_the_last_has_it() {
        let (mut tally, mut receive) = tally();
        tally.publish(0, 1_000, 100);
        receive(&mut tally, 0, 1);
        assert_eq!((tally.complete, tally.outstanding()), (0, 1));
        receive(&mut tally, 1, 1);
        assert_eq!((tally.complete, tally.outstanding()), (1, 0));
        assert_eq!(tally.to_last.max(), 2_000);
        assert_eq!(tally.losses(|_| false), 0);
    }

    #[test]
    fn an_event_waits_for_nobody_who_is_away() {
        let (mut tally, mut receive) = tally();
        (0..2).for_each(|seat| assert_eq!(tally.leave(seat), 0));
        tally.publish(0, 1_000, 100);
        assert_eq!(tally.outstanding(), 0);
        // Both are back before the event has left.
        (0..2).for_each(|seat| receive(&mut tally, seat, 1));
        assert_eq!((tally.complete, tally.outstanding()), (1, 0));
    }

    #[test]
    fn losses_doubles_and_disorder_are_told_apart() {
        let (mut tally, mut receive) = tally();
        for _ in 0..4 {
            tally.publish(0, 1_000, 100);
        }
        for n in [1, 3, 2, 2, 4] {
            receive(&mut tally, 0, n);
        }
        receive(&mut tally, 1, 2);
        assert_eq!(tally.disorder, 1);
        assert_eq!(tally.doubles, 1);
        assert_eq!(tally.losses(|_| false), 3, "1, 3 and 4 at the second");
        assert_eq!(tally.losses(|seat| seat == 1), 0);
        assert_eq!(tally.deliveries, 5);
    }

    #[test]
    fn who_comes_back_is_not_late() {
        let (mut tally, mut receive) = tally();
        tally.publish(0, 1_000, 100);
        receive(&mut tally, 0, 1);
        tally.note_return(1, 1_001);
        receive(&mut tally, 1, 1);
        assert_eq!((tally.deliveries, tally.replayed), (2, 1));
        assert_eq!((tally.to_each.len(), tally.to_last.len()), (1, 0));
        assert_eq!((tally.complete, tally.expected(0..2)), (1, 2));
    }

    #[test]
    fn slow_readers_are_counted_apart() {
        let mut tally = LoadTally::new(7, Protocol::Wamp1, &["t".to_owned()], 2);
        tally.have_slow_readers(1);
        let receive = |tally: &mut LoadTally, seat: usize, n: u32| {
            let text = format!("[8,\"t\",{}]", data(7, n, 1_000, 100));
            assert!(tally.receive(seat, text.as_bytes(), text.len(), 3_000));
        };
        (0..2).for_each(|seat| receive(&mut tally, seat, 0));
        tally.begin();
        for _ in 0..3 {
            tally.publish(0, 1_000, 100);
        }
        receive(&mut tally, 0, 3);
        (1..=3).for_each(|n| receive(&mut tally, 1, n));
        assert_eq!((tally.complete, tally.outstanding()), (3, 0));
        assert_eq!((tally.deliveries, tally.slow_deliveries), (3, 1));
        assert_eq!(tally.to_each.len(), 3);
        assert_eq!(tally.losses(|_| false), 0);
        assert_eq!((tally.expected(0..1), tally.expected(1..2)), (3, 3));
        assert_eq!(tally.leave(0), 0);
        tally.publish(0, 1_000, 100);
        assert_eq!(tally.outstanding(), 1, "the other one is there");
    }

    #[test]
    fn what_somebody_else_published_is_no_event_of_the_run() {
        let (mut tally, _) = tally();
        for text in ["[0,\"id\",1,\"x\"]", "[8,\"t\",1]"] {
            assert!(!tally.receive(0, text.as_bytes(), text.len(), 0), "{text}");
        }
        assert_eq!(tally.deliveries, 0);
    }

    #[test]
    fn an_event_is_an_event_in_each_protocol() {
        let data = data(7, 1, 1_000, 500);
        for (protocol, text) in [
            (Protocol::Wamp1, format!("[8,\"t\",{data}]")),
            (Protocol::Wamp2, format!("[36,123,4567,{{}},[{data}]]")),
            (
                Protocol::Sse,
                format!("data: {{\"topic\":\"t\",\"data\":{data}}}\n\n"),
            ),
        ] {
            let mut tally = LoadTally::new(7, protocol, &["t".to_owned()], 1);
            let head = &text.as_bytes()[..HEAD_BYTES];
            let probe = text.replace("\"n\":1", "\"n\":0");
            assert!(tally.receive(0, &probe.as_bytes()[..HEAD_BYTES], probe.len(), 0));
            tally.begin();
            tally.publish(0, 1_000, 500);
            assert!(tally.receive(0, head, text.len(), 3_000));
            assert_eq!((tally.deliveries, tally.complete), (1, 1));
            assert_eq!(tally.bytes, text.len() as u64);
            assert_eq!(tally.to_each.max(), 2_000);
        }
    }
}
