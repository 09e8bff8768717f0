//! What an accepted token allows, as a token store answers it.
//!
//! Topics whose names begin with `$` are the server's own (`$sys/stats`): only a pattern that begins
//! with `$` too grants them, never `*` and never a grant without patterns.
//!
//! Never here: tokens, stores, clocks, and what has become of a grant since (that is its `Standing`).

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::limits;

/// The first character of the names of the server's own topics. A publisher's event may not name such a topic:
/// it could show false figures to an administrator.
pub const OWN: char = '$';

/// Why a store's answer is not a grant. It has no part of the answer in it, since any word of that may be a piece
/// of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// The list of topics is empty. A grant without patterns allows all topics, but an operator who writes an empty
    /// list means no topic. So an empty list is a refusal, whichever store answers with it.
    NoTopic,
    /// One of the patterns is wrong.
    Topic {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopic => f.write_str("it allows no topic: topics is an empty list"),
            Self::Topic { number, reason } => write!(f, "topics, pattern {number}: {reason}"),
        }
    }
}

/// What an accepted token allows, and for how long.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    /// The token's name for logs, after [`clean_name`]; never the token itself.
    pub name: String,
    /// Patterns of the topics that the client may subscribe to: exact names, or beginnings of names followed by
    /// `*`. Empty: all topics but the server's own.
    pub topics: Vec<String>,
    /// In seconds of Unix time, the last moment at which the token is valid. `None`: it does not expire.
    pub expires_at: Option<u64>,
    /// The store's own id of the token, where the store accepts several texts as the same token: to revoke one of
    /// these texts is to revoke all. The gate takes the id out. `None`: the token is the text that the client
    /// presents.
    pub token_id: Option<Box<str>>,
}

impl Grant {
    /// Makes a grant of a store's answer. A token without a name, or with one of which [`clean_name`] leaves nothing,
    /// is called `nameless`. Without a list of topics the grant allows all but the server's own.
    ///
    /// # Errors
    /// Returns what is wrong with the list of topics.
    pub fn new(
        name: Option<&str>,
        nameless: &str,
        topics: Option<Vec<String>>,
        expires_at: Option<u64>,
    ) -> Result<Self, Flaw> {
        let name = name.map(clean_name).filter(|name| !name.is_empty());
        if topics.as_ref().is_some_and(Vec::is_empty) {
            return Err(Flaw::NoTopic);
        }
        let topics = topics.unwrap_or_default();
        for (index, pattern) in topics.iter().enumerate() {
            check_pattern(pattern).map_err(|reason| Flaw::Topic {
                number: index + 1,
                reason,
            })?;
        }
        Ok(Self {
            name: name.unwrap_or_else(|| nameless.to_owned()),
            topics,
            expires_at,
            token_id: None,
        })
    }

    /// Returns the grant with [`Grant::token_id`]; an empty id counts as none.
    #[must_use]
    pub fn with_token_id(mut self, token_id: Option<String>) -> Self {
        self.token_id = token_id.filter(|id| !id.is_empty()).map(Into::into);
        self
    }

    /// Returns true when the token has expired at `unix_seconds`.
    pub fn has_ended(&self, unix_seconds: u64) -> bool {
        has_ended(self.expires_at, unix_seconds)
    }

    /// Returns true when the client may subscribe to `topic`.
    pub fn allows(&self, topic: &str) -> bool {
        let is_own = topic.starts_with(OWN);
        if self.topics.is_empty() {
            return !is_own;
        }
        self.topics
            .iter()
            .filter(|pattern| !is_own || pattern.starts_with(OWN))
            .any(|pattern| covers(pattern, topic))
    }
}

/// Returns true when `pattern` is the name of `topic`, or ends with `*` and `topic` begins with what stands before it.
pub fn covers(pattern: &str, topic: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => topic.starts_with(start),
        None => topic == pattern,
    }
}

/// Returns true when a token with this [`Grant::expires_at`] has expired at `unix_seconds`.
pub fn has_ended(expires_at: Option<u64>, unix_seconds: u64) -> bool {
    expires_at.is_some_and(|last| unix_seconds > last)
}

/// Returns `text` as it may stand in a log line: without characters that end a line, move the cursor or turn the
/// direction of the text around, and cut at `limits::TOKEN_NAME_BYTES_MAX`.
pub fn clean_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().filter(|&c| !is_unfit(c)) {
        if name.len() + c.len_utf8() > limits::TOKEN_NAME_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    name
}

/// Returns true for control characters, ends of lines and paragraphs, and marks of direction (Unicode's
/// Bidi_Control).
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

/// Checks a pattern of [`Grant::topics`], or of another list of topics.
///
/// # Errors
/// Returns what is wrong with the pattern.
pub fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    match pattern.find('*') {
        _ if pattern.is_empty() => Err("a topic has a name"),
        Some(at) if at + 1 < pattern.len() => Err("a topic may have one `*`, at its end"),
        _ => Ok(()),
    }
}

