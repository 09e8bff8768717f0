//! Which connections are read, in which order, and how far a turn gets.
//!
//! Readiness only puts a connection on a list; [`Engine::read`] reads, once a turn, as far as the turn's
//! budget goes. The budget counts what reading costs (system calls, bytes, messages, answers), since
//! 64 KiB can be one message or ten thousand.
//!
//! There are two lists, so that clients that never pause do not hold up those that send one message:
//! 1. A connection that became readable gets a small *first share*: enough for one ordinary message or a
//!    head.
//! 2. A connection that has more than that waits for the *rest*. At least a quarter of each turn is for
//!    these.
//!
//! In each list the connection that has waited longest comes first. An edge-triggered poller tells of a
//! byte once, so a connection stays on a list until its stream is dry.
//!
//! A client that sends messages and does not take the answers is read no further: its connection is on
//! neither list until it has taken them.
//!
//! Never here: what the bytes mean (`handling`), how a connection ends (`ending`).

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;

use super::Engine;
use super::link::{Stream, Unread};
use super::session::Stage;
use super::slots::SlotId;
use crate::limits;
use crate::stats::{Close, Counter};

/// In connections, for how many an emptied list keeps its memory.
const LIST_KEPT: usize = 1_024;

/// The connections that are to be read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Connections that became readable and were not read since.
    first: VecDeque<SlotId>,
    /// Connections that had a first share and may have unread bytes.
    rest: VecDeque<SlotId>,
    /// What came in the same read as the head of an upgrade, behind it: read, and not understood yet.
    early: HashMap<SlotId, Vec<u8>>,
    /// Into which every stream is read.
    buffer: Vec<u8>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            first: VecDeque::new(),
            rest: VecDeque::new(),
            early: HashMap::new(),
            buffer: vec![0; limits::READ_BUFFER_BYTES],
        }
    }
}

impl Reading {
    /// Returns true while some connection is still to be read.
    pub(super) fn is_left(&self) -> bool {
        !self.first.is_empty() || !self.rest.is_empty()
    }

    /// Forgets the unread bytes of a connection that is being freed.
    pub(super) fn forget(&mut self, id: SlotId) {
        if !self.early.is_empty() {
            self.early.remove(&id);
            // A crowd of newcomers comes once.
            if self.early.is_empty() {
                self.early = HashMap::new();
            }
        }
    }
}

/// Gives back the memory that a list has taken for a herd, when the herd has gone.
pub(super) fn give_back(list: &mut VecDeque<SlotId>) {
    if list.is_empty() && list.capacity() > LIST_KEPT {
        *list = VecDeque::new();
    }
}

impl<S: Stream> Engine<S> {
    /// A stream can be read. `ended` is true when its end may already be there, behind the bytes:
    /// then it is read until it says so, since no other readiness will come for that.
    pub fn handle_readable(&mut self, id: SlotId, ended: bool) {
        let Some(connection) = self.slots.get_mut(id) else {
            self.desk.stats.count(Counter::Stale);
            return;
        };
        let unread = &mut connection.link.unread;
        match (*unread, ended) {
            (Unread::None, _) => self.reading.first.push_back(id),
            (Unread::Some, true) => {}
            // It is read to its end, whatever comes.
            _ => return,
        }
        *unread = match ended {
            true => Unread::SomeAndEnd,
            false => Unread::Some,
        };
    }

    /// Puts a connection on the list for the rest, behind those that wait there already.
    pub(super) fn list_rest(&mut self, id: SlotId) {
        if let Some(connection) = self.slots.get_mut(id)
            && matches!(connection.link.unread, Unread::None | Unread::Paused)
        {
            connection.link.unread = Unread::Rest;
            self.reading.rest.push_back(id);
        }
    }

    /// A session was opened whose client has already said more than its head. That is understood when its
    /// turn comes, like whatever else it says.
    pub(super) fn keep_early(&mut self, id: SlotId, early: Vec<u8>) {
        self.reading.early.insert(id, early);
        self.list_rest(id);
    }

    /// Reads the connections on the lists, as far as the turn's budget goes.
    pub fn read(&mut self) {
        // What is read is answered, and there is no room for answers.
        if self.relief.is_under_way() {
            return;
        }
        let mut left = limits::TURN_READ_COST;
        let kept = match self.reading.rest.is_empty() {
            true => 0,
            false => limits::TURN_READ_COST / 4,
        };
        while left > kept
            && let Some(id) = self.reading.first.pop_front()
        {
            left = left.saturating_sub(self.read_share(id, limits::FIRST_SHARE_BYTES));
        }
        while left > 0
            && let Some(id) = self.reading.rest.pop_front()
        {
            left = left.saturating_sub(self.read_share(id, limits::SHARE_BYTES));
        }
        while left > 0
            && let Some(id) = self.reading.first.pop_front()
        {
            left = left.saturating_sub(self.read_share(id, limits::FIRST_SHARE_BYTES));
        }
        give_back(&mut self.reading.first);
        give_back(&mut self.reading.rest);
    }

    /// Reads a connection's share. Answers what that cost.
    fn read_share(&mut self, id: SlotId, share: usize) -> usize {
        let Some(connection) = self.slots.get_mut(id) else {
            return 0;
        };
        let unread = connection.link.unread;
        if unread == Unread::Gone {
            return 0;
        }
        connection.link.unread = Unread::None;
        if !self.reading.early.is_empty()
            && let Some(mut early) = self.reading.early.remove(&id)
        {
            let cost = self.handle_bytes(id, &mut early);
            self.list_rest(id);
            return cost;
        }
        let mut buffer = std::mem::take(&mut self.reading.buffer);
        let cost = self.read_into(&mut buffer, id, share, unread != Unread::Some);
        self.reading.buffer = buffer;
        cost
    }

    fn read_into(&mut self, buffer: &mut [u8], id: SlotId, share: usize, to_end: bool) -> usize {
        let mut cost = 0;
        let mut left = share;
        loop {
            let Some(connection) = self.slots.get_mut(id) else {
                return cost;
            };
            let state = connection.session.stage();
            if connection.link.unread == Unread::Gone {
                return cost;
            }
            if state == Stage::Checking {
                connection.session.note_unread();
                return cost;
            }
            let owed = connection.link.outbox().answers_bytes();
            if matches!(state, Stage::Greeting | Stage::Open)
                && owed > limits::ANSWERS_OWED_BYTES_MAX
            {
                connection.link.unread = Unread::Paused;
                return cost;
            }
            if left == 0 {
                self.list_rest(id);
                return cost;
            }
            let piece = match state {
                Stage::Upgrading => self.rules.session.head_bytes_max,
                Stage::Greeting | Stage::Open => left.min(limits::READ_PIECE_BYTES),
                // What comes is thrown away.
                Stage::Checking | Stage::Closing => buffer.len(),
            };
            let piece = piece.min(buffer.len());
            cost += limits::READ_COST;
            match connection.link.stream.read(&mut buffer[..piece]) {
                Ok(0) => self.lose(id, Close::PeerGone),
                Ok(n) => {
                    left = left.saturating_sub(n);
                    cost += n * limits::READ_BYTE_COST + self.handle_bytes(id, &mut buffer[..n]);
                    // Less than there was room for: the stream is dry, and the next byte is a new
                    // edge.
                    if n < piece && !to_end {
                        return cost;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return cost,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.lose(id, Close::SocketError),
            }
        }
    }
}
