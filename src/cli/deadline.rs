//! The moment until which a command waits for something that takes several reads.
//!
//! A time-out of each read is not enough for that: a server that sends a byte now and then never lets a read wait in vain.
//!
//! Never here: what a command waits for, and what it does when the moment has passed.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, which waits: no engine to hand the time to"
)]

use std::time::{Duration, Instant};

/// See above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// The moment that is so long from now.
    pub(super) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// How much time is left; `None` when the moment has passed.
    pub(super) fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
