//! What comes in on a connection: understood one message at a time, and done.
//!
//! What is answered to the bytes of one read leaves in one write: a read can hold some hundred pings,
//! and a system call for each of them would take longer than everybody else's events may wait.
//!
//! Never here: who is read and how far (`reading`), how a connection ends (`ending`), what the bytes mean
//! (the session's).

use std::net::SocketAddr;
use std::rc::Rc;

use super::link::{Sent, Stream};
use super::outbox::Batch;
use super::session::{Failure, Noted, State, Step};
use super::slots::SlotId;
use super::{Check, Connection, End, Engine, second};
use crate::limits;
use crate::standing::{Applicant, Standing, Verdict};
use crate::stats::{Counter, Refusal};
use crate::wire::files::Plain;
use crate::wire::http::Acceptance;
use crate::wire::websocket;

impl<S: Stream> Engine<S> {
    /// A stream was accepted whose upgrade another part of the program has parsed and judged, and whose client
    /// it lets in with `standing`. `early` came behind the upgrade.
    ///
    /// # Errors
    /// Hands the stream back when there is no place for it: its peer is owed that refusal.
    pub fn handle_admitted(
        &mut self,
        stream: S,
        peer: SocketAddr,
        upgrade: Result<Acceptance, Refusal>,
        early: Vec<u8>,
        standing: Rc<Standing>,
    ) -> Result<SlotId, (S, Refusal)> {
        let id = self.handle_connection(stream, peer)?;
        let is_barred = self
            .addresses
            .is_barred(peer.ip().to_canonical(), self.desk.now);
        match upgrade {
            Err(refusal) => self.refuse(id, refusal),
            Ok(_) if is_barred => self.refuse(id, Refusal::TooManyTokens),
            Ok(acceptance) => {
                if let Some(connection) = self.slots.get_mut(id) {
                    connection.session.admit(acceptance, early);
                }
                self.handle_verdict(id, Verdict::Accepted(standing));
            }
        }
        Ok(id)
    }

    /// The bytes of one read. Answers what it cost to understand them and to do what they say, as
    /// [`limits::TURN_READ_COST`] counts.
    pub(super) fn handle_bytes(&mut self, id: SlotId, bytes: &mut [u8]) -> usize {
        let Some(connection) = self.slots.get_mut(id) else {
            return 0;
        };
        let mut cost = match connection.session.state() {
            State::Upgrading => limits::HEAD_COST,
            State::Checking | State::Open | State::Closing => 0,
        };
        if connection.session.state() == State::Open {
            connection.session.note_heard();
            self.arm(id, self.rules.ping_seconds);
        }
        let mut answers = Batch::default();
        let mut at = 0;
        while at < bytes.len() {
            let (taken, end) = self.step(id, &mut bytes[at..], &mut answers);
            at += taken;
            cost += limits::MESSAGE_COST;
            let is_last = end.is_some() || at >= bytes.len();
            if is_last || answers.bytes().len() >= limits::ANSWER_BYTES_MAX {
                // The answers leave before whatever ends the connection; where they cannot, that ends it.
                if !answers.bytes().is_empty() {
                    cost += limits::ANSWER_COST;
                }
                let end = self.answer(id, std::mem::take(&mut answers)).or(end);
                if let Some(end) = end {
                    self.end(id, end);
                    return cost + limits::ANSWER_COST;
                }
            }
        }
        cost
    }

    fn answer(&mut self, id: SlotId, answers: Batch) -> Option<End> {
        if answers.bytes().is_empty() {
            return None;
        }
        let link = &mut self.slots.get_mut(id)?.link;
        match link.answer(answers, &mut self.desk) {
            Sent::Fine => None,
            Sent::Failed(reason) => Some(End::Lost(reason)),
        }
    }

