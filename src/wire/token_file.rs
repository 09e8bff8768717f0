//! Parses a file of tokens into a list that finds a token by its digest.
//!
//! Each line has one token:
//! ```text
//! # who       what is allowed      until when                    for the log
//! TOKEN       topics=news,blog_*   expires=2099-12-31T12:00:00Z  name=alice
//! sha256:HEX
//! ```
//! Spaces and tabs separate words. A word that begins with `#` begins a comment; a `#` inside a token belongs to the
//! token. A token that begins with `#`, begins like `topics=`, or has white space in it can stand here only as its
//! SHA-256.
//!
//! A word that is not understood is an error: with a misspelt `expires`, a token would be valid for ever.
//!
//! Never here: reading the file, clocks, and words of the file in an error, since any of them may be a piece of a
//! token.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;

use crate::limits;
use crate::wire::grant::{self, Grant};
use crate::wire::token::{Digest, Token};

/// The tokens of one file: 64 bytes each, and 32 for its name, if it has one.
#[derive(Default)]
pub struct FileTokens {
    /// Sorted by digest; no two are equal.
    entries: Vec<FileToken>,
    /// The lists that [`FileToken::topics`] points to. Most lines of a file allow the same topics, so a list is kept
    /// once.
    topics: Vec<Vec<String>>,
    /// How many tokens stand in the file as they are, and not as their digest.
    plain: usize,
}

struct FileToken {
    digest: Digest,
    /// In seconds of Unix time. 0 becomes 1: both are over.
    expires_at: Option<NonZeroU64>,
    /// Empty: the line gives no name.
    name: Box<str>,
    /// The place of the token's list in [`FileTokens::topics`].
    topics: u32,
    /// Counted from 1.
    line: u32,
}

const _: () = assert!(size_of::<FileToken>() == 64);

