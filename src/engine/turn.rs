//! The phases of a turn, in their order.
//!
//! ```text
//! start_turn ▶ readiness, newcomers ▶ take_in ▶ events, verdicts ▶ hand_out ▶ reap
//! ```
//! Whoever drives the engine calls the four in this order: the server's loop, the simulation, tests. Between them it
//! hands in what has happened outside.
//!
//! Never here: what a phase does (its own file).

use std::time::Duration;

use super::link::Stream;
use super::{Engine, second};
use crate::limits;

impl<S: Stream> Engine<S> {
    /// A turn begins: the one time of all that happens in it, counted from the start.
    pub fn start_turn(&mut self, now: Duration) {
        debug_assert!(now >= self.desk.now, "time goes forward");
        self.desk.now = now;
        self.desk.payment_left = limits::TURN_PAYMENT_BYTES_MAX;
    }

    /// Takes in what clients have sent. What they were owed leaves first, before anything is added to it.
    ///
    /// Call it after readiness was marked and before events are handed in: a client that subscribes in this
    /// turn receives this turn's events.
    pub fn take_in(&mut self) {
        self.hub.maintain(second(self.desk.now));
        self.pay();
        self.read();
    }

    /// Hands the turn's events out. Connections that are silent, or whose token is worth less, end first: they
    /// are not written to once more.
    ///
    /// Call it after the turn's events and verdicts were handed in.
    pub fn hand_out(&mut self) {
        self.expire();
        self.review();
        // Before the events that came behind what was missed: whoever has one of these takes itself for up to date.
        if self.tell_gaps() {
            // Before the flush: whoever has caught up with a topic's past becomes a member in this turn, and is not handed
            // what it has had.
            self.replay();
            self.flush();
        }
        self.tell_losses();
    }

    /// How long the loop may sleep: no time at all while work is left over, and for ever (`None`) while no
    /// deadline is set.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let is_left_over = self.reading.is_left()
            || !self.payable.is_empty()
            || !self.leaving.is_empty()
            || !self.gone.is_empty()
            || !self.checks.is_empty()
            || self.is_sweeping
            || self.review.is_under_way()
            || self.parting_round.is_under_way()
            || self.replays.are_due()
            || self.gaps.is_under_way()
            || self.is_overdrawn();
        if is_left_over || !self.hub.is_done() {
            return Some(Duration::ZERO);
        }
        let now = self.desk.now;
        let deadline = (self.deadlines.is_armed()).then(|| Duration::from_secs(now.as_secs() + 1));
        let kept = (self.hub.maintenance_due()).map(|second| Duration::from_secs(second.into()));
        let next = deadline.into_iter().chain(kept).min()?;
        Some(next.saturating_sub(now))
    }
}
