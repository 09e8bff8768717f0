//! The events that several lanes owe to one member, merged into one batch in the order of ingest.
//!
//! Members of the same audiences are owed the same, so what was merged for one is kept for the next: a
//! crowd that subscribes to the same twenty topics shares one merged batch. Big events are never
//! copied: the merged batch ends before one, and the event's own batch follows.
//!
//! Never here: who is owed what (the flush says so), members.

use std::collections::HashMap;
use std::rc::Rc;

use super::audiences::AudienceId;
use super::batch::Batch;
use super::lanes::{Lane, Lanes};
use super::walk::Walk;
use crate::limits;

/// What a member is owed by one walk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Claim {
    /// Its lane.
    pub audience: AudienceId,
    /// The walk: the sequence of its first run, which no other walk has.
    pub walk: u64,
    /// In bytes, from where on.
    pub from: usize,
}

/// Batches, each with the byte from which on it is owed, in the order in which they have to leave.
type Pieces = Vec<(Rc<Batch>, usize)>;

/// Merges, and remembers what it has merged until the flush's run ends: until then no batch changes.
#[derive(Debug, Default)]
pub struct Merger {
    claims: Vec<Claim>,
    merged: HashMap<Vec<Claim>, Pieces>,
    /// In bytes, the copies in `merged` and the keys that find them.
    bytes: usize,
}

impl Merger {
    /// The list of claims, emptied, to be filled with those of the next member.
    pub fn claims(&mut self) -> &mut Vec<Claim> {
        self.claims.clear();
        &mut self.claims
    }

    /// What the claims that were listed last amount to, in the order of ingest.
    pub fn merge(&mut self, lanes: &Lanes) -> &[(Rc<Batch>, usize)] {
        if self.bytes > limits::MERGED_BYTES_MAX {
            self.clear();
        }
        if !self.merged.contains_key(&self.claims[..]) {
            let (pieces, copied) = merge(&self.claims, lanes);
            self.bytes += copied + size_of_val(&self.claims[..]);
            self.merged.insert(self.claims.clone(), pieces);
        }
        &self.merged[&self.claims[..]]
    }

    /// Forgets what was merged: batches are about to change.
    pub fn clear(&mut self) {
        self.merged.clear();
        self.bytes = 0;
    }
}

/// A part of one walk's batch: consecutive runs.
struct Stretch<'a> {
    walk: &'a Walk,
    start: usize,
    end: usize,
}

impl Stretch<'_> {
    /// True when the walk's own batch serves as well as a copy, and the copy would be large.
    fn is_shared(&self) -> bool {
        self.walk.is_closed
            && self.end == self.walk.batch.bytes().len()
            && self.end - self.start >= limits::BIG_EVENT_BYTES
    }
}

/// Answers the pieces, and how many bytes of them are copies.
fn merge(claims: &[Claim], lanes: &Lanes) -> (Pieces, usize) {
    let mut pieces: Pieces = Vec::new();
    let mut copied = 0;
    let mut batch = Batch::default();
    for stretch in stretches(claims, lanes) {
        let bytes = stretch.end - stretch.start;
        let is_shared = stretch.is_shared();
        let is_full = batch.bytes().len() + bytes > limits::BATCH_BYTES_MAX;
        if (is_shared || is_full) && !batch.bytes().is_empty() {
            pieces.push((Rc::new(std::mem::take(&mut batch)), 0));
        }
        if is_shared {
            pieces.push((Rc::clone(&stretch.walk.batch), stretch.start));
        } else {
            copied += bytes;
            batch.copy_frames(&stretch.walk.batch, stretch.start, stretch.end);
        }
    }
    if !batch.bytes().is_empty() {
        pieces.push((Rc::new(batch), 0));
    }
    (pieces, copied)
}

/// The stretches of all claims, in the order of ingest.
fn stretches<'a>(claims: &[Claim], lanes: &'a Lanes) -> Vec<Stretch<'a>> {
    let mut runs: Vec<(u64, Stretch<'a>)> = Vec::new();
    for claim in claims {
        let walks = lanes.get(claim.audience).into_iter().flat_map(Lane::walks);
        for walk in walks.filter(|walk| walk.sequence() == claim.walk) {
            let ends = walk.runs[1..].iter().map(|run| run.start);
            let ends = ends.chain([walk.batch.bytes().len()]);
            for (run, end) in walk.runs.iter().zip(ends) {
                if end > claim.from {
                    let start = run.start.max(claim.from);
                    runs.push((run.sequence, Stretch { walk, start, end }));
                }
            }
        }
    }
    runs.sort_unstable_by_key(|&(sequence, _)| sequence);
    let mut stretches: Vec<Stretch<'a>> = Vec::with_capacity(runs.len());
    for (_, stretch) in runs {
        match stretches.last_mut() {
            Some(last) if std::ptr::eq(last.walk, stretch.walk) => last.end = stretch.end,
            _ => stretches.push(stretch),
        }
    }
    stretches
}
