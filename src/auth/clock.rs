//! The clock of threads that wait for others: how long a question has waited, when a probe is due.
//!
//! They have no turn from which they could take the time, since they wait for as long as it takes. The loop decides
//! nothing by this clock, and nobody compares its times with the times of the loop.
//!
//! Never here: the time of day.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The moment of the first call.
static START: OnceLock<Instant> = OnceLock::new();

/// The time since a moment of this run, the same moment for all threads.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that waits for others has no turn to take its time from"
)]
pub fn now() -> Duration {
    START.get_or_init(Instant::now).elapsed()
}
