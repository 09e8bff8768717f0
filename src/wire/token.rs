//! A client's token: how it is read from a request, kept as its digest, and compared.
//!
//! A [`Token`] is a secret. Only [`Token::reveal`] shows it, to its owner; neither `Debug` nor an error does. newswire
//! keeps the token's [`Digest`] and compares digests in constant time, so that neither a copy of memory nor a clock
//! gives a token away.
//!
//! A token's bytes are overwritten when it is dropped. Other copies remain: the request stays in the read buffer until
//! that is used again, and in the kernel's memory.
//!
//! Never here: where good tokens are stored, what a token allows (that is `grant`), logging.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::jwt;

/// The prefix of a digest that is written in a token's place.
const WRITTEN_PREFIX: &str = "sha256:";

/// A token as it was presented. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// SHA-256 of a token: what is kept and compared.
///
/// It has no `==`, which would stop at the first byte that differs: see [`Digest::matches`].
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Token {
    /// Makes a token of text that is one (from an option or a file).
    pub fn new(text: impl AsRef<[u8]>) -> Self {
        Self(text.as_ref().into())
    }

    /// Makes a token of 32 random bytes: base64url without padding, 43 characters, none of which a URL encodes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(BASE64URL_NOPAD.encode(&random).into_bytes().into())
    }

    /// Reads the token from the query of a request target (docs/wire.md s. 3). Returns `None` when the query has no
    /// `token=`, or an empty one.
    ///
    /// The query begins at the first `?` and ends at a fragment; only `&` separates its parameters. Clients append
    /// base64 without encoding it. So the value begins at the first `=` and may have more of them, a `+` stays a `+`,
    /// and a `%` that encodes nothing stays too. When `token=` occurs twice, the last one counts, even if it is empty.
    /// A leading `Basic ` (after decoding) is removed once.
    pub fn from_target(target: &str) -> Option<Self> {
        let target = target.split('#').next()?;
        let (_, query) = target.split_once('?')?;
        let mut last_first = query.rsplit('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = last_first.find(|&(name, _)| name == "token")?;
        Self::from_value(value)
    }

    /// Reads the token from the value of `Authorization` (RFC 6750 s. 2.1). Returns `None` when its scheme is not
    /// `Bearer`.
    pub fn from_credentials(value: &str) -> Option<Self> {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
        is_bearer.then(|| Self::new(token))
    }

    /// Reads the token from the name of a sub-protocol that a page offers, because it can set no header:
    /// `token.` and the token in base64url without padding. Returns `None` when the name is another.
    pub fn from_offer(name: &[u8]) -> Option<Self> {
        let encoded = name.strip_prefix(b"token.")?;
        let mut decoded = BASE64URL_NOPAD.decode(encoded).ok()?;
        let token = (!decoded.is_empty()).then(|| Self::new(&decoded));
        decoded.zeroize();
        token
    }

    /// Reads the token from the text after `token=`.
    fn from_value(value: &str) -> Option<Self> {
        let mut decoded = percent_decode(value);
        let token = decoded.strip_prefix(b"Basic ").unwrap_or(&decoded);
        let token = (!token.is_empty()).then(|| Self::new(token));
        decoded.zeroize();
        token
    }

    /// Returns the tokens that an administrator may mean with this text, who wants to revoke one: the text itself,
    /// and the token of a client that has the text in its URL (encoded, or with `Basic ` in front).
    pub fn meanings(&self) -> Vec<Self> {
        let of_url = str::from_utf8(&self.0).ok().and_then(Self::from_value);
        let of_url = of_url.filter(|token| token != self);
        [self.clone()].into_iter().chain(of_url).collect()
    }

    /// Returns the token as text, for its owner; bytes that are not UTF-8 are replaced.
    pub fn reveal(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Returns the token's bytes, for a store that has to send them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the digest. The two forms of one ES256 token have the same digest ([`jwt::known_by`]).
    pub fn digest(&self) -> Digest {
        let other = jwt::known_by(&self.0).map(Zeroizing::new);
        let bytes = other.as_ref().map_or(&self.0[..], |other| &other[..]);
        Digest(Sha256::digest(bytes).into())
    }
}

/// Compares in constant time when both tokens have the same length.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Digest {
    /// Reads the form that an operator writes in the token's place: `sha256:` and 64 hexadecimal digits. Returns
    /// `None` when the text does not begin with `sha256:`, and so is a token.
    ///
    /// # Errors
    /// Returns what is wrong with the digits.
    pub fn from_written(text: &str) -> Option<Result<Self, &'static str>> {
        let digits = text.strip_prefix(WRITTEN_PREFIX)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        Some(
            bytes
                .map(Self)
                .ok_or("`sha256:` is followed by 64 hexadecimal digits"),
        )
    }

    /// Returns the text that [`Digest::from_written`] reads.
    pub fn to_written(&self) -> String {
        format!("{WRITTEN_PREFIX}{}", HEXLOWER.encode(&self.0))
    }

    /// Makes a digest of bytes that stood in a table.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to look the digest up in a table.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns true when both are digests of the same token. The comparison takes as long for digests that are alike
    /// as for others.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Shows no bytes: a weak token could be guessed from them.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Decodes `%XX` (RFC 3986 s. 2.1); a `%` that encodes nothing stays. The memory is allocated once, so that no copy
