//! The walk over all entries of the ledger after stores have changed: tokens are asked about again.
//!
//! A turn looks at a share of the entries, so the walk has a cursor. When stores change again before it is done,
//! it goes once around from where it is.
//!
//! Never here: entries, and how a token is asked about (the gate's).

use crate::stats::Store;

/// Where the walk is.
#[derive(Debug, Default)]
pub struct LedgerWalk {
    /// The place that is looked at next; `None`: the walk is done.
    next: Option<u32>,
    /// Where the walk ends after it has begun anew behind the last place: where it was when stores changed again.
    until: u32,
    /// Entries that this store has accepted are passed over.
    spared: Option<Store>,
}

impl LedgerWalk {
    /// Stores have changed, and there are so many places.
    pub fn begin(&mut self, places: u32, spared: Option<Store>) {
        *self = match self.next {
            // Entries that an earlier change has spared, and that were passed over, come in the next lap.
            Some(next) => Self {
                next: Some(next),
                until: next,
                spared: self.spared.filter(|_| spared.is_some()),
            },
            None => Self {
                next: (places > 0).then_some(0),
                until: 0,
                spared,
            },
        };
    }

    /// Returns true until all places were looked at.
    pub fn is_under_way(&self) -> bool {
        self.next.is_some()
    }

    /// Returns true when an entry is passed over that this store has accepted.
    pub fn spares(&self, accepted_by: Option<Store>) -> bool {
        self.spared.is_some() && accepted_by == self.spared
    }

    /// The next place, of so many.
    pub fn next(&mut self, places: u32) -> Option<u32> {
        let place = self.next?;
        self.next = match place + 1 {
            next if next < places => Some(next),
            _ if self.until > 0 => Some(0),
            _ => None,
        };
        if self.next == Some(self.until) {
            self.next = None;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places that a walk looks at, `max` of them at most.
    fn places(walk: &mut LedgerWalk, max: usize) -> Vec<u32> {
        std::iter::from_fn(|| walk.next(4)).take(max).collect()
    }

    #[test]
    fn a_walk_looks_at_each_place_once_and_around_again_after_another_change() {
        let mut walk = LedgerWalk::default();
        assert!(places(&mut walk, 9).is_empty());
        walk.begin(0, None);
        assert!(!walk.is_under_way());
        walk.begin(4, None);
        assert_eq!(places(&mut walk, 9), [0, 1, 2, 3]);
        assert!(!walk.is_under_way());
        walk.begin(4, None);
        assert_eq!(places(&mut walk, 2), [0, 1]);
        walk.begin(4, None);
        assert_eq!(places(&mut walk, 9), [2, 3, 0, 1]);
        assert!(!walk.is_under_way());
    }

    #[test]
    fn whom_both_changes_spare_is_spared() {
        let mut walk = LedgerWalk::default();
        walk.begin(4, Some(Store::List));
        assert!(walk.spares(Some(Store::List)));
        assert!(!walk.spares(Some(Store::File)) && !walk.spares(None));
        places(&mut walk, 1);
        walk.begin(4, Some(Store::List));
        assert!(walk.spares(Some(Store::List)));
        walk.begin(4, None);
        assert!(!walk.spares(Some(Store::List)));
    }
}
