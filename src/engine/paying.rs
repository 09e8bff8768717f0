//! What connections are owed leaves when their sockets take bytes again.
//!
//! A writable edge only puts a connection on a list; [`Engine::pay`] writes, once a turn, as far as the
//! turn's budget goes. Clients that were stalled together wake up together.
//!
//! Bytes that a stream takes are a sign of life, as bytes that come are: a client behind a slow network
//! takes an event for a minute, and cannot answer a ping that waits behind it.
//!
//! Never here: first writes of events and answers (`link`), which connections must give up what they are owed
//! (`relief`).

use super::Engine;
use super::ending::Ending;
use super::link::{Sent, Stream, Unread};
use super::session::Stage;
use super::slots::SlotId;
use crate::limits;
use crate::stats::{Close, Counter};

impl<S: Stream> Engine<S> {
    /// A stream takes bytes again.
    pub fn handle_writable(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            self.desk.stats.count(Counter::Stale);
            return;
        };
        let link = &mut connection.link;
        if link.outbox().is_empty() {
            // What it was owed was dropped. It may wait for kept events.
            return self.replays.list(id);
        }
        if !link.is_payable {
            link.is_payable = true;
            self.payable.push_back(id);
        }
    }

    /// Goes on with the outboxes of the connections on the list, as far as the turn's budget goes. The one that has
    /// waited longest comes first.
    pub fn pay(&mut self) {
        self.tell_losses();
        while self.desk.payment_left > 0
            && let Some(id) = self.payable.pop_front()
        {
            self.pay_one(id);
        }
    }

    fn pay_one(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        let link = &mut connection.link;
        link.is_payable = false;
        if link.outbox().is_empty() || link.unread == Unread::Gone {
            return;
        }
        let Ok(taken) = link.pay(&mut self.desk) else {
            return self.end(id, Ending::Lost(Close::SocketError));
        };
        let state = connection.session.stage();
        if link.outbox().is_empty() {
            if state == Stage::Closing
                && let Sent::Failed(reason) = link.finish()
            {
                return self.end(id, Ending::Lost(reason));
            }
        } else if self.desk.payment_left == 0 {
            // It may take more than the budget allowed, and then no other edge comes.
            link.is_payable = true;
            self.payable.push_back(id);
        }
        if link.outbox().owed_bytes() < limits::REPLAY_OWED_BYTES_MAX {
            self.replays.list(id);
        }
        let is_paused = link.unread == Unread::Paused && link.outbox().answers_bytes() == 0;
        if taken > 0 && state == Stage::Open {
            connection.session.note_heard();
            self.arm(id, self.rules.ping_seconds);
        }
        if is_paused {
            self.list_rest(id);
        }
    }
}