    /// One message of a connection, from its bytes to what it does. What it is answered is gathered.
    fn step(&mut self, id: SlotId, bytes: &mut [u8], answers: &mut Batch) -> (usize, Option<End>) {
        let Some(connection) = self.slots.get_mut(id) else {
            return (bytes.len(), None);
        };
        let Connection {
            link,
            session,
            topics: own,
        } = connection;
        if session.state() == State::Checking {
            session.keep(bytes);
            return (bytes.len(), None);
        }
        let Self {
            hub,
            desk,
            rules,
            incidents,
            ..
        } = self;
        let (taken, step) = session.step(bytes, link.peer().ip(), &rules.session);
        let Some(step) = step else {
            return (taken, None);
        };
        let mut end = None;
        let mut check = None;
        match step {
            Step::Check(applicant) => check = Some(*applicant),
            Step::Subscribe(topic) => {
                desk.stats.count(Counter::Messages);
                if topic.len() > rules.topic_bytes_max {
                    end = Some(End::Failed(Failure::Limit("topic too long")));
                } else if hub.subscribe(id.index(), own, &topic) {
                    desk.stats.count(Counter::Subscribes);
                    if own.len() > rules.subscriptions_max {
                        end = Some(End::Failed(Failure::Limit("too many subscriptions")));
                    }
                }
            }
            Step::Denied(topic, standing) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::SubscribesDenied);
                incidents.denied(&topic, standing);
                log::debug!("denied: peer={} topic={topic:?}", link.peer());
            }
            Step::Unsubscribe(topic) => {
                desk.stats.count(Counter::Messages);
                if hub.unsubscribe(id.index(), own, &topic) {
                    desk.stats.count(Counter::Unsubscribes);
                }
            }
            Step::Noted(Noted::Prefix) => desk.stats.count(Counter::Messages),
            Step::Noted(Noted::Publish) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(Counter::ClientPublishes);
            }
            Step::Noted(Noted::Pong) => {}
            Step::Reply(frame, counter) => {
                desk.stats.count(Counter::Messages);
                desk.stats.count(counter);
                answers.push_frame(|out| out.extend_from_slice(&frame));
            }
            Step::Pong(payload) => {
                desk.stats.count(Counter::PingsReceived);
                if !link.replace_pong(payload, desk) {
                    answers.push_frame(|out| websocket::encode_pong(payload, out));
                }
            }
            Step::Refuse(refusal, client) => end = Some(End::Refused(refusal, client)),
            Step::Serve(plain) => {
                let (counter, answer) = match plain {
                    Plain::File(answer) => (Counter::FilesServed, answer),
                    Plain::Health(answer) => (Counter::HealthChecks, answer),
                };
                desk.stats.count(counter);
                end = Some(End::Served(answer));
            }
            Step::PeerClosed(code) => end = Some(End::PeerClosed(code)),
            Step::Fail(failure) => end = Some(End::Failed(failure)),
        }
        session.settle();
        if let Some(applicant) = check {
            let client = applicant.client;
            let refused = self.check(id, applicant).err();
            end = refused.map(|refusal| End::Refused(refusal, client));
        }
        (taken, end)
    }

    /// Has what a client came with judged, if nothing speaks against the client.
    fn check(&mut self, id: SlotId, applicant: Applicant) -> Result<(), Refusal> {
        let Some(peer) = self.slots.get(id).map(|c| c.link.peer().ip()) else {
            return Ok(());
        };
        if self.is_shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        let client = applicant.client;
        // Behind a trusted proxy: only now is it known who is there.
        if client != peer {
            if !self.enter(client) {
                return Err(Refusal::AddressFull);
            }
            if let Some(connection) = self.slots.get_mut(id) {
                connection.link.set_client(client);
            }
        }
        if self.addresses.is_barred(client, self.desk.now) {
            return Err(Refusal::TooManyTokens);
        }
        self.arm(id, self.rules.handshake_seconds);
        self.checks.push_back(Check { id, applicant });
        Ok(())
    }

    /// A store has judged a token. The connection may be gone by now.
    pub fn handle_verdict(&mut self, id: SlotId, verdict: Verdict) {
        let state = self.slots.get(id).map(|c| c.session.state());
        if state != Some(State::Checking) {
            self.desk.stats.count(Counter::Stale);
            return;
        }
        match verdict {
            Verdict::Accepted(_) if self.is_shutting_down => {
                self.refuse(id, Refusal::ShuttingDown);
            }
            Verdict::Accepted(standing) => self.open(id, standing),
            Verdict::Refused(cause) => {
                if let Some(connection) = self.slots.get(id) {
                    let address = connection.link.peer().ip();
                    self.addresses.refuse(address, self.desk.now);
                }
                self.refuse_token(id, cause);
            }
            Verdict::Unavailable => self.refuse(id, Refusal::AuthUnavailable),
        }
    }

    fn open(&mut self, id: SlotId, standing: Rc<Standing>) {
        let session_id = session_id(self.seed, id);
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        log::debug!(
            "open: peer={} name={:?}",
            connection.link.peer(),
            standing.name()
        );
        let mut answer = Vec::with_capacity(256);
        let opened =
            connection
                .session
                .open(standing, second(self.desk.now), &session_id, &mut answer);
        let Some((early, has_unread)) = opened else {
            return;
        };
        self.desk.stats.count(Counter::Handshakes);
        // 101 and WELCOME in one write.
        if let Sent::Failed(reason) = connection.link.send(&answer, &mut self.desk) {
            return self.end(id, End::Lost(reason));
        }
        self.arm(id, self.rules.ping_seconds);
        if !early.is_empty() {
            self.keep_early(id, early);
        } else if has_unread {
            self.list_rest(id);
        }
    }
}

/// 96 bits in hexadecimal: a number of this process's and the slot's, both scrambled, so that they
/// are unique here and across processes and do not tell how many connections there are.
fn session_id(seed: u64, id: SlotId) -> String {
    // The finaliser of SplitMix64: a bijection, so different slots stay different.
    let scramble = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let process = scramble(!seed) >> 32;
    format!("{process:08x}{:016x}", scramble(seed ^ id.to_bits()))
}
