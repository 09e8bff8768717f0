//! What happens to connections whose deadline has passed.
//!
//! Never here: when a deadline passes (`deadlines`).

use super::Engine;
use super::ending::Ending;
use super::link::{Sent, Stream};
use super::session::Stage;
use super::slots::SlotId;
use crate::limits;
use crate::stats::{Close, Counter, Refusal};

impl<S: Stream> Engine<S> {
    /// Deals with the deadlines that have passed, as many as a turn's budget allows.
    pub fn expire(&mut self) {
        let mut expired = Vec::new();
        let tick = self.desk.now.as_secs();
        self.is_sweeping = !self
            .deadlines
            .expire(tick, limits::TURN_EXPIRIES_MAX, &mut expired);
        for index in expired {
            let Some(connection) = self.slots.at_mut(index) else {
                continue;
            };
            let state = connection.session.stage();
            let is_owed = !connection.link.outbox().is_empty();
            let is_to_be_pinged = connection.session.note_silent(is_owed);
            let id = self.slots.id_at(index);
            match state {
                Stage::Upgrading => self.refuse(id, Refusal::Timeout),
                Stage::Checking => self.refuse(id, Refusal::AuthUnavailable),
                Stage::Greeting => self.end(id, Ending::Late),
                // A ping would wait behind what it has not taken. Bytes that it takes are a sign of life.
                Stage::Open if is_to_be_pinged && is_owed => self.arm(id, self.rules.pong_seconds),
                Stage::Open if is_to_be_pinged => self.ping(id),
                // Nobody is there to read a last word, and a client that is there after all
                // comes back only if it does not get one.
                Stage::Open => self.lose(id, Close::PingTimeout),
                Stage::Closing => self.give_up(id),
            }
        }
    }

    fn ping(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        let mut frame = Vec::new();
        connection.session.ping(&mut frame);
        let has_pongs = connection.session.has_pongs();
        self.desk.stats.count(Counter::PingsSent);
        let sent = connection.link.send(&frame, &mut self.desk);
        self.gaps.note(id, &mut self.desk.lost);
        match sent {
            Sent::Fine if !has_pongs => self.arm(id, self.rules.ping_seconds),
            Sent::Fine => self.arm(id, self.rules.pong_seconds),
            Sent::Failed(reason) => self.end(id, Ending::Lost(reason)),
        }
    }
}
