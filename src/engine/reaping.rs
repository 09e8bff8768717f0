//! The end of a turn: connections leave their topics, and places become free.
//!
//! Never here: why a connection ends (`ending`).

use super::Engine;
use super::link::Stream;
use super::reading::give_back;
use super::slots::SlotId;
use crate::limits;

/// Notices when half of the connections have left: what they had was perhaps most of the memory.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    /// In connections, the most since the last ebb.
    most: usize,
    is_due: bool,
}

impl Ebb {
    /// There are so many connections.
    fn note(&mut self, connections: usize) {
        self.most = self.most.max(connections);
        if self.most > limits::CONNECTIONS_KEPT_MAX && connections <= self.most / 2 {
            self.most = connections;
            self.is_due = true;
        }
    }

    /// True once after half of many connections have left.
    pub fn take(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }
}

impl<S: Stream> Engine<S> {
    /// Ends the turn: connections whose end has begun leave their topics, and those that are gone give their
    /// places free. No other function does either. What the turn's budget leaves over goes on next turn:
    /// until it has left its last topic, a connection keeps its place and receives nothing.
    pub fn reap(&mut self) {
        self.ebb.note(self.slots.len());
        let mut left = limits::TURN_LEAVES_MAX;
        while left > 0
            && let Some(&id) = self.leaving.front()
        {
            if self.leave_topics(id, &mut left) {
                self.leaving.pop_front();
            }
        }
        while left > 0
            && let Some(&id) = self.gone.front()
        {
            if !self.leave_topics(id, &mut left) {
                break;
            }
            self.gone.pop_front();
            left = left.saturating_sub(limits::REAP_LEAVES);
            self.reading.forget(id);
            let Some(mut connection) = self.slots.remove(id) else {
                continue;
            };
            connection.link.clear(&mut self.desk);
            self.deadlines.clear(id.index());
            self.leave(connection.link.peer().ip());
        }
        self.ebb.note(self.slots.len());
        self.room.note_reaped(self.gone.len());
        self.tidy_room();
        give_back(&mut self.leaving);
        give_back(&mut self.gone);
    }

    /// Has a connection leave its topics, `left` at the most. Answers whether it has left all.
    fn leave_topics(&mut self, id: SlotId, left: &mut usize) -> bool {
        let Some(connection) = self.slots.get_mut(id) else {
            return true;
        };
        while *left > 0 && self.hub.leave_one(id.index(), &mut connection.audiences) {
            *left -= 1;
        }
        while *left > 0 && self.replays.cancel_one(id, &mut self.hub) {
            *left -= 1;
        }
        connection.audiences.is_empty() && self.replays.topics(id) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebb_is_half_of_many_connections() {
        let mut ebb = Ebb::default();
        let mut takes = |connections| {
            ebb.note(connections);
            ebb.take()
        };
        let most = 4 * limits::CONNECTIONS_KEPT_MAX;
        assert!(!takes(most) && !takes(most / 2 + 1));
        assert!(takes(most / 2) && !takes(most / 2), "once");
        assert!(takes(most / 4) && !takes(0), "few are not worth it");
    }
}
