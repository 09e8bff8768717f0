//! A rule for topics, as an operator writes it on one line: which topics it concerns, what is kept of them, and what
//! happens to subscribers that read too slowly.
//!
//! ```text
//! PATTERN [history=COUNT] [age=SECONDS] [last] [slow=close|oldest|latest]
//! ```
//! The pattern comes first: the name of one topic, or the beginning of names followed by `*`. A name with blanks stands
//! in quotes, as a JSON string. The words after it may come in any order, each at most once.
//!
//! Never here: several rules (which of them counts, and whether they fit each other), kept events, and clocks.

use std::fmt;

use crate::limits;
use crate::wire::grant::{self, OWN};
use crate::wire::json;

/// What is kept of a topic and what happens to its slow readers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicRule {
    /// The name of one topic, or the beginning of names followed by `*`.
    pub pattern: String,
    /// In events, how many are kept of each topic; 0: none.
    pub history: usize,
    /// In seconds, how old a kept event may be; `None`: of any age.
    pub age_seconds: Option<u32>,
    /// What happens to a subscriber that reads too slowly.
    pub slow: SlowPolicy,
    /// True exactly when each new subscriber is sent the newest event.
    pub sends_last: bool,
}

/// What happens to a subscriber that reads too slowly.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SlowPolicy {
    /// Its connection is closed.
    #[default]
    Close,
    /// It loses the oldest events that it has not read.
    Oldest,
    /// It loses all of them but the newest one of each topic.
    Latest,
}

impl SlowPolicy {
    const ALL: [Self; 3] = [Self::Close, Self::Oldest, Self::Latest];

    /// Returns the word for it in a rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Oldest => "oldest",
            Self::Latest => "latest",
        }
    }

    /// Returns the policy with this word; `None` when there is none.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// The words of a rule as they are written; a misspelt one is compared with these.
const KEYS: [&str; 4] = ["history", "age", "last", "slow"];

/// What a rule may have after its pattern, for complaints.
const USAGE: &str = "history=COUNT, age=SECONDS, last and slow=close|oldest|latest";

/// The words after the pattern.
#[derive(Default)]
struct RuleWords {
    history: Option<usize>,
    age_seconds: Option<u32>,
    slow: Option<SlowPolicy>,
    last: Option<()>,
}

impl TopicRule {
    /// Reads one line.
    ///
    /// # Errors
    /// Returns a sentence that names the word that is wrong, and what is allowed.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (pattern, words) = split_pattern(line)?;
        grant::check_pattern(&pattern).map_err(str::to_owned)?;
        if pattern.starts_with(OWN) {
            return Err(format!(
                "topics that begin with `{OWN}` are the server's own, and nothing is kept of them"
            ));
        }
        let mut read = RuleWords::default();
        for word in words.split_whitespace() {
            read.take(word)?;
        }
        let rule = Self {
            pattern,
            history: read.history.unwrap_or_default(),
            age_seconds: read.age_seconds,
            slow: read.slow.unwrap_or_default(),
            sends_last: read.last.is_some(),
        };
        match rule.age_seconds {
            Some(age) if !rule.keeps() => Err(format!(
                "age={age} is for kept events, and this rule keeps none: add history=COUNT or last, or leave age out"
            )),
            _ => Ok(rule),
        }
    }

    /// Returns true when the rule's pattern matches `topic`. The server's own topics match no rule.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with(OWN) && grant::covers(&self.pattern, topic)
    }

    /// Returns true when every topic that `later` matches is one that this rule matches, too.
    pub fn hides(&self, later: &Self) -> bool {
        // A `*` stands only at the end, so a beginning is compared with a name or with a beginning.
        grant::covers(&self.pattern, &later.pattern)
    }

    /// Returns true when events of these topics are kept.
    pub fn keeps(&self) -> bool {
        self.events_kept() > 0
    }

    /// Returns how many events are kept of each topic: the newest one, too, that a new subscriber is sent.
    pub fn events_kept(&self) -> usize {
        self.history.max(usize::from(self.sends_last))
    }

    /// Returns the name of the one topic that the rule is for; `None` for a pattern with `*`.
    pub fn exact_name(&self) -> Option<&str> {
        (!self.pattern.ends_with('*')).then_some(&*self.pattern)
    }
}

/// One line, of which [`TopicRule::parse`] makes the same rule.
impl fmt::Display for TopicRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if needs_quotes(&self.pattern) {
            let mut quoted = String::new();
            json::quote(&self.pattern, &mut quoted);
            f.write_str(&quoted)?;
        } else {
            f.write_str(&self.pattern)?;
        }
        if self.history > 0 {
            write!(f, " history={}", self.history)?;
        }
        if let Some(age) = self.age_seconds {
            write!(f, " age={age}")?;
        }
        if self.sends_last {
            f.write_str(" last")?;
        }
        match self.slow {
            SlowPolicy::Close => Ok(()),
            slow => write!(f, " slow={}", slow.name()),
        }
    }
}

