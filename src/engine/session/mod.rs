//! The conversation on one connection: what was agreed, and what the client's next bytes mean.
//!
//! A session is handed bytes and answers with [`Intent`]s; the engine carries them out. Everything that the
//! client receives is written here too, in one file for each protocol: HTTP in `upgrade` until the session is
//! open, then the file of its [`Encoding`].
//!
//! The stages and what may follow each are in [`Stage::may_become`]. A session keeps only what its stage needs,
//! so one that is open and idle holds its standing and nothing else.
//!
//! Never here: topics, outboxes, sockets, clocks; the bytes of a protocol towards open sessions (its file).

mod encoding;
mod id;
mod rules;
mod step;
mod upgrade;
mod wamp1;

use std::net::IpAddr;
use std::rc::Rc;

use upgrade::Pending;
use wamp1::Prefixes;

pub use encoding::{Encoder, Encoding};
pub use id::SessionId;
pub use rules::SessionRules;
pub use step::{Breach, Intent, LastWord, Noted, SubscribeOutcome};

use crate::standing::Standing;
use crate::wire::growth;
use crate::wire::websocket::Decoder;

/// Where a session is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The head of the upgrade has not come whole.
    Upgrading,
    /// The upgrade is good; the token's verdict is awaited. Nothing is read meanwhile.
    Checking,
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
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }

    /// The whole table of transitions. In any stage a connection may also simply be gone.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Upgrading, Self::Checking | Self::Closing)
                | (Self::Checking, Self::Open | Self::Closing)
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
    Open(Opened),
    Closing,
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
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'a>>) {
        match self.0 {
            Kept::Upgrading(_) => self.upgrade(input, peer, rules),
            Kept::Open(ref mut opened) => opened.step(input, rules),
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

    /// The token was accepted: appends the answer to the upgrade and the welcome. Answers the bytes that were
    /// kept, and whether more are unread; `None` when no verdict was awaited. `second` is when.
    pub fn open(
        &mut self,
        standing: Rc<Standing>,
        second: u32,
        id: SessionId,
        out: &mut Vec<u8>,
    ) -> Option<(Vec<u8>, bool)> {
        let Kept::Checking(pending) = &mut self.0 else {
            return None;
        };
        let early = std::mem::take(&mut pending.early);
        let (encoding, has_unread) = (pending.encoding, pending.has_unread);
        pending.accept(out);
        encoding.welcome(id, out);
        self.set_kept(Kept::Open(Opened {
            decoder: Decoder::default(),
            prefixes: None,
            standing,
            opened_at: second,
            encoding,
            awaits_pong: false,
        }));
        Some((early, has_unread))
    }

    /// Appends the question whether the client is still there, if the session is open.
    pub fn ping(&self, out: &mut Vec<u8>) {
        if let Some(opened) = self.opened() {
            opened.encoding.ping(out);
        }
    }

    /// Appends the last message to the client, if the session is open.
    pub fn last_word(&self, word: LastWord, out: &mut Vec<u8>) {
        if let Some(opened) = self.opened() {
            opened.encoding.last_word(word, out);
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

    /// What its token is worth now; `None` unless it is open.
    pub fn standing(&self) -> Option<&Standing> {
        Some(&self.opened()?.standing)
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
    /// now on; false when it was asked in vain.
    pub fn note_silent(&mut self) -> bool {
        match &mut self.0 {
            Kept::Open(opened) => !std::mem::replace(&mut opened.awaits_pong, true),
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
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'a>>) {
        match self.encoding {
            Encoding::Wamp1 => wamp1::read(
                &mut self.decoder,
                &mut self.prefixes,
                &self.standing,
                input,
                rules.message_bytes_max,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, as a reader wants to see it; a change of it is a change here.
    #[test]
    fn transitions() {
        use Stage::{Checking, Closing, Open, Upgrading};
        let stages = [Upgrading, Checking, Open, Closing];
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
                "Checking: Open, Closing",
                "Open: Closing",
                "Closing: ",
            ]
        );
    }
}
