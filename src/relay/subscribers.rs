//! What receivers of a relay subscribe to: names of topics, each in a place of its own, or everything.
//!
//! libzmq tells the first subscription to a name and the end of the last one (RFC 29, XPUB), so nothing is counted here.
//!
//! Never here: the socket.

use std::collections::HashMap;
use std::rc::Rc;

use crate::limits;

/// The subscriptions. Invariant: at most `limits::RELAY_TOPICS_MAX` names, of `limits::RELAY_TOPIC_BYTES_MAX` bytes.
#[derive(Debug, Default)]
pub struct Subscribers {
    names: HashMap<Rc<str>, u32>,
    places: Vec<Option<Rc<str>>>,
    free: Vec<u32>,
    bytes: usize,
    /// True exactly when a receiver subscribes to everything.
    want_everything: bool,
    /// True exactly when there were more names than places: then everything is wanted for good.
    are_too_many: bool,
}

impl Subscribers {
    /// Takes a message of an XPUB socket: 1 or 0, and a prefix of names. Returns the name that is wanted now, or no
    /// more. The empty name is everything.
    pub fn handle(&mut self, message: &[u8]) -> Option<Rc<str>> {
        let (&first, prefix) = message.split_first()?;
        // A prefix may end within a character; every name that begins with it begins with the whole ones too.
        let name = prefix
            .utf8_chunks()
            .next()
            .map_or("", |chunk| chunk.valid());
        match (first, name) {
            (1, "") => self.want_everything = true,
            (0, "") => self.want_everything = false,
            (1, name) => return self.insert(name),
            (0, name) => return self.remove(name),
            // Another message of a receiver's means nothing.
            _ => return None,
        }
        Some("".into())
    }

    fn insert(&mut self, name: &str) -> Option<Rc<str>> {
        if self.names.contains_key(name) {
            return None;
        }
        let is_full = self.names.len() >= limits::RELAY_TOPICS_MAX
            || self.bytes + name.len() > limits::RELAY_TOPIC_BYTES_MAX;
        if is_full {
            self.are_too_many = true;
            return None;
        }
        let name: Rc<str> = name.into();
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.places[place as usize] = Some(Rc::clone(&name));
        self.bytes += name.len();
        self.names.insert(Rc::clone(&name), place);
        Some(name)
    }

    fn remove(&mut self, name: &str) -> Option<Rc<str>> {
        let (name, place) = self.names.remove_entry(name)?;
        self.places[place as usize] = None;
        self.free.push(place);
        self.bytes -= name.len();
        Some(name)
    }

    /// Returns true when everything is wanted.
    pub fn want_everything(&self) -> bool {
        self.want_everything || self.are_too_many
    }

    /// Returns true when a receiver subscribes to exactly `topic`, or to everything.
    pub fn wants(&self, topic: &str) -> bool {
        self.want_everything() || self.names.contains_key(topic)
    }

    /// In names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns true when nothing is subscribed to.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.want_everything()
    }

    /// In bytes, all names.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many places there are, taken or free.
    pub fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// The name in a place.
    pub fn name_at(&self, place: u32) -> Option<Rc<str>> {
        self.places.get(place as usize)?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go() {
        let mut subscribers = Subscribers::default();
        assert!(subscribers.is_empty());
        assert_eq!(subscribers.handle(b"\x01a").as_deref(), Some("a"));
        assert_eq!(subscribers.handle(b"\x01bc").as_deref(), Some("bc"));
        assert_eq!(subscribers.handle(b"\x01a"), None, "no news");
        assert!(subscribers.wants("a") && !subscribers.wants("b"));
        assert_eq!((subscribers.len(), subscribers.bytes()), (2, 3));
        assert_eq!(subscribers.handle(b"\x00a").as_deref(), Some("a"));
        assert_eq!(subscribers.handle(b"\x00a"), None);
        assert_eq!(subscribers.name_at(0), None);
        assert_eq!(subscribers.name_at(1).as_deref(), Some("bc"));
        assert_eq!(subscribers.handle(b"\x01d").as_deref(), Some("d"));
        assert_eq!(
            subscribers.name_at(0).as_deref(),
            Some("d"),
            "a place is used again"
        );
        assert_eq!(subscribers.places(), 2);
    }

    #[test]
    fn the_empty_name_is_everything_and_a_prefix_may_end_within_a_character() {
        let mut subscribers = Subscribers::default();
        assert_eq!(subscribers.handle(b"\x01").as_deref(), Some(""));
        assert!(subscribers.want_everything() && subscribers.wants("x"));
        assert_eq!(subscribers.handle(b"\x00").as_deref(), Some(""));
        assert!(!subscribers.want_everything());
        assert_eq!(subscribers.handle(b"\x01caf\xc3").as_deref(), Some("caf"));
        assert_eq!(subscribers.handle(b"\x02x"), None);
        assert_eq!(subscribers.handle(b""), None);
    }
}
