//! What an option is: its names, what it takes, and how texts get into its field and out again.
//!
//! Never here: any single option (those are in `table`), and where a value came from (that is
//! `merge`).

use super::Config;
use super::values::{self, Unit};

/// One option: a flag, a variable and a key of the file.
#[derive(Debug)]
pub struct OptionSpec {
    /// `ping-interval`: the key; `--ping-interval` is the flag.
    pub name: &'static str,
    /// What stands for the value in the help: `SECONDS`, `BYTES`.
    pub value_name: &'static str,
    /// What it does, and why its default is what it is.
    pub help: &'static str,
    /// Under which heading the help lists it.
    pub heading: &'static str,
    /// True exactly when its value is never shown again.
    pub secret: bool,
    /// What it takes, and where that goes.
    pub kind: Kind,
}

/// What an option takes.
#[derive(Debug)]
pub enum Kind {
    /// A whole number; in the file an integer (bytes also as a string, `"64KiB"`).
    Number {
        /// What it counts.
        unit: Unit,
        /// In `unit`.
        default: u64,
        /// In `unit`; both ends are allowed.
        min: u64,
        /// In `unit`.
        max: u64,
        /// Reads its field.
        get: fn(&Config) -> u64,
        /// Writes its field; the value is in range.
        set: fn(&mut Config, u64),
    },
    /// One text; in the file a string.
    Word {
        /// As it would be given.
        default: &'static str,
        /// Reads its field.
        get: fn(&Config) -> String,
        /// Parses into its field.
        set: fn(&mut Config, &str) -> Result<(), String>,
    },
    /// Any number of texts: the flag is repeated, the variable is split at commas, in the file it is
    /// a string or an array of strings. A list replaces the list of the source below it.
    List {
        /// As it would be given.
        default: &'static [&'static str],
        /// Whether there may be none of them, and how a flag says so.
        none: WhenNone,
        /// Reads its field.
        get: fn(&Config) -> Vec<String>,
        /// Empties its field.
        clear: fn(&mut Config),
        /// Parses one more into its field.
        add: fn(&mut Config, &str) -> Result<(), String>,
    },
}

/// What an empty list is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenNone {
    /// An error.
    Refused,
    /// Allowed, in the file as `[]`.
    Empty,
    /// Allowed; the single word `off` says it everywhere.
    Off,
}

/// Why a value is not taken.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Bad {
    /// Which of the values, where it is one of them.
    pub(super) value: Option<String>,
    /// A sentence; never the value.
    pub(super) allowed: String,
}

impl OptionSpec {
    /// The variable: `NEWSWIRE_PING_INTERVAL`.
    pub fn environment(&self) -> String {
        format!(
            "{}{}",
            super::ENVIRONMENT_PREFIX,
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// Whether the flag may be given more than once.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.kind, Kind::List { .. })
    }

    /// The default as it would be given; empty where there is none.
    pub fn default_text(&self) -> String {
        match self.kind {
            Kind::Number {
                unit: Unit::Bytes,
                default,
                ..
            } => values::exact_bytes(default),
            Kind::Number { default, .. } => default.to_string(),
            Kind::Word { default, .. } => default.to_owned(),
            Kind::List { default, .. } => default.join(","),
        }
    }

    /// Puts `texts`, the whole list of one source, in the place of what `config` holds.
    pub(super) fn set(&self, config: &mut Config, texts: &[String]) -> Result<(), Bad> {
        let about = |text: &str| {
            let value = Some(text.to_owned());
            move |allowed| Bad { value, allowed }
        };
        let bare = |allowed: &str| Bad {
            value: None,
            allowed: allowed.to_owned(),
        };
        match self.kind {
            Kind::Number {
                unit,
                min,
                max,
                set,
                ..
            } => {
                let text = single(texts).ok_or_else(|| bare("it takes one value"))?;
                set(
                    config,
                    values::number(text, unit, min, max).map_err(about(text))?,
                );
            }
            Kind::Word { set, .. } => {
                let text = single(texts).ok_or_else(|| bare("it takes one value"))?;
                set(config, text).map_err(about(text))?;
            }
            Kind::List {
                none, clear, add, ..
            } => {
                clear(config);
                let off = none == WhenNone::Off && texts.iter().any(|text| text == "off");
                if off && texts.len() > 1 {
                    return Err(bare("`off` means none of them, so it stands alone"));
                }
                if texts.is_empty() && none == WhenNone::Refused {
                    return Err(bare("at least one is needed"));
                }
                for text in texts.iter().filter(|_| !off) {
                    add(config, text).map_err(about(text))?;
                }
            }
        }
        Ok(())
    }

    /// What `config` holds, as texts that [`OptionSpec::set`] would take. Shows secrets.
    pub(super) fn texts(&self, config: &Config) -> Vec<String> {
        match self.kind {
            Kind::Number { get, .. } => vec![get(config).to_string()],
            Kind::Word { get, .. } => vec![get(config)],
            Kind::List { get, .. } => get(config),
        }
    }

    pub(super) fn set_default(&self, config: &mut Config) {
        match self.kind {
            Kind::Number { default, set, .. } => set(config, default),
            Kind::Word { default, set, .. } => {
                set(config, default).expect("a test sets every default");
            }
            Kind::List {
                default,
                clear,
                add,
                ..
            } => {
                clear(config);
                for text in default {
                    add(config, text).expect("a test sets every default");
                }
            }
        }
    }
}

fn single(texts: &[String]) -> Option<&str> {
    match texts {
        [text] => Some(text),
        _ => None,
    }
}
