//! What a parent tells a worker at its start, as one line of JSON on the worker's standard input.
//!
//! The worker has the parent's own flags and environment. The line has what is not in them. It goes through a pipe,
//! because tokens are in it: other users of the machine can read a command line, and the environment of some processes.
//!
//! Never here: what a worker makes of it (`main`).

use std::io::BufRead;
use std::net::SocketAddr;

use serde_json::Value;

use crate::wire::json;
use crate::wire::token::{Digest, Token};

/// The line.
#[derive(Clone, Debug)]
pub struct Briefing {
    /// The worker's number, from 1 on.
    pub worker: usize,
    /// How many workers there are.
    pub count: usize,
    /// Where the parent hands events on.
    pub endpoint: String,
    /// Where clients connect. All workers listen there.
    pub addresses: Vec<SocketAddr>,
    /// What the parent shows at the worker's admin listener.
    pub admin_token: Token,
    /// The token of clients, when the parent made one for the run.
    pub client_token: Option<Token>,
    /// What was revoked since the parent's start.
    pub revoked: Vec<Digest>,
}

impl Briefing {
    /// Reads the line.
    ///
    /// # Errors
    /// A sentence, when there is no such line: nobody but a parent starts a worker.
    pub fn read(input: &mut impl BufRead) -> Result<Self, String> {
        let mut line = String::new();
        let read = input.read_line(&mut line);
        read.ok().and_then(|_| Self::parse(&line)).ok_or_else(|| {
            "`worker` is no command for people: `newswire serve --workers N` starts its workers itself".to_owned()
        })
    }

    /// The line, with its end.
    pub fn line(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let revoked: Vec<String> = self.revoked.iter().map(Digest::to_written).collect();
        let mut line = json::text(|line| {
            line.put("worker", self.worker)
                .put("count", self.count)
                .put("endpoint", &*self.endpoint)
                .put("addresses", &addresses[..])
                .put("admin_token", &*self.admin_token.reveal())
                .put(
                    "client_token",
                    self.client_token.as_ref().map(Token::reveal),
                )
                .put("revoked", &revoked[..]);
        });
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let number = |key: &str| usize::try_from(line[key].as_u64()?).ok();
        let texts = |key: &str| {
            let list = line[key].as_array()?.iter();
            list.map(Value::as_str).collect::<Option<Vec<&str>>>()
        };
        Some(Self {
            worker: number("worker")?,
            count: number("count").filter(|&count| count > 0)?,
            endpoint: line["endpoint"].as_str()?.to_owned(),
            addresses: (texts("addresses")?.into_iter())
                .map(|text| text.parse().ok())
                .collect::<Option<_>>()?,
            admin_token: Token::new(line["admin_token"].as_str()?),
            client_token: line["client_token"].as_str().map(Token::new),
            revoked: (texts("revoked")?.into_iter())
                .map(|text| Digest::from_written(text)?.ok())
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reads_what_its_parent_wrote() {
        let briefing = Briefing {
            worker: 2,
            count: 3,
            endpoint: "ipc:///tmp/\"x\"/events".to_owned(),
            addresses: vec!["[::1]:80".parse().expect("an address")],
            admin_token: Token::new("a\\b"),
            client_token: None,
            revoked: vec![Token::new("gone").digest()],
        };
        let line = briefing.line();
        assert_eq!(line.matches('\n').count(), 1);
        let read = Briefing::read(&mut line.as_bytes()).expect("a briefing");
        assert_eq!(read.line(), line);
        assert!(read.admin_token == briefing.admin_token);
        assert!(!format!("{read:?}").contains("a\\b"), "no token is shown");
    }

    #[test]
    fn a_person_who_starts_a_worker_is_told_what_to_do() {
        for input in ["", "\n", "{}\n", "hello\n"] {
            let sentence = Briefing::read(&mut input.as_bytes()).expect_err(input);
            assert!(
                sentence.contains("newswire serve --workers N"),
                "{sentence}"
            );
        }
    }
}
