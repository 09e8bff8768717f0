//! What is kept of a client until its verdict, and how it is answered then.
//!
//! Never here: what a request asks for (`upgrade`), what a token is worth (the verdict is an argument).

use super::sse::StreamWish;
use super::{Encoding, SessionId, wamp2};
use crate::standing::Applicant;
use crate::stats::Refusal;
use crate::wire::http::{self, Acceptance};
use crate::wire::past::PastWish;

/// The answer to a request that is good.
#[derive(Debug)]
enum RequestAnswer {
    Upgrade(Acceptance),
    Stream(StreamWish),
}

/// What is kept from the request until the verdict.
#[derive(Debug)]
pub struct Pending {
    /// What a good verdict is answered with; `None` when the answer to the upgrade has left.
    answer: Option<RequestAnswer>,
    pub encoding: Encoding,
    /// Bytes behind the head. A client has no reason to send any yet.
    pub early: Vec<u8>,
    /// True exactly when the socket may hold bytes for which no further readiness will come.
    pub has_unread: bool,
    /// A client whose request had no token, and who shows one after the upgrade.
    pub owes_proof: Option<Applicant>,
    /// True exactly when a token is judged that came after the upgrade.
    had_ticket: bool,
    /// As in the open session.
    pub takes_revocations: bool,
}

impl Pending {
    /// A client asks for a WebSocket. `early` came behind its request.
    pub fn new(acceptance: Acceptance, early: Vec<u8>) -> Box<Self> {
        let encoding = match (acceptance.subprotocol, acceptance.deflate.is_some()) {
            (Some(http::WAMP2), false) => Encoding::Wamp2,
            (Some(http::WAMP2), true) => Encoding::Wamp2Deflate,
            (_, false) => Encoding::Wamp1,
            (_, true) => Encoding::Wamp1Deflate,
        };
        Box::new(Self {
            early,
            ..*Self::with(Some(RequestAnswer::Upgrade(acceptance)), encoding)
        })
    }

    /// The upgrade has been answered, and a client of WAMP v2 has shown what it has.
    pub fn after_upgrade(
        encoding: Encoding,
        had_ticket: bool,
        takes_revocations: bool,
    ) -> Box<Self> {
        Box::new(Self {
            had_ticket,
            takes_revocations,
            ..*Self::with(None, encoding)
        })
    }

    /// A client asks for a stream.
    pub fn for_stream(wish: StreamWish) -> Box<Self> {
        Self::with(Some(RequestAnswer::Stream(wish)), Encoding::Sse)
    }

    fn with(answer: Option<RequestAnswer>, encoding: Encoding) -> Box<Self> {
        Box::new(Self {
            answer,
            encoding,
            early: Vec::new(),
            has_unread: false,
            owes_proof: None,
            had_ticket: false,
            takes_revocations: false,
        })
    }

    /// Appends the answer to the request. Returns false when that has left before.
    pub fn accept(&self, id: SessionId, out: &mut Vec<u8>) -> bool {
        match &self.answer {
            Some(RequestAnswer::Upgrade(acceptance)) => http::encode_acceptance(acceptance, out),
            Some(RequestAnswer::Stream(wish)) => wish.accept(id, out),
            None => return false,
        }
        true
    }

    /// The topics of a stream.
    pub fn topics(&self) -> &[String] {
        match &self.answer {
            Some(RequestAnswer::Stream(wish)) => &wish.topics,
            Some(RequestAnswer::Upgrade(_)) | None => &[],
        }
    }

    /// What is asked of the past of a stream's topics.
    pub fn past(&self) -> PastWish {
        match &self.answer {
            Some(RequestAnswer::Stream(wish)) => wish.past,
            Some(RequestAnswer::Upgrade(_)) | None => PastWish::default(),
        }
    }

    /// Appends the answer that refuses the client.
    pub fn refuse(&self, refusal: Refusal, id: SessionId, out: &mut Vec<u8>) {
        match &self.answer {
            Some(RequestAnswer::Upgrade(_)) => http::encode_refusal(refusal, false, out),
            Some(RequestAnswer::Stream(wish)) => wish.refuse(refusal, id, out),
            None => wamp2::refusal(refusal, self.had_ticket, out),
        }
    }
}
