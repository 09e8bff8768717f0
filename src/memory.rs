//! The most memory that clients, publishers and administrators can make a server use: the parts, and their sum.
//!
//! This is a worst case that does not occur in practice: all clients read nothing, each is in the middle of its largest
//! message, and each has as many topics as it may, with the longest names and none of another client's. The start
//! prints the sum, and `check` prints the parts.
//!
//! Never here: the memory in use now, the tables around these parts, ZeroMQ's queues of events, and the kernel's
//! buffers.

use std::fmt::Write as _;

use newswire::config::{Config, rough_bytes};
use newswire::limits;

/// One of the parts.
struct Part {
    bytes: u64,
    /// What the memory is for, and which options bound it.
    what: &'static str,
}

/// The parts, for so many clients; a relay has none.
fn parts(config: &Config, connections: usize) -> Vec<Part> {
    let of_clients = |bytes: usize| if connections > 0 { bytes as u64 } else { 0 };
    let each = |bytes: usize| (connections as u64).saturating_mul(bytes as u64);
    let names = config
        .clients
        .subscriptions_max
        .saturating_mul(config.clients.topic_bytes_max);
    let request = (config.ingest.event_bytes_max + limits::ADMIN_BODY_SLACK_BYTES) as u64;
    let doors = [&config.admin.addresses, &config.publish.addresses];
    let doors = doors.iter().filter(|door| !door.is_empty()).count();
    let sub = limits::sub_bytes(config.clients.topic_bytes_max) as u64;
    let event = config.ingest.event_bytes_max;
    let ahead = usize::from(limits::amqp_prefetch(event)) * event;
    let broker = (ahead + limits::BROKER_QUEUE_BYTES_MAX) as u64;
    let nats = limits::nats_bytes(event, config.clients.topic_bytes_max) as u64;
    let strangers = limits::ADMIN_STRANGERS_MAX * limits::ADMIN_HEAD_BYTES_MAX;
    let refused = limits::AUTH_REMEMBERED_MAX * limits::AUTH_REFUSED_BYTES;
    // The gate keeps tokens for a while after their clients have left.
    let tokens = match config.auth.remote_stores().next() {
        Some(_) => connections.saturating_add(limits::AUTH_REMEMBERED_MAX) as u64,
        None => 0,
    };
    let questions = config
        .auth
        .waiting_max
        .saturating_mul(limits::AUTH_QUESTION_BYTES);
    [
        (
            of_clients(config.clients.outboxes_bytes_max),
            "left unread by clients (outboxes-bytes-max)",
        ),
        (
            of_clients(limits::PENDING_BYTES_MAX),
            "events on their way to clients",
        ),
        (
            each(
                config
                    .clients
                    .message_bytes_max
                    .max(config.clients.head_bytes_max),
            ),
            "unfinished messages of clients (connections-max × message-bytes-max)",
        ),
        (
            match config.clients.compress_min {
                0 => 0,
                _ => of_clients(limits::compression_bytes(config.clients.message_bytes_max)),
            },
            "compression (compress-min)",
        ),
        (
            each(names),
            "names of topics (connections-max × subscriptions-max × topic-bytes-max)",
        ),
        (
            each(limits::PREFIXES_MAX * limits::TOPIC_BYTES_MAX),
            "prefixes of clients (connections-max × 16 KiB)",
        ),
        (
            request * (doors * limits::ADMIN_CONNECTIONS_MAX) as u64 + (doors * strangers) as u64,
            "HTTP requests of publishers and administrators",
        ),
        (
            sub.saturating_mul(config.ingest.sub.len() as u64),
            "topics that publishers are asked for (each sub)",
        ),
        (
            broker.saturating_mul(config.brokers.amqp.len() as u64),
            "events that brokers have sent ahead (each amqp)",
        ),
        (
            nats.saturating_mul(config.brokers.nats.len() as u64),
            "events and topics of NATS servers (each nats)",
        ),
        (
            tokens.saturating_mul(config.clients.head_bytes_max as u64),
            "tokens of clients ((connections-max + 100,000) × head-bytes-max)",
        ),
        (
            of_clients(questions),
            "tokens that wait for an answer (auth-waiting-max × 1,600 bytes)",
        ),
        (of_clients(refused), "what is remembered of refused tokens"),
        (
            match config.topics.keeps_events() {
                true => config.topics.history_bytes_max as u64,
                false => 0,
            },
            "history of topics (history-bytes-max)",
        ),
    ]
    .into_iter()
    .map(|(bytes, what)| Part { bytes, what })
    .collect()
}

