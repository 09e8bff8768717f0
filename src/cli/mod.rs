//! The command line: which command with which arguments, and how it is explained to a stranger.
//!
//! The commands other than `serve` are clients; each has a file here. The flags of `serve` and `check` follow from
//! the options ([`crate::config::options`]).
//!
//! Never here: the server and the engine (a client that shares code with them cannot test them), the end of the
//! program, printing an error. A command returns a [`Failure`], and `main` does the rest.

mod arguments;
mod channel;
mod chunks;
mod client;
mod config_flags;
mod deadline;
mod dialect;
mod event_stream;
mod explain;
mod http;
pub mod load;
mod past;
pub mod protocol;
pub mod publish;
mod publisher;
mod reach;
mod server_url;
pub mod subscribe;
mod target;
pub mod token;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use clap::Command;

pub use config_flags::ConfigFlags;

use crate::wire::token::Token;

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Run the server.
    Serve(ConfigFlags),
    /// Run a server without clients, which hands events on to others.
    Relay(ConfigFlags),
    /// Run as a worker of the parent that has started this process.
    Worker(ConfigFlags),
    /// Show the configuration that a server would have.
    Check(ConfigFlags),
    /// Hand events to a server.
    Publish(publish::PublishArguments),
    /// Print the events of a server.
    Subscribe(subscribe::SubscribeArguments),
    /// Load-test a server.
    Load(Box<load::LoadArguments>),
    /// Print a fresh token.
    NewToken,
    /// Print the `sha256:…` that stands for this token in a file; `None`: for the token on standard input.
    HashToken(Option<Token>),
    /// Have a running server refuse a token.
    RevokeToken(token::Revocation),
    /// Print this text, the help or the version.
    Print(String),
}

/// Why a command failed, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The arguments or the configuration make no sense: exit code 2.
    Usage(String),
    /// The command could not do it: exit code 1.
    Runtime(String),
}

const ABOUT: &str = "\
A push server: it takes events over ZeroMQ, HTTP, RabbitMQ or NATS, and delivers them to browsers (WAMP, server-sent events).

Without a command it serves. Every option is also a variable (--ping-interval is NEWSWIRE_PING_INTERVAL) \
and a key of the configuration file (ping-interval). A flag wins over a variable, a variable over the \
file, the file over the default.";

const EXAMPLES: &str = "\
Examples:
  newswire
          listen on this machine, with a token made for the run
  NEWSWIRE_TOKEN=secret newswire --listen 0.0.0.0:8080 --origin https://example.com
          listen on every interface, for one site
  newswire --config /etc/newswire/newswire.toml --log-level debug
  newswire subscribe 'ws://127.0.0.1:8080/?token=secret' package_created
  newswire publish package_created '{\"n\":1}'";

const SHORT_END: &str = "\
`newswire --help` lists all options and examples; `newswire COMMAND --help` explains a command. Every option is \
also a variable (NEWSWIRE_PING_INTERVAL) and a key of the file (ping-interval).";

/// Parses the arguments, the program's name first.
///
/// # Errors
/// They make no sense.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, Failure> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // No command for people: it is in no help. A parent starts its workers with it.
    let is_worker = arguments.get(1).is_some_and(|word| word == "worker");
    if is_worker {
        arguments[1] = "serve".into();
    }
    let matches = match command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Action::Print(error.render().to_string())),
        // A command is the first argument.
        Err(error) => return Err(Failure::Usage(explain::explain(&error, arguments.get(1)))),
    };
    match matches.subcommand() {
        None => Ok(Action::Serve(ConfigFlags::from_matches(&matches))),
        Some(("serve", matches)) if is_worker => {
            Ok(Action::Worker(ConfigFlags::from_matches(matches)))
        }
        Some(("serve", matches)) => Ok(Action::Serve(ConfigFlags::from_matches(matches))),
        Some(("relay", matches)) => {
            let given = ConfigFlags::from_matches(matches);
            if given.flags.contains_key("listen") {
                return Err(Failure::Usage(
                    "a relay has no clients, so --listen means nothing to it: `newswire serve --relay ENDPOINT` is a \
                     server with clients that is a relay too"
                        .to_owned(),
                ));
            }
            Ok(Action::Relay(given))
        }
        Some(("check", matches)) => Ok(Action::Check(ConfigFlags::from_matches(matches))),
        Some(("publish", matches)) => {
            publish::PublishArguments::from_matches(matches).map(Action::Publish)
        }
        Some(("subscribe", matches)) => {
            subscribe::SubscribeArguments::from_matches(matches).map(Action::Subscribe)
        }
        Some(("load", matches)) => load::LoadArguments::from_matches(matches)
            .map(|options| Action::Load(Box::new(options))),
        Some(("token", matches)) => token::action(matches),
        Some((other, _)) => unreachable!("{other} is not declared below"),
    }
}

