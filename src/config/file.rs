//! The configuration file: TOML, of which each key is an option.
//!
//! Never here: a value of the file that is quoted in a complaint. It may be a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::options::{option, options};
use super::spec::OptionSpec;
use super::suggest::suggestion;
use super::types::Takes;
use super::units::Unit;

/// In bytes, a configuration file. A larger one is something else, given by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file that was read.
#[derive(Debug)]
pub struct FileText<'a> {
    /// The file as the operator named it, for complaints.
    pub name: String,
    /// TOML.
    pub text: &'a str,
}

/// The options that a file sets, each with its line and its texts.
pub(super) type Keys = BTreeMap<&'static str, (usize, Vec<String>)>;

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |why: &dyn fmt::Display| {
        ConfigError(format!("configuration file {}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(&format_args!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        failed(&format_args!(
            "it is not valid UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        ))
    })
}

/// The keys of the file, each with its line and its values.
pub(super) fn parse(file: &FileText<'_>) -> Result<Keys, ConfigError> {
    let line_at = |offset: usize| {
        let before = file.text.as_bytes().iter().take(offset);
        1 + before.filter(|&&byte| byte == b'\n').count()
    };
    // The error's own display quotes the line, which may be a token's; its message does not.
    let table = DeTable::parse(file.text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(span.start));
        ConfigError(format!(
            "{}:{line}: not TOML: {}",
            file.name,
            error.message()
        ))
    })?;
    let mut keys = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let line = line_at(key.span().start);
        let place = format!("{}:{line}", file.name);
        let Some(option) = option(key.get_ref()) else {
            return Err(ConfigError(format!(
                "{place}: there is no option `{}`{}",
                key.get_ref().escape_debug(),
                suggestion(key.get_ref(), options().map(|option| option.name)),
            )));
        };
        let texts = texts_of(option, value).map_err(|what| {
            ConfigError(format!(
                "{place}: {} takes {}, not {what}",
                option.name,
                type_name(option)
            ))
        })?;
        keys.insert(option.name, (line, texts));
    }
    Ok(keys)
}

fn type_name(option: &OptionSpec) -> &'static str {
    match option.takes() {
        Takes::Number {
            unit: Unit::Bytes, ..
        } => "an integer, or a string such as \"64KiB\"",
        Takes::Number { .. } => "an integer",
        Takes::Word => "a string",
        Takes::List(_) => "a string or an array of strings",
    }
}

/// The value as texts, or what it is instead.
fn texts_of(
    option: &OptionSpec,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<String>, &'static str> {
    match (option.takes(), value.get_ref()) {
        // An integer in another base stays as it was written, and is refused with its range. Some words are
        // numbers, too (`workers = 2`).
        (Takes::Number { .. } | Takes::Word, DeValue::Integer(integer)) => {
            Ok(vec![integer.to_string()])
        }
        (
            Takes::Number {
                unit: Unit::Bytes, ..
            }
            | Takes::Word
            | Takes::List(_),
            DeValue::String(text),
        ) => Ok(vec![text.clone().into_owned()]),
        (Takes::List(_), DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.clone().into_owned()),
                _ => Err("an array of something else"),
            })
            .collect(),
        (_, DeValue::String(_)) => Err("a string"),
        (_, DeValue::Integer(_)) => Err("an integer"),
        (_, DeValue::Float(_)) => Err("a number with a fraction"),
        (_, DeValue::Boolean(_)) => Err("a boolean"),
        (_, DeValue::Datetime(_)) => Err("a date"),
        (_, DeValue::Array(_)) => Err("an array"),
        (_, DeValue::Table(_)) => Err("a table"),
    }
}