fn sum(parts: &[Part]) -> u64 {
    parts
        .iter()
        .fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// Returns the line for the start.
pub fn total(config: &Config, connections: usize) -> String {
    format!(
        "at most {} for others, if all clients did their worst at once (`newswire check` has the parts)",
        rough_bytes(sum(&parts(config, connections)))
    )
}

/// Returns the parts, which `check` prints as comments of a configuration file.
pub fn comment(config: &Config, connections: usize) -> String {
    let parts = parts(config, connections);
    let mut text = format!(
        "\n# Memory for others, if each of {connections} connections did its worst at once: {}\n",
        rough_bytes(sum(&parts))
    );
    for part in parts.iter().filter(|part| part.bytes > 0) {
        writeln!(text, "# {:>9} {}", rough_bytes(part.bytes), part.what)
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use newswire::config::ClientOptions;
    use newswire::wire::topic_rule::TopicRule;

    use super::*;

    #[test]
    fn the_memory_is_the_sum_of_its_parts() {
        let mut config = Config::default();
        config.clients = ClientOptions {
            outboxes_bytes_max: 100 << 20,
            message_bytes_max: 2 << 20,
            subscriptions_max: 1_024,
            topic_bytes_max: 1_024,
            head_bytes_max: 1 << 20,
            ..config.clients
        };
        config.ingest.event_bytes_max = (1 << 20) - limits::ADMIN_BODY_SLACK_BYTES;
        // With what is remembered of refused tokens, 44 MiB.
        config.auth.waiting_max = ((44 << 20)
            - limits::AUTH_REMEMBERED_MAX * limits::AUTH_REFUSED_BYTES)
            / limits::AUTH_QUESTION_BYTES
            + 1;
        config.clients.compress_min = 0;
        let line = total(&config, 64);
        // 100 + 32 + 128 + 64 + 1 + 65 + 44
        assert!(line.starts_with("at most 434 MiB for others"), "{line}");
        let text = comment(&config, 64);
        for part in [
            "if each of 64 connections did its worst at once: 434 MiB\n",
            "#   100 MiB left unread",
            "#    32 MiB events",
            "#   128 MiB unfinished messages",
            "#    64 MiB names of topics",
            "#     1 MiB prefixes",
            "#    65 MiB HTTP requests",
            " MiB tokens that wait for an answer",
            " MiB what is remembered of refused tokens",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(" 0 bytes"), "{text}");
        let mut closed = config.clone();
        closed.admin.addresses.clear();
        assert!(total(&closed, 64).starts_with("at most 369 MiB "));
        let mut compressing = config.clone();
        compressing.clients.compress_min = 1_024;
        let text = comment(&compressing, 64);
        assert!(text.contains("#   3.6 MiB compression"), "{text}");
        assert!(total(&config, 0).starts_with("at most 65 MiB "), "a relay");
        let mut asking = config.clone();
        asking.ingest.sub = vec!["tcp://127.0.0.1:5556".to_owned(); 2];
        let asked = rough_bytes(2 * limits::sub_bytes(1_024) as u64);
        let text = comment(&asking, 64);
        assert!(
            text.contains(&format!("{asked} topics that publishers")),
            "{text}"
        );
        // These are the tokens of 64 clients and of 100,000 that have left, 1 MiB each.
        let mut sealing = config.clone();
        sealing.auth.api_urls = vec!["https://api.example.com/".to_owned()];
        let text = comment(&sealing, 64);
        assert!(text.contains("#  97.7 GiB tokens of clients"), "{text}");
        let mut keeping = config.clone();
        for (rule, is_kept) in [("a slow=latest", false), ("b* last", true)] {
            let rule = TopicRule::parse(rule).expect("a rule");
            keeping.topics.rules.push(rule);
            let text = comment(&keeping, 64);
            let part = "#    64 MiB history of topics (history-bytes-max)\n";
            assert_eq!(text.contains(part), is_kept, "{text}");
        }
        assert!(total(&keeping, 64).starts_with("at most 498 MiB "));
        let mut most = config;
        most.clients.subscriptions_max = usize::MAX;
        total(&most, usize::MAX);
    }
}