/// The whole command line.
pub fn command() -> Command {
    let serve = Command::new("serve")
        .about("Run the server (also without this word)")
        .args(config_flags::arguments());
    let relay = Command::new("relay")
        .about("Take events in and hand them on to other servers, without clients")
        .long_about(
            "Take events in and hand them on to other servers, without clients.\n\nA PUSH socket deals its events out, \
             so two servers that it is connected to get half of them each. A relay takes events from every source that \
             a server has, and hands each to all servers that connect to it with --sub. It asks its own sources only \
             for topics that some server wants.\n\nIt takes the options of `serve`; those that concern clients and \
             tokens mean nothing to it.",
        )
        .after_help(
            "Example:\n  newswire relay --pull tcp://0.0.0.0:5555 --relay tcp://0.0.0.0:5556\n  \
             newswire serve --pull off --sub tcp://relay.example.com:5556",
        )
        .args(config_flags::arguments());
    let check = Command::new("check")
        .about("Check a configuration and print the values in force, without serving")
        .long_about(
            "Check a configuration and print the values in force, without serving.\n\nThe output is a \
             configuration file that brings the same values about, each with its source in a comment. \
             Tokens are counted, not shown.\n\nThe check reads the files that the configuration names, fetches each \
             JWK set (--auth-jwks), asks each database (--auth-postgres) about no token, and each API (--auth-url) about \
             the token newswire-check, which nobody has. It waits for each as long as --auth-timeout says, and warns \
             when one cannot be used now. It binds nothing.",
        )
        .after_help("Example:\n  newswire check --config /etc/newswire/newswire.toml")
        .args(config_flags::arguments());
    Command::new("newswire")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A push server: events from ZeroMQ, HTTP, RabbitMQ and NATS, to browsers at once")
        .long_about(ABOUT)
        .after_help(SHORT_END)
        .after_long_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .max_term_width(100)
        .args(config_flags::arguments())
        .subcommand(serve)
        .subcommand(relay)
        .subcommand(publish::command())
        .subcommand(subscribe::command())
        .subcommand(load::command())
        .subcommand(token::command())
        .subcommand(check)
}

/// Ignores SIGUSR1. It makes a server log what it has counted, and would end a client. An operator may send it to
/// every process that is called newswire.
fn ignore_summary_signal() -> Result<(), Failure> {
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::default())
        .map(drop)
        .map_err(|error| Failure::Runtime(format!("cannot ignore SIGUSR1: {error}")))
}

/// Writes `text` to standard output. A closed output is no reason to fail, and `print!` would panic.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, which may be closed as well.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "newswire: {}", harmless(text));
}

/// Returns a text that a terminal only shows, however long and of whatever the server made it.
fn harmless(text: &str) -> String {
    const CHARS_MAX: usize = 4_000;
    let mut shown = String::with_capacity(text.len().min(CHARS_MAX));
    for char in text.chars().take(CHARS_MAX) {
        match char {
            '\n' => shown.push('\n'),
            char if char.is_control() => shown.extend(char.escape_debug()),
            char => shown.push(char),
        }
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options;

    #[test]
    fn a_servers_words_move_no_cursor() {
        assert_eq!(harmless("a\u{1b}[2Jé\nb\u{7}"), "a\\u{1b}[2Jé\nb\\u{7}");
        let long = harmless(&"x".repeat(100_000));
        assert_eq!(long.chars().count(), 4_001);
    }

    fn parsed(line: &str) -> Result<Action, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_declarations_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn serving_is_what_is_done_without_a_command() {
        for line in [
            "newswire --listen a --listen b",
            "newswire serve --listen a --listen b",
        ] {
            let Ok(Action::Serve(given)) = parsed(line) else {
                panic!("{line}");
            };
            assert_eq!(given.flags["listen"], ["a", "b"]);
            assert_eq!(given.flags.len(), 1);
            assert_eq!(given.file, None);
        }
        let Ok(Action::Check(given)) = parsed("newswire check --config x.toml") else {
            panic!("check");
        };
        assert_eq!(given.file, Some("x.toml".into()));
    }

    #[test]
    fn a_token_may_begin_with_a_hyphen() {
        let Ok(Action::Serve(given)) = parsed("newswire --token -abc --token=--def") else {
            panic!("serve");
        };
        assert_eq!(given.flags["token"], ["-abc", "--def"]);
    }

    #[test]
    fn the_short_help_is_short_and_has_what_is_used_most() {
        for line in ["newswire -h", "newswire serve -h", "newswire check -h"] {
            let Ok(Action::Print(help)) = parsed(line) else {
                panic!("{line}");
            };
            assert!(help.lines().count() <= 50, "{line}: {help}");
            for option in options() {
                // One line for each that is used most.
                let flag = format!("--{} ", option.name);
                let shown = help.lines().find(|line| line.contains(&flag));
                let is_right = |text| shown.is_some_and(|line| line.contains(text));
                assert!(option.brief.is_none_or(is_right), "{flag}: {help}");
            }
            assert!(!help.contains("--auth-postgres-query"), "{help}");
        }
    }

    #[test]
    fn help_and_version_are_printed_because_they_are_asked_for() {
        let Ok(Action::Print(help)) = parsed("newswire --help") else {
            panic!("help");
        };
        for option in options() {
            assert!(
                help.contains(&format!("--{} <", option.name)),
                "{}",
                option.name
            );
        }
        let Ok(Action::Print(version)) = parsed("newswire --version") else {
            panic!("version");
        };
        assert_eq!(
            version.trim(),
            concat!("newswire ", env!("CARGO_PKG_VERSION"))
        );
    }
}
