//! What the figures of all workers add up to.
//!
//! Each process has the last figures that it told. The counters of those that have ended are kept, so that no sum ever
//! falls. A worker that was killed has told its figures at most a second before.
//!
//! Never here: where the figures come from.

use std::collections::BTreeMap;

use crate::admin::durations::Durations;
use crate::admin::readings::{ProcessReadings, RuleRow};
use crate::admin::snapshot::{Buckets, BusyTopic, Snapshot};
use crate::admin::vitals::BUSIEST_MAX;
use crate::stats::Stats;

/// The figures of all workers.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Of each process that lives: its worker, and its last figures.
    living: BTreeMap<u64, (usize, Snapshot)>,
    /// What the others have counted.
    ended: Stats,
    /// What rules for topics have dropped in the others, by pattern.
    ended_rules: BTreeMap<String, u64>,
    /// In seconds, the CPU time of the others.
    ended_cpu: f64,
}

impl Sums {
    /// A process has told its figures. What they add to those it told before goes into `latency` and `turns`.
    pub fn take(
        &mut self,
        worker: usize,
        instance: u64,
        mut snapshot: Snapshot,
        latency: &mut Durations,
        turns: &mut Durations,
    ) {
        let before = self.living.remove(&instance);
        let before = before.map(|(_, before)| before).unwrap_or_default();
        // Last words have no gauges, and no CPU time.
        snapshot.cpu_seconds = snapshot.cpu_seconds.max(before.cpu_seconds);
        add(latency, &snapshot.latency, &before.latency);
        add(turns, &snapshot.turns, &before.turns);
        self.living.insert(instance, (worker, snapshot));
    }

