//! The tokens of sessions about which no store can tell. The log gets the first such token, and the end of the last.
//!
//! Never here: what happens to these sessions (`decisions`), newcomers' tokens.

use std::time::Duration;

use super::ledger::Entry;

/// How many entries have [`Entry::lost_since`]. It alone sets that field.
#[derive(Debug, Default)]
pub struct Outage {
    lost: usize,
}

impl Outage {
    /// No store can tell about a token of sessions, which stay for `grace`. Returns since when that is so.
    pub fn begin(&mut self, entry: &mut Entry, now: Duration, grace: Duration) -> Duration {
        if let Some(since) = entry.lost_since {
            return since;
        }
        entry.lost_since = Some(now);
        self.lost += 1;
        if self.lost == 1 {
            log::error!(
                "auth: no store can say whether open sessions' tokens are still good; these sessions end in {} s \
                 (auth-grace)",
                grace.as_secs()
            );
        }
        now
    }

    /// A store could tell, or no session is left.
    pub fn end(&mut self, entry: &mut Entry) {
        if entry.lost_since.take().is_some() {
            self.lost -= 1;
            if self.lost == 0 {
                log::warn!("auth: the stores answer again about the tokens of all open sessions");
            }
        }
    }
}
