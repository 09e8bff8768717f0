//! Keys that check signatures of JWTs. They come from a file or a JWK set, and are for the one algorithm that the
//! configuration names.
//!
//! A key is made for one algorithm and works with no other, so a token has nothing to choose. Weak keys, and keys
//! for something else, are refused where they are read: a public key as the secret of HS256 (everybody could sign
//! with it), a private key, RSA of less than 2,048 bits. So are keys that would cost the loop too much: RSA of more
//! than 4,096.
//!
//! Never here: files, the network, which key is tried for which token.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ring::{error, hmac};
use serde_json::Value;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader, pem};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::limits;
use crate::wire::json::{self, JsonFlaw};
use crate::wire::jwt::JwtAlgorithm;

/// RFC 8017 s. A.1
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 5480 s. 2.1.1
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480 s. 2.1.1.1, also called prime256v1 and secp256r1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 8410 s. 3
const EDWARDS25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// In bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=limits::RSA_BITS_MAX;

/// In bytes of a signature of ES256 or EdDSA: two numbers, or a point and a number.
const SIGNATURE_BYTES: usize = 64;

/// A key of one algorithm.
#[derive(Clone)]
pub enum JwtKey {
    /// The secret of HS256.
    Secret(hmac::Key),
    /// A public key.
    Public(PublicKey),
}

/// The public half of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKey {
    /// Modulus and exponent, without zeros in front.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point, uncompressed.
    P256([u8; 65]),
    /// A point.
    Ed25519([u8; 32]),
}

/// A key of a JWK set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetKey {
    /// `kid`
    pub id: Option<String>,
    /// The key itself.
    pub key: PublicKey,
}

impl JwtKey {
    /// Returns true when the owner of this key made `signature` over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // In constant time.
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verifies(message, signature),
        }
    }

    /// In microseconds, checking `signature`: twice the time measured on an idle core, because others use the
    /// machine too.
    pub fn cost(&self, signature: &[u8]) -> u32 {
        match self {
            Self::Secret(_) => 1,
            Self::Public(key) => key.cost(signature),
        }
    }
}

impl PublicKey {
    /// As [`JwtKey::cost`]. Measured with *ring* 0.17, good signatures and bad ones alike.
    pub fn cost(&self, signature: &[u8]) -> u32 {
        if !self.may_have_made(signature) {
            return 0;
        }
        match self {
            // The time grows with the square of the length: 50 µs for 2,048 bits, 200 µs for 4,096.
            Self::Rsa(n, e) => {
                let square = (n.len() * n.len() / 1_300) as u32;
                // Nearly all keys have 65,537. The largest exponent that is accepted has 33 bits.
                square * if e.len() <= 3 { 1 } else { 4 }
            }
            Self::P256(_) | Self::Ed25519(_) => 120,
        }
    }

    /// Returns true when a signature is as long as this key's are (RFC 8017 s. 8.2.2, step 1; RFC 7518 s. 3.4; RFC
    /// 8032 s. 5.1.6). That sorts out most signatures of other keys, and costs nothing.
    fn may_have_made(&self, signature: &[u8]) -> bool {
        signature.len()
            == match self {
                Self::Rsa(n, _) => n.len(),
                Self::P256(_) | Self::Ed25519(_) => SIGNATURE_BYTES,
            }
    }

    /// As [`JwtKey::verifies`].
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        if !self.may_have_made(signature) {
            return false;
        }
        let verified: Result<(), error::Unspecified> = match self {
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            // RFC 7518 s. 3.4: two numbers of 32 bytes, not the DER that other protocols have.
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let strip = |number: &[u8]| {
            let zeros = number.iter().take_while(|&&byte| byte == 0).count();
            number[zeros..].to_vec()
        };
        let (modulus, exponent) = (strip(modulus), strip(exponent));
        let bits = modulus.len() * 8
            - modulus
                .first()
                .map_or(0, |top| top.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            let (min, max) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(format!(
                "an RSA key of {bits} bits; from {min} to {max} are taken"
            ));
        }
        Ok(Self::Rsa(modulus, exponent))
    }

