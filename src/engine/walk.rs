//! A batch on its way: a walk hands it to the members of an audience.
//!
//! Never here: the other walks of the audience (`lanes`), which walk is next and how far it gets (`flush`), what
//! members of several audiences get (`merge`).

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::batch::{Batch, LossMark};
use crate::wire::id::EventId;

/// Consecutive events of one audience: no event of another was ingested between them.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its place among all runs.
    pub sequence: u64,
    /// In bytes, where it starts in its batch.
    pub start: usize,
}

/// What is known of an event whose frame is about to be added to a batch.
#[derive(Clone, Copy, Debug)]
pub struct PendingEvent {
    /// Its id, if it has one.
    pub id: Option<EventId>,
    /// When it came; `None` when nobody measures that.
    pub since: Option<Duration>,
    /// In bytes, its frame.
    pub frame_bytes: usize,
    /// The frame's mark.
    pub mark: Option<LossMark>,
}

/// A batch on its way through the members of its audience.
#[derive(Debug, Default)]
pub struct Walk {
    /// What it hands out. Never empty, but while the walk is spare.
    pub batch: Rc<Batch>,
    /// Ascending in both fields, and never empty. The first one's sequence is the walk's own.
    pub runs: Vec<Run>,
    /// The first place that has not been served.
    pub cursor: u32,
    /// True exactly when the batch gathers no more: some member was served, or it is one big event.
    pub is_closed: bool,
    /// Members that came while the batch was there: from which byte on they are owed it.
    pub ahead: HashMap<u32, usize>,
    /// When its first event came; `None` when nobody measures that.
    pub since: Option<Duration>,
    /// The id of its first event, if it has one.
    pub first_id: Option<EventId>,
}

impl Walk {
    /// Begins with an event, whose frame `encode` writes, in the run `sequence`. The walk must be new, or spare.
    pub fn begin(&mut self, sequence: u64, event: PendingEvent, encode: impl FnOnce(&mut Vec<u8>)) {
        let batch = Rc::get_mut(&mut self.batch).expect("a spare batch is nobody else's");
        batch.mark_from(0, event.mark);
        batch.push_frame(|out| {
            out.reserve_exact(event.frame_bytes);
            encode(out);
        });
        self.runs.push(Run { sequence, start: 0 });
        self.since = event.since;
        self.first_id = event.id;
    }

    /// Makes the walk a spare one, which keeps its memory and nothing else. Returns false when somebody is still owed
    /// its batch.
    pub fn empty(&mut self) -> bool {
        let Some(batch) = Rc::get_mut(&mut self.batch) else {
            return false;
        };
        batch.clear();
        self.runs.clear();
        self.ahead = HashMap::new();
        self.cursor = 0;
        self.is_closed = false;
        true
    }

    /// In bytes, the memory that it keeps while it is spare.
    pub fn spare_bytes(&self) -> usize {
        self.batch.spare_bytes() + self.runs.capacity() * size_of::<Run>()
    }

    /// The number that no other walk has.
    pub fn sequence(&self) -> u64 {
        self.runs[0].sequence
    }

    /// Its batch gathers no more, and is about to be shared.
    pub fn close(&mut self) {
        self.is_closed = true;
        if let Some(batch) = Rc::get_mut(&mut self.batch) {
            batch.trim();
        }
    }

    /// From which byte on `member` is still owed this batch, having been served all runs up to number
    /// `served`; `None` when it is owed nothing.
    pub fn owes(&self, member: u32, served: u64) -> Option<usize> {
        if member < self.cursor {
            return None;
        }
        let run = self.runs.partition_point(|run| run.sequence <= served);
        let start = self.runs.get(run)?.start;
        let from = match self.ahead.get(&member) {
            Some(&ahead) => start.max(ahead),
            None => start,
        };
        (from < self.batch.bytes().len()).then_some(from)
    }
}
