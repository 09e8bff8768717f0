//! clap's errors, each in one line.
//!
//! A word that went astray may be a token, so a line repeats it only when it looks like the name of a command.
//!
//! Never here: what a value has to be (that is [`crate::config`]).

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::command;
use crate::config;

/// Says in one line what is wrong with arguments of which `first` is the first.
pub(super) fn explain(error: &clap::Error, first: Option<&OsString>) -> String {
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

/// Says that the command does not have `flag`, and suggests a flag that it has.
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

/// Says that `word` stands where no word belongs.
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
    use super::super::{Failure, parse};
    use super::*;

    fn usage(line: &str) -> String {
        match parse(line.split_whitespace().map(OsString::from)) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
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
}
