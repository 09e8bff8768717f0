//! WAMP v2 in WebSocket frames: what such a client's bytes mean, and every message that it receives.
//!
//! A client introduces itself with HELLO after the upgrade. Its token came with the request and is known to be good by
//! then; or it is the ticket that CHALLENGE asks for. What is said until WELCOME is in [`Prelude`].
//!
//! Clients do not come back after GOODBYE or ABORT. They do after a Close frame alone. So a client that may come back
//! gets the Close frame alone.
//!
//! Never here: the stages of a session (`mod.rs`), how bytes are cut into frames and messages (`wire`).

use std::rc::Rc;

use super::SessionId;
use super::encoding::{Encoding, Request};
use super::frames::{ClientFrame, FrameReader};
use super::step::{Breach, Intent, LastWord, Noted, SubscribeOutcome, SubscriptionName};
use crate::standing::{Applicant, Standing};
use crate::stats::{Close, Counter, Gap, Refusal};
use crate::wire::id::EventId;
use crate::wire::past::{PastWish, RecoveryNotice};
use crate::wire::token::Token;
use crate::wire::wamp;
use crate::wire::wamp2::{self, Hello, NotWamp, Wamp2Message, kind, uri};
use crate::wire::websocket::{self, Decoder, Inflater, close_code};

/// What is known of a client's right to be here before it was welcomed.
#[derive(Debug)]
pub enum Proof {
    /// Its token was in its request, and is good.
    Shown(Rc<Standing>),
    /// It has shown no token; its request has the rest.
    Owed(Applicant),
}

/// What is kept between the upgrade and WELCOME.
#[derive(Debug)]
pub struct Prelude {
    decoder: Decoder,
    /// WAMP v2, in one of its forms.
    pub encoding: Encoding,
    /// What the client said of itself.
    pub hello: Hello,
    /// Who it is.
    pub proof: Proof,
    /// True exactly when the client was asked for a ticket.
    pub is_challenged: bool,
}

/// What a client says before it is welcomed.
#[derive(Debug)]
pub enum Said {
    /// The client has said its HELLO.
    Hello,
    /// The client has shown its token.
    Ticket(Token),
    /// The client has said something that means what it always means.
    Other(Intent<'static>),
}

impl Prelude {
    /// The upgrade of a client is accepted, and nothing more was said.
    pub fn new(encoding: Encoding, proof: Proof) -> Box<Self> {
        Box::new(Self {
            decoder: Decoder::default(),
            encoding,
            hello: Hello::default(),
            proof,
            is_challenged: false,
        })
    }

