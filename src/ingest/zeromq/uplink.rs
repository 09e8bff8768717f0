//! How a publisher is reached, and reached again after its connection was lost.
//!
//! libzmq would connect again by itself, but not everywhere: it resolves names on the thread that serves all
//! sockets, tries one address of a name, and after one error of the protocol it never connects again. So
//! newswire makes a new socket for each attempt, and a [`Uplink`] says when, and to which address
//! ([`Dialer`]).
//!
//! Never here: sockets, messages, and for what the publisher is asked.

use std::time::Duration;

use super::monitor::PeerEvent;
use super::{SetUpError, SourceError};
use crate::health::Upstream;
use crate::ingest::Host;
use crate::ingest::subscriptions::Subscriptions;
use crate::limits;
use crate::net::dial::{DialFailure, DialState, Dialer, Step};
use crate::net::names::{Resolve, Resolver};
use crate::net::{Address, Place};
use crate::stats::PeerRefusal;

const REPORT: Duration = Duration::from_secs(limits::REPORT_SECONDS);

/// What has changed with an event of the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UplinkChange {
    /// There is a connection: nothing was asked on it yet.
    Joined,
    /// The connection, or the attempt to make one, is over.
    Lost,
}

/// The way to one publisher.
#[derive(Debug)]
pub struct Uplink {
    /// As it is configured.
    endpoint: String,
    dialer: Dialer,
    /// For a name.
    resolver: Option<Resolver>,
    /// True exactly when the present socket is to be replaced: what its monitor still tells does not count.
    is_over: bool,
    /// Since when there is no connection; `None` while there is one.
    down_since: Option<Duration>,
    /// Since when there is a connection, or there was the last one.
    up_since: Duration,
    /// How often a connection was made.
    connects: u64,
    /// Why there is no connection, as far as that is known.
    trouble: Option<String>,
    /// When the log last said so.
    reported: Option<Duration>,
}

impl Uplink {
    /// Begins to connect to `endpoint` at `now`. Answers the address of the first socket, if it is known yet. A
    /// name is resolved by `resolve` on a thread, which calls `wake` with each answer.
    ///
    /// # Errors
    /// `endpoint` is not one that could be connected to, or there is no thread left.
    pub fn open(
        endpoint: &str,
        now: Duration,
        resolve: impl Resolve,
        wake: impl Fn() + Send + 'static,
    ) -> Result<(Self, Option<Address>), SourceError> {
        let failed = |cause| SourceError {
            endpoint: endpoint.to_owned(),
            action: "connect to",
            cause: SetUpError::ZeroMq(cause),
        };
        let place = Place::of(endpoint).ok_or_else(|| failed(zmq::Error::EINVAL))?;
        let resolver = match &place {
            Place::Fixed(_) => None,
            Place::Named(name) => {
                let resolver = Resolver::start(name.clone(), resolve, wake);
                Some(resolver.map_err(|sentence| {
                    log::error!("sub: {sentence}");
                    failed(zmq::Error::EMFILE)
                })?)
            }
        };
        let mut uplink = Self {
            endpoint: endpoint.to_owned(),
            dialer: Dialer::new(place, now),
            resolver,
            is_over: true,
            down_since: Some(now),
            up_since: now,
            connects: 0,
            trouble: None,
            reported: None,
        };
        let address = match uplink.dialer.poll_step() {
            Some(Step::Connect(address)) => {
                uplink.is_over = false;
                Some(address)
            }
            Some(Step::Resolve) => {
                uplink.resolve();
                None
            }
            None => None,
        };
        Ok((uplink, address))
    }

    /// The endpoint as it is configured.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns true when the publisher is connected.
    pub fn is_connected(&self) -> bool {
        self.dialer.state() == DialState::Connected
    }

    /// Returns true when there was a connection before the present one.
    fn has_been_connected(&self) -> bool {
        self.connects > 1
    }

