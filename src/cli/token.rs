//! `newswire token new`: prints a token that nobody can guess. `newswire token hash`: prints the text that stands
//! for a token in a file of tokens. `newswire token revoke`: has a running server refuse a token.
//!
//! Never here: keeping a token. The user gives it to a server and to its clients.

use std::io::{self, Read};

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgMatches, Command};
use zeroize::Zeroizing;

use super::arguments::{self, text};
use super::http::Listener;
use super::{Action, ConfigFlags, Failure};
use crate::config::{self, Flags, Loaded};
use crate::limits;
use crate::wire::json;
use crate::wire::token::{Digest, Token};

/// Which token is revoked, and at which server.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// `None`: the token is on standard input.
    token: Option<Token>,
    /// `None`: the admin listener of the configuration.
    admin: Option<Listener>,
    config: ConfigFlags,
}

/// How `token` is explained.
pub(super) fn command() -> Command {
    Command::new("token")
        .about("Make, hash or revoke a token of clients")
        .subcommand_required(true)
        .subcommand(
            Command::new("new")
                .about("Print a fresh random token")
                .long_about(
                    "Print a fresh random token: 32 random bytes as base64url, 43 characters that need no \
                     quoting in a shell, in a URL or in a file.",
                )
                .after_help("Example:\n  export NEWSWIRE_TOKEN=$(newswire token new)\n  newswire"),
        )
        .subcommand(
            Command::new("hash")
                .about("Print sha256:… of a token, for a file of tokens")
                .long_about(
                    "Print sha256:… of a token, which stands for it in a file of tokens (--tokens): whoever \
                     reads that file then has no token.",
                )
                .after_help(
                    "Example:\n  newswire token new > token\n  newswire token hash < token >> tokens.txt",
                )
                .arg(
                    Arg::new("token")
                        .value_name("TOKEN")
                        .allow_hyphen_values(true)
                        .help(
                            "The token. Without it, it is read from standard input: a command line is visible \
                             to every user of the machine",
                        ),
                ),
        )
        .subcommand(revoke_command())
}

fn revoke_command() -> Command {
    Command::new("revoke")
        .about("Have a running server refuse a token, and end its sessions")
        .long_about(
            "Have a running server refuse a token until its next start, whatever its stores say of it, and \
             end the sessions that it let in.\n\nThe server is asked through its admin listener. Where that \
             is, and its token, are read from the same file and variables that the server has.",
        )
        .after_help(
            "Example:\n  newswire token revoke < token\n  newswire token revoke sha256:ba78… --admin \
             http://127.0.0.1:8081/",
        )
        .arg(
            Arg::new("token")
                .value_name("TOKEN")
                .allow_hyphen_values(true)
                .help(
                    "The token, or sha256:… of it. Without it, it is read from standard input: a command line \
                     is visible to every user of the machine",
                ),
        )
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("URL")
                .value_parser(NonEmptyStringValueParser::new())
                .help("The server's admin listener [default: that of the configuration]"),
        )
        .arg(
            Arg::new("admin-token")
                .long("admin-token")
                .value_name("TOKEN")
                .allow_hyphen_values(true)
                .help("The token that it asks for. Prefer the variable or the file"),
        )
        .arg(arguments::config_argument())
}

/// Which of the subcommands is asked for.
pub(super) fn action(matches: &ArgMatches) -> Result<Action, Failure> {
    match matches.subcommand() {
        Some(("hash", matches)) => Ok(Action::HashToken(
            matches.get_one::<String>("token").map(Token::new),
        )),
        Some(("revoke", matches)) => Revocation::from_matches(matches).map(Action::RevokeToken),
        _ => Ok(Action::NewToken),
    }
}

impl Revocation {
    fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let admin = matches.get_one::<String>("admin").map(|url| {
            Listener::parse(url).map_err(|needed| Failure::Usage(format!("--admin: {needed}")))
        });
        let mut flags = Flags::new();
        if matches.contains_id("admin-token") && !text(matches, "admin-token").is_empty() {
            let token = text(matches, "admin-token").to_owned();
            flags.insert("admin-token", vec![token]);
        }
        Ok(Self {
            token: matches.get_one::<String>("token").map(Token::new),
            admin: admin.transpose()?,
            config: ConfigFlags {
                file: matches.get_one("config").cloned(),
                flags,
            },
        })
    }
}

