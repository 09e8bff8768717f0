//! What comes with the server: the commands, the browser's client, the dashboard, the package; and the rules
//! of the house.
//!
//! Never here: the server itself (`wire`, `server`, `auth`).

mod browser;
mod cli;
mod client;
mod commands;
mod dashboard;
mod docs;
mod fake_admin;
mod packaging;
mod process;
mod proxy;
mod recovery;
mod reference;
mod tidy;
