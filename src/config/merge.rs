//! Flags, variables and the file over the defaults.
//!
//! A pure function of its three inputs, so that every rule of precedence and every complaint is
//! tested without a process. A value that a stronger source replaces is checked all the same: it
//! would bite on the day on which the stronger one goes.
//!
//! Never here: reading the environment or a file, and what an option means (that is `table`).

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::spec::{Bad, Kind, OptionSpec};
use super::table::options;
use super::values::Unit;
use super::{Config, ConfigError, ENVIRONMENT_PREFIX, FILE_VARIABLE, Loaded};

/// The flags that were given: an option's name and all its values.
pub type Flags = BTreeMap<&'static str, Vec<String>>;

/// A configuration file, read.
#[derive(Debug)]
pub struct FileText<'a> {
    /// As the operator named it, for complaints.
    pub name: String,
    /// TOML.
    pub text: &'a str,
}

/// Where a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The table of options.
    Default,
    /// The file, and the line in it.
    File(usize),
    /// Its variable.
    Environment,
    /// Its flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Merges, and checks that the result can be used.
pub(super) fn merge(
    flags: &Flags,
    environment: &BTreeMap<String, String>,
    file: Option<&FileText<'_>>,
) -> Result<Loaded, ConfigError> {
    let mut loaded = Loaded {
        config: Config::default(),
        sources: vec![Source::Default; options().len()],
        file: None,
        warnings: unknown_variables(environment),
    };
    let mut keys = file.map(parse_file).transpose()?.unwrap_or_default();
    for (option, source) in options().iter().zip(&mut loaded.sources) {
        let mut apply = |place: &dyn fmt::Display, from: Source, texts: &[String]| {
            *source = from;
            option
                .set(&mut loaded.config, texts)
                .map_err(|bad| complain(option, place, &bad))
        };
        if let Some((line, texts)) = keys.remove(option.name) {
            let name = file.map_or("", |file| &file.name);
            apply(
                &format_args!("{name}:{line}: {}", option.name),
                Source::File(line),
                &texts,
            )?;
        }
        let variable = option.environment();
        if let Some(value) = environment.get(&variable) {
            let place = format!("variable {variable}");
            if value.trim().is_empty() {
                return Err(ConfigError(format!(
                    "{place}: it is set but empty; unset it, or give it a value"
                )));
            }
            let texts: Vec<String> = if option.is_repeatable() {
                let items = value.split(',').map(str::trim);
                items
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned)
                    .collect()
            } else {
                vec![value.trim().to_owned()]
            };
            apply(&place, Source::Environment, &texts)?;
        }
        if let Some(texts) = flags.get(option.name) {
            apply(&format_args!("--{}", option.name), Source::Flag, texts)?;
        }
    }
    loaded.config.check().map_err(ConfigError)?;
    Ok(loaded)
}

fn complain(option: &OptionSpec, place: &dyn fmt::Display, bad: &Bad) -> ConfigError {
    ConfigError(match &bad.value {
        Some(value) if !option.secret => format!("{place}: {value:?}: {}", bad.allowed),
        _ => format!("{place}: {}", bad.allowed),
    })
}