    /// RFC 8017 s. A.1.1
    fn from_pkcs1(der: &[u8]) -> Result<Self, String> {
        let numbers = || {
            let mut reader = SliceReader::new(der)?;
            let numbers = reader.sequence(|reader| {
                Ok::<_, spki::der::Error>((UintRef::decode(reader)?, UintRef::decode(reader)?))
            })?;
            reader.finish()?;
            Ok::<_, spki::der::Error>(numbers)
        };
        let (modulus, exponent) = numbers().map_err(|_| "it is no RSA key inside")?;
        Self::rsa(modulus.as_bytes(), exponent.as_bytes())
    }

    /// RFC 5280 s. 4.1.2.7, in which each algorithm has its own form of a key.
    fn from_spki(der: &[u8], algorithm: JwtAlgorithm) -> Result<Self, String> {
        let info =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|_| "it is no public key inside")?;
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let kind = (info.algorithm.oid, info.algorithm.parameters_oid().ok());
        match (algorithm, kind) {
            (JwtAlgorithm::Rs256, (RSA, _)) => Self::from_pkcs1(bits),
            (JwtAlgorithm::Es256, (EC, Some(P256))) => match bits.try_into() {
                Ok(point) => Ok(Self::P256(point)),
                Err(_) => Err(
                    "its point is compressed: openssl ec -pubin -conv_form uncompressed".to_owned(),
                ),
            },
            (JwtAlgorithm::EdDsa, (EDWARDS25519, _)) => bits
                .try_into()
                .map(Self::Ed25519)
                .map_err(|_| "an Ed25519 key has 32 bytes".to_owned()),
            (algorithm, _) => Err(not_for(algorithm)),
        }
    }
}

/// It never shows a secret's bytes.
impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(…)"),
            Self::Public(key) => key.fmt(f),
        }
    }
}

/// The kind of key that was given in the place of another.
fn not_for(algorithm: JwtAlgorithm) -> String {
    let needed = match algorithm {
        JwtAlgorithm::Hs256 => "a secret",
        JwtAlgorithm::Rs256 => "an RSA key",
        JwtAlgorithm::Es256 => "a key on the curve P-256 (prime256v1)",
        JwtAlgorithm::EdDsa => "an Ed25519 key",
    };
    format!(
        "it is another kind of key: {} needs {needed}",
        algorithm.name()
    )
}

/// The keys in the text of a file. For HS256 the file is the secret, without one line break at its end; for the
/// others it is PEM with one public key or several.
///
/// # Errors
/// What is wrong with it.
pub fn from_file(text: &[u8], algorithm: JwtAlgorithm) -> Result<Vec<JwtKey>, String> {
    if algorithm == JwtAlgorithm::Hs256 {
        return secret(text).map(|key| vec![JwtKey::Secret(key)]);
    }
    let mut keys = Vec::new();
    for block in blocks(text) {
        keys.push(JwtKey::Public(from_pem(block, algorithm)?));
    }
    if keys.is_empty() {
        return Err(format!(
            "there is no key in it: {} needs PEM (-----BEGIN PUBLIC KEY-----)",
            algorithm.name()
        ));
    }
    Ok(keys)
}

