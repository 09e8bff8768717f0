//! Clients are told that events of a topic were lost to them.
//!
//! Some are lost to one client, because it reads too slowly and the topic's rule drops events then. Others were lost on the
//! way to the server, for all subscribers of a topic, or nobody knows of which topics: then every open session is looked at
//! once, a share a turn.
//!
//! Only a client whose protocol has a place for it is told (`session`).
//!
//! Never here: which events are dropped (`outbox`), when the server has missed some (`ingest`).

use super::Engine;
use super::audiences::AudienceId;
use super::batch::{LossMark, Losses};
use super::ending::Ending;
use super::link::{Link, Sent, Stream};
use super::names::TopicId;
use super::round::Round;
use super::slots::SlotId;
use crate::limits;
use crate::stats::{Gap, SlowDrop};
use crate::wire::id::EventId;

/// The topics of which the server has missed events. A number here may mean a later topic when it is told: then a client is
/// told once too often.
#[derive(Debug, Default, Eq, PartialEq)]
enum Missed {
    #[default]
    Nothing,
    /// At most `limits::GAP_TOPICS_MAX`.
    Topics(Vec<TopicId>),
    Everything,
}

impl Missed {
    fn add(&mut self, topic: TopicId) {
        match self {
            Self::Nothing => *self = Self::Topics(vec![topic]),
            Self::Topics(topics) if topics.contains(&topic) => {}
            Self::Topics(topics) if topics.len() < limits::GAP_TOPICS_MAX => topics.push(topic),
            Self::Topics(_) => *self = Self::Everything,
            Self::Everything => {}
        }
    }
}

/// What clients are still to be told.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// How many events clients have lost in this turn, by their marks.
    lost: Vec<(SlotId, LossMark, usize)>,
    /// What the present round tells.
    told: Missed,
    /// What the next one will tell.
    next: Missed,
    round: Round,
}

impl Gaps {
    /// Returns true while somebody is still to be told.
    pub(super) fn is_under_way(&self) -> bool {
        self.round.is_under_way() || self.next != Missed::Nothing || !self.lost.is_empty()
    }

    /// A client has lost these events, which are taken out.
    pub(super) fn note(&mut self, id: SlotId, lost: &mut Losses) {
        self.lost
            .extend(lost.drain().map(|(mark, events)| (id, mark, events)));
    }
}

impl<S: Stream> Engine<S> {
    /// The server has missed events of a topic, just before the one that comes next. They have used up the number `at`;
    /// `None` where a relay gives the numbers.
    pub fn handle_missed(&mut self, topic: &str, at: Option<EventId>) {
        self.hub.note_missed(topic, at, self.desk.now);
        if let Some(topic) = self.hub.topics().find(topic) {
            self.gaps.next.add(topic);
        }
    }

    /// A connection to a publisher was made: before it, the server may have missed events of any topic. `is_gap` is true
    /// when there was one before, so that subscribers may have missed some too. `at` is as in [`Engine::handle_missed`].
    pub fn handle_source_joined(&mut self, is_gap: bool, at: Option<EventId>) {
        let timeline = self.hub.history_mut().timeline_mut();
        timeline.note_source_joined(at, self.desk.now);
        if is_gap {
            self.gaps.next = Missed::Everything;
        }
    }

    /// Events of other topics are kept from now on, and sources that filter by topic have perhaps not sent what came of them
    /// before. `at` is as in [`Engine::handle_missed`].
    pub fn handle_other_topics(&mut self, at: Option<EventId>) {
        let timeline = self.hub.history_mut().timeline_mut();
        timeline.note_other_topics(at, self.desk.now);
    }

    /// Tells clients which of their events were dropped. Before anything more leaves from their outboxes: there the places
    /// for the notices are kept.
    pub(super) fn tell_losses(&mut self) {
        // To tell a client may cost it more events.
        while !self.gaps.lost.is_empty() {
            let mut lost = std::mem::take(&mut self.gaps.lost);
            for &(_, mark, events) in &lost {
                self.count_loss(mark, events as u64);
            }
            lost.sort_unstable_by_key(|(id, mark, _)| (id.index(), mark.topic));
            lost.dedup_by_key(|(id, mark, _)| (*id, mark.topic));
            for (id, mark, _) in lost {
                self.tell_loss(id, mark.topic);
            }
        }
    }

    fn count_loss(&mut self, mark: LossMark, events: u64) {
        self.hub.note_dropped(mark.topic, events);
        let reason = match mark.is_replaced {
            true => SlowDrop::Replaced,
            false => SlowDrop::Oldest,
        };
        self.desk.stats.dropped_slow(reason, events);
    }

