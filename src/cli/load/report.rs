//! The report at the end of a load test: for a person, with a small drawing, or for a machine, as JSON.
//!
//! Never here: how the figures were measured.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::positions::Words;
use crate::wire::json::{self, Each, Object, ToJson};

/// In characters of the longest bar.
const BAR_MAX: usize = 50;

/// The percentiles that the report shows, and their names.
const PERCENTILES: [(f64, &str); 4] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// The figures of one load test.
#[derive(Debug)]
pub struct LoadReport {
    /// The name of what subscribers spoke.
    pub protocol: &'static str,
    /// The options of the test.
    pub connections: usize,
    /// True exactly when some subscriber was to read what it receives.
    pub reads: bool,
    /// Upgrades that were accepted.
    pub handshakes: u64,
    /// In seconds, from the first connection to the last WELCOME (WAMP v1), SUBSCRIBED (WAMP v2), or beginning of a
    /// stream.
    pub handshake_seconds: f64,
    /// Upgrades refused, by status; 0: no answer of HTTP.
    pub refused: Vec<(u16, u64)>,
    /// Connections that ended too early.
    pub ended: u64,
    /// Of those, how many came back.
    pub returned: u64,
    /// In events.
    pub published: u64,
    /// In seconds, from the first event to the last delivery.
    pub seconds: f64,
    /// In deliveries.
    pub deliveries: u64,
    /// In bytes of payload.
    pub bytes: u64,
    /// Deliveries that did not arrive.
    pub losses: u64,
    /// Deliveries missed by subscribers whose connection had ended.
    pub missed: u64,
    /// Deliveries that arrived twice.
    pub doubles: u64,
    /// Deliveries that arrived after a later one.
    pub disorder: u64,
    /// Messages that were no event of this test.
    pub strangers: u64,
    /// In nanoseconds.
    pub to_each: Histogram<u64>,
    /// In nanoseconds.
    pub to_last: Histogram<u64>,
    /// What became of subscribers that vanished and came back.
    pub blink: Option<BlinkReport>,
    /// What slow readers got; all other figures leave them out.
    pub slow: Option<SlowReport>,
    /// The server's figures, when its process is known.
    pub server: Option<ServerReport>,
    /// In bytes, what each connection costs this program.
    pub own_bytes_per_connection: Option<f64>,
    /// True exactly when the user stopped the test before its end.
    pub is_interrupted: bool,
}

/// What became of subscribers that vanished and came back. What they missed in all is [`LoadReport::losses`].
#[derive(Debug)]
pub struct BlinkReport {
    /// How often a subscriber vanished.
    pub blinks: u64,
    /// What the server said to those that came back, by word: `recovered`, or why not.
    pub recoveries: Words,
    /// Deliveries of events that were published before the subscriber was back.
    pub replayed: u64,
    /// In deliveries, what was published to the subscribers' topics in the whole time.
    pub expected: u64,
    /// Gaps that the server told, by reason.
    pub gaps: Words,
}

/// What slow readers got.
#[derive(Debug)]
pub struct SlowReport {
    /// How many there were.
    pub readers: usize,
    /// In bytes a second, each of them.
    pub rate: u64,
    /// In deliveries.
    pub deliveries: u64,
    /// In deliveries, what was published to their topics.
    pub expected: u64,
    /// Connections that ended too early.
    pub ended: u64,
    /// Gaps that the server told, by reason.
    pub gaps: Words,
}

/// What the server used.
#[derive(Debug)]
pub struct ServerReport {
    /// In nanoseconds a handshake.
    pub cpu_per_handshake: f64,
    /// In nanoseconds a delivery.
    pub cpu_per_delivery: f64,
    /// In bytes, at the end.
    pub resident: u64,
    /// In bytes added by each connection.
    pub resident_per_connection: f64,
}

