//! Where events come from: what a source is, and the intake that takes events out of all sources.
//!
//! A [`Source`] has a name and a kind. It has a message or nothing now; what a message means is
//! [`crate::wire::envelope`]'s to say. The [`intake`] goes through the sources turn by turn:
//!
//! 1. [`Source::tend`]: the source looks after its connections.
//! 2. [`Source::receive`]: the source hands out one message. [`Source::settle`] says what became of that
//!    message: the intake has taken it, or dropped it for a reason. A third answer, "later", is not needed: while
//!    there is no room for events, the intake does not call `receive`, and the message stays with the source.
//! 3. [`Source::flushed`]: the turn's flush is over. The events were handed to their subscribers, or keep their
//!    place in the engine. A source that acknowledges messages does it now.
//! 4. [`Source::tell`]: the source tells its publisher which topics clients want, if its publisher can filter.
//!
//! Nothing here assumes a descriptor. A source that has one asks its [`Host`] to watch it; any other source is
//! asked in each turn, and wakes the loop when it has something.
//!
//! A client of a broker has a thread of its own, and reaches the loop over a queue ([`threaded`]). Such a client is
//! one file here.
//!
//! Never here: clients, and who subscribes to what (the server joins the intake and the engine).

#[cfg(feature = "amqp")]
pub mod amqp;
pub mod continuity;
pub mod http;
pub mod intake;
#[cfg(feature = "nats")]
pub mod nats;
pub mod scope;
pub mod subscriptions;
#[cfg(feature = "brokers")]
pub mod threaded;
pub mod wanted;
pub mod zeromq;

use std::io;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use crate::health::Health;
use crate::stats::{Counter, Dropped, Ingest, PeerRefusal};
use crate::wire::publication::Publication;
use http::Receipt;
use wanted::{TellBudget, Wanted};

/// In parts, how many are kept of one message: one more than any form of envelope has.
pub const PARTS_KEPT: usize = 5;

/// Where events come from.
pub trait Source {
    /// The name that operators know: an endpoint, or the path of a request.
    fn name(&self) -> &str;

    /// Which kind of source it is.
    fn kind(&self) -> Ingest;

    /// Returns true when [`Source::receive`] may have a message for which nothing will wake the loop.
    fn is_ready(&self) -> bool;

    /// Hands out the next message. `None` when there is none now; the source is not ready then.
    ///
    /// One call does a bounded amount of work, whatever the publisher sends.
    fn receive(&mut self) -> Option<Received<'_>>;

    /// Says what became of the message that [`Source::receive`] handed out last.
    fn settle(&mut self, _settlement: Settlement) {}

    /// The turn's flush is over: the settled messages may be acknowledged.
    fn flushed(&mut self, _now: Duration) {}

    /// Looks after the source's connections: once a turn, before messages are received. `budget` is in events of
    /// peers, for all sources.
    fn tend(&mut self, _id: SourceId, _now: Duration, _budget: &mut usize, _host: &mut dyn Host) {}

    /// Asks `host` to watch the source's descriptors, if it has any. Called once, before the first turn.
    ///
    /// # Errors
    /// Those of the source and of the poller.
    fn watch(&self, _id: SourceId, _host: &mut dyn Host) -> io::Result<()> {
        Ok(())
    }

    /// One of the source's descriptors has changed.
    fn handle_readiness(&mut self, _descriptor: Descriptor) {}

    /// A topic has its first subscriber, or the last subscriber has left it.
    fn note_topic(&mut self, _topic: &Rc<str>) {}

    /// Tells the publisher which topics are wanted, as far as the budget goes.
    fn tell(&mut self, _now: Duration, _wanted: &dyn Wanted, _budget: &mut TellBudget) {}

    /// Returns true when the publisher was asked for everything: then it also sends events that no client wants.
    fn asks_for_everything(&self) -> bool {
        false
    }

    /// How long [`Source::tend`] and [`Source::tell`] have nothing to do; `None` when nothing is due.
    fn timeout(&self, _now: Duration) -> Option<Duration> {
        None
    }

    /// How long the oldest message has waited that the source holds, as far as the source knows.
    fn lag(&self, _now: Duration) -> Option<Duration> {
        None
    }

    /// How the source is doing; `None` for a source that has no connections of its own.
    fn health(&self, _now: Duration) -> Option<Health<'_>> {
        None
    }
}

/// One source of an intake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourceId(pub u32);

/// Which descriptor of a source is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Descriptor {
    /// The one that says that there may be messages.
    Messages,
    /// The one that says that peers may have come or left.
    Peers,
}

/// What sources need from the loop.
pub trait Host {
    /// Watches a descriptor for [`Source::handle_readiness`].
    ///
    /// # Errors
    /// Those of the poller.
    fn watch(&mut self, id: SourceId, descriptor: Descriptor, file: RawFd) -> io::Result<()>;

    /// The reverse of [`Host::watch`], before `file` is closed.
    fn unwatch(&mut self, file: RawFd);

    /// Something has happened `n` times that the source alone knows of.
    fn count(&mut self, counter: Counter, n: u64);

    /// A connection to a publisher or broker was made. `is_gap` is true when events may have been missed since the last
    /// one.
    fn note_joined(&mut self, is_gap: bool);

    /// A peer of the source with that kind and name was refused.
    fn refused_peer(&mut self, kind: Ingest, name: &str, refusal: PeerRefusal);
}

/// What a source hands out.
#[derive(Debug)]
pub enum Received<'a> {
    /// A message, or the beginning of one that has more than [`PARTS_KEPT`] parts.
    Message {
        /// The name of the source.
        from: &'a str,
        /// The parts.
        parts: Parts<'a>,
    },
    /// One part beyond [`PARTS_KEPT`], of so many bytes. It is thrown away.
    Surplus(usize),
    /// The body of a request, with one event or several.
    Body {
        /// The name of the source.
        from: &'a str,
        /// The body.
        publication: &'a Publication,
    },
}

/// The parts of one message, at most [`PARTS_KEPT`] of them.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    parts: [&'a [u8]; PARTS_KEPT],
    count: usize,
}

impl<'a> FromIterator<&'a [u8]> for Parts<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(iter: I) -> Self {
        let (mut parts, mut count) = ([&[][..]; PARTS_KEPT], 0);
        for (place, part) in parts.iter_mut().zip(iter) {
            *place = part;
            count += 1;
        }
        Self { parts, count }
    }
}

impl<'a> Deref for Parts<'a> {
    type Target = [&'a [u8]];

    fn deref(&self) -> &Self::Target {
        &self.parts[..self.count]
    }
}

/// What became of a message.
#[derive(Debug)]
pub enum Settlement {
    /// Its event went to the engine.
    Taken,
    /// It was no event, for this reason.
    Dropped(Dropped),
    /// It was a body, and this is its receipt.
    Body(Receipt),
}
