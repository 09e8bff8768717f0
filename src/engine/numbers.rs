//! The numbers by which clients know the topics that they are subscribed to, for protocols that have numbers.
//!
//! All members of an audience know its topic by the same number, so one encoded event serves all of them. A number
//! lives as long as its audience and is never given again. Audiences whose protocol has no numbers cost nothing here.
//!
//! Never here: who is in an audience, and how a number is written.

use std::collections::HashMap;

use super::audiences::AudienceId;

/// Numbers of audiences, both ways.
#[derive(Debug, Default)]
pub struct SubscriptionNumbers {
    /// The last number that was given.
    last: u64,
    by_audience: HashMap<AudienceId, u64>,
    by_number: HashMap<u64, AudienceId>,
}

impl SubscriptionNumbers {
    /// The number of an audience, which gets one if it has none.
    pub fn of(&mut self, audience: AudienceId) -> u64 {
        *self.by_audience.entry(audience).or_insert_with(|| {
            self.last += 1;
            self.by_number.insert(self.last, audience);
            self.last
        })
    }

    /// The number of an audience, if it has one.
    pub fn get(&self, audience: AudienceId) -> Option<u64> {
        self.by_audience.get(&audience).copied()
    }

    /// The audience with this number.
    pub fn find(&self, number: u64) -> Option<AudienceId> {
        self.by_number.get(&number).copied()
    }

    /// The audience has ended.
    pub fn forget(&mut self, audience: AudienceId) {
        if let Some(number) = self.by_audience.remove(&audience) {
            self.by_number.remove(&number);
            if self.by_audience.is_empty() {
                self.by_audience = HashMap::new();
                self.by_number = HashMap::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_audiences_until_it_ends_and_never_anothers() {
        let mut numbers = SubscriptionNumbers::default();
        let [one, two] = [1, 2].map(AudienceId::of_number);
        assert_eq!(
            (numbers.of(one), numbers.of(two), numbers.of(one)),
            (1, 2, 1)
        );
        assert_eq!((numbers.get(one), numbers.find(2)), (Some(1), Some(two)));
        numbers.forget(one);
        assert_eq!((numbers.get(one), numbers.find(1)), (None, None));
        assert_eq!(numbers.of(one), 3);
        numbers.forget(one);
        numbers.forget(two);
        assert_eq!(numbers.of(two), 4);
    }
}
