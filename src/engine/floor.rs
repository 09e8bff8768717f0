//! The number up to which events may have been missed.
//!
//! Never here: what was missed (`timeline`, `ring`), and who is told so (`gaps`).

/// See the module.
#[derive(Debug, Default)]
pub struct Floor {
    sequence: u64,
    /// True exactly when events may have been missed whose numbers a relay has given: these are below that of the next event.
    is_open: bool,
}

impl Floor {
    /// A floor at this number.
    pub fn new(sequence: u64) -> Self {
        Self {
            sequence,
            is_open: false,
        }
    }

    /// Events up to this number may have been missed.
    pub fn raise(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Events may have been missed, just before the one that comes next. They have used up the number `at`; `None` where a
    /// relay gives the numbers.
    pub fn note_missed(&mut self, at: Option<u64>) {
        match at {
            Some(at) => self.raise(at),
            None => self.is_open = true,
        }
    }

    /// An event came.
    pub fn note_event(&mut self, sequence: u64) {
        if std::mem::take(&mut self.is_open) {
            self.raise(sequence - 1);
        }
    }

    /// Up to this number events may have been missed. There may be more, with numbers that are not known yet.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns true when nothing behind this position was missed.
    pub fn allows(&self, position: u64) -> bool {
        !self.is_open && position >= self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_below_the_next_event() {
        let mut floor = Floor::new(3);
        assert!(!floor.allows(2) && floor.allows(3));
        floor.note_missed(Some(5));
        assert!(!floor.allows(4) && floor.allows(5));
        floor.note_missed(None);
        assert!(!floor.allows(99), "nobody knows the numbers yet");
        floor.note_event(9);
        floor.note_event(12);
        assert!(!floor.allows(7) && floor.allows(8));
        floor.raise(2);
        assert_eq!(floor.sequence(), 8);
    }
}
