//! The offer of compression in an upgrade: permessage-deflate (RFC 7692 s. 7), which newswire accepts without context
//! takeover on either side.
//!
//! An offer that newswire cannot accept is declined, not refused: the connection goes on without compression.
//!
//! Never here: the compression (`wire/websocket/deflate.rs`).

use super::head::Head;

const NAME: &str = "permessage-deflate";

/// In bits, the window that newswire compresses with. A client may ask for a smaller one, which costs a compressor of
/// its own.
const WINDOW_BITS: u8 = 15;

/// An offer that newswire accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeflateOffer {
    /// True exactly when the client asked for a window, which was the usual one. The answer has to say it too.
    has_server_bits: bool,
}

impl DeflateOffer {
    /// The line that accepts it.
    pub const fn answer(self) -> &'static str {
        match self.has_server_bits {
            false => {
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover\r\n"
            }
            true => {
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover; server_max_window_bits=15\r\n"
            }
        }
    }
}

/// Returns the first offer that newswire accepts. RFC 7692 s. 5: the client's order is its preference.
pub fn choose(head: &Head<'_, '_>) -> Option<DeflateOffer> {
    let mut offers = head.elements("sec-websocket-extensions").peekable();
    offers.peek()?;
    if head.values("user-agent").any(keeps_its_context) {
        return None;
    }
    offers.find_map(|offer| parse(str::from_utf8(offer).ok()?))
}

/// Returns an offer, if newswire accepts it.
fn parse(offer: &str) -> Option<DeflateOffer> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen = [false; 4];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquote(value.trim_start()))),
            None => (part, None),
        };
        let bits = value.and_then(window_bits);
        let (place, is_good) = match name.to_ascii_lowercase().as_str() {
            "server_no_context_takeover" => (0, value.is_none()),
            "client_no_context_takeover" => (1, value.is_none()),
            "server_max_window_bits" => (2, bits == Some(WINDOW_BITS)),
            // Whatever the client's window is, it can be read.
            "client_max_window_bits" => (3, value.is_none() || bits.is_some()),
            _ => return None,
        };
        // RFC 7692 s. 7.1: a parameter stands once.
        if !is_good || std::mem::replace(&mut seen[place], true) {
            return None;
        }
    }
    Some(DeflateOffer {
        has_server_bits: seen[2],
    })
}

/// RFC 7692 s. 7.1.2: 8 to 15, without a zero in front.
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok()?;
    let is_canonical = !value.starts_with(['0', '+']);
    (is_canonical && (8..=WINDOW_BITS).contains(&bits)).then_some(bits)
}

/// RFC 6455 s. 9.1: a value may be quoted.
fn unquote(value: &str) -> &str {
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    quoted.unwrap_or(value)
}

/// Returns true for Safari 15.0 to 15.3 and all browsers of iOS with that WebKit. They promise to compress each message
/// by itself, and do not.
fn keeps_its_context(user_agent: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(user_agent, text.as_bytes()).is_some();
    // The minor version is one digit, 0 to 3.
    let has_release = |major: &str| {
        memchr::memmem::find_iter(user_agent, major.as_bytes()).any(|at| {
            let [minor, rest @ ..] = &user_agent[at + major.len()..] else {
                return false;
            };
            (b'0'..=b'3').contains(minor) && !rest.first().is_some_and(u8::is_ascii_digit)
        })
    };
    has("AppleWebKit/")
        && ((has("Safari/") && has_release("Version/15.")) || has_release(" OS 15_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::wire::http::NO_LINES;

    fn chosen(lines: &[&str]) -> Option<DeflateOffer> {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        let mut room = NO_LINES;
        let head = Head::parse(text.as_bytes(), limits::HEAD_BYTES_MAX, &mut room);
        choose(&head.expect("a head").expect("whole"))
    }

    fn is_accepted(offer: &str) -> bool {
        chosen(&[&format!("Sec-WebSocket-Extensions: {offer}")]).is_some()
    }

    #[test]
    fn offers_that_are_accepted() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "Permessage-Deflate;Client_Max_Window_Bits=10",
            "permessage-deflate; client_max_window_bits=\"15\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert!(is_accepted(offer), "{offer}");
        }
        let two_lines = [
            "Sec-WebSocket-Extensions: foo",
            "Sec-WebSocket-Extensions: permessage-deflate",
        ];
        assert!(chosen(&two_lines).is_some());
    }

    #[test]
    fn offers_that_are_declined() {
        for offer in [
            "",
            "foo",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; mux",
            "permessage-deflate;",
        ] {
            assert!(!is_accepted(offer), "{offer}");
        }
        assert_eq!(chosen(&["Host: h"]), None);
    }

    #[test]
    fn the_answer_repeats_the_window_that_was_asked_for() {
        let answer = |offer: &str| {
            let line = format!("Sec-WebSocket-Extensions: {offer}");
            chosen(&[&line]).expect("accepted").answer()
        };
        let plain = answer("permessage-deflate; client_max_window_bits");
        assert!(!plain.contains("max_window_bits"), "{plain}");
        let bits = answer("permessage-deflate; server_max_window_bits=15");
        assert!(bits.contains("server_max_window_bits=15\r\n"), "{bits}");
    }

    #[test]
    fn browsers_that_keep_their_context_get_no_compression() {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate";
        let mac = "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                   (KHTML, like Gecko) Version/VERSION Safari/605.1.15";
        let phone = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS VERSION like Mac OS X) \
                     AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/98.0 Mobile/15E148 Safari/604.1";
        for (agent, version, is_broken) in [
            (mac, "15.0", true),
            (mac, "15.3", true),
            (mac, "15.4", false),
            (mac, "15.10", false),
            (mac, "14.1.2", false),
            (mac, "17.0", false),
            (phone, "15_1", true),
            (phone, "15_3_1", true),
            (phone, "15_4", false),
            (phone, "16_0", false),
        ] {
            let agent = agent.replace("VERSION", version);
            assert_eq!(chosen(&[offer, &agent]).is_none(), is_broken, "{agent}");
        }
        let chrome = "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 \
                      (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
        assert!(chosen(&[offer, chrome]).is_some());
    }
}
