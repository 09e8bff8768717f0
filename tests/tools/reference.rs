//! `docs/options.md` and `docs/metrics.md` are what the tables of options and of metrics say.
//!
//! Nobody edits these pages by hand. After a change of a table,
//! `NEWSWIRE_WRITE_DOCS=1 cargo test --test tools reference` writes them anew.

use std::fmt::Write as _;
use std::fs;

use newswire::admin::metrics::METRICS;
use newswire::config::{OptionSpec, Takes, Unit, WhenNone, options};

/// Compares the page at `path` with `expected`, or writes it.
#[expect(
    clippy::disallowed_methods,
    reason = "a variable of the tests, not of the server"
)]
fn compare(path: &str, expected: &str) {
    if std::env::var_os("NEWSWIRE_WRITE_DOCS").is_some() {
        fs::write(path, expected).expect("the page can be written");
    }
    let found = fs::read_to_string(path).expect("the page is there");
    let mut lines = found.lines().zip(expected.lines()).enumerate();
    if let Some((at, (found, expected))) = lines.find(|(_, (found, expected))| found != expected) {
        panic!(
            "{path}:{}: it has\n{found}\nand the table makes\n{expected}\n\
             NEWSWIRE_WRITE_DOCS=1 cargo test --test tools reference writes it anew",
            at + 1
        );
    }
    assert_eq!(found, expected, "{path}");
}

#[test]
fn the_page_of_options_is_what_the_table_says() {
    let mut page = OPTIONS_HEAD.to_owned();
    let mut heading = "";
    for option in options() {
        if option.heading != heading {
            heading = option.heading;
            write!(page, "\n## {heading}\n").expect("a String takes everything");
        }
        page.push_str(&section(option));
    }
    compare("docs/options.md", &page);
}

const OPTIONS_HEAD: &str = "\
# Options

<!-- Made from src/config/options/. A test compares this page with them; do not edit it. -->

Each option is a flag, an environment variable and a key of a TOML file. A flag wins over a variable, a variable over the
file, the file over the default. `--config FILE` or `NEWSWIRE_CONFIG` names the file; newswire reads no file by itself.
`newswire check`, with the same flags, prints each value in force and where it came from.

- A number of bytes is written `65536`, `64KiB` or `2MiB`; in the file it is an integer, or a string with a unit.
- Seconds are whole numbers without a unit.
- A *list* is a flag that you give several times, a variable with commas, or an array in the file. The list of a flag
  replaces that of the variable, and the list of the variable replaces that of the file.
- *reload*: SIGHUP changes the value in a running server. *restart*: it takes effect at the next start.
- *secret*: newswire never shows the value, only how many there are.
";

/// The section of one option.
fn section(option: &OptionSpec) -> String {
    let default = match option.default_text() {
        text if text.is_empty() => "no default".to_owned(),
        text => format!("default `{text}`"),
    };
    let takes = match option.takes() {
        Takes::Number { unit, min, max } => {
            let of = match unit {
                Unit::Count | Unit::Bytes => "",
                Unit::Seconds => " seconds",
            };
            let show = |end| unit.show(end).trim_end_matches(" s").to_owned();
            format!(" · {} to {}{of}", show(min), show(max))
        }
        Takes::Word => String::new(),
        Takes::List(WhenNone::Off) => " · *list*, or `off`".to_owned(),
        Takes::List(_) => " · *list*".to_owned(),
    };
    let effect = if option.needs_restart {
        "restart"
    } else {
        "reload"
    };
    let secret = if option.is_secret { " · *secret*" } else { "" };
    format!(
        "\n### {name}\n\n`--{name} {value_name}` · `{variable}` · key `{name}`\\\n{default}{takes} · \
         *{effect}*{secret}\n\n{help}\n",
        name = option.name,
        value_name = option.value_name,
        variable = option.environment(),
        help = wrap(option.help),
    )
}

#[test]
fn the_page_of_metrics_is_what_the_table_says() {
    let mut page = METRICS_HEAD.to_owned();
    for metric in METRICS {
        let labels = metric.labels();
        let names: Vec<String> = labels.iter().map(|(name, _)| format!("`{name}`")).collect();
        let by = match &*names.join(" and ") {
            "" => String::new(),
            names => format!(" by {names}"),
        };
        let (name, kind, help) = (metric.name, metric.kind(), wrap(metric.help));
        write!(page, "\n## {name}\n\n*{kind}*{by}\n\n{help}\n").expect("a String takes everything");
        for (label, values) in labels.iter().filter(|(_, values)| !values.is_empty()) {
            write!(page, "\n| `{label}` | meaning |\n|---|---|\n")
                .expect("a String takes everything");
            for (value, meaning) in values {
                writeln!(page, "| `{value}` | {meaning} |").expect("a String takes everything");
            }
        }
    }
    compare("docs/metrics.md", &page);
}

const METRICS_HEAD: &str = "\
# Metrics

<!-- Made from src/admin/metrics.rs and src/stats.rs. A test compares this page with them; do not edit it. -->

`GET /metrics` of the admin listener has them, in Prometheus' text format. A counter counts since the start, and each
value of a label is there from the start. What a value means is also in `GET /history` and on the dashboard.

What to watch: `newswire_dropped_total` without `no_subscriber` and `filtered`,
`newswire_closed_total{reason=\"slow_consumer\"}`, `process_open_fds` beside `process_max_fds`, and the 99th percentile of
both histograms.
";

/// `text` in lines of at most 120 characters.
fn wrap(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < 120 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
