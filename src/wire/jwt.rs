//! The form of a JSON Web Token: three parts, a header, claims (RFC 7515, RFC 7519).
//!
//! This file splits and decodes a token's bytes and believes nothing: a caller has to check the signature over
//! [`Jwt::signed`] before it asks for the claims. A member that occurs twice is an error, since two readers could take
//! different ones of its values. What a header says about where to find its key (`jwk`, `jku`, `x5c`, `x5u`) is not
//! read at all.
//!
//! Never here: checking signatures, keys, clocks, and which algorithm is right.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::grant::moment_of_seconds;
use super::json;

/// An algorithm that signs JWTs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256 and a secret that both sides know.
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Returns the name of RFC 7518 s. 3.1 or RFC 8037.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The order of P-256.
const P256_ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

/// Returns the other form of an ES256 token when newswire knows the token by that form; `None` when it knows `token` by
/// its own form, or `token` is not an ES256 token.
///
/// An ECDSA signature (r, s) is as good as (r, -s), and whoever has one can compute the other. The two have to count as
/// one token, above all when it is revoked. So newswire knows both by the form with the smaller s. Nothing else of a
/// JWT can be written in another way by somebody who cannot sign: the signature covers the rest, and base64url has one
/// form ([`Jwt::parse`] refuses others).
pub fn known_by(token: &[u8]) -> Option<Vec<u8>> {
    // 64 bytes in base64url.
    const SIGNATURE_CHARS: usize = 86;
    let (signed, signature) = split_last(token)?;
    if signature.len() != SIGNATURE_CHARS {
        return None;
    }
    let (header, _) = split_last(signed)?;
    // The parsed header decides, as it does for the token itself: JSON can spell the name in several ways.
    if JwtHeader::parse(header)?.algorithm != JwtAlgorithm::Es256.name() {
        return None;
    }
    let mut signature = BASE64URL_NOPAD.decode(signature).ok()?;
    let s = &mut signature[32..];
    let mut other = P256_ORDER;
    let mut borrow = 0;
    for (digit, &of_s) in other.iter_mut().zip(&*s).rev() {
        let difference = i16::from(*digit) - i16::from(of_s) - borrow;
        borrow = i16::from(difference < 0);
        *digit = difference.rem_euclid(256) as u8;
    }
    // No signature has an s that is not below the order.
    if borrow != 0 || other[..] >= *s {
        return None;
    }
    s.copy_from_slice(&other);
    let mut known_by = signed.to_vec();
    known_by.push(b'.');
    known_by.extend_from_slice(BASE64URL_NOPAD.encode(&signature).as_bytes());
    Some(known_by)
}

/// A token that looks like a JWT. Its `Debug` shows nothing of it.
pub struct Jwt {
    /// `alg`, as the token names it. Compare it with what is expected; never choose an algorithm by it.
    pub algorithm: String,
    /// `kid`. It may select one of the trusted keys, and serves for nothing else.
    pub key_id: Option<String>,
    /// True exactly when the header has `crit`: its issuer demands an extension, and newswire knows none.
    pub is_critical: bool,
    /// Header and payload, as the client sent them.
    signed: Box<[u8]>,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

/// The claims that newswire reads. Times are in seconds of Unix time; a fraction is cut off, and a moment before 1970
/// is 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `exp`: the first moment at which the token is no longer valid.
    pub expires_at: Option<u64>,
    /// `nbf`: the first moment at which the token is valid.
    pub not_before: Option<u64>,
    /// `aud`, one or several.
    pub audience: Vec<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `topics`; `None`: the token has no such claim.
    pub topics: Option<Vec<String>>,
}

impl Jwt {
    /// Parses a token. Returns `None` when it is not a JWT: it has not three parts of base64url, or its first part is
    /// not a header.
    pub fn parse(token: &[u8]) -> Option<Self> {
        let (signed, signature) = split_last(token)?;
        let (header, payload) = split_last(signed)?;
        // base64url has no dot, so a token with a fourth part is refused here too.
        let decode = |part| BASE64URL_NOPAD.decode(part).ok();
        let header = JwtHeader::parse(header)?;
        Some(Self {
            algorithm: header.algorithm,
            key_id: header.key_id,
            is_critical: header.is_critical,
            signature: decode(signature)?,
            payload: decode(payload)?,
            signed: signed.into(),
        })
    }