    /// Takes bytes of the client. Answers how many it took, and what they say.
    pub fn read(
        &mut self,
        inflater: &mut Inflater,
        input: &mut [u8],
        message_bytes_max: usize,
    ) -> (usize, Option<Said>) {
        let reader = FrameReader {
            encoding: self.encoding,
            decoder: &mut self.decoder,
            inflater,
            message_bytes_max,
        };
        let (taken, frame) = reader.next(input);
        let Some(frame) = frame else {
            return (taken, None);
        };
        let said = match frame {
            ClientFrame::Message(text) => understand(text, self.is_challenged, &mut self.hello),
            // Nothing of the decoder's may be borrowed any more when the stage changes.
            ClientFrame::Ping(payload) => {
                Said::Other(Intent::Pong(self.encoding, payload.to_vec().into()))
            }
            ClientFrame::Pong => Said::Other(Intent::Noted(Noted::Pong)),
            ClientFrame::Close(code) => Said::Other(Intent::PeerClosed(code)),
            ClientFrame::Broken(breach) => Said::Other(Intent::Fail(breach)),
        };
        self.decoder.release();
        (taken, Some(said))
    }
}

/// What a message says before WELCOME. HELLO is kept in `hello`.
fn understand(text: &[u8], is_challenged: bool, hello: &mut Hello) -> Said {
    match wamp2::parse(text) {
        Ok(Wamp2Message::Hello(said)) if !is_challenged => {
            *hello = said;
            Said::Hello
        }
        Ok(Wamp2Message::Authenticate { ticket }) if is_challenged => {
            Said::Ticket(Token::new(ticket.as_bytes()))
        }
        Ok(Wamp2Message::Abort) => Said::Other(Intent::PeerLeft),
        Ok(_) => Said::Other(Intent::Fail(breach("not before WELCOME"))),
        Err(NotWamp(text)) => Said::Other(Intent::Fail(breach(text))),
    }
}

/// Takes bytes of a client that was welcomed. Answers how many it took, and what follows from them. `takes_notices` becomes
/// true when the client asks for a topic's past: by that it shows that it understands what is said of it.
pub fn read<'a>(
    reader: FrameReader<'a>,
    standing: &'a Standing,
    takes_notices: &mut bool,
    input: &'a mut [u8],
) -> (usize, Option<Intent<'a>>) {
    let encoding = reader.encoding;
    reader.read(input, |payload| match wamp2::parse(payload) {
        Ok(message) => {
            let asks = |past: &Option<PastWish>| past.as_ref().is_some_and(PastWish::is_asked);
            *takes_notices |=
                matches!(&message, Wamp2Message::Subscribe { past, .. } if asks(past));
            act(encoding, standing, message)
        }
        Err(NotWamp(text)) => Intent::Fail(breach(text)),
    })
}

fn act<'a>(encoding: Encoding, standing: &'a Standing, message: Wamp2Message<'a>) -> Intent<'a> {
    let request = |number| Request { encoding, number };
    match message {
        Wamp2Message::Subscribe {
            request: number,
            is_exact: false,
            ..
        } => refuse(kind::SUBSCRIBE, number, uri::OPTION_NOT_ALLOWED, None),
        Wamp2Message::Subscribe {
            request: number,
            past: None,
            ..
        } => refuse(kind::SUBSCRIBE, number, uri::INVALID_ARGUMENT, None),
        Wamp2Message::Subscribe {
            request: number,
            topic,
            is_exact: true,
            past: Some(past),
        } => match standing.allows(&topic) {
            true => Intent::Subscribe(request(number), topic, past),
            false => Intent::Denied(request(number), topic, standing),
        },
        Wamp2Message::Unsubscribe {
            request: number,
            subscription,
        } => Intent::Unsubscribe(request(number), SubscriptionName::Id(subscription)),
        Wamp2Message::Call { request, procedure } if procedure == wamp::ALIVE => {
            let result = frame(|out| wamp2::encode_result(request, out));
            Intent::Reply(result, Some(Counter::AliveCalls))
        }
        Wamp2Message::Call { request, .. } => refuse(
            kind::CALL,
            request,
            uri::NOT_AUTHORIZED,
            Some(Counter::Calls),
        ),
        Wamp2Message::Register { request } => {
            refuse(kind::REGISTER, request, uri::NOT_AUTHORIZED, None)
        }
        Wamp2Message::Unregister { request } => {
            refuse(kind::UNREGISTER, request, uri::NO_SUCH_REGISTRATION, None)
        }
        // A client that did not ask for an answer takes one for an error of the protocol.
        Wamp2Message::Publish {
            is_acknowledged: false,
            ..
        } => Intent::Noted(Noted::Publish),
        Wamp2Message::Publish { request, .. } => refuse(
            kind::PUBLISH,
            request,
            uri::NOT_AUTHORIZED,
            Some(Counter::ClientPublishes),
        ),
        Wamp2Message::Cancel => Intent::Noted(Noted::Nothing),
        Wamp2Message::Goodbye | Wamp2Message::Abort => Intent::PeerLeft,
        Wamp2Message::Hello(_) | Wamp2Message::Authenticate { .. } => {
            Intent::Fail(breach("not after WELCOME"))
        }
    }
}

