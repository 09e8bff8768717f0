//! The process: how it starts, reloads, is watched, and ends; and systemd and the proxies around it.
//!
//! Never here: what peers send and receive (`wire`), the stores of tokens (`auth`), the programs and pages that
//! come with the server (`tools`).

mod admin;
mod comeback;
mod herd;
mod metrics;
mod policies;
mod proxies;
mod relay;
mod reload;
mod shutdown;
mod start;
mod systemd;
mod workers;
