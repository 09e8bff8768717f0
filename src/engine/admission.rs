//! Which newcomers are admitted, and which addresses are counted for them.
//!
//! Never here: tokens (`judging`), which connection ends to make room (`room`).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::Engine;
use super::connection::Connection;
use super::idset::IdSet;
use super::link::{Link, Stream};
use super::session::Session;
use super::slots::SlotId;
use crate::standing::{Standing, Verdict};
use crate::stats::{Counter, Refusal};
use crate::wire::http::Acceptance;

impl<S: Stream> Engine<S> {
    /// A stream was accepted.
    ///
    /// # Errors
    /// Hands the stream back when there is no place for it: its peer is owed that refusal.
    pub fn handle_connection(
        &mut self,
        stream: S,
        peer: SocketAddr,
    ) -> Result<SlotId, (S, Refusal)> {
        if let Err(refusal) = self.admit(peer.ip()) {
            self.desk.stats.refused(refusal);
            let address = peer.ip().to_canonical();
            self.incidents.refused(address, refusal, None);
            return Err((stream, refusal));
        }
        let id = self.slots.insert(Connection {
            link: Link::new(stream, peer),
            session: Session::default(),
            audiences: IdSet::default(),
        });
        self.desk.stats.count(Counter::Connections);
        self.arm(id, self.rules.handshake_seconds);
        self.room.upgrading.push(id, self.desk.now);
        Ok(id)
    }

    /// A stream was accepted, and another part of the program has parsed and judged its upgrade and lets its
    /// client in with `standing`. `early` came behind the upgrade.
    ///
    /// # Errors
    /// Hands the stream back when there is no place for it: its peer is owed that refusal.
    pub fn handle_admitted(
        &mut self,
        stream: S,
        peer: SocketAddr,
        upgrade: Result<Acceptance, Refusal>,
        early: Vec<u8>,
        standing: Rc<Standing>,
    ) -> Result<SlotId, (S, Refusal)> {
        let id = self.handle_connection(stream, peer)?;
        let is_barred = self
            .addresses
            .is_barred(peer.ip().to_canonical(), self.desk.now);
        match upgrade {
            Err(refusal) => self.refuse(id, refusal),
            Ok(_) if is_barred => self.refuse(id, Refusal::TooManyTokens),
            Ok(acceptance) => {
                if let Some(connection) = self.slots.get_mut(id) {
                    connection.session.admit(acceptance, early);
                }
                self.handle_verdict(id, Verdict::Accepted(standing));
            }
        }
        Ok(id)
    }

    /// Finds a place for a newcomer of `address`, or says why there is none.
    fn admit(&mut self, address: IpAddr) -> Result<(), Refusal> {
        if self.is_shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        if !self.enter(address) {
            return Err(Refusal::AddressFull);
        }
        if self.is_full() && !self.make_room() {
            self.leave(address);
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Returns true when one more connection of `address` is within its bound, and counts it then. A
    /// proxy's own address is never counted: the client behind it is, once the upgrade has told its address.
    pub(super) fn enter(&mut self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.rules.session.trusts(address) || self.addresses.enter(address)
    }

    /// The reverse of [`Engine::enter`], for a connection that was let in.
    pub(super) fn leave(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        if !self.rules.session.trusts(address) {
            self.addresses.leave(address);
        }
    }
}
