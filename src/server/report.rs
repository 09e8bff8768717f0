//! What operators read in the log: why messages were dropped, and how many of each kind of trouble
//! there were, never more than a line a reason and interval.
//!
//! A dropped message is reported at once, with the beginning of it, and then not again for an
//! interval; counters tell the rest. Refusals and closes are added up over an interval.
//!
//! Never here: tokens, whole messages, anything on the way of a good event.

use std::time::Duration;

use crate::limits;
use crate::stats::{Close, Drop, Refusal, Stats};

/// When each kind of trouble was last reported.
#[derive(Debug, Default)]
pub struct Report {
    dropped_at: [Option<Duration>; Drop::ALL.len()],
    reported: Stats,
    reported_at: Duration,
}

/// Closes that an operator can do something about; the others are the peers' own affair.
const NOTABLE_CLOSES: &[Close] = &[
    Close::SlowConsumer,
    Close::OutboxesFull,
    Close::Limit,
    Close::MessageTooLarge,
];

impl Report {
    /// A publisher's message was dropped.
    pub fn dropped(&mut self, now: Duration, reason: Drop, message: &[u8], endpoint: &str) {
        let last = &mut self.dropped_at[reason as usize];
        let is_due = last.is_none_or(|last| now >= last + interval());
        if !is_due {
            return;
        }
        *last = Some(now);
        let sample = &message[..message.len().min(limits::SAMPLE_BYTES_MAX)];
        log::warn!(
            "dropped: reason={} endpoint={endpoint} bytes={} begins=\"{}\"",
            reason.name(),
            message.len(),
            sample.escape_ascii()
        );
    }

    /// How long the loop may sleep: for ever when there is nothing to report.
    pub fn timeout(&self, now: Duration, stats: &Stats) -> Option<Duration> {
        let has_news = Refusal::ALL
            .iter()
            .any(|&r| stats.refusals(r) != self.reported.refusals(r))
            || NOTABLE_CLOSES
                .iter()
                .any(|&c| stats.closes(c) != self.reported.closes(c));
        has_news.then(|| (self.reported_at + interval()).saturating_sub(now))
    }

    /// Whether a digest is due.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.reported_at + interval()
    }

    /// Reports what has come to pass since the last time.
    pub fn digest(&mut self, now: Duration, stats: &Stats) {
        self.reported_at = now;
        let refused: Vec<String> = Refusal::ALL
            .iter()
            .map(|&r| (r.name(), stats.refusals(r) - self.reported.refusals(r)))
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        if !refused.is_empty() {
            log::warn!("refused: {}", refused.join(" "));
        }
        let closed: Vec<String> = NOTABLE_CLOSES
            .iter()
            .map(|&c| (c.name(), stats.closes(c) - self.reported.closes(c)))
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        if !closed.is_empty() {
            log::warn!("closed: {}", closed.join(" "));
        }
        self.reported = stats.clone();
    }
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
