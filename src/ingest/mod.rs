//! Where events come in.
//!
//! A source has an endpoint, and a message or none for now; the loop asks it when its readiness (a
//! descriptor, or whatever else wakes the loop) says so, and stops asking when it has none or the
//! turn's budget is used up. What a message means is [`crate::wire::envelope`]'s to say. A new
//! source is one file here.
//!
//! Never here: topics, subscribers, connections of clients.

pub mod zeromq;
