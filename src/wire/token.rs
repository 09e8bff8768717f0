//! The client's credential: out of the request, compared, judged.
use std::sync::Arc;

/// A token as it was presented. Its `Debug` shows nothing of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Token(Box<[u8]>);

/// SHA-256 of a token: what is kept and compared.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

/// What a store says of a token.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The store knows it.
    Accepted(Arc<Grant>),
    /// The store does not know it.
    Refused,
    /// The store cannot tell now.
    Unavailable,
}

/// What an accepted token allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    /// For logs; never the token.
    pub name: String,
    /// Topics that may be subscribed to: exact names, or with one trailing `*`. Empty means all.
    pub topics: Vec<String>,
}

impl Grant {
    /// Whether `topic` may be subscribed to.
    pub fn allows(&self, _topic: &str) -> bool { true }
}

impl Token {
    /// A token from text that is known to be one (a flag, a file).
    pub fn new(text: impl AsRef<[u8]>) -> Self { Self(text.as_ref().into()) }
    /// 32 random bytes as base64url without padding: 43 characters.
    pub fn from_random(_random: [u8; 32]) -> Self { Self::new("") }
    /// Out of a request target's query (wire.md s. 3); `None` where there is no `token=`, or an empty one.
    pub fn from_target(_target: &str) -> Option<Self> { None }
    /// As text, where the owner of the token is to see it. Not UTF-8: lossily.
    pub fn reveal(&self) -> String { String::from_utf8_lossy(&self.0).into_owned() }
    /// What is kept of it.
    pub fn digest(&self) -> Digest { Digest([0; 32]) }
}