/// The keys of the file, each with its line and its values.
fn parse_file(
    file: &FileText<'_>,
) -> Result<BTreeMap<&'static str, (usize, Vec<String>)>, ConfigError> {
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
        let Some(option) = super::option(key.get_ref()) else {
            return Err(ConfigError(format!(
                "{place}: there is no option `{}`{}",
                key.get_ref().escape_debug(),
                suggestion(key.get_ref(), options().iter().map(|option| option.name)),
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
    match option.kind {
        Kind::Number {
            unit: Unit::Bytes, ..
        } => "an integer, or a string such as \"64KiB\"",
        Kind::Number { .. } => "an integer",
        Kind::Word { .. } => "a string",
        Kind::List { .. } => "a string or an array of strings",
    }
}

/// The value as texts, or what it is instead.
fn texts_of(
    option: &OptionSpec,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<String>, &'static str> {
    match (&option.kind, value.get_ref()) {
        // An integer in another base stays as it was written, and is refused with its range.
        (Kind::Number { .. }, DeValue::Integer(integer)) => Ok(vec![integer.to_string()]),
        (
            Kind::Number {
                unit: Unit::Bytes, ..
            }
            | Kind::Word { .. }
            | Kind::List { .. },
            DeValue::String(text),
        ) => Ok(vec![text.clone().into_owned()]),
        (Kind::List { .. }, DeValue::Array(items)) => items
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

/// A variable that nobody reads is most often a misspelt one, but it may also be a newer version's.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<String> = options().iter().map(OptionSpec::environment).collect();
    environment
        .keys()
        .filter(|name| *name != FILE_VARIABLE && !known.contains(name))
        .map(|name| {
            format!(
                "variable {name} is not read: there is no such option{}",
                suggestion(name, known.iter().map(String::as_str))
            )
        })
        .collect()
}

/// `; did you mean …?`, or where to find the list.
fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => "; `newswire --help` lists them all".to_owned(),
    }
}

/// The one of `known` that `name` is most likely a misspelling of.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &'a str| name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let name = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    known
        .map(|known| (distance(name, bare(known)), known))
        .min()
        // Past a third of its letters the resemblance is chance.
        .filter(|&(distance, known)| distance <= (bare(known).len() / 3).max(1))
        .map(|(_, known)| known)
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&'static str, &str)]) -> Flags {
        let mut flags = Flags::new();
        for (name, value) in pairs {
            flags.entry(name).or_default().push((*value).to_owned());
        }
        flags
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn merged(
        given: &[(&'static str, &str)],
        environment: &[(&str, &str)],
        text: &str,
    ) -> Result<Loaded, String> {
        let file = FileText {
            name: "n.toml".to_owned(),
            text,
        };
        merge(&flags(given), &variables(environment), Some(&file)).map_err(|e| e.to_string())
    }

    fn source(loaded: &Loaded, name: &str) -> Source {
        let index = options().iter().position(|o| o.name == name);
        loaded.sources[index.expect("an option")].clone()
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
        let text = "close-timeout = 1\nping-interval = 2\nping-timeout = 3\n";
        let environment = [
            ("NEWSWIRE_PING_INTERVAL", "20"),
            ("NEWSWIRE_PING_TIMEOUT", "30"),
        ];
        let loaded = merged(&[("ping-timeout", "100")], &environment, text).expect("good");
        let config = &loaded.config;
        assert_eq!(config.shutdown_seconds, crate::limits::SHUTDOWN_SECONDS);
        assert_eq!(
            (
                config.close_seconds,
                config.ping_seconds,
                config.pong_seconds
            ),
            (1, 20, 100)
        );
        assert_eq!(source(&loaded, "shutdown-timeout"), Source::Default);
        assert_eq!(source(&loaded, "close-timeout"), Source::File(1));
        assert_eq!(source(&loaded, "ping-interval"), Source::Environment);
        assert_eq!(source(&loaded, "ping-timeout"), Source::Flag);
    }

    #[test]
    fn a_list_replaces_the_list_below_it() {
        let text = "sub = [\"tcp://a:1\", \"tcp://b:2\"]\ntoken = \"one\"\n";
        let loaded = merged(
            &[("sub", "off")],
            &[("NEWSWIRE_TOKEN", "a+b/c==, two,")],
            text,
        );
        let config = loaded.expect("good").config;
        assert!(config.sub.is_empty());
        let tokens: Vec<String> = config.tokens.iter().map(|t| t.reveal()).collect();
        assert_eq!(tokens, ["a+b/c==", "two"]);
        let config = merged(&[], &[], text).expect("good").config;
        assert_eq!(config.sub, ["tcp://a:1", "tcp://b:2"]);
        assert_eq!(config.tokens.len(), 1);
    }

    #[test]
    fn a_file_is_integers_strings_and_arrays() {
        let text = "# all kinds\nlisten = ['127.0.0.1:1', '[::1]:1']\nevent-bytes-max = '1MiB'\n\
                    outbox-bytes-max = 4_194_304\nshutdown-close = 'frame'\norigin = []\n";
        let config = merged(&[], &[], text).expect("good").config;
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.event_bytes_max, 1 << 20);
        assert_eq!(config.outbox_bytes_max, 4 << 20);
        assert_eq!(config.shutdown_close, super::super::ShutdownClose::Frame);
    }

    /// Each complaint is one line that names the place.
    #[test]
    fn complaints() {
        for (given, environment, text, line) in [
            (
                &[("ping-interval", "0")][..],
                &[][..],
                "",
                "--ping-interval: \"0\": it must be from 1 s to 120 s",
            ),
            (
                &[],
                &[("NEWSWIRE_LOG_LEVEL", "loud")],
                "",
                "variable NEWSWIRE_LOG_LEVEL: \"loud\": off, error, warn, info, debug or trace is needed",
            ),
            (
                &[],
                &[("NEWSWIRE_TOKEN", " ")],
                "",
                "variable NEWSWIRE_TOKEN: it is set but empty; unset it, or give it a value",
            ),
            (
                &[],
                &[("NEWSWIRE_LISTEN", ",")],
                "",
                "variable NEWSWIRE_LISTEN: at least one is needed",
            ),
            (
                &[],
                &[],
                "\nping-interval = -1",
                "n.toml:2: ping-interval: \"-1\": a whole number of seconds without a unit is needed, \
                 from 1 s to 120 s",
            ),
            (
                &[],
                &[],
                "ping-interval = '25'",
                "n.toml:1: ping-interval takes an integer, not a string",
            ),
            (
                &[],
                &[],
                "listen = [1]",
                "n.toml:1: listen takes a string or an array of strings, not an array of something else",
            ),
            (
                &[],
                &[],
                "listen = []",
                "n.toml:1: listen: at least one is needed",
            ),
            (
                &[],
                &[],
                "# \nping_intervall = 1",
                "n.toml:2: there is no option `ping_intervall`; did you mean `ping-interval`?",
            ),
            (
                &[],
                &[],
                "[server]\nport = 1",
                "n.toml:1: there is no option `server`; `newswire --help` lists them all",
            ),
            (
                &[("pull", "off"), ("pull", "tcp://a:1")],
                &[],
                "",
                "--pull: `off` means none of them, so it stands alone",
            ),
            (
                &[("listen", "127.0.0.1:1"), ("listen", "127.0.0.1:1")],
                &[],
                "",
                "--listen: \"127.0.0.1:1\": this value is given twice",
            ),
            // A value that is replaced is checked all the same.
            (
                &[("ping-interval", "5")],
                &[],
                "ping-interval = 999",
                "n.toml:1: ping-interval: \"999\": it must be from 1 s to 120 s",
            ),
        ] {
            assert_eq!(merged(given, environment, text).expect_err(line), line);
        }
    }

    #[test]
    fn no_complaint_shows_a_token() {
        for (given, environment, text) in [
            (&[("token", "sesame "), ("token", "x")][..], &[][..], ""),
            (&[("token", "sesame"), ("token", "sesame")], &[], ""),
            (&[], &[("NEWSWIRE_TOKEN", "sesame,sesame")], ""),
            (&[], &[], "token = 'sesame\\'"),
            (&[], &[], "token = 'sesame"),
            (&[], &[], "token = sesame"),
            (&[], &[], "token = 'sesame'sesame"),
            (&[], &[], "token = \"sesame\\q\""),
            (&[], &[], "token = ['sesame' 'sesame']"),
            (&[], &[], "token = ['sesame', 'sesame']"),
            (&[], &[], "token = 'x'\ntoken = 'sesame'"),
            (&[], &[], "token = { sesame = 'sesame' }"),
            (&[], &[], "token = 'sesame'\nlisten = 'sesame"),
            (&[], &[], "token 'sesame'"),
        ] {
            if let Err(line) = merged(given, environment, text) {
                assert!(!line.contains("sesame"), "{line}");
                assert!(!line.contains('\n'), "{line:?}");
            } else {
                assert_eq!(text, "token = 'sesame\\'", "that one is a good token");
            }
        }
        let line = merged(&[("token", "--listen")], &[], "").expect_err("a forgotten value");
        assert_eq!(
            line,
            "--token: that is a flag; the token before it is missing"
        );
    }

    #[test]
    fn a_variable_that_nobody_reads_is_a_warning() {
        let environment = [("NEWSWIRE_CONFIG", "x"), ("NEWSWIRE_LISTN", "sesame")];
        let loaded = merged(&[], &environment, "").expect("good");
        assert_eq!(
            loaded.warnings,
            [
                "variable NEWSWIRE_LISTN is not read: there is no such option; did you mean `NEWSWIRE_LISTEN`?"
            ]
        );
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}