/// Revokes a token. Returns the text to print.
///
/// # Errors
/// There is no such token, or no server that does it.
pub fn revoke(revocation: &Revocation) -> Result<String, Failure> {
    let token = match &revocation.token {
        Some(token) => token.clone(),
        None => read(io::stdin().lock())?,
    };
    let written = match Digest::from_written(&token.reveal()) {
        Some(digest) => vec![digest.map_err(wrong)?.to_written()],
        None => {
            written(token.bytes())?;
            let meanings = token.meanings();
            let digests = meanings.iter().map(|token| token.digest().to_written());
            digests.collect()
        }
    };
    let given = &revocation.config;
    let loaded = Loaded::read(given.file.as_deref(), &given.flags)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let config = loaded.config;
    let admin = match (&revocation.admin, config.admin.addresses.first()) {
        (Some(admin), _) => admin.clone(),
        (None, Some(address)) => {
            Listener::parse(&config::reachable(*address).to_string()).map_err(Failure::Usage)?
        }
        (None, None) => {
            let sentence = "admin is off in the configuration, so no server can be asked: name one with --admin";
            return Err(Failure::Usage(sentence.to_owned()));
        }
    };
    // The server gets the digest alone: that is enough.
    let mut sessions = 0;
    for digest in written {
        let order = json::text(|order| {
            order.put("sha256", &*digest);
        });
        let answer = admin
            .post("/revoke", config.admin.token.as_ref(), &order)
            .map_err(Failure::Runtime)?;
        sessions += answer["revoked"].as_u64().unwrap_or_default();
    }
    Ok(done(&admin, sessions))
}

/// What was done. No server knows whether another one accepts the token, so a revocation always succeeds. The
/// address of the server and the number of ended sessions show the user a wrong server or a typo.
fn done(admin: &Listener, sessions: u64) -> String {
    let nobody = match sessions {
        0 => " (no open session had it)",
        _ => "",
    };
    format!(
        "revoked at the server of {admin} until its next start; sessions that end: {sessions}{nobody}\n"
    )
}

/// A fresh token.
///
/// # Errors
/// The system has no randomness to give.
pub fn new() -> Result<Token, Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::Runtime(format!("no random bytes for a token: {error}")))?;
    Ok(Token::from_random(random))
}

/// The text that stands for `token` in a file; without one, for the line on standard input.
///
/// # Errors
/// There is no token, or more than one line.
pub fn hash(token: Option<&Token>) -> Result<String, Failure> {
    match token {
        Some(token) => written(token.bytes()),
        None => hash_from(io::stdin().lock()),
    }
}

fn hash_from(input: impl Read) -> Result<String, Failure> {
    written(read(input)?.bytes())
}

/// The token that is the first line of `input`, without the end of that line.
fn read(input: impl Read) -> Result<Token, Failure> {
    // The buffer has its full size from the beginning, so that it leaves no copy behind.
    let mut text = Zeroizing::new(vec![0; limits::TOKEN_LINE_BYTES_MAX]);
    let mut filled = 0;
    let mut input = input.take(text.len() as u64);
    loop {
        match input.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Runtime(format!("standard input: {error}"))),
        }
    }
    let line = &text[..filled];
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Ok(Token::new(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// The hash of a token, which has to be one that a configuration could hold.
fn written(token: &[u8]) -> Result<String, Failure> {
    let text = str::from_utf8(token).map_err(|_| wrong("it is not valid UTF-8"))?;
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    let token = config::token(text).map_err(|reason| wrong(&reason))?;
    Ok(token.digest().to_written())
}

fn wrong(reason: &str) -> Failure {
    Failure::Usage(format!("the token: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn who_revoked_is_named_and_that_nobody_is_gone() {
        let admin = Listener::parse("127.0.0.1:8081").expect("good");
        assert_eq!(
            done(&admin, 0),
            "revoked at the server of http://127.0.0.1:8081/ until its next start; sessions that end: 0 \
             (no open session had it)\n"
        );
        assert!(done(&admin, 2).ends_with("; sessions that end: 2\n"));
    }

    #[test]
    fn a_token_is_hashed_without_its_line_break() {
        for input in ["abc", "abc\n", "abc\r\n"] {
            assert_eq!(hash_from(input.as_bytes()).as_deref(), Ok(ABC), "{input:?}");
        }
        assert_eq!(hash(Some(&Token::new("abc"))).as_deref(), Ok(ABC));
    }

    #[test]
    fn what_no_client_could_present_is_refused_and_not_repeated() {
        let long = "sesame".repeat(20_000);
        for input in ["", "\n", "sesame\nsesame\n", " sesame", "sesame\n\n", &long] {
            match hash_from(input.as_bytes()) {
                Err(Failure::Usage(text)) => {
                    assert!(
                        text.starts_with("the token: ") && !text.contains("sesame"),
                        "{text}"
                    );
                }
                other => panic!("{input:?}: {other:?}"),
            }
        }
    }
}
