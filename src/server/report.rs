//! What operators read in the log: why messages were dropped, and how many of each kind of trouble
//! there were, never more than a line a reason and interval.
//!
//! A dropped message is reported at once, with the beginning of it, and then not again for an
//! interval; counters tell the rest. Refusals, denied subscriptions and closes are added up over an
//! interval; the first after a quiet interval is reported at once.
//!
//! Never here: tokens, whole messages, anything on the way of a good event.

use std::time::Duration;

use crate::engine::{Engine, Incidents, RefusedAddress, Stream};
use crate::limits;
use crate::stats::{Cause, Close, Counter, Dropped, PeerRefusal, Refusal, Stats};

/// When each kind of trouble was last reported.
#[derive(Debug, Default)]
pub struct Report {
    dropped_at: [Option<Duration>; Dropped::ALL.len()],
    refused_peer_at: [Option<Duration>; PeerRefusal::ALL.len()],
    /// As the last digest found them; refusals are in `refused`.
    digested: Stats,
    /// How many refusals have been told.
    refused: [u64; Refusal::ALL.len()],
    refused_at: [Option<Duration>; Refusal::ALL.len()],
    /// When that was; `None` before the first.
    digest_at: Option<Duration>,
}

/// Closes that an operator can do something about; the others are the peers' own affair.
const NOTABLE_CLOSES: &[Close] = &[
    Close::SlowConsumer,
    Close::OutboxesFull,
    Close::MadeRoom,
    Close::Limit,
    Close::MessageTooLarge,
];

/// Requests for a page, from browsers and from checks of load balancers: a matter of course. But it is also
/// what comes from behind a proxy that does not pass `Upgrade` on, so they are told now and then.
const PLAIN: &[Refusal] = &[Refusal::NotUpgrade, Refusal::Method];

impl Report {
    /// A publisher's message was dropped. Of more than two parts, three are told.
    pub fn dropped(&mut self, now: Duration, reason: Dropped, parts: &[&[u8]], endpoint: &str) {
        if !is_due(&mut self.dropped_at[reason as usize], now) {
            return;
        }
        let first = parts.first().copied().unwrap_or_default();
        let sample = &first[..first.len().min(limits::SAMPLE_BYTES_MAX)];
        let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        log::warn!(
            "dropped: reason={} endpoint={endpoint} part_bytes={sizes:?} begins=\"{}\"",
            reason.name(),
            sample.escape_ascii()
        );
    }

    /// A good event found nobody subscribed: a matter of course at night, and of a misspelt topic.
    pub fn unheard(&mut self, now: Duration, topic: &str) {
        if is_due(&mut self.dropped_at[Dropped::NoSubscriber as usize], now) {
            let reason = Dropped::NoSubscriber.name();
            log::info!("dropped: reason={reason} topic={topic:?}");
        }
    }

    /// libzmq refused a peer of the source at `endpoint`.
    pub fn refused_peer(&mut self, now: Duration, refusal: PeerRefusal, endpoint: &str) {
        if !is_due(&mut self.refused_peer_at[refusal as usize], now) {
            return;
        }
        let reason = refusal.name();
        let why = match refusal {
            PeerRefusal::WrongProtocol => {
                "it does not speak ZMTP 3 (an HTTP request? libzmq before 4.0?), or its socket is of the wrong kind"
            }
            PeerRefusal::Mechanism => "it wants another security mechanism than NULL",
            PeerRefusal::Malformed => "it breaks the rules of ZMTP",
            PeerRefusal::Denied => "it refused newswire",
            // Whoever looks whether a port is open does this, and every network has some.
            PeerRefusal::Incomplete => {
                return log::debug!("refused: peer endpoint={endpoint} reason={reason}");
            }
        };
        log::warn!("refused: peer endpoint={endpoint} reason={reason}: {why}");
    }

    /// How long until [`Report::digest`] has something to say; `None` when nothing has come to pass.
    pub fn timeout(&self, now: Duration, stats: &Stats) -> Option<Duration> {
        let due_at = self.digest_at.map_or(Duration::ZERO, |at| at + interval());
        self.is_news(now, stats).then(|| due_at.saturating_sub(now))
    }

    fn is_news(&self, now: Duration, stats: &Stats) -> bool {
        self.denied(stats) > 0
            || Refusal::ALL
                .iter()
                .any(|&r| self.refused(now, stats, r) > 0)
            || NOTABLE_CLOSES.iter().any(|&c| self.closed(stats, c) > 0)
    }

    fn denied(&self, stats: &Stats) -> u64 {
        let counter = Counter::SubscribesDenied;
        stats.counter(counter) - self.digested.counter(counter)
    }

