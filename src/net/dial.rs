//! How a peer is reached and reached again: which of its addresses is tried, for how long, and how long the
//! pause is after all of them failed.
//!
//! A name is resolved at the beginning of each round, and its addresses are tried one after the other, the
//! one that worked last first. So a name with IPv4 and IPv6 addresses reaches a server that listens on only
//! one of them, and a server that has moved is found. While a nameserver is silent or fails, the addresses
//! that it told before are tried.
//!
//! ```text
//! Resolving ─▶ Trying ─▶ Connected ─▶ Pausing ─▶ Resolving …
//!     │          └─ next address, or all have failed ─▲
//!     └─ no address ──────────────────────────────────┘
//! ```
//!
//! Never here: sockets, threads, and clocks (moments are handed in).

use std::net::SocketAddr;
use std::time::Duration;

use super::names::Answer;
use super::{Address, Place};
use crate::limits;

const ATTEMPT: Duration = Duration::from_secs(limits::DIAL_ATTEMPT_SECONDS);
const RESOLVE: Duration = Duration::from_secs(limits::DIAL_RESOLVE_SECONDS);
const PAUSE_MIN: Duration = Duration::from_millis(limits::DIAL_PAUSE_MILLISECONDS);
const PAUSE_MAX: Duration = Duration::from_secs(limits::DIAL_PAUSE_SECONDS_MAX);
const REFUSED_MIN: Duration = Duration::from_secs(limits::DIAL_REFUSED_SECONDS);
const REFUSED_MAX: Duration = Duration::from_secs(limits::DIAL_REFUSED_SECONDS_MAX);

/// What is to be done now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The name is to be resolved; [`Dialer::handle_answer`] takes the addresses.
    Resolve,
    /// A new socket is to connect to this address.
    Connect(Address),
}

/// Where a dialer stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DialState {
    /// It waits until the next round.
    Pausing,
    /// It waits for addresses.
    Resolving,
    /// It waits for the peer at one of the addresses.
    Connecting,
    /// The peer is there.
    Connected,
}

impl DialState {
    /// The name that operators see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pausing => "waiting",
            Self::Resolving => "resolving",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
        }
    }
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DialFailure {
    /// Nobody is there, or the connection was lost: it may be different in a moment.
    Unreachable,
    /// Somebody is there who will say no again: another kind of peer, or another security mechanism.
    Refused,
}

/// One peer's.
#[derive(Debug)]
pub struct Dialer {
    place: Place,
    /// What the last good answer was; for a fixed place, its address.
    known: Vec<Address>,
    /// What is tried in this round, in this order: `known`, as it was when the trying began.
    addresses: Vec<Address>,
    /// The address of `addresses` that is tried, or connected to.
    at: usize,
    state: DialState,
    /// Since when `state` is what it is.
    since: Duration,
    /// When the state ends by itself; `None` while it does not.
    until: Option<Duration>,
    /// What [`Dialer::poll_step`] has not handed out yet.
    step: Option<Step>,
    /// Rounds in a row without a connection that lasted.
    rounds_failed: u32,
    /// Rounds in a row that somebody refused.
    rounds_refused: u32,
    /// True exactly when somebody has refused in this round.
    is_refused: bool,
    /// The address that worked last.
    last: Option<SocketAddr>,
}

impl Dialer {
    /// A dialer that begins at `now`.
    pub fn new(place: Place, now: Duration) -> Self {
        let known = match &place {
            Place::Fixed(address) => vec![address.clone()],
            Place::Named(_) => Vec::new(),
        };
        let mut dialer = Self {
            place,
            known,
            addresses: Vec::new(),
            at: 0,
            state: DialState::Pausing,
            since: now,
            until: None,
            step: None,
            rounds_failed: 0,
            rounds_refused: 0,
            is_refused: false,
            last: None,
        };
        dialer.begin_round(now);
        dialer
    }

    /// Where it stands.
    pub fn state(&self) -> DialState {
        self.state
    }

    /// Since when it stands there.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The address that is tried, or connected to.
    pub fn address(&self) -> Option<&Address> {
        let is_at = matches!(self.state, DialState::Connecting | DialState::Connected);
        self.addresses.get(self.at).filter(|_| is_at)
    }

    /// When [`Dialer::handle_time`] has something to do; `None` when it has not.
    pub fn deadline(&self) -> Option<Duration> {
        self.until
    }