    /// Returns the bytes that the signature covers.
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Returns the signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns the claims. The caller has to check the signature first.
    ///
    /// # Errors
    /// Returns which claim has the wrong form.
    pub fn claims(&self) -> Result<Claims, &'static str> {
        let claims = json::strict(&self.payload);
        let claims = (claims.as_ref().ok())
            .and_then(Value::as_object)
            .ok_or("its claims are no JSON object in which each occurs once")?;
        let text = |name, wrong| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong),
        };
        let time = |name, wrong| claims.get(name).map(|value| seconds(value).ok_or(wrong));
        Ok(Claims {
            expires_at: time("exp", "exp is no number of seconds since 1970").transpose()?,
            not_before: time("nbf", "nbf is no number of seconds since 1970").transpose()?,
            audience: match claims.get("aud") {
                None => Vec::new(),
                Some(Value::String(one)) => vec![one.clone()],
                Some(several) => {
                    texts(several).ok_or("aud is neither a string nor a list of them")?
                }
            },
            issuer: text("iss", "iss is no string")?,
            subject: text("sub", "sub is no string")?,
            topics: match claims.get("topics") {
                None => None,
                Some(topics) => Some(texts(topics).ok_or("topics is no list of strings")?),
            },
        })
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwt(…)")
    }
}

fn split_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = memchr::memrchr(b'.', text)?;
    Some((&text[..dot], &text[dot + 1..]))
}

/// Reads a NumericDate (RFC 7519 s. 2).
fn seconds(value: &Value) -> Option<u64> {
    value.as_f64().and_then(moment_of_seconds)
}

