//! Parses the answer of an admin listener, for those that ask one: a status and JSON.
//!
//! Never here: connections, and what is asked.

use serde_json::Value;

/// Returns the status and the body of a whole answer. `None` when it is no HTTP, or its body no JSON.
pub fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let text = str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    let status = words.next()?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let answer = b"HTTP/1.1 401 Unauthorized\r\nA: b\r\n\r\n{\"error\":\"x\"}";
        let (status, json) = parse(answer).expect("good");
        assert_eq!((status, &json["error"]), (401, &"x".into()));
        for answer in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
        ] {
            assert_eq!(parse(answer), None);
        }
    }
}
