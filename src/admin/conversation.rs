//! One connection's side of HTTP/1.1: bytes in, commands out; answers in, bytes out.
//!
//! One request is dealt with at a time. Until its answer has left, no byte more is wanted: a client that
//! sends ahead, or does not read, waits in its own kernel. So a conversation holds one head or one
//! body, and one answer. Each step has its time: a head, a body, the reading of an answer, the silence
//! between two requests.
//!
//! A connection that is closed while its peer still sends is answered by the kernel with a reset, which
//! destroys the last answer on its way: so what still comes after that is read and forgotten for a
//! moment.
//!
//! Never here: sockets, clocks (times are arguments), what a command does.

use std::time::Duration;

use super::access::Right;
use super::response::Response;
use super::routes::{self, Admitted};
use super::{AdminRules, Command, head};
use crate::limits;
use crate::stats::{Door, HttpStatus};
use crate::wire::growth;
use crate::wire::http::{self, Answer, Head, NO_LINES};

/// How long the peer may take to end its half when nothing more is said.
const LINGER: Duration = Duration::from_secs(limits::ADMIN_LINGER_SECONDS);

/// In bytes that are read and forgotten at a time.
const FORGOTTEN_BYTES: usize = 64 * 1024;

const HEAD: Duration = Duration::from_secs(limits::ADMIN_HEAD_SECONDS);
const BODY: Duration = Duration::from_secs(limits::ADMIN_BODY_SECONDS);
const ANSWER: Duration = Duration::from_secs(limits::ADMIN_ANSWER_SECONDS);
const IDLE: Duration = Duration::from_secs(limits::ADMIN_IDLE_SECONDS);
const STALL: Duration = Duration::from_secs(limits::ADMIN_STALL_SECONDS);

/// The word that some clients await before they send a body.
const CONTINUE: Answer<'static> = Answer {
    status: "100 Continue",
    lines: &[],
    content: None,
};

#[derive(Debug)]
enum Phase {
    /// A head is awaited, or under way.
    Head,
    /// The head was good, the body is under way.
    Body(Box<Admitted>),
    /// The command was handed out, the answer is awaited.
    Answering { is_head: bool, keeps_alive: bool },
    /// The answer is on its way.
    Writing { keeps_alive: bool },
    /// Nothing more is said; `is_told` once the peer has heard that.
    Lingering { is_told: bool },
    /// Nothing more happens.
    Over,
}

/// Why a conversation can be spared when places are few. Who goes first stands first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Sparable {
    /// It has not asked for anything yet, or not again.
    Silent,
    /// It has had its last answer.
    Lingering,
    /// What it is answered needed no right: a file, a refusal.
    Open,
    /// It has shown a right, and has not asked for anything again.
    Idle,
    /// A publisher's, at the administrators' door.
    Guest,
    /// It has a right, and has neither sent nor read anything for some time.
    Stalled,
}

/// One connection.
#[derive(Debug)]
pub struct Conversation {
    door: Door,
    /// Of the request under way; `Anybody`'s while there is none.
    right: Right,
    /// True exactly when a request of this connection had a right.
    has_shown_right: bool,
    /// When a byte last came or went.
    moved: Duration,
    phase: Phase,
    /// What has come of a head or a body, and what a client has sent ahead with it.
    input: Vec<u8>,
    output: Vec<u8>,
    /// In bytes of `output`.
    written: usize,
    /// When the patience of this phase ends.
    due: Duration,
    command: Option<Command>,
    /// Whole lines: what the answer to the request under way says to a page of another site.
    cors: String,
    /// What was answered and has not been counted.
    answered: Option<HttpStatus>,
}

impl Conversation {
    /// With somebody who has just come in by `door`.
    pub fn new(door: Door, now: Duration) -> Self {
        Self {
            door,
            right: Right::Anybody,
            has_shown_right: false,
            moved: now,
            phase: Phase::Head,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            due: now + HEAD,
            command: None,
            cors: String::new(),
            answered: None,
        }
    }

    /// Where it came in.
    pub fn door(&self) -> Door {
        self.door
    }

    /// Whether no request of this connection has had a right so far.
    pub fn is_stranger(&self) -> bool {
        !self.has_shown_right
    }

