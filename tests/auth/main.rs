//! Who may come in: each store of tokens, alone and behind the real server.
//!
//! Never here: what a client says once it is in (`wire`).

mod file;
mod http;
mod http_store;
mod jwt;
mod postgres;
