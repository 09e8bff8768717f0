//! All figures of one process at one moment, as a worker tells them to its parent.
//!
//! The parent adds them up, so that `/metrics`, the history and the dashboard are sums. Both are the same program, so
//! counters are numbers in the order in which the program declares them.
//!
//! Never here: who asks, and when.

use serde_json::Value;

use super::durations::Durations;
use super::listing::{KeptRow, TopicRow};
use super::readings::{Readings, RuleRow};
use crate::wire::json::{self, Each, ToJson};
use crate::wire::topic_rule::SlowPolicy;

/// Durations as counts for each bucket, and the sum of all times in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// How many times fell into each bucket alone.
    pub counts: Vec<u64>,
    /// In seconds.
    pub sum: f64,
}

/// One of the busiest topics.
#[derive(Clone, Debug, PartialEq)]
pub struct BusyTopic {
    /// Its name.
    pub name: String,
    /// In connections.
    pub subscribers: usize,
    /// In events, since its first subscriber came, or since events of it are kept.
    pub events: u64,
    /// In events a second.
    pub rate: f32,
    /// What is kept of it, if anything is.
    pub kept: Option<KeptRow>,
}

/// What a rule for topics has dropped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleCount {
    /// Which topics the rule is for, as it is configured.
    pub pattern: String,
    /// What it does.
    pub policy: SlowPolicy,
    /// In events.
    pub dropped: u64,
}

impl ToJson for RuleRow<'_> {
    fn to_json(&self, out: &mut String) {
        json::object(out, |rule| {
            rule.put("pattern", self.pattern)
                .put("policy", self.policy.name())
                .put("dropped", self.dropped);
        });
    }
}

/// The figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What [`crate::stats::Stats::values`] has, as far as it is about clients.
    pub counters: Vec<u64>,
    /// Of events.
    pub latency: Buckets,
    /// Of turns.
    pub turns: Buckets,
    /// Connections now.
    pub connections: usize,
    /// Topics now.
    pub topics: usize,
    /// Subscriptions now.
    pub subscriptions: usize,
    /// In bytes, what clients have left unread.
    pub outboxes_bytes: usize,
    /// In bytes, the history of all topics.
    pub history_bytes: usize,
    /// In events, the history of all topics.
    pub history_events: usize,
    /// The rules for topics that drop events.
    pub rules: Vec<RuleCount>,
    /// In bytes; 0 where the system does not say it, as for the next three.
    pub resident_bytes: u64,
    /// In descriptors.
    pub open_files: u64,
    /// In descriptors.
    pub files_max: u64,
    /// In seconds, of all threads.
    pub cpu_seconds: f64,
    /// The busiest topics.
    pub busiest: Vec<BusyTopic>,
}

fn put_durations(durations: &Durations, key: &str, all: &mut json::Object<'_>) {
    all.put_object(key, |part| {
        part.put("counts", durations.counts())
            .put("sum", durations.sum());
    });
}

/// Returns the figures as one line of JSON.
pub fn text(now: &Readings<'_>, busiest: &[TopicRow<'_>]) -> String {
    let process = &now.process;
    json::text(|all| {
        let counters = now.stats.of_clients().values();
        all.put("counters", &counters[..])
            .put("connections", now.connections)
            .put("topics", now.topics)
            .put("subscriptions", now.subscriptions)
            .put("outboxes_bytes", now.outboxes_bytes)
            .put("history_bytes", now.history_bytes)
            .put("history_events", now.history_events)
            .put("rules", now.rules)
            .put("resident_bytes", process.resident_bytes)
            .put("open_files", process.open_files)
            .put("files_max", process.files_max)
            .put("cpu_seconds", process.cpu_seconds)
            .put("busiest", Each(busiest.iter()));
        put_durations(now.latency, "latency", all);
        put_durations(now.turns, "turns", all);
    })
}