    /// In bytes, how much may be handed in now.
    pub fn wants(&self) -> usize {
        match &self.phase {
            Phase::Head => limits::ADMIN_HEAD_BYTES_MAX.saturating_sub(self.input.len()),
            Phase::Body(admitted) => admitted.body_bytes.saturating_sub(self.input.len()),
            Phase::Lingering { .. } => FORGOTTEN_BYTES,
            Phase::Answering { .. } | Phase::Writing { .. } | Phase::Over => 0,
        }
    }

    /// Bytes came.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8], rules: &AdminRules) {
        if matches!(self.phase, Phase::Lingering { .. } | Phase::Over) {
            return;
        }
        self.moved = now;
        let is_first = self.input.is_empty();
        if matches!(self.phase, Phase::Head) && is_first {
            self.due = now + HEAD;
        }
        let most = self.input.len() + self.wants();
        growth::append(&mut self.input, bytes, most);
        // The first bytes tell a client that speaks something else. After that only a line's end can
        // complete a head: one that comes a byte at a time is not parsed at each of them.
        let is_worth_it = is_first || bytes.contains(&b'\n') || self.wants() == 0;
        if !matches!(self.phase, Phase::Head) || is_worth_it {
            self.advance(now, rules);
        }
    }

    /// The peer's half has ended.
    pub fn handle_end(&mut self) {
        match self.phase {
            // It has asked, and still reads.
            Phase::Answering { is_head, .. } => {
                self.phase = Phase::Answering {
                    is_head,
                    keeps_alive: false,
                };
            }
            Phase::Writing { .. } => self.phase = Phase::Writing { keeps_alive: false },
            Phase::Head | Phase::Body(_) | Phase::Lingering { .. } | Phase::Over => {
                self.phase = Phase::Over;
            }
        }
    }

    /// A command to be carried out. Its answer is awaited from now on.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.command.take()
    }

    /// What was answered since this was last asked.
    pub fn poll_answered(&mut self) -> Option<HttpStatus> {
        self.answered.take()
    }

    /// The answer to the command.
    pub fn answer(&mut self, now: Duration, response: &Response) {
        if let Phase::Answering {
            is_head,
            keeps_alive,
        } = self.phase
        {
            self.moved = now;
            self.respond(now, response, is_head, keeps_alive);
        }
    }

    /// Refuses the request under way, whatever has come of it.
    pub fn turn_away(&mut self, now: Duration, response: &Response) {
        let is_head = match &self.phase {
            Phase::Body(admitted) => admitted.is_head,
            Phase::Answering { is_head, .. } => *is_head,
            _ => return,
        };
        self.command = None;
        self.right = Right::Anybody;
        self.respond(now, response, is_head, false);
    }

    /// What is to be written.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// So much of it has been.
    pub fn handle_written(&mut self, now: Duration, bytes: usize, rules: &AdminRules) {
        self.written += bytes;
        self.moved = now;
        if self.written < self.output.len() {
            return;
        }
        // An answer may be large; an idle connection keeps nothing of it.
        (self.output, self.written) = (Vec::new(), 0);
        if let Phase::Writing { keeps_alive } = self.phase {
            if !keeps_alive {
                self.phase = Phase::Lingering { is_told: false };
                self.due = now + LINGER;
                return;
            }
            self.phase = Phase::Head;
            self.right = Right::Anybody;
            self.due = now + if self.input.is_empty() { IDLE } else { HEAD };
            self.advance(now, rules);
        }
    }

    /// True once, when the outgoing half is to be ended.
    pub fn poll_finish(&mut self) -> bool {
        match &mut self.phase {
            Phase::Lingering { is_told } => !std::mem::replace(is_told, true),
            _ => false,
        }
    }

    /// Whether the connection is to be forgotten.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether it can be spared when places are few. It cannot while a request that took a right is
    /// carried out, or comes or is answered without a pause.
    pub fn sparable(&self, now: Duration) -> Option<Sparable> {
        let is_stalled = now.saturating_sub(self.moved) >= STALL;
        match (&self.phase, self.right, self.door) {
            (Phase::Head, ..) if self.has_shown_right => Some(Sparable::Idle),
            (Phase::Head, ..) => Some(Sparable::Silent),
            (Phase::Lingering { .. } | Phase::Over, ..) => Some(Sparable::Lingering),
            (_, Right::Anybody, _) => Some(Sparable::Open),
            (Phase::Answering { .. }, ..) => None,
            (_, Right::Publisher, Door::Admin) => Some(Sparable::Guest),
            _ => is_stalled.then_some(Sparable::Stalled),
        }
    }

    /// When [`Conversation::handle_time`] has something to do.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Time has passed.
    pub fn handle_time(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        let slow = |what: &str| {
            let hint =
                "send the whole request at once; if it was, look for a slow proxy or network";
            let error = format!("the request's {what} did not come in time");
            Response::refusal(HttpStatus::RequestTimeout, &error, hint).closing()
        };
        if !matches!(self.phase, Phase::Answering { .. }) {
            // It was not used in time.
            self.right = Right::Anybody;
        }
        match self.phase {
            Phase::Head if !self.input.is_empty() => {
                let is_head = http::is_head(&self.input);
                self.respond(now, &slow("head"), is_head, false);
            }
            Phase::Body(ref admitted) => {
                let is_head = admitted.is_head;
                self.respond(now, &slow("body"), is_head, false);
            }
            // Whoever carries the command out has a deadline of its own for that.
            Phase::Answering { .. } => self.due = now + ANSWER,
            Phase::Head | Phase::Writing { .. } | Phase::Lingering { .. } | Phase::Over => {
                self.phase = Phase::Over;
            }
        }
    }

    fn respond(&mut self, now: Duration, response: &Response, is_head: bool, keeps_alive: bool) {
        let keeps_alive = keeps_alive && !response.closes();
        self.answered = Some(response.status());
        let cors = std::mem::take(&mut self.cors);
        response.encode(&cors, is_head, keeps_alive, &mut self.output);
        self.phase = Phase::Writing { keeps_alive };
        self.due = now + ANSWER;
        if !keeps_alive {
            self.input = Vec::new();
        }
    }

    /// Goes on as far as what has come allows.
    fn advance(&mut self, now: Duration, rules: &AdminRules) {
        if matches!(self.phase, Phase::Head) && !self.input.is_empty() {
            let mut lines = NO_LINES;
            let head = match Head::parse(&self.input, limits::ADMIN_HEAD_BYTES_MAX, &mut lines) {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(fault) => {
                    let is_head = http::is_head(&self.input);
                    return self.respond(now, &fault.into(), is_head, false);
                }
            };
            let (len, is_head, keeps_alive) = (head.len, head.method == "HEAD", head.keeps_alive());
            let admitted = head::check(&head).and_then(|()| {
                if head.path() == routes::PUBLISH {
                    self.cors = rules.access.cors(&head);
                }
                routes::admit(&head, self.door, rules)
            });
            self.input.drain(..len);
            match admitted {
                Ok(admitted) => {
                    if admitted.awaits_word && self.input.len() < admitted.body_bytes {
                        CONTINUE.encode(false, &mut self.output);
                    }
                    self.right = admitted.right;
                    self.has_shown_right |= admitted.right != Right::Anybody;
                    self.phase = Phase::Body(Box::new(admitted));
                    self.due = now + BODY;
                }
                Err(refusal) => return self.respond(now, &refusal, is_head, keeps_alive),
            }
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Body(admitted) if self.input.len() >= admitted.body_bytes => {
                self.hand_out(now, *admitted);
            }
            phase => self.phase = phase,
        }
    }

    /// A request has come whole.
    fn hand_out(&mut self, now: Duration, admitted: Admitted) {
        let ahead = self.input.split_off(admitted.body_bytes);
        let body = std::mem::replace(&mut self.input, ahead);
        let (is_head, keeps_alive) = (admitted.is_head, admitted.keeps_alive);
        self.due = now + ANSWER;
        match admitted.with_body(body) {
            Ok(mut command) => {
                if let Command::WebSocket { early, .. } = &mut command {
                    // What came behind the head is the engine's to read.
                    *early = std::mem::take(&mut self.input);
                }
                self.command = Some(command);
                self.phase = Phase::Answering {
                    is_head,
                    keeps_alive,
                };
            }
            Err(refusal) => self.respond(now, &refusal, is_head, keeps_alive),
        }
    }
}
