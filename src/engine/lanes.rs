//! Events that wait: each gathers in a batch of its audience, behind the batches that are on their way.
//!
//! The walks of one audience are its *lane*. The front one has the right of way, and the back one gathers. A
//! small event is appended to the batch that gathers; a big one has a batch of its own, at its exact size.
//!
//! Every event belongs to a *run*: consecutive events of one audience. The numbers of the runs are the order
//! in which events were ingested, over all lanes.
//!
//! Never here: members and who is owed what (`flush`), protocols (a frame is written by the caller).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::audiences::{AudienceHash, AudienceId};
use super::walk::{PendingEvent, Run, Walk};
use crate::limits;

/// In walks, how many are kept for their memory: as many as may wait.
const SPARE_MAX: usize = limits::PENDING_WALKS_MAX;

/// In bytes, the memory that all spare walks may keep.
const SPARE_BYTES_MAX: usize = 4 * limits::BATCH_BYTES_MAX;

/// The walks of one audience, by age.
#[derive(Debug)]
pub struct Lane {
    /// The oldest.
    pub front: Walk,
    /// The others, by age.
    behind: VecDeque<Walk>,
}

impl Lane {
    /// Its walks, the oldest first.
    pub fn walks(&self) -> impl Iterator<Item = &Walk> {
        std::iter::once(&self.front).chain(&self.behind)
    }

    /// How many walks wait behind the front one.
    pub fn waiting(&self) -> usize {
        self.behind.len()
    }

    /// The youngest.
    fn back_mut(&mut self) -> &mut Walk {
        self.behind.back_mut().unwrap_or(&mut self.front)
    }
}

/// All batches that have not reached all of their members.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<AudienceId, Lane, AudienceHash>,
    /// The keys of `lanes`, in the order in which a turn serves them.
    order: VecDeque<AudienceId>,
    /// How many walks there are in all lanes.
    walks: usize,
    /// In bytes, the sum of the batches of all walks.
    pending_bytes: usize,
    /// The number of the last run.
    sequence: u64,
    /// The audience of the last run, to which its next event is added; `None` when the next event begins a
    /// run in any case.
    open_run: Option<AudienceId>,
    /// Emptied walks, whose memory serves the next ones: with many topics there is one walk for each event.
    spare: Vec<Walk>,
    /// In bytes, the memory that these keep.
    spare_bytes: usize,
}

impl Lanes {
    /// Returns true when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many lanes there are.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// How many walks there are in all lanes.
    pub fn walks(&self) -> usize {
        self.walks
    }

    /// In bytes, the sum of the batches of all walks.
    #[cfg(test)]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Returns true when so much waits that no more should be taken in.
    pub fn is_congested(&self) -> bool {
        self.pending_bytes > limits::PENDING_BYTES_MAX || self.walks > limits::PENDING_WALKS_MAX
    }

    /// The lane of an audience, while something waits in it.
    pub fn get(&self, audience: AudienceId) -> Option<&Lane> {
        self.lanes.get(&audience)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, audience: AudienceId) -> Option<&mut Lane> {
        self.lanes.get_mut(&audience)
    }

    /// All lanes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (AudienceId, &Lane)> {
        self.lanes.iter().map(|(&audience, lane)| (audience, lane))
    }

    /// Adds an event for the members of `audience`; `encode` writes its frame.
    pub fn add(
        &mut self,
        audience: AudienceId,
        event: PendingEvent,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let frame_bytes = event.frame_bytes;
        self.pending_bytes += frame_bytes;
        let mut lane = self.lanes.get_mut(&audience);
        let is_big = frame_bytes >= limits::BIG_EVENT_BYTES;
        if !is_big
            && let Some(walk) = lane.as_deref_mut().map(Lane::back_mut)
            && !walk.is_closed
            && walk.batch.bytes().len() + frame_bytes <= limits::BATCH_BYTES_MAX
            && let Some(batch) = Rc::get_mut(&mut walk.batch)
        {
            let start = batch.bytes().len();
            if self.open_run != Some(audience) {
                self.sequence += 1;
                self.open_run = Some(audience);
                let sequence = self.sequence;
                walk.runs.push(Run { sequence, start });
            }
            batch.mark_from(start, event.mark);
            batch.push_frame(encode);
            debug_assert_eq!(batch.bytes().len() - start, frame_bytes);
            return;
        }
        let spare = if is_big { None } else { self.spare.pop() };
        let mut walk = spare.unwrap_or_default();
        self.spare_bytes -= walk.spare_bytes();
        self.sequence += 1;
        self.open_run = Some(audience);
        walk.begin(self.sequence, event, encode);
        walk.is_closed = is_big;
        self.walks += 1;
        if let Some(lane) = lane {
            lane.behind.push_back(walk);
            return;
        }
        let lane = Lane {
            front: walk,
            behind: VecDeque::new(),
        };
        self.lanes.insert(audience, lane);
        self.order.push_back(audience);
    }

    /// Ends the last run, and answers its number: the next event is behind all that have one so far.
    pub fn end_run(&mut self) -> u64 {
        self.open_run = None;
        self.sequence
    }

    /// `member` has joined `audience` just now: what was ingested before is not for it.
    pub fn note_joined(&mut self, audience: AudienceId, member: u32) {
        let Some(lane) = self.lanes.get_mut(&audience) else {
            return;
        };
        for walk in std::iter::once(&mut lane.front).chain(&mut lane.behind) {
            if member >= walk.cursor {
                walk.ahead.insert(member, walk.batch.bytes().len());
            }
        }
    }

    /// Forgets the lane of an audience that has no member any more; its id may come to mean another one.
    pub fn remove(&mut self, audience: AudienceId) {
        let Some(Lane { front, behind }) = self.lanes.remove(&audience) else {
            return;
        };
        self.order.retain(|&other| other != audience);
        if self.open_run == Some(audience) {
            self.open_run = None;
        }
        for walk in std::iter::once(front).chain(behind) {
            self.retire(walk);
        }
    }

    /// The audience whose turn it is. It stands in no order any more: see [`Lanes::put_back`].
    pub fn take_next(&mut self) -> Option<AudienceId> {
        self.order.pop_front()
    }

    /// How many lanes stand in the order.
    pub fn in_order(&self) -> usize {
        self.order.len()
    }

    /// The audience stands behind all others: its front walk goes on next turn.
    pub fn put_back(&mut self, audience: AudienceId) {
        self.order.push_back(audience);
    }

    /// The front walk of `audience` has reached all members. Answers when its first event came, and how many
    /// events it had.
    pub fn finish_front(&mut self, audience: AudienceId) -> Option<(Option<Duration>, usize)> {
        let lane = self.lanes.get_mut(&audience)?;
        let walk = match lane.behind.pop_front() {
            Some(next) => std::mem::replace(&mut lane.front, next),
            None => self.lanes.remove(&audience)?.front,
        };
        let finished = (walk.since, walk.batch.frames_from(0));
        self.retire(walk);
        Some(finished)
    }

    /// Forgets a walk; keeps its memory when nobody is owed its batch any more, and there is room.
    fn retire(&mut self, mut walk: Walk) {
        self.walks -= 1;
        self.pending_bytes -= walk.batch.bytes().len();
        let bytes = walk.spare_bytes();
        if self.spare.len() < SPARE_MAX
            && self.spare_bytes + bytes <= SPARE_BYTES_MAX
            && walk.empty()
        {
            self.spare_bytes += bytes;
            self.spare.push(walk);
        }
    }
}
