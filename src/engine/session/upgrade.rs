//! A client's HTTP request: what it asks for, and whether newswire's own rules allow that.
//!
//! Never here: how a head is cut and understood (`wire`), what is kept until the verdict (`pending`), what an open session
//! says.

use std::net::IpAddr;

use super::pending::Pending;
use super::sse::StreamWish;
use super::{Intent, Kept, Session, SessionId, SessionRules, wamp2};
use crate::standing::Applicant;
use crate::stats::{Counter, Refusal};
use crate::wire::files::{self, Plain};
use crate::wire::forwarded;
use crate::wire::growth;
use crate::wire::http::{self, Acceptance, Head, NO_LINES};
use crate::wire::protocol::Protocol;
use crate::wire::sse;
use crate::wire::token::Token;

impl Session {
    pub(super) fn upgrade(
        &mut self,
        input: &[u8],
        peer: IpAddr,
        rules: &SessionRules,
    ) -> (usize, Option<Intent<'static>>) {
        let Kept::Upgrading(kept) = &mut self.0 else {
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
            Ok(Some(head)) => match judge(&head, peer, rules) {
                Ok((client, judged)) => {
                    let taken = head.len.saturating_sub(before);
                    let intent = match judged {
                        Ok((mut pending, applicant)) => {
                            // A client of WAMP v2 may show its token later.
                            let is_later = pending.encoding.protocol() == Protocol::Wamp2
                                && applicant.token.is_none();
                            let intent = match is_later {
                                true => {
                                    pending.owes_proof = Some(applicant);
                                    Intent::Greet(client)
                                }
                                false => Intent::Check(Box::new(applicant)),
                            };
                            self.set_kept(Kept::Checking(pending));
                            intent
                        }
                        Err(refusal) => Intent::Refuse(refusal, client),
                    };
                    return (taken, Some(intent));
                }
                // A client that wants a file is refused as an upgrade first, so upgrades are not asked. Checks
                // of load balancers speak HTTP/1.0.
                Err(refusal @ (Refusal::NotUpgrade | Refusal::Method | Refusal::HttpVersion)) => {
                    (refusal, plain(&head, rules))
                }
                Err(refusal) => (refusal, None),
            },
            Err(fault) => (fault.into(), None),
        };
        // The refusal has to know the method.
        if kept.is_empty() && http::is_head(input) {
            *kept = input.to_vec();
        }
        let intent = match answer {
            Some((answer, counter)) => Intent::Serve(answer, counter),
            None => Intent::Refuse(refusal, peer),
        };
        (input.len(), Some(intent))
    }

    /// The upgrade came elsewhere, and only the verdict is left to come. `early` came behind the upgrade.
    pub fn admit(&mut self, acceptance: Acceptance, early: Vec<u8>) {
        self.set_kept(Kept::Checking(Pending::new(acceptance, early)));
    }

    /// Returns true when the client has not sent a byte.
    pub fn is_silent(&self) -> bool {
        matches!(&self.0, Kept::Upgrading(kept) if kept.is_empty())
    }

    /// The answer that refuses the client: to its request, or in its protocol after that.
    pub fn refusal(&self, refusal: Refusal, id: SessionId) -> Vec<u8> {
        let mut answer = Vec::new();
        match &self.0 {
            Kept::Checking(pending) => pending.refuse(refusal, id, &mut answer),
            Kept::Greeting(_) => wamp2::refusal(refusal, false, &mut answer),
            kept => {
                // The answer to HEAD has no body.
                let is_head = matches!(kept, Kept::Upgrading(kept) if http::is_head(kept));
                http::encode_refusal(refusal, is_head, &mut answer);
            }
        }
        answer
    }
}

/// A client and what it asks for, or why it is refused.
type Judged = (IpAddr, Result<(Box<Pending>, Applicant), Refusal>);

/// Judges a head as HTTP, and then by newswire's own rules.
///
/// # Errors
/// Returns the refusal of a head that asks for neither an upgrade nor a stream, or not well.
fn judge(head: &Head<'_, '_>, peer: IpAddr, rules: &SessionRules) -> Result<Judged, Refusal> {
    let client = |forwarded: &[&[u8]]| forwarded::client(peer, forwarded, |a| rules.trusts(a));
    let (client, origin, pending) = match http::event_stream(head) {
        Some(stream) => {
            let stream = stream?;
            let wish = StreamWish {
                topics: stream.topics,
                past: stream.past,
                origin: stream.origin.map(str::to_owned),
                is_browser: stream.is_browser,
            };
            let pending = Pending::for_stream(wish);
            (client(&stream.forwarded_for), stream.origin, pending)
        }
        None => {
            let upgrade = http::judge(head)?;
            let pending = Pending::new(upgrade.acceptance(rules.compresses), Vec::new());
            (client(&upgrade.forwarded_for), upgrade.origin, pending)
        }
    };
    if !origin.is_none_or(|origin| rules.allows_origin(origin)) {
        return Ok((client, Err(Refusal::Origin)));
    }
    let applicant = Applicant {
        token: token(head),
        client,
        origin: origin.map(str::to_owned),
    };
    Ok((client, Ok((pending, applicant))))
}

/// Returns the answer to a request for neither an upgrade nor a stream, and what it is counted as; `None` where there
/// is nothing to answer.
fn plain(head: &Head<'_, '_>, rules: &SessionRules) -> Option<(Vec<u8>, Counter)> {
    match files::answer(head, &rules.files) {
        Some(Plain::File(answer)) => Some((answer, Counter::FilesServed)),
        Some(Plain::Health(answer)) => Some((answer, Counter::HealthChecks)),
        None => preflight(head, rules).map(|answer| (answer, Counter::Preflights)),
    }
}

/// Returns the answer to a browser that asks whether a page of an allowed origin may send a token in a header (Fetch
/// s. 3.3.2); `None` for every other request.
fn preflight(head: &Head<'_, '_>, rules: &SessionRules) -> Option<Vec<u8>> {
    let origin = head.text("origin").ok()??;
    let is_asked = head.method == "OPTIONS" && head.has("access-control-request-method");
    (is_asked && rules.allows_origin(origin)).then(|| {
        let mut answer = Vec::new();
        sse::encode_preflight(origin, &mut answer);
        answer
    })
}

/// Returns the token of a request: the one of its URL, or else of its `Authorization`, or of a sub-protocol that it offers.
fn token(head: &Head<'_, '_>) -> Option<Token> {
    let of_header = || Token::from_credentials(head.text("authorization").ok()??);
    let of_offer = || {
        head.elements("sec-websocket-protocol")
            .find_map(Token::from_offer)
    };
    Token::from_target(head.target)
        .or_else(of_header)
        .or_else(of_offer)
}
