//! HTTP/1.1. The server's side: `head` parses a request's head, `upgrade` judges whether it is a good WebSocket
//! upgrade, `deflate` whether it offers compression, `event_stream` whether it asks for server-sent events, and `response`
//! writes every answer. All listeners use these. `answer` is the other side's.
//!
//! Never here: what exists at which path, and who may have it.

pub mod answer;
mod deflate;
mod event_stream;
mod head;
mod response;
mod upgrade;

pub use deflate::DeflateOffer;
pub use event_stream::{EventStream, event_stream};
pub use head::{BodyFault, Head, HeadFault, Lines, NO_LINES, Unclear, is_head};
pub use response::{
    CLOSE, Content, HttpAnswer, encode_acceptance, encode_refusal, encode_refusal_with,
};
pub use upgrade::{Acceptance, SUBPROTOCOLS, Upgrade, WAMP2, accept_key, judge};
