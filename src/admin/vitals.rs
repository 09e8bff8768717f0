//! What the dashboard hears once a second: the topic `$sys/stats`.
//!
//! Totals are told as they are, and rates over the time since it was last told, so that a page that
//! has missed one is not misled.
//!
//! Never here: who hears it, clocks.

use std::time::Duration;

use serde_json::{Value, json};

use super::durations::Percentiles;
use super::listing::TopicRow;
use super::metrics::Readings;
use crate::stats::{Close, Counter, Dropped, HttpStatus, Refusal};

/// The topic.
pub const TOPIC: &str = "$sys/stats";

/// In topics, how many of the busiest are told.
pub const BUSIEST_MAX: usize = 10;

/// What was told last.
#[derive(Debug, Default)]
pub struct Vitals {
    at: Duration,
    events: u64,
    deliveries: u64,
    cpu_seconds: f64,
}

/// What each of a list of reasons has come to, those with none left out.
fn totals<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, count: impl Fn(T) -> u64) -> Value {
    let some = all.iter().filter(|&&one| count(one) > 0);
    some.map(|&one| (name(one).to_owned(), json!(count(one))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn told(percentiles: Percentiles) -> Value {
    let Percentiles { p50, p90, p99, max } = percentiles;
    json!({ "p50": p50, "p90": p90, "p99": p99, "max": max })
}

impl Vitals {
    /// The event's data. `latency` and `turns` are of the time since this was last told.
    pub fn tell(
        &mut self,
        now: Duration,
        readings: &Readings<'_>,
        latency: Option<Percentiles>,
        turns: Option<Percentiles>,
        busiest: &[TopicRow<'_>],
    ) -> String {
        let stats = readings.stats;
        let seconds = now.saturating_sub(self.at).as_secs_f64().max(0.001);
        let rate = |now: f64, before: f64| ((now - before) / seconds * 1_000.0).round() / 1_000.0;
        let events = stats.counter(Counter::Events);
        let deliveries = stats.counter(Counter::Deliveries);
        let cpu = readings.process.cpu_seconds;
        let vitals = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.as_secs(),
            "connections": readings.connections,
            "topics": readings.topics,
            "subscriptions": readings.subscriptions,
            "outbox_bytes": readings.outboxes_bytes,
            "events": events,
            "events_per_second": rate(events as f64, self.events as f64),
            "deliveries": deliveries,
            "deliveries_per_second": rate(deliveries as f64, self.deliveries as f64),
            "latency_seconds": latency.map(told),
            "turn_seconds": turns.map(told),
            "dropped": totals(Dropped::ALL, Dropped::name, |reason| stats.drops(reason)),
            "closed": totals(Close::ALL, Close::name, |reason| stats.closes(reason)),
            "refused": totals(Refusal::ALL, Refusal::name, |reason| stats.refusals(reason)),
            "http": totals(HttpStatus::ALL, HttpStatus::name, |status| stats.answers(status)),
            "memory_bytes": readings.process.resident_bytes,
            "open_files": readings.process.open_files,
            "cpu": cpu.map(|cpu| rate(cpu, self.cpu_seconds)),
        });
        *self = Self {
            at: now,
            events,
            deliveries,
            cpu_seconds: cpu.unwrap_or_default(),
        };
        let mut text = vitals.to_string();
        text.pop();
        text.push_str(",\"top_topics\":[");
        for (n, row) in busiest.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            row.encode(&mut text);
        }
        text.push_str("]}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::durations::{Durations, EVENT_BOUNDS};
    use crate::admin::metrics::Process;
    use crate::stats::Stats;

    #[test]
    fn rates_are_of_the_time_that_has_passed() {
        let mut vitals = Vitals::default();
        let mut stats = Stats::default();
        let durations = Durations::new(EVENT_BOUNDS);
        let turns = Percentiles {
            p50: 0.001,
            max: 0.25,
            ..Percentiles::default()
        };
        let mut tell = |at, stats: &Stats, cpu| {
            let readings = Readings {
                stats,
                latency: &durations,
                turns: &durations,
                connections: 1,
                topics: 2,
                subscriptions: 3,
                outboxes_bytes: 4,
                process: Process {
                    cpu_seconds: Some(cpu),
                    ..Process::default()
                },
            };
            let row = TopicRow {
                name: "a\"b",
                subscribers: 1,
                events: 9,
                rate: 2.5,
            };
            let text = vitals.tell(
                Duration::from_secs(at),
                &readings,
                None,
                Some(turns),
                &[row],
            );
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        stats.add(Counter::Events, 10);
        tell(5, &stats, 1.0);
        stats.add(Counter::Events, 10);
        stats.dropped(Dropped::NoTopic);
        let told = tell(7, &stats, 1.5);
        assert_eq!(told["events"], 20);
        assert_eq!(told["events_per_second"], 5.0);
        assert_eq!(told["cpu"], 0.25);
        assert_eq!(told["dropped"], json!({"no_topic": 1}));
        assert_eq!(told["closed"], json!({}));
        assert!(told["latency_seconds"].is_null());
        assert_eq!(
            told["turn_seconds"],
            json!({"p50": 0.001, "p90": 0.0, "p99": 0.0, "max": 0.25})
        );
        assert_eq!(told["top_topics"][0]["name"], "a\"b");
    }
}
