//! What an option is: its names, its help, and the field of [`Config`] that holds its value.
//!
//! Never here: any single option (those are in `options/`), what an option takes and how texts become a value (that
//! is `types`), and where a value came from (that is `merge`).

use super::Config;
use super::types::{Field, Takes, Unfit};
use super::units::{self, Unit};

/// One option: a flag, a variable and a key of the file.
pub struct OptionSpec {
    /// The key, such as `ping-interval`; the flag is `--ping-interval`.
    pub name: &'static str,
    /// What stands for the value in the help, such as `SECONDS`.
    pub value_name: &'static str,
    /// Sentences: what the option does, and why its default is what it is.
    pub help: &'static str,
    /// What `-h` says, in one line. Only the options that are used most have it.
    pub brief: Option<&'static str>,
    /// The group's heading in the help.
    pub heading: &'static str,
    /// True exactly when newswire never shows the value.
    pub is_secret: bool,
    /// True exactly when a reload does not change the value.
    pub needs_restart: bool,
    field: &'static (dyn Field + Sync),
}

impl OptionSpec {
    pub(super) const fn new(
        heading: &'static str,
        [name, value_name, help]: [&'static str; 3],
        field: &'static (dyn Field + Sync),
    ) -> Self {
        Self {
            name,
            value_name,
            help: help.trim_ascii_start(),
            brief: None,
            heading,
            is_secret: false,
            needs_restart: false,
            field,
        }
    }

    /// The option is among those that are used most; `-h` says this of it.
    pub(super) const fn brief(self, text: &'static str) -> Self {
        Self {
            brief: Some(text),
            ..self
        }
    }

    /// newswire never shows the value.
    pub(super) const fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// A reload does not change the value.
    pub(super) const fn restart(self) -> Self {
        Self {
            needs_restart: true,
            ..self
        }
    }

    /// The variable, such as `NEWSWIRE_PING_INTERVAL`.
    pub fn environment(&self) -> String {
        format!(
            "{}{}",
            super::ENVIRONMENT_PREFIX,
            self.name.to_ascii_uppercase().replace('-', "_")
        )
    }

    /// What the option takes.
    pub fn takes(&self) -> Takes {
        self.field.takes()
    }

    /// Returns true when the flag may be given more than once.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.takes(), Takes::List(_))
    }

    /// The default as an operator would give it; empty when there is none.
    pub fn default_text(&self) -> String {
        let text = self.field.default_texts().join(",");
        match self.takes() {
            Takes::Number {
                unit: Unit::Bytes, ..
            } => units::exact_bytes(text.parse().expect("a number")),
            _ => text,
        }
    }

    /// Makes a value of `texts`, which are all texts of one layer, and puts it into `config`.
    ///
    /// # Errors
    /// The option does not take these texts.
    pub fn set(&self, config: &mut Config, texts: &[String]) -> Result<(), Unfit> {
        self.field.set(config, texts)
    }

    /// The value in `config`, as texts that [`OptionSpec::set`] takes. Shows secrets.
    pub(super) fn texts(&self, config: &Config) -> Vec<String> {
        self.field.texts(config)
    }

    /// Puts the value of `from` into `to`. Returns true when that changed `to`.
    pub(super) fn copy(&self, from: &Config, to: &mut Config) -> bool {
        self.field.copy(from, to)
    }
}
