//! The server's side of one HTTP/1.1 connection: it takes bytes and hands out commands; it takes answers and
//! hands out bytes.
//!
//! A conversation deals with one request at a time. It wants no more bytes until the answer has left: a client
//! that sends ahead, or does not read, waits in its own kernel. So a conversation holds one head or one
//! body, and one answer. Each step has a deadline: the head, the body, the reading of an answer, and the
//! silence between two requests.
//!
//! When the server closes a connection while the client still sends, the kernel answers with a reset, and the
//! reset destroys the last answer on its way. So the conversation reads and forgets for a moment what still
//! comes after the last answer.
//!
//! Never here: sockets, clocks (times are arguments), and what a command does.

use std::time::Duration;

use super::access::Right;
use super::response::Response;
use super::routes::{self, Admitted};
use super::{AdminRules, Command, head};
use crate::limits;
use crate::stats::{Door, HttpStatus};
use crate::wire::growth;
use crate::wire::http::{self, Head, HttpAnswer, NO_LINES};

/// How long the client may take to end its half after the last answer.
const LINGER: Duration = Duration::from_secs(limits::ADMIN_LINGER_SECONDS);

/// How many bytes are read and forgotten at a time.
const FORGOTTEN_BYTES: usize = 64 * 1024;

const HEAD: Duration = Duration::from_secs(limits::ADMIN_HEAD_SECONDS);
const BODY: Duration = Duration::from_secs(limits::ADMIN_BODY_SECONDS);
const ANSWER: Duration = Duration::from_secs(limits::ADMIN_ANSWER_SECONDS);
const IDLE: Duration = Duration::from_secs(limits::ADMIN_IDLE_SECONDS);
const STALL: Duration = Duration::from_secs(limits::ADMIN_STALL_SECONDS);

/// The word that some clients await before they send a body.
const CONTINUE: HttpAnswer<'static> = HttpAnswer {
    status: "100 Continue",
    lines: &[],
    content: None,
};

/// How far the conversation is with a request.
#[derive(Debug)]
enum Exchange {
    /// A head is to come, or a part of it has come.
    Head,
    /// The head was good, and the body is still to come.
    Body(Box<Admitted>),
    /// The command was handed out, and its answer is still to come.
    Answering { is_head: bool, keeps_alive: bool },
    /// The answer is being written.
    Writing { keeps_alive: bool },
    /// The last answer has left. `is_told` is true once the server's half has been ended.
    Lingering { is_told: bool },
    /// The connection is to be closed.
    Over,
}

/// Why a conversation can be ended when places are few. The kind that is ended first stands first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SpareReason {
    /// The client has not sent a request yet, or no further one.
    Silent,
    /// The client has received its last answer.
    Lingering,
    /// The answer under way needed no right: it is a file or a refusal.
    Open,
    /// The client has shown a right, and has not sent another request.
    Idle,
    /// The client is a publisher at the administrators' listener.
    Guest,
    /// The client has a right, but has neither sent nor read anything for some time.
    Stalled,
}

/// The conversation with one client.
#[derive(Debug)]
pub struct Conversation {
    door: Door,
    /// The right of the request under way; `Anybody` while there is none.
    right: Right,
    /// True exactly when a request of this connection had a right.
    has_shown_right: bool,
    /// When the last byte came or went.
    moved: Duration,
    phase: Exchange,
    /// What has come of a head or a body, and what the client has sent ahead.
    input: Vec<u8>,
    output: Vec<u8>,
    /// How many bytes of `output` have been written.
    written: usize,
    /// The deadline of this step.
    due: Duration,
    command: Option<Command>,
    /// Whole lines that the answer to the request under way has for a page of another site.
    cors: String,
    /// The status of the last answer, until it has been counted.
    answered: Option<HttpStatus>,
}

impl Conversation {
    /// Begins a conversation with a client that has just connected to the listener `door`.
    pub fn new(door: Door, now: Duration) -> Self {
        Self {
            door,
            right: Right::Anybody,
            has_shown_right: false,
            moved: now,
            phase: Exchange::Head,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            due: now + HEAD,
            command: None,
            cors: String::new(),
            answered: None,
        }
    }

