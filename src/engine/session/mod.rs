//! One connection's protocol state: what was agreed on it, and what its next bytes mean.
//!
//! A session is handed bytes and answers with [`Step`]s; the engine carries them out. The states
//! and what may follow each are in [`State::may_become`]. What a state needs is kept in that state
//! alone, so an open, idle session holds its grant and nothing else.
//!
//! Never here: topics, outboxes, sockets, clocks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use crate::limits;
use crate::standing::{Applicant, Standing};
use crate::stats::{Close, Counter, Refusal};
use crate::wire::files::{self, File, Plain};
use crate::wire::forwarded;
use crate::wire::growth;
use crate::wire::http::{self, Acceptance, Head, NO_LINES, Upgrade};
use crate::wire::token::Token;
use crate::wire::wamp::{self, ClientMessage, Malformed};
use crate::wire::websocket::{self, Decoder, Incoming, Violation, close_code};

/// Where a session is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The head of the upgrade has not come whole.
    Upgrading,
    /// The upgrade is good; the token's verdict is awaited. Nothing is read meanwhile.
    Checking,
    /// 101 and WELCOME were sent.
    Open,
    /// The last bytes are on their way; what still comes is read and forgotten, so that the kernel
    /// does not answer it with a reset that overtakes them.
    Closing,
}

impl State {
    /// As an administrator reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upgrading => "upgrading",
            Self::Checking => "checking",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }

    /// The whole table of transitions. From any state a connection may also simply be gone.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Upgrading, Self::Checking | Self::Closing)
                | (Self::Checking, Self::Open | Self::Closing)
                | (Self::Open, Self::Closing)
        )
    }
}

/// What a session has to know of the configuration.
#[derive(Clone, Debug)]
pub struct SessionRules {
    /// In bytes.
    pub head_bytes_max: usize,
    /// In bytes.
    pub message_bytes_max: usize,
    /// `Origin`s that are let in, in lower case. Empty: all. A client that sends none is no browser
    /// and could send any; the list is there for pages, so it does not concern that client.
    pub origins: Vec<String>,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// What plain GETs are answered with.
    pub files: Vec<File>,
}

