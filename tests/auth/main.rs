//! Which clients get in: each store of tokens, alone and behind the real server.
//!
//! Never here: what a client sends once it is in (`wire`).

mod file;
mod http;
mod http_store;
mod jwt;
mod postgres;

#[cfg(feature = "all-stores")]
use std::{net::Ipv4Addr, sync::Arc};

#[cfg(feature = "all-stores")]
use newswire::{auth::Question, wire::token::Token};

/// The Close frame of a session whose token has ended.
fn ended() -> (u16, String) {
    (3000, "token no longer valid".to_owned())
}

/// The question about a newcomer's token.
#[cfg(feature = "all-stores")]
fn question(token: impl AsRef<[u8]>) -> Arc<Question> {
    let token = Token::new(token);
    Arc::new(Question {
        ticket: 7,
        digest: token.digest(),
        token: Some(token),
        client: Ipv4Addr::LOCALHOST.into(),
        origin: None,
        is_recheck: false,
    })
}
