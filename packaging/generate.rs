//! Writes the man pages and the shells' completions, from the command line's own definition, into a folder:
//! `cargo run --example generate target/assets`.
//!
//! An example, so that what it needs is not in the server. Never here: text about a command.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: generate FOLDER");
        return ExitCode::from(2);
    };
    match write_all(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: OsString) -> io::Result<()> {
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    // `newswire.1`, and `newswire-load.1` for each command. Those that clap adds need no page.
    clap_mangen::generate_to(
        newswire::cli::command().disable_help_subcommand(true),
        folder,
    )?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut newswire::cli::command(), "newswire", folder)?;
    }
    Ok(())
}
