//! A client's token is judged by somebody else: what is asked, and what follows from the verdict.
//!
//! Never here: how a token is judged, verdicts on sessions that are open (`review`).

use std::rc::Rc;

use super::ending::Ending;
use super::link::{Sent, Stream};
use super::session::{SessionId, Stage};
use super::slots::SlotId;
use super::{Engine, second};
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
        let state = self.slots.get(id).map(|c| c.session.stage());
        if state != Some(Stage::Checking) {
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
        let session_id = SessionId::new(self.seed, id.to_bits());
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
                .open(standing, second(self.desk.now), session_id, &mut answer);
        let Some((early, has_unread)) = opened else {
            return;
        };
        self.desk.stats.count(Counter::Handshakes);
        // 101 and WELCOME in one write.
        if let Sent::Failed(reason) = connection.link.send(&answer, &mut self.desk) {
            return self.end(id, Ending::Lost(reason));
        }
        self.arm(id, self.rules.ping_seconds);
        if !early.is_empty() {
            self.keep_early(id, early);
        } else if has_unread {
            self.list_rest(id);
        }
    }
}
