//! The summary that a server prints at its end: how long it ran, and what it counted.
//!
//! Programs read it too: with the log level `debug`, the line `counted` has every counter that is not zero, as
//! `name=value`. No other line has such pairs.
//!
//! Never here: printing the summary.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::HumanCount;
use newswire::stats::{CLOSED, Counter, DROPPED, REFUSED, Stats, Tally};

/// Returns the summary of a server that ran for `uptime`, with the line `counted` when `has_counters`.
pub fn text(stats: &Stats, uptime: Duration, has_counters: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<11}{value}").expect("a String takes everything");
    };
    let count = |counter| HumanCount(stats.counter(counter));
    line("stopped", &format!("after {}", duration(uptime)));
    line(
        "served",
        &format!(
            "{} connections, {} of them with a session",
            count(Counter::Connections),
            count(Counter::Handshakes)
        ),
    );
    line(
        "events",
        &format!(
            "{} messages of publishers, {} of them events; {} deliveries",
            count(Counter::Ingested),
            count(Counter::Events),
            count(Counter::Deliveries)
        ),
    );
    for family in [&DROPPED, &REFUSED, &CLOSED] {
        line(family.name, &by_reason(family.tallies(stats)));
    }
    if has_counters {
        line("counted", &stats.summary());
    }
    text
}

/// Shows reasons as `1,204: slow_consumer 1,200, limit 4`, the most frequent one first.
fn by_reason(mut tallies: Vec<Tally>) -> String {
    tallies.retain(|tally| tally.count > 0);
    tallies.sort_by_key(|tally| Reverse(tally.count));
    if tallies.is_empty() {
        return "none".to_owned();
    }
    let all = tallies.iter().map(|tally| tally.count).sum();
    let each: Vec<String> = tallies
        .iter()
        .map(|tally| format!("{} {}", tally.name, HumanCount(tally.count)))
        .collect();
    format!("{}: {}", HumanCount(all), each.join(", "))
}

/// Shows `time` in its two largest units.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3_600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let first = units
        .iter()
        .position(|&(_, n)| n > 0)
        .unwrap_or(units.len() - 1);
    let shown: Vec<String> = units[first..]
        .iter()
        .take(2)
        .map(|(unit, n)| format!("{n} {unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use newswire::stats::{Close, Refusal};

    use super::*;

    #[test]
    fn a_summary_is_for_people_and_may_have_one_line_for_programs() {
        let stats = Stats::default();
        stats.add(Counter::Connections, 1_234_567);
        stats.add(Counter::Events, 3);
        stats.refused(Refusal::Token);
        stats.closed(Close::Shutdown);
        stats.closed(Close::SlowConsumer);
        stats.closed(Close::SlowConsumer);
        let uptime = Duration::from_secs(3 * 3_600 + 62);
        let people = "\
stopped    after 3 h 1 min
served     1,234,567 connections, 0 of them with a session
events     0 messages of publishers, 3 of them events; 0 deliveries
dropped    none
refused    1: token 1
closed     3: slow_consumer 2, shutdown 1
";
        let counted = "counted    connections=1234567 events=3 refused.token=1 closed.slow_consumer=2 \
                       closed.shutdown=1\n";
        assert_eq!(text(&stats, uptime, false), people);
        assert_eq!(text(&stats, uptime, true), format!("{people}{counted}"));
    }

    #[test]
    fn a_run_in_which_nothing_happened_says_so() {
        let text = text(&Stats::default(), Duration::from_millis(400), true);
        assert!(text.starts_with("stopped    after 0 s\n"), "{text}");
        assert!(!text.contains('='), "{text}");
    }

    #[test]
    fn times_are_shown_in_their_two_largest_units() {
        for (seconds, expected) in [
            (59, "59 s"),
            (60, "1 min 0 s"),
            (86_399, "23 h 59 min"),
            (86_400 * 12 + 3_601, "12 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }
}