fn secret(text: &[u8]) -> Result<hmac::Key, String> {
    // The classic swap: a server that checks HS256 with the public key of RS256 lets everybody sign, because
    // everybody has that key.
    if memchr::memmem::find(text, b"-----BEGIN ").is_some()
        || SubjectPublicKeyInfoRef::from_der(text).is_ok()
    {
        return Err(
            "a key is no secret of HS256, and a public one is known to everybody: say RS256, ES256 or \
             EdDSA, or make a secret (openssl rand -hex 32)"
                .to_owned(),
        );
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let min = limits::JWT_SECRET_BYTES_MIN;
    if text.len() < min {
        return Err(format!(
            "the secret has {} bytes, and with less than {min} it can be found by trying: make one with \
             openssl rand -hex 32",
            text.len()
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, text))
}

/// The PEM blocks in a text, each from its first line to its last, or to the end when the last is missing. The text
/// between them is commentary (RFC 7468 s. 5.2).
fn blocks(text: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = memchr::memmem::find_iter(text, b"-----BEGIN ").collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let blocks = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &text[start..end]);
    blocks
        .map(|block| {
            let last = memchr::memmem::find(block, b"-----END ").unwrap_or(block.len());
            let rest = memchr::memchr(b'\n', &block[last..]).unwrap_or(block.len() - last);
            &block[..last + rest]
        })
        .collect()
}

fn from_pem(block: &[u8], algorithm: JwtAlgorithm) -> Result<PublicKey, String> {
    let label = pem::decode_label(block).map_err(|error| format!("its PEM is broken: {error}"))?;
    if label.ends_with("PRIVATE KEY") {
        return Err(
            "there is a private key in it, which newswire must not have: openssl pkey -pubout makes the \
             public one"
                .to_owned(),
        );
    }
    let der = || {
        let mut der = Vec::new();
        pem::Decoder::new_detect_wrap(block)
            .and_then(|mut decoder| decoder.decode_to_end(&mut der).map(|_| ()))
            .map_err(|error| format!("its PEM is broken: {error}"))?;
        Ok::<_, String>(der)
    };
    match label {
        "PUBLIC KEY" => PublicKey::from_spki(&der()?, algorithm),
        "RSA PUBLIC KEY" if algorithm == JwtAlgorithm::Rs256 => PublicKey::from_pkcs1(&der()?),
        "RSA PUBLIC KEY" => Err(not_for(algorithm)),
        "CERTIFICATE" => Err(
            "there is a certificate in it: openssl x509 -pubkey -noout takes the public key out of it"
                .to_owned(),
        ),
        _ => Err("there is PEM in it that is no public key".to_owned()),
    }
}

/// The keys of a JWK set (RFC 7517 s. 5) that check signatures of `algorithm`, and how many others there are. A set
/// may serve other programs too.
///
/// # Errors
/// It is no set.
pub fn from_set(text: &[u8], algorithm: JwtAlgorithm) -> Result<(Vec<SetKey>, usize), String> {
    let set = json::strict(text).map_err(|flaw| match flaw {
        JsonFlaw::Syntax => "it is no JSON",
        JsonFlaw::Twice => "a key occurs twice in one of its objects",
    })?;
    let members = set.get("keys").and_then(Value::as_array);
    let members = members.ok_or("it is no JWK set: it has no list named keys")?;
    let keys: Vec<SetKey> = members
        .iter()
        .filter_map(|member| from_member(member, algorithm))
        .take(limits::JWKS_KEYS_MAX)
        .collect();
    let others = members.len() - keys.len();
    Ok((keys, others))
}

fn from_member(member: &Value, algorithm: JwtAlgorithm) -> Option<SetKey> {
    let is = |name, wanted: &str| member.get(name).is_none_or(|value| value == wanted);
    let may_verify = member.get("key_ops").is_none_or(|ops| {
        ops.as_array()
            .is_some_and(|ops| ops.iter().any(|op| op == "verify"))
    });
    if !is("use", "sig") || !is("alg", algorithm.name()) || !may_verify {
        return None;
    }
    let id = match member.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    let text = |name| member.get(name).and_then(Value::as_str);
    let bytes = |name| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    // RFC 7518 s. 6, RFC 8037 s. 2
    let key = match (algorithm, text("kty")?, text("crv")) {
        (JwtAlgorithm::Rs256, "RSA", _) => PublicKey::rsa(&bytes("n")?, &bytes("e")?).ok()?,
        (JwtAlgorithm::Es256, "EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let mut point = [4; 65];
            point[1..33].copy_from_slice(x.get(..).filter(|x| x.len() == 32)?);
            point[33..].copy_from_slice(y.get(..).filter(|y| y.len() == 32)?);
            PublicKey::P256(point)
        }
        (JwtAlgorithm::EdDsa, "OKP", Some("Ed25519")) => {
            PublicKey::Ed25519(bytes("x")?.try_into().ok()?)
        }
        _ => return None,
    };
    Some(SetKey { id, key })
}
