//! What a configuration means to each part of the server: the engine, the gate, the intake, the admin
//! listener.
//!
//! All of it is made anew at a reload. Never here: what is done once, at the start, and the code that obeys a
//! rule.

use std::rc::Rc;
use std::time::Duration;

use crate::admin::{AccessRules, AdminRules};
use crate::auth::gate::GateRules;
use crate::config::Config;
use crate::engine::{Rules, SessionRules};
use crate::ingest::intake::IntakeRules;
use crate::limits;
use crate::standing::Standing;
use crate::web;
use crate::wire::envelope::Form;
use crate::wire::grant::Grant;
use crate::wire::id::Epoch;

/// How much one turn does, where no option says so: as much as [`limits`] allow. A simulation allows less.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// In writes of events.
    pub writes: usize,
    /// In tokens of open sessions about which the gate begins to ask.
    pub rechecks: usize,
    /// In such tokens whose answer is still to come, over all turns.
    pub rechecks_waiting: usize,
    /// In bytes of topics' names that publishers are told.
    pub topic_bytes: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            writes: limits::TURN_WRITES_MAX,
            rechecks: limits::TURN_RECHECKS_MAX,
            rechecks_waiting: limits::AUTH_RECHECKS_MAX,
            topic_bytes: limits::TURN_TOPIC_BYTES_MAX,
        }
    }
}

/// The engine's rules.
pub fn rules(config: &Config, connections_max: usize, budgets: Budgets, epoch: Epoch) -> Rules {
    Rules {
        session: SessionRules {
            head_bytes_max: config.clients.head_bytes_max,
            message_bytes_max: config.clients.message_bytes_max,
            origins: config.listen.origins.clone(),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            files: web::files(),
            compresses: config.clients.compress_min > 0,
        },
        connections_max,
        connections_per_address_max: config.clients.connections_per_address_max,
        refused_tokens_max: config.clients.refused_tokens_max,
        subscriptions_max: config.clients.subscriptions_max,
        topic_bytes_max: config.clients.topic_bytes_max,
        compress_bytes_min: match config.clients.compress_min {
            0 => usize::MAX,
            bytes => bytes,
        },
        outbox_bytes_max: config.clients.outbox_bytes_max,
        outboxes_bytes_max: config.clients.outboxes_bytes_max,
        handshake_seconds: config.clients.handshake_seconds,
        ping_seconds: config.clients.ping_seconds,
        pong_seconds: config.clients.pong_seconds,
        close_seconds: config.clients.close_seconds,
        turn_writes_max: budgets.writes,
        turn_gap_places_max: limits::TURN_PLACES_MAX,
        // Of all sources, these ask for single topics.
        tells_topic_changes: !config.ingest.sub.is_empty() || !config.brokers.nats.is_empty(),
        epoch,
        topics: config.topics.rules.clone(),
        history_bytes_max: config.topics.history_bytes_max,
    }
}

/// The gate's rules.
pub fn gate_rules(config: &Config, budgets: Budgets) -> GateRules {
    let seconds = |n: u32| Duration::from_secs(n.into());
    GateRules {
        cache: seconds(config.auth.cache_seconds),
        recheck: seconds(config.auth.recheck_seconds),
        grace: seconds(config.auth.grace_seconds),
        patience: seconds(config.clients.handshake_seconds),
        asking_bytes_max: config
            .auth
            .waiting_max
            .saturating_mul(limits::AUTH_QUESTION_BYTES),
        remembered_max: limits::AUTH_REMEMBERED_MAX,
        turn_rechecks_max: budgets.rechecks,
        rechecks_max: budgets.rechecks_waiting,
    }
}

/// The intake's rules.
pub(super) fn intake_rules(config: &Config, budgets: Budgets) -> IntakeRules {
    IntakeRules {
        form: Form {
            topic_field: config.ingest.topic_field.clone(),
            event_bytes_max: config.ingest.event_bytes_max,
            topic_bytes_max: config.clients.topic_bytes_max,
        },
        turn_events_max: config.ingest.turn_events_max,
        turn_topic_bytes_max: budgets.topic_bytes,
    }
}

/// The rules of all conversations with administrators and publishers.
pub(super) fn admin_rules(config: &Config) -> AdminRules {
    AdminRules {
        access: AccessRules::new(config.admin.token.as_ref(), config.publish.token.as_ref())
            .with_publish_origins(&config.publish.origins),
        body_bytes_max: config.ingest.event_bytes_max + limits::ADMIN_BODY_SLACK_BYTES,
    }
}

/// What an administrator may subscribe to on a WebSocket: everything, the server's own topics included.
pub(super) fn admin_standing() -> Rc<Standing> {
    Standing::new(Grant {
        name: "admin".to_owned(),
        topics: vec!["*".to_owned(), "$sys/*".to_owned()],
        ..Grant::default()
    })
}
