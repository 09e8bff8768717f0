//! What the questions under way take: bytes for those of newcomers, places for those about sessions. So neither
//! keeps the other out.
//!
//! Never here: the questions themselves, the time that answers cost (the panel's line).

use std::time::Duration;

use crate::auth::Question;
use crate::limits;

/// The questions that have no answer yet.
#[derive(Debug, Default)]
pub struct Load {
    /// How many tokens of sessions a store is being asked about.
    rechecks: usize,
    /// In bytes, what newcomers' questions take.
    bytes: usize,
    /// When the log last said that `bytes` is too much.
    reported: Option<Duration>,
}

/// In bytes, what a question takes in memory until it is answered.
fn bytes(question: &Question) -> usize {
    let token = question
        .token
        .as_ref()
        .map_or(0, |token| token.bytes().len());
    let origin = question.origin.as_ref().map_or(0, String::len);
    token + origin + limits::AUTH_QUESTION_OVERHEAD_BYTES
}

impl Load {
    /// A question is under way from now on, until [`Load::end`].
    pub fn begin(&mut self, question: &Question) {
        match question.is_recheck {
            true => self.rechecks += 1,
            false => self.bytes += bytes(question),
        }
    }

    /// A question is not under way any more.
    pub fn end(&mut self, question: &Question) {
        match question.is_recheck {
            true => self.rechecks -= 1,
            false => self.bytes -= bytes(question),
        }
    }

    /// Returns true when no further question about sessions may begin, of which `rechecks_max` may be under way.
    pub fn is_full_of_rechecks(&self, rechecks_max: usize) -> bool {
        self.rechecks >= rechecks_max
    }

    /// Returns true when newcomers' questions take more than `bytes_max`, and logs that once in a while.
    pub fn is_too_much(&mut self, bytes_max: usize, now: Duration) -> bool {
        if self.bytes <= bytes_max {
            return false;
        }
        let interval = Duration::from_secs(limits::REPORT_SECONDS);
        if self.reported.is_none_or(|last| now >= last + interval) {
            self.reported = Some(now);
            log::warn!(
                "auth: newcomers get 503: the questions that wait for an answer already take {bytes_max} bytes \
                 (auth-waiting-max)"
            );
        }
        true
    }
}
