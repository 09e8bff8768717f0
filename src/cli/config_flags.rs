//! The flags of `serve` and `check`, which follow from the options.
//!
//! Never here: an option, and what a value has to be (both are in [`crate::config`]).

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::config::{FILE_VARIABLE, Flags, options};

/// What the command line says about the configuration.
#[derive(Clone, Debug)]
pub struct ConfigFlags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The flags of options.
    pub flags: Flags,
}

/// `--config`, and a flag for each option.
pub(super) fn arguments() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!("TOML file with options [env: {FILE_VARIABLE}]"))
        .long_help(format!(
            "Read this TOML file; its keys are the names of the options below [env: {FILE_VARIABLE}]"
        ));
    let of_table = options().map(|option| {
        let default = match option.default_text() {
            text if text.is_empty() => text,
            text => format!(" [default: {text}]"),
        };
        let repeatable = match option.is_repeatable() {
            true => " [repeatable]",
            false => "",
        };
        let help = format!("{}{default}{repeatable}", option.help);
        let brief = option.brief.unwrap_or(option.help);
        Arg::new(option.name)
            .long(option.name)
            .value_name(option.value_name)
            .help_heading(option.heading)
            .action(if option.is_repeatable() {
                ArgAction::Append
            } else {
                ArgAction::Set
            })
            // The configuration judges all values, with those of the file and of the variables. A token may begin
            // with a hyphen, and so does a negative number, which is to be refused with its range.
            .allow_hyphen_values(true)
            .help(format!("{brief}{default}"))
            .long_help(help)
            .hide_short_help(option.brief.is_none())
    });
    std::iter::once(file).chain(of_table).collect()
}

impl ConfigFlags {
    /// Takes from `matches` what [`arguments`] declared.
    pub(super) fn from_matches(matches: &ArgMatches) -> Self {
        let mut flags = Flags::new();
        for option in options() {
            if let Some(values) = matches.get_many::<String>(option.name) {
                flags.insert(option.name, values.cloned().collect());
            }
        }
        Self {
            file: matches.get_one("config").cloned(),
            flags,
        }
    }
}