impl SessionRules {
    /// Whether `address` is a proxy whose word is taken.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::HEAD_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// What the engine is to do.
#[derive(Debug)]
pub enum Step<'a> {
    /// What the client came with has to be judged.
    Check(Box<Applicant>),
    /// The upgrade of the client at this address is refused.
    Refuse(Refusal, IpAddr),
    /// The request asks for a file or for `/healthz`, and not for an upgrade: the answer.
    Serve(Plain),
    /// The client subscribes to a topic.
    Subscribe(Cow<'a, str>),
    /// The client subscribes to a topic that its token does not allow. WAMP v1 has no answer for that.
    Denied(Cow<'a, str>, &'a Standing),
    /// The client unsubscribes from a topic.
    Unsubscribe(Cow<'a, str>),
    /// A PUBLISH or PREFIX: nothing to do but count it.
    Noted(Noted),
    /// The frame that answers a CALL, and what the CALL is counted as.
    Reply(Vec<u8>, Counter),
    /// A ping to be answered with this payload.
    Pong(&'a [u8]),
    /// The client closes, with this code.
    PeerClosed(Option<u16>),
    /// The client broke a rule.
    Fail(Failure),
}

/// Messages without a consequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// A prefix was defined.
    Prefix,
    /// A client published, which clients cannot.
    Publish,
    /// A pong.
    Pong,
}

/// How a client broke a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// RFC 6455.
    Frame(Violation),
    /// WAMP v1.
    Message(Malformed),
    /// One of newswire's bounds; the text says which.
    Limit(&'static str),
}

impl Failure {
    /// What is counted, and what the client hears: close code and reason.
    pub fn close(self) -> (Close, u16, &'static str) {
        match self {
            Self::Frame(violation) => {
                let (code, reason) = violation.close();
                let counted = match violation {
                    Violation::Protocol(_) => Close::Protocol,
                    Violation::Utf8 => Close::BadMessage,
                    Violation::TooLarge => Close::MessageTooLarge,
                };
                (counted, code, reason)
            }
            Self::Message(Malformed(reason)) => (Close::BadMessage, close_code::BAD_DATA, reason),
            Self::Limit(reason) => (Close::Limit, close_code::POLICY, reason),
        }
    }
}

/// What is kept from the upgrade until the verdict.
#[derive(Debug)]
struct Pending {
    acceptance: Acceptance,
    /// Bytes behind the head. A client has no reason to send any yet.
    early: Vec<u8>,
    /// True exactly when the socket may hold bytes for which no further readiness will come.
    has_unread: bool,
}

/// What a client calls the beginnings of its topics' names.
#[derive(Debug, Default)]
struct Prefixes(HashMap<String, String>);

#[derive(Debug)]
struct Opened {
    decoder: Decoder,
    standing: Rc<Standing>,
    /// What the client named with PREFIX; most clients never do.
    prefixes: Option<Box<Prefixes>>,
    /// When it was opened, as the engine counts seconds. It takes the room that `awaits_pong` leaves.
    opened_at: u32,
    /// True exactly when the client was silent for as long as it may be, and has given no sign of life since:
    /// it was pinged, or its stream takes nothing.
    awaits_pong: bool,
}

#[derive(Debug)]
enum Phase {
    /// With what has come of the head: nothing, in most cases, until it comes whole.
    Upgrading(Vec<u8>),
    Checking(Box<Pending>),
    Open(Opened),
    Closing,
}

/// One connection's side of the conversation.
#[derive(Debug)]
pub struct Session(Phase);

const _: () = assert!(size_of::<Session>() == 32);

impl Default for Session {
    fn default() -> Self {
        Self(Phase::Upgrading(Vec::new()))
    }
}

impl Session {
    /// Where it is.
    #[inline]
    pub fn state(&self) -> State {
        match self.0 {
            Phase::Upgrading(_) => State::Upgrading,
            Phase::Checking(_) => State::Checking,
            Phase::Open(_) => State::Open,
            Phase::Closing => State::Closing,
        }
    }

    /// The only place where the state changes.
    fn set_phase(&mut self, phase: Phase) {
        let before = self.state();
        self.0 = phase;
        let after = self.state();
        log::trace!("session: from={before:?} to={after:?}");
        debug_assert!(before.may_become(after), "{before:?} to {after:?}");
    }

    /// Takes bytes. Answers how many it took and what follows from them; `None` when it took all
    /// and nothing follows. In `Checking` it takes none: see [`Session::keep`].
    pub fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Step<'a>>) {
        match self.0 {
            Phase::Upgrading(_) => self.upgrade(input, peer, rules),
            Phase::Open(ref mut opened) => opened.step(input, rules),
            Phase::Checking(_) => (0, None),
            Phase::Closing => (input.len(), None),
        }
    }

    fn upgrade(
        &mut self,
        input: &[u8],
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Step<'static>>) {
        let Phase::Upgrading(kept) = &mut self.0 else {
            return (0, None);
        };
        let before = kept.len();
        let head = if kept.is_empty() {
            input
        } else {
            // A head over its bound is refused, so it has at most the last read beyond that.
            growth::append(kept, input, rules.head_bytes_max);
            // Only a line's end can complete a head: one that comes a byte at a time is not parsed
            // at each of them.
            if !input.contains(&b'\n') && kept.len() <= rules.head_bytes_max {
                return (input.len(), None);
            }
            &kept[..]
        };
        let mut lines = NO_LINES;
        let (refusal, answer) = match Head::parse(head, rules.head_bytes_max, &mut lines) {
            Ok(None) => {
                if kept.is_empty() {
                    *kept = input.to_vec();
                }
                return (input.len(), None);
            }
            Ok(Some(head)) => match http::judge(&head) {
                Ok(upgrade) => {
                    let taken = head.len.saturating_sub(before);
                    let client =
                        forwarded::client(peer, &upgrade.forwarded_for, |a| rules.trusts(a));
                    let step = match judge(&upgrade, client, rules) {
                        Ok((pending, applicant)) => {
                            self.set_phase(Phase::Checking(Box::new(pending)));
                            Step::Check(Box::new(applicant))
                        }
                        Err(refusal) => Step::Refuse(refusal, client),
                    };
                    return (taken, Some(step));
                }
                // A client that wants a file is refused as an upgrade first, so upgrades are not asked. Checks
                // of load balancers speak HTTP/1.0.
                Err(refusal @ (Refusal::NotUpgrade | Refusal::Method | Refusal::HttpVersion)) => {
                    (refusal, files::answer(&head, &rules.files))
                }
                Err(refusal) => (refusal, None),
            },
            Err(fault) => (fault.into(), None),
        };
        // The refusal has to know the method.
        if kept.is_empty() && http::is_head(input) {
            *kept = input.to_vec();
        }
        let step = answer.map_or(Step::Refuse(refusal, peer), Step::Serve);
        (input.len(), Some(step))
    }

    /// The upgrade came elsewhere, and only the verdict is left to come. `early` came behind the upgrade.
    pub fn admit(&mut self, acceptance: Acceptance, early: Vec<u8>) {
        self.set_phase(Phase::Checking(Box::new(Pending {
            acceptance,
            early,
            has_unread: false,
        })));
    }

    /// True exactly when not a byte has come.
    pub fn is_silent(&self) -> bool {
        matches!(&self.0, Phase::Upgrading(kept) if kept.is_empty())
    }

    /// Returns true when the request is a HEAD: its answer has no body.
    pub fn is_head(&self) -> bool {
        matches!(&self.0, Phase::Upgrading(kept) if http::is_head(kept))
    }

    /// In `Checking`: keeps bytes that came behind the head, until the verdict.
    pub fn keep(&mut self, early: &[u8]) {
        if let Phase::Checking(pending) = &mut self.0 {
            let bytes = pending.early.len() + early.len();
            growth::append(&mut pending.early, early, bytes);
        }
    }

    /// In `Checking`: readiness came and was not followed, since nothing is read yet.
    pub fn note_unread(&mut self) {
        if let Phase::Checking(pending) = &mut self.0 {
            pending.has_unread = true;
        }
    }

    /// The token was accepted: appends the 101 and WELCOME, and answers the bytes that were kept
    /// and whether more are unread. `None` when no verdict was awaited. `second` is when.
    pub fn open(
        &mut self,
        standing: Rc<Standing>,
        second: u32,
        session_id: &str,
        out: &mut Vec<u8>,
    ) -> Option<(Vec<u8>, bool)> {
        let Phase::Checking(pending) = &mut self.0 else {
            return None;
        };
        let early = std::mem::take(&mut pending.early);
        let has_unread = pending.has_unread;
        http::encode_acceptance(&pending.acceptance, out);
        let mut welcome = Vec::new();
        wamp::encode_welcome(session_id, &mut welcome);
        websocket::encode_text_header(welcome.len(), out);
        out.extend_from_slice(&welcome);
        self.set_phase(Phase::Open(Opened {
            decoder: Decoder::default(),
            standing,
            prefixes: None,
            opened_at: second,
            awaits_pong: false,
        }));
        Some((early, has_unread))
    }

    /// From here on nothing that comes has a meaning.
    pub fn close(&mut self) {
        self.set_phase(Phase::Closing);
    }

    /// The client has given a sign of life: no pong is awaited.
    pub fn note_heard(&mut self) {
        if let Phase::Open(opened) = &mut self.0 {
            opened.awaits_pong = false;
        }
    }

    /// The client has given no sign of life. True when it is to be asked for one, and that is awaited from
    /// now on; false when it was asked in vain.
    pub fn note_silent(&mut self) -> bool {
        match &mut self.0 {
            Phase::Open(opened) => !std::mem::replace(&mut opened.awaits_pong, true),
            _ => false,
        }
    }

    /// What its token is worth now; `None` unless it is open.
    pub fn standing(&self) -> Option<&Standing> {
        match &self.0 {
            Phase::Open(opened) => Some(&opened.standing),
            _ => None,
        }
    }

    /// In which second it was opened; `None` unless it is open.
    pub fn opened_at(&self) -> Option<u32> {
        match &self.0 {
            Phase::Open(opened) => Some(opened.opened_at),
            _ => None,
        }
    }

    /// The message that the last step came from has been dealt with: its memory is given back.
    pub fn settle(&mut self) {
        if let Phase::Open(opened) = &mut self.0 {
            opened.decoder.release();
        }
    }
}

/// Judges by newswire's own rules an upgrade that HTTP has nothing against. `client` is who asks for it.
fn judge(
    upgrade: &Upgrade<'_>,
    client: IpAddr,
    rules: &SessionRules,
) -> Result<(Pending, Applicant), Refusal> {
    let is_allowed = rules.origins.is_empty()
        || upgrade
            .origin
            .is_none_or(|origin| rules.origins.contains(&origin.to_ascii_lowercase()));
    if !is_allowed {
        return Err(Refusal::Origin);
    }
    let pending = Pending {
        acceptance: upgrade.acceptance(),
        early: Vec::new(),
        has_unread: false,
    };
    let applicant = Applicant {
        token: Token::from_target(upgrade.target),
        client,
        origin: upgrade.origin.map(str::to_owned),
    };
    Ok((pending, applicant))
}

impl Opened {
    fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        rules: &SessionRules,
    ) -> (usize, Option<Step<'a>>) {
        let len = input.len();
        match self.decoder.decode(input, rules.message_bytes_max) {
            Ok((taken, None)) => (taken, None),
            Ok((taken, Some(incoming))) => {
                let step = match incoming {
                    // Text and binary alike: a client that sends WAMP as binary is understood.
                    Incoming::Message { payload, .. } => match wamp::parse(payload) {
                        Ok(message) => act(&self.standing, &mut self.prefixes, message),
                        Err(malformed) => Step::Fail(Failure::Message(malformed)),
                    },
                    Incoming::Ping(payload) => Step::Pong(payload),
                    Incoming::Pong(_) => Step::Noted(Noted::Pong),
                    Incoming::Close(code) => Step::PeerClosed(code),
                };
                (taken, Some(step))
            }
            Err(violation) => (len, Some(Step::Fail(Failure::Frame(violation)))),
        }
    }
}

