//! Decides whether a source asks its publisher for single topics or for everything.
//!
//! Two bounds decide. More topics, or more bytes of their names, than [`limits::SUB_TOPICS_MAX`] and
//! [`limits::SUB_TOPIC_BYTES_MAX`] cost more memory and time in libzmq, or in a broker, than the filter saves. And each
//! change is a message that is kept for a publisher that does not read. Beyond either bound the source asks for
//! everything. It asks for single topics again when half of the first bound is enough, and not before a minute
//! has passed.
//!
//! Never here: names, connections, clocks (moments are handed in).

use std::time::Duration;

use crate::ingest::wanted::Wanted;
use crate::limits;
use crate::stats::Ingest;

const MINUTE: Duration = Duration::from_secs(60);

/// What a publisher is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The topics that clients want.
    Topics,
    /// Everything that it has.
    Everything,
}

/// A change of scope, and its reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Everything, because topics are wanted whose names are not known.
    UnknownTopics,
    /// Everything, because more topics, or more bytes of names, are wanted than may be told.
    TooManyTopics,
    /// Everything, because more has changed than may be told.
    TooManyChanges,
    /// Single topics again.
    Topics,
}

impl Decision {
    /// Logs the decision for the publisher or broker at `endpoint`.
    pub fn log(self, kind: Ingest, endpoint: &str, wanted: &dyn Wanted) {
        let kind = kind.name();
        match self {
            Self::UnknownTopics => log::info!(
                "{kind}: endpoint={endpoint} asks for everything: events are wanted of topics whose names are not known \
                 (a rule of --topic with *, or a server behind this one). Events that nobody wants are dropped here"
            ),
            Self::TooManyTopics => log::warn!(
                "{kind}: endpoint={endpoint} asks for everything: clients want {} topics, of {} bytes, and over {} \
                 topics or {} bytes a filter costs more than it saves. Events that nobody wants are \
                 dropped here",
                wanted.topics(),
                wanted.bytes(),
                limits::SUB_TOPICS_MAX,
                limits::SUB_TOPIC_BYTES_MAX
            ),
            Self::TooManyChanges => log::warn!(
                "{kind}: endpoint={endpoint} asks for everything: clients changed their topics more than {} times a \
                 minute. Events that nobody wants are dropped here",
                limits::SUB_CHANGES_MAX
            ),
            Self::Topics => log::info!(
                "{kind}: endpoint={endpoint} asks for {} topics one by one again",
                wanted.topics()
            ),
        }
    }
}

/// Decides for one source, over all its connections.
#[derive(Debug, Default)]
pub struct ScopePolicy {
    /// Since when everything is to be asked for; `None` while single topics are.
    everything_since: Option<Duration>,
    /// When the present minute of changes began, and how many were told in it.
    minute: Duration,
    changes: usize,
}

impl ScopePolicy {
    /// What is to be asked for.
    pub fn scope(&self) -> Scope {
        match self.everything_since {
            Some(_) => Scope::Everything,
            None => Scope::Topics,
        }
    }

    /// When single topics may be asked for again; `None` while they are.
    pub fn deadline(&self) -> Option<Duration> {
        self.everything_since.map(|since| since + MINUTE)
    }

    /// There is a new connection: nothing was told on it yet.
    pub fn begin(&mut self, now: Duration) {
        (self.minute, self.changes) = (now, 0);
    }

    /// A change was told.
    pub fn note_change(&mut self) {
        self.changes += 1;
    }

    /// Decides what to ask for. `None` when that stays as it is. `is_full` is true when no more names may be told,
    /// and one more is wanted; `has_backlog` when too many names wait.
    pub fn decide(
        &mut self,
        now: Duration,
        wanted: &dyn Wanted,
        is_full: bool,
        has_backlog: bool,
    ) -> Option<Decision> {
        if now >= self.minute + MINUTE {
            self.begin(now);
        }
        let fits = |part: usize| {
            !wanted.wants_everything()
                && wanted.topics() <= limits::SUB_TOPICS_MAX / part
                && wanted.bytes() <= limits::SUB_TOPIC_BYTES_MAX / part
        };
        match self.everything_since {
            None if wanted.wants_everything() => {
                self.everything_since = Some(now);
                Some(Decision::UnknownTopics)
            }
            None if !fits(1) || is_full => {
                self.everything_since = Some(now);
                Some(Decision::TooManyTopics)
            }
            None if self.changes >= limits::SUB_CHANGES_MAX || has_backlog => {
                self.everything_since = Some(now);
                Some(Decision::TooManyChanges)
            }
            Some(since) if fits(2) && now >= since + MINUTE => {
                self.everything_since = None;
                self.begin(now);
                Some(Decision::Topics)
            }
            _ => None,
        }
    }
}
