//! What an option takes: a [`Number`], a [`Word`] or a [`List`].
//!
//! Each of them is an [`OptionType`]: it knows its default, and it turns texts into a value and the value into
//! texts. [`FieldOf`] joins an option's type to its field, so that the rest of `config` handles all options alike.
//!
//! Never here: any single option (those are in `options/`), and its names (those are in `spec`).

use std::marker::PhantomData;

use super::Config;
use super::units::{self, Unit};

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
