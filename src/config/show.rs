//! The values in force, written as a configuration file that gives the same values.
//!
//! Never here: a secret. Secrets are counted, in a comment, so an operator can show the output to anybody.

use std::fmt::Write;
use std::path::Path;

use super::options::options;
use super::spec::OptionSpec;
use super::types::{Takes, WhenNone};
use super::units::{Unit, rough_bytes};
use super::{Config, Layer};

/// See [`super::Loaded::show`].
pub(super) fn show(config: &Config, layers: &[Layer], file: Option<&Path>) -> String {
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
    for (option, layer) in options().zip(layers) {
        if option.heading != heading {
            heading = option.heading;
            writeln!(lines, "\n# {heading}").expect("a String takes everything");
        }
        let texts = option.texts(config);
        if option.is_secret {
            let n = texts.iter().filter(|text| !text.is_empty()).count();
            writeln!(
                lines,
                "# {} = ({n} given, not shown)  # {layer}",
                option.name
            )
        } else {
            let (value, note) = (value(option, &texts), note(option, &texts));
            writeln!(lines, "{} = {value}  # {note}{layer}", option.name)
        }
        .expect("a String takes everything");
    }
    lines
}

fn value(option: &OptionSpec, texts: &[String]) -> String {
    match (option.takes(), texts) {
        (Takes::Number { .. }, _) => texts.concat(),
        (Takes::Word, _) => quote(&texts.concat()),
        (Takes::List(WhenNone::Off), []) => quote("off"),
        (Takes::List(_), _) => {
            let items: Vec<String> = texts.iter().map(|text| quote(text)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// What makes a number easier to read.
fn note(option: &OptionSpec, texts: &[String]) -> String {
    let Takes::Number { unit, .. } = option.takes() else {
        return String::new();
    };
    match (unit, texts.concat().parse()) {
        (Unit::Bytes, Ok(bytes @ 1024..)) => format!("{}, ", rough_bytes(bytes)),
        (Unit::Seconds, _) => "seconds, ".to_owned(),
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

    use super::super::file::FileText;
    use super::super::merge::{Flags, merge};

    #[test]
    fn what_is_shown_is_a_file_that_gives_the_same_values() {
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
        expected.auth.tokens.clear();
        assert!(again.config == expected, "{text}");
    }
}