impl Snapshot {
    /// Reads what [`text`] wrote. `None` when it is anything else.
    pub fn read(all: &Value) -> Option<Self> {
        let numbers = |list: &Value| {
            let list = list.as_array()?.iter();
            list.map(Value::as_u64).collect::<Option<Vec<u64>>>()
        };
        let buckets = |key: &str| {
            Some(Buckets {
                counts: numbers(&all[key]["counts"])?,
                sum: all[key]["sum"].as_f64()?,
            })
        };
        let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let known = |key: &str| all[key].as_u64().unwrap_or_default();
        let topic = |row: &Value| {
            Some(BusyTopic {
                name: row["name"].as_str()?.to_owned(),
                subscribers: number(&row["subscribers"])?,
                events: row["events"].as_u64()?,
                rate: row["rate"].as_f64()? as f32,
                kept: KeptRow::read(&row["kept"]),
            })
        };
        let rule = |row: &Value| {
            Some(RuleCount {
                pattern: row["pattern"].as_str()?.to_owned(),
                policy: SlowPolicy::find(row["policy"].as_str()?)?,
                dropped: row["dropped"].as_u64()?,
            })
        };
        Some(Self {
            counters: numbers(&all["counters"])?,
            latency: buckets("latency")?,
            turns: buckets("turns")?,
            connections: number(&all["connections"])?,
            topics: number(&all["topics"])?,
            subscriptions: number(&all["subscriptions"])?,
            outboxes_bytes: number(&all["outboxes_bytes"])?,
            history_bytes: number(&all["history_bytes"])?,
            history_events: number(&all["history_events"])?,
            rules: (all["rules"].as_array()?.iter())
                .map(rule)
                .collect::<Option<_>>()?,
            resident_bytes: known("resident_bytes"),
            open_files: known("open_files"),
            files_max: known("files_max"),
            cpu_seconds: all["cpu_seconds"].as_f64().unwrap_or_default(),
            busiest: (all["busiest"].as_array()?.iter())
                .map(topic)
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::durations::{EVENT_BOUNDS, TURN_BOUNDS};
    use crate::admin::readings::ProcessReadings;
    use crate::stats::{Counter, Gap, Ingest, Recovery, SlowDrop, Stats};

    #[test]
    fn what_is_written_is_read() {
        let stats = Stats::default();
        stats.add(Counter::Deliveries, 7);
        stats.ingested(Ingest::Sub);
        stats.recovery(Recovery::Recovered);
        stats.told_gap(Gap::Slow, 1);
        stats.dropped_slow(SlowDrop::Oldest, 1);
        let mut latency = Durations::new(EVENT_BOUNDS);
        latency.record(Duration::from_millis(3), 2);
        let turns = Durations::new(TURN_BOUNDS);
        let readings = Readings {
            stats: &stats,
            latency: &latency,
            turns: &turns,
            connections: 1,
            topics: 2,
            subscriptions: 3,
            outboxes_bytes: 4,
            history_bytes: 6,
            history_events: 7,
            rules: &[RuleRow {
                pattern: "a\"b*",
                policy: SlowPolicy::Oldest,
                dropped: 8,
            }],
            sources: &[],
            relay_receivers: 0,
            workers: &[],
            process: ProcessReadings {
                resident_bytes: Some(5),
                cpu_seconds: Some(0.5),
                ..ProcessReadings::default()
            },
        };
        let kept = KeptRow {
            events: 1,
            bytes: 300,
            age_seconds: Some(2),
        };
        let rows = [TopicRow {
            name: "a\"b",
            subscribers: 1,
            events: 9,
            rate: 2.5,
            kept: Some(kept),
        }];
        let value = serde_json::from_str(&text(&readings, &rows)).expect("JSON");
        let read = Snapshot::read(&value).expect("a snapshot");
        let again = Stats::default();
        again.add_values(&read.counters);
        assert_eq!(again.counter(Counter::Deliveries), 7);
        assert_eq!(again.events(Ingest::Sub), 0, "it came from the parent");
        assert_eq!(again.recoveries(Recovery::Recovered), 1);
        assert_eq!(again.gaps(Gap::Slow), 1);
        assert_eq!(again.slow_drops(SlowDrop::Oldest), 1);
        assert_eq!(read.latency.counts.iter().sum::<u64>(), 2);
        assert!((read.latency.sum - 0.006).abs() < 1e-9);
        assert_eq!((read.connections, read.outboxes_bytes), (1, 4));
        assert_eq!((read.resident_bytes, read.files_max), (5, 0));
        assert_eq!((read.history_bytes, read.history_events), (6, 7));
        let rule = &read.rules[0];
        assert_eq!(
            (&*rule.pattern, rule.policy, rule.dropped),
            ("a\"b*", SlowPolicy::Oldest, 8)
        );
        assert_eq!(read.busiest[0].name, "a\"b");
        assert_eq!(read.busiest[0].kept, Some(kept));
        assert_eq!(Snapshot::read(&Value::Null), None);
    }
}
