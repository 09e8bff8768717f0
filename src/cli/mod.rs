//! The command line: which command with which arguments, and how it is explained to a stranger.
//!
//! The commands other than `serve` are clients; each is one file here. Flags of `serve` and `check`
//! follow from the table of options.
//!
//! Never here: the server and the engine (a client that shares code with them cannot test them),
//! ending the program, printing an error. A command answers with [`Failure`], and `main` does the rest.

mod client;
mod greeting;
mod http;
pub mod load;
pub mod publish;
mod push;
pub mod subscribe;
pub mod token;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{self, End, FILE_VARIABLE, Flags, Loaded, Unit, options};
use crate::net::{Address, Place};
use crate::wire::grant::OWN;
use crate::wire::token::Token;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Run the server.
    Serve(ConfigFlags),
    /// Show the configuration that a server would have.
    Check(ConfigFlags),
    /// Hand events to a server.
    Publish(publish::Options),
    /// Print the events of a server.
    Subscribe(subscribe::Options),
    /// Load-test a server.
    Load(Box<load::Options>),
    /// Print a fresh token.
    NewToken,
    /// Print what stands for this token in a file; `None`: for the one on standard input.
    HashToken(Option<Token>),
    /// Have a running server refuse a token.
    RevokeToken(token::Revocation),
    /// Print this, because it was asked for: the help or the version.
    Print(String),
}

/// What the command line says of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigFlags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// All others.
    pub flags: Flags,
}

/// Why a command did not do what it was asked for, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// What it was asked for makes no sense: exit code 2.
    Usage(String),
    /// It makes sense, but did not work: exit code 1.
    Runtime(String),
}

const ABOUT: &str = "\
A push server: backends hand it events over ZeroMQ, browsers hear them over WebSocket (WAMP v1).

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

/// What `-h` lists, an option a line; `--help` has all of them, and whole sentences.
const MOST_USED: &[(&str, &str)] = &[
    ("listen", "Address on which browsers connect"),
    ("pull", "ZeroMQ endpoint for publishers"),
    ("sub", "ZeroMQ PUB endpoint to connect to"),
    ("admin", "Address of the dashboard and the metrics"),
    ("publish", "Address for POST /publish alone"),
    ("token", "Token that lets a client listen"),
    ("tokens", "File of such tokens, one a line"),
    ("auth-url", "API that knows the tokens"),
    ("origin", "Origin of pages that may connect"),
    (
        "trusted-proxy",
        "Proxy in front whose X-Forwarded-For is believed",
    ),
    (
        "connections-max",
        "Clients at a time; 0: as many as files allow",
    ),
    ("outboxes-bytes-max", "What all clients may leave unread"),
    ("pid-file", "File for the number of the process"),
    ("log-level", "off, error, warn, info, debug or trace"),
];

const SHORT_END: &str = "\
`newswire --help` lists all options with their reasons, and examples; `newswire COMMAND --help` explains a \
command. Every option is also a variable (NEWSWIRE_PING_INTERVAL) and a key of the file (ping-interval).";

/// Parses the arguments, the program's name first.
///
/// # Errors
/// They make no sense.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = match command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Action::Print(error.render().to_string())),
        // A command goes first, or it is none.
        Err(error) => return Err(Failure::Usage(explain(&error, arguments.get(1)))),
    };
    match matches.subcommand() {
        None => Ok(Action::Serve(config_flags(&matches))),
        Some(("serve", matches)) => Ok(Action::Serve(config_flags(matches))),
        Some(("check", matches)) => Ok(Action::Check(config_flags(matches))),
        Some(("publish", matches)) => publish::Options::from_matches(matches).map(Action::Publish),
        Some(("subscribe", matches)) => {
            subscribe::Options::from_matches(matches).map(Action::Subscribe)
        }
        Some(("load", matches)) => {
            load::Options::from_matches(matches).map(|options| Action::Load(Box::new(options)))
        }
        Some(("token", matches)) => token::action(matches),
        Some((other, _)) => unreachable!("{other} is not declared below"),
    }
}

/// The whole command line.
pub fn command() -> Command {
    let serve = Command::new("serve")
        .about("Run the server (also without this word)")
        .args(config_arguments());
    let check = Command::new("check")
        .about("Check a configuration and print the values in force, without serving")
        .long_about(
            "Check a configuration and print the values in force, without serving.\n\nThe output is a \
             configuration file that brings the same values about, each with its source in a comment. \
             Tokens are counted, not shown.",
        )
        .after_help("Example:\n  newswire check --config /etc/newswire/newswire.toml")
        .args(config_arguments());
    Command::new("newswire")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A push server: events in over ZeroMQ, out to browsers over WebSocket (WAMP v1)")
        .long_about(ABOUT)
        .after_help(SHORT_END)
        .after_long_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .max_term_width(100)
        .args(config_arguments())
        .subcommand(serve)
        .subcommand(publish::command())
        .subcommand(subscribe::command())
        .subcommand(load::command())
        .subcommand(token::command())
        .subcommand(check)
}