    /// What is to be done now. A step that was not done yet may be replaced by a later one.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.step.take()
    }

    /// Puts a step back that could not be done yet.
    pub fn put_back(&mut self, step: Step) {
        self.step = Some(step);
    }

    /// Time has passed. Answers true when an attempt has ended because nobody answered.
    pub fn handle_time(&mut self, now: Duration) -> bool {
        if self.until.is_none_or(|until| now < until) {
            return false;
        }
        match self.state {
            DialState::Pausing => self.begin_round(now),
            DialState::Resolving => self.begin_trying(now),
            DialState::Connecting => {
                self.handle_failure(now, DialFailure::Unreachable);
                return true;
            }
            DialState::Connected => self.until = None,
        }
        false
    }

    /// The name's addresses have come, or the reason why there are none.
    pub fn handle_answer(&mut self, now: Duration, answer: Answer) {
        if let Ok(mut found) = answer {
            // The sort is stable, so the others stay in the system's order.
            found.sort_by_key(|&address| Some(address) != self.last);
            self.known = found.into_iter().map(Address::Ip).collect();
        }
        // An answer that comes later counts in the next round.
        if self.state == DialState::Resolving {
            self.begin_trying(now);
        }
    }

    /// The peer at the address has greeted.
    pub fn handle_connected(&mut self, now: Duration) {
        if self.state != DialState::Connecting {
            return;
        }
        if let Some(Address::Ip(address)) = self.addresses.get(self.at) {
            self.last = Some(*address);
        }
        self.enter(DialState::Connected, now, None);
        self.is_refused = false;
    }

    /// The attempt has failed, or the connection was lost.
    pub fn handle_failure(&mut self, now: Duration, failure: DialFailure) {
        self.is_refused |= failure == DialFailure::Refused;
        match self.state {
            DialState::Connecting if self.at + 1 < self.addresses.len() => {
                self.try_at(now, self.at + 1);
            }
            DialState::Connecting => self.pause(now),
            DialState::Connected => {
                // Who ends each connection at once is not to be called ten times a second.
                if now.saturating_sub(self.since) >= PAUSE_MAX {
                    self.rounds_failed = 0;
                    self.rounds_refused = 0;
                }
                self.pause(now);
            }
            DialState::Pausing | DialState::Resolving => {}
        }
    }

    fn begin_round(&mut self, now: Duration) {
        self.is_refused = false;
        match self.place {
            Place::Fixed(_) => self.begin_trying(now),
            Place::Named(_) => {
                let is_known = !self.known.is_empty();
                self.enter(DialState::Resolving, now, is_known.then_some(now + RESOLVE));
                self.step = Some(Step::Resolve);
            }
        }
    }

    /// Tries the addresses that are known.
    fn begin_trying(&mut self, now: Duration) {
        self.addresses.clone_from(&self.known);
        match self.addresses.is_empty() {
            true => self.pause(now),
            false => self.try_at(now, 0),
        }
    }

    fn try_at(&mut self, now: Duration, at: usize) {
        self.at = at;
        self.enter(DialState::Connecting, now, Some(now + ATTEMPT));
        self.step = Some(Step::Connect(self.addresses[at].clone()));
    }

    fn pause(&mut self, now: Duration) {
        let pause = if self.is_refused {
            self.rounds_refused += 1;
            doubled(REFUSED_MIN, self.rounds_refused - 1, REFUSED_MAX)
        } else {
            doubled(PAUSE_MIN, self.rounds_failed, PAUSE_MAX)
        };
        self.rounds_failed = self.rounds_failed.saturating_add(1);
        self.step = None;
        self.enter(DialState::Pausing, now, Some(now + pause));
    }

    fn enter(&mut self, state: DialState, now: Duration, until: Option<Duration>) {
        (self.state, self.since, self.until) = (state, now, until);
    }
}

