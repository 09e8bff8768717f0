//! How one connection ends: refused, closed or lost.
//!
//! Three words are kept apart. To *close* is polite: the client is told why, the half-close follows, and
//! the place is kept until the client's own end comes or a deadline passes. To *lose* is sudden. To *reap* is
//! to free the place, which only [`Engine::reap`] does. Each connection is counted once, with
//! one reason, when its end begins.
//!
//! Never here: rules that a message breaks (the session's), which connection ends to make room for a newcomer
//! (`room`), the end of all (`shutdown`).

use std::net::IpAddr;

use super::Engine;
use super::link::{Sent, Stream, Unread};
use super::session::{Breach, LastWord, Stage};
use super::slots::SlotId;
use crate::stats::{Cause, Close, Refusal};

/// How a connection comes to its end.
#[derive(Debug)]
pub enum Ending {
    /// At once, without a word.
    Lost(Close),
    /// With an HTTP status, or in its protocol when its upgrade was answered. The address is the client's: behind a proxy its link may not know it yet.
    Refused(Refusal, IpAddr),
    /// With the answer to a plain request.
    Served(Vec<u8>),
    /// With the answer to the client's Close frame, and its code.
    PeerClosed(Option<u16>),
    /// With the answer to the client's own leave in its protocol.
    PeerLeft,
    /// Because its client broke a rule.
    Failed(Breach),
    /// Because its client did not introduce itself in time.
    Late,
    /// Because its token is good no more.
    Withdrawn(Close),
    /// Because an administrator wants it to.
    Disconnected,
}

impl<S: Stream> Engine<S> {
    /// Ends a connection in the way that fits its cause.
    pub(super) fn end(&mut self, id: SlotId, end: Ending) {
        match end {
            // Its socket is full, so only a peer that wakes up in time learns why.
            Ending::Lost(reason @ Close::SlowConsumer) => {
                self.part_with(id, reason, LastWord::SlowConsumer);
            }
            Ending::Lost(reason) => self.lose(id, reason),
            Ending::Refused(refusal, client) => self.refuse_client(id, client, refusal, None),
            Ending::Served(answer) => self.close(id, Close::Served, &answer),
            Ending::PeerClosed(code) => {
                self.part_with(id, Close::PeerClosed, LastWord::PeerClosed(code));
            }
            Ending::PeerLeft => self.part_with(id, Close::PeerClosed, LastWord::PeerLeft),
            Ending::Withdrawn(reason @ Close::TokenEnded) => {
                self.part_with(id, reason, LastWord::TokenEnded);
            }
            // Its token may be as good as ever: without a last word a client comes back.
            Ending::Withdrawn(reason) => self.lose(id, reason),
            // A clean end, so that autobahn.js does not come back.
            Ending::Disconnected => {
                self.part_with(id, Close::Disconnected, LastWord::Disconnected);
            }
            Ending::Late => self.part_with(id, Close::NotWelcomed, LastWord::Late),
            Ending::Failed(breach) => self.part_with(id, breach.reason, LastWord::Breach(breach)),
        }
    }

    /// Ends a session whose upgrade was accepted politely, with a last word in its client's protocol.
    pub(super) fn part_with(&mut self, id: SlotId, reason: Close, word: LastWord) {
        if let Some(connection) = self.slots.get(id) {
            let mut last = Vec::new();
            connection.session.last_word(word, &mut last);
            self.close(id, reason, &last);
        }
    }

    /// Refuses an upgrade.
    pub(super) fn refuse(&mut self, id: SlotId, refusal: Refusal) {
        if let Some(connection) = self.slots.get(id) {
            let client = connection.link.peer().ip();
            self.refuse_client(id, client, refusal, None);
        }
    }

    /// Refuses an upgrade because its token is not good.
    pub(super) fn refuse_token(&mut self, id: SlotId, cause: Cause) {
        if let Some(connection) = self.slots.get(id) {
            let client = connection.link.peer().ip();
            self.desk.stats.refused_token(cause);
            self.refuse_client(id, client, Refusal::Token, Some(cause));
        }
    }

    fn refuse_client(
        &mut self,
        id: SlotId,
        client: IpAddr,
        refusal: Refusal,
        cause: Option<Cause>,
    ) {
        let Some(connection) = self.slots.get(id) else {
            return;
        };
        self.desk.stats.refused(refusal);
        self.incidents.refused(client, refusal, cause);
        let (peer, reason) = (connection.link.peer(), refusal.name());
        match cause {
            Some(cause) => {
                log::debug!(
                    "refused: peer={peer} reason={reason} cause={}",
                    cause.name()
                );
            }
            None => log::debug!("refused: peer={peer} reason={reason}"),
        }
        let answer = connection.session.refusal(refusal, self.session_id(id));
        self.close(id, Close::Refused, &answer);
    }

    /// Ends a connection politely: `last` is what it is still sent.
    pub(super) fn close(&mut self, id: SlotId, reason: Close, last: &[u8]) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        if connection.session.stage() == Stage::Closing {
            return;
        }
        connection.session.close();
        self.desk.stats.closed(reason);
        let peer = connection.link.peer();
        log::debug!("closing: peer={peer} reason={}", reason.name());
        let sent = connection.link.close(last, &mut self.desk);
        let is_paused = connection.link.unread == Unread::Paused;
        self.leaving.push_back(id);
        if is_paused {
            // It owes no answers any more, and no writable edge may be left to come.
            self.list_rest(id);
        }
        match sent {
            Sent::Fine => {
                self.arm(id, self.rules.close_seconds);
                self.room.closing.push(id, self.desk.now);
            }
            Sent::Failed(_) => self.give_up(id),
        }
    }

    /// Ends a connection at once, without a word to its peer.
    pub(super) fn lose(&mut self, id: SlotId, reason: Close) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        if connection.session.stage() != Stage::Closing {
            let is_lost = matches!(reason, Close::PeerGone | Close::SocketError);
            let reason = match is_lost && connection.session.is_silent() {
                true => Close::Probe,
                false => reason,
            };
            connection.session.close();
            self.desk.stats.closed(reason);
            let peer = connection.link.peer();
            log::debug!("lost: peer={peer} reason={}", reason.name());
        }
        self.give_up(id);
    }

    /// Has the place of a connection freed whose end has begun, in this turn's [`Engine::reap`] or a later
    /// one. Until then it is neither read nor written.
    pub(super) fn give_up(&mut self, id: SlotId) {
        if let Some(connection) = self.slots.get_mut(id)
            && std::mem::replace(&mut connection.link.unread, Unread::Gone) != Unread::Gone
        {
            self.gone.push_back(id);
        }
    }

    /// A stream could not be registered with the poller, so no readiness would ever come for it.
    pub fn handle_unwatched(&mut self, id: SlotId) {
        self.lose(id, Close::SocketError);
    }
}
