//! Whole conversations, in memory and in virtual time. The stage that they are played on is here.

mod access;
mod conversation;
mod routes;

use std::time::Duration;

use super::conversation::{Conversation, SpareReason};
use super::{AccessRules, AdminRules, Command, Response, Whom};
use crate::limits;
use crate::stats::{Door, HttpStatus, Refusal};
use crate::wire::envelope::Form;
use crate::wire::http::{Acceptance, accept_key};
use crate::wire::publication::Events;
use crate::wire::token::Token;

const ADMIN: &str = "the-admin-token";
const PUBLISH: &str = "the-publish-token";

fn rules(admin: Option<&str>, publish: Option<&str>) -> AdminRules {
    let token = |text: Option<&str>| text.map(Token::new);
    AdminRules {
        access: AccessRules::new(token(admin).as_ref(), token(publish).as_ref()),
        body_bytes_max: 1_000,
    }
}

/// One side of a conversation that answers every command with 200 and the command's name.
struct Talk {
    conversation: Conversation,
    rules: AdminRules,
    now: Duration,
    /// What the peer has got.
    got: Vec<u8>,
    /// What was to be done.
    commands: Vec<Command>,
}

impl Talk {
    fn new(door: Door, rules: AdminRules) -> Self {
        Self {
            conversation: Conversation::new(door, Duration::ZERO),
            rules,
            now: Duration::ZERO,
            got: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Hands in as many as are wanted at a time, `cut` at the most; what is never wanted stays.
    fn send(&mut self, mut bytes: &[u8], cut: usize) {
        self.settle();
        while !bytes.is_empty() {
            let share = self.conversation.wants().min(cut).min(bytes.len());
            if share == 0 {
                return;
            }
            self.conversation
                .handle_bytes(self.now, &bytes[..share], &self.rules);
            bytes = &bytes[share..];
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            if let Some(command) = self.conversation.poll_command() {
                let name = format!("{command:?}");
                let name = name.split(['(', ' ']).next().unwrap_or_default();
                let response = Response::json(format!("{name:?}"));
                self.commands.push(command);
                self.conversation.answer(self.now, &response);
            }
            // Three bytes at a time: a slow reader.
            let output = self.conversation.output();
            if output.is_empty() {
                return;
            }
            let share = output.len().min(3);
            self.got.extend_from_slice(&output[..share]);
            self.conversation
                .handle_written(self.now, share, &self.rules);
        }
    }

    /// The answers that the peer has got, as status and body.
    fn answers(&self) -> Vec<(u16, String)> {
        let mut rest = std::str::from_utf8(&self.got).expect("text");
        let mut answers = Vec::new();
        while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).expect("a status");
            let status: u16 = status.parse().expect("a number");
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "));
            let length: usize = length.map_or(0, |l| l.parse().expect("a number"));
            answers.push((status, behind[..length].to_owned()));
            rest = &behind[length..];
        }
        assert_eq!(rest, "", "nothing is left over");
        answers
    }

    fn statuses(&self) -> Vec<u16> {
        self.answers().iter().map(|(status, _)| *status).collect()
    }
}

/// What one request is answered, by somebody who needs no token.
fn ask(request: &str) -> (u16, String) {
    ask_with(Door::Admin, rules(None, None), request)
}

fn ask_with(door: Door, rules: AdminRules, request: &str) -> (u16, String) {
    let mut stage = Talk::new(door, rules);
    stage.send(request.as_bytes(), usize::MAX);
    let mut answers = stage.answers();
    assert_eq!(answers.len(), 1, "{request}: {answers:?}");
    answers.remove(0)
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n{lines}\r\n")
}

fn post(path: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:8081\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    )
}

const JSON: &str = "Content-Type: application/json\r\n";
