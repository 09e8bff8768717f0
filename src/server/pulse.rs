//! How things are: a sample each second for the history, and an event of the server's own while a client subscribes
//! to it.
//!
//! Never here: what is in them (that is `admin/history` and `admin/vitals`), and who may subscribe (a token says
//! so: `$sys/…`).

use std::time::Duration;

use super::outside::Outside;
use super::turn::Core;
use super::views::{busy_row, topic_row};
use crate::admin::durations::{Durations, EVENT_BOUNDS, Percentiles, TURN_BOUNDS};
use crate::admin::history::{History, Own};
use crate::admin::vitals::{self, BUSIEST_MAX, TOPIC};
use crate::engine::{Busiest, SlotId};
use crate::wire::envelope::Event;
use crate::workers::Team;

/// What was measured, and the dashboards that show it.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How long events take.
    pub latency: Durations,
    /// How long turns take.
    pub turns: Durations,
    history: History,
    /// Of events and of turns, in the last second of the history.
    last: [Option<Percentiles>; 2],
    /// In seconds since the start: the last second that was published.
    told: u64,
    /// True exactly when a client subscribed to the events when this turn looked.
    has_subscribers: bool,
    pub busiest: Busiest,
    /// Connections that came in by the admin listener. Some may have gone since the last sample.
    dashboards: Vec<SlotId>,
    /// How many of the server's own events were delivered.
    deliveries: u64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            latency: Durations::new(EVENT_BOUNDS),
            turns: Durations::new(TURN_BOUNDS),
            history: History::default(),
            last: [None; 2],
            told: 0,
            has_subscribers: false,
            busiest: Busiest::default(),
            dashboards: Vec::new(),
            deliveries: 0,
        }
    }
}

impl Pulse {
    /// How long until the next event is due. The loop does not wake up for a sample.
    pub(super) fn timeout(&self, now: Duration) -> Option<Duration> {
        (self.has_subscribers).then(|| self.history.due().saturating_sub(now))
    }

    /// A connection was taken over from the admin listener.
    pub(super) fn note_dashboard(&mut self, id: SlotId) {
        self.dashboards.push(id);
    }

    /// The last ten minutes, as JSON.
    pub(super) fn history(&self, now: Duration) -> String {
        self.history.encode(now)
    }
}

impl<O: Outside> Core<O> {
    /// Takes the samples of the seconds that are over.
    pub(super) fn sample(&mut self, outside: &O) {
        let now = self.moment.now;
        if now < self.pulse.history.due() {
            return;
        }
        let engine = &self.engine;
        self.pulse.dashboards.retain(|&id| engine.has(id));
        let latency = self.pulse.latency.take_percentiles();
        let turns = self.pulse.turns.take_percentiles();
        let mut history = std::mem::take(&mut self.pulse.history);
        let gathered = self.gather();
        let readings = self.readings(&gathered, outside);
        history.take(now, &readings, self.own(), latency, turns);
        self.pulse.history = history;
        self.pulse.last = [latency, turns];
    }

    /// What dashboards add to the numbers.
    fn own(&self) -> Own {
        let subscriptions = self.engine.subscribers(TOPIC);
        Own {
            connections: self.pulse.dashboards.len(),
            topics: subscriptions.min(1),
            subscriptions,
            deliveries: self.pulse.deliveries,
        }
    }

    /// Publishes how things are, if a second is over. Between the reads, with which subscribers come, and the
    /// flush.
    pub(super) fn pulse(&mut self, outside: &O) {
        self.pulse.has_subscribers = self.engine.subscribers(TOPIC) > 0;
        let seconds = self.pulse.history.seconds();
        if self.pulse.told == seconds || !self.pulse.has_subscribers {
            return;
        }
        self.pulse.told = seconds;
        // One more, because the topic itself is among them.
        let busiest = self
            .engine
            .busiest(BUSIEST_MAX + 1, &mut self.pulse.busiest);
        let of_workers = self.team().map(Team::busiest).unwrap_or_default();
        let rows: Vec<_> = (busiest.iter().map(topic_row))
            .chain(of_workers.iter().map(busy_row))
            .collect();
        let Pulse { history, last, .. } = &self.pulse;
        let gathered = self.gather();
        let readings = self.readings(&gathered, outside);
        let data = vitals::tell(&readings, self.own(), history, last[0], last[1], &rows);
        let members = self
            .engine
            .handle_own_event(&Event::new(TOPIC.into(), &data));
        self.pulse.deliveries += members as u64;
    }
}
