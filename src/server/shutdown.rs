//! The way down: drain what publishers have sent, then what clients are owed, then say farewell.
//!
//! ZeroMQ's PUSH and PULL know no acknowledgement, so "everything that was sent before the signal"
//! cannot be seen from here: part of it may still be in the kernel or with libzmq's thread. Events
//! are taken in until none has come for a moment, or half of the time is used up by publishers that
//! never pause; the other half is for the clients.
//!
//! Never here: how one connection ends (the engine's).

use std::time::Duration;

use crate::config::ShutdownClose;
use crate::engine::{Engine, Farewell, Stream};
use crate::limits;

/// How often the loop looks at itself while it goes down.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Serving,
    /// Events are still taken in; the last one came at `quiet_since`.
    Draining {
        quiet_since: Duration,
    },
    /// No more events; outboxes are emptied.
    Flushing,
    /// Close frames are on their way, or there is nobody left.
    Parting {
        until: Duration,
    },
    Complete,
}

/// Where the server is on its way down.
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    seconds: u32,
    farewell: Farewell,
    began: Duration,
}

impl Shutdown {
    /// A server that serves. `seconds` are for the whole way down.
    pub fn new(seconds: u32, close: ShutdownClose) -> Self {
        Self {
            phase: Phase::Serving,
            seconds,
            farewell: match close {
                ShutdownClose::Drop => Farewell::Silent,
                ShutdownClose::Frame => Farewell::CloseFrame,
            },
            began: Duration::ZERO,
        }
    }

    /// The signal came. A second one ends at once.
    pub fn begin<S: Stream>(&mut self, now: Duration, engine: &mut Engine<S>) {
        if self.phase != Phase::Serving {
            log::warn!("shutdown: again, so at once");
            self.phase = Phase::Complete;
            return;
        }
        log::info!(
            "shutdown: begins connections={} seconds_max={}",
            engine.connections(),
            self.seconds
        );
        self.began = now;
        self.phase = Phase::Draining { quiet_since: now };
        engine.handle_shutdown();
    }

    /// How long the whole way down may take.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Whether it is on its way down.
    pub fn has_begun(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// Whether events are still taken in.
    pub fn takes_events(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Draining { .. })
    }

    /// An event came.
    pub fn note_event(&mut self, now: Duration) {
        if let Phase::Draining { quiet_since } = &mut self.phase {
            *quiet_since = now;
        }
    }

    /// How long the loop may sleep.
    pub fn timeout(&self) -> Option<Duration> {
        self.has_begun().then_some(LOOK)
    }

    /// Whether the loop ends.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// Goes on to the next phase when this one has done its work, or used up its time.
    ///
    /// `has_events` says that there are events which have not been taken in: a congested engine is no
    /// silence of the publishers.
    pub fn step<S: Stream>(&mut self, now: Duration, has_events: bool, engine: &mut Engine<S>) {
        if has_events {
            self.note_event(now);
        }
        let end = self.began + self.time();
        let half = self.began + self.time() / 2;
        let quiet = Duration::from_millis(limits::QUIET_MILLISECONDS);
        self.phase = match self.phase {
            Phase::Draining { quiet_since } if now >= quiet_since + quiet || now >= half => {
                Phase::Flushing
            }
            Phase::Flushing if engine.owes_nothing() || now >= end => {
                if !engine.owes_nothing() {
                    let bytes = engine.outboxes_bytes();
                    log::warn!("shutdown: out of time, undelivered_bytes={bytes}");
                }
                engine.close_all(self.farewell);
                engine.reap();
                // For the peers' half of the close; even a shutdown out of time has a moment.
                let until = (now + Duration::from_secs(1)).max(end);
                Phase::Parting { until }
            }
            Phase::Parting { until } if engine.connections() == 0 || now >= until => {
                log::info!("shutdown: complete");
                Phase::Complete
            }
            phase => phase,
        };
    }
}
