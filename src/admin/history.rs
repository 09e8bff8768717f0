//! The history of the last ten minutes, one sample a second. The server keeps it, so that a dashboard shows it as
//! soon as it is opened.
//!
//! While the loop sleeps nothing changes, so no sample wakes it up. When the loop wakes up, it first fills in the
//! seconds that it slept through: the first of them gets everything that the loop did before it slept, and the
//! others get nothing.
//!
//! A dashboard watches, and is no client. The history leaves out what dashboards themselves add to the numbers
//! (see [`Own`]); `/metrics` counts that, too.
//!
//! Never here: clocks, the event of each second (`vitals`), names of topics.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::durations::Percentiles;
use super::readings::Readings;
use super::vitals;
use crate::limits::{HISTORY_COUNTS_SECONDS, HISTORY_SECONDS};
use crate::stats::{CLOSED, Close, Counter, DROPPED, REFUSED, Stats};
use crate::wire::json::{self, Each, Object};

/// How many samples a minute has.
const MINUTE: usize = 60;

/// How many samples are kept: those that are shown, and a minute before the first of them.
const SAMPLES_MAX: usize = HISTORY_SECONDS + MINUTE;

/// How many entries [`History::counted`] has at most: one more than the intervals between them.
const COUNTED_MAX: usize = HISTORY_SECONDS / HISTORY_COUNTS_SECONDS + 1;

/// What dashboards add to the numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    /// Connections of dashboards.
    pub connections: usize,
    /// Topics of the server's own that somebody is subscribed to.
    pub topics: usize,
    /// Subscriptions to these topics.
    pub subscriptions: usize,
    /// Deliveries of the server's own events since the start.
    pub deliveries: u64,
}

/// What one second was like.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Connections of clients at the end of the second.
    pub connections: u32,
    /// Topics that clients were subscribed to at the end of the second.
    pub topics: u32,
    /// Subscriptions of clients at the end of the second.
    pub subscriptions: u32,
    /// Events of publishers in this second.
    pub events: u32,
    /// Deliveries to clients in this second.
    pub deliveries: u32,
    /// CPU seconds that the process used a second.
    pub cpu: Option<f32>,
    /// Bytes that clients had left unread at the end of the second.
    pub outbox_bytes: u64,
    /// Bytes of resident memory when the sample was taken.
    pub memory_bytes: Option<u64>,
    /// How long the events took that reached their last subscriber in this second.
    latency: Option<Spread>,
    /// How long the turns took that ended in this second.
    turns: Option<Spread>,
    /// Drops, refusals and closes since the start. A refusal ends a connection, too, but that end is not counted
    /// among the closes.
    totals: [u64; 3],
}

// `limits::HISTORY_SECONDS` says how much memory all samples take.
const _: () = assert!(size_of::<Sample>() <= 112);

/// The names of [`Sample::totals`].
const TOTALS: [&str; 3] = ["dropped", "refused", "closed"];

/// Some of the [`Percentiles`], in seconds, in half the bytes.
#[derive(Clone, Copy, Debug)]
struct Spread {
    p50: f32,
    p99: f32,
    max: f32,
}

impl From<Percentiles> for Spread {
    fn from(percentiles: Percentiles) -> Self {
        Self {
            p50: percentiles.p50 as f32,
            p99: percentiles.p99 as f32,
            max: percentiles.max as f32,
        }
    }
}

/// The samples, and what had been counted when the last one was taken.
#[derive(Debug)]
pub struct History {
    /// The end of the last sample, in seconds since the start.
    seconds: u64,
    /// The samples of consecutive seconds, the oldest first; at most [`SAMPLES_MAX`].
    samples: VecDeque<Sample>,
    /// All counters at every [`HISTORY_COUNTS_SECONDS`], the oldest first; never empty.
    counted: VecDeque<Stats>,
    events: u64,
    deliveries: u64,
    cpu_seconds: f64,
}

impl Default for History {
    /// The history at the start of the server.
    fn default() -> Self {
        let mut counted = VecDeque::with_capacity(COUNTED_MAX);
        counted.push_back(Stats::default());
        Self {
            seconds: 0,
            samples: VecDeque::with_capacity(SAMPLES_MAX),
            counted,
            events: 0,
            deliveries: 0,
            cpu_seconds: 0.0,
        }
    }
}

