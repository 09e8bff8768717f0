//! `newswire token new`: a credential that nobody can guess. `newswire token hash`: what a file of
//! tokens may hold in its place.
//!
//! Never here: keeping it. Whoever runs the command gives it to a server and to its clients.

use std::io::{self, Read};

use clap::{Arg, ArgMatches, Command};
use zeroize::Zeroizing;

use super::{Action, Failure};
use crate::config;
use crate::limits;
use crate::wire::token::Token;

/// How `token` is explained.
pub(super) fn command() -> Command {
    Command::new("token")
        .about("Make a token for clients, or what a file of tokens holds in its place")
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
}

/// Which of the two is asked for.
pub(super) fn action(matches: &ArgMatches) -> Action {
    match matches.subcommand() {
        Some(("hash", matches)) => {
            Action::HashToken(matches.get_one::<String>("token").map(Token::new))
        }
        _ => Action::NewToken,
    }
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

/// What stands for `token` in a file; without one, for the line on standard input.
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
    // At its full size from the beginning, so that no copy is left behind.
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
    written(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Judged as a token of the configuration is.
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
