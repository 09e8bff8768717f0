//! What operators read in the log: why messages were dropped, and how many of each kind of trouble
//! there were, never more than one line for each kind and interval.
//!
//! The first trouble of a kind after a quiet interval is reported at the end of its turn. Those that follow
//! within the interval are added up and reported when the interval is over, or at the end of the run. Each kind has
//! an interval of its own: one kind never delays another.
//!
//! Never here: tokens, whole messages, anything on the way of a good event.

use std::cell::Cell;
use std::time::Duration;

use crate::engine::{Engine, Incidents, RefusedAddress, Stream, TopicOfToken};
use crate::limits;
use crate::stats::{Cause, Close, Counter, Door, Dropped, PeerRefusal, Refusal, Stats};

/// What has been reported, and what is still to be.
#[derive(Debug)]
pub struct Report {
    /// One for each kind, in the order of [`kinds`].
    troubles: Vec<Trouble>,
    notes: Notes,
    /// What the last look at all kinds has found; `None` when there has to be another one.
    found: Cell<Option<Found>>,
}

/// When the next line is due, as long as nothing new has happened.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// [`Stats::troubles`] at that time.
    troubles: u64,
    /// `None` when nothing is left to be reported.
    due: Option<Duration>,
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

/// A kind of trouble. Each has a line of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TroubleKind {
    Refused(Refusal),
    Denied,
    Withdrawn,
    Closed(Close),
    /// A connection to that listener was ended for another one.
    MadeRoom(Door),
    /// A message or event was dropped. The first one is shown.
    Dropped(Dropped),
    /// A ZeroMQ peer was refused. The first one is shown.
    RefusedPeer(PeerRefusal),
    /// An event of a relay did not arrive. The first one's topic is shown.
    Missed,
}

/// All kinds, in the order in which they are reported.
fn kinds() -> impl Iterator<Item = TroubleKind> {
    let refusals = Refusal::ALL
        .iter()
        .map(|&refusal| TroubleKind::Refused(refusal));
    let closes = NOTABLE_CLOSES
        .iter()
        .map(|&close| TroubleKind::Closed(close));
    let rooms = Door::ALL.iter().map(|&door| TroubleKind::MadeRoom(door));
    let drops = Dropped::ALL
        .iter()
        .map(|&reason| TroubleKind::Dropped(reason));
    let peers = PeerRefusal::ALL
        .iter()
        .map(|&r| TroubleKind::RefusedPeer(r));
    refusals
        .chain([TroubleKind::Denied, TroubleKind::Withdrawn])
        .chain(closes)
        .chain(rooms)
        .chain(drops)
        .chain(peers)
        .chain([TroubleKind::Missed])
}

impl TroubleKind {
    /// How often it happened since the start, as far as `stats` know or the report was told.
    fn count(self, notes: &Notes, stats: &Stats) -> u64 {
        match self {
            Self::Refused(refusal) => stats.refusals(refusal),
            Self::Denied => stats.counter(Counter::SubscribesDenied),
            Self::Withdrawn => stats.counter(Counter::SubscriptionsWithdrawn),
            Self::Closed(close) => stats.closes(close),
            Self::MadeRoom(door) => stats.rooms_made(door),
            // Not every one of these that is counted is worth a line.
            Self::Dropped(reason) => notes.drops[reason as usize].count,
            Self::RefusedPeer(refusal) => notes.peers[refusal as usize].count,
            Self::Missed => stats.counter(Counter::Missed),
        }
    }

    /// The time between two of its lines.
    fn interval(self) -> Duration {
        match self {
            Self::Refused(refusal) if PLAIN.contains(&refusal) => {
                Duration::from_secs(limits::REPORT_PLAIN_SECONDS)
            }
            _ => Duration::from_secs(limits::REPORT_SECONDS),
        }
    }

    fn level(self) -> log::Level {
        match self {
            Self::Dropped(Dropped::NoSubscriber) => log::Level::Info,
            // A scan for open ports leaves like this, and every network has some.
            Self::RefusedPeer(PeerRefusal::Incomplete) => log::Level::Debug,
            _ => log::Level::Warn,
        }
    }

