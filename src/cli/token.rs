//! `newswire token new`: a credential that nobody can guess.
//!
//! Never here: keeping it. Whoever runs the command gives it to a server and to its clients.

use clap::Command;

use super::Failure;
use crate::wire::token::Token;

/// How `token` is explained.
pub(super) fn command() -> Command {
    Command::new("token")
        .about("Make a token for clients")
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
