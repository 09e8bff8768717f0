//! Once a second, as long as somebody hears it: how things are, as an event of the server's own.
//!
//! Never here: what is in it (that is `admin/vitals`), who may hear it (whoever is granted `$sys/…`).

use std::time::Duration;

use super::Server;
use super::commands::topic_row;
use crate::admin::vitals::{BUSIEST_MAX, TOPIC, Vitals};
use crate::engine::Busiest;
use crate::wire::envelope::Event;

const INTERVAL: Duration = Duration::from_secs(1);

/// When the next one is due, and what the last one told.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// `None` while nobody hears it.
    next: Option<Duration>,
    vitals: Vitals,
    busiest: Busiest,
}

impl Pulse {
    /// How long until it is due.
    pub(super) fn timeout(&self, now: Duration) -> Option<Duration> {
        self.next.map(|next| next.saturating_sub(now))
    }
}

impl Server {
    /// Tells how things are, if it is time. Between the reads, with which listeners come, and the flush.
    pub(super) fn pulse(&mut self) {
        if !self.engine.has_topic(TOPIC) {
            self.pulse.next = None;
            return;
        }
        let is_first = self.pulse.next.is_none();
        if self.pulse.next.is_some_and(|next| self.moment.now < next) {
            return;
        }
        self.pulse.next = Some(self.moment.now + INTERVAL);
        let latency = self.latency.take_percentiles();
        let turns = self.turns.take_percentiles();
        let busiest = self.engine.busiest(BUSIEST_MAX, &mut self.pulse.busiest);
        let rows: Vec<_> = busiest.iter().map(topic_row).collect();
        let mut vitals = std::mem::take(&mut self.pulse.vitals);
        let data = vitals.tell(self.moment.now, &self.readings(), latency, turns, &rows);
        self.pulse.vitals = vitals;
        // What is told first would be rates over a time in which nobody listened.
        if !is_first {
            self.engine.handle_own_event(&Event {
                topic: TOPIC.into(),
                data: &data,
            });
        }
    }

    /// How long this turn's events have taken, after the flush. The clock is read once more, if there
    /// were any.
    pub(super) fn measure(&mut self) {
        let mut now = None;
        while let Some(finished) = self.engine.poll_finished() {
            let now = *now.get_or_insert_with(|| self.started.elapsed());
            let took = now.saturating_sub(finished.since);
            self.latency.record(took, finished.events);
        }
    }
}