/// What is wrong with a file. It has no word of the line in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// The end of a sentence that begins with the line's number.
    pub reason: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl FileTokens {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// Returns the first line that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, LineError> {
        let text = text.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(text);
        let mut listing = Self {
            topics: vec![Vec::new()],
            ..Self::default()
        };
        let mut known_topics = HashMap::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let number = index + 1;
            listing
                .take_line(line, number as u32, &mut known_topics)
                .map_err(|reason| LineError {
                    line: number,
                    reason,
                })?;
        }
        listing.sort()?;
        Ok(listing)
    }

    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        number: u32,
        known_topics: &mut HashMap<&'a str, u32>,
    ) -> Result<(), String> {
        if line.len() > limits::TOKEN_LINE_BYTES_MAX {
            let max = limits::TOKEN_LINE_BYTES_MAX;
            return Err(format!("it has more than {max} bytes"));
        }
        let line = str::from_utf8(line).map_err(|_| "it is not valid UTF-8")?;
        let is_odd = |c: char| c != '\t' && (c.is_control() || c.is_whitespace() && c != ' ');
        if line.contains(is_odd) {
            return Err("it has a control character or an unusual space in it".to_owned());
        }
        let mut words = line
            .split([' ', '\t'])
            .filter(|word| !word.is_empty())
            .take_while(|word| !word.starts_with('#'));
        let Some(token) = words.next() else {
            return Ok(());
        };
        if ["topics=", "expires=", "name="]
            .iter()
            .any(|key| token.starts_with(key))
        {
            return Err("the token is missing: it goes first".to_owned());
        }
        let digest = match Digest::from_written(token) {
            Some(digest) => digest?,
            None => {
                self.plain += 1;
                Token::new(token).digest()
            }
        };
        let (mut topics, mut expires_at, mut name) = (None, None, None);
        for (index, word) in words.enumerate() {
            let Some((key, value)) = word.split_once('=') else {
                return Err(unknown_word(index));
            };
            let is_second = match key {
                "topics" => topics.replace(self.topics(value, known_topics)?).is_some(),
                "expires" => expires_at.replace(moment(value)?).is_some(),
                "name" => name.replace(checked_name(value)?).is_some(),
                _ => return Err(unknown_word(index)),
            };
            if is_second {
                return Err(format!("{key}= is given twice"));
            }
        }
        self.entries.push(FileToken {
            digest,
            expires_at,
            name: name.unwrap_or_default().into(),
            topics: topics.unwrap_or(0),
            line: number,
        });
        Ok(())
    }

    /// Returns the place in `self.topics` of a list with commas, and adds the list when it is new.
    fn topics<'a>(
        &mut self,
        list: &'a str,
        known: &mut HashMap<&'a str, u32>,
    ) -> Result<u32, String> {
        if let Some(&place) = known.get(list) {
            return Ok(place);
        }
        let patterns = list.split(',').map(str::to_owned).collect();
        let checked =
            Grant::new(None, "", Some(patterns), None).map_err(|flaw| flaw.to_string())?;
        let place = self.topics.len() as u32;
        self.topics.push(checked.topics);
        known.insert(list, place);
        Ok(place)
    }

    fn sort(&mut self) -> Result<(), LineError> {
        self.entries.shrink_to_fit();
        self.entries
            .sort_unstable_by_key(|entry| (*entry.digest.as_bytes(), entry.line));
        let twice = self
            .entries
            .windows(2)
            .filter(|pair| pair[0].digest.matches(&pair[1].digest))
            .min_by_key(|pair| pair[1].line);
        match twice {
            None => Ok(()),
            Some(pair) => Err(LineError {
                line: pair[1].line as usize,
                reason: format!("it has the same token as line {}", pair[0].line),
            }),
        }
    }

    /// Returns what the token with `digest` allows; `None` when the token is not in the list.
    ///
    /// The search is not in constant time, and need not be. Its time could only show how a digest compares with those
    /// in the list. To use that, an attacker has to find tokens whose digests begin with chosen bytes, which is 256
    /// times the work for each further byte; and the first bytes of a digest do not lead to a random token. The
    /// comparison that decides is `matches`, which takes constant time.
    pub fn find(&self, digest: &Digest) -> Option<Grant> {
        let start = self
            .entries
            .partition_point(|entry| entry.digest.as_bytes() < digest.as_bytes());
        let entry = self.entries.get(start)?;
        entry.digest.matches(digest).then(|| Grant {
            name: match &*entry.name {
                "" => format!("line {}", entry.line),
                name => name.to_owned(),
            },
            topics: self.topics[entry.topics as usize].clone(),
            expires_at: entry.expires_at.map(NonZeroU64::get),
            token_id: None,
        })
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true when the file has no token, and so lets nobody in.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many tokens have expired at `unix_seconds`.
    pub fn expired(&self, unix_seconds: u64) -> usize {
        let ends = self.entries.iter().map(|entry| entry.expires_at);
        ends.filter(|end| grant::has_ended(end.map(NonZeroU64::get), unix_seconds))
            .count()
    }

    /// Returns how many tokens stand in the file as they are, and not as their digest.
    pub fn plain(&self) -> usize {
        self.plain
    }
}

/// Shows the number of tokens only.
impl fmt::Debug for FileTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileTokens({} tokens)", self.len())
    }
}

/// Returns the reason for a word that is not understood; `index` counts the words after the token from 0.
fn unknown_word(index: usize) -> String {
    format!(
        "word {} is none of topics=, expires= and name= (a comment begins with #)",
        index + 2
    )
}

fn moment(text: &str) -> Result<NonZeroU64, String> {
    let moment = grant::parse_moment(text)
        .ok_or("expires= is no moment of RFC 3339, such as 2099-12-31T12:00:00Z")?;
    Ok(NonZeroU64::new(moment).unwrap_or(NonZeroU64::MIN))
}

