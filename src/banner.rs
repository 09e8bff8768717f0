//! The banner: what an operator has to know at the start, and two commands to try the server with.
//!
//! Programs read it too: there is a line `listening  ws://…` for each address, `pull       …` for each endpoint,
//! `admin      http://…` and `publish    http://…` for each of those listeners, as they were bound, before
//! `capacity`.
//!
//! Never here: printing it, and a token of the operator's own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use newswire::config::{Config, reachable};
use newswire::server::Server;

use crate::crew::Crew;
use crate::memory;

/// This stands in a URL in the place of a token that is not shown.
const YOUR_TOKEN: &str = "YOUR_TOKEN";

/// Returns the banner of a server that was started as `program`. The two commands work as they stand when `token`
/// was made for this run.
pub fn text(
    config: &Config,
    server: &Server,
    crew: Option<&Crew>,
    program: &str,
    token: Option<&str>,
) -> String {
    let mut text = format!("newswire {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<11}{value}").expect("a String takes everything");
    };
    line("pid", &std::process::id().to_string());
    let listeners = crew.map_or(server.listeners(), Crew::listeners);
    for (index, address) in listeners.iter().enumerate() {
        let is_passed = index < server.listeners_passed();
        let source = if is_passed { " (from systemd)" } else { "" };
        line("listening", &format!("ws://{address}/{source}"));
    }
    for endpoint in server.pulls() {
        line("pull", endpoint);
    }
    for endpoint in &config.ingest.sub {
        line("sub", endpoint);
    }
    for broker in &config.brokers.amqp {
        line("amqp", &broker.place());
    }
    for broker in &config.brokers.nats {
        line("nats", &broker.place());
    }
    if let Some(crew) = crew {
        let count = crew.count;
        let note = "processes that serve clients; this one takes events in for them";
        line("workers", &format!("{count} {note}"));
    }
    for endpoint in relays(server, crew) {
        line("relay", endpoint);
    }
    for address in server.admins() {
        line("admin", &format!("http://{address}/"));
    }
    for address in server.publishers() {
        line("publish", &format!("http://{address}/publish"));
    }
    match crew {
        None => {
            line("capacity", &server.capacity_note());
            let clients = match listeners.is_empty() {
                true => 0,
                false => server.connections_max(),
            };
            line("memory", &memory::total(config, clients));
        }
        Some(crew) => {
            line(
                "capacity",
                &format!("for each worker: {}", crew.capacity_note),
            );
            let each = memory::total(config, crew.connections_max);
            line("memory", &format!("for each worker: {each}"));
        }
    }
    match token {
        _ if listeners.is_empty() => {}
        Some(_) => line(
            "tokens",
            "one, made for this run, see below; set one with --token, NEWSWIRE_TOKEN or in the file",
        ),
        None => {
            let entrances = crew.map_or_else(|| server.entrances(), |crew| crew.entrances.clone());
            for entrance in &entrances {
                line("tokens", &entrance.text);
            }
            if !entrances.iter().any(|entrance| entrance.is_open) {
                line("tokens", "none of them is good: no client can get in");
            }
        }
    }
    let token = token.unwrap_or(YOUR_TOKEN);
    text.push_str(&trial(config, server, listeners, program, token));
    text
}

/// Returns the endpoints for other servers. The one for workers is nobody's concern.
pub fn relays<'a>(server: &'a Server, crew: Option<&Crew>) -> &'a [String] {
    let all = server.relays();
    &all[..crew.map_or(all.len(), |crew| crew.relays)]
}

/// Returns the two commands, with the program as the user called it.
fn trial(
    config: &Config,
    server: &Server,
    listeners: &[SocketAddr],
    program: &str,
    token: &str,
) -> String {
    let program = shell_word(program);
    let mut text = String::new();
    let Some(&address) = listeners.first() else {
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
        let to = if Config::default().ingest.pull.contains(&endpoint) {
            String::new()
        } else {
            format!("--to {} ", shell_word(&endpoint))
        };
        writeln!(
            text,
            "  {program} publish {to}package_created '{{\"n\":1}}'"
        )
        .expect("a String takes everything");
    } else if let Some(endpoint) = config.ingest.sub.first() {
        writeln!(
            text,
            "  and publish with the PUB socket at {endpoint}: two parts, the topic and the data"
        )
        .expect("a String takes everything");
    }
    text.push('\n');
    text
}

/// Returns `text` as one word of a shell's command line.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
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
}
