//! The conversation on one connection: what was agreed, and what the client's next bytes mean.
//!
//! A session is handed bytes and answers with [`Intent`]s; the engine carries them out. Everything that the
//! client receives is written here too, in one file for each protocol: `pending` answers the request, then the file of
//! the [`Encoding`] has the word.
//!
//! The stages and what may follow each are in [`Stage::may_become`]. A session keeps only what its stage needs,
//! so one that is open and idle holds its standing and nothing else.
//!
//! Never here: topics, outboxes, sockets, clocks; the bytes of a protocol towards open sessions (its file).

mod encoder;
mod encoding;
mod frames;
mod id;
mod pending;
mod rules;
mod sse;
mod step;
mod upgrade;
mod wamp1;
mod wamp2;

use std::net::IpAddr;
use std::rc::Rc;

use frames::FrameReader;
use pending::Pending;
use wamp1::Prefixes;
use wamp2::{Prelude, Proof, Said};

pub use encoder::{Encoder, PastEvent};
pub use encoding::Encoding;
pub use id::SessionId;
pub use rules::SessionRules;
pub use step::{Breach, Intent, LastWord, Noted, SubscribeOutcome, SubscriptionName};

use crate::standing::{Applicant, Standing};
use crate::wire::growth;
use crate::wire::past::PastWish;
use crate::wire::protocol::Protocol;
use crate::wire::token::Token;
use crate::wire::websocket::{Decoder, Inflater};

/// Where a session is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The head of the upgrade has not come whole.
    Upgrading,
    /// The upgrade is good; the token's verdict is awaited. Nothing is read meanwhile.
    Checking,
    /// The upgrade is accepted, and the client has not finished what its protocol says before the welcome.
    Greeting,
    /// The upgrade is accepted and the client welcomed.
    Open,
    /// The last bytes are on their way. What the client still sends is read and thrown away: the kernel would
    /// answer unread bytes with a reset, which overtakes the last bytes.
    Closing,
}

impl Stage {
    /// As an administrator reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upgrading => "upgrading",
            Self::Checking => "checking",
            Self::Greeting => "greeting",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }

    /// The whole table of transitions. In any stage a connection may also simply be gone.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Upgrading, Self::Checking | Self::Closing)
                | (Self::Checking, Self::Greeting | Self::Open | Self::Closing)
                | (Self::Greeting, Self::Checking | Self::Open | Self::Closing)
                | (Self::Open, Self::Closing)
        )
    }
}

/// What is kept of an open session.
#[derive(Debug)]
struct Opened {
    decoder: Decoder,
    /// What the client named with PREFIX; most clients never do.
    prefixes: Option<Box<Prefixes>>,
    standing: Rc<Standing>,
    /// When it was opened, as the engine counts seconds. It takes the room that `awaits_pong` leaves.
    opened_at: u32,
    encoding: Encoding,
    /// True exactly when the client understands that the server ends one of its subscriptions.
    takes_revocations: bool,
    /// True exactly when the client has asked for a topic's past, or its protocol has a place for what is said of it.
    takes_notices: bool,
    /// True exactly when the client was silent for as long as it may be, and has given no sign of life since:
    /// it was pinged, or its stream takes nothing.
    awaits_pong: bool,
}

/// What is kept in each stage.
#[derive(Debug)]
enum Kept {
    /// What has come of the head: nothing, in most cases, until it comes whole.
    Upgrading(Vec<u8>),
    Checking(Box<Pending>),
    Greeting(Box<Prelude>),
    Open(Opened),
    Closing,
}

/// What has come of a client before its verdict, and is still to be dealt with.
#[derive(Debug)]
pub struct Arrears {
    /// Bytes behind its request.
    pub early: Vec<u8>,
    /// True exactly when more may be unread, for which no readiness will come.
    pub has_unread: bool,
}

/// One connection's side of the conversation.
#[derive(Debug)]
pub struct Session(Kept);

