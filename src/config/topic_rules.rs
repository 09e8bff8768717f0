//! Rules for topics that do not fit each other, or that do not fit the limits.
//!
//! The first rule whose pattern matches a topic counts. So a rule can stand where none of its topics reaches it, and
//! the operator who wrote it would wait for its effect in vain.
//!
//! Never here: what is wrong within a single rule (that is `wire::topic_rule`).

use super::Config;
use crate::limits;
use crate::wire::topic_rule::TopicRule;

/// Checks the rules, which are counted from 1 as they are given.
///
/// # Errors
/// A sentence that names the first rule that does not fit, and what to change.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let rules = &config.topics.rules;
    if rules.len() > limits::TOPIC_RULES_MAX {
        return Err(format!(
            "topic has {} rules, and may have {}: one pattern with `*` can be for many topics",
            rules.len(),
            limits::TOPIC_RULES_MAX
        ));
    }
    for (index, rule) in rules.iter().enumerate() {
        check_name(config, index + 1, rule)?;
        let before = rules[..index].iter().position(|other| other.hides(rule));
        if let Some(other) = before {
            return Err(hidden((other + 1, &rules[other]), (index + 1, rule)));
        }
    }
    check_history(config)
}

/// Checks that a topic can have a name that the rule is for.
fn check_name(config: &Config, number: usize, rule: &TopicRule) -> Result<(), String> {
    let bytes = rule.pattern.trim_end_matches('*').len();
    let max = config.clients.topic_bytes_max;
    if bytes <= max {
        return Ok(());
    }
    Err(format!(
        "topic, rule {number}: its name has {bytes} bytes, and no topic's name has more than topic-bytes-max ({max}): \
         shorten the name or raise topic-bytes-max"
    ))
}

/// The sentence about a rule of which each topic is one of a rule before it.
fn hidden((first, before): (usize, &TopicRule), (second, rule): (usize, &TopicRule)) -> String {
    if before.pattern == rule.pattern {
        return format!(
            "topic, rules {first} and {second} are both for {:?}, and only the first one would count: make one rule \
             of them",
            rule.pattern
        );
    }
    format!(
        "topic, rule {second} ({:?}) would never count, because rule {first} ({:?}) matches all of its topics: put \
         rule {second} before rule {first}, or leave it out",
        rule.pattern, before.pattern
    )
}