fn checked_name(text: &str) -> Result<&str, String> {
    match text.len() {
        0 => Err("name= is empty".to_owned()),
        1..=limits::TOKEN_NAME_BYTES_MAX if grant::clean_name(text) == text => Ok(text),
        1..=limits::TOKEN_NAME_BYTES_MAX => {
            Err("name= has a character that turns a line of the log around".to_owned())
        }
        _ => Err(format!(
            "name= has more than {} bytes",
            limits::TOKEN_NAME_BYTES_MAX
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FileTokens {
        FileTokens::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn find(listing: &FileTokens, token: &str) -> Option<Grant> {
        listing.find(&Token::new(token).digest())
    }

    fn error(text: impl AsRef<[u8]>) -> String {
        match FileTokens::parse(text.as_ref()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{}: taken", String::from_utf8_lossy(text.as_ref())),
        }
    }

    #[test]
    fn a_line_is_a_token_and_what_it_allows() {
        let listing = parse(
            "alice-token topics=news,blog_* expires=2026-11-24T12:00:00Z name=alice\n\
             bob-token\n\
             sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\tname=abc\n\
             b64+with/every=sign==   topics=news,blog_*\n",
        );
        assert_eq!((listing.len(), listing.plain()), (4, 3));
        assert_eq!(
            find(&listing, "alice-token"),
            Some(Grant {
                name: "alice".to_owned(),
                topics: vec!["news".to_owned(), "blog_*".to_owned()],
                expires_at: Some(1_795_521_600),
                ..Grant::default()
            })
        );
        assert_eq!(
            find(&listing, "bob-token"),
            Some(Grant {
                name: "line 2".to_owned(),
                ..Grant::default()
            })
        );
        assert_eq!(find(&listing, "abc").unwrap().name, "abc");
        assert_eq!(
            find(&listing, "b64+with/every=sign==")
                .unwrap()
                .topics
                .len(),
            2
        );
        for unknown in ["", "alice", "name=alice", "sha256:ba7816bf8f01cfea"] {
            assert_eq!(find(&listing, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn comments_empty_lines_and_other_editors_are_put_up_with() {
        let listing = parse(
            "\u{FEFF}# tokens\r\n\r\n \t \r\none # the first\r\n  two\t#name=x\r\nthr#ee name=a#b\r\n\
             four",
        );
        assert_eq!(listing.len(), 4);
        for (token, name) in [
            ("one", "line 4"),
            ("two", "line 5"),
            ("thr#ee", "a#b"),
            ("four", "line 7"),
        ] {
            assert_eq!(find(&listing, token).unwrap().name, name);
        }
        assert!(parse("").is_empty() && parse("\n#\n").is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_its_words() {
        let long = "x".repeat(limits::TOKEN_LINE_BYTES_MAX + 1);
        let long_name = format!("a name={}", "n".repeat(limits::TOKEN_NAME_BYTES_MAX + 1));
        for (text, expected) in [
            ("ok\nsesame again", "line 2: word 2 is none of topics="),
            ("sesame topics=a sesame=1", "line 1: word 3 is none of"),
            ("sesame Topics=a", "line 1: word 2 is none of"),
            ("sesame name=a name=a", "line 1: name= is given twice"),
            ("sesame name=", "line 1: name= is empty"),
            (
                "a name=\u{202E}sesame",
                "line 1: name= has a character that",
            ),
            (&long_name, "line 1: name= has more than 128 bytes"),
            ("sesame topics=", "line 1: topics, pattern 1: a topic has"),
            ("sesame topics=a,,b", "pattern 2: a topic has a name"),
            ("sesame topics=a,*sesame", "pattern 2: a topic may have one"),
            ("sesame expires=2026-11-24", "line 1: expires= is no moment"),
            ("sesame expires=sesame", "line 1: expires= is no moment"),
            ("sha256:sesame", "line 1: `sha256:` is followed by 64"),
            ("topics=sesame", "line 1: the token is missing"),
            ("name=sesame", "line 1: the token is missing"),
            (
                "\n\nsesame\na\nsesame",
                "line 5: it has the same token as line 3",
            ),
            (
                "abc\nsha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                "line 2: it has the same token as line 1",
            ),
            ("sesame\0", "line 1: it has a control character"),
            (
                "sesame\u{A0}name=x",
                "line 1: it has a control character or an",
            ),
            ("ses\rame", "line 1: it has a control character"),
            (&long, "line 1: it has more than 65536 bytes"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(
                !error.contains("sesame") && !error.contains('\n'),
                "{error}"
            );
        }
        assert_eq!(error(b"ok\nses\xFFame\n"), "line 2: it is not valid UTF-8");
    }

    #[test]
    fn of_all_that_is_given_twice_the_first_is_told() {
        let text = "b\na\nc\nc\na\nb\na\n";
        assert_eq!(error(text), "line 4: it has the same token as line 3");
    }

    #[test]
    fn what_is_over_since_1970_is_over() {
        let listing = parse("a expires=1969-01-01T00:00:00Z");
        assert_eq!(find(&listing, "a").unwrap().expires_at, Some(1));
    }

    #[test]
    fn debug_counts() {
        assert_eq!(format!("{:?}", parse("sesame")), "FileTokens(1 tokens)");
    }
}
