//! The credentials of a user of NATS, from a `.creds` file: a JWT, which the server reads, and the seed of the key that
//! signs what the server wants signed. The seed itself never leaves the process.
//!
//! Never here: connections.

use std::fmt;
use std::fs;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ring::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

/// In bytes, a seed of 32 between two bytes that say what it is for, and a checksum.
const SEED_BYTES: usize = 2 + 32 + 2;

/// A JWT and its key.
pub struct Credentials {
    /// The file.
    path: String,
    jwt: String,
    key: Ed25519KeyPair,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.path)
    }
}

impl Credentials {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be used. The sentence names the option, and repeats nothing from the file.
    pub fn load(path: &str) -> Result<Self, String> {
        let failed = |what: &dyn fmt::Display| format!("nats-credentials ({path}): {what}");
        let text = fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| failed(&error))?;
        let parsed = parse(&text).ok_or_else(|| {
            failed(&"it is no .creds file, with the JWT of a user and the seed of its key (nsc generate creds)")
        })?;
        let (jwt, key) = parsed;
        Ok(Self {
            path: path.to_owned(),
            jwt,
            key,
        })
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The JWT.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// Signs what a server wants signed.
    pub fn sign(&self, nonce: &str) -> String {
        BASE64URL_NOPAD.encode(self.key.sign(nonce.as_bytes()).as_ref())
    }
}

/// Takes the JWT and the key out of a file. Each is a line between a line of dashes that says `BEGIN` and one that says
/// `END`.
fn parse(text: &str) -> Option<(String, Ed25519KeyPair)> {
    let block = |name: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| {
            line.starts_with("---") && line.contains("BEGIN") && line.contains(name)
        })?;
        lines.find(|line| !line.is_empty())
    };
    let (jwt, seed) = (block("JWT")?, block("SEED")?);
    let is_jwt = jwt.split('.').count() == 3 && jwt.bytes().all(|b| b.is_ascii_graphic());
    let bytes = Zeroizing::new(BASE32_NOPAD.decode(seed.as_bytes()).ok()?);
    let (rest, checksum) = bytes.split_last_chunk::<2>()?;
    let is_whole = bytes.len() == SEED_BYTES && crc16(rest) == u16::from_le_bytes(*checksum);
    let key = Ed25519KeyPair::from_seed_unchecked(rest.get(2..)?).ok()?;
    (is_jwt && is_whole && seed.starts_with("SU")).then(|| (jwt.to_owned(), key))
}

/// CRC-16/XMODEM, with which a seed ends.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let carry = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            (crc << 1) ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair;

    use super::*;

    /// From the documentation of NATS; it is nobody's.
    const SEED: &str = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM";

    fn file(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn a_file_is_a_jwt_and_a_key() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let (jwt, key) = parse(&file("a.b.c", SEED)).expect("good");
        assert_eq!(jwt, "a.b.c");
        assert_eq!(key.public_key().as_ref().len(), 32);
        let windows = file("a.b.c", SEED).replace('\n', "\r\n");
        assert!(parse(&windows).is_some());
    }

    #[test]
    fn a_bad_file_is_refused_and_never_repeated() {
        let other = SEED.replace("SUAIO", "SUAIP");
        for text in [
            String::new(),
            file("a.b", SEED),
            file("a.b.c", ""),
            file("a.b.c", &other),
            file("a.b.c", &SEED[..50]),
            file("a.b.c", &SEED.to_lowercase()),
        ] {
            assert!(parse(&text).is_none(), "{text}");
        }
        let error = Credentials::load("/nowhere/x.creds").expect_err("there is none");
        assert!(
            error.starts_with("nats-credentials (/nowhere/x.creds): "),
            "{error}"
        );
    }
}
