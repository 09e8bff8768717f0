//! The event that dashboards receive once a second, on the topic `$sys/stats`.
//!
//! An event says everything by itself, so a page that has missed one is not misled by the next.
//!
//! Never here: who receives the event, and clocks.

use std::collections::BTreeMap;

use super::durations::Percentiles;
use super::history::{History, Own, deliveries};
use super::listing::TopicRow;
use super::readings::Readings;
use crate::stats::{
    ANSWERED, CLOSED, Counter, DROPPED, DROPPED_SLOW, Family, GAPS, RECOVERIES, REFUSED, Stats,
};
use crate::wire::json::{self, Each, ToJson};

/// The topic of the event.
pub const TOPIC: &str = "$sys/stats";

/// How many of the busiest topics the event names.
pub const BUSIEST_MAX: usize = 10;

/// What the event counts by reason.
pub static FAMILIES: [&Family; 7] = [
    &CLOSED,
    &DROPPED,
    &DROPPED_SLOW,
    &GAPS,
    &ANSWERED,
    &RECOVERIES,
    &REFUSED,
];

/// Returns what `now` has counted of a family and `before` has not, by reason. Reasons that did not occur are
/// left out.
fn since(before: &Stats, now: &Stats, family: &Family) -> BTreeMap<&'static str, u64> {
    let before = family.tallies(before);
    let counts = family.tallies(now).into_iter().zip(before);
    counts
        .map(|(now, before)| (now.name, now.count - before.count))
        .filter(|&(_, count)| count > 0)
        .collect()
}

impl ToJson for Percentiles {
    fn to_json(&self, out: &mut String) {
        json::object(out, |percentiles| {
            percentiles
                .put("max", self.max)
                .put("p50", self.p50)
                .put("p90", self.p90)
                .put("p99", self.p99);
        });
    }
}

/// Returns the event's data: the last second of `history`, and the counters of now, without what dashboards add to
/// them. `latency` and `turns` were measured in that second.
pub fn tell(
    readings: &Readings<'_>,
    own: Own,
    history: &History,
    latency: Option<Percentiles>,
    turns: Option<Percentiles>,
    busiest: &[TopicRow<'_>],
) -> String {
    let stats = readings.stats;
    let last = history.last();
    let start = Stats::default();
    let lately =
        |family: &'static Family| (family.name, since(history.counted_before(), stats, family));
    let cpu = last.and_then(|s| s.cpu);
    let others = busiest.iter().filter(|row| row.name != TOPIC);
    json::text(|told| {
        for family in FAMILIES {
            told.put(family.name, since(&start, stats, family));
        }
        told.put("connections", last.map(|s| s.connections))
            .put(
                "cpu",
                cpu.map(|cpu| (f64::from(cpu) * 1_000.0).round() / 1_000.0),
            )
            .put("deliveries", deliveries(stats, own))
            .put("deliveries_per_second", last.map(|s| s.deliveries))
            .put("events", stats.counter(Counter::Events))
            .put("events_per_second", last.map(|s| s.events))
            .put("history_bytes", readings.history_bytes)
            .put("history_events", readings.history_events)
            .put(
                "last_minute",
                history.last_minute().collect::<BTreeMap<_, _>>(),
            )
            .put("last_ten_minutes", BTreeMap::from(FAMILIES.map(lately)))
            .put("latency_seconds", latency)
            .put("memory_bytes", last.and_then(|s| s.memory_bytes))
            .put("open_files", readings.process.open_files)
            .put("outbox_bytes", last.map(|s| s.outbox_bytes))
            .put("subscriptions", last.map(|s| s.subscriptions))
            .put("topics", last.map(|s| s.topics))
            .put("turn_seconds", turns)
            .put("uptime_seconds", history.seconds())
            .put("version", env!("CARGO_PKG_VERSION"))
            .put("top_topics", Each(others.take(BUSIEST_MAX)));
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::admin::durations::{Durations, EVENT_BOUNDS};
    use crate::admin::listing::KeptRow;
    use crate::admin::readings::ProcessReadings;
    use crate::stats::{Dropped, Recovery};

    #[test]
    fn it_tells_the_last_second_and_leaves_out_what_is_its_own() {
        let durations = Durations::new(EVENT_BOUNDS);
        let stats = Stats::default();
        let mut history = History::default();
        let own = Own {
            connections: 1,
            topics: 1,
            subscriptions: 1,
            deliveries: 2,
        };
        let turns = Some(Percentiles {
            p50: 0.001,
            max: 0.25,
            ..Percentiles::default()
        });
        let kept = KeptRow {
            events: 4,
            bytes: 500,
            age_seconds: Some(6),
        };
        let row = |name, kept| TopicRow {
            name,
            subscribers: 1,
            events: 9,
            rate: 2.5,
            kept,
        };
        let mut told = Value::Null;
        for second in 1..=700 {
            stats.add(Counter::Events, 5);
            stats.add(Counter::Deliveries, 8);
            if !(50..=690).contains(&second) {
                stats.dropped(Dropped::NoTopic);
                stats.recovery(Recovery::Epoch);
            }
            let readings = Readings {
                stats: &stats,
                latency: &durations,
                turns: &durations,
                connections: 1,
                topics: 2,
                subscriptions: 3,
                outboxes_bytes: 4,
                history_bytes: 500,
                history_events: 4,
                rules: &[],
                sources: &[],
                relay_receivers: 0,
                workers: &[],
                process: ProcessReadings {
                    cpu_seconds: Some(second as f64 / 4.0),
                    ..ProcessReadings::default()
                },
            };
            history.take(Duration::from_secs(second), &readings, own, None, turns);
            let rows = [row("a\"b", Some(kept)), row(TOPIC, None), row("c", None)];
            let text = tell(&readings, own, &history, None, turns, &rows);
            told = serde_json::from_str(&text).expect("JSON");
        }
        assert_eq!(told["uptime_seconds"], 700);
        assert_eq!(
            (&told["events"], &told["events_per_second"]),
            (&json!(3_500), &json!(5))
        );
        assert_eq!(
            (&told["deliveries"], &told["deliveries_per_second"]),
            (&json!(5_598), &json!(8))
        );
        assert_eq!(
            (&told["connections"], &told["topics"]),
            (&json!(0), &json!(1))
        );
        assert_eq!(
            (&told["subscriptions"], &told["outbox_bytes"]),
            (&json!(2), &json!(4))
        );
        assert_eq!(told["cpu"], 0.25);
        assert_eq!(told["dropped"], json!({"no_topic": 59}));
        assert_eq!(
            told["last_minute"],
            json!({"dropped": 10, "refused": 0, "closed": 0})
        );
        assert_eq!(told["last_ten_minutes"]["dropped"], json!({"no_topic": 10}));
        assert_eq!(told["closed"], json!({}));
        assert!(told["latency_seconds"].is_null());
        assert_eq!(
            told["turn_seconds"],
            json!({"p50": 0.001, "p90": 0.0, "p99": 0.0, "max": 0.25})
        );
        let names: Vec<_> = told["top_topics"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|t| &t["name"])
            .collect();
        assert_eq!(names, ["a\"b", "c"]);
        assert_eq!(
            told["top_topics"][0]["kept"],
            json!({"events": 4, "bytes": 500, "age_seconds": 6})
        );
        assert_eq!(
            (&told["history_bytes"], &told["history_events"]),
            (&json!(500), &json!(4))
        );
        assert_eq!(told["recoveries"], json!({"epoch": 59}));
        assert_eq!(told["last_ten_minutes"]["recoveries"], json!({"epoch": 10}));
        assert_eq!(told["gaps"], json!({}));
    }
}
