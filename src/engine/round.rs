//! A round over all places, a share a turn: every connection is looked at, and none is kept waiting for that.
//!
//! Never here: what is looked for.

/// How far a round is.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The place that is looked at next.
    next: u32,
    /// How many are still to be looked at.
    left: u32,
}

impl Round {
    /// Begins: each of `places` will be looked at once from here on, wherever the last round was.
    pub(super) fn begin(&mut self, places: u32) {
        self.left = places;
    }

    /// Returns true while some place is still to be looked at.
    pub(super) fn is_under_way(&self) -> bool {
        self.left > 0
    }

    /// The next place, of `places` that there are now; `None` when each was looked at.
    pub(super) fn next(&mut self, places: u32) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let place = self.next;
        self.next = (place + 1) % places.max(1);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_looked_at_once_wherever_it_begins() {
        let mut round = Round::default();
        assert_eq!(round.next(3), None);
        round.begin(3);
        assert_eq!(round.next(3), Some(0));
        // It begins anew in the middle.
        round.begin(3);
        let all: Vec<u32> = std::iter::from_fn(|| round.next(3)).collect();
        assert_eq!(all, [1, 2, 0]);
        assert!(!round.is_under_way());
    }
}
