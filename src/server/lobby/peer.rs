//! One connection of the lobby, driven as far as the turn's budget goes.
//!
//! Never here: which connection has a place (the lobby), what is said (`admin/`).

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::admin::{AdminRules, Command, Conversation};
use crate::engine::Stream;
use crate::server::listeners::ClientStream;
use crate::stats::Stats;

/// A connection of an administrator or a publisher.
#[derive(Debug)]
pub struct Peer {
    pub stream: ClientStream,
    pub address: SocketAddr,
    pub conversation: Conversation,
    /// Tells the connection from others that had its place.
    pub serial: u64,
    /// True exactly when the lobby has tried to read from the connection.
    pub was_read: bool,
    /// True exactly when the place is in `Lobby::work`.
    pub is_listed: bool,
}

/// What is left of a turn's budget.
#[derive(Debug, Default)]
pub struct LobbyBudget {
    pub read_bytes: usize,
    pub written_bytes: usize,
    pub commands: usize,
}

/// How far [`Peer::drive`] came.
pub enum Driven {
    /// The connection would block, or waits for an answer.
    Blocked,
    /// The budget was used up.
    Cut,
    /// The connection has ended.
    Gone,
    /// The connection has a command.
    Command(Command),
}

impl Peer {
    /// Writes, reads and handles what was read, as far as the connection and the budget go.
    pub fn drive(
        &mut self,
        now: Duration,
        rules: &AdminRules,
        buffer: &mut [u8],
        budget: &mut LobbyBudget,
        stats: &Stats,
    ) -> Driven {
        let Peer {
            stream,
            conversation,
            ..
        } = self;
        let mut is_full = false;
        loop {
            if let Some(status) = conversation.poll_answered() {
                stats.answered(status);
            }
            if let Some(command) = conversation.poll_command() {
                return Driven::Command(command);
            }
            let output = conversation.output();
            if !output.is_empty() && !is_full {
                if budget.written_bytes == 0 {
                    return Driven::Cut;
                }
                let share = output.len().min(budget.written_bytes);
                match stream.write(&output[..share]) {
                    Ok(written) => {
                        budget.written_bytes -= written;
                        conversation.handle_written(now, written, rules);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => is_full = true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Driven::Gone,
                }
                continue;
            }
            if conversation.poll_finish() && stream.finish().is_err() || conversation.is_over() {
                return Driven::Gone;
            }
            let share = conversation.wants().min(buffer.len());
            if share == 0 {
                return Driven::Blocked;
            }
            if budget.read_bytes == 0 {
                return Driven::Cut;
            }
            let share = share.min(budget.read_bytes);
            match stream.read(&mut buffer[..share]) {
                Ok(0) => conversation.handle_end(),
                Ok(n) => {
                    budget.read_bytes -= n;
                    conversation.handle_bytes(now, &buffer[..n], rules);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Driven::Blocked,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Driven::Gone,
            }
        }
    }
}