fn act<'a>(
    standing: &'a Standing,
    prefixes: &mut Option<Box<Prefixes>>,
    message: ClientMessage<'a>,
) -> Step<'a> {
    match message {
        ClientMessage::Prefix { prefix, uri } => {
            let prefixes = prefixes.get_or_insert_default();
            if prefix.len() + uri.len() > limits::TOPIC_BYTES_MAX {
                return Step::Fail(Failure::Limit("prefix too long"));
            }
            prefixes.0.insert(prefix.into_owned(), uri.into_owned());
            if prefixes.0.len() > limits::PREFIXES_MAX {
                return Step::Fail(Failure::Limit("too many prefixes"));
            }
            Step::Noted(Noted::Prefix)
        }
        ClientMessage::Call { id, procedure } => {
            let mut answer = Vec::new();
            let counter = if procedure == wamp::ALIVE {
                wamp::encode_alive(&id, &mut answer);
                Counter::AliveCalls
            } else {
                wamp::encode_call_error(&id, &expand(prefixes, procedure), &mut answer);
                Counter::Calls
            };
            let mut frame = Vec::with_capacity(answer.len() + 10);
            websocket::encode_text_header(answer.len(), &mut frame);
            frame.extend_from_slice(&answer);
            Step::Reply(frame, counter)
        }
        ClientMessage::Subscribe { topic } => {
            let topic = expand(prefixes, topic);
            if standing.allows(&topic) {
                Step::Subscribe(topic)
            } else {
                Step::Denied(topic, standing)
            }
        }
        ClientMessage::Unsubscribe { topic } => Step::Unsubscribe(expand(prefixes, topic)),
        ClientMessage::Publish => Step::Noted(Noted::Publish),
    }
}

