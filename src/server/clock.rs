//! The server's clock: the only one in the program, except for those of commands and of threads that wait for
//! a token store.
//!
//! Never here: what is due at what time.

use std::time::{Duration, Instant, SystemTime};

use crate::auth::Moment;

/// Knows when the server started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// The same moment in Unix time.
    started_unix: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the program's one clock starts here; a turn reads it once"
        )]
        let started = Instant::now();
        Self {
            started,
            started_unix: unix_time(),
        }
    }

    /// Reads both times.
    pub fn read(&self) -> Moment {
        Moment {
            now: self.elapsed(),
            unix: unix_time(),
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The start, in Unix time.
    pub fn started_unix(&self) -> Duration {
        self.started_unix
    }
}

/// The time that everybody uses. Before 1970 nothing has expired.
pub fn unix_time() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks what time it is for everybody; a turn does so once"
    )]
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    unix.unwrap_or_default()
}