/// The flags that follow from the table of options.
fn config_arguments() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!("TOML file with options [env: {FILE_VARIABLE}]"))
        .long_help(format!(
            "Read this TOML file; its keys are the names of the options below [env: {FILE_VARIABLE}]"
        ));
    let of_table = options().iter().map(|option| {
        let default = match option.default_text() {
            text if text.is_empty() => text,
            text => format!(" [default: {text}]"),
        };
        let repeatable = match option.is_repeatable() {
            true => " [repeatable]",
            false => "",
        };
        let help = format!("{}{default}{repeatable}", option.help);
        let most_used = MOST_USED.iter().find(|(name, _)| *name == option.name);
        let short = most_used.map_or_else(|| help.clone(), |(_, text)| format!("{text}{default}"));
        Arg::new(option.name)
            .long(option.name)
            .value_name(option.value_name)
            .help_heading(option.heading)
            .action(if option.is_repeatable() {
                ArgAction::Append
            } else {
                ArgAction::Set
            })
            // Values are judged in one place, with those of the file and of the variables; a token may
            // begin with a hyphen, and so does a negative number that is to be refused with its range.
            .allow_hyphen_values(true)
            .help(short)
            .long_help(help)
            .hide_short_help(most_used.is_none())
    });
    std::iter::once(file).chain(of_table).collect()
}

fn config_flags(matches: &ArgMatches) -> ConfigFlags {
    let mut flags = Flags::new();
    for option in options() {
        if let Some(values) = matches.get_many::<String>(option.name) {
            flags.insert(option.name, values.cloned().collect());
        }
    }
    ConfigFlags {
        file: matches.get_one("config").cloned(),
        flags,
    }
}

/// A positional argument that must not be empty.
fn positional(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(value_name)
        .value_parser(NonEmptyStringValueParser::new())
        .help(help)
}

/// SIGUSR1 makes a server log what it has counted, and ends a process that does not know it. Whoever sends
/// it to everything that is called newswire is not to end clients.
fn ignore_summary_signal() -> Result<(), Failure> {
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::default())
        .map(drop)
        .map_err(|error| Failure::Runtime(format!("cannot ignore SIGUSR1: {error}")))
}

/// The text of an argument, empty where it was not given.
fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// The same, and where it was not given what a server has for `option` when nobody says otherwise.
fn text_or_default(matches: &ArgMatches, name: &str, option: &str) -> String {
    match text(matches, name) {
        "" => default_of(option),
        given => given.to_owned(),
    }
}

/// Where the server's configuration is, for a client that is to go where the server is.
fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!(
            "The server's configuration file [env: {FILE_VARIABLE}]"
        ))
}

/// The server's ZeroMQ endpoint, for [`pull_endpoint`].
fn to_argument() -> Arg {
    Arg::new("to")
        .long("to")
        .value_parser(NonEmptyStringValueParser::new())
        .value_name("ENDPOINT")
        .help(format!(
            "ZeroMQ endpoint of the server; it prints it as `pull` when it starts [default: the first `pull` \
             of the configuration, which is {} where nobody says otherwise]",
            default_of("pull")
        ))
}

/// What was given as `--to`; otherwise the first endpoint that a server with this configuration binds.
fn pull_endpoint(matches: &ArgMatches) -> Result<String, Failure> {
    if let Some(given) = matches.get_one::<String>("to") {
        return endpoint("to", given);
    }
    let file = matches.get_one::<PathBuf>("config");
    let loaded = Loaded::read(file.map(PathBuf::as_path), &Flags::new())
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let Some(bound) = loaded.config.pull.first() else {
        return Err(Failure::Usage(
            "pull is off in the configuration, so the server takes no event over ZeroMQ: name an endpoint \
             with --to, or publish over HTTP"
                .to_owned(),
        ));
    };
    let there = match Place::of(&bound.replacen("://*:", "://127.0.0.1:", 1)) {
        Some(Place::Fixed(Address::Ip(address))) => {
            Address::Ip(config::reachable(address)).to_string()
        }
        _ => bound.clone(),
    };
    config::endpoint(&there, End::Connect).map_err(|_| {
        Failure::Usage(format!(
            "pull is {bound} in the configuration, and the server chooses the port: name with --to the \
             endpoint that it prints as `pull` when it starts"
        ))
    })
}

fn default_of(option: &str) -> String {
    config::option(option)
        .expect("the table has this option")
        .default_text()
}

/// The number given as `--name`, judged as those of the configuration are.
fn number(name: &str, text: &str, unit: Unit, min: u64, max: u64) -> Result<u64, Failure> {
    config::number(text, unit, min, max).map_err(|allowed| wrong(name, text, &allowed))
}

/// The server's ZeroMQ endpoint given as `--name`.
fn endpoint(name: &str, text: &str) -> Result<String, Failure> {
    config::endpoint(text, End::Connect).map_err(|allowed| wrong(name, text, &allowed))
}