    /// The line about `count` of them. Takes what is known of them out of `notes` and `incidents`.
    fn line(self, count: u64, notes: &mut Notes, incidents: &mut Incidents) -> String {
        match self {
            Self::Refused(refusal) => {
                let from = origins(count, incidents.take_refused_addresses(refusal));
                format!("refused: {}={count}{from}", refusal.name())
            }
            Self::Denied => {
                let topics = topics_of_tokens(count, &incidents.take_denied_topics());
                format!("denied: subscribes={count} {topics}")
            }
            Self::Withdrawn => {
                let topics = topics_of_tokens(count, &incidents.take_withdrawn_topics());
                format!("withdrawn: subscriptions={count} {topics}")
            }
            Self::Closed(close) => format!("closed: {}={count}", close.name()),
            Self::MadeRoom(door) => {
                format!(
                    "closed: {}={count} listener={}",
                    Close::MadeRoom.name(),
                    door.name()
                )
            }
            Self::Dropped(reason) => notes.drops[reason as usize].take_line(count),
            Self::RefusedPeer(refusal) => notes.peers[refusal as usize].take_line(count),
            Self::Missed => {
                let first = notes.missed.sample.take().unwrap_or_default();
                format!("missed: events={count}{first}")
            }
        }
    }
}

/// What the report was told of one kind that the counters do not tell.
#[derive(Clone, Debug, Default)]
struct Note {
    count: u64,
    /// The text about the first one that is still to be reported.
    sample: Option<String>,
}

impl Note {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        self.sample.get_or_insert_with(text);
    }

    /// The line about `count` of them.
    fn take_line(&mut self, count: u64) -> String {
        let sample = self.sample.take().unwrap_or_default();
        match count {
            0 | 1 => sample,
            _ => format!("{sample} and {} more since", count - 1),
        }
    }
}

#[derive(Debug, Default)]
struct Notes {
    drops: [Note; Dropped::ALL.len()],
    peers: [Note; PeerRefusal::ALL.len()],
    missed: Note,
}

/// One kind, and how much of it has been reported.
#[derive(Debug)]
struct Trouble {
    kind: TroubleKind,
    /// The count at the last report.
    told: u64,
    /// When the last report was; `None` before the first.
    told_at: Option<Duration>,
}

impl Trouble {
    /// How many are still to be reported.
    fn left(&self, notes: &Notes, stats: &Stats) -> u64 {
        self.kind.count(notes, stats) - self.told
    }

    /// When they are to be reported; `None` when there are none.
    fn due(&self, notes: &Notes, stats: &Stats) -> Option<Duration> {
        if self.left(notes, stats) == 0 {
            return None;
        }
        let next = self.told_at.map(|at| at + self.kind.interval());
        Some(next.unwrap_or_default())
    }

    fn take_line(
        &mut self,
        now: Duration,
        notes: &mut Notes,
        stats: &Stats,
        incidents: &mut Incidents,
    ) -> LogLine {
        let left = self.left(notes, stats);
        let text = self.kind.line(left, notes, incidents);
        self.told += left;
        self.told_at = Some(now);
        LogLine {
            level: self.kind.level(),
            text,
        }
    }
}

/// A line of the log that is due.
#[derive(Debug, Eq, PartialEq)]
struct LogLine {
    level: log::Level,
    text: String,
}

impl Default for Report {
    fn default() -> Self {
        let troubles = kinds().map(|kind| Trouble {
            kind,
            told: 0,
            told_at: None,
        });
        Self {
            troubles: troubles.collect(),
            notes: Notes::default(),
            found: Cell::default(),
        }
    }
}

impl Report {
    /// A publisher's message was dropped. Of more than two parts, three are shown.
    pub fn dropped(&mut self, reason: Dropped, parts: &[&[u8]], endpoint: &str) {
        self.found.set(None);
        self.notes.drops[reason as usize].add(|| {
            let first = parts.first().copied().unwrap_or_default();
            let sample = &first[..first.len().min(limits::SAMPLE_BYTES_MAX)];
            let sizes: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            format!(
                "dropped: reason={} endpoint={endpoint} part_bytes={sizes:?} begins=\"{}\"",
                reason.name(),
                sample.escape_ascii()
            )
        });
    }

