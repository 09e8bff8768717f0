//! The number of a session, which its client is told in the welcome.
//!
//! Never here: how a protocol writes it, which connection it is (`slots`).

use data_encoding::HEXLOWER;

/// 96 bits: 32 for the process and 64 for the session, both scrambled, so that they are unique here and across
/// processes and do not tell how many connections there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionId {
    process: u32,
    session: u64,
}

impl SessionId {
    /// That of session number `number` in the process that has drawn `seed`.
    pub fn new(seed: u64, number: u64) -> Self {
        // The finaliser of SplitMix64: a bijection, so different sessions stay different.
        let scramble = |mut x: u64| {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        Self {
            process: (scramble(!seed) >> 32) as u32,
            session: scramble(seed ^ number),
        }
    }

    /// As a number that JavaScript can hold, and never 0. It has 53 bits: numbers are not unique, and nothing is looked
    /// up by them.
    pub fn number(self) -> u64 {
        const BITS: u32 = 53;
        (self.session >> (u64::BITS - BITS)).max(1)
    }

    /// In hexadecimal, in this room.
    pub fn encode(self, room: &mut [u8; 24]) -> &str {
        let number = u128::from(self.process) << 64 | u128::from(self.session);
        HEXLOWER.encode_mut_str(&number.to_be_bytes()[4..], room)
    }
}