    /// Returns the listener that the client connected to.
    pub fn door(&self) -> Door {
        self.door
    }

    /// Returns true while no request of this connection has had a right.
    pub fn is_stranger(&self) -> bool {
        !self.has_shown_right
    }

    /// Returns how many bytes may be handed in now.
    pub fn wants(&self) -> usize {
        match &self.phase {
            Exchange::Head => limits::ADMIN_HEAD_BYTES_MAX.saturating_sub(self.input.len()),
            Exchange::Body(admitted) => admitted.body_bytes.saturating_sub(self.input.len()),
            Exchange::Lingering { .. } => FORGOTTEN_BYTES,
            Exchange::Answering { .. } | Exchange::Writing { .. } | Exchange::Over => 0,
        }
    }

    /// Takes bytes that have come.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8], rules: &AdminRules) {
        if matches!(self.phase, Exchange::Lingering { .. } | Exchange::Over) {
            return;
        }
        self.moved = now;
        let is_first = self.input.is_empty();
        if matches!(self.phase, Exchange::Head) && is_first {
            self.due = now + HEAD;
        }
        let most = self.input.len() + self.wants();
        growth::append(&mut self.input, bytes, most);
        // The first bytes show a client that speaks something else. After them only the end of a line can
        // complete a head, so a head that comes byte by byte is not parsed at each byte.
        let is_worth_it = is_first || bytes.contains(&b'\n') || self.wants() == 0;
        if !matches!(self.phase, Exchange::Head) || is_worth_it {
            self.advance(now, rules);
        }
    }

    /// Notes that the client has ended its half.
    pub fn handle_end(&mut self) {
        match self.phase {
            // The client has sent its request, and may still read the answer.
            Exchange::Answering { is_head, .. } => {
                self.phase = Exchange::Answering {
                    is_head,
                    keeps_alive: false,
                };
            }
            Exchange::Writing { .. } => self.phase = Exchange::Writing { keeps_alive: false },
            Exchange::Head | Exchange::Body(_) | Exchange::Lingering { .. } | Exchange::Over => {
                self.phase = Exchange::Over;
            }
        }
    }

    /// Returns the command that is to be carried out. The conversation waits for its answer from now on.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.command.take()
    }

    /// Returns the status of an answer that has not been counted yet.
    pub fn poll_answered(&mut self) -> Option<HttpStatus> {
        self.answered.take()
    }

    /// Takes the answer to the command.
    pub fn answer(&mut self, now: Duration, response: &Response) {
        if let Exchange::Answering {
            is_head,
            keeps_alive,
        } = self.phase
        {
            self.moved = now;
            self.respond(now, response, is_head, keeps_alive);
        }
    }

    /// Refuses the request under way, however much of it has come.
    pub fn turn_away(&mut self, now: Duration, response: &Response) {
        let is_head = match &self.phase {
            Exchange::Body(admitted) => admitted.is_head,
            Exchange::Answering { is_head, .. } => *is_head,
            _ => return,
        };
        self.command = None;
        self.right = Right::Anybody;
        self.respond(now, response, is_head, false);
    }

    /// Returns the bytes that are to be written.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// Notes that so many of these bytes have been written.
    pub fn handle_written(&mut self, now: Duration, bytes: usize, rules: &AdminRules) {
        self.written += bytes;
        self.moved = now;
        if self.written < self.output.len() {
            return;
        }
        // An answer may be large, and an idle connection keeps no memory of it.
        (self.output, self.written) = (Vec::new(), 0);
        if let Exchange::Writing { keeps_alive } = self.phase {
            if !keeps_alive {
                self.phase = Exchange::Lingering { is_told: false };
                self.due = now + LINGER;
                return;
            }
            self.phase = Exchange::Head;
            self.right = Right::Anybody;
            self.due = now + if self.input.is_empty() { IDLE } else { HEAD };
            self.advance(now, rules);
        }
    }

    /// Returns true once, when the server's half is to be ended.
    pub fn poll_finish(&mut self) -> bool {
        match &mut self.phase {
            Exchange::Lingering { is_told } => !std::mem::replace(is_told, true),
            _ => false,
        }
    }

    /// Returns true when the connection is to be closed.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Exchange::Over)
    }

    /// Returns why the conversation can be ended when places are few. It cannot while the server carries out a
    /// request that took a right, or while such a request comes or is answered without a pause.
    pub fn sparable(&self, now: Duration) -> Option<SpareReason> {
        let is_stalled = now.saturating_sub(self.moved) >= STALL;
        match (&self.phase, self.right, self.door) {
            (Exchange::Head, ..) if self.has_shown_right => Some(SpareReason::Idle),
            (Exchange::Head, ..) => Some(SpareReason::Silent),
            (Exchange::Lingering { .. } | Exchange::Over, ..) => Some(SpareReason::Lingering),
            (_, Right::Anybody, _) => Some(SpareReason::Open),
            (Exchange::Answering { .. }, ..) => None,
            (_, Right::Publisher, Door::Admin) => Some(SpareReason::Guest),
            _ => is_stalled.then_some(SpareReason::Stalled),
        }
    }

    /// Returns when [`Conversation::handle_time`] has something to do.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// Ends the step whose deadline has passed.
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
        if !matches!(self.phase, Exchange::Answering { .. }) {
            // The client did not use its right in time.
            self.right = Right::Anybody;
        }
        match self.phase {
            Exchange::Head if !self.input.is_empty() => {
                let is_head = http::is_head(&self.input);
                self.respond(now, &slow("head"), is_head, false);
            }
            Exchange::Body(ref admitted) => {
                let is_head = admitted.is_head;
                self.respond(now, &slow("body"), is_head, false);
            }
            // The server has a deadline of its own for carrying out a command.
            Exchange::Answering { .. } => self.due = now + ANSWER,
            Exchange::Head
            | Exchange::Writing { .. }
            | Exchange::Lingering { .. }
            | Exchange::Over => {
                self.phase = Exchange::Over;
            }
        }
    }

    fn respond(&mut self, now: Duration, response: &Response, is_head: bool, keeps_alive: bool) {
        let keeps_alive = keeps_alive && !response.closes();
        self.answered = Some(response.status());
        let cors = std::mem::take(&mut self.cors);
        response.encode(&cors, is_head, keeps_alive, &mut self.output);
        self.phase = Exchange::Writing { keeps_alive };
        self.due = now + ANSWER;
        if !keeps_alive {
            self.input = Vec::new();
        }
    }

    /// Goes on as far as the bytes that have come allow.
    fn advance(&mut self, now: Duration, rules: &AdminRules) {
        if matches!(self.phase, Exchange::Head) && !self.input.is_empty() {
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
                    self.phase = Exchange::Body(Box::new(admitted));
                    self.due = now + BODY;
                }
                Err(refusal) => return self.respond(now, &refusal, is_head, keeps_alive),
            }
        }
        match std::mem::replace(&mut self.phase, Exchange::Over) {
            Exchange::Body(admitted) if self.input.len() >= admitted.body_bytes => {
                self.hand_out(now, *admitted);
            }
            phase => self.phase = phase,
        }
    }

    /// Hands out the command of a request that has come whole.
    fn hand_out(&mut self, now: Duration, admitted: Admitted) {
        let ahead = self.input.split_off(admitted.body_bytes);
        let body = std::mem::replace(&mut self.input, ahead);
        let (is_head, keeps_alive) = (admitted.is_head, admitted.keeps_alive);
        self.due = now + ANSWER;
        match admitted.with_body(body) {
            Ok(mut command) => {
                if let Command::WebSocket { early, .. } = &mut command {
                    // The engine reads what came behind the head.
                    *early = std::mem::take(&mut self.input);
                }
                self.command = Some(command);
                self.phase = Exchange::Answering {
                    is_head,
                    keeps_alive,
                };
            }
            Err(refusal) => self.respond(now, &refusal, is_head, keeps_alive),
        }
    }
}
