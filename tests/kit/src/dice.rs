//! Random numbers that a failed run can be given again: a seed, and the numbers that follow from it.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    /// Returns true once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The seed in `NEWSWIRE_SEED`, or a fresh one. A test that fails has to print it.
pub fn seed() -> u64 {
    // Short enough to be typed again.
    number("NEWSWIRE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 32)
}

/// The number in an environment variable.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever replays a failure says so in the environment"
)]
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}
