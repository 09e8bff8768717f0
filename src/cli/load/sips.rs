//! How fast the slow readers read: so many bytes a second each (`--slow-rate`), a little at a time.
//!
//! Never here: sockets.

use std::time::Duration;

/// Between two reads. More often would cost a call for each slow reader, and change nothing for the server.
const INTERVAL: Duration = Duration::from_millis(100);

/// See above.
#[derive(Debug)]
pub(super) struct Sips {
    /// In bytes a second.
    rate: u64,
    last: Duration,
    /// In bytes that were earned and are less than one.
    rest: f64,
}

impl Sips {
    /// From `now` on.
    pub(super) fn begin(rate: u64, now: Duration) -> Self {
        Self {
            rate,
            last: now,
            rest: 0.0,
        }
    }

    /// How many bytes each reader may read now, if it is time.
    pub(super) fn due(&mut self, now: Duration) -> Option<usize> {
        let passed = now.saturating_sub(self.last);
        if passed < INTERVAL {
            return None;
        }
        self.last = now;
        let earned = self.rest + passed.as_secs_f64() * self.rate as f64;
        self.rest = earned.fract();
        Some(earned as usize).filter(|&bytes| bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_a_second() {
        let mut sips = Sips::begin(7, Duration::ZERO);
        let times = (0..=1_000).map(|n| Duration::from_millis(10 * n));
        let bytes: usize = times.filter_map(|now| sips.due(now)).sum();
        assert!((69..=70).contains(&bytes), "{bytes}");
    }
}
