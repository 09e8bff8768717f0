//! Flags, variables and the file over the defaults.
//!
//! A pure function of its three inputs, so that a test needs no process for a rule of precedence or a complaint. A
//! value that a stronger layer replaces is checked all the same: otherwise it would fail on the day on which the
//! stronger one goes.
//!
//! Never here: reading the environment or a file, and what an option means (that is `options`).

use std::collections::BTreeMap;
use std::fmt;

use super::file::{self, FileText};
use super::options::options;
use super::spec::OptionSpec;
use super::suggest::suggestion;
use super::types::Unfit;
use super::{Config, ConfigError, FILE_VARIABLE, Loaded};

/// The flags that were given: an option's name and all its values.
pub type Flags = BTreeMap<&'static str, Vec<String>>;

/// Where a value came from; each layer wins over those before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// The default of the option.
    Default,
    /// This line of the file.
    File(usize),
    /// The option's variable.
    Environment,
    /// The option's flag.
    Flag,
}

impl fmt::Display for Layer {
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
    let mut config = Config::default();
    let mut layers = Vec::new();
    let keys = file.map(file::parse).transpose()?.unwrap_or_default();
    let file_name = file.map_or("", |file| &file.name);
    for option in options() {
        let mut layer = Layer::Default;
        let mut apply = |from: Layer, place: &dyn fmt::Display, texts: &[String]| {
            layer = from;
            option
                .set(&mut config, texts)
                .map_err(|unfit| complain(option, place, &unfit))
        };
        if let Some((line, texts)) = keys.get(option.name) {
            let place = format_args!("{file_name}:{line}: {}", option.name);
            apply(Layer::File(*line), &place, texts)?;
        }
        let variable = option.environment();
        if let Some(value) = environment.get(&variable) {
            let place = format_args!("variable {variable}");
            let texts = texts_of_variable(option, value).ok_or_else(|| {
                ConfigError(format!(
                    "{place}: it is set but empty; unset it, or give it a value"
                ))
            })?;
            apply(Layer::Environment, &place, &texts)?;
        }
        if let Some(texts) = flags.get(option.name) {
            apply(Layer::Flag, &format_args!("--{}", option.name), texts)?;
        }
        layers.push(layer);
    }
    config.check().map_err(ConfigError)?;
    Ok(Loaded {
        config,
        layers,
        file: None,
        warnings: unknown_variables(environment),
    })
}

/// The texts of a variable; `None` when it is empty.
fn texts_of_variable(option: &OptionSpec, value: &str) -> Option<Vec<String>> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if !option.is_repeatable() {
        return Some(vec![value.to_owned()]);
    }
    let items = value.split(',').map(str::trim);
    let given = items.filter(|item| !item.is_empty());
    Some(given.map(str::to_owned).collect())
}

fn complain(option: &OptionSpec, place: &dyn fmt::Display, unfit: &Unfit) -> ConfigError {
    ConfigError(match &unfit.text {
        Some(text) if !option.is_secret => format!("{place}: {text:?}: {}", unfit.allowed),
        _ => format!("{place}: {}", unfit.allowed),
    })
}

/// Warns of variables that newswire does not read: most are misspelt, some belong to a newer version.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<String> = options().map(OptionSpec::environment).collect();
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

#[cfg(test)]
mod tests {
    use super::super::ShutdownClose;
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

    fn layer(loaded: &Loaded, name: &str) -> Layer {
        let index = options().position(|o| o.name == name);
        loaded.layers[index.expect("an option")]
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
        assert_eq!(
            config.process.shutdown_seconds,
            crate::limits::SHUTDOWN_SECONDS
        );
        assert_eq!(
            (
                config.clients.close_seconds,
                config.clients.ping_seconds,
                config.clients.pong_seconds
            ),
            (1, 20, 100)
        );
        assert_eq!(layer(&loaded, "shutdown-timeout"), Layer::Default);
        assert_eq!(layer(&loaded, "close-timeout"), Layer::File(1));
        assert_eq!(layer(&loaded, "ping-interval"), Layer::Environment);
        assert_eq!(layer(&loaded, "ping-timeout"), Layer::Flag);
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
        assert!(config.ingest.sub.is_empty());
        let tokens: Vec<String> = config.auth.tokens.iter().map(|t| t.reveal()).collect();
        assert_eq!(tokens, ["a+b/c==", "two"]);
        let config = merged(&[], &[], text).expect("good").config;
        assert_eq!(config.ingest.sub, ["tcp://a:1", "tcp://b:2"]);
        assert_eq!(config.auth.tokens.len(), 1);
    }

    #[test]
    fn a_file_is_integers_strings_and_arrays() {
        let text = "# all kinds\nlisten = ['127.0.0.1:1', '[::1]:1']\nevent-bytes-max = '1MiB'\n\
                    outbox-bytes-max = 4_194_304\nshutdown-close = 'frame'\norigin = []\nworkers = 2\n";
        let config = merged(&[], &[], text).expect("good").config;
        assert_eq!(config.listen.addresses.len(), 2);
        assert_eq!(config.ingest.event_bytes_max, 1 << 20);
        assert_eq!(config.clients.outbox_bytes_max, 4 << 20);
        assert_eq!(config.process.shutdown_close, ShutdownClose::Frame);
        assert_eq!(config.process.workers.count(), Some(2));
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
}