    /// How the publisher is connected.
    pub fn upstream(&self, now: Duration, asks_for_everything: bool) -> Upstream<'_> {
        Upstream {
            state: self.dialer.state().name(),
            is_connected: self.is_connected(),
            lasted: now.saturating_sub(self.down_since.unwrap_or(self.up_since)),
            trouble: self.trouble.as_deref(),
            asks_for_everything,
            connects: self.connects,
        }
    }

    /// When [`Uplink::dial`] has something to do; `None` when it has not.
    pub fn deadline(&self) -> Option<Duration> {
        self.dialer.deadline()
    }

    /// Something has happened to the peer of the present socket. What was asked of the publisher begins and ends with its
    /// connection, and one that was made again is a gap.
    pub fn follow(
        &mut self,
        now: Duration,
        event: PeerEvent,
        subscriptions: &mut Subscriptions,
        host: &mut dyn Host,
    ) {
        match self.handle_peer(now, event) {
            Some(UplinkChange::Joined) => {
                host.note_joined(self.has_been_connected());
                subscriptions.begin(now);
            }
            Some(UplinkChange::Lost) => subscriptions.end(),
            None => {}
        }
    }

    /// Something has happened to the peer of the present socket.
    fn handle_peer(&mut self, now: Duration, event: PeerEvent) -> Option<UplinkChange> {
        if self.is_over {
            return None;
        }
        let (failure, why) = match event {
            PeerEvent::Joined if self.dialer.state() == DialState::Connecting => {
                self.joined(now);
                return Some(UplinkChange::Joined);
            }
            PeerEvent::Joined => return None,
            PeerEvent::Left => (
                DialFailure::Unreachable,
                "the connection was lost".to_owned(),
            ),
            PeerEvent::Unreachable => (
                DialFailure::Unreachable,
                format!("nobody takes a connection at {}", self.at()),
            ),
            PeerEvent::Refused(PeerRefusal::Incomplete) => (
                DialFailure::Unreachable,
                format!("{} ended the connection before it greeted", self.at()),
            ),
            PeerEvent::Refused(refusal) => {
                let why = match refusal {
                    PeerRefusal::Mechanism => "wants another security mechanism than NULL",
                    PeerRefusal::Malformed => "breaks the rules of ZMTP",
                    PeerRefusal::Denied => "refuses newswire",
                    PeerRefusal::WrongProtocol | PeerRefusal::Incomplete => {
                        "is not a PUB or XPUB socket that speaks ZMTP 3"
                    }
                };
                let why = format!("what listens at {} {why}", self.at());
                (DialFailure::Refused, why)
            }
        };
        self.lost(now, failure, why);
        Some(UplinkChange::Lost)
    }

    /// Goes on with connecting. Answers the address of the socket that is to take the place of the present one,
    /// when there is one. `has_messages` is true while the present socket may have messages: these come first.
    pub fn dial(&mut self, now: Duration, has_messages: bool) -> Option<Address> {
        if let Some(answer) = self.resolver.as_mut().and_then(Resolver::poll_answer) {
            if let Err(reason) = &answer {
                self.note_trouble(now, format!("the host's name leads nowhere: {reason}"));
            }
            self.dialer.handle_answer(now, answer);
        }
        let at = self.at();
        if self.dialer.handle_time(now) {
            self.is_over = true;
            let seconds = limits::DIAL_ATTEMPT_SECONDS;
            self.note_trouble(now, format!("no answer from {at} within {seconds} s"));
        }
        match self.dialer.poll_step()? {
            Step::Resolve => {
                self.resolve();
                None
            }
            step @ Step::Connect(_) if has_messages => {
                self.dialer.put_back(step);
                None
            }
            Step::Connect(address) => {
                self.is_over = false;
                Some(address)
            }
        }
    }

    /// The socket that [`Uplink::dial`] has asked for cannot be made.
    pub fn handle_failure(&mut self, now: Duration, error: &SourceError) {
        self.lost(now, DialFailure::Unreachable, error.to_string());
    }

    fn resolve(&mut self) {
        if let Some(resolver) = &mut self.resolver {
            resolver.ask();
        }
    }

    /// The address that is tried, for the log.
    fn at(&self) -> String {
        let address = self.dialer.address();
        address.map_or_else(|| self.endpoint.clone(), Address::to_string)
    }

    fn joined(&mut self, now: Duration) {
        self.dialer.handle_connected(now);
        self.connects += 1;
        self.up_since = now;
        let down = now.saturating_sub(self.down_since.take().unwrap_or(now));
        (self.trouble, self.reported) = (None, None);
        log::info!(
            "sub: endpoint={} connected address={} after={:.1} s",
            self.endpoint,
            self.at(),
            down.as_secs_f32()
        );
    }

    fn lost(&mut self, now: Duration, failure: DialFailure, why: String) {
        self.is_over = true;
        self.down_since.get_or_insert(now);
        self.dialer.handle_failure(now, failure);
        self.note_trouble(now, why);
    }

    /// Notes why there is no connection. The log says it when it is new, and not too often.
    fn note_trouble(&mut self, now: Duration, why: String) {
        let is_new = self.trouble.as_ref() != Some(&why);
        let is_due = self.reported.is_none_or(|at| now >= at + REPORT);
        if is_new && is_due {
            self.reported = Some(now);
            log::warn!(
                "sub: endpoint={} is not connected: {why}. newswire tries again; events that are published meanwhile \
                 are missed",
                self.endpoint
            );
        }
        self.trouble = Some(why);
    }
}
