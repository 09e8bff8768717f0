//! The process: how it starts, reloads, is watched, and ends; and what stands around it.
//!
//! Never here: what is said on the wire (`wire`), the stores of tokens (`auth`), the programs and pages that
//! come with the server (`tools`).

mod admin;
mod comeback;
mod herd;
mod metrics;
mod policies;
mod proxies;
mod reload;
mod shutdown;
mod start;
mod systemd;