/// of a token is left behind.
fn percent_decode(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let mut byte = *first;
        if let (b'%', [high, low, behind @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            byte = (16 * high + low) as u8;
            rest = behind;
        }
        decoded.push(byte);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_a_header() {
        let from = |value| Token::from_credentials(value).map(|token| token.reveal());
        assert_eq!(from("Bearer a+b/c=="), Some("a+b/c==".to_owned()));
        assert_eq!(from("bearer  x "), Some("x".to_owned()));
        for value in ["", "Bearer", "Bearer ", "Basic eDp5", "x"] {
            assert_eq!(from(value), None, "{value}");
        }
        let from = |name: &[u8]| Token::from_offer(name).map(|token| token.reveal());
        assert_eq!(from(b"token.YStiL2M9PQ"), Some("a+b/c==".to_owned()));
        for name in [
            &b"token."[..],
            b"token.a",
            b"token.YStiL2M9PQ==",
            b"wamp",
            b"TOKEN.YQ",
        ] {
            assert_eq!(from(name), None, "{}", name.escape_ascii());
        }
    }

    fn from_target(target: &str) -> Option<String> {
        Token::from_target(target).map(|token| token.reveal())
    }

    #[test]
    fn out_of_a_request_target() {
        let cases = [
            ("/?token=abc", Some("abc")),
            ("/any/path?x=1&token=abc&y=2", Some("abc")),
            ("http://example.com:8080/?token=abc", Some("abc")),
            ("*?token=abc", Some("abc")),
            ("?token=abc", Some("abc")),
            // As base64 comes, not encoded.
            ("/?token=a+b/c==", Some("a+b/c==")),
            ("/?token==", Some("=")),
            ("/?token=a?b", Some("a?b")),
            // As it should come.
            ("/?token=a%2Bb%2fc%3D%3d", Some("a+b/c==")),
            ("/?token=%61%62%63", Some("abc")),
            ("/?token=%C3%A9é", Some("éé")),
            ("/?token=a%26b%23c", Some("a&b#c")),
            // What encodes nothing stays.
            ("/?token=100%", Some("100%")),
            ("/?token=%4", Some("%4")),
            ("/?token=%zz%%41%2", Some("%zz%A%2")),
            ("/?token=%+1%é", Some("%+1%é")),
            // Once decoded, not twice.
            ("/?token=%2541", Some("%41")),
            // The last one counts.
            ("/?token=a&token=b", Some("b")),
            ("/?token=a&token=", None),
            ("/?token=a&token", Some("a")),
            ("/?token=&token=b", Some("b")),
            // `Basic ` is tolerated, once, exactly.
            ("/?token=Basic%20abc", Some("abc")),
            ("/?token=Basic abc", Some("abc")),
            ("/?token=Basic%20Basic%20abc", Some("Basic abc")),
            ("/?token=Basic+abc", Some("Basic+abc")),
            ("/?token=basic%20abc", Some("basic abc")),
            ("/?token=Basicabc", Some("Basicabc")),
            ("/?token=Basic%20", None),
            ("/?token=Basic", Some("Basic")),
            // There is none.
            ("/", None),
            ("/?", None),
            ("/?token", None),
            ("/?token=", None),
            ("/?Token=a", None),
            ("/?xtoken=a&tokens=b&token[]=c&t%6Fken=d", None),
            ("/token=a", None),
            ("/?a=1;token=b", None),
            ("/?x=token=a", None),
            // A fragment is no query.
            ("/?token=a#&token=b", Some("a")),
            ("/#?token=a", None),
            ("/?x=1#token=a", None),
            ("", None),
        ];
        for (target, expected) in cases {
            assert_eq!(from_target(target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn a_text_means_the_token_in_a_url_too() {
        for (text, meanings) in [
            ("a+b/c==", &["a+b/c=="][..]),
            ("a%2Bb%2fc%3D=", &["a%2Bb%2fc%3D=", "a+b/c=="]),
            ("Basic a+b", &["Basic a+b", "a+b"]),
            ("Basic%20a", &["Basic%20a", "a"]),
            ("Basic ", &["Basic "]),
        ] {
            let found = Token::new(text).meanings();
            let found: Vec<String> = found.iter().map(Token::reveal).collect();
            assert_eq!(found, meanings);
        }
        let odd = Token::new(b"\xFF%41");
        assert_eq!(odd.meanings(), [odd]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let token = Token::from_target("/?token=%FF%00").unwrap();
        assert_eq!(token, Token::new(b"\xFF\0"));
        assert_eq!(token.reveal(), "\u{FFFD}\0");
    }

    #[test]
    fn nothing_is_shown() {
        let token = Token::new("secret");
        let shown = format!("{token:?} {:#?} {:?}", Some(&token), token.digest());
        assert!(!shown.contains("secret"));
        assert_eq!(
            format!("{token:?} {:?}", token.digest()),
            "Token(…) Digest(…)"
        );
    }

    #[test]
    fn a_random_token_needs_no_encoding() {
        for random in [[0; 32], [0xFF; 32], std::array::from_fn(|i| i as u8 * 7)] {
            let token = Token::from_random(random).reveal();
            assert_eq!(token.len(), 43);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            assert!(token.chars().all(plain), "{token}");
            assert_eq!(from_target(&format!("/?token={token}")), Some(token));
        }
        assert_ne!(Token::from_random([0; 32]), Token::from_random([1; 32]));
    }

    #[test]
    fn digests() {
        // FIPS 180-2, appendix B.1
        let known = b"\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23\
                      \xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";
        let digest = Token::new("abc").digest();
        assert!(digest.matches(&Digest(*known)));
        assert!(!Token::new("abd").digest().matches(&digest));
    }

    #[test]
    fn a_digest_is_written_and_read() {
        let digest = Token::new("abc").digest();
        let written = digest.to_written();
        assert_eq!(
            written,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let in_capitals = format!("sha256:{}", written[7..].to_ascii_uppercase());
        for text in [&written, &in_capitals] {
            assert!(
                Digest::from_written(text)
                    .unwrap()
                    .unwrap()
                    .matches(&digest)
            );
        }
        for token in ["abc", "", "SHA256:ab", &written[7..]] {
            assert!(Digest::from_written(token).is_none(), "{token}");
        }
        for wrong in [
            "sha256:",
            "sha256:ba78",
            &format!("{written}0"),
            &written.replace('b', "g"),
        ] {
            assert!(Digest::from_written(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
