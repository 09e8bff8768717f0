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

use kit::Server;
use kit::observe::{envelope, publish_all};
#[cfg(feature = "all-stores")]
use newswire::{auth::Question, wire::token::Token};

/// The Close frame of a session whose token has ended.
fn ended() -> (u16, String) {
    (3000, "token no longer valid".to_owned())
}

/// In subscriptions that [`check_topics`] finds denied.
const DENIED: u64 = 3;

/// A client with a token for the topics `a` and `b_*` hears these, and no others.
fn check_topics(server: &Server, token: &str) {
    let mut client = server.client_with(token);
    for topic in ["a", "b_1", "c", "b", "$sys/stats"] {
        client.send(&format!("[5,{topic:?}]"));
    }
    client.settle();
    let events = ["c", "b", "a", "b_1"].map(|topic| envelope(topic, "1"));
    publish_all(&server.pull, events);
    assert_eq!(client.text(), r#"[8,"a",1]"#);
    assert_eq!(client.text(), r#"[8,"b_1",1]"#);
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