    fn tell_loss(&mut self, id: SlotId, topic: TopicId) {
        let is_due = |link: &Link<S>| link.outbox().awaits_notice(topic);
        if !(self.slots.get(id)).is_some_and(|connection| is_due(&connection.link)) {
            return;
        }
        let mut notice = Vec::new();
        let is_told = self.write_notice(id, topic, Gap::Slow, &mut notice);
        if is_told {
            self.desk.stats.told_gap(Gap::Slow, 1);
        }
        let notice = is_told.then_some(notice);
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        let link = &mut connection.link;
        let sent = link.fill_notice(topic, notice, &mut self.desk);
        self.gaps.note(id, &mut self.desk.lost);
        if let Sent::Failed(reason) = sent {
            self.end(id, Ending::Lost(reason));
        }
    }

    /// Tells clients what the server has missed, as far as the turn's budget goes. Answers whether all were told: until
    /// then no event leaves, of whatever topic. With a million clients that takes some turns; events that come meanwhile
    /// wait, and when too many wait, so do their publishers.
    pub(super) fn tell_gaps(&mut self) -> bool {
        let mut left = self.rules.turn_gap_places_max;
        loop {
            while left > 0
                && let Some(place) = self.gaps.round.next(self.slots.places())
            {
                left = left.saturating_sub(1 + self.tell_missed(place));
            }
            if self.gaps.round.is_under_way() {
                return false;
            }
            if self.gaps.next == Missed::Nothing {
                return true;
            }
            self.gaps.told = std::mem::take(&mut self.gaps.next);
            self.gaps.round.begin(self.slots.places());
        }
    }

    /// Tells the client in a place what the server has missed. Answers what that cost beyond a look, in looks.
    fn tell_missed(&mut self, place: u32) -> u32 {
        let Some((id, connection)) = self.slots.at(place) else {
            return 0;
        };
        if !connection.session.takes_notices() {
            return 0;
        }
        let own = &connection.audiences;
        let topics: Vec<TopicId> = match &self.gaps.told {
            Missed::Nothing => Vec::new(),
            Missed::Everything => {
                let all = own.iter().map(AudienceId::of_number);
                let all = all.map(AudienceId::topic);
                all.chain(self.replays.awaited(id)).collect()
            }
            Missed::Topics(topics) => topics.clone(),
        };
        let mut notices = Vec::new();
        let mut told = 0;
        let looks = topics.len() as u32 / limits::GAP_TOPICS_PER_PLACE;
        for topic in topics {
            told += u32::from(self.write_notice(id, topic, Gap::Upstream, &mut notices));
        }
        self.send_notices(id, &notices, Gap::Upstream, told);
        looks + told * limits::GAP_PLACES
    }

    /// Sends a client so many notices of one kind.
    fn send_notices(&mut self, id: SlotId, notices: &[u8], gap: Gap, count: u32) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        if count == 0 {
            return;
        }
        self.desk.stats.told_gap(gap, count.into());
        let sent = connection.link.send(notices, &mut self.desk);
        self.gaps.note(id, &mut self.desk.lost);
        if let Sent::Failed(reason) = sent {
            self.end(id, Ending::Lost(reason));
        }
    }

    /// Tells a client that events of a topic were lost to it, if it is subscribed to the topic and takes such notices.
    pub(super) fn tell_gap(&mut self, id: SlotId, topic: TopicId, gap: Gap) {
        let mut notice = Vec::new();
        if self.write_notice(id, topic, gap, &mut notice) {
            self.send_notices(id, &notice, gap, 1);
        }
    }

    /// Appends the notice of a gap. Answers false for a client that is not subscribed to the topic, or takes none.
    fn write_notice(&mut self, id: SlotId, topic: TopicId, gap: Gap, out: &mut Vec<u8>) -> bool {
        let Some(connection) = self.slots.get(id) else {
            return false;
        };
        let Some(encoding) = connection.session.encoding() else {
            return false;
        };
        let own = &connection.audiences;
        let is_subscribed = own.contains(AudienceId::new(topic, encoding).number())
            || self.replays.awaits(id, topic);
        if !is_subscribed || !connection.session.takes_notices() {
            return false;
        }
        let name = self.hub.name(topic);
        let subscription = self.hub.subscription_of(topic, encoding);
        encoding.gap(subscription, &name, gap, out);
        true
    }
}
