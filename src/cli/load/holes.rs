//! The numbers that a subscriber has not received although it has received later ones.
//!
//! They are kept as ranges, because a subscriber misses events in a row. A subscriber that misses nothing needs no memory
//! for that.
//!
//! Never here: what a missing number means.

use std::ops::Range;

/// See above. The ranges rise, and do not touch each other.
#[expect(
    clippy::box_collection,
    reason = "a subscriber has two words; a third one for a list that is mostly empty would be dear"
)]
#[derive(Clone, Debug, Default)]
pub(super) struct Holes(Option<Box<Vec<Range<u32>>>>);

impl Holes {
    /// These numbers are missing. They are above all that are missing already.
    pub(super) fn dig(&mut self, hole: Range<u32>) {
        if !hole.is_empty() {
            self.0.get_or_insert_default().push(hole);
        }
    }

    /// The number is not missing any more. Returns false when it was not.
    pub(super) fn fill(&mut self, n: u32) -> bool {
        let Some(holes) = &mut self.0 else {
            return false;
        };
        let at = holes.partition_point(|hole| hole.end <= n);
        let Some(hole) = holes.get(at).cloned().filter(|hole| hole.contains(&n)) else {
            return false;
        };
        let rest = [hole.start..n, n + 1..hole.end];
        holes.splice(at..=at, rest.into_iter().filter(|hole| !hole.is_empty()));
        true
    }

    /// How many numbers are missing.
    pub(super) fn len(&self) -> usize {
        let holes = self.0.iter().flat_map(|holes| holes.iter());
        holes.map(ExactSizeIterator::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_number_is_filled_once() {
        let mut holes = Holes::default();
        assert!(!holes.fill(1));
        holes.dig(5..5);
        holes.dig(2..5);
        holes.dig(7..8);
        assert_eq!(holes.len(), 4);
        for (n, was_missing) in [
            (1, false),
            (3, true),
            (3, false),
            (5, false),
            (7, true),
            (4, true),
            (2, true),
            (2, false),
        ] {
            assert_eq!(holes.fill(n), was_missing, "{n}");
        }
        assert_eq!(holes.len(), 0);
    }
}
