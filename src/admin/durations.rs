//! How long things take: an event from its receipt to its members' sockets, and a turn of the loop.
//!
//! Events are measured once for each batch, at the end of the flush that has written the batch to its last member:
//! no member costs a look at the clock. For each kind there are two histograms. One counts since the start, and a
//! monitor adds up its buckets over servers. The other is finer, and counts the last second for percentiles.
//!
//! Never here: clocks.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The upper bounds of the buckets for events, in seconds.
pub static EVENT_BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The upper bounds of the buckets for turns, in seconds. The budgets of `limits` aim at 0.01.
pub static TURN_BOUNDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// The longest time that percentiles can show, in microseconds.
const LONGEST: u64 = 60_000_000;

/// The measured times of one kind of thing.
#[derive(Debug)]
pub struct Durations {
    bounds: &'static [f64],
    /// How many times fell into each bucket alone. The last bucket is for those over all bounds.
    counts: Vec<u64>,
    /// The sum of all times, in seconds.
    sum: f64,
    /// The times of this second, in microseconds.
    lately: Histogram<u64>,
}

/// The times below which a share of all times was, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half were shorter.
    pub p50: f64,
    /// Nine of ten were shorter.
    pub p90: f64,
    /// 99 of 100 were shorter.
    pub p99: f64,
    /// The longest time.
    pub max: f64,
}

impl Durations {
    /// Begins without any time. `bounds` are the upper bounds of the buckets, in seconds, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
            lately: Histogram::new_with_bounds(1, LONGEST, 2).expect("good bounds"),
        }
    }

    /// Records that each of `count` things took so long.
    pub fn record(&mut self, took: Duration, count: usize) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[bucket] += count as u64;
        self.sum += seconds * count as f64;
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        self.lately
            .saturating_record_n(micros.clamp(1, LONGEST), count as u64);
    }

    /// Adds times that another process has measured: how many fell into each bucket alone, and their sum in seconds. For
    /// the percentiles each of them counts as its bucket's upper bound.
    pub fn add(&mut self, counts: &[u64], sum: f64) {
        let bounds = self.bounds.iter().copied();
        // Those over all bounds count as twice the highest.
        let last = self.bounds.last().map(|bound| 2.0 * bound);
        for ((bucket, &n), bound) in self.counts.iter_mut().zip(counts).zip(bounds.chain(last)) {
            *bucket += n;
            let micros = (bound * 1e6) as u64;
            self.lately.saturating_record_n(micros.clamp(1, LONGEST), n);
        }
        self.sum += sum;
    }

    /// Returns how many times fell into each bucket alone. The last bucket is for those over all bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Returns each bound, in seconds, and how many things took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// Returns how many things were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all times, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns the percentiles of what was recorded since the last call; `None` when nothing was.
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
        let mut durations = Durations::new(EVENT_BOUNDS);
        assert_eq!(durations.take_percentiles(), None);
        durations.record(Duration::from_micros(100), 98);
        durations.record(Duration::from_millis(20), 1);
        durations.record(Duration::from_secs(100), 1);
        let counts: Vec<u64> = durations.cumulative().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[6], counts[7]), (98, 98, 99));
        assert_eq!((counts[13], durations.count()), (99, 100));
        assert!((durations.sum() - 100.0298).abs() < 1e-9);
        let percentiles = durations.take_percentiles().expect("some");
        assert!((percentiles.p50 - 0.000_1).abs() < 0.000_002);
        assert!((percentiles.p99 - 0.02).abs() < 0.000_5, "{percentiles:?}");
        assert!((percentiles.max - 60.0).abs() < 1.0);
        assert_eq!(durations.take_percentiles(), None);
        assert_eq!(durations.count(), 100, "the histogram keeps all");
    }

    #[test]
    fn what_another_process_has_measured_is_added() {
        let mut durations = Durations::new(TURN_BOUNDS);
        durations.record(Duration::from_millis(1), 1);
        let mut counts = vec![0; TURN_BOUNDS.len() + 1];
        (counts[1], counts[TURN_BOUNDS.len()]) = (2, 1);
        durations.add(&counts, 3.5);
        assert_eq!((durations.count(), durations.counts()[1]), (4, 3));
        assert!((durations.sum() - 3.501).abs() < 1e-9);
        let percentiles = durations.take_percentiles().expect("some");
        assert!((percentiles.max - 2.0).abs() < 0.02, "{percentiles:?}");
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [EVENT_BOUNDS, TURN_BOUNDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
