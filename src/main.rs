//! `newswire`: arguments become a command, a command becomes an exit code.
//!
//! The only place that ends the program or prints an error. Exit codes: 0, it did what it was asked
//! for; 1, it could not; 2, what it was asked for makes no sense. Never here: what a command does.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use newswire::cli::{self, Action, ConfigFlags, Failure};
use newswire::config::{Config, Loaded, rough_bytes};
use newswire::limits;
use newswire::logging;
use newswire::server::Server;

/// Stands in a URL for a token that is not shown.
const YOUR_TOKEN: &str = "YOUR_TOKEN";

fn main() -> ExitCode {
    // Arguments need not be text: a file's name may be any bytes.
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.peek().map_or("newswire".into(), |program| {
        program.to_string_lossy().into_owned()
    });
    let outcome = cli::parse(arguments).and_then(|action| match action {
        Action::Serve(flags) => serve(&flags, &program),
        Action::Check(flags) => load(&flags).map(|loaded| print(&loaded.show())),
        Action::Publish(options) => cli::publish::run(&options),
        Action::Subscribe(options) => cli::subscribe::run(&options),
        Action::Load(options) => cli::load::run(&options),
        Action::NewToken => cli::token::new().map(|token| print(&format!("{}\n", token.reveal()))),
        Action::Print(text) => {
            print(&text);
            Ok(())
        }
    });
    let (code, text) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Runtime(text)) => (1, text),
        Err(Failure::Usage(text)) => (2, text),
    };
    complain(&text);
    ExitCode::from(code)
}

/// Standard output may be closed; that is no reason to fail, and `println!` would panic.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// As above, for standard error.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "newswire: {text}");
}

fn load(given: &ConfigFlags) -> Result<Loaded, Failure> {
    let loaded = Loaded::read(given.file.as_deref(), &given.flags)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    Ok(loaded)
}

fn serve(given: &ConfigFlags, program: &str) -> Result<(), Failure> {
    let mut config = load(given)?.config;
    let token = if config.tokens.is_empty() {
        let token = cli::token::new()?;
        let shown = token.reveal();
        config.tokens.push(token);
        Some(shown)
    } else {
        None
    };
    // Until the end of this function: what is logged while the server goes down is still written.
    let _logging = logging::start(config.log_level)
        .map_err(|error| Failure::Runtime(format!("cannot start the log: {error}")))?;
    let server = Server::start(&config).map_err(|error| Failure::Runtime(error.to_string()))?;
    print(&banner(&config, &server, program, token.as_deref()));
    let stats = server
        .run()
        .map_err(|error| Failure::Runtime(format!("the server failed: {error}")))?;
    let summary = stats.summary();
    let summary = if summary.is_empty() {
        "nothing happened"
    } else {
        &summary
    };
    print(&format!("stopped     {summary}\n"));
    Ok(())
}

/// What an operator has to know at the start, and two commands to try it with. They work as they stand
/// when the token was made for this run; one of the operator's own is not shown.
///
/// Programs read it too: a line `listening  ws://…` for each address and `pull       …` for each
/// endpoint, as they were bound.
fn banner(config: &Config, server: &Server, program: &str, token: Option<&str>) -> String {
    let mut text = format!("newswire {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<11}{value}").expect("a String takes everything");
    };
    for address in server.listeners() {
        line("listening", &format!("ws://{address}/"));
    }
    for endpoint in server.pulls() {
        line("pull", endpoint);
    }
    for endpoint in &config.sub {
        line("sub", endpoint);
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
/// and each is in the middle of its largest message.
fn memory(config: &Config, connections: usize) -> String {
    let unfinished =
        connections as u64 * config.message_bytes_max.max(config.head_bytes_max) as u64;
    let outboxes = config.outboxes_bytes_max as u64;
    let pending = limits::PENDING_BYTES_MAX as u64;
    format!(
        "up to {} on behalf of peers: {} in outboxes (outboxes-bytes-max), {} of events on their way, {} in \
         unfinished messages (connections-max × message-bytes-max)",
        rough_bytes(outboxes + pending + unfinished),
        rough_bytes(outboxes),
        rough_bytes(pending),
        rough_bytes(unfinished),
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

/// Where a client on this machine reaches a listener.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
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