    /// No client is subscribed to the topic of a good event: a matter of course at night, and a sign of a misspelt
    /// topic.
    pub fn undelivered(&mut self, topic: &str) {
        let reason = Dropped::NoSubscriber;
        self.found.set(None);
        self.notes.drops[reason as usize]
            .add(|| format!("dropped: reason={} topic={topic:?}", reason.name()));
    }

    /// Events of `topic` were missed, which the relay at `endpoint` has sent.
    pub fn missed(&mut self, topic: &str, endpoint: &str) {
        self.found.set(None);
        self.notes
            .missed
            .add(|| format!(" first_topic={topic:?} endpoint={endpoint}"));
    }

    /// libzmq refused a peer of the source at `endpoint`.
    pub fn refused_peer(&mut self, refusal: PeerRefusal, endpoint: &str) {
        let why = match refusal {
            PeerRefusal::WrongProtocol => {
                "it does not speak ZMTP 3 (an HTTP request? libzmq before 4.0?), or its socket is of the wrong kind"
            }
            PeerRefusal::Mechanism => "it wants another security mechanism than NULL",
            PeerRefusal::Malformed => "it breaks the rules of ZMTP",
            PeerRefusal::Denied => "it refused newswire",
            PeerRefusal::Incomplete => "it left before its handshake was done",
        };
        let reason = refusal.name();
        self.found.set(None);
        self.notes.peers[refusal as usize]
            .add(|| format!("refused: peer endpoint={endpoint} reason={reason}: {why}"));
    }

    /// How long until [`Report::digest`] has something to say; `None` when nothing has happened.
    pub fn timeout(&self, now: Duration, stats: &Stats) -> Option<Duration> {
        Some(self.due(stats)?.saturating_sub(now))
    }

    /// When the next line is due. Each turn asks for it, and hardly ever has anything happened since the last.
    fn due(&self, stats: &Stats) -> Option<Duration> {
        let troubles = stats.troubles();
        if let Some(found) = self.found.get()
            && found.troubles == troubles
        {
            return found.due;
        }
        let all = self.troubles.iter();
        let due = all
            .filter_map(|trouble| trouble.due(&self.notes, stats))
            .min();
        self.found.set(Some(Found { troubles, due }));
        due
    }

    /// Returns true when it is time for [`Report::digest`].
    pub fn is_digest_due(&self, now: Duration, stats: &Stats) -> bool {
        self.timeout(now, stats) == Some(Duration::ZERO)
    }

    /// Reports the kinds whose time has come, and takes what is known of them out of `incidents`.
    pub fn digest(&mut self, now: Duration, stats: &Stats, incidents: &mut Incidents) {
        write(self.take_lines(now, stats, incidents, |due| due <= now));
    }

    /// Reports everything that is left, at the end of the run.
    pub fn rest(&mut self, now: Duration, stats: &Stats, incidents: &mut Incidents) {
        write(self.take_lines(now, stats, incidents, |_| true));
    }

    /// The lines about the kinds whose time, given when they are due, `has_come`.
    fn take_lines(
        &mut self,
        now: Duration,
        stats: &Stats,
        incidents: &mut Incidents,
        has_come: impl Fn(Duration) -> bool,
    ) -> Vec<LogLine> {
        self.found.set(None);
        let notes = &mut self.notes;
        let mut lines = Vec::new();
        for trouble in &mut self.troubles {
            if trouble.due(notes, stats).is_some_and(&has_come) {
                lines.push(trouble.take_line(now, notes, stats, incidents));
            }
        }
        lines
    }
}

fn write(lines: Vec<LogLine>) {
    for LogLine { level, text } in lines {
        log::log!(level, "{text}");
    }
}