impl RuleWords {
    fn take(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("history", Some("0")) => {
                Err("history=0 keeps nothing: leave it out, or name a number from 1 on".to_owned())
            }
            ("history", Some(value)) => {
                let count = number(word, value, "events", limits::TOPIC_HISTORY_EVENTS_MAX)?;
                once(&mut self.history, key, count)
            }
            ("age", Some(value)) => {
                let age = number(word, value, "seconds", limits::TOPIC_AGE_SECONDS_MAX)?;
                once(&mut self.age_seconds, key, age)
            }
            ("slow", Some(value)) => {
                let slow = SlowPolicy::find(value).ok_or_else(|| {
                    format!("{}: slow is close, oldest or latest", word.escape_debug())
                })?;
                once(&mut self.slow, key, slow)
            }
            ("last", None) => once(&mut self.last, key, ()),
            ("last", Some(_)) => Err(format!(
                "{}: `last` stands alone, without a value; history=COUNT keeps more than the newest event",
                word.escape_debug()
            )),
            ("history" | "age" | "slow", None) => {
                Err(format!("`{key}` needs a value: a rule may have {USAGE}"))
            }
            _ => Err(unknown(key, value.is_some())),
        }
    }
}

/// Splits a line into its pattern and the words after it.
fn split_pattern(line: &str) -> Result<(String, &str), String> {
    let line = line.trim();
    if !line.starts_with('"') {
        let (pattern, words) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if begins_like_a_word(pattern) {
            return Err(format!(
                "the topic is missing before {}: a rule is `TOPIC history=COUNT …`, and a topic with such a name \
                 stands in quotes",
                pattern.escape_debug()
            ));
        }
        return Ok((pattern.to_owned(), words));
    }
    json::leading_string(line)
        .filter(|(_, words)| words.is_empty() || words.starts_with(char::is_whitespace))
        .ok_or_else(|| {
            "a topic in quotes is a JSON string with a blank behind it, such as \"my topic*\" history=10"
                .to_owned()
        })
}

/// Returns true when a pattern without quotes is more likely a word of a rule whose pattern was forgotten.
fn begins_like_a_word(pattern: &str) -> bool {
    let key = pattern.split_once('=').map(|(key, _)| key);
    key.is_some_and(|key| KEYS.contains(&key))
}

fn needs_quotes(pattern: &str) -> bool {
    pattern.starts_with('"')
        || pattern.contains(|c: char| c.is_whitespace() || c.is_control())
        || begins_like_a_word(pattern)
}

/// Reads the number of `word`, from 1 to `max`.
fn number<T>(word: &str, value: &str, of: &str, max: T) -> Result<T, String>
where
    T: Copy + fmt::Display + From<u8> + Ord + std::str::FromStr,
{
    // `parse` takes a sign, too.
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| is_plain);
    number
        .filter(|number| (T::from(1)..=max).contains(number))
        .ok_or_else(|| {
            format!(
                "{}: a whole number of {of} without a unit is needed, from 1 to {max}",
                word.escape_debug()
            )
        })
}

