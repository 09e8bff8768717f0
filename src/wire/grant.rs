//! What a token allows, as a store says it.
//!
//! Topics whose names begin with `$` are the server's own (`$sys/stats`): only a pattern that begins
//! with `$` too grants them, never `*` and never a grant without patterns.
//!
//! Never here: tokens, stores, whether a grant still holds (that is its `Standing`), clocks.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What begins the names of the server's own topics. No publisher's event may name one, or it could
/// tell an administrator anything.
pub const OWN: char = '$';

/// What an accepted token allows, and for how long.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    /// For logs; never the token.
    pub name: String,
    /// Topics that may be subscribed to: exact names, or with one trailing `*`. Empty: all but the
    /// server's own.
    pub topics: Vec<String>,
    /// In seconds of Unix time, the last moment at which it is good. `None`: it does not expire.
    pub expires_at: Option<u64>,
}

impl Grant {
    /// Whether `topic` may be subscribed to.
    pub fn allows(&self, topic: &str) -> bool {
        let is_own = topic.starts_with(OWN);
        if self.topics.is_empty() {
            return !is_own;
        }
        self.topics
            .iter()
            .filter(|pattern| !is_own || pattern.starts_with(OWN))
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => topic.starts_with(start),
                None => topic == pattern,
            })
    }
}

/// Whether `pattern` can stand among [`Grant::topics`].
///
/// # Errors
/// What is wrong with it.
pub fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    match pattern.find('*') {
        _ if pattern.is_empty() => Err("a topic has a name"),
        Some(at) if at + 1 < pattern.len() => Err("a topic may have one `*`, at its end"),
        _ => Ok(()),
    }
}

/// A moment as RFC 3339 has it (`2026-11-24T12:00:00Z`), in seconds of Unix time; what is before 1970
/// is 0. `None` when it is no such text.
pub fn parse_moment(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(moment.unix_timestamp().try_into().unwrap_or(0))
}

/// In seconds of Unix time, in the year 5138: what lies behind was meant in milliseconds.
const SECONDS_MAX: f64 = 1e11;

/// A moment in seconds of Unix time, to the whole second below; what is before 1970 is 0. `None` when
/// it can be none.
pub fn moment_of_seconds(seconds: f64) -> Option<u64> {
    // NaN is on no side. A cast stops at zero.
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