impl LoadReport {
    /// Returns what was wrong; `None` when every delivery arrived once, in order. A test that delivered nothing has shown
    /// nothing, unless its user stopped it or no subscriber was to read.
    pub fn fault(&self) -> Option<String> {
        if self.losses > 0 || self.doubles > 0 || self.disorder > 0 {
            return Some(format!(
                "{} deliveries lost, {} doubled, {} out of order",
                self.losses, self.doubles, self.disorder
            ));
        }
        let is_vain = self.published > 0 && self.deliveries == 0;
        (is_vain && self.reads && !self.is_interrupted).then(|| {
            format!(
                "no event was delivered: {} of {} connections had ended",
                self.ended, self.connections
            )
        })
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line(
            "connections",
            format!(
                "{} of {} in {:.2} s: {} handshakes/s",
                self.handshakes,
                self.connections,
                self.handshake_seconds,
                rate(self.handshakes, self.handshake_seconds)
            ),
        );
        for (status, count) in &self.refused {
            let status = match status {
                0 => "without an answer".to_owned(),
                status => format!("with {status}"),
            };
            line("refused", format!("{count} {status}"));
        }
        if self.ended > 0 {
            line(
                "ended",
                format!("{}, {} came back", self.ended, self.returned),
            );
        }
        line(
            "published",
            format!(
                "{} events in {:.2} s: {}/s",
                self.published,
                self.seconds,
                rate(self.published, self.seconds)
            ),
        );
        line(
            "deliveries",
            format!(
                "{}: {}/s, {:.1} MB/s",
                self.deliveries,
                rate(self.deliveries, self.seconds),
                self.bytes as f64 / 1e6 / self.seconds.max(1e-9)
            ),
        );
        line(
            "faults",
            format!(
                "{} lost, {} doubled, {} out of order",
                self.losses, self.doubles, self.disorder
            ),
        );
        if let Some(blink) = &self.blink {
            line(
                "blinks",
                format!(
                    "{}, after which the server said: {}",
                    blink.blinks,
                    words(&blink.recoveries)
                ),
            );
            line(
                "expected",
                format!(
                    "{}: {} delivered ({} of them after a return), {} missed, {} twice",
                    blink.expected, self.deliveries, blink.replayed, self.losses, self.doubles
                ),
            );
            line("gaps told", words(&blink.gaps));
        }
        if let Some(slow) = &self.slow {
            line(
                "slow readers",
                format!(
                    "{} of {} B/s: {} of {} deliveries; {} connections ended; gaps told: {}",
                    slow.readers,
                    slow.rate,
                    slow.deliveries,
                    slow.expected,
                    slow.ended,
                    words(&slow.gaps)
                ),
            );
        }
        if self.missed > 0 {
            line("missed", format!("{} while not connected", self.missed));
        }
        if self.strangers > 0 {
            line(
                "strangers",
                format!("{} texts were no event of this test", self.strangers),
            );
        }
        if let Some(server) = &self.server {
            line(
                "server",
                format!(
                    "{:.2} µs CPU a delivery, {:.1} µs a handshake; {:.1} MB resident, {:.0} B a connection",
                    server.cpu_per_delivery / 1e3,
                    server.cpu_per_handshake / 1e3,
                    server.resident as f64 / 1e6,
                    server.resident_per_connection
                ),
            );
        }
        if let Some(own) = self.own_bytes_per_connection {
            line("this test", format!("{own:.0} B resident a connection"));
        }
        if self.is_interrupted {
            line("", "interrupted: this is what there was".to_owned());
        }
        if !self.to_each.is_empty() {
            let _ = writeln!(text, "\nlatency      {}", header());
            let _ = writeln!(text, "to each      {}", row(&self.to_each));
            let _ = writeln!(text, "to the last  {}", row(&self.to_last));
            text.push('\n');
            text.push_str(&drawing(&self.to_each));
        }
        text
    }

    /// For a machine: one object, times in nanoseconds.
    pub fn json(&self) -> String {
        json::text(|report| {
            report
                .put("blink", &self.blink)
                .put("bytes", self.bytes)
                .put("connections", self.connections)
                .put("deliveries", self.deliveries)
                .put("disorder", self.disorder)
                .put("doubles", self.doubles)
                .put("ended", self.ended)
                .put("handshake_seconds", self.handshake_seconds)
                .put("handshakes", self.handshakes)
                .put("interrupted", self.is_interrupted)
                .put_object("latency_ns_to_each", |latency| {
                    put_latency(latency, &self.to_each);
                })
                .put_object("latency_ns_to_last", |latency| {
                    put_latency(latency, &self.to_last);
                })
                .put("losses", self.losses)
                .put("missed_while_not_connected", self.missed)
                .put(
                    "own_resident_bytes_per_connection",
                    self.own_bytes_per_connection,
                )
                .put("protocol", self.protocol)
                .put("published", self.published)
                .put("refused", Each(self.refused.iter().map(RefusedReport)))
                .put("returned", self.returned)
                .put("seconds", self.seconds)
                .put("server", &self.server)
                .put("slow", &self.slow)
                .put("strangers", self.strangers);
        })
    }
}

/// Counts by word, for a person.
fn words(words: &Words) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    let all: Vec<String> = words
        .iter()
        .map(|(word, n)| format!("{word} {n}"))
        .collect();
    all.join(", ")
}

fn put_words(object: &mut Object<'_>, words: &Words) {
    for (word, count) in words {
        object.put(word, count);
    }
}

impl ToJson for SlowReport {
    fn to_json(&self, out: &mut String) {
        json::object(out, |slow| {
            slow.put("bytes_per_second", self.rate)
                .put("deliveries", self.deliveries)
                .put("ended", self.ended)
                .put("expected", self.expected)
                .put_object("gaps", |gaps| put_words(gaps, &self.gaps))
                .put("readers", self.readers);
        });
    }
}

impl ToJson for BlinkReport {
    fn to_json(&self, out: &mut String) {
        json::object(out, |blink| {
            blink
                .put("blinks", self.blinks)
                .put("expected", self.expected)
                .put_object("gaps", |gaps| put_words(gaps, &self.gaps))
                .put_object("recoveries", |recoveries| {
                    put_words(recoveries, &self.recoveries);
                })
                .put("replayed", self.replayed);
        });
    }
}

/// A status, and how many upgrades were refused with it.
struct RefusedReport<'a>(&'a (u16, u64));