    /// How many refusals are to be told.
    fn refused(&self, now: Duration, stats: &Stats, refusal: Refusal) -> u64 {
        let told_at = self.refused_at[refusal as usize];
        let pause = Duration::from_secs(limits::REPORT_PLAIN_SECONDS);
        match told_at {
            Some(at) if PLAIN.contains(&refusal) && now < at + pause => 0,
            _ => stats.refusals(refusal) - self.refused[refusal as usize],
        }
    }

    fn closed(&self, stats: &Stats, close: Close) -> u64 {
        stats.closes(close) - self.digested.closes(close)
    }

    /// Whether it is time for [`Report::digest`].
    pub fn is_digest_due(&self, now: Duration, stats: &Stats) -> bool {
        self.timeout(now, stats) == Some(Duration::ZERO)
    }

    /// Reports what has come to pass since the last time; `incidents` are those since then.
    pub fn digest(&mut self, now: Duration, stats: &Stats, incidents: &Incidents) {
        for line in self.lines(now, stats, incidents) {
            log::warn!("{line}");
        }
        for &refusal in Refusal::ALL {
            let count = self.refused(now, stats, refusal);
            if count > 0 {
                self.refused[refusal as usize] += count;
                self.refused_at[refusal as usize] = Some(now);
            }
        }
        self.digested = stats.clone();
        self.digest_at = Some(now);
    }

    fn lines(&self, now: Duration, stats: &Stats, incidents: &Incidents) -> Vec<String> {
        let mut lines: Vec<String> = Refusal::ALL
            .iter()
            .map(|&refusal| (refusal, self.refused(now, stats, refusal)))
            .filter(|&(_, count)| count > 0)
            .map(|(refusal, count)| {
                let from = origins(count, incidents.refused_addresses(refusal));
                format!("refused: {}={count}{from}", refusal.name())
            })
            .collect();
        let denied = self.denied(stats);
        if denied > 0 {
            lines.push(format!(
                "denied: subscribes={denied}{}",
                denials(denied, incidents)
            ));
        }
        let closed: Vec<String> = NOTABLE_CLOSES
            .iter()
            .map(|&c| (c.name(), self.closed(stats, c)))
            .filter(|&(_, count)| count > 0)
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        if !closed.is_empty() {
            lines.push(format!("closed: {}", closed.join(" ")));
        }
        lines
    }
}

/// ` from 192.0.2.7 (expired 4, unknown 5), 192.0.2.8 (unknown 1), others (7)`: where `count` refusals came
/// from, as far as that was kept.
fn origins(count: u64, addresses: &[RefusedAddress]) -> String {
    let mut addresses: Vec<&RefusedAddress> = addresses.iter().collect();
    addresses.sort_by_key(|address| std::cmp::Reverse(address.count));
    addresses.truncate(limits::REPORT_ADDRESSES_TOLD);
    let told: u64 = addresses.iter().map(|address| address.count).sum();
    let mut parts: Vec<String> = addresses
        .iter()
        .map(|address| {
            let causes: Vec<String> = Cause::ALL
                .iter()
                .map(|&cause| (cause.name(), address.causes[cause as usize]))
                .filter(|&(_, count)| count > 0)
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            match causes.is_empty() {
                true => format!("{} ({})", address.address, address.count),
                false => format!("{} ({})", address.address, causes.join(", ")),
            }
        })
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    if count > told {
        parts.push(format!("others ({})", count - told));
    }
    format!(" from {}", parts.join(", "))
}

/// ` topic="news" name="ann" (2), topic="blog" name="bob" (1), others (4)`: what the `count` SUBSCRIBEs
/// asked for, as far as that was kept.
fn denials(count: u64, incidents: &Incidents) -> String {
    let topics = incidents.denied_topics();
    let told: u64 = topics.iter().map(|denied| denied.count).sum();
    let mut parts: Vec<String> = topics
        .iter()
        .map(|denied| {
            let (topic, name) = (&denied.topic, &denied.name);
            format!("topic={topic:?} name={name:?} ({})", denied.count)
        })
        .collect();
    if count > told {
        parts.push(format!("others ({})", count - told));
    }
    format!(" {}", parts.join(", "))
}

/// What is there now, and what has been counted since the start.
pub fn summary<S: Stream>(engine: &Engine<S>) {
    log::info!(
        "summary: connected={} topics={} subscriptions={} outboxes_bytes={} {}",
        engine.connections(),
        engine.topics(),
        engine.subscriptions(),
        engine.outboxes_bytes(),
        engine.stats().summary()
    );
}