fn texts(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array()?.iter();
    list.map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The members of a header that newswire reads. It reads the header of every token that looks like a JWT, and anybody
/// can make such tokens up. So the other members are skipped, and there may be few of them.
#[derive(Default)]
struct JwtHeader {
    algorithm: String,
    key_id: Option<String>,
    is_critical: bool,
}

impl JwtHeader {
    /// How many members a header may have. RFC 7515 names eleven.
    const MEMBERS_MAX: usize = 32;

    /// Parses the first part of a token. Returns `None` when it is not a header: base64url of a JSON object that has
    /// `alg` and in which each name occurs once.
    fn parse(part: &[u8]) -> Option<Self> {
        let json = BASE64URL_NOPAD.decode(part).ok()?;
        let header: Self = serde_json::from_slice(&json).ok()?;
        (!header.algorithm.is_empty()).then_some(header)
    }
}

impl<'de> Deserialize<'de> for JwtHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = JwtHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JwtHeader, A::Error> {
                let mut header = JwtHeader::default();
                let mut names: Vec<String> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if names.len() == JwtHeader::MEMBERS_MAX || names.contains(&name) {
                        return Err(A::Error::custom(
                            "a name occurs twice, or there are too many",
                        ));
                    }
                    match &*name {
                        "alg" => header.algorithm = map.next_value()?,
                        "kid" => header.key_id = Some(map.next_value()?),
                        _ => map.next_value::<Passed>().map(drop)?,
                    }
                    header.is_critical |= name == "crit";
                    names.push(name);
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Stands for a value that is skipped. Unlike serde's `IgnoredAny`, it counts how deep the value is, as other readers
/// do.
struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_es256_signature_are_known_by_one() {
        let token = |header: &str, r: [u8; 32], s: [u8; 32]| {
            let signature = [r, s].concat();
            let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
            let (header, payload) = (encode(header.as_bytes()), encode(b"{}"));
            format!("{header}.{payload}.{}", encode(&signature))
        };
        let mut small = [0; 32];
        small[31] = 5;
        let mut large = P256_ORDER;
        large[31] -= 5;
        let es256 = r#"{"typ":"JWT","alg":"ES256"}"#;
        let (small, large) = ([[1; 32], small], [[1; 32], large]);
        let first = token(es256, small[0], small[1]);
        let second = token(es256, large[0], large[1]);
        assert_eq!(known_by(first.as_bytes()), None);
        assert_eq!(
            known_by(second.as_bytes()).as_deref(),
            Some(first.as_bytes())
        );
        // The header may write the name in any way that JSON allows.
        for header in [
            r#"{"alg":"ES\u003256"}"#,
            r#"{ "\u0061lg" : "\u0045S256" }"#,
        ] {
            let [first, second] = [small, large].map(|[r, s]| token(header, r, s));
            assert_eq!(
                known_by(second.as_bytes()).as_deref(),
                Some(first.as_bytes())
            );
            assert_eq!(known_by(first.as_bytes()), None);
        }
        for other in [
            token(r#"{"alg":"EdDSA"}"#, large[0], large[1]),
            token(r#"{"alg":"EdDSA","kid":"\"ES256\""}"#, large[0], large[1]),
            token(r#"{"alg":"ES256","alg":"ES256"}"#, large[0], large[1]),
            token(es256, large[0], [0xFF; 32]),
            second.replacen('.', "_", 1),
            second[1..].to_owned(),
            String::new(),
            "x".repeat(87),
        ] {
            assert_eq!(known_by(other.as_bytes()), None, "{other}");
        }
    }

    fn token(header: &str, payload: &str) -> Vec<u8> {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", part(header), part(payload), part("sign")).into_bytes()
    }

    fn claims(payload: &str) -> Result<Claims, &'static str> {
        let token = token(r#"{"alg":"x"}"#, payload);
        Jwt::parse(&token).expect("its form is right").claims()
    }

    #[test]
    fn three_parts_with_a_header_are_a_jwt() {
        let token = token(r#"{"typ":"JWT","kid":"k","alg":"HS256"}"#, "{}");
        let jwt = Jwt::parse(&token).expect("a JWT");
        assert_eq!(
            (&*jwt.algorithm, jwt.key_id.as_deref()),
            ("HS256", Some("k"))
        );
        assert!(!jwt.is_critical);
        assert_eq!(jwt.signature(), b"sign");
        assert_eq!([jwt.signed(), b".c2lnbg"].concat(), token);
        assert_eq!(format!("{jwt:?}"), "Jwt(…)");
    }

    #[test]
    fn all_else_is_another_kind_of_token() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        let good = str::from_utf8(&good).expect("text");
        for other in [
            "",
            ".",
            "..",
            "a.b.c",
            "b64+with/every=sign==",
            &good[..good.len() - 7],
            &format!("{good}="),
            &format!("{good}.c2ln"),
            &format!("{good} "),
            // Encodes the same bytes in another way: some bits of the last letter are not used.
            &good.replace("c2lnbg", "c2lnbh"),
        ] {
            assert!(Jwt::parse(other.as_bytes()).is_none(), "{other}");
        }
        for header in [
            "",
            "[]",
            "{}",
            r#""alg""#,
            r#"{"alg":1}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256"} {}"#,
            r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
            r#"{"alg":"HS256","kid":null}"#,
            r#"{"alg":""}"#,
            &format!(
                "{{{}\"alg\":\"HS256\"}}",
                (0..32).map(|n| format!("\"{n}\":1,")).collect::<String>()
            ),
        ] {
            assert!(Jwt::parse(&token(header, "{}")).is_none(), "{header}");
        }
        let deep = format!(r#"{{"alg":"HS256","x":{}}}"#, "[".repeat(20_000));
        assert!(Jwt::parse(&token(&deep, "{}")).is_none());
    }

    #[test]
    fn claims_are_read() {
        assert_eq!(claims("{}"), Ok(Claims::default()));
        let all = r#"{"exp":1795521600,"nbf":1.9,"aud":["a","b"],"iss":"i","sub":"s","topics":["t","u_*"],
            "iat":"whatever"}"#;
        assert_eq!(
            claims(all),
            Ok(Claims {
                expires_at: Some(1_795_521_600),
                not_before: Some(1),
                audience: vec!["a".to_owned(), "b".to_owned()],
                issuer: Some("i".to_owned()),
                subject: Some("s".to_owned()),
                topics: Some(vec!["t".to_owned(), "u_*".to_owned()]),
            })
        );
        assert_eq!(claims(r#"{"aud":"a"}"#).unwrap().audience, ["a"]);
        for (exp, seconds) in [
            ("-5", 0),
            ("-0.1", 0),
            ("1e3", 1000),
            ("99999999999", 99_999_999_999),
        ] {
            let claims = claims(&format!(r#"{{"exp":{exp}}}"#));
            assert_eq!(claims.unwrap().expires_at, Some(seconds), "{exp}");
        }
    }

    #[test]
    fn a_claim_of_another_form_is_an_error() {
        for payload in [
            "",
            "[]",
            "nothing",
            r#"{"exp":1,"exp":2}"#,
            r#"{"x":1,"x":1}"#,
            r#"{"exp":"1795521600"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":[1]}"#,
            r#"{"exp":1e400}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":18446744073709551615}"#,
            // Milliseconds, with which the token would be valid for ever.
            r#"{"exp":1795521600000}"#,
            r#"{"nbf":1795521600000}"#,
            r#"{"nbf":true}"#,
            r#"{"aud":1}"#,
            r#"{"aud":["a",1]}"#,
            r#"{"aud":null}"#,
            r#"{"iss":["i"]}"#,
            r#"{"sub":7}"#,
            r#"{"topics":"t"}"#,
            r#"{"topics":null}"#,
            r#"{"topics":{"t":1}}"#,
            r#"{"topics":["t",1]}"#,
        ] {
            assert!(claims(payload).is_err(), "{payload}");
        }
    }
}
