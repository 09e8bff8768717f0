//! What is kept of one connection. A million of these are most of newswire's memory.
//!
//! Never here: what is done with it.

use super::idset::IdSet;
use super::link::Link;
use super::session::Session;

/// One connection, in its place.
#[derive(Debug)]
pub struct Connection<S> {
    /// Its stream, and what is owed to it.
    pub link: Link<S>,
    /// What was agreed on it.
    pub session: Session,
    /// The audiences that it is a member of.
    pub audiences: IdSet,
}

// Two thirds of what an idle connection may cost (120 bytes); its share of the generations,
// deadlines, members and of the slab's growth fits into the rest.
const _: () = assert!(size_of::<Connection<u32>>() <= 80);
