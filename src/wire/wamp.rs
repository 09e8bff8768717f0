//! WAMP v1.
use std::borrow::Cow;

/// What a client says.
#[derive(Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// `[1, prefix, uri]`
    Prefix { prefix: Cow<'a, str>, uri: Cow<'a, str> },
    /// `[2, callId, procUri, …]`
    Call { id: Cow<'a, str>, procedure: Cow<'a, str> },
    /// `[5, topicUri]`
    Subscribe { topic: Cow<'a, str> },
    /// `[6, topicUri]`
    Unsubscribe { topic: Cow<'a, str> },
    /// `[7, topicUri, event, …]`; never acted upon.
    Publish,
}

/// Why a text is not a message of WAMP v1's client side: the close reason (at most 123 bytes).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub &'static str);

/// Parses a client's text.
pub fn parse(_text: &[u8]) -> Result<ClientMessage<'_>, Malformed> { Err(Malformed("")) }

/// Appends `[0,"<session id>",1,"<server ident>"]`.
pub fn encode_welcome(_session_id: &str, _out: &mut Vec<u8>) {}
/// Appends `[4,"<id>","<procedure>","You are not allowed to make calls"]`
pub fn encode_call_error(_id: &str, _procedure: &str, _out: &mut Vec<u8>) {}
/// The topic's name as a JSON string, quotes included, as it stands in EVENT.
pub fn quote(_topic: &str, _out: &mut String) {}
/// In bytes, how long [`encode_event`] will be.
pub fn event_len(_quoted_topic: &str, _data: &str) -> usize { 0 }
/// Appends `[8,"<topic>",<data>]`.
pub fn encode_event(_quoted_topic: &str, _data: &str, _out: &mut Vec<u8>) {}