/// Checks that `history-bytes-max` has room for what the rules keep.
fn check_history(config: &Config) -> Result<(), String> {
    if !config.topics.keeps_events() {
        return Ok(());
    }
    let max = config.topics.history_bytes_max;
    let (event, topic) = (
        config.ingest.event_bytes_max,
        config.clients.topic_bytes_max,
    );
    let needed = limits::history_needed(event, topic);
    if max < needed {
        return Err(format!(
            "history-bytes-max ({max}) cannot hold the largest event, of event-bytes-max ({event}) with a topic of \
             topic-bytes-max ({topic}) and what is kept beside them: raise history-bytes-max to {needed} or lower \
             event-bytes-max"
        ));
    }
    for (index, rule) in config.topics.rules.iter().enumerate() {
        let least = rule.events_kept() * limits::KEPT_EVENT_BYTES + limits::KEPT_TOPIC_BYTES;
        if max < least {
            return Err(format!(
                "topic, rule {} ({:?}): history={} takes more than {least} bytes for one topic, which \
                 history-bytes-max ({max}) cannot hold: lower history or raise history-bytes-max",
                index + 1,
                rule.pattern,
                rule.history
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::file::FileText;
    use super::super::merge::{Flags, merge};
    use super::*;

    fn config(lines: &[&str]) -> Config {
        let rule = |line: &&str| TopicRule::parse(line).expect(line);
        let mut config = Config::default();
        config.topics.rules = lines.iter().map(rule).collect();
        config
    }

    /// The rules that come of flags, the variable and the file, as lines.
    fn merged(
        given: &[&str],
        variable: Option<&str>,
        text: &str,
    ) -> Result<(Config, Vec<String>), String> {
        let mut flags = Flags::new();
        if !given.is_empty() {
            flags.insert("topic", given.iter().map(|&line| line.to_owned()).collect());
        }
        let pair = |value: &str| ("NEWSWIRE_TOPIC".to_owned(), value.to_owned());
        let environment: BTreeMap<_, _> = variable.map(pair).into_iter().collect();
        let file = FileText {
            name: "n.toml".to_owned(),
            text,
        };
        let loaded = merge(&flags, &environment, Some(&file)).map_err(|e| e.to_string())?;
        let lines = loaded.config.topics.rules.iter().map(TopicRule::to_string);
        let lines = lines.collect();
        let shown = FileText {
            name: "shown".to_owned(),
            text: &loaded.show(),
        };
        let again = merge(&Flags::new(), &BTreeMap::new(), Some(&shown)).expect("a good file");
        assert_eq!(again.config, loaded.config);
        Ok((loaded.config, lines))
    }

    #[test]
    fn rules_come_from_flags_the_variable_and_the_file() {
        let text = "topic = ['a,b* last', '\"my topic\" history=5']\nhistory-bytes-max = '8MiB'\n";
        let (config, lines) = merged(&[], None, text).expect("good");
        assert_eq!(lines, ["a,b* last", r#""my topic" history=5"#]);
        assert_eq!(config.topics.history_bytes_max, 8 << 20);
        let (_, lines) = merged(&[], None, "topic = 'news last'").expect("good");
        assert_eq!(lines, ["news last"]);
        let (_, lines) = merged(&[], None, "topic = []").expect("good");
        assert!(lines.is_empty());

        let variable = r#"news last age=60, "a\u002cb c" history=1,"#;
        let (_, lines) = merged(&[], Some(variable), text).expect("good");
        assert_eq!(lines, ["news age=60 last", r#""a,b c" history=1"#]);

        let (_, lines) = merged(&["x,y last", "* history=3"], Some(variable), text).expect("good");
        assert_eq!(lines, ["x,y last", "* history=3"]);
    }

    #[test]
    fn complaints_name_the_place_and_the_line() {
        for (given, variable, text, line) in [
            (
                &["news histroy=5"][..],
                None,
                "",
                "--topic: \"news histroy=5\": there is no `histroy` for a topic; did you mean `history`?",
            ),
            (
                &["a last", "a  last"],
                None,
                "",
                "--topic: \"a  last\": this value is given twice",
            ),
            (
                &[],
                Some("news history=1,age=5"),
                "",
                "variable NEWSWIRE_TOPIC: \"age=5\": the topic is missing before age=5: a rule is `TOPIC \
                 history=COUNT …`, and a topic with such a name stands in quotes",
            ),
            (
                &[],
                None,
                "\ntopic = 'news age=5'",
                "n.toml:2: topic: \"news age=5\": age=5 is for kept events, and this rule keeps none: add \
                 history=COUNT or last, or leave age out",
            ),
            (
                &[],
                None,
                "topic = 5",
                "n.toml:1: topic takes a string or an array of strings, not an integer",
            ),
            (
                &["*", "news"],
                None,
                "",
                "topic, rule 2 (\"news\") would never count, because rule 1 (\"*\") matches all of its topics: put \
                 rule 2 before rule 1, or leave it out",
            ),
        ] {
            assert_eq!(merged(given, variable, text).expect_err(line), line);
        }
    }

    #[test]
    fn every_rule_has_topics_of_its_own() {
        for lines in [
            &[][..],
            &["news", "news_*", "new*", "*"],
            &["news slow=oldest", "newsroom", "news*"],
            &["a*", "b* last"],
        ] {
            assert_eq!(check(&config(lines)), Ok(()), "{lines:?}");
        }
        for (lines, sentence) in [
            (
                &["x", "news* last", "news*"][..],
                "topic, rules 2 and 3 are both for \"news*\", and only the first one would count: make one rule of \
                 them",
            ),
            (
                &["new* last", "x", "news_1"],
                "topic, rule 3 (\"news_1\") would never count, because rule 1 (\"new*\") matches all of its topics: \
                 put rule 3 before rule 1, or leave it out",
            ),
            (
                &["new*", "news*"],
                "topic, rule 2 (\"news*\") would never count, because rule 1 (\"new*\") matches all of its topics: \
                 put rule 2 before rule 1, or leave it out",
            ),
        ] {
            assert_eq!(check(&config(lines)).expect_err(sentence), sentence);
        }
        let names: Vec<String> = (0..=limits::TOPIC_RULES_MAX)
            .map(|number| number.to_string())
            .collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        assert_eq!(check(&config(&names[1..])), Ok(()));
        assert_eq!(
            check(&config(&names)).expect_err("too many"),
            "topic has 1001 rules, and may have 1000: one pattern with `*` can be for many topics"
        );
    }

    #[test]
    fn a_topic_can_have_the_name_of_its_rule() {
        let name = "x".repeat(limits::TOPIC_BYTES_MAX);
        for line in [name.clone(), format!("{name}*")] {
            assert_eq!(check(&config(&[&line])), Ok(()));
        }
        for line in [format!("{name}x"), format!("{name}x*")] {
            assert_eq!(
                check(&config(&["y", &line])).expect_err("too long"),
                "topic, rule 2: its name has 513 bytes, and no topic's name has more than topic-bytes-max (512): \
                 shorten the name or raise topic-bytes-max"
            );
        }
    }

    #[test]
    fn the_history_can_hold_what_the_rules_keep() {
        let mut config = config(&["x slow=latest", "news history=100000"]);
        config.ingest.event_bytes_max = 10_000;
        config.clients.topic_bytes_max = 100;
        config.topics.history_bytes_max = 10_000 + 100 + 64 + 640 - 1;
        let sentence = config.check().expect_err("too small");
        assert_eq!(
            sentence,
            "history-bytes-max (10803) cannot hold the largest event, of event-bytes-max (10000) with a topic of \
             topic-bytes-max (100) and what is kept beside them: raise history-bytes-max to 10804 or lower \
             event-bytes-max"
        );
        config.topics.history_bytes_max += 1;
        assert_eq!(
            config.check().expect_err("too small"),
            "topic, rule 2 (\"news\"): history=100000 takes more than 6400640 bytes for one topic, which \
             history-bytes-max (10804) cannot hold: lower history or raise history-bytes-max"
        );
        config.topics.rules[1].history = 1;
        assert_eq!(config.check(), Ok(()));
        config.topics.history_bytes_max = 4_096;
        config.topics.rules.truncate(1);
        assert_eq!(config.check(), Ok(()), "nothing is kept");
    }
}
