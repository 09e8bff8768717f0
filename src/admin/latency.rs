//! How long events take from their receipt to their members' sockets.
//!
//! It is measured once a batch, when the flush ends that has written the batch to the last member: no
//! clock is read for a member. Two things are kept: a histogram since the start, whose buckets a
//! monitor adds up over servers, and a finer one of the last second, for percentiles.
//!
//! Never here: clocks.

use std::time::Duration;

use hdrhistogram::Histogram;

/// In seconds, the upper bounds of the buckets; the last one is everything.
pub const BOUNDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// In microseconds, the longest that percentiles can tell.
const LONGEST: u64 = 60_000_000;

/// What was measured.
#[derive(Debug)]
pub struct Latency {
    /// In events, those of each bucket alone; the last is for what is over all bounds.
    counts: [u64; BOUNDS.len() + 1],
    /// In seconds.
    sum: f64,
    /// In microseconds, those of this second.
    lately: Histogram<u64>,
}

/// In seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were.
    pub p90: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// None was slower.
    pub max: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: [0; BOUNDS.len() + 1],
            sum: 0.0,
            lately: Histogram::new_with_bounds(1, LONGEST, 2).expect("good bounds"),
        }
    }
}

impl Latency {
    /// So many events took so long.
    pub fn record(&mut self, took: Duration, events: usize) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.counts[bucket] += events as u64;
        self.sum += seconds * events as f64;
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        self.lately
            .saturating_record_n(micros.clamp(1, LONGEST), events as u64);
    }

    /// In events, those within each bound and all narrower ones, the last being all.
    pub fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        self.counts.map(|count| {
            sum += count;
            sum
        })
    }

    /// In seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Of what was recorded since this was last asked; `None` when that is nothing.
    pub fn take_percentiles(&mut self) -> Option<Percentiles> {
        if self.lately.is_empty() {
            return None;
        }
        let at = |quantile| self.lately.value_at_quantile(quantile) as f64 / 1e6;
        let percentiles = Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.lately.max() as f64 / 1e6,
        };
        self.lately.reset();
        Some(percentiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_found() {
        let mut latency = Latency::default();
        assert_eq!(latency.take_percentiles(), None);
        latency.record(Duration::from_micros(100), 98);
        latency.record(Duration::from_millis(20), 1);
        latency.record(Duration::from_secs(100), 1);
        let counts = latency.cumulative();
        assert_eq!((counts[0], counts[6], counts[7]), (98, 98, 99));
        assert_eq!((counts[13], counts[14]), (99, 100));
        assert!((latency.sum() - 100.0298).abs() < 1e-9);
        let percentiles = latency.take_percentiles().expect("some");
        assert!((percentiles.p50 - 0.000_1).abs() < 0.000_002);
        assert!((percentiles.p99 - 0.02).abs() < 0.000_5, "{percentiles:?}");
        assert!((percentiles.max - 60.0).abs() < 1.0);
        assert_eq!(latency.take_percentiles(), None);
        assert_eq!(latency.cumulative()[14], 100, "the histogram keeps all");
    }
}