/// Reads a moment in the form of RFC 3339 (`2099-12-31T12:00:00Z`) and returns it in seconds of Unix time; a moment
/// before 1970 is 0. Returns `None` for text of another form.
pub fn parse_moment(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(moment.unix_timestamp().try_into().unwrap_or(0))
}

/// In seconds of Unix time, in the year 5138. A larger number was meant in milliseconds.
const SECONDS_MAX: f64 = 1e11;

/// Rounds a moment in seconds of Unix time down to a whole second; a moment before 1970 is 0. Returns `None` for a
/// number that cannot be meant as such a moment.
pub fn moment_of_seconds(seconds: f64) -> Option<u64> {
    // The comparison is false for NaN. The cast turns negative numbers into 0.
    (seconds < SECONDS_MAX).then_some(seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(topics: &[&str]) -> Grant {
        Grant {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Grant::default()
        }
    }

    #[test]
    fn a_grant_covers_names_and_beginnings() {
        let some = grant(&["news", "blog_*"]);
        for (topic, allowed) in [
            ("news", true),
            ("newsroom", false),
            ("blog_1", true),
            ("blog_", true),
            ("blog", false),
            ("", false),
        ] {
            assert_eq!(some.allows(topic), allowed, "{topic}");
        }
        assert!(grant(&[]).allows("anything"));
        assert!(grant(&["*"]).allows("anything"));
    }

    #[test]
    fn the_servers_own_topics_are_granted_by_name_alone() {
        assert!(!grant(&[]).allows("$sys/stats"));
        assert!(!grant(&["*"]).allows("$sys/stats"));
        assert!(grant(&["$sys/*"]).allows("$sys/stats"));
        assert!(!grant(&["$sys/*"]).allows("news"));
        assert!(grant(&["*", "$sys/*"]).allows("news"));
    }

    #[test]
    fn a_store_says_a_name_topics_and_an_end() {
        let topics = |topics: &[&str]| Some(grant(topics).topics);
        assert_eq!(
            Grant::new(Some("ann"), "api", topics(&["a", "b_*"]), Some(7)),
            Ok(Grant {
                name: "ann".to_owned(),
                topics: vec!["a".to_owned(), "b_*".to_owned()],
                expires_at: Some(7),
                token_id: None,
            })
        );
        for name in [None, Some(""), Some("\n\u{202E}")] {
            let grant = Grant::new(name, "api", None, None).expect("a grant");
            assert_eq!((&*grant.name, grant.allows("any")), ("api", true));
        }
        assert_eq!(
            Grant::new(None, "api", topics(&[]), None),
            Err(Flaw::NoTopic)
        );
        let flaw = Grant::new(None, "api", topics(&["a", "*secret"]), None).expect_err("no topic");
        assert_eq!(
            flaw.to_string(),
            "topics, pattern 2: a topic may have one `*`, at its end"
        );
    }

    #[test]
    fn a_name_is_fit_for_a_log_line() {
        let long = "é".repeat(limits::TOKEN_NAME_BYTES_MAX);
        for (text, name) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Ada\nLovelace\u{1b}[31m", "AdaLovelace[31m"),
            ("a\u{202E}b\u{2066}c\u{200F}d\u{61C}e\u{2028}f", "abcdef"),
            (&long, &long[..limits::TOKEN_NAME_BYTES_MAX]),
        ] {
            assert_eq!(clean_name(text), name);
        }
    }

    #[test]
    fn the_last_good_second_is_good() {
        for (expires_at, ended) in [(None, false), (Some(6), true), (Some(7), false)] {
            let grant = Grant {
                expires_at,
                ..Grant::default()
            };
            assert_eq!(grant.has_ended(7), ended, "{expires_at:?}");
        }
    }

    #[test]
    fn a_pattern_has_one_star_at_its_end() {
        for (pattern, is_good) in [
            ("a", true),
            ("a_*", true),
            ("*", true),
            ("", false),
            ("*a", false),
            ("a**", false),
        ] {
            assert_eq!(check_pattern(pattern).is_ok(), is_good, "{pattern}");
        }
    }

    #[test]
    fn moments_are_those_of_rfc_3339() {
        for (text, moment) in [
            ("1970-01-01T00:00:10Z", Some(10)),
            ("2026-11-24T12:00:00Z", Some(1_795_521_600)),
            ("2026-11-24T13:00:00+01:00", Some(1_795_521_600)),
            ("2026-11-24t12:00:00.9z", Some(1_795_521_600)),
            ("1969-12-31T23:59:59Z", Some(0)),
            ("2026-11-24", None),
            ("2026-11-24T12:00:00", None),
            ("1795521600", None),
            ("", None),
        ] {
            assert_eq!(parse_moment(text), moment, "{text}");
        }
    }

    #[test]
    fn moments_in_seconds_are_not_in_milliseconds() {
        for (seconds, moment) in [
            (1_795_521_600.9, Some(1_795_521_600)),
            (-1.5, Some(0)),
            (f64::NEG_INFINITY, Some(0)),
            (1_795_521_600_000.0, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
        ] {
            assert_eq!(moment_of_seconds(seconds), moment, "{seconds}");
        }
    }
}
