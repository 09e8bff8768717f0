//! What an operator has to know at the start, and two commands to try it with.
//!
//! Programs read it too: a line `listening  ws://…` for each address, `pull       …` for each endpoint,
//! `admin      http://…` and `publish    http://…` for each of those listeners, as they were bound, before
//! `capacity`.
//!
//! Never here: printing it, and a token of the operator's own.

use std::fmt::Write as _;

use newswire::config::{Config, reachable, rough_bytes};
use newswire::limits;
use newswire::server::Server;

/// Stands in a URL for a token that is not shown.
const YOUR_TOKEN: &str = "YOUR_TOKEN";

/// The banner of a server that has started as `program`. The two commands work as they stand when
/// `token` was made for this run.
pub fn text(config: &Config, server: &Server, program: &str, token: Option<&str>) -> String {
    let mut text = format!("newswire {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<11}{value}").expect("a String takes everything");
    };
    for (index, address) in server.listeners().iter().enumerate() {
        let is_passed = index < server.listeners_passed();
        let source = if is_passed { " (from systemd)" } else { "" };
        line("listening", &format!("ws://{address}/{source}"));
    }
    for endpoint in server.pulls() {
        line("pull", endpoint);
    }
    for endpoint in &config.sub {
        line("sub", endpoint);
    }
    for address in server.admins() {
        line("admin", &format!("http://{address}/"));
    }
    for address in server.publishers() {
        line("publish", &format!("http://{address}/publish"));
    }
    line("capacity", &server.capacity_note());
    line("memory", &memory(config, server.connections_max()));
    if token.is_some() {
        line(
            "token",
            "made for this run, see below; set one with --token, NEWSWIRE_TOKEN or in the file",
        );
    }
    text.push_str(&trial(config, server, program, token.unwrap_or(YOUR_TOKEN)));
    text
}

/// Everything that may be held on peers' behalf, in the worst case: all of them leave everything unread,
/// each is in the middle of its largest message, and each has all the names that it may, the longest
/// ones, none of which another has too.
///
/// The tables around them, ZeroMQ's queues and the kernel's buffers are not in it.
fn memory(config: &Config, connections: usize) -> String {
    let each = |bytes: usize| (connections as u64).saturating_mul(bytes as u64);
    let outboxes = config.outboxes_bytes_max as u64;
    let pending = limits::PENDING_BYTES_MAX as u64;
    let unfinished = each(config.message_bytes_max.max(config.head_bytes_max));
    let topics = each(
        config
            .subscriptions_max
            .saturating_mul(config.topic_bytes_max),
    );
    let prefixes = each(limits::PREFIXES_MAX * limits::TOPIC_BYTES_MAX);
    let request = (config.event_bytes_max + limits::ADMIN_BODY_SLACK_BYTES) as u64;
    let doors = [&config.admin, &config.publish];
    let doors = doors.iter().filter(|door| !door.is_empty()).count();
    let strangers = limits::ADMIN_STRANGERS_MAX * limits::ADMIN_HEAD_BYTES_MAX;
    let requests =
        request * (doors * limits::ADMIN_CONNECTIONS_MAX) as u64 + (doors * strangers) as u64;
    let all = [outboxes, pending, unfinished, topics, prefixes, requests]
        .into_iter()
        .fold(0, u64::saturating_add);
    format!(
        "up to {} on behalf of peers: {} in outboxes (outboxes-bytes-max), {} of events on their way, {} in \
         unfinished messages (connections-max × message-bytes-max), {} in names of topics (connections-max × \
         subscriptions-max × topic-bytes-max), {} in prefixes, {} in HTTP requests",
        rough_bytes(all),
        rough_bytes(outboxes),
        rough_bytes(pending),
        rough_bytes(unfinished),
        rough_bytes(topics),
        rough_bytes(prefixes),
        rough_bytes(requests),
    )
}

/// The two commands, with the program as it was started.
fn trial(config: &Config, server: &Server, program: &str, token: &str) -> String {
    let program = shell_word(program);
    let mut text = String::new();
    let Some(&address) = server.listeners().first() else {
        return text;
    };
    let url = shell_word(&format!("ws://{}/?token={token}", reachable(address)));
    text.push_str("\nTry it, in two other terminals");
    text.push_str(if token == YOUR_TOKEN {
        " (with a token of yours):\n"
    } else {
        ":\n"
    });
    writeln!(text, "  {program} subscribe {url} package_created")
        .expect("a String takes everything");
    if let Some(endpoint) = server.pulls().first() {
        let endpoint = endpoint
            .replace("tcp://0.0.0.0:", "tcp://127.0.0.1:")
            .replace("tcp://[::]:", "tcp://[::1]:");
        let to = if Config::default().pull.contains(&endpoint) {
            String::new()
        } else {
            format!("--to {} ", shell_word(&endpoint))
        };
        writeln!(
            text,
            "  {program} publish {to}package_created '{{\"n\":1}}'"
        )
        .expect("a String takes everything");
    } else if let Some(endpoint) = config.sub.first() {
        writeln!(
            text,
            "  and publish with the PUB socket at {endpoint}: two parts, the topic and the data"
        )
        .expect("a String takes everything");
    }
    text.push('\n');
    text
}

/// `text` as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(
            shell_word("target/release/newswire"),
            "target/release/newswire"
        );
        assert_eq!(shell_word("ws://a/?token=x"), "'ws://a/?token=x'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_listener_on_every_interface_is_reached_on_this_machine() {
        for (bound, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(reachable(bound).to_string(), reached);
        }
    }

    #[test]
    fn the_memory_is_the_sum_of_what_is_named() {
        let config = Config {
            outboxes_bytes_max: 100 << 20,
            message_bytes_max: 2 << 20,
            subscriptions_max: 1_024,
            topic_bytes_max: 1_024,
            event_bytes_max: (1 << 20) - limits::ADMIN_BODY_SLACK_BYTES,
            ..Config::default()
        };
        let line = memory(&config, 64);
        // 100 + 32 + 128 + 64 + 1 + 65
        assert!(
            line.starts_with("up to 390 MiB on behalf of peers: "),
            "{line}"
        );
        for part in [
            "100 MiB in outboxes",
            "32 MiB of events",
            "128 MiB in unfinished",
            "64 MiB in names",
            "1 MiB in prefixes",
            "65 MiB in HTTP requests",
        ] {
            assert!(line.contains(part), "{line}");
        }
        let closed = Config {
            admin: Vec::new(),
            ..config.clone()
        };
        assert!(memory(&closed, 64).starts_with("up to 325 MiB on behalf"));
        let most = Config {
            subscriptions_max: usize::MAX,
            ..config
        };
        memory(&most, usize::MAX);
    }
}