/// Answers a request with ERROR.
fn refuse(kind: u8, request: u64, error: &str, counter: Option<Counter>) -> Intent<'static> {
    let error = frame(|out| wamp2::encode_error(kind, request, error, out));
    Intent::Reply(error, counter)
}

fn frame(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    websocket::encode_text(&mut frame, encode);
    frame
}

/// The client said something that is no WAMP, or not now.
fn breach(text: &'static str) -> Breach {
    Breach {
        reason: Close::BadMessage,
        code: close_code::BAD_DATA,
        text,
    }
}

/// Returns CHALLENGE.
pub fn challenge() -> Vec<u8> {
    frame(wamp2::encode_challenge)
}

/// Appends WELCOME.
pub fn welcome(id: SessionId, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| wamp2::encode_welcome(id.number(), out));
}

/// Appends what became of SUBSCRIBE.
pub fn subscribed(request: u64, outcome: SubscribeOutcome, out: &mut Vec<u8>) {
    let error = match outcome {
        SubscribeOutcome::Subscribed(number) => {
            return websocket::encode_text(out, |out| {
                wamp2::encode_subscribed(request, number, out);
            });
        }
        SubscribeOutcome::Denied => uri::NOT_AUTHORIZED,
        SubscribeOutcome::TopicTooLong => uri::INVALID_URI,
        SubscribeOutcome::TooMany => uri::TOO_MANY,
    };
    websocket::encode_text(out, |out| {
        wamp2::encode_error(kind::SUBSCRIBE, request, error, out);
    });
}

/// Appends what became of UNSUBSCRIBE.
pub fn unsubscribed(request: u64, was_subscribed: bool, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| match was_subscribed {
        true => wamp2::encode_unsubscribed(request, out),
        false => {
            let error = uri::NO_SUCH_SUBSCRIPTION;
            wamp2::encode_error(kind::UNSUBSCRIBE, request, error, out);
        }
    });
}

/// Appends that the server has ended a subscription, because the token does not allow the topic any more.
pub fn revoked(subscription: u64, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| {
        wamp2::encode_revoked(subscription, uri::NOT_AUTHORIZED, out);
    });
}

/// Appends what a client gets of a topic's past.
pub fn recovery(subscription: u64, notice: RecoveryNotice, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| wamp2::encode_recovery(subscription, notice, out));
}

/// Appends that events of a topic were lost to the client.
pub fn gap(subscription: u64, gap: Gap, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| wamp2::encode_gap(subscription, gap, out));
}

/// Returns the number by which WAMP knows the publication of an event.
pub fn publication(id: EventId) -> u64 {
    wamp2::publication(id)
}

/// Appends the last messages to a client that was welcomed.
pub fn last_word(word: LastWord, out: &mut Vec<u8>) {
    let (code, text) = match word {
        LastWord::PeerClosed(code) => (code, ""),
        LastWord::PeerLeft => {
            websocket::encode_text(out, |out| {
                wamp2::encode_goodbye(uri::GOODBYE_AND_OUT, out);
            });
            (Some(close_code::NORMAL), "")
        }
        LastWord::Breach(breach) => {
            abort_for(breach, out);
            (Some(breach.code), breach.text)
        }
        LastWord::Late => (Some(close_code::POLICY), "not welcomed in time"),
        LastWord::SlowConsumer => (Some(close_code::POLICY), "slow consumer"),
        LastWord::TokenEnded => {
            websocket::encode_text(out, |out| wamp2::encode_goodbye(uri::KILLED, out));
            (Some(close_code::TOKEN_ENDED), "token no longer valid")
        }
        LastWord::Disconnected => {
            websocket::encode_text(out, |out| wamp2::encode_goodbye(uri::KILLED, out));
            (Some(close_code::POLICY), "disconnected by an administrator")
        }
        LastWord::GoingAway => (Some(close_code::GOING_AWAY), "the server is going down"),
    };
    websocket::encode_close(code, text, out);
}