/// Returns true when nothing was said about this reason for an interval, and notes that it is said now.
fn is_due(last: &mut Option<Duration>, now: Duration) -> bool {
    let is_due = last.is_none_or(|last| now >= last + interval());
    if is_due {
        *last = Some(now);
    }
    is_due
}

fn interval() -> Duration {
    Duration::from_secs(limits::REPORT_SECONDS)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::standing::Standing;
    use crate::wire::grant::Grant;

    #[test]
    fn the_loop_wakes_up_for_a_digest_and_for_nothing_else() {
        let mut report = Report::default();
        let mut stats = Stats::default();
        let now = Duration::from_secs(4);
        stats.closed(Close::PeerClosed);
        assert_eq!(report.timeout(now, &stats), None);
        stats.refused(Refusal::Token);
        // The first at once, also right after the start: a new user looks into the log then.
        assert!(report.is_digest_due(now, &stats));
        report.digest(now, &stats, &Incidents::default());
        assert_eq!(report.timeout(now, &stats), None);
        stats.count(Counter::SubscribesDenied);
        assert_eq!(report.timeout(now, &stats), Some(interval()));
        assert!(!report.is_digest_due(2 * now, &stats));
        assert!(report.is_digest_due(now + interval(), &stats));
    }

    #[test]
    fn requests_for_a_page_are_told_once_an_hour() {
        let (mut report, mut stats) = (Report::default(), Stats::default());
        let none = Incidents::default();
        stats.refused(Refusal::NotUpgrade);
        let mut now = interval();
        assert!(report.is_digest_due(now, &stats));
        assert_eq!(report.lines(now, &stats, &none), ["refused: not_upgrade=1"]);
        report.digest(now, &stats, &none);
        let hour = Duration::from_secs(limits::REPORT_PLAIN_SECONDS);
        while now < hour {
            stats.refused(Refusal::NotUpgrade);
            now += interval();
            assert!(!report.is_digest_due(now, &stats));
            assert_eq!(report.timeout(now, &stats), None);
        }
        // Another refusal is told meanwhile, and takes nothing away.
        stats.refused(Refusal::Origin);
        assert_eq!(report.lines(now, &stats, &none), ["refused: origin=1"]);
        report.digest(now, &stats, &none);
        now += hour;
        assert_eq!(
            report.lines(now, &stats, &none),
            ["refused: not_upgrade=359"]
        );
    }

    #[test]
    fn refusals_are_told_with_address_and_cause() {
        let (mut stats, mut incidents) = (Stats::default(), Incidents::default());
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut refuse = |last, cause, times| {
            for _ in 0..times {
                stats.refused(Refusal::Token);
                incidents.refused(address(last), Refusal::Token, Some(cause));
            }
        };
        refuse(7, Cause::Expired, 4);
        refuse(7, Cause::Unknown, 5);
        let report = Report::default();
        assert_eq!(
            report.lines(Duration::ZERO, &stats, &incidents),
            ["refused: token=9 from 192.0.2.7 (expired 4, unknown 5)"]
        );
        let mut refuse = |last, times| {
            for _ in 0..times {
                stats.refused(Refusal::Token);
                incidents.refused(address(last), Refusal::Token, Some(Cause::Revoked));
            }
        };
        (10..20).for_each(|last| refuse(last, 2));
        stats.refused(Refusal::Origin);
        incidents.refused(address(1), Refusal::Origin, None);
        stats.refused(Refusal::Full);
        assert_eq!(
            report.lines(Duration::ZERO, &stats, &incidents),
            [
                "refused: origin=1 from 192.0.2.1 (1)",
                "refused: token=29 from 192.0.2.7 (expired 4, unknown 5), 192.0.2.10 (revoked 2), \
                 192.0.2.11 (revoked 2), 192.0.2.12 (revoked 2), others (14)",
                "refused: full=1",
            ]
        );
    }

    #[test]
    fn denied_subscriptions_are_told_with_topic_and_name() {
        let (mut stats, mut incidents) = (Stats::default(), Incidents::default());
        let standing = Standing::new(Grant {
            name: "ann".to_owned(),
            ..Grant::default()
        });
        for topic in ["news", "news", "a\nb"] {
            stats.count(Counter::SubscribesDenied);
            incidents.denied(topic, &standing);
        }
        let report = Report::default();
        assert_eq!(
            report.lines(Duration::ZERO, &stats, &incidents),
            [r#"denied: subscribes=3 topic="news" name="ann" (2), topic="a\nb" name="ann" (1)"#]
        );
    }
}