impl History {
    /// Returns when the next second is over.
    pub fn due(&self) -> Duration {
        Duration::from_secs(self.seconds + 1)
    }

    /// Returns how many seconds are over since the start.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Adds a sample for each second that is over and has none. `latency` and `turns` are what was measured
    /// since the last sample.
    pub fn take(
        &mut self,
        now: Duration,
        readings: &Readings<'_>,
        own: Own,
        latency: Option<Percentiles>,
        turns: Option<Percentiles>,
    ) {
        let stats = readings.stats;
        let (first, last) = (self.seconds + 1, now.as_secs());
        let events = stats.counter(Counter::Events);
        let deliveries = deliveries(stats, own);
        let cpu_seconds = readings.process.cpu_seconds;
        let cpu = cpu_seconds.map(|cpu| (cpu - self.cpu_seconds) / (last + 1 - first) as f64);
        let quiet = Sample {
            connections: small(readings.connections - own.connections.min(readings.connections)),
            topics: small(readings.topics - own.topics.min(readings.topics)),
            subscriptions: small(
                readings.subscriptions - own.subscriptions.min(readings.subscriptions),
            ),
            events: 0,
            deliveries: 0,
            cpu: cpu.map(|cpu| cpu as f32),
            outbox_bytes: readings.outboxes_bytes as u64,
            memory_bytes: readings.process.resident_bytes,
            latency: None,
            turns: None,
            totals: totals(stats),
        };
        // Of a long sleep only the end is kept.
        for second in first.max((last + 1).saturating_sub(SAMPLES_MAX as u64))..=last {
            self.push(
                second,
                if second == first {
                    Sample {
                        events: small(events.saturating_sub(self.events)),
                        deliveries: small(deliveries.saturating_sub(self.deliveries)),
                        latency: latency.map(Spread::from),
                        turns: turns.map(Spread::from),
                        ..quiet
                    }
                } else {
                    quiet
                },
                stats,
            );
        }
        self.seconds = last;
        self.events = events;
        self.deliveries = deliveries;
        self.cpu_seconds = cpu_seconds.unwrap_or_default();
    }

    fn push(&mut self, second: u64, sample: Sample, stats: &Stats) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        if second.is_multiple_of(HISTORY_COUNTS_SECONDS as u64) {
            if self.counted.len() == COUNTED_MAX {
                self.counted.pop_front();
            }
            self.counted.push_back(stats.clone());
        }
    }

    /// Returns the sample of the last second that is over.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// Returns the counters of ten minutes ago, or of the start if that was later.
    pub fn counted_before(&self) -> &Stats {
        self.counted.front().expect("never empty")
    }

    /// Returns how many drops, refusals and closes there were in the last minute, by name.
    pub fn last_minute(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let last = self.samples.len().checked_sub(1);
        let counts = last.map_or([0; 3], |last| self.minute(last));
        TOTALS.into_iter().zip(counts)
    }

    /// Returns the same for the minute up to a sample.
    fn minute(&self, at: usize) -> [u64; 3] {
        let totals = self.samples[at].totals;
        // In the first minute after the start, everything counts.
        let before = at
            .checked_sub(MINUTE)
            .map_or([0; 3], |before| self.samples[before].totals);
        std::array::from_fn(|n| totals[n] - before[n])
    }

    /// Returns the history as JSON: for each kind of number a list, the oldest first; the age of the last numbers;
    /// and what the reasons mean that [`vitals`] names.
    pub fn encode(&self, now: Duration) -> String {
        let age = now.saturating_sub(Duration::from_secs(self.seconds));
        let mut out = String::with_capacity(64 * self.samples.len() + 8 * 1024);
        json::object(&mut out, |all| {
            all.put("age_seconds", format_args!("{:.3}", age.as_secs_f64()))
                .put_object("samples", |lists| self.lists(lists))
                .put_object("reasons", |reasons| {
                    for family in vitals::FAMILIES {
                        let tallies = family.tallies(&Stats::default()).into_iter();
                        let meanings = tallies.map(|tally| (tally.name, tally.meaning));
                        reasons.put(family.name, meanings.collect::<BTreeMap<_, _>>());
                    }
                });
        });
        out
    }

    /// Puts a list for each kind of number, with one number of each sample.
    fn lists(&self, lists: &mut Object<'_>) {
        let first = self.samples.len().saturating_sub(HISTORY_SECONDS);
        let samples = self.samples.range(first..);
        macro_rules! put {
            ($name:literal, $number:expr) => {
                lists.put($name, Each(samples.clone().map($number)))
            };
        }
        put!("connections", |s| s.connections);
        put!("topics", |s| s.topics);
        put!("subscriptions", |s| s.subscriptions);
        put!("outbox_bytes", |s| s.outbox_bytes);
        put!("events_per_second", |s| s.events);
        put!("deliveries_per_second", |s| s.deliveries);
        put!("latency_p50", |s| s.latency.map(|l| l.p50));
        put!("latency_p99", |s| s.latency.map(|l| l.p99));
        put!("latency_max", |s| s.latency.map(|l| l.max));
        put!("turn_p50", |s| s.turns.map(|t| t.p50));
        put!("turn_p99", |s| s.turns.map(|t| t.p99));
        put!("turn_max", |s| s.turns.map(|t| t.max));
        put!("memory_bytes", |s| s.memory_bytes);
        put!("cpu", |s| s
            .cpu
            .map(|cpu| (cpu * 1_000.0).round() / 1_000.0));
        for (n, name) in TOTALS.iter().enumerate() {
            let counts = (first..self.samples.len()).map(|at| self.minute(at)[n]);
            lists.put(&format!("{name}_per_minute"), Each(counts));
        }
    }
}

