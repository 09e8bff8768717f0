//! How the server stands at one moment, in numbers.
//!
//! Never here: how the numbers are shown (`metrics`, `vitals`, `history`, `snapshot`), and where they come from.

use super::durations::Durations;
use super::sources::SourceRow;
use crate::stats::Stats;
use crate::wire::topic_rule::SlowPolicy;

/// What the system says about this process; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessReadings {
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// How many descriptors are open.
    pub open_files: Option<u64>,
    /// How many descriptors may be open.
    pub files_max: Option<u64>,
    /// The CPU time of all threads, in seconds.
    pub cpu_seconds: Option<f64>,
    /// When the process started, in seconds of Unix time.
    pub started_at: f64,
}

/// One worker of this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkerRow {
    /// Its number, from 1 on.
    pub worker: usize,
    /// True exactly when it serves.
    pub is_ready: bool,
    /// How many connections it has.
    pub connections: usize,
}

/// A rule for topics that drops events for slow readers, as `newswire_topic_rule_dropped_events_total` has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RuleRow<'a> {
    /// Which topics it is for, as it is configured.
    pub pattern: &'a str,
    /// What it does.
    pub policy: SlowPolicy,
    /// In events, each counted for each client that lost it.
    pub dropped: u64,
}

/// All numbers of one moment: `/metrics`, the dashboard, its history and the parent of a worker get the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Readings<'a> {
    /// All counters.
    pub stats: &'a Stats,
    /// The times from the receipt of events to their last subscriber.
    pub latency: &'a Durations,
    /// The times of turns of the loop.
    pub turns: &'a Durations,
    /// How many connections there are, in whatever state.
    pub connections: usize,
    /// How many topics have subscribers or kept events.
    pub topics: usize,
    /// How many pairs of connection and topic there are.
    pub subscriptions: usize,
    /// How many bytes clients have left unread. Bytes that many clients share are counted once.
    pub outboxes_bytes: usize,
    /// In bytes, the history of all topics.
    pub history_bytes: usize,
    /// In events, the history of all topics.
    pub history_events: usize,
    /// The rules for topics that drop events.
    pub rules: &'a [RuleRow<'a>],
    /// Where events come from.
    pub sources: &'a [SourceRow<'a>],
    /// How many other servers receive what this one hands on.
    pub relay_receivers: usize,
    /// The workers. A server without workers has none.
    pub workers: &'a [WorkerRow],
    /// What the system says.
    pub process: ProcessReadings,
}
