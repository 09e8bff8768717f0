//! All counters and measurements as a Prometheus server reads them (text format 0.0.4).
//!
//! Each metric is declared once, here; what it counts by reason is a [`Family`] of `stats`. `docs/metrics.md` is
//! made from both. Names follow Prometheus' conventions: base units, `_total` behind counters. Every value of a
//! label is there from the start, so that the first drop of a kind is an increase from zero.
//!
//! Never here: what the numbers are at this moment (`readings`), and where they come from.

use std::fmt::Write as _;

use super::durations::Durations;
use super::readings::{ProcessReadings, Readings, RuleRow, WorkerRow};
use super::response::Response;
use super::sources::SourceRow;
use crate::stats::{self, Counter, Family, Judged, Stats, Store, Tally};
use crate::wire::topic_rule::SlowPolicy;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// The name in the text format.
    pub name: &'static str,
    /// What the metric counts, in a sentence or two.
    pub help: &'static str,
    kind: MetricKind,
    what: MetricValue,
}

/// Where the values of a metric come from.
#[derive(Clone, Copy, Debug)]
enum MetricValue {
    Build,
    Counter(Counter),
    /// One value for each value of the family's label.
    By(&'static Family),
    Checks,
    /// One value for each source that has one. Where no source has any, the metric is left out.
    Sources(fn(&SourceRow<'_>) -> Option<u64>),
    /// One value for each rule for topics. Where there is none, the metric is left out.
    Rules(fn(&RuleRow<'_>) -> u64),
    /// One value for each worker.
    Workers(fn(&WorkerRow) -> usize),
    Durations(for<'r> fn(&'r Readings<'_>) -> &'r Durations),
    Gauge(fn(&Readings<'_>) -> usize),
    /// One value. Where the system does not say it, the metric is left out.
    Process(fn(&ProcessReadings) -> Option<f64>),
}

const fn counter(name: &'static str, what: MetricValue, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        kind: MetricKind::Counter,
        what,
    }
}

/// The metric of a counter that needs no label.
const fn of(name: &'static str, which: Counter) -> Metric {
    counter(name, MetricValue::Counter(which), which.meaning())
}

const fn gauge(name: &'static str, what: MetricValue, help: &'static str) -> Metric {
    Metric {
        kind: MetricKind::Gauge,
        ..counter(name, what, help)
    }
}

impl Metric {
    /// Returns the type, as Prometheus calls it.
    pub const fn kind(&self) -> &'static str {
        match self.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }

    /// Returns the labels, each with its values and what they mean. A label whose values are not fixed has none here.
    pub fn labels(&self) -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
        match self.what {
            MetricValue::Build => vec![("version", Vec::new())],
            MetricValue::By(family) => {
                let tallies = family.tallies(&Stats::default()).into_iter();
                let values = tallies.map(|tally| (tally.name, tally.meaning));
                vec![(family.label, values.collect())]
            }
            MetricValue::Checks => {
                let stores = Store::ALL.iter().map(|s| (s.name(), s.meaning()));
                let results = Judged::ALL.iter().map(|j| (j.name(), j.meaning()));
                vec![("store", stores.collect()), ("result", results.collect())]
            }
            MetricValue::Sources(_) => vec![("source", Vec::new()), ("endpoint", Vec::new())],
            MetricValue::Rules(_) => {
                let policies = vec![
                    (
                        SlowPolicy::Oldest.name(),
                        "The oldest events that a client has not read are dropped.",
                    ),
                    (
                        SlowPolicy::Latest.name(),
                        "All events that a client has not read are dropped, but for the newest of each topic.",
                    ),
                ];
                vec![("rule", Vec::new()), ("policy", policies)]
            }
            MetricValue::Workers(_) => vec![("worker", Vec::new())],
            MetricValue::Durations(_) => vec![("le", Vec::new())],
            MetricValue::Counter(_) | MetricValue::Gauge(_) | MetricValue::Process(_) => Vec::new(),
        }
    }
}

/// All metrics, in the order of the text.
pub static METRICS: &[Metric] = &[
    gauge(
        "newswire_build_info",
        MetricValue::Build,
        "1, labelled with the version that runs.",
    ),
    gauge(
        "newswire_connections",
        MetricValue::Gauge(|now| now.connections),
        "Connections of clients and dashboards now, in whatever state.",
    ),
    gauge(
        "newswire_workers",
        MetricValue::Gauge(|now| now.workers.iter().filter(|row| row.is_ready).count()),
        "Workers that serve now. A server without workers has none.",
    ),
    of("newswire_worker_restarts_total", Counter::WorkerRestarts),
    gauge(
        "newswire_worker_connections",
        MetricValue::Workers(|row| row.connections),
        "Connections of clients to each worker, as it told them at most a second ago.",
    ),
    gauge(
        "newswire_topics",
        MetricValue::Gauge(|now| now.topics),
        "Topics that somebody is subscribed to now, or of which events are kept. $sys/stats of the dashboards is one. \
         With workers, a topic counts for each worker that has it.",
    ),
    gauge(
        "newswire_subscriptions",
        MetricValue::Gauge(|now| now.subscriptions),
        "Pairs of connection and topic now.",
    ),
    gauge(
        "newswire_outbox_bytes",
        MetricValue::Gauge(|now| now.outboxes_bytes),
        "Bytes that clients have left unread now; what many owe is counted once.",
    ),
    gauge(
        "newswire_history_bytes",
        MetricValue::Gauge(|now| now.history_bytes),
        "Bytes of the events that are kept now by rules of `topic`, with what they cost beside their data. \
         `history-bytes-max` bounds them. Each worker has a history of its own, and all of them count.",
    ),
    gauge(
        "newswire_history_events",
        MetricValue::Gauge(|now| now.history_events),
        "Events that are kept now by rules of `topic`. With workers, an event counts for each worker that keeps it.",
    ),
    counter(
        "newswire_events_total",
        MetricValue::By(&stats::EVENTS),
        "Events of publishers, by where they came in.",
    ),
    of("newswire_ingested_total", Counter::Ingested),
    of("newswire_source_gaps_total", Counter::SourceGaps),
    of(
        "newswire_topics_not_carried_total",
        Counter::TopicsNotCarried,
    ),
    of(
        "newswire_subscriptions_refused_total",
        Counter::SubscriptionsRefused,
    ),
    of("newswire_missed_total", Counter::Missed),
    of("newswire_relayed_total", Counter::Relayed),
    of("newswire_deliveries_total", Counter::Deliveries),
    counter(
        "newswire_dropped_total",
        MetricValue::By(&stats::DROPPED),
        "Messages and events that went no further, by reason.",
    ),
    counter(
        "newswire_refused_peers_total",
        MetricValue::By(&stats::REFUSED_PEERS),
        "ZeroMQ peers whose handshake did not succeed, by reason.",
    ),
    gauge(
        "newswire_relay_receivers",
        MetricValue::Gauge(|now| now.relay_receivers),
        "Other servers, and workers, that are connected and receive the events that this one hands on.",
    ),
    gauge(
        "newswire_source_peers",
        MetricValue::Sources(|row| Some(row.health.peers as u64)),
        "ZeroMQ peers that are connected now, by source and endpoint.",
    ),
    counter(
        "newswire_source_refused_peers_total",
        MetricValue::Sources(|row| Some(row.health.refused)),
        "ZeroMQ peers whose handshake did not succeed, by source and endpoint.",
    ),
    counter(
        "newswire_source_connects_total",
        MetricValue::Sources(|row| Some(row.health.upstream?.connects)),
        "Connections made to publishers that newswire connects to, by source and endpoint.",
    ),
    gauge(
        "newswire_source_lag_seconds",
        MetricValue::Sources(|row| Some(row.lag?.as_secs())),
        "Whole seconds that the oldest message of a broker has waited in newswire, by source and endpoint.",
    ),
    gauge(
        "newswire_source_asks_for_everything",
        MetricValue::Sources(|row| Some(row.health.upstream?.asks_for_everything.into())),
        "1 while a publisher is asked for everything instead of single topics, by source and endpoint.",
    ),
    Metric {
        name: "newswire_ingest_to_socket_seconds",
        help: "Time from an event's receipt until it was handed to its last subscriber's socket.",
        kind: MetricKind::Histogram,
        what: MetricValue::Durations(|now| now.latency),
    },
    Metric {
        name: "newswire_turn_seconds",
        help: "Time of one turn of the loop. Whatever becomes ready during a turn waits for its end. The budgets of a \
               turn aim at 0.01.",
        kind: MetricKind::Histogram,
        what: MetricValue::Durations(|now| now.turns),
    },
    of("newswire_connections_accepted_total", Counter::Connections),
    counter(
        "newswire_handshakes_total",
        MetricValue::By(&stats::HANDSHAKES),
        "Requests for a session by result: accepted, or why not.",
    ),
    counter(
        "newswire_refused_tokens_total",
        MetricValue::By(&stats::REFUSED_TOKENS),
        "Tokens of clients that were refused, by cause.",
    ),
    counter(
        "newswire_auth_checks_total",
        MetricValue::Checks,
        "Questions about tokens, by who was asked and the answer.",
    ),
    counter(
        "newswire_closed_total",
        MetricValue::By(&stats::CLOSED),
        "Connections of clients that ended, by reason.",
    ),
    counter(
        "newswire_slow_events_dropped_total",
        MetricValue::By(&stats::DROPPED_SLOW),
        "Events that waited for a slow client and were dropped by the rule of their topic, by reason. An event counts \
         for each client that lost it.",
    ),
    counter(
        "newswire_topic_rule_dropped_events_total",
        MetricValue::Rules(|row| row.dropped),
        "Events that waited for a slow client and were dropped, by the rule of their topic: its pattern as it is \
         configured, and what its `slow` says now. Rules with `slow=close` drop nothing and are left out.",
    ),
    counter(
        "newswire_gaps_total",
        MetricValue::By(&stats::GAPS),
        "Times that a client was told that events of a topic were lost to it, by reason. Clients of WAMP v1 are told \
         nothing, and those of WAMP v2 only when they have asked for events of the past.",
    ),
    counter(
        "newswire_recoveries_total",
        MetricValue::By(&stats::RECOVERIES),
        "Times that a client came back and named the last event that it had, by what it got. WAMP v2 counts each \
         subscription, server-sent events each stream.",
    ),
    of("newswire_events_replayed_total", Counter::EventsReplayed),
    of("newswire_writes_total", Counter::Writes),
    of("newswire_short_writes_total", Counter::ShortWrites),
    of("newswire_messages_total", Counter::Messages),
    of("newswire_subscribes_total", Counter::Subscribes),
    of(
        "newswire_subscribes_denied_total",
        Counter::SubscribesDenied,
    ),
    of(
        "newswire_subscriptions_withdrawn_total",
        Counter::SubscriptionsWithdrawn,
    ),
    of("newswire_unsubscribes_total", Counter::Unsubscribes),
    of(
        "newswire_events_compressed_total",
        Counter::EventsCompressed,
    ),
    of("newswire_client_publishes_total", Counter::ClientPublishes),
    of("newswire_calls_total", Counter::Calls),
    of("newswire_alive_calls_total", Counter::AliveCalls),
    of("newswire_pings_sent_total", Counter::PingsSent),
    of("newswire_pings_received_total", Counter::PingsReceived),
    of("newswire_files_served_total", Counter::FilesServed),
    of("newswire_health_checks_total", Counter::HealthChecks),
    of("newswire_preflights_total", Counter::Preflights),
    of("newswire_stale_total", Counter::Stale),
    counter(
        "newswire_http_requests_total",
        MetricValue::By(&stats::ANSWERED),
        "Requests to the admin and publish listeners, by the status of the answer.",
    ),
    counter(
        "newswire_listener_made_room_total",
        MetricValue::By(&stats::MADE_ROOM),
        "Connections to the admin and publish listeners that were ended for others, by listener.",
    ),
    gauge(
        "process_resident_memory_bytes",
        MetricValue::Process(|p| p.resident_bytes.map(|bytes| bytes as f64)),
        "Resident memory.",
    ),
    gauge(
        "process_open_fds",
        MetricValue::Process(|p| p.open_files.map(|files| files as f64)),
        "Open file descriptors.",
    ),
    gauge(
        "process_max_fds",
        MetricValue::Process(|p| p.files_max.map(|files| files as f64)),
        "The limit of open file descriptors.",
    ),
    counter(
        "process_cpu_seconds_total",
        MetricValue::Process(|p| p.cpu_seconds),
        "CPU time of all threads.",
    ),
    gauge(
        "process_start_time_seconds",
        MetricValue::Process(|p| Some(p.started_at)),
        "When the process started, in seconds since 1970.",
    ),
];

/// Returns true when some metric shows `counter`. A test asks this for each counter.
#[cfg(test)]
fn is_told(counter: Counter) -> bool {
    match counter {
        // One is the sum of the events by ingest, the other a result of handshakes.
        Counter::Events | Counter::Handshakes => true,
        other => METRICS
            .iter()
            .any(|metric| matches!(metric.what, MetricValue::Counter(c) if c == other)),
    }
}

/// Returns the text of all metrics.
pub fn text(now: &Readings<'_>) -> String {
    let mut page = Exposition(String::with_capacity(16 * 1024));
    for metric in METRICS {
        page.metric(metric, now);
    }
    page.0
}

/// Returns the text as an answer.
pub fn response(now: &Readings<'_>) -> Response {
    let text = text(now).into_bytes();
    Response::with_type("text/plain; version=0.0.4; charset=utf-8", text.into())
}

/// Returns a value of a label as the text format writes it.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

fn source_labels(row: &SourceRow<'_>) -> String {
    let (source, endpoint) = (row.ingest.name(), escaped(row.endpoint));
    format!("source=\"{source}\",endpoint=\"{endpoint}\"")
}

/// The text under way. Most labels and their values are names of newswire's own, which need no escape; endpoints and
/// patterns are escaped.
struct Exposition(String);

impl Exposition {
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes everything");
    }

    fn head(&mut self, metric: &Metric) {
        let kind = metric.kind();
        let Metric { name, help, .. } = metric;
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn metric(&mut self, metric: &Metric, now: &Readings<'_>) {
        let (name, stats) = (metric.name, now.stats);
        if let MetricValue::Process(value) = metric.what {
            if let Some(value) = value(&now.process) {
                self.head(metric);
                self.push(format_args!("{name} {value}\n"));
            }
            return;
        }
        if let MetricValue::Sources(value) = metric.what
            && now.sources.iter().all(|row| value(row).is_none())
        {
            return;
        }
        if matches!(metric.what, MetricValue::Workers(_)) && now.workers.is_empty()
            || matches!(metric.what, MetricValue::Rules(_)) && now.rules.is_empty()
        {
            return;
        }
        self.head(metric);
        match metric.what {
            MetricValue::Build => {
                let version = env!("CARGO_PKG_VERSION");
                self.push(format_args!("{name}{{version=\"{version}\"}} 1\n"));
            }
            MetricValue::Counter(counter) => {
                self.push(format_args!("{name} {}\n", stats.counter(counter)))
            }
            MetricValue::Gauge(value) => self.push(format_args!("{name} {}\n", value(now))),
            MetricValue::Sources(value) => {
                for row in now.sources {
                    if let Some(value) = value(row) {
                        let labels = source_labels(row);
                        self.push(format_args!("{name}{{{labels}}} {value}\n"));
                    }
                }
            }
            MetricValue::Rules(value) => {
                for row in now.rules {
                    let (rule, policy) = (escaped(row.pattern), row.policy.name());
                    let value = value(row);
                    self.push(format_args!(
                        "{name}{{rule=\"{rule}\",policy=\"{policy}\"}} {value}\n"
                    ));
                }
            }
            MetricValue::Workers(value) => {
                for row in now.workers {
                    let (worker, value) = (row.worker, value(row));
                    self.push(format_args!("{name}{{worker=\"{worker}\"}} {value}\n"));
                }
            }
            MetricValue::By(family) => {
                for Tally {
                    name: value, count, ..
                } in family.tallies(stats)
                {
                    let label = family.label;
                    self.push(format_args!("{name}{{{label}=\"{value}\"}} {count}\n"));
                }
            }
            MetricValue::Checks => {
                for &store in Store::ALL {
                    for &judged in Judged::ALL {
                        let (count, store) = (stats.checks(store, judged), store.name());
                        let result = judged.name();
                        self.push(format_args!(
                            "{name}{{store=\"{store}\",result=\"{result}\"}} {count}\n"
                        ));
                    }
                }
            }
            MetricValue::Durations(of) => {
                let durations = of(now);
                for (bound, count) in durations.cumulative() {
                    self.push(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
                }
                let (all, sum) = (durations.count(), durations.sum());
                self.push(format_args!(
                    "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}\n"
                ));
            }
            MetricValue::Process(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::durations::{EVENT_BOUNDS, TURN_BOUNDS};
    use crate::health::Health;
    use crate::stats::{Dropped, Gap, Ingest, Recovery, Refusal, SlowDrop};

    #[test]
    fn every_counter_is_told() {
        for &counter in Counter::ALL {
            assert!(is_told(counter), "{counter:?}");
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            let name = metric.name;
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(is_counter, name.ends_with("_total"), "{name}");
            assert!(name.starts_with("newswire_") || name.starts_with("process_"));
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']));
        }
    }

    #[test]
    fn what_was_counted_is_told() {
        let stats = Stats::default();
        stats.ingested(Ingest::Http);
        stats.dropped(Dropped::NoTopic);
        stats.refused(Refusal::Token);
        stats.checked(Store::List, Judged::Accepted);
        stats.recovery(Recovery::Floor);
        stats.told_gap(Gap::Slow, 1);
        stats.dropped_slow(SlowDrop::Replaced, 1);
        stats.add(Counter::Deliveries, 7);
        let mut latency = Durations::new(EVENT_BOUNDS);
        latency.record(Duration::from_millis(3), 2);
        let mut turns = Durations::new(TURN_BOUNDS);
        turns.record(Duration::from_millis(30), 1);
        let text = text(&Readings {
            stats: &stats,
            latency: &latency,
            turns: &turns,
            connections: 5,
            topics: 0,
            subscriptions: 0,
            outboxes_bytes: 0,
            history_bytes: 9,
            history_events: 2,
            rules: &[RuleRow {
                pattern: "a\"b\\\n*",
                policy: SlowPolicy::Latest,
                dropped: 6,
            }],
            sources: &[SourceRow {
                ingest: Ingest::Pull,
                endpoint: r#"tcp://a"b\c:1"#,
                health: Health {
                    peers: 2,
                    refused: 1,
                    upstream: None,
                },
                lag: None,
            }],
            relay_receivers: 0,
            workers: &[WorkerRow {
                worker: 1,
                is_ready: true,
                connections: 4,
            }],
            process: ProcessReadings {
                resident_bytes: Some(4_096),
                started_at: 1.5,
                ..ProcessReadings::default()
            },
        });
        for line in [
            "# TYPE newswire_connections gauge\nnewswire_connections 5",
            "newswire_workers 1",
            "newswire_worker_connections{worker=\"1\"} 4",
            "newswire_events_total{ingest=\"http\"} 1",
            "newswire_events_total{ingest=\"pull\"} 0",
            "newswire_dropped_total{reason=\"no_topic\"} 1",
            "newswire_handshakes_total{result=\"accepted\"} 0",
            "newswire_handshakes_total{result=\"token\"} 1",
            "newswire_auth_checks_total{store=\"list\",result=\"accepted\"} 1",
            "newswire_deliveries_total 7",
            "newswire_history_bytes 9",
            "newswire_history_events 2",
            "newswire_recoveries_total{result=\"floor\"} 1",
            "newswire_recoveries_total{result=\"recovered\"} 0",
            "newswire_gaps_total{reason=\"slow\"} 1",
            "newswire_slow_events_dropped_total{reason=\"replaced\"} 1",
            r#"newswire_topic_rule_dropped_events_total{rule="a\"b\\\n*",policy="latest"} 6"#,
            r#"newswire_source_peers{source="pull",endpoint="tcp://a\"b\\c:1"} 2"#,
            "newswire_ingest_to_socket_seconds_bucket{le=\"0.0025\"} 0",
            "newswire_ingest_to_socket_seconds_bucket{le=\"0.005\"} 2",
            "newswire_ingest_to_socket_seconds_bucket{le=\"+Inf\"} 2",
            "newswire_ingest_to_socket_seconds_sum 0.006",
            "newswire_ingest_to_socket_seconds_count 2",
            "# TYPE newswire_turn_seconds histogram\nnewswire_turn_seconds_bucket{le=\"0.0005\"} 0",
            "newswire_turn_seconds_bucket{le=\"0.025\"} 0",
            "newswire_turn_seconds_bucket{le=\"0.05\"} 1",
            "newswire_turn_seconds_bucket{le=\"1\"} 1",
            "newswire_turn_seconds_bucket{le=\"+Inf\"} 1",
            "newswire_turn_seconds_sum 0.03",
            "newswire_turn_seconds_count 1",
            "process_resident_memory_bytes 4096",
            "process_start_time_seconds 1.5",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
        assert!(!text.contains("process_open_fds"), "it is not known");
    }
}
