//! A client's token is judged by somebody else: what is asked, and what follows from the verdict.
//!
//! Never here: how a token is judged, verdicts on sessions that are open (`review`).

use std::net::IpAddr;
use std::rc::Rc;

use super::batch::Batch;
use super::ending::Ending;
use super::link::{Sent, Stream};
use super::session::{Arrears, SessionId, Stage};
use super::slots::SlotId;
use super::subscribing;
use super::{Engine, second};
use crate::limits;
use crate::standing::{Applicant, Standing, Verdict};
use crate::stats::{Counter, Refusal};

/// A client whose token is to be judged. The answer goes to [`Engine::handle_verdict`], at once or later.
#[derive(Debug)]
pub struct Check {
    /// Where the answer goes.
    pub id: SlotId,
    /// What the client came with.
    pub applicant: Applicant,
}

impl<S: Stream> Engine<S> {
    /// The next token to be judged.
    pub fn poll_check(&mut self) -> Option<Check> {
        self.checks.pop_front()
    }

    /// Has the token of a client judged, if nothing speaks against the client.
    pub(super) fn check(&mut self, id: SlotId, applicant: Applicant) -> Result<(), Refusal> {
        self.let_apply(id, applicant.client)?;
        self.checks.push_back(Check { id, applicant });
        Ok(())
    }

    /// Accepts the upgrade of a client that will show its token later, if nothing speaks against the client.
    pub(super) fn greet(
        &mut self,
        id: SlotId,
        client: IpAddr,
        answers: &mut Batch,
    ) -> Result<(), Refusal> {
        self.let_apply(id, client)?;
        let session_id = self.session_id(id);
        if let Some(connection) = self.slots.get_mut(id) {
            answers.push_frame(|out| connection.session.greet(session_id, out));
        }
        Ok(())
    }

    /// Lets a client ask to be let in, unless something speaks against it, and gives it the time for that.
    fn let_apply(&mut self, id: SlotId, client: IpAddr) -> Result<(), Refusal> {
        let Some(peer) = self.slots.get(id).map(|c| c.link.peer().ip()) else {
            return Ok(());
        };
        if self.is_shutting_down {
            return Err(Refusal::ShuttingDown);
        }
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
        Ok(())
    }

    /// A store has judged a token. The connection may be gone by now. Answers what it cost to carry the verdict out,
    /// as [`limits::TURN_VERDICTS_MAX`] counts.
    pub fn handle_verdict(&mut self, id: SlotId, verdict: Verdict) -> usize {
        let connection = self.slots.get(id).map(|c| &c.session);
        let Some(session) = connection.filter(|session| session.stage() == Stage::Checking) else {
            self.desk.stats.count(Counter::Stale);
            return 1;
        };
        let cost = 1 + session.topics().len() / limits::VERDICT_TOPICS;
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
        cost
    }

    /// Why a client may not have the topics that it has named in its request; `None` when it may, or has named none.
    fn judge_topics(&mut self, id: SlotId, standing: &Standing) -> Option<Refusal> {
        let connection = self.slots.get(id)?;
        let topics = connection.session.topics();
        let is_good = |topic: &String| topic.len() <= self.rules.topic_bytes_max;
        if topics.len() > self.rules.subscriptions_max || !topics.iter().all(is_good) {
            return Some(Refusal::Topics);
        }
        let denied = topics.iter().find(|topic| !standing.allows(topic))?;
        log::debug!("denied: peer={} topic={denied:?}", connection.link.peer());
        Some(Refusal::TopicDenied)
    }

    /// Welcomes a client that has introduced itself, and whose token is good. Answers how it ends when it is not
    /// welcome any more.
    pub(super) fn welcome(&mut self, id: SlotId, answers: &mut Batch) -> Option<Ending> {
        let session_id = self.session_id(id);
        let second = second(self.desk.now);
        let connection = self.slots.get_mut(id)?;
        if self.is_shutting_down {
            let client = connection.link.peer().ip();
            return Some(Ending::Refused(Refusal::ShuttingDown, client));
        }
        answers.push_frame(|out| connection.session.welcome(second, session_id, out));
        self.desk.stats.count(Counter::Handshakes);
        self.arm(id, self.rules.ping_seconds);
        None
    }

    /// The number of the session in this place.
    pub(super) fn session_id(&self, id: SlotId) -> SessionId {
        SessionId::new(self.seed, id.to_bits())
    }

    fn open(&mut self, id: SlotId, standing: Rc<Standing>) {
        let session_id = self.session_id(id);
        if let Some(refusal) = self.judge_topics(id, &standing) {
            return self.refuse(id, refusal);
        }
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        log::debug!(
            "open: peer={} name={:?}",
            connection.link.peer(),
            standing.name()
        );
        let topics = connection.session.topics().to_vec();
        let past = connection.session.past();
        let mut answer = Vec::with_capacity(256);
        let opened =
            connection
                .session
                .open(standing, second(self.desk.now), session_id, &mut answer);
        let Some(Arrears { early, has_unread }) = opened else {
            return;
        };
        if let Some(encoding) = connection.session.encoding().filter(|_| !topics.is_empty()) {
            let whose = (id, &mut connection.audiences);
            let (hub, replays) = (&mut self.hub, &mut self.replays);
            let (notice, subscribed) =
                subscribing::begin_stream(hub, replays, whose, encoding, &topics, past);
            let stats = &self.desk.stats;
            stats.add(Counter::Subscribes, subscribed as u64);
            subscribing::count_recovery(stats, past, &notice);
            encoding.recovery(0, notice, &mut answer);
        }
        let stage = connection.session.stage();
        if stage == Stage::Open {
            self.desk.stats.count(Counter::Handshakes);
        }
        // 101 and WELCOME in one write.
        let sent = connection.link.send(&answer, &mut self.desk);
        self.gaps.note(id, &mut self.desk.lost);
        if let Sent::Failed(reason) = sent {
            return self.end(id, Ending::Lost(reason));
        }
        self.arm(
            id,
            match stage {
                Stage::Open => self.rules.ping_seconds,
                _ => self.rules.handshake_seconds,
            },
        );
        if !early.is_empty() {
            self.keep_early(id, early);
        } else if has_unread {
            self.list_rest(id);
        }
    }
}