/// Appends the last messages to a client that was not welcomed yet. `is_challenged` tells whether it was asked for a
/// ticket.
pub fn early_last_word(word: LastWord, is_challenged: bool, out: &mut Vec<u8>) {
    match word {
        // No token is that long.
        LastWord::Breach(breach) if is_challenged && breach.reason == Close::MessageTooLarge => {
            abort(uri::AUTHENTICATION_DENIED, breach.text, out);
            websocket::encode_close(Some(breach.code), breach.text, out);
        }
        LastWord::TokenEnded => {
            let text = "token no longer valid";
            abort(uri::AUTHENTICATION_DENIED, text, out);
            websocket::encode_close(Some(close_code::TOKEN_ENDED), text, out);
        }
        LastWord::Disconnected => {
            let text = "disconnected by an administrator";
            abort(uri::KILLED, text, out);
            websocket::encode_close(Some(close_code::POLICY), text, out);
        }
        LastWord::PeerLeft => websocket::encode_close(Some(close_code::NORMAL), "", out),
        LastWord::PeerClosed(_)
        | LastWord::Breach(_)
        | LastWord::Late
        | LastWord::SlowConsumer
        | LastWord::GoingAway => last_word(word, out),
    }
}

/// Appends the last messages to a client that is refused after its upgrade. `had_ticket` tells whether it has shown a
/// token.
pub fn refusal(refusal: Refusal, had_ticket: bool, out: &mut Vec<u8>) {
    let (code, text) = match refusal {
        Refusal::Token if had_ticket => {
            abort(uri::AUTHENTICATION_DENIED, "the token is not good", out);
            (close_code::POLICY, "the token is not good")
        }
        Refusal::Token => {
            let text = "a token is needed: in the URL, a header, a sub-protocol, or as ticket";
            abort(uri::NO_MATCHING_AUTH_METHOD, text, out);
            (close_code::POLICY, text)
        }
        Refusal::ShuttingDown => (close_code::GOING_AWAY, "the server is going down"),
        // What stands in its way may pass, so it gets no ABORT.
        refusal if refusal.may_pass() => (close_code::TRY_AGAIN_LATER, refusal.name()),
        // These come before the upgrade.
        refusal => (close_code::POLICY, refusal.name()),
    };
    websocket::encode_close(Some(code), text, out);
}

fn abort(reason: &str, message: &str, out: &mut Vec<u8>) {
    websocket::encode_text(out, |out| wamp2::encode_abort(message, reason, out));
}

/// A breach of WAMP is told in WAMP too. One of WebSocket is not: nothing more can be said there.
fn abort_for(breach: Breach, out: &mut Vec<u8>) {
    if breach.reason == Close::BadMessage {
        abort(uri::PROTOCOL_VIOLATION, breach.text, out);
    }
}

/// EVENT, not written yet.
#[derive(Clone, Copy, Debug)]
pub struct Wamp2Event<'a> {
    /// The id of the topic's subscriptions.
    pub subscription: u64,
    /// The number by which WAMP knows the event.
    pub publication: u64,
    /// The event's id as text; empty when it has none.
    pub id: &'a str,
    /// The event's data.
    pub data: &'a str,
}

impl Wamp2Event<'_> {
    fn payload_bytes(&self) -> usize {
        wamp2::event_len(self.subscription, self.publication, self.id, self.data)
    }

    /// In bytes, the whole frame.
    pub fn bytes(&self) -> usize {
        let payload_bytes = self.payload_bytes();
        websocket::text_header_len(payload_bytes) + payload_bytes
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        websocket::encode_text_header(self.payload_bytes(), out);
        self.write_payload(out);
    }

    /// Appends what is in the frame.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        let Self {
            subscription,
            publication,
            id,
            data,
        } = *self;
        wamp2::encode_event(subscription, publication, id, data, out);
    }
}
