//! What operators read in the log: why messages were dropped, and how many of each kind of trouble
//! there were, never more than a line a reason and interval.
//!
//! A dropped message is reported at once, with the beginning of it, and then not again for an
//! interval; counters tell the rest. Refusals and closes are added up over an interval.
//!
//! Never here: tokens, whole messages, anything on the way of a good event.

use std::time::Duration;

use crate::engine::{Engine, Stream};
use crate::limits;
use crate::stats::{Close, Dropped, Refusal, Stats};

/// When each kind of trouble was last reported.
#[derive(Debug, Default)]
pub struct Report {
    dropped_at: [Option<Duration>; Dropped::ALL.len()],
    /// As the last digest found them.
    digested: Stats,
    digest_at: Duration,
}

/// Closes that an operator can do something about; the others are the peers' own affair.
const NOTABLE_CLOSES: &[Close] = &[
    Close::SlowConsumer,
    Close::OutboxesFull,
    Close::Limit,
    Close::MessageTooLarge,
];

impl Report {
    /// A publisher's message was dropped. Of more than two parts, three are told.
    pub fn dropped(&mut self, now: Duration, reason: Dropped, parts: &[&[u8]], endpoint: &str) {
        if !self.is_due(now, reason) {
            return;
        }
        let first = parts.first().copied().unwrap_or_default();
        let sample = &first[..first.len().min(limits::SAMPLE_BYTES_MAX)];
        let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        log::warn!(
            "dropped: reason={} endpoint={endpoint} part_bytes={sizes:?} begins=\"{}\"",
            reason.name(),
            sample.escape_ascii()
        );
    }

    /// A good event found nobody subscribed: a matter of course at night, and of a misspelt topic.
    pub fn unheard(&mut self, now: Duration, topic: &str) {
        if self.is_due(now, Dropped::NoSubscriber) {
            let reason = Dropped::NoSubscriber.name();
            log::info!("dropped: reason={reason} topic={topic:?}");
        }
    }

    fn is_due(&mut self, now: Duration, reason: Dropped) -> bool {
        let last = &mut self.dropped_at[reason as usize];
        let is_due = last.is_none_or(|last| now >= last + interval());
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    /// How long until [`Report::digest`] has something to say; `None` when nothing has come to pass.
    pub fn timeout(&self, now: Duration, stats: &Stats) -> Option<Duration> {
        self.is_news(stats)
            .then(|| (self.digest_at + interval()).saturating_sub(now))
    }

    fn is_news(&self, stats: &Stats) -> bool {
        Refusal::ALL
            .iter()
            .any(|&r| stats.refusals(r) > self.digested.refusals(r))
            || NOTABLE_CLOSES
                .iter()
                .any(|&c| stats.closes(c) > self.digested.closes(c))
    }

    /// Reports what has come to pass since the last time, if there is anything and it is time.
    pub fn digest(&mut self, now: Duration, stats: &Stats) {
        if now < self.digest_at + interval() || !self.is_news(stats) {
            return;
        }
        let refused: Vec<String> = Refusal::ALL
            .iter()
            .map(|&r| (r.name(), stats.refusals(r) - self.digested.refusals(r)))
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        if !refused.is_empty() {
            log::warn!("refused: {}", refused.join(" "));
        }
        let closed: Vec<String> = NOTABLE_CLOSES
            .iter()
            .map(|&c| (c.name(), stats.closes(c) - self.digested.closes(c)))
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        if !closed.is_empty() {
            log::warn!("closed: {}", closed.join(" "));
        }
        self.digested = stats.clone();
        self.digest_at = now;
    }
}

/// What is there now, and what has been counted since the start.
pub fn summary<S: Stream>(engine: &Engine<S>) {
    log::info!(
        "summary: connected={} topics={} subscriptions={} outboxes_bytes={} {}",
        engine.connections(),
        engine.topics(),
        engine.subscriptions(),
        engine.outboxes_bytes(),
        engine.stats().summary()
    );
}

fn interval() -> Duration {
    Duration::from_secs(limits::REPORT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_wakes_up_for_a_digest_and_for_nothing_else() {
        let mut report = Report::default();
        let mut stats = Stats::default();
        let now = Duration::from_secs(4);
        stats.closed(Close::PeerClosed);
        assert_eq!(report.timeout(now, &stats), None);
        stats.refused(Refusal::Token);
        assert_eq!(report.timeout(now, &stats), Some(interval() - now));
        assert_eq!(report.timeout(2 * interval(), &stats), Some(Duration::ZERO));
        report.digest(2 * interval(), &stats);
        assert_eq!(report.timeout(2 * interval(), &stats), None);
    }
}