const _: () = assert!(size_of::<Session>() == 32);

impl Default for Session {
    fn default() -> Self {
        Self(Kept::Upgrading(Vec::new()))
    }
}

impl Session {
    /// Where it is.
    #[inline]
    pub fn stage(&self) -> Stage {
        match self.0 {
            Kept::Upgrading(_) => Stage::Upgrading,
            Kept::Checking(_) => Stage::Checking,
            Kept::Greeting(_) => Stage::Greeting,
            Kept::Open(_) => Stage::Open,
            Kept::Closing => Stage::Closing,
        }
    }

    /// The only place where the stage changes.
    fn set_kept(&mut self, memory: Kept) {
        let before = self.stage();
        self.0 = memory;
        let after = self.stage();
        log::trace!("session: from={before:?} to={after:?}");
        debug_assert!(before.may_become(after), "{before:?} to {after:?}");
    }

    /// Takes bytes. Answers how many it took and what follows from them; `None` when it took all
    /// and nothing follows. In `Checking` it takes none: see [`Session::keep`].
    pub fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'a>>) {
        match self.0 {
            Kept::Upgrading(_) => self.upgrade(input, peer, rules),
            Kept::Open(ref mut opened) => opened.step(input, inflater, rules),
            Kept::Greeting(_) => self.step_greeting(input, inflater, rules),
            Kept::Checking(_) => (0, None),
            Kept::Closing => (input.len(), None),
        }
    }

    /// In `Checking`: keeps bytes that came behind the head, until the verdict.
    pub fn keep(&mut self, early: &[u8]) {
        if let Kept::Checking(pending) = &mut self.0 {
            let bytes = pending.early.len() + early.len();
            growth::append(&mut pending.early, early, bytes);
        }
    }

    /// In `Checking`: readiness came and was not followed, since nothing is read yet.
    pub fn note_unread(&mut self) {
        if let Kept::Checking(pending) = &mut self.0 {
            pending.has_unread = true;
        }
    }

    /// The token was accepted: appends the answer to the request, unless it has left, and the welcome, unless the
    /// client has to introduce itself first. Answers what is still to be done; `None` when no verdict was awaited.
    /// `second` is when.
    pub fn open(
        &mut self,
        standing: Rc<Standing>,
        second: u32,
        id: SessionId,
        out: &mut Vec<u8>,
    ) -> Option<Arrears> {
        let Kept::Checking(pending) = &mut self.0 else {
            return None;
        };
        let arrears = Arrears {
            early: std::mem::take(&mut pending.early),
            has_unread: pending.has_unread,
        };
        let encoding = pending.encoding;
        match (pending.accept(id, out), encoding.protocol()) {
            (true, Protocol::Wamp2) => {
                let greeting = Prelude::new(encoding, Proof::Shown(standing));
                self.set_kept(Kept::Greeting(greeting));
            }
            (_, Protocol::Wamp1 | Protocol::Wamp2 | Protocol::Sse) => {
                let takes_revocations = pending.takes_revocations;
                encoding.welcome(id, out);
                self.set_opened(standing, second, encoding, takes_revocations);
            }
        }
        Some(arrears)
    }

    /// The topics that a client has named in its request, while its verdict is awaited.
    pub fn topics(&self) -> &[String] {
        match &self.0 {
            Kept::Checking(pending) => pending.topics(),
            _ => &[],
        }
    }

    /// What such a client asks of their past.
    pub fn past(&self) -> PastWish {
        match &self.0 {
            Kept::Checking(pending) => pending.past(),
            _ => PastWish::default(),
        }
    }

    /// Returns true when the client is told what it gets of a topic's past, and of losses.
    pub fn takes_notices(&self) -> bool {
        self.opened().is_some_and(|opened| opened.takes_notices)
    }

    fn set_opened(
        &mut self,
        standing: Rc<Standing>,
        second: u32,
        encoding: Encoding,
        takes_revocations: bool,
    ) {
        self.set_kept(Kept::Open(Opened {
            decoder: Decoder::default(),
            prefixes: None,
            standing,
            opened_at: second,
            encoding,
            takes_revocations,
            takes_notices: encoding.always_has_notices(),
            awaits_pong: false,
        }));
    }

    /// The upgrade is accepted before the client has shown a token: appends the answer to it.
    pub fn greet(&mut self, id: SessionId, out: &mut Vec<u8>) {
        if let Kept::Checking(pending) = &mut self.0
            && let Some(applicant) = pending.owes_proof.take()
        {
            pending.accept(id, out);
            let greeting = Prelude::new(pending.encoding, Proof::Owed(applicant));
            self.set_kept(Kept::Greeting(greeting));
        }
    }

    /// The client has introduced itself, and its token is good: appends the welcome. `second` is when.
    pub fn welcome(&mut self, second: u32, id: SessionId, out: &mut Vec<u8>) {
        if let Kept::Greeting(greeting) = &self.0
            && let Proof::Shown(standing) = &greeting.proof
        {
            let standing = Rc::clone(standing);
            let (encoding, takes_revocations) =
                (greeting.encoding, greeting.hello.takes_revocations);
            encoding.welcome(id, out);
            self.set_opened(standing, second, encoding, takes_revocations);
        }
    }

    fn step_greeting(
        &mut self,
        input: &mut [u8],
        inflater: &mut Inflater,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'static>>) {
        let Kept::Greeting(greeting) = &mut self.0 else {
            return (0, None);
        };
        // A stranger may cost as much here as before its upgrade.
        let message_bytes_max = match greeting.proof {
            Proof::Shown(_) => rules.message_bytes_max,
            Proof::Owed(_) => rules.message_bytes_max.min(rules.head_bytes_max),
        };
        let (taken, said) = greeting.read(inflater, input, message_bytes_max);
        let Some(said) = said else {
            return (taken, None);
        };
        let intent = match said {
            Said::Hello if matches!(greeting.proof, Proof::Shown(_)) => Intent::Welcome,
            Said::Hello if greeting.hello.offers_ticket => {
                greeting.is_challenged = true;
                Intent::Reply(wamp2::challenge(), None)
            }
            Said::Hello => self.present(None),
            Said::Ticket(token) => self.present(Some(token)),
            Said::Other(intent) => intent,
        };
        (taken, Some(intent))
    }

    /// What the client has shown after its upgrade is to be judged.
    fn present(&mut self, token: Option<Token>) -> Intent<'static> {
        let Kept::Greeting(greeting) = &mut self.0 else {
            return Intent::Noted(Noted::Nothing);
        };
        let Proof::Owed(applicant) = &mut greeting.proof else {
            return Intent::Noted(Noted::Nothing);
        };
        let applicant = Applicant {
            token,
            client: applicant.client,
            origin: applicant.origin.take(),
        };
        let (encoding, takes_revocations) = (greeting.encoding, greeting.hello.takes_revocations);
        let had_ticket = applicant.token.is_some();
        let pending = Pending::after_upgrade(encoding, had_ticket, takes_revocations);
        self.set_kept(Kept::Checking(pending));
        Intent::Check(Box::new(applicant))
    }

    /// Returns true while the client has shown no token.
    pub fn is_unproven(&self) -> bool {
        match &self.0 {
            Kept::Upgrading(_) => true,
            Kept::Greeting(greeting) => !matches!(greeting.proof, Proof::Shown(_)),
            Kept::Checking(_) | Kept::Open(_) | Kept::Closing => false,
        }
    }

    /// Appends what the client is told of a subscription that the server has ended, if it understands that.
    pub fn revoked(&self, subscription: u64, out: &mut Vec<u8>) {
        if let Some(opened) = self.opened()
            && opened.takes_revocations
        {
            opened.encoding.revoked(subscription, out);
        }
    }

    /// Returns true when the client answers what [`Session::ping`] asks.
    pub fn has_pongs(&self) -> bool {
        self.opened()
            .is_some_and(|opened| opened.encoding.has_pongs())
    }

    /// The form in which the client receives events; `None` unless the session is open.
    pub fn encoding(&self) -> Option<Encoding> {
        Some(self.opened()?.encoding)
    }

    /// Appends the question whether the client is still there, if the session is open.
    pub fn ping(&self, out: &mut Vec<u8>) {
        if let Some(opened) = self.opened() {
            opened.encoding.ping(out);
        }
    }

    /// Appends the last message to the client, if its upgrade was accepted.
    pub fn last_word(&self, word: LastWord, out: &mut Vec<u8>) {
        match &self.0 {
            Kept::Open(opened) => opened.encoding.last_word(word, out),
            Kept::Greeting(greeting) => {
                wamp2::early_last_word(word, greeting.is_challenged, out);
            }
            Kept::Upgrading(_) | Kept::Checking(_) | Kept::Closing => {}
        }
    }

    /// From here on nothing that the client sends has a meaning.
    pub fn close(&mut self) {
        self.set_kept(Kept::Closing);
    }

    fn opened(&self) -> Option<&Opened> {
        match &self.0 {
            Kept::Open(opened) => Some(opened),
            _ => None,
        }
    }

    /// What its token is worth now; `None` unless the token is known to be good.
    pub fn standing(&self) -> Option<&Standing> {
        match &self.0 {
            Kept::Open(opened) => Some(&opened.standing),
            Kept::Greeting(greeting) => match &greeting.proof {
                Proof::Shown(standing) => Some(standing),
                Proof::Owed(_) => None,
            },
            Kept::Upgrading(_) | Kept::Checking(_) | Kept::Closing => None,
        }
    }

    /// In which second it was opened; `None` unless it is open.
    pub fn opened_at(&self) -> Option<u32> {
        Some(self.opened()?.opened_at)
    }

    /// The client has given a sign of life: no pong is awaited.
    pub fn note_heard(&mut self) {
        if let Kept::Open(opened) = &mut self.0 {
            opened.awaits_pong = false;
        }
    }

    /// The client has given no sign of life. Returns true when it is to be asked for one, which is awaited from
    /// now on; false when it was asked in vain. A client that cannot answer gives one by taking what it is owed.
    pub fn note_silent(&mut self, is_owed: bool) -> bool {
        match &mut self.0 {
            Kept::Open(opened) => {
                let is_awaited = is_owed || opened.encoding.has_pongs();
                !std::mem::replace(&mut opened.awaits_pong, is_awaited)
            }
            _ => false,
        }
    }

    /// The message that the last intent came from has been dealt with: its memory is given back.
    pub fn settle(&mut self) {
        if let Kept::Open(opened) = &mut self.0 {
            opened.decoder.release();
        }
    }
}

impl Opened {
    fn step<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'a>>) {
        let reader = FrameReader {
            encoding: self.encoding,
            decoder: &mut self.decoder,
            inflater,
            message_bytes_max: rules.message_bytes_max,
        };
        match self.encoding.protocol() {
            Protocol::Wamp1 => wamp1::read(reader, &mut self.prefixes, &self.standing, input),
            Protocol::Wamp2 => {
                let takes_notices = &mut self.takes_notices;
                wamp2::read(reader, &self.standing, takes_notices, input)
            }
            // Nothing that it sends has a meaning.
            Protocol::Sse => (input.len(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, as a reader wants to see it; a change of it is a change here.
    #[test]
    fn transitions() {
        use Stage::{Checking, Closing, Greeting, Open, Upgrading};
        let stages = [Upgrading, Checking, Greeting, Open, Closing];
        let table: Vec<String> = stages
            .iter()
            .map(|from| {
                let next: Vec<String> = stages
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
                "Checking: Greeting, Open, Closing",
                "Greeting: Checking, Open, Closing",
                "Open: Closing",
                "Closing: ",
            ]
        );
    }
}
