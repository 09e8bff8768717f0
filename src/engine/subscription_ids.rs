//! The ids by which clients know their subscriptions, for protocols that have them (WAMP v2).
//!
//! All members of an audience know its topic by the same id, so one encoded event serves all of them. An id lives as long
//! as its audience and is never given again. Audiences whose protocol has no ids cost nothing here.
//!
//! Never here: who is in an audience, and how an id is written.

use std::collections::HashMap;

use super::audiences::{AudienceHash, AudienceId};

/// Ids of audiences, both ways.
#[derive(Debug, Default)]
pub struct SubscriptionIds {
    /// The last id that was given.
    last: u64,
    by_audience: HashMap<AudienceId, u64, AudienceHash>,
    by_id: HashMap<u64, AudienceId>,
}

impl SubscriptionIds {
    /// The id of an audience, which gets one if it has none.
    pub fn of(&mut self, audience: AudienceId) -> u64 {
        *self.by_audience.entry(audience).or_insert_with(|| {
            self.last += 1;
            self.by_id.insert(self.last, audience);
            self.last
        })
    }

    /// The id of an audience, if it has one.
    pub fn get(&self, audience: AudienceId) -> Option<u64> {
        self.by_audience.get(&audience).copied()
    }

    /// The audience with this id.
    pub fn find(&self, id: u64) -> Option<AudienceId> {
        self.by_id.get(&id).copied()
    }

    /// The audience has ended.
    pub fn forget(&mut self, audience: AudienceId) {
        if let Some(id) = self.by_audience.remove(&audience) {
            self.by_id.remove(&id);
            if self.by_audience.is_empty() {
                self.by_audience = HashMap::default();
                self.by_id = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_audiences_until_it_ends_and_never_anothers() {
        let mut ids = SubscriptionIds::default();
        let [one, two] = [1, 2].map(AudienceId::of_number);
        assert_eq!((ids.of(one), ids.of(two), ids.of(one)), (1, 2, 1));
        assert_eq!((ids.get(one), ids.find(2)), (Some(1), Some(two)));
        ids.forget(one);
        assert_eq!((ids.get(one), ids.find(1)), (None, None));
        assert_eq!(ids.of(one), 3);
        ids.forget(one);
        ids.forget(two);
        assert_eq!(ids.of(two), 4);
    }
}
