//! What an option is: its names, what it takes, and the field of [`Config`] that holds its value.
//!
//! An option takes a [`Number`], a [`Word`] or a [`List`]. Each of them is an [`OptionType`]: it knows its default,
//! and it turns texts into a value and the value into texts. [`FieldOf`] joins an option's type to its field, so
//! that the rest of `config` handles all options alike.
//!
//! Never here: any single option (those are in `options/`), and where a value came from (that is `merge`).

use std::marker::PhantomData;

use super::Config;
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

/// What an option takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// A whole number; in the file an integer (for bytes also a string, such as `"64KiB"`).
    Number {
        /// What the number counts.
        unit: Unit,
        /// In `unit`; allowed.
        min: u64,
        /// In `unit`; allowed.
        max: u64,
    },
    /// One text; in the file a string.
    Word,
    /// Any number of texts. The flag is repeated, the variable is split at commas, and in the file stands a string
    /// or an array of strings. A list replaces the list of a weaker layer.
    List(WhenNone),
}

/// What an empty list means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenNone {
    /// It is an error.
    Refused,
    /// It is allowed. In the file it is `[]`; a flag or a variable cannot give it.
    Empty,
    /// It is allowed. The single word `off` gives it.
    Off,
}

/// Why an option does not take a text.
#[derive(Debug, Eq, PartialEq)]
pub struct Unfit {
    /// The text; `None` when the fault is not in one of them.
    pub text: Option<String>,
    /// A sentence that says what is allowed. It never repeats the text, which may be a secret.
    pub allowed: String,
}

impl Unfit {
    fn all(allowed: &str) -> Self {
        Self {
            text: None,
            allowed: allowed.to_owned(),
        }
    }

    fn one(text: &str, allowed: String) -> Self {
        Self {
            text: Some(text.to_owned()),
            allowed,
        }
    }
}

/// How an option's texts become its value, and the other way round.
pub(super) trait OptionType {
    type Value: Clone + PartialEq;

    fn takes(&self) -> Takes;

    fn default(&self) -> Self::Value;

    /// Makes a value of `texts`, which are all texts of one layer.
    fn parse(&self, texts: &[String]) -> Result<Self::Value, Unfit>;

    /// Makes texts of which [`OptionType::parse`] makes `value` again.
    fn texts(&self, value: &Self::Value) -> Vec<String>;
}

/// A whole number from `min` to `max`, held as `T`, which has room for `max`.
pub(super) struct Number<T> {
    pub unit: Unit,
    pub default: u64,
    pub min: u64,
    pub max: u64,
    pub held_as: PhantomData<fn() -> T>,
}

impl<T> Number<T>
where
    T: Copy + TryFrom<u64> + TryInto<u64>,
{
    fn hold(number: u64) -> T {
        let held = T::try_from(number).ok();
        held.expect("a test sets every default and every maximum")
    }
}

impl<T> OptionType for Number<T>
where
    T: Copy + PartialEq + TryFrom<u64> + TryInto<u64>,
{
    type Value = T;

    fn takes(&self) -> Takes {
        Takes::Number {
            unit: self.unit,
            min: self.min,
            max: self.max,
        }
    }

    fn default(&self) -> T {
        Self::hold(self.default)
    }

    fn parse(&self, texts: &[String]) -> Result<T, Unfit> {
        let text = single(texts)?;
        units::number(text, self.unit, self.min, self.max)
            .map(Self::hold)
            .map_err(|allowed| Unfit::one(text, allowed))
    }

    fn texts(&self, value: &T) -> Vec<String> {
        let number: u64 = (*value).try_into().ok().expect("it was made of one");
        vec![number.to_string()]
    }
}

/// One text.
pub(super) struct Word<T> {
    pub default: &'static str,
    pub parse: fn(&str) -> Result<T, String>,
    pub show: fn(&T) -> String,
}

impl<T: Clone + PartialEq> OptionType for Word<T> {
    type Value = T;