/// `first`, doubled so many `times`, but not over `max`.
fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::HostPort;

    const ZERO: Duration = Duration::ZERO;

    fn ip(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn connect(text: &str) -> Option<Step> {
        Some(Step::Connect(Address::Ip(ip(text))))
    }

    fn named() -> Place {
        Place::Named(HostPort {
            host: "publisher.test".to_owned(),
            port: 1,
        })
    }

    /// The pause that `dialer` makes at `now`, which is then over.
    fn sleep(dialer: &mut Dialer, now: &mut Duration) -> Duration {
        assert_eq!(dialer.state(), DialState::Pausing);
        assert_eq!(dialer.poll_step(), None, "a pause is a pause");
        let until = dialer.deadline().expect("it ends");
        let pause = until - *now;
        *now = until;
        dialer.handle_time(*now);
        pause
    }

    #[test]
    fn a_name_with_both_kinds_reaches_a_server_that_listens_on_one() {
        let mut dialer = Dialer::new(named(), ZERO);
        assert_eq!(dialer.poll_step(), Some(Step::Resolve));
        assert_eq!(dialer.deadline(), None, "there is nothing else to try");
        dialer.handle_answer(ZERO, Ok(vec![ip("[::1]:1"), ip("127.0.0.1:1")]));
        assert_eq!(dialer.poll_step(), connect("[::1]:1"));
        dialer.handle_failure(ZERO, DialFailure::Unreachable);
        assert_eq!(
            dialer.poll_step(),
            connect("127.0.0.1:1"),
            "without a pause"
        );
        dialer.handle_connected(ZERO);
        assert_eq!(dialer.state(), DialState::Connected);
        assert_eq!(dialer.deadline(), None);

        // What has worked is tried first from then on.
        let mut now = Duration::from_secs(100);
        dialer.handle_failure(now, DialFailure::Unreachable);
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MIN);
        assert_eq!(dialer.poll_step(), Some(Step::Resolve), "it may have moved");
        dialer.handle_answer(now, Ok(vec![ip("[::1]:1"), ip("127.0.0.1:1")]));
        assert_eq!(dialer.poll_step(), connect("127.0.0.1:1"));
    }

    #[test]
    fn an_address_that_says_nothing_is_left_for_the_next_one() {
        let mut dialer = Dialer::new(named(), ZERO);
        dialer.handle_answer(ZERO, Ok(vec![ip("192.0.2.1:1"), ip("192.0.2.2:1")]));
        dialer.handle_time(ATTEMPT / 2);
        assert_eq!(dialer.poll_step(), connect("192.0.2.1:1"));
        dialer.handle_time(ATTEMPT);
        assert_eq!(dialer.poll_step(), connect("192.0.2.2:1"));
        dialer.handle_time(2 * ATTEMPT);
        assert_eq!(dialer.state(), DialState::Pausing);
    }

    #[test]
    fn a_server_that_has_moved_is_found_and_a_silent_nameserver_holds_nobody_up() {
        let mut dialer = Dialer::new(named(), ZERO);
        dialer.handle_answer(ZERO, Ok(vec![ip("192.0.2.1:1")]));
        dialer.handle_connected(ZERO);
        let mut now = Duration::from_secs(100);
        dialer.handle_failure(now, DialFailure::Unreachable);
        sleep(&mut dialer, &mut now);
        dialer.handle_answer(now, Ok(vec![ip("192.0.2.9:1")]));
        assert_eq!(dialer.poll_step(), connect("192.0.2.9:1"));
        dialer.handle_connected(now);

        now += Duration::from_secs(100);
        dialer.handle_failure(now, DialFailure::Unreachable);
        sleep(&mut dialer, &mut now);
        assert_eq!(dialer.poll_step(), Some(Step::Resolve));
        dialer.handle_time(now + RESOLVE);
        assert_eq!(
            dialer.poll_step(),
            connect("192.0.2.9:1"),
            "as it was known"
        );
        // The answer comes while that is tried, which is not given up for it.
        now += RESOLVE;
        dialer.handle_answer(now, Ok(vec![ip("192.0.2.10:1")]));
        assert_eq!(dialer.poll_step(), None);
        assert_eq!(dialer.state(), DialState::Connecting);
        dialer.handle_failure(now, DialFailure::Unreachable);
        sleep(&mut dialer, &mut now);
        dialer.handle_time(now + RESOLVE);
        assert_eq!(dialer.poll_step(), connect("192.0.2.10:1"));
    }

    #[test]
    fn an_answer_that_fails_leaves_what_is_known() {
        let mut dialer = Dialer::new(named(), ZERO);
        let mut now = ZERO;
        assert_eq!(dialer.poll_step(), Some(Step::Resolve));
        dialer.handle_answer(now, Err("no".to_owned()));
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MIN);
        dialer.handle_answer(now, Ok(vec![ip("192.0.2.1:1")]));
        dialer.handle_failure(now, DialFailure::Unreachable);
        sleep(&mut dialer, &mut now);
        dialer.handle_answer(now, Err("no".to_owned()));
        assert_eq!(dialer.poll_step(), connect("192.0.2.1:1"));
    }

    #[test]
    fn pauses_grow_and_begin_anew_after_a_connection_that_lasted() {
        let place = Place::of("tcp://192.0.2.1:1").expect("an endpoint");
        let mut dialer = Dialer::new(place, ZERO);
        let mut now = ZERO;
        let mut pauses = |dialer: &mut Dialer, failure, n| -> Vec<u128> {
            (0..n)
                .map(|_| {
                    assert_eq!(dialer.poll_step(), connect("192.0.2.1:1"));
                    dialer.handle_failure(now, failure);
                    sleep(dialer, &mut now).as_millis()
                })
                .collect()
        };
        let unreachable = pauses(&mut dialer, DialFailure::Unreachable, 7);
        assert_eq!(unreachable, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        let refused = pauses(&mut dialer, DialFailure::Refused, 8);
        let expected = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(refused, expected);

        // A connection that ends at once is no success.
        dialer.handle_connected(now);
        dialer.handle_failure(now, DialFailure::Unreachable);
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MAX);
        dialer.handle_connected(now);
        now += PAUSE_MAX;
        dialer.handle_failure(now, DialFailure::Unreachable);
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MIN);
    }
}
