//! Tokens in memory about which a store has to be asked again.
//!
//! An API or a database needs the token itself each time, so its digest is not enough. Between two questions the
//! token is kept encrypted under a key that was made for this run and lies elsewhere: a piece of memory that gets
//! out by accident (a read past a buffer's end, a page of swap) holds no token. An attacker who can read all of the
//! process's memory can read the key too; no program that must present a token again can prevent that.
//!
//! Never here: tokens of stores that know them by their digest. The gate does not keep those at all.

use std::fmt;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroize;

use crate::wire::token::Token;

/// A token, encrypted under the run's key. Its `Debug` shows nothing.
pub struct Sealed {
    bytes: Box<[u8]>,
    /// Never used twice in a run.
    nonce: u64,
}

/// Seals and unseals.
pub struct Sealer {
    key: [u8; 32],
    /// How many tokens have been sealed.
    count: u64,
}

impl Sealer {
    /// A sealer with a `key` that is random and made for this run.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, count: 0 }
    }

    /// Encrypts `token`.
    pub fn seal(&mut self, token: &Token) -> Sealed {
        self.count += 1;
        let mut bytes: Box<[u8]> = token.bytes().into();
        self.apply(self.count, &mut bytes);
        Sealed {
            bytes,
            nonce: self.count,
        }
    }

    /// Decrypts the token.
    pub fn unseal(&self, sealed: &Sealed) -> Token {
        let mut bytes = sealed.bytes.clone();
        self.apply(sealed.nonce, &mut bytes);
        let token = Token::new(&bytes);
        bytes.zeroize();
        token
    }

    /// A stream cipher is its own inverse.
    fn apply(&self, nonce: u64, bytes: &mut [u8]) {
        let mut iv = [0; 12];
        iv[4..].copy_from_slice(&nonce.to_be_bytes());
        ChaCha20::new(&self.key.into(), &iv.into()).apply_keystream(bytes);
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_its_bytes_are_not_there_meanwhile() {
        let mut sealer = Sealer::new([7; 32]);
        for text in ["a", "a+b/c==", &"x".repeat(10_000)] {
            let token = Token::new(text);
            let (first, second) = (sealer.seal(&token), sealer.seal(&token));
            assert_ne!(*first.bytes, *token.bytes());
            assert_ne!(first.bytes, second.bytes, "each has a keystream of its own");
            assert!(sealer.unseal(&first) == token);
            assert!(sealer.unseal(&second) == token);
        }
    }
}
