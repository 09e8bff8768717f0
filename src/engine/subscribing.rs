//! How a client becomes a subscriber: at once, or when it has got what it asks of its topics' past.
//!
//! Never here: what a topic's past has (`hub`), and how it is sent (`replay`).

use super::hub::Hub;
use super::idset::IdSet;
use super::replay::Replays;
use super::session::Encoding;
use super::slots::SlotId;
use crate::stats::{Recovery, Stats};
use crate::wire::past::{PastWish, RecoveryNotice, Unrecovered};

/// Returns true when a client is a member of a topic, or waits to become one.
pub(super) fn is_subscribed(
    hub: &Hub,
    replays: &Replays,
    (id, own): (SlotId, &IdSet),
    encoding: Encoding,
    name: &str,
) -> bool {
    let topic = hub.topics().find(name);
    hub.is_subscribed(own, encoding, name) || topic.is_some_and(|t| replays.awaits(id, t))
}

/// How a subscription to one topic begins.
pub(super) struct Beginning {
    /// True exactly when the client had it not before.
    pub is_new: bool,
    /// The id of the subscription; 0 where the protocol has none.
    pub subscription: u64,
    /// What the client is told, if it has asked.
    pub notice: Option<RecoveryNotice>,
}

/// Makes a client a subscriber of a topic, at once or when it has got what it asks of the topic's past.
pub(super) fn begin(
    hub: &mut Hub,
    replays: &mut Replays,
    (id, own): (SlotId, &mut IdSet),
    encoding: Encoding,
    name: &str,
    past: PastWish,
) -> Beginning {
    let member = id.index();
    let known = hub.topics().find(name);
    let is_awaited = known.is_some_and(|topic| replays.awaits(id, topic));
    let has_it = is_awaited || hub.is_subscribed(own, encoding, name);
    let prospect = hub.prospect(name, past);
    let begin = |position, subscription| Beginning {
        is_new: !has_it,
        subscription,
        notice: past.is_asked().then_some(RecoveryNotice {
            position,
            outcome: prospect.outcome,
        }),
    };
    // A client that has the subscription keeps it as it is, and is owed some events. Only a position of its own says from
    // where on it needs them again.
    if let Some(topic) = known.filter(|_| has_it && prospect.outcome.is_err()) {
        let position = replays
            .position(id, topic, hub)
            .unwrap_or_else(|| hub.position_of_member(member, topic, encoding, prospect.position));
        return begin(position, hub.subscription_of(topic, encoding));
    }
    if !has_it && prospect.replay.is_none() {
        let joined = hub.subscribe(member, own, encoding, name);
        return begin(prospect.position, joined.subscription);
    }
    // From its position on, a client gets everything, and nothing from before: what is on its way to it comes again from the
    // history, or is older.
    let topic = hub.await_events(name);
    replays.cancel(id, topic, hub);
    hub.unsubscribe(member, own, encoding, name);
    match prospect.replay {
        Some(start) => replays.add(id, topic, start, prospect.position.sequence),
        None => {
            hub.subscribe(member, own, encoding, name);
            hub.end_awaiting(topic);
        }
    }
    let subscription = hub.subscription_of(topic, encoding);
    begin(prospect.position, subscription)
}

/// Makes a client a subscriber of all topics of its stream. Returns what it is told.
pub(super) fn begin_stream(
    hub: &mut Hub,
    replays: &mut Replays,
    (id, own): (SlotId, &mut IdSet),
    encoding: Encoding,
    names: &[String],
    past: PastWish,
) -> (RecoveryNotice, usize) {
    let mut prospects: Vec<_> = names.iter().map(|name| hub.prospect(name, past)).collect();
    let failure = prospects.iter().find_map(|prospect| prospect.outcome.err());
    if failure.is_some() {
        let past = PastWish {
            since: None,
            ..past
        };
        prospects = names.iter().map(|name| hub.prospect(name, past)).collect();
    }
    let positions = prospects.iter().map(|prospect| prospect.position);
    let position = positions.max_by_key(|position| position.sequence);
    let notice = RecoveryNotice {
        position: position.unwrap_or_else(|| hub.history().position(None)),
        outcome: failure.map_or(Ok(()), Err),
    };
    let has_replay = prospects.iter().any(|prospect| prospect.replay.is_some());
    let mut subscribed = 0;
    for (name, prospect) in names.iter().zip(prospects) {
        if !has_replay || !prospect.is_kept {
            let joined = hub.subscribe(id.index(), own, encoding, name);
            subscribed += usize::from(joined.is_new);
            continue;
        }
        let topic = hub.await_events(name);
        if replays.awaits(id, topic) {
            hub.end_awaiting(topic);
            continue;
        }
        let start = prospect.replay.unwrap_or_else(|| hub.history().end(topic));
        replays.add(id, topic, start, notice.position.sequence);
        subscribed += 1;
    }
    (notice, subscribed)
}

/// Counts what a client gets that has named a position.
pub(super) fn count_recovery(stats: &Stats, past: PastWish, notice: &RecoveryNotice) {
    if past.since.is_some() {
        stats.recovery(match notice.outcome {
            Ok(()) => Recovery::Recovered,
            Err(Unrecovered::Epoch) => Recovery::Epoch,
            Err(Unrecovered::Floor) => Recovery::Floor,
            Err(Unrecovered::Unknown) => Recovery::Unknown,
            Err(Unrecovered::None) => Recovery::None,
        });
    }
}