impl ToJson for RefusedReport<'_> {
    fn to_json(&self, out: &mut String) {
        let (status, count) = *self.0;
        json::object(out, |refused| {
            refused.put("count", count).put("status", status);
        });
    }
}

impl ToJson for ServerReport {
    fn to_json(&self, out: &mut String) {
        json::object(out, |server| {
            server
                .put("cpu_ns_per_delivery", self.cpu_per_delivery)
                .put("cpu_ns_per_handshake", self.cpu_per_handshake)
                .put("resident_bytes", self.resident)
                .put(
                    "resident_bytes_per_connection",
                    self.resident_per_connection,
                );
        });
    }
}

fn put_latency(latency: &mut Object<'_>, histogram: &Histogram<u64>) {
    latency
        .put("max", histogram.max())
        .put("mean", histogram.mean());
    for (percentile, name) in PERCENTILES {
        latency.put(name, histogram.value_at_percentile(percentile));
    }
}

fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 {
        (count as f64 / seconds) as u64
    } else {
        0
    }
}

fn header() -> String {
    let names = PERCENTILES.iter().map(|(_, name)| format!("{name:>9}"));
    names.chain([format!("{:>9}", "max")]).collect()
}

fn row(histogram: &Histogram<u64>) -> String {
    PERCENTILES
        .iter()
        .map(|&(percentile, _)| histogram.value_at_percentile(percentile))
        .chain([histogram.max()])
        .map(|nanoseconds| format!("{:>9}", time(nanoseconds)))
        .collect()
}

/// Shows a time with about three digits.
fn time(nanoseconds: u64) -> String {
    let n = nanoseconds as f64;
    match nanoseconds {
        0..1_000_000 => format!("{:.0} µs", n / 1e3),
        1_000_000..100_000_000 => format!("{:.1} ms", n / 1e6),
        100_000_000..1_000_000_000 => format!("{:.0} ms", n / 1e6),
        _ => format!("{:.2} s", n / 1e9),
    }
}

/// A bar for each doubling of the time.
fn drawing(histogram: &Histogram<u64>) -> String {
    let mut bars: Vec<(u64, u64)> = Vec::new();
    let mut end = 1_000_u64;
    let mut start = 0;
    while start <= histogram.max() {
        let count = histogram.count_between(start, end.saturating_sub(1));
        if count > 0 || !bars.is_empty() {
            bars.push((end, count));
        }
        start = end;
        end = end.saturating_mul(2);
    }
    let most = bars
        .iter()
        .map(|&(_, count)| count)
        .max()
        .unwrap_or(1)
        .max(1);
    bars.iter()
        .map(|&(end, count)| {
            // A bar that is not empty has at least one character.
            let length = (count as usize * BAR_MAX).div_ceil(most as usize);
            format!(
                "  < {:>8}  {:<BAR_MAX$} {count}\n",
                time(end),
                "█".repeat(length)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_about_three_digits() {
        let shown: Vec<String> = [
            0,
            950_000,
            1_234_000,
            99_900_000,
            123_000_000,
            12_340_000_000,
        ]
        .map(time)
        .to_vec();
        assert_eq!(
            shown,
            ["0 µs", "950 µs", "1.2 ms", "99.9 ms", "123 ms", "12.34 s"]
        );
    }

    #[test]
    fn a_drawing_has_a_bar_for_everything_that_is_there() {
        let mut histogram = Histogram::<u64>::new(3).expect("valid");
        (0..1_000).for_each(|_| histogram.record(300_000).expect("in range"));
        histogram.record(5_000_000).expect("in range");
        let drawing = drawing(&histogram);
        let counts: u64 = drawing
            .lines()
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum();
        assert_eq!(counts, 1_001, "{drawing}");
        assert!(
            drawing
                .lines()
                .last()
                .is_some_and(|line| line.contains('█')),
            "{drawing}"
        );
    }

    #[test]
    fn a_test_that_delivered_nothing_has_failed() {
        let histogram = || Histogram::<u64>::new(3).expect("valid");
        let mut report = LoadReport {
            protocol: "wamp",
            connections: 3,
            reads: true,
            handshakes: 3,
            handshake_seconds: 1.0,
            refused: Vec::new(),
            ended: 3,
            returned: 0,
            published: 1,
            seconds: 1.0,
            deliveries: 0,
            bytes: 0,
            losses: 0,
            missed: 0,
            doubles: 0,
            disorder: 0,
            strangers: 0,
            to_each: histogram(),
            to_last: histogram(),
            blink: None,
            slow: None,
            server: None,
            own_bytes_per_connection: None,
            is_interrupted: false,
        };
        let fault = report.fault().expect("nothing was delivered");
        assert!(fault.contains("3 of 3 connections had ended"), "{fault}");
        report.is_interrupted = true;
        assert_eq!(report.fault(), None, "the user stopped it");
        report.losses = 1;
        assert!(report.fault().is_some_and(|text| text.starts_with("1 ")));
        (report.losses, report.is_interrupted, report.reads) = (0, false, false);
        assert_eq!(report.fault(), None, "nobody was to read");
        (report.reads, report.deliveries) = (true, 3);
        assert_eq!(report.fault(), None);
    }
}