fn once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{key}` is given twice")),
    }
}

/// The complaint about a word that no rule has.
fn unknown(key: &str, has_value: bool) -> String {
    let distances = KEYS.map(|known| (strsim::levenshtein(key, known), known));
    let (distance, known) = distances.into_iter().min().expect("there are keys");
    // Past a third of its letters the resemblance is chance.
    let hint = match distance <= known.len() / 3 {
        true => format!("; did you mean `{known}`?"),
        // Most likely a piece of a name.
        false if !has_value => {
            format!("; a rule may have {USAGE}, and a topic with blanks stands in quotes")
        }
        false => format!("; a rule may have {USAGE}"),
    };
    format!("there is no `{}` for a topic{hint}", key.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str) -> TopicRule {
        TopicRule {
            pattern: pattern.to_owned(),
            history: 0,
            age_seconds: None,
            slow: SlowPolicy::Close,
            sends_last: false,
        }
    }

    #[test]
    fn a_line_is_a_pattern_and_words_in_any_order() {
        let all = TopicRule {
            history: 100,
            age_seconds: Some(60),
            slow: SlowPolicy::Latest,
            sends_last: true,
            ..rule("news*")
        };
        for line in [
            "news* history=100 age=60 last slow=latest",
            "  news*\tslow=latest   last age=60 history=100 ",
            r#""news*" age=060 last history=100 slow=latest"#,
            r#""ne\u0077s*" last age=60 history=100 slow=latest"#,
        ] {
            assert_eq!(TopicRule::parse(line), Ok(all.clone()), "{line}");
        }
        for pattern in ["news", "*", "history", "last", "a,b", "a=b", "a\"b"] {
            assert_eq!(TopicRule::parse(pattern), Ok(rule(pattern)));
        }
        let close = TopicRule::parse("news slow=close");
        assert_eq!(close, Ok(rule("news")));
    }

    #[test]
    fn what_is_displayed_is_the_same_rule() {
        for (line, shown) in [
            (
                "a last slow=oldest age=5 history=3",
                "a history=3 age=5 last slow=oldest",
            ),
            ("a slow=close", "a"),
            ("  * last", "* last"),
            (r#""a" last"#, "a last"),
            (r#""my topic*" history=1"#, r#""my topic*" history=1"#),
            (r#""a\u002cb""#, "a,b"),
            (r#""a\tb\"" last"#, r#""a\tb\"" last"#),
            (r#""\"a""#, r#""\"a""#),
            (r#""age=5""#, r#""age=5""#),
            ("\"a\u{a0}b\u{7f}\" last", "\"a\u{a0}b\u{7f}\" last"),
        ] {
            let rule = TopicRule::parse(line).expect(line);
            assert_eq!(rule.to_string(), shown);
            assert_eq!(TopicRule::parse(shown), Ok(rule), "{shown}");
        }
    }

    #[test]
    fn complaints_name_the_word_and_what_is_allowed() {
        for (line, complaint) in [
            ("", "a topic has a name"),
            (r#""" last"#, "a topic has a name"),
            ("a*b last", "a topic may have one `*`, at its end"),
            (
                "$sys/* last",
                "topics that begin with `$` are the server's own, and nothing is kept of them",
            ),
            (
                "history=10",
                "the topic is missing before history=10: a rule is `TOPIC history=COUNT …`, and a topic with such a \
                 name stands in quotes",
            ),
            (
                "\"a\"last",
                "a topic in quotes is a JSON string with a blank behind it, such as \"my topic*\" history=10",
            ),
            (
                "\"a last",
                "a topic in quotes is a JSON string with a blank behind it, such as \"my topic*\" history=10",
            ),
            (
                "a history=0",
                "history=0 keeps nothing: leave it out, or name a number from 1 on",
            ),
            (
                "a history=100001",
                "history=100001: a whole number of events without a unit is needed, from 1 to 100000",
            ),
            (
                "a history=+5",
                "history=+5: a whole number of events without a unit is needed, from 1 to 100000",
            ),
            (
                "a history=",
                "history=: a whole number of events without a unit is needed, from 1 to 100000",
            ),
            (
                "a last age=1h",
                "age=1h: a whole number of seconds without a unit is needed, from 1 to 2592000",
            ),
            (
                "a last age=99999999999999999999",
                "age=99999999999999999999: a whole number of seconds without a unit is needed, from 1 to 2592000",
            ),
            (
                "a age=60",
                "age=60 is for kept events, and this rule keeps none: add history=COUNT or last, or leave age out",
            ),
            (
                "a slow=newest",
                "slow=newest: slow is close, oldest or latest",
            ),
            (
                "a last=5",
                "last=5: `last` stands alone, without a value; history=COUNT keeps more than the newest event",
            ),
            (
                "a history",
                "`history` needs a value: a rule may have history=COUNT, age=SECONDS, last and \
                 slow=close|oldest|latest",
            ),
            ("a last last", "`last` is given twice"),
            ("a history=1 history=1", "`history` is given twice"),
            (
                "a histroy=1",
                "there is no `histroy` for a topic; did you mean `history`?",
            ),
            (
                "a size=1",
                "there is no `size` for a topic; a rule may have history=COUNT, age=SECONDS, last and \
                 slow=close|oldest|latest",
            ),
            (
                "my topic\u{1b} history=1",
                "there is no `topic\\u{1b}` for a topic; a rule may have history=COUNT, age=SECONDS, last and \
                 slow=close|oldest|latest, and a topic with blanks stands in quotes",
            ),
        ] {
            assert_eq!(TopicRule::parse(line).expect_err(line), complaint);
        }
    }

    #[test]
    fn a_rule_matches_as_a_grant_does() {
        for (pattern, topic, expected) in [
            ("news", "news", true),
            ("news", "newsroom", false),
            ("news*", "newsroom", true),
            ("news*", "news", true),
            ("news*", "new", false),
            ("*", "anything", true),
            ("*", "", true),
            ("*", "$sys/stats", false),
        ] {
            assert_eq!(rule(pattern).matches(topic), expected, "{pattern} {topic}");
        }
        for (one, other, expected) in [
            ("news", "news", true),
            ("news*", "news", true),
            ("news*", "news_*", true),
            ("news*", "new*", false),
            ("news", "news*", false),
            ("*", "news*", true),
        ] {
            assert_eq!(rule(one).hides(&rule(other)), expected, "{one} {other}");
        }
        assert_eq!(rule("news").exact_name(), Some("news"));
        assert_eq!(rule("news*").exact_name(), None);
    }

    #[test]
    fn the_newest_event_is_kept_for_last() {
        for (line, kept) in [
            ("a", 0),
            ("a slow=oldest", 0),
            ("a last", 1),
            ("a history=1", 1),
            ("a history=7 last", 7),
        ] {
            let rule = TopicRule::parse(line).expect(line);
            assert_eq!((rule.events_kept(), rule.keeps()), (kept, kept > 0));
        }
    }
}