    /// A process has ended.
    pub fn end(&mut self, instance: u64) {
        if let Some((_, last)) = self.living.remove(&instance) {
            self.ended.add_values(&last.counters);
            self.ended_cpu += last.cpu_seconds;
            for rule in last.rules {
                *self.ended_rules.entry(rule.pattern).or_default() += rule.dropped;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Snapshot> {
        self.living.values().map(|(_, snapshot)| snapshot)
    }

    /// What all have counted, and `own` besides.
    pub fn counted(&self, own: &Stats) -> Stats {
        let sum = own.clone();
        sum.add_values(&self.ended.values());
        self.all().for_each(|one| sum.add_values(&one.counters));
        sum
    }

    /// The sums of the gauges.
    pub fn sum(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for one in self.all() {
            sum.connections += one.connections;
            sum.topics += one.topics;
            sum.subscriptions += one.subscriptions;
            sum.outboxes_bytes += one.outboxes_bytes;
            sum.history_bytes += one.history_bytes;
            sum.history_events += one.history_events;
        }
        sum
    }

    /// The rules for topics that drop events now, in the order of their patterns, each with what all processes have
    /// dropped. `own` are those of this process.
    pub fn rules<'a>(&'a self, own: impl Iterator<Item = RuleRow<'a>>) -> Vec<RuleRow<'a>> {
        let theirs = self.all().flat_map(|one| &one.rules).map(|rule| RuleRow {
            pattern: &rule.pattern,
            policy: rule.policy,
            dropped: rule.dropped,
        });
        let mut rules: BTreeMap<&str, RuleRow<'a>> = BTreeMap::new();
        for row in own.chain(theirs) {
            let rule = rules.entry(row.pattern).or_insert_with(|| RuleRow {
                dropped: self.ended_rules.get(row.pattern).copied().unwrap_or(0),
                ..row
            });
            rule.dropped += row.dropped;
        }
        rules.into_values().collect()
    }

    /// What the system says about all processes.
    pub fn process(&self, own: ProcessReadings) -> ProcessReadings {
        let whole = |own: Option<u64>, of: fn(&Snapshot) -> u64| {
            own.map(|own| self.all().map(of).fold(own, u64::saturating_add))
        };
        let cpu: f64 = self.all().map(|one| one.cpu_seconds).sum();
        ProcessReadings {
            resident_bytes: whole(own.resident_bytes, |one| one.resident_bytes),
            open_files: whole(own.open_files, |one| one.open_files),
            files_max: whole(own.files_max, |one| one.files_max),
            cpu_seconds: own.cpu_seconds.map(|own| own + self.ended_cpu + cpu),
            started_at: own.started_at,
        }
    }

    /// How many connections `worker` has, while one is replaced those of both processes.
    pub fn connections(&self, worker: usize) -> usize {
        let mine = self.living.values().filter(|(of, _)| *of == worker);
        mine.map(|(_, snapshot)| snapshot.connections).sum()
    }

    /// The busiest topics of all, the busiest one first. A topic that is among the busiest of only some workers has
    /// the subscribers of these.
    pub fn busiest(&self) -> Vec<BusyTopic> {
        let mut topics: BTreeMap<&str, BusyTopic> = BTreeMap::new();
        for topic in self.all().flat_map(|one| &one.busiest) {
            let known = topics.entry(&topic.name).or_insert_with(|| BusyTopic {
                subscribers: 0,
                ..topic.clone()
            });
            known.subscribers += topic.subscribers;
            // Each worker with a subscriber has had the same events.
            known.events = known.events.max(topic.events);
            known.rate = known.rate.max(topic.rate);
            // They keep the same events, too, but for those that came before the worker did.
            known.kept = known.kept.max(topic.kept);
        }
        let mut topics: Vec<BusyTopic> = topics.into_values().collect();
        topics.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        topics.truncate(BUSIEST_MAX);
        topics
    }
}

fn add(durations: &mut Durations, now: &Buckets, before: &Buckets) {
    let before_counts = before.counts.iter().copied().chain(std::iter::repeat(0));
    let counts = now.counts.iter().zip(before_counts);
    let counts: Vec<u64> = counts.map(|(now, then)| now.saturating_sub(then)).collect();
    durations.add(&counts, (now.sum - before.sum).max(0.0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::durations::{EVENT_BOUNDS, TURN_BOUNDS};
    use crate::admin::listing::KeptRow;
    use crate::admin::snapshot::RuleCount;
    use crate::stats::Counter;
    use crate::wire::topic_rule::SlowPolicy;

    fn snapshot(deliveries: u64, connections: usize, cpu_seconds: f64) -> Snapshot {
        let stats = Stats::default();
        stats.add(Counter::Deliveries, deliveries);
        Snapshot {
            counters: stats.values(),
            connections,
            cpu_seconds,
            latency: Buckets {
                counts: vec![deliveries],
                sum: deliveries as f64 / 1_000.0,
            },
            ..Snapshot::default()
        }
    }

    #[test]
    fn counters_outlive_their_workers_and_gauges_do_not() {
        let (mut latency, mut turns) = (Durations::new(EVENT_BOUNDS), Durations::new(TURN_BOUNDS));
        let own = Stats::default();
        own.add(Counter::Events, 5);
        let mut sums = Sums::default();
        let mut take = |sums: &mut Sums, worker, instance, snapshot| {
            sums.take(worker, instance, snapshot, &mut latency, &mut turns);
        };
        take(&mut sums, 1, 10, snapshot(3, 2, 1.0));
        take(&mut sums, 2, 11, snapshot(4, 5, 1.0));
        take(&mut sums, 1, 10, snapshot(6, 1, 2.0));
        let deliveries = |sums: &Sums| sums.counted(&own).counter(Counter::Deliveries);
        assert_eq!((deliveries(&sums), sums.sum().connections), (10, 6));
        assert_eq!((sums.connections(1), sums.connections(2)), (1, 5));
        // Last words.
        take(&mut sums, 1, 10, snapshot(8, 0, 0.0));
        sums.end(10);
        take(&mut sums, 1, 12, snapshot(1, 1, 0.5));
        assert_eq!((deliveries(&sums), sums.sum().connections), (13, 6));
        assert_eq!(sums.counted(&own).counter(Counter::Events), 5);
        let process = sums.process(ProcessReadings {
            cpu_seconds: Some(10.0),
            ..ProcessReadings::default()
        });
        assert_eq!(process.cpu_seconds, Some(13.5));
        assert_eq!(process.resident_bytes, None);
        assert_eq!(latency.count(), 13);
        assert!((latency.sum() - 0.013).abs() < 1e-9);
    }

    #[test]
    fn what_rules_have_dropped_is_added_up_by_pattern() {
        let (mut latency, mut turns) = (Durations::new(EVENT_BOUNDS), Durations::new(TURN_BOUNDS));
        let mut sums = Sums::default();
        let mut take = |sums: &mut Sums, instance, rules: &[(&str, u64)]| {
            let rules = rules.iter().map(|&(pattern, dropped)| RuleCount {
                pattern: pattern.to_owned(),
                policy: SlowPolicy::Latest,
                dropped,
            });
            let snapshot = Snapshot {
                rules: rules.collect(),
                history_events: 3,
                ..Snapshot::default()
            };
            sums.take(1, instance, snapshot, &mut latency, &mut turns);
        };
        take(&mut sums, 1, &[("a", 1), ("b*", 2)]);
        take(&mut sums, 2, &[("b*", 4)]);
        let own = RuleRow {
            pattern: "b*",
            policy: SlowPolicy::Oldest,
            dropped: 8,
        };
        let found = |sums: &Sums| -> Vec<(String, u64)> {
            let rules = sums.rules([own].into_iter());
            assert_eq!(
                rules.last().map(|rule| rule.policy),
                Some(SlowPolicy::Oldest)
            );
            let rules = rules.iter();
            rules
                .map(|rule| (rule.pattern.to_owned(), rule.dropped))
                .collect()
        };
        assert_eq!(found(&sums), [("a".to_owned(), 1), ("b*".to_owned(), 14)]);
        assert_eq!(sums.sum().history_events, 6);
        // A worker that ends leaves its counts. A rule that no process has any more is not shown.
        sums.end(1);
        assert_eq!(found(&sums), [("b*".to_owned(), 14)]);
        take(&mut sums, 3, &[("a", 5)]);
        assert_eq!(found(&sums), [("a".to_owned(), 6), ("b*".to_owned(), 14)]);
    }

    #[test]
    fn the_busiest_topics_are_added_up_by_name() {
        let topic = |name: &str, subscribers, rate| BusyTopic {
            name: name.to_owned(),
            subscribers,
            events: 7,
            rate,
            kept: Some(KeptRow {
                events: subscribers,
                bytes: 300,
                age_seconds: None,
            }),
        };
        let busiest = |busiest| Snapshot {
            busiest,
            ..Snapshot::default()
        };
        let mut sums = Sums::default();
        sums.living.insert(
            0,
            (1, busiest(vec![topic("a", 1, 2.0), topic("b", 1, 1.0)])),
        );
        sums.living
            .insert(1, (2, busiest(vec![topic("b", 4, 3.0)])));
        let mut found = sums.busiest();
        assert_eq!(found[0].kept.map(|kept| kept.events), Some(4));
        found[0].kept = topic("b", 5, 3.0).kept;
        assert_eq!(found, [topic("b", 5, 3.0), topic("a", 1, 2.0)]);
    }
}