/// ` from 192.0.2.7 (expired 4, unknown 5), 192.0.2.8 (unknown 1), others (7)`: where `count` refusals came
/// from, as far as that was kept.
fn origins(count: u64, mut addresses: Vec<RefusedAddress>) -> String {
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

/// `topic="news" name="ann" (2), topic="blog" name="bob" (1), others (4)`: which topics the `count`
/// subscriptions were of, as far as that was kept.
fn topics_of_tokens(count: u64, topics: &[TopicOfToken]) -> String {
    let told: u64 = topics.iter().map(|known| known.count).sum();
    let mut parts: Vec<String> = topics
        .iter()
        .map(|known| {
            let (topic, name) = (&known.topic, &known.name);
            format!("topic={topic:?} name={name:?} ({})", known.count)
        })
        .collect();
    if count > told {
        parts.push(format!("others ({})", count - told));
    }
    parts.join(", ")
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::standing::Standing;
    use crate::wire::grant::Grant;

    fn interval() -> Duration {
        Duration::from_secs(limits::REPORT_SECONDS)
    }

    /// What the report writes now.
    fn told(
        report: &mut Report,
        now: Duration,
        stats: &Stats,
        incidents: &mut Incidents,
    ) -> Vec<String> {
        let lines = report.take_lines(now, stats, incidents, |due| due <= now);
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_loop_wakes_up_for_a_digest_and_for_nothing_else() {
        let mut report = Report::default();
        let stats = Stats::default();
        let now = Duration::from_secs(4);
        stats.closed(Close::PeerClosed);
        assert_eq!(report.timeout(now, &stats), None);
        stats.refused(Refusal::Token);
        // The first at once, also right after the start: a new user looks into the log then.
        assert!(report.is_digest_due(now, &stats));
        report.digest(now, &stats, &mut Incidents::default());
        assert_eq!(report.timeout(now, &stats), None);
        stats.refused(Refusal::Token);
        assert_eq!(report.timeout(now, &stats), Some(interval()));
        assert!(!report.is_digest_due(2 * now, &stats));
        assert!(report.is_digest_due(now + interval(), &stats));
    }

    #[test]
    fn one_kind_of_trouble_does_not_delay_another() {
        let (mut report, stats) = (Report::default(), Stats::default());
        let mut incidents = Incidents::default();
        let standing = Standing::new(Grant::default());
        let now = Duration::from_secs(4);
        stats.refused(Refusal::Token);
        let lines = told(&mut report, now, &stats, &mut incidents);
        assert_eq!(lines, ["refused: token=1"]);
        // What was refused again has to wait, and keeps its address until then.
        stats.refused(Refusal::Token);
        incidents.refused(IpAddr::from([192, 0, 2, 7]), Refusal::Token, None);
        stats.count(Counter::SubscribesDenied);
        incidents.denied("t", &standing);
        stats.refused(Refusal::Origin);
        stats.closed(Close::SlowConsumer);
        assert!(report.is_digest_due(now, &stats));
        assert_eq!(
            told(&mut report, now, &stats, &mut incidents),
            [
                "refused: origin=1",
                "denied: subscribes=1 topic=\"t\" name=\"\" (1)",
                "closed: slow_consumer=1"
            ]
        );
        stats.closed(Close::Limit);
        assert_eq!(
            told(&mut report, now, &stats, &mut incidents),
            ["closed: limit=1"]
        );
        assert_eq!(
            told(&mut report, now + interval(), &stats, &mut incidents),
            ["refused: token=1 from 192.0.2.7 (1)"]
        );
        assert_eq!(report.timeout(now + interval(), &stats), None);
    }

    #[test]
    fn what_is_dropped_within_the_interval_is_added_up() {
        let (mut report, stats) = (Report::default(), Stats::default());
        let mut none = Incidents::default();
        let mut now = Duration::from_secs(4);
        report.undelivered("one");
        let line = |topic| format!("dropped: reason=no_subscriber topic={topic:?}");
        assert_eq!(told(&mut report, now, &stats, &mut none), [line("one")]);
        report.undelivered("two");
        report.undelivered("three");
        report.undelivered("four");
        assert_eq!(report.timeout(now, &stats), Some(interval()));
        // Another reason has its own interval.
        report.dropped(Dropped::BadJson, &[b"{"], "tcp://127.0.0.1:1");
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            [r#"dropped: reason=bad_json endpoint=tcp://127.0.0.1:1 part_bytes=[1] begins="{""#]
        );
        now += interval();
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            [format!("{} and 2 more since", line("two"))]
        );
        assert_eq!(report.timeout(now, &stats), None);

        // Every reason adds up, and refused peers do, too. At the end nothing has to wait.
        for _ in 0..2 {
            for &reason in Dropped::ALL {
                report.dropped(reason, &[b"x"], "");
            }
            for &refusal in PeerRefusal::ALL {
                report.refused_peer(refusal, "");
            }
        }
        let lines = report.take_lines(now, &stats, &mut none, |_| true);
        assert_eq!(lines.len(), Dropped::ALL.len() + PeerRefusal::ALL.len());
        for LogLine { text, .. } in lines {
            assert!(text.ends_with(" and 1 more since"), "{text}");
        }
    }

    #[test]
    fn what_was_missed_is_told_as_a_sum_with_the_first_topic() {
        let (mut report, stats) = (Report::default(), Stats::default());
        let mut none = Incidents::default();
        for (events, topic) in [(40, "one"), (2, "two")] {
            stats.add(Counter::Missed, events);
            report.missed(topic, "tcp://127.0.0.1:1");
        }
        let now = Duration::ZERO;
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            [r#"missed: events=42 first_topic="one" endpoint=tcp://127.0.0.1:1"#]
        );
        assert_eq!(report.timeout(now, &stats), None);
    }

    #[test]
    fn requests_for_a_page_are_told_once_an_hour() {
        let (mut report, stats) = (Report::default(), Stats::default());
        let mut none = Incidents::default();
        stats.refused(Refusal::NotUpgrade);
        let mut now = interval();
        let first = now;
        assert!(report.is_digest_due(now, &stats));
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            ["refused: not_upgrade=1"]
        );
        let hour = Duration::from_secs(limits::REPORT_PLAIN_SECONDS);
        while now < hour {
            stats.refused(Refusal::NotUpgrade);
            now += interval();
            assert_eq!(report.timeout(now, &stats), Some(first + hour - now));
        }
        // Another refusal is told meanwhile, and takes nothing away.
        now -= interval();
        stats.refused(Refusal::Origin);
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            ["refused: origin=1"]
        );
        now += hour;
        assert_eq!(
            told(&mut report, now, &stats, &mut none),
            ["refused: not_upgrade=359"]
        );
    }

    #[test]
    fn refusals_are_told_with_address_and_cause() {
        let (stats, mut incidents) = (Stats::default(), Incidents::default());
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut refuse = |last, cause, times| {
            for _ in 0..times {
                stats.refused(Refusal::Token);
                incidents.refused(address(last), Refusal::Token, Some(cause));
            }
        };
        refuse(7, Cause::Expired, 4);
        refuse(7, Cause::Unknown, 5);
        let mut report = Report::default();
        assert_eq!(
            told(&mut report, Duration::ZERO, &stats, &mut incidents),
            ["refused: token=9 from 192.0.2.7 (expired 4, unknown 5)"]
        );
        let mut refuse = |last, cause, times| {
            for _ in 0..times {
                stats.refused(Refusal::Token);
                incidents.refused(address(last), Refusal::Token, Some(cause));
            }
        };
        (10..20).for_each(|last| refuse(last, Cause::Revoked, 2));
        refuse(7, Cause::Expired, 4);
        refuse(7, Cause::Unknown, 5);
        stats.refused(Refusal::Origin);
        incidents.refused(address(1), Refusal::Origin, None);
        stats.refused(Refusal::Full);
        assert_eq!(
            told(&mut report, interval(), &stats, &mut incidents),
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
        let (stats, mut incidents) = (Stats::default(), Incidents::default());
        let standing = Standing::new(Grant {
            name: "ann".to_owned(),
            ..Grant::default()
        });
        for topic in ["news", "news", "a\nb"] {
            stats.count(Counter::SubscribesDenied);
            incidents.denied(topic, &standing);
        }
        let mut report = Report::default();
        assert_eq!(
            told(&mut report, Duration::ZERO, &stats, &mut incidents),
            [r#"denied: subscribes=3 topic="news" name="ann" (2), topic="a\nb" name="ann" (1)"#]
        );
    }
}
