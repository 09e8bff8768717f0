//! Numbers the events of each topic, so that receivers find out how many they have missed (`ingest/continuity.rs`).
//!
//! Never here: receivers, and events' ids.

use std::collections::HashMap;

use crate::limits;

/// The number of each topic's last event; at most `limits::RELAY_TOPICS_COUNTED_MAX`.
#[derive(Debug, Default)]
pub struct TopicNumbers(HashMap<Box<str>, u64>);

impl TopicNumbers {
    /// The number of the next event of `topic`; the first is 1.
    pub fn give(&mut self, topic: &str) -> u64 {
        if let Some(number) = self.0.get_mut(topic) {
            *number += 1;
            return *number;
        }
        if self.0.len() >= limits::RELAY_TOPICS_COUNTED_MAX {
            // Receivers take a smaller number for a beginning.
            self.0.clear();
        }
        self.0.insert(topic.into(), 1);
        1
    }
}