/// A CURIE with a prefix that the client defined becomes the URI, by concatenation; anything else
/// is a name already.
fn expand<'a>(prefixes: &Option<Box<Prefixes>>, name: Cow<'a, str>) -> Cow<'a, str> {
    let Some(prefixes) = prefixes else {
        return name;
    };
    let Some((prefix, rest)) = name.split_once(':') else {
        return name;
    };
    match prefixes.0.get(prefix) {
        Some(uri) => Cow::Owned(format!("{uri}{rest}")),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, as a reader wants to see it; a change of it is a change here.
    #[test]
    fn transitions() {
        use State::{Checking, Closing, Open, Upgrading};
        let states = [Upgrading, Checking, Open, Closing];
        let table: Vec<String> = states
            .iter()
            .map(|from| {
                let next: Vec<String> = states
                    .iter()
                    .filter(|to| from.may_become(**to))
                    .map(|to| format!("{to:?}"))
                    .collect();
                format!("{from:?}: {}", next.join(", "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "Upgrading: Checking, Closing",
                "Checking: Open, Closing",
                "Open: Closing",
                "Closing: ",
            ]
        );
    }

    #[test]
    fn a_prefix_is_replaced_by_concatenation() {
        let mut prefixes = None;
        act(
            &Standing::default(),
            &mut prefixes,
            ClientMessage::Prefix {
                prefix: "ev".into(),
                uri: "http://example.com/ev#".into(),
            },
        );
        assert_eq!(expand(&prefixes, "ev:a".into()), "http://example.com/ev#a");
        assert_eq!(expand(&prefixes, "http://b".into()), "http://b");
        assert_eq!(expand(&prefixes, "plain".into()), "plain");
    }
}
