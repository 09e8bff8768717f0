//! The values in force, written as the file that would bring them about again.
//!
//! Never here: a secret. Tokens are counted, in a comment, so the output can be shown to anybody.

use std::fmt::Write;
use std::path::Path;

use super::spec::{Kind, OptionSpec, WhenNone};
use super::table::options;
use super::values::{Unit, rough_bytes};
use super::{Config, Source};

/// See [`super::Loaded::show`].
pub(super) fn show(config: &Config, sources: &[Source], file: Option<&Path>) -> String {
    let mut lines = format!(
        "# newswire {}: the values in force",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(file) = file {
        // A line break in the path would end the comment.
        let path = file.display().to_string().escape_debug().to_string();
        write!(lines, ", with {path}").expect("a String takes everything");
    }
    lines.push('\n');
    let mut heading = "";
    // By heading, as the help has them: the table goes by what belongs together.
    let mut all: Vec<_> = options().iter().zip(sources).collect();
    let first = |heading| {
        options()
            .iter()
            .position(|option| option.heading == heading)
    };
    all.sort_by_key(|(option, _)| first(option.heading));
    for (option, source) in all {
        if option.heading != heading {
            heading = option.heading;
            writeln!(lines, "\n# {heading}").expect("a String takes everything");
        }
        let texts = option.texts(config);
        let note = note(option, config);
        if option.secret {
            let n = texts.iter().filter(|text| !text.is_empty()).count();
            writeln!(
                lines,
                "# {} = ({n} given, not shown)  # {source}",
                option.name
            )
        } else {
            let value = value(option, &texts);
            writeln!(lines, "{} = {value}  # {note}{source}", option.name)
        }
        .expect("a String takes everything");
    }
    lines
}

fn value(option: &OptionSpec, texts: &[String]) -> String {
    match (&option.kind, texts) {
        (Kind::Number { .. }, _) => texts.concat(),
        (Kind::Word { .. }, _) => quote(&texts.concat()),
        (
            Kind::List {
                none: WhenNone::Off,
                ..
            },
            [],
        ) => quote("off"),
        (Kind::List { .. }, _) => {
            let items: Vec<String> = texts.iter().map(|text| quote(text)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// What makes a number easier to read.
fn note(option: &OptionSpec, config: &Config) -> String {
    match option.kind {
        Kind::Number {
            unit: Unit::Bytes,
            get,
            ..
        } if get(config) >= 1024 => format!("{}, ", rough_bytes(get(config))),
        Kind::Number {
            unit: Unit::Seconds,
            ..
        } => "seconds, ".to_owned(),
        _ => String::new(),
    }
}

/// A TOML basic string. JSON's escapes are among TOML's; only DEL has to be escaped here and not there.
fn quote(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::merge::{FileText, Flags, merge};

    #[test]
    fn what_is_shown_is_a_file_that_brings_it_about_again() {
        let mut flags = Flags::new();
        for (name, values) in [
            ("token", vec!["sesame"]),
            ("sub", vec!["tcp://a:1", "ipc:///run/b"]),
            ("topic-field", vec!["a\"b\\c\u{7f}\u{1}é"]),
            ("pull", vec!["off"]),
            ("listen", vec!["[::1]:80", "127.0.0.1:0"]),
            ("origin", vec!["https://example.com"]),
            ("outbox-bytes-max", vec!["3MiB"]),
            ("shutdown-close", vec!["frame"]),
            ("log-level", vec!["trace"]),
        ] {
            flags.insert(name, values.into_iter().map(str::to_owned).collect());
        }
        let mut loaded = merge(&flags, &BTreeMap::new(), None).expect("good");
        loaded.file = Some("a\nb".into());
        let text = loaded.show();
        assert!(!text.contains("sesame"));
        assert!(
            text.contains("# token = (1 given, not shown)  # flag\n"),
            "{text}"
        );
        assert!(
            text.contains("outbox-bytes-max = 3145728  # 3 MiB, flag\n"),
            "{text}"
        );
        assert!(
            text.contains("ping-interval = 25  # seconds, default\n"),
            "{text}"
        );

        let file = FileText {
            name: "shown".to_owned(),
            text: &text,
        };
        let again = merge(&Flags::new(), &BTreeMap::new(), Some(&file)).expect("good TOML");
        let mut expected = loaded.config.clone();
        expected.tokens.clear();
        assert!(again.config == expected, "{text}");
    }
}