/// Returns the deliveries of publishers' events since the start.
pub fn deliveries(stats: &Stats, own: Own) -> u64 {
    let all = stats.counter(Counter::Deliveries);
    all.saturating_sub(own.deliveries)
}

fn totals(stats: &Stats) -> [u64; 3] {
    let closes = CLOSED.total(stats) - stats.closes(Close::Refused);
    [DROPPED.total(stats), REFUSED.total(stats), closes]
}

fn small(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admin::durations::{Durations, EVENT_BOUNDS};
    use crate::admin::readings::ProcessReadings;
    use crate::stats::{Dropped, Gap, HttpStatus, Recovery, Refusal, SlowDrop};

    const TURNS: Percentiles = Percentiles {
        p50: 0.001,
        p90: 0.002,
        p99: 0.003,
        max: 0.25,
    };

    /// Takes what is due at a moment in milliseconds.
    fn take(history: &mut History, milliseconds: u64, stats: &Stats, own: Own) {
        let none = Durations::new(EVENT_BOUNDS);
        let readings = Readings {
            stats,
            latency: &none,
            turns: &none,
            connections: 3,
            topics: 2,
            subscriptions: 4,
            outboxes_bytes: 9,
            history_bytes: 0,
            history_events: 0,
            rules: &[],
            sources: &[],
            relay_receivers: 0,
            workers: &[],
            process: ProcessReadings {
                cpu_seconds: Some(milliseconds as f64 / 2_000.0),
                resident_bytes: Some(4_096),
                ..ProcessReadings::default()
            },
        };
        let now = Duration::from_millis(milliseconds);
        assert!(now >= history.due());
        history.take(now, &readings, own, None, Some(TURNS));
    }

    fn told(history: &History, milliseconds: u64) -> Value {
        let text = history.encode(Duration::from_millis(milliseconds));
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn seconds_that_the_loop_slept_through_are_filled_in() {
        let mut history = History::default();
        let stats = Stats::default();
        assert_eq!(
            told(&history, 100)["samples"]["events_per_second"],
            json!([])
        );
        stats.add(Counter::Events, 5);
        stats.add(Counter::Deliveries, 12);
        stats.dropped(Dropped::NoTopic);
        take(&mut history, 1_100, &stats, Own::default());
        stats.add(Counter::Events, 7);
        take(&mut history, 4_250, &stats, Own::default());
        let told = told(&history, 4_500);
        let samples = &told["samples"];
        assert_eq!(samples["events_per_second"], json!([5, 7, 0, 0]));
        assert_eq!(samples["deliveries_per_second"], json!([12, 0, 0, 0]));
        assert_eq!(samples["turn_max"], json!([0.25, 0.25, null, null]));
        assert_eq!(samples["latency_p50"], json!([null, null, null, null]));
        assert_eq!(samples["dropped_per_minute"], json!([1, 1, 1, 1]));
        assert_eq!(samples["cpu"], json!([0.55, 0.525, 0.525, 0.525]));
        assert_eq!(samples["memory_bytes"][3], 4_096);
        assert_eq!(told["age_seconds"], 0.5);
        assert_eq!(history.due(), Duration::from_secs(5));
    }

    #[test]
    fn what_dashboards_do_themselves_is_left_out() {
        let mut history = History::default();
        let stats = Stats::default();
        stats.add(Counter::Deliveries, 10);
        let own = Own {
            connections: 1,
            topics: 1,
            subscriptions: 1,
            deliveries: 4,
        };
        take(&mut history, 1_000, &stats, own);
        let last = history.last().expect("a sample");
        assert_eq!(
            (last.connections, last.topics, last.subscriptions),
            (2, 1, 3)
        );
        assert_eq!(last.deliveries, 6);
        assert_eq!(deliveries(&stats, own), 6);
    }

    #[test]
    fn ten_minutes_are_kept_and_no_more() {
        let mut history = History::default();
        let stats = Stats::default();
        for second in 1..=1_000_u64 {
            stats.dropped(Dropped::BadJson);
            stats.refused(Refusal::Token);
            stats.closed(Close::Refused);
            take(&mut history, second * 1_000, &stats, Own::default());
        }
        let told = told(&history, 1_000_000);
        let lists = told["samples"].as_object().expect("lists");
        assert!(lists.len() >= 17);
        for (name, list) in lists {
            assert_eq!(
                list.as_array().map(Vec::len),
                Some(HISTORY_SECONDS),
                "{name}"
            );
        }
        // A whole minute is known of the first one, too.
        let minutes = &told["samples"]["dropped_per_minute"];
        assert_eq!((&minutes[599], &minutes[0]), (&json!(60), &json!(60)));
        assert_eq!(told["samples"]["closed_per_minute"][599], 0);
        let lately =
            stats.drops(Dropped::BadJson) - history.counted_before().drops(Dropped::BadJson);
        assert_eq!(lately, 600);
        assert_eq!(history.counted.len(), COUNTED_MAX);
        assert!(history.samples.capacity() < 2 * SAMPLES_MAX);
    }

    #[test]
    fn a_long_sleep_costs_no_more_than_ten_minutes() {
        let mut history = History::default();
        let stats = Stats::default();
        stats.dropped(Dropped::BadJson);
        take(&mut history, 86_400_000_000, &stats, Own::default());
        assert_eq!(history.samples.len(), SAMPLES_MAX);
        assert_eq!(history.counted_before().drops(Dropped::BadJson), 1);
        assert!(history.last_minute().all(|(_, count)| count == 0));
    }

    #[test]
    fn every_reason_is_explained() {
        let told = told(&History::default(), 0);
        for (kind, count) in [
            ("dropped", Dropped::ALL.len()),
            ("refused", Refusal::ALL.len()),
            ("closed", Close::ALL.len()),
            ("dropped_slow", SlowDrop::ALL.len()),
            ("gaps", Gap::ALL.len()),
            ("recoveries", Recovery::ALL.len()),
            ("http", HttpStatus::ALL.len()),
        ] {
            let reasons = told["reasons"][kind].as_object().expect("reasons");
            assert_eq!(reasons.len(), count, "{kind}");
            for (name, meaning) in reasons {
                let meaning = meaning.as_str().expect("a text");
                assert!(
                    meaning.len() > 5 && meaning.ends_with('.'),
                    "{name}: {meaning}"
                );
                assert!(!meaning.contains("[`"), "{name}: a link of rustdoc");
            }
        }
    }
}
