//! Checks that everything which is kept in two places agrees. The simulation asks after each step.
//!
//! Never here: anything that a server calls. An audit looks at every connection and takes as long.

use std::collections::HashMap;
use std::rc::Rc;

use super::Engine;
use super::addresses::network;
use super::audiences::AudienceId;
use super::batch::SHARE_BYTES;
use super::link::Stream;
use super::session::Stage;

impl<S: Stream> Engine<S> {
    /// Compares members with reverse indices, what outboxes hold with what is accounted for, and
    /// addresses with connections. Between two turns only.
    ///
    /// # Errors
    /// What does not agree.
    pub fn audit(&self) -> Result<(), String> {
        let mut subscriptions = 0;
        let mut batches = HashMap::new();
        let mut addresses = HashMap::new();
        for (id, connection) in self.slots.iter() {
            for audience in connection.audiences.iter().map(AudienceId::of_number) {
                subscriptions += 1;
                if !self.hub.topics().is_member(audience, id.index()) {
                    return Err(format!("{id:?} has {audience:?}, which does not have it"));
                }
            }
            if connection.session.stage() != Stage::Open
                && !connection.audiences.is_empty()
                && !self.leaving.contains(&id)
                && !self.gone.contains(&id)
            {
                return Err(format!(
                    "{id:?} is not open, has topics, and does not leave them"
                ));
            }
            for batch in connection.link.outbox().batches() {
                let (shares, batch) = batches.entry(Rc::as_ptr(batch)).or_insert((0, batch));
                *shares += 1;
                let holders = batch.holders();
                if *shares > holders {
                    return Err(format!("a batch is held {shares} times, {holders} counted"));
                }
            }
            let address = connection.link.peer().ip();
            if !self.rules.session.trusts(address) && !address.is_unspecified() {
                *addresses.entry(network(address)).or_default() += 1;
            }
        }
        for id in self.replays.clients() {
            if self.slots.get(id).is_none() {
                return Err(format!("{id:?} waits for kept events and is gone"));
            }
        }
        self.replays.audit()?;
        self.hub
            .topics()
            .audit(subscriptions + self.replays.len())?;
        self.hub.audit()?;
        let held: usize = batches
            .values()
            .map(|&(shares, batch)| batch.footprint() + shares as usize * SHARE_BYTES)
            .sum();
        if held != self.desk.held.bytes() {
            let accounted = self.desk.held.bytes();
            return Err(format!("{held} bytes are held, {accounted} accounted for"));
        }
        let counted = self.addresses.connections();
        if self.rules.connections_per_address_max > 0 && addresses != *counted {
            return Err(format!("{addresses:?} are connected, {counted:?} counted"));
        }
        if self.slots.len() == 0 && self.deadlines.is_armed() {
            return Err("nobody is there, and a deadline is set".to_owned());
        }
        Ok(())
    }
}
