//! The limits in force, as the engine needs them.
//!
//! Never here: where a limit comes from (the configuration), defaults and their reasons (`limits`).

use super::session::SessionRules;
use crate::limits;
use crate::wire::id::Epoch;
use crate::wire::topic_rule::TopicRule;

/// The limits in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Those that concern one session's bytes.
    pub session: SessionRules,
    /// In connections.
    pub connections_max: usize,
    /// In connections of one address; 0 is no bound.
    pub connections_per_address_max: usize,
    /// In refused tokens a minute of one address; 0 is no bound.
    pub refused_tokens_max: u32,
    /// In subscriptions of one connection.
    pub subscriptions_max: usize,
    /// In bytes.
    pub topic_bytes_max: usize,
    /// In bytes: shorter events are not compressed.
    pub compress_bytes_min: usize,
    /// In bytes, one outbox.
    pub outbox_bytes_max: usize,
    /// In bytes, all outboxes together.
    pub outboxes_bytes_max: usize,
    /// In seconds, for the head, and again for the verdict.
    pub handshake_seconds: u32,
    /// In seconds of silence.
    pub ping_seconds: u32,
    /// In seconds that a ping may stay unanswered.
    pub pong_seconds: u32,
    /// In seconds for the peer's half of a close.
    pub close_seconds: u32,
    /// In writes of events a turn.
    pub turn_writes_max: usize,
    /// In looks at places a turn, to tell clients what the server has missed.
    pub turn_gap_places_max: u32,
    /// True exactly when `Engine::poll_topic_change` will be asked.
    pub tells_topic_changes: bool,
    /// The epoch of the ids that this server gives to events.
    pub epoch: Epoch,
    /// What is kept of topics, and what happens to their slow readers.
    pub topics: Vec<TopicRule>,
    /// In bytes, all kept events.
    pub history_bytes_max: usize,
}

impl Default for Rules {
    /// Those of [`limits`], for as many connections as there are descriptors.
    fn default() -> Self {
        Self {
            session: SessionRules::default(),
            connections_max: usize::MAX,
            connections_per_address_max: 0,
            refused_tokens_max: 0,
            subscriptions_max: limits::SUBSCRIPTIONS_MAX,
            topic_bytes_max: limits::TOPIC_BYTES_MAX,
            compress_bytes_min: limits::COMPRESS_BYTES_MIN,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            outboxes_bytes_max: limits::OUTBOXES_BYTES_MAX,
            handshake_seconds: limits::HANDSHAKE_SECONDS,
            ping_seconds: limits::PING_SECONDS,
            pong_seconds: limits::PONG_SECONDS,
            close_seconds: limits::CLOSE_SECONDS,
            turn_writes_max: limits::TURN_WRITES_MAX,
            turn_gap_places_max: limits::TURN_PLACES_MAX,
            tells_topic_changes: false,
            epoch: Epoch::new([0; 8]),
            topics: Vec::new(),
            history_bytes_max: limits::HISTORY_BYTES_MAX,
        }
    }
}