/// A topic that publishers may use.
fn topic(text: &str) -> Result<String, Failure> {
    if text.starts_with(OWN) {
        return Err(Failure::Usage(format!(
            "topic {text:?}: what begins with `{OWN}` is the server's own, and it drops such an event: name \
             another topic"
        )));
    }
    Ok(text.to_owned())
}

fn wrong(name: &str, text: &str, allowed: &str) -> Failure {
    Failure::Usage(format!("--{name}: {text:?}: {allowed}"))
}

/// Writes `text` to standard output. That may be closed, which is no reason to fail, and `print!`
/// would panic.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, which may be closed too.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "newswire: {text}");
}

/// clap's error in one line; `first` is the first argument. A word that went astray may be a token.
fn explain(error: &clap::Error, first: Option<&OsString>) -> String {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    let flag = word(ContextKind::InvalidArg);
    let subcommand = word(ContextKind::InvalidSubcommand);
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict if !subcommand.is_empty() => {
            return astray(subcommand);
        }
        ErrorKind::UnknownArgument if !flag.starts_with('-') => return astray(flag),
        ErrorKind::UnknownArgument => {
            return unknown(flag, first);
        }
        _ => {}
    }
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or(&text);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line} (see --help)")
}

/// A flag that the command does not have. What is suggested, it has.
fn unknown(flag: &str, first: Option<&OsString>) -> String {
    let name = flag.trim_start_matches('-');
    let all = command();
    let failed = first.and_then(|word| all.find_subcommand(word));
    let names = |command| Command::get_arguments(command).filter_map(Arg::get_long);
    if all.get_subcommands().flat_map(names).any(|n| n == name) {
        return format!("{flag} is an option of another command (see --help)");
    }
    match config::nearest(name, names(failed.unwrap_or(&all))) {
        Some(nearest) => format!("there is no option {flag}; did you mean --{nearest}?"),
        None => format!("there is no option {flag} here (see --help)"),
    }
}

/// A word where none belongs. It is only repeated when it looks like a command's name.
fn astray(word: &str) -> String {
    let command = command();
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    if names.contains(&word) {
        return format!("the command goes first, and its own options after it: newswire {word} …");
    }
    let looks_like_a_name = word.len() <= 12 && word.bytes().all(|b| b.is_ascii_lowercase());
    let shown = if looks_like_a_name {
        &format!("`{word}`")
    } else {
        "a word on its own"
    };
    format!(
        "{shown} is neither a command nor the value of an option; the commands are {} (see --help)",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Action, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn usage(line: &str) -> String {
        match parsed(line) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
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
    fn a_usage_error_is_one_line_and_shows_no_stray_token() {
        for (line, part) in [
            (
                "newswire --lisen x",
                "there is no option --lisen; did you mean --listen?",
            ),
            (
                "newswire --frobnicate",
                "there is no option --frobnicate here (see --help)",
            ),
            (
                "newswire publish --token a",
                "--token is an option of another command",
            ),
            (
                "newswire publish --timout 1 t 1",
                "there is no option --timout; did you mean --timeout?",
            ),
            (
                "newswire load ws://a/ --conections 1",
                "there is no option --conections; did you mean --connections?",
            ),
            (
                "newswire load ws://a/ --log-levl info",
                "there is no option --log-levl here (see --help)",
            ),
            ("newswire sbscribe", "`sbscribe` is neither a command nor"),
            (
                "newswire --token a Sesame123",
                "a word on its own is neither",
            ),
            ("newswire serve Sesame123", "a word on its own is neither"),
            (
                "newswire --listen",
                "a value is required for '--listen <ADDR:PORT>'",
            ),
            (
                "newswire --log-level info --log-level info",
                "'--log-level <LEVEL>' cannot be used multiple times",
            ),
            (
                "newswire publish",
                "required arguments were not provided: <TOPIC>",
            ),
            (
                "newswire subscribe ws://a/",
                "required arguments were not provided: <TOPIC>",
            ),
            ("newswire token", "requires a subcommand"),
        ] {
            let text = usage(line);
            assert!(text.contains(part), "{line}: {text}");
            assert!(
                !text.contains('\n') && !text.contains("Sesame"),
                "{line}: {text}"
            );
        }
    }

    #[test]
    fn the_short_help_is_short_and_has_what_is_used_most() {
        for line in ["newswire -h", "newswire serve -h", "newswire check -h"] {
            let Ok(Action::Print(help)) = parsed(line) else {
                panic!("{line}");
            };
            assert!(help.lines().count() <= 50, "{line}: {help}");
            for (name, text) in MOST_USED {
                assert!(config::option(name).is_some(), "{name}");
                // One line for each.
                let shown = help
                    .lines()
                    .find(|line| line.contains(&format!("--{name} ")));
                assert!(
                    shown.is_some_and(|line| line.contains(text)),
                    "{name}: {help}"
                );
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
