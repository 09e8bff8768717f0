//! How newswire connects to a peer and reconnects: which of the peer's addresses it tries, for how long, and how long it
//! pauses after all of them failed.
//!
//! A name is resolved at the beginning of each round, and its addresses are tried one after the other, the
//! one that worked last first. So a name with IPv4 and IPv6 addresses reaches a server that listens on only
//! one of them, and a server that has moved is found. While a nameserver is silent or fails, the addresses
//! of its last answer are tried.
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

/// What the owner of a dialer has to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Resolve the name; [`Dialer::handle_answer`] takes the addresses.
    Resolve,
    /// Connect a new socket to this address.
    Connect(Address),
}

/// The state of a dialer.
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
    /// Returns the name that operators see.
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
    /// Nothing listens there, or the connection was lost: the next attempt may succeed.
    Unreachable,
    /// The peer refused, and will refuse again: it is another kind of peer, or wants another security mechanism.
    Refused,
}

/// The attempts to connect to one peer.
#[derive(Debug)]
pub struct Dialer {
    place: Place,
    /// The addresses of the last good answer; for a fixed place, its address.
    known: Vec<Address>,
    /// The addresses that are tried in this round, in this order: a copy of `known` from the start of the round.
    addresses: Vec<Address>,
    /// The place in `addresses` of the address that is tried, or connected.
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
    /// Rounds in a row in which a peer refused.
    rounds_refused: u32,
    /// True exactly when a peer has refused in this round.
    is_refused: bool,
    /// The address that worked last.
    last: Option<SocketAddr>,
}

impl Dialer {
    /// Makes a dialer that begins at `now`.
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

    /// Returns the state.
    pub fn state(&self) -> DialState {
        self.state
    }

    /// Returns when the state began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Returns the address that is tried, or connected.
    pub fn address(&self) -> Option<&Address> {
        let is_at = matches!(self.state, DialState::Connecting | DialState::Connected);
        self.addresses.get(self.at).filter(|_| is_at)
    }

    /// Returns when [`Dialer::handle_time`] has something to do; `None` when it has nothing.
    pub fn deadline(&self) -> Option<Duration> {
        self.until
    }

    /// Returns the next step. A step that was not fetched yet may be replaced by a later one.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.step.take()
    }

    /// Puts a step back that could not be done yet.
    pub fn put_back(&mut self, step: Step) {
        self.step = Some(step);
    }

    /// Handles time that has passed. Returns true when an attempt has ended because the peer did not answer in time.
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

    /// Takes the name's addresses, or the reason why there are none.
    pub fn handle_answer(&mut self, now: Duration, answer: Answer) {
        if let Ok(mut found) = answer {
            // The sort is stable, so the others stay in the system's order.
            found.sort_by_key(|&address| Some(address) != self.last);
            self.known = found.into_iter().map(Address::Ip).collect();
        }
        // A late answer counts in the next round.
        if self.state == DialState::Resolving {
            self.begin_trying(now);
        }
    }

    /// Notes that the handshake with the peer is complete.
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

    /// Notes that the attempt has failed, or the connection was lost.
    pub fn handle_failure(&mut self, now: Duration, failure: DialFailure) {
        self.is_refused |= failure == DialFailure::Refused;
        match self.state {
            DialState::Connecting if self.at + 1 < self.addresses.len() => {
                self.try_at(now, self.at + 1);
            }
            DialState::Connecting => self.pause(now),
            DialState::Connected => {
                // A peer that ends each connection at once must not be called ten times a second.
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

    /// Begins to try the known addresses.
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

/// Returns `first`, doubled so many `times`, but not more than `max`.
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

    /// Lets the pause that `dialer` makes at `now` pass, and returns its length.
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

        // The address that worked is tried first from then on.
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
        // An answer that comes during an attempt does not end the attempt.
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

        // A connection that ends at once does not count as a success.
        dialer.handle_connected(now);
        dialer.handle_failure(now, DialFailure::Unreachable);
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MAX);
        dialer.handle_connected(now);
        now += PAUSE_MAX;
        dialer.handle_failure(now, DialFailure::Unreachable);
        assert_eq!(sleep(&mut dialer, &mut now), PAUSE_MIN);
    }
}
