//! The shutdown: newswire takes in what publishers have sent, then hands clients what they are owed, then closes
//! connections.
//!
//! ZeroMQ's PUSH and PULL know no acknowledgement. So newswire cannot see "everything that was sent before the
//! signal": part of it may still be in the kernel or with libzmq's thread. Events
//! are taken in until none has come for a moment, or until half of the time is used up by publishers that
//! never pause. The other half is for the clients.
//!
//! Never here: how one connection ends (the engine's).

use std::time::Duration;

use crate::config::ShutdownClose;
use crate::engine::{Engine, Farewell, Stream};
use crate::limits;

/// How often the loop turns while the server goes down.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ShutdownPhase {
    Serving,
    /// Events are still taken in. The last one came at `quiet_since`.
    Draining {
        quiet_since: Duration,
    },
    /// No more events are taken in, and outboxes are emptied.
    Flushing,
    /// Close frames are on their way, or no connection is left.
    Parting {
        until: Duration,
    },
    Complete,
}

/// How far the shutdown is.
#[derive(Debug)]
pub struct Shutdown {
    phase: ShutdownPhase,
    seconds: u32,
    farewell: Farewell,
    began: Duration,
}

impl Shutdown {
    /// A server that serves. Its shutdown will take `seconds` at most.
    pub fn new(seconds: u32, close: ShutdownClose) -> Self {
        Self {
            phase: ShutdownPhase::Serving,
            seconds,
            farewell: match close {
                ShutdownClose::Drop => Farewell::Silent,
                ShutdownClose::Frame => Farewell::CloseFrame,
            },
            began: Duration::ZERO,
        }
    }

    /// The signal came. A second one ends the server at once.
    pub fn begin<S: Stream>(&mut self, now: Duration, engine: &mut Engine<S>) {
        if self.phase != ShutdownPhase::Serving {
            log::warn!("shutdown: again, so at once");
            self.phase = ShutdownPhase::Complete;
            return;
        }
        log::info!(
            "shutdown: begins connections={} seconds_max={}",
            engine.connections(),
            self.seconds
        );
        self.began = now;
        self.phase = ShutdownPhase::Draining { quiet_since: now };
        engine.handle_shutdown();
    }

    /// How long the whole shutdown may take.
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Returns true when the signal has come.
    pub fn has_begun(&self) -> bool {
        self.phase != ShutdownPhase::Serving
    }

    /// Returns true while events are taken in.
    pub fn takes_events(&self) -> bool {
        matches!(
            self.phase,
            ShutdownPhase::Serving | ShutdownPhase::Draining { .. }
        )
    }

    /// An event came.
    pub fn note_event(&mut self, now: Duration) {
        if let ShutdownPhase::Draining { quiet_since } = &mut self.phase {
            *quiet_since = now;
        }
    }

    /// How long the loop may sleep.
    pub fn timeout(&self) -> Option<Duration> {
        self.has_begun().then_some(LOOK)
    }

    /// Returns true when the loop ends.
    pub fn is_complete(&self) -> bool {
        self.phase == ShutdownPhase::Complete
    }

    /// Goes on to the next phase when this one has done its work, or used up its time.
    ///
    /// `has_events` is true when there may be events that were not taken in: when the engine is congested, that
    /// does not mean that publishers are silent. `has_workers` is true while a worker goes down, which has a time of
    /// its own.
    pub fn step<S: Stream>(
        &mut self,
        now: Duration,
        has_events: bool,
        has_workers: bool,
        engine: &mut Engine<S>,
    ) {
        if has_events {
            self.note_event(now);
        }
        let end = self.began + self.time();
        let half = self.began + self.time() / 2;
        let quiet = Duration::from_millis(limits::QUIET_MILLISECONDS);
        self.phase = match self.phase {
            ShutdownPhase::Draining { quiet_since }
                if now >= quiet_since + quiet || now >= half =>
            {
                ShutdownPhase::Flushing
            }
            ShutdownPhase::Flushing if has_workers => ShutdownPhase::Flushing,
            ShutdownPhase::Flushing if engine.owes_nothing() || now >= end => {
                if !engine.owes_nothing() {
                    let bytes = engine.outboxes_bytes();
                    log::warn!("shutdown: out of time, undelivered_bytes={bytes}");
                }
                engine.close_all(self.farewell);
                engine.reap();
                // For the peers' half of the close: a moment, even when the time is used up.
                let until = (now + Duration::from_secs(1)).max(end);
                ShutdownPhase::Parting { until }
            }
            ShutdownPhase::Parting { until } if engine.connections() == 0 || now >= until => {
                log::info!("shutdown: complete");
                ShutdownPhase::Complete
            }
            phase => phase,
        };
    }
}
