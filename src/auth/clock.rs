//! The clock of threads that wait for others: how long a question has waited, when a probe is due.
//!
//! They have no turn to take their time from, since what they wait for lasts as long as it lasts. Nothing
//! that the loop decides is read off this clock, and nobody compares its times with the loop's.
//!
//! Never here: the time of day.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// When this was first asked.
static START: OnceLock<Instant> = OnceLock::new();

/// Since a moment of this run, the same for all threads.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that waits for others has no turn to take its time from"
)]
pub fn now() -> Duration {
    START.get_or_init(Instant::now).elapsed()
}