    fn takes(&self) -> Takes {
        Takes::Word
    }

    fn default(&self) -> T {
        (self.parse)(self.default).expect("a test makes every default")
    }

    fn parse(&self, texts: &[String]) -> Result<T, Unfit> {
        let text = single(texts)?;
        (self.parse)(text).map_err(|allowed| Unfit::one(text, allowed))
    }

    fn texts(&self, value: &T) -> Vec<String> {
        vec![(self.show)(value)]
    }
}

/// Any number of texts, in the order in which they are given.
pub(super) struct List<T> {
    pub default: &'static [&'static str],
    pub when_none: WhenNone,
    /// Makes one item of one text. Options whose items are rules give a line to it, `PATTERN key=value …`.
    pub parse: fn(&str) -> Result<T, String>,
    pub show: fn(&T) -> String,
    /// Tells which items may be given twice. Of the others the second could only fail (a listener) or do harm
    /// (a second connection to one publisher would double every event).
    pub may_repeat: fn(&T) -> bool,
}

impl<T: Clone + PartialEq> OptionType for List<T> {
    type Value = Vec<T>;

    fn takes(&self) -> Takes {
        Takes::List(self.when_none)
    }

    fn default(&self) -> Vec<T> {
        let parse = |text: &&str| (self.parse)(text).expect("a test makes every default");
        self.default.iter().map(parse).collect()
    }

    fn parse(&self, texts: &[String]) -> Result<Vec<T>, Unfit> {
        if self.when_none == WhenNone::Off && texts.iter().any(|text| text == "off") {
            return match texts {
                [_] => Ok(Vec::new()),
                _ => Err(Unfit::all("`off` means none of them, so it stands alone")),
            };
        }
        if self.when_none == WhenNone::Refused && texts.is_empty() {
            return Err(Unfit::all("at least one is needed"));
        }
        let mut items = Vec::new();
        for text in texts {
            let item = (self.parse)(text).map_err(|allowed| Unfit::one(text, allowed))?;
            if items.contains(&item) && !(self.may_repeat)(&item) {
                return Err(Unfit::one(text, "this value is given twice".to_owned()));
            }
            items.push(item);
        }
        Ok(items)
    }

    fn texts(&self, value: &Vec<T>) -> Vec<String> {
        value.iter().map(self.show).collect()
    }
}

fn single(texts: &[String]) -> Result<&str, Unfit> {
    match texts {
        [text] => Ok(text),
        _ => Err(Unfit::all("it takes one value")),
    }
}

/// An option's type, joined to the field that holds the option's value.
pub(super) struct FieldOf<O: OptionType> {
    pub kind: O,
    pub get: fn(&Config) -> &O::Value,
    pub get_mut: fn(&mut Config) -> &mut O::Value,
}

/// A [`FieldOf`] of whatever type.
pub(super) trait Field {
    fn takes(&self) -> Takes;
    fn default_texts(&self) -> Vec<String>;
    fn set(&self, config: &mut Config, texts: &[String]) -> Result<(), Unfit>;
    fn texts(&self, config: &Config) -> Vec<String>;
    fn copy(&self, from: &Config, to: &mut Config) -> bool;
}

impl<O: OptionType> Field for FieldOf<O> {
    fn takes(&self) -> Takes {
        self.kind.takes()
    }

    fn default_texts(&self) -> Vec<String> {
        self.kind.texts(&self.kind.default())
    }

    fn set(&self, config: &mut Config, texts: &[String]) -> Result<(), Unfit> {
        *(self.get_mut)(config) = self.kind.parse(texts)?;
        Ok(())
    }

    fn texts(&self, config: &Config) -> Vec<String> {
        self.kind.texts((self.get)(config))
    }

    fn copy(&self, from: &Config, to: &mut Config) -> bool {
        let (from, to) = ((self.get)(from), (self.get_mut)(to));
        let differs = from != to;
        to.clone_from(from);
        differs
    }
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
